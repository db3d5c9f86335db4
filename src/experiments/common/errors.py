"""The errors that a user can cause."""

import os
from collections.abc import Iterable
from pathlib import Path

from .meant import name_meant, pasted

PACKAGE = str(Path(__file__).resolve().parents[1])
LIBRARY = str(Path(os.__file__).parent)


class UserError(Exception):
    """A request of the user that cannot be met, in one sentence with the key, the value and the remedy.

    The command line prints the sentence and exits with `code`.
    """

    code = 2

    def _render_traceback_(self) -> list[str]:
        """Let IPython show only the sentence, as the command line does."""
        return [f"Error: {self}"]


class OwnCodeError(UserError):
    """An error that code of the user has raised, which is its cause; the log of the run has the traceback."""


def raised(error: BaseException) -> str:
    """Return which error code of the user has raised: `raised KeyError: 'x' (forward in own.py, line 12)`."""
    message, where = " ".join(str(error).split()), location(error)
    shown = f"{message[:600]} ..." if len(message) > 600 else message
    return f"raised {type(error).__name__}{f': {shown}' if shown else ''}{f' ({where})' if where else ''}"


def reason_of(error: BaseException, known: str) -> str:
    """Return the reason of an error: as code of the user has raised it, or a message for an error of other code.

    Args:
        error: the error.
        known: the message.
    """
    return known if location(error) is None else f"it {raised(error)}"


def location(error: BaseException) -> str | None:
    """Return the last line of the user's code that led to an error: 'forward in own.py, line 12'; None if none did."""
    where, traceback = None, error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        file, function = code.co_filename, "" if code.co_name.startswith("<") else f"{code.co_name} in "
        if is_of_user(file):
            where = f"{function}{Path(file).name}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return where


def raised_by_user(error: BaseException) -> bool:
    """Whether the line that has raised an error is in code of the user, and not in a library that it has called."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and is_of_user(traceback.tb_frame.f_code.co_filename)


def is_of_user(file: str) -> bool:
    """Whether a file of code is of the user, and not of this package, Python or an installed one."""
    return not file.startswith((PACKAGE, LIBRARY, "<")) and "site-packages" not in file


def is_own(thing: type) -> bool:
    """Whether a class is of this package, and not of the user."""
    return thing.__module__.partition(".")[0] == "experiments"


def nearest(word: str, allowed: Iterable[str], key: str = "") -> str:
    """Return `; did you mean 'x'?` for the allowed word that `word` probably means, or an empty string.

    Args:
        word: as typed.
        allowed: the words that may be typed.
        key: of the setting whose value it is, if the answer can be typed like this: `'key=x'`.
    """
    meant = name_meant(word, allowed)
    return pasted([] if meant is None else [f"{key}={meant}" if key else meant])
