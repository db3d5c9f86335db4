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
    """Return which error code of the user has raised, and where: `raised KeyError: 'x' (own.py, line 12)`."""
    message, where = " ".join(str(error).split()), location(error)
    shown = f"{message[:600]} ..." if len(message) > 600 else message
    return f"raised {type(error).__name__}{f': {shown}' if shown else ''}{f' ({where})' if where else ''}"


def location(error: BaseException) -> str | None:
    """Return the last line of the user's own code that led to an error: 'own.py, line 12'; None if none did."""
    where, traceback = None, error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith((PACKAGE, LIBRARY, "<")) and "site-packages" not in file:
            where = f"{Path(file).name}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return where


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
