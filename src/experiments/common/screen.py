"""The output for people: on the terminal, and as plain text in the log of a run."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console, ConsoleOptions, JustifyMethod, OverflowMethod, RenderableType
from rich.segment import Segment
from rich.table import Table

from .confined import appended
from .text import on_terminal, visible_lines

LOG_WIDTH = 110
WIDE = 160
AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
"""A path may contain [brackets]; in a notebook rich would show each line as a block of HTML, even that of a file."""


class SafeConsole(Console):
    """A console that shows the control characters in texts, which may be a stranger's, instead of obeying them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of a text or table."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control or text.isprintable() else visible_lines(text), style, control)


class Terminal(SafeConsole):
    """A terminal, or a pipe to a program that may end before the run, which then continues without it.

    A command has other means for this (`cli.entry`); a script or a worker of a sweep needs these.
    """

    def on_broken_pipe(self) -> None:
        """Stop printing; rich would end the program."""
        self.quiet = True
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen:
    """Prints to the terminal and to a log file.

    Args:
        log: the file to append to, or None.
        quiet: whether to print nothing to the terminal.
    """

    def __init__(self, log: Path | None = None, *, quiet: bool = False) -> None:
        notebook = Console().is_jupyter  # its output claims to be a terminal, but cannot move the cursor
        self.terminal = Terminal(
            quiet=quiet or getattr(sys.stdout, "closed", False),
            soft_wrap=notebook or not on_terminal(),
            force_terminal=False if notebook else None,
            **AS_IT_IS,
        )
        self._file = appended(log) if log else None
        self._log = plain(self._file) if self._file else None

    def print(self, *content: RenderableType) -> None:
        """Print to both."""
        if not self.terminal.quiet:
            self.terminal.print(*content)
        self.log(*content)

    def print_command(self, label: str, command: str) -> None:
        """Print a command or a path after its label on one line, which can be copied from a narrow terminal too."""
        self.print_line(f"{label:<8} {command}")

    def print_line(self, line: str) -> None:
        """Print a line with words to copy, which is not broken, however narrow the terminal is."""
        if not self.terminal.quiet:
            self.terminal.print(line, soft_wrap=True)
        if self._log and self._file:
            self._log.print(line, soft_wrap=True)
            self._file.flush()

    def print_table(self, shown: Table, spare: Sequence[str] = ()) -> None:
        """Print a table; on a narrow terminal without some columns.

        Args:
            shown: the table.
            spare: headings of columns that may be left out, the least important one first.
        """
        self.log(shown)  # before it loses columns
        if not self.terminal.quiet:
            self.terminal.print(narrowed(shown, self.terminal, spare))

    def log(self, *content: RenderableType) -> None:
        """Write only to the log."""
        if self._log and self._file:
            (text,) = content if len(content) == 1 else (None,)
            if isinstance(text, str) and text.isascii() and max(map(len, text.split("\n"))) < LOG_WIDTH:
                self._file.write(f"{visible_lines(text)}\n")  # ten times as fast as a layout by rich
            else:
                self._log.print(*content)
            self._file.flush()

    def widen(self) -> None:
        """Print wide tables if a file or another program is the reader, so that no line is wrapped.

        The environment variable COLUMNS has another width.
        """
        if not on_terminal() and not os.environ.get("COLUMNS", "").isdigit():
            self.terminal.width = WIDE

    def close(self) -> None:
        """Close the log."""
        if self._file:
            self._file.close()
            self._file = None


def plain(file: IO[str]) -> Console:
    """Return a console that writes to a file, without colours even if the environment forces them."""
    return SafeConsole(file=file, width=LOG_WIDTH, force_terminal=False, **AS_IT_IS)


class ScreenHandler(logging.Handler):
    """Prints the messages of parts that have no screen and use the logger `experiments`."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.INFO)
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        self.screen.print(record.getMessage())


@contextmanager
def printing_log(screen: Screen) -> Iterator[None]:
    """Print the messages of the logger `experiments` inside the block."""
    logger, handler = logging.getLogger("experiments"), ScreenHandler(screen)
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def table(*columns: str, right: tuple[str, ...] = (), wrapped: tuple[str, ...] = ()) -> Table:
    """Return an empty table in the style of this package.

    Args:
        columns: the headings.
        right: headings of columns with numbers, aligned to the right.
        wrapped: headings of columns with long texts.
    """
    result = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: JustifyMethod = "right" if column in right else "left"
        overflow: OverflowMethod = "fold" if column in wrapped else "ellipsis"
        result.add_column(column, justify=justify, overflow=overflow, no_wrap=column not in wrapped)
    return result


def narrowed(shown: Table, console: Console, spare: Sequence[str]) -> Table:
    """Return a table without the columns, of those that may be left out, for which a console is too narrow.

    Args:
        shown: the table, which loses them.
        console: with its width.
        spare: headings of columns that may be left out, the least important one first.
    """
    for heading in spare:
        if fits(shown, console):
            break
        shown.columns = [column for column in shown.columns if column.header != heading]
        for index, column in enumerate(shown.columns):
            column._index = index  # the first and the last one have other margins
    return shown


def fits(shown: Table, console: Console) -> bool:
    """Whether a console is wide enough for a table whose columns are not wrapped."""
    unlimited = console.options.update(max_width=100_000)
    return shown.__rich_measure__(console, unlimited).minimum <= console.width
