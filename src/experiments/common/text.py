"""Texts and numbers as people read them."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST = 400
"""Characters of a value, or of what is allowed, that a sentence shows whole."""
FORMULA = "=+-@\t'"
"""The characters that begin a formula in a spreadsheet, and the apostrophe that prevents it."""


def on_terminal() -> bool:
    """Whether the output is a terminal. A daemon, or a program without a console, has no output, or a closed one."""
    return sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty()


def duration(seconds: float) -> str:
    """Return seconds as text: '3.2 s', '4 min 05 s', '2 h 10 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def visible(text: str) -> str:
    """Return a text on one line, without characters that a terminal takes as commands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def visible_lines(text: str) -> str:
    """Return a text with its lines and tabs, without characters that a terminal takes as commands."""
    return "".join(c if c.isprintable() or c in "\n\t\u00a0" else visible(c) for c in text)


def spreadsheet(value: Any) -> Any:
    """Return a value for a cell of a CSV file, so that a spreadsheet shows a text and never computes it as a formula.

    A text that begins with one of = + - @, a tab or an apostrophe gets an apostrophe before it, as one types it in a
    spreadsheet; without the first apostrophe it is the text again. Control characters are shown, as on a terminal: a
    carriage return would begin a row. Numbers stay as they are.
    """
    if not isinstance(value, str) or not value:
        return value
    value = visible_lines(value)
    try:
        float(value)
    except ValueError:
        return f"'{value}" if value[0] in FORMULA else value
    return value


def markdown(text: str) -> str:
    """Return a text for Markdown, without HTML or marks of its own, on one line."""
    escaped = visible(text.replace("\n", " ")).replace("\\", "\\\\")
    for character in "`*_[]|":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


STANDING: list[Path] = []
"""The folders in which users have typed the commands that run; a command may change the folder of the process."""


@contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """Let `shown_path` show paths inside the block as a user types them in a folder."""
    STANDING.append(folder)
    try:
        yield
    finally:
        STANDING.pop()


def cut(text: str) -> str:
    """Return a text, shortened to a readable length."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}... ({len(text):,} characters)"


def shown_path(path: Path) -> str:
    """Return a path as a user types it in the folder where the command was typed."""
    try:
        return str(path.relative_to(STANDING[-1] if STANDING else Path.cwd()))
    except ValueError:
        return str(path)


def command_name(name: str) -> str:
    """Return how to type a program of this environment: its name if the shell finds it, otherwise its path."""
    here = Path(sys.executable).parent / name
    return name if shutil.which(name) == str(here) else shown_path(here)


def capital(sentence: str) -> str:
    """Return a sentence with a capital letter at its start."""
    return sentence[:1].upper() + sentence[1:]


def counted(count: int, noun: str) -> str:
    """Return '1 run', '2 runs'."""
    return f"{count} {noun}{'s' * (count != 1)}"


def ranges(numbers: Sequence[int], first: int = 0) -> str:
    """Return numbers, each plus `first`, as text: '#0 to #3, #8'."""
    runs: list[list[int]] = []
    for number in (first + number for number in numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = (f"#{run[0]} to #{run[-1]}" if len(run) > 2 else ", ".join(f"#{number}" for number in run) for run in runs)
    return ", ".join(texts)


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line, shortened to a readable length."""
    message = " ".join(str(error).split())
    return f"{message[:600]} ..." if len(message) > 600 else message or type(error).__name__
