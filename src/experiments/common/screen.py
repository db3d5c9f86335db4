"""What a person sees: the terminal, and the same in plain text in the run's log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.table import Table

LOG_WIDTH = 110
WIDE = 160
AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
"""A path may hold [brackets]; in a notebook rich would show each line as a block of HTML, also what is for a file."""


class Terminal(Console):
    """A terminal, or a pipe to a program that may end before the run does: the run goes on without it."""

    def on_broken_pipe(self) -> None:
        """Stop printing, where rich would end the program."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen:
    """Prints to the terminal and to a log file.

    Args:
        log: the file to append to; None for none.
        quiet: whether to leave the terminal alone.
    """

    def __init__(self, log: Path | None = None, *, quiet: bool = False) -> None:
        notebook = Console().is_jupyter  # its output says that it is a terminal, and cannot move the cursor
        self.terminal = Terminal(
            quiet=quiet,
            soft_wrap=notebook or not sys.stdout.isatty(),
            force_terminal=False if notebook else None,
            **AS_IT_IS,
        )
        self._file = log.open("a", encoding="utf-8") if log else None
        self._log = plain(self._file) if self._file else None

    def print(self, *what: RenderableType) -> None:
        """Print to both."""
        if not self.terminal.quiet:
            self.terminal.print(*what)
        self.log(*what)

    def log(self, *what: RenderableType) -> None:
        """Write to the log alone."""
        if self._log and self._file:
            (text,) = what if len(what) == 1 else (None,)
            if isinstance(text, str) and text.isascii() and max(map(len, text.split("\n"))) < LOG_WIDTH:
                self._file.write(f"{text}\n")  # a tenth of what laying it out takes
            else:
                self._log.print(*what)
            self._file.flush()

    def widen(self) -> None:
        """Wrap no table where a file or another program reads: wider than any terminal."""
        if not sys.stdout.isatty():
            self.terminal.width = WIDE

    def close(self) -> None:
        """Close the log."""
        if self._file:
            self._file.close()
            self._file = None


def plain(file: IO[str]) -> Console:
    """Return what lays out texts and tables in a file, without colours even where the environment forces them."""
    return Console(file=file, width=LOG_WIDTH, force_terminal=False, **AS_IT_IS)


class Said(logging.Handler):
    """Prints what parts that have no screen say, by the logger `experiments`."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.INFO)
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        self.screen.print(record.getMessage())


@contextmanager
def hearing(screen: Screen) -> Iterator[None]:
    """Print what is said inside the block."""
    logger, said = logging.getLogger("experiments"), Said(screen)
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(said)
    try:
        yield
    finally:
        logger.removeHandler(said)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def table(*columns: str, right: tuple[str, ...] = (), wrapped: tuple[str, ...] = ()) -> Table:
    """Return an empty table in the house style; columns in `right` hold numbers, those in `wrapped` longer texts."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column not in wrapped)
    return made
