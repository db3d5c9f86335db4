"""The error that a user can cause."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A request of the user that cannot be met, in one sentence with the key, the value and the remedy.

    The command line prints the sentence and exits with `code`.
    """

    code = 2

    def _render_traceback_(self) -> list[str]:
        """Let IPython show only the sentence, as the command line does."""
        return [f"Error: {self}"]


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the allowed word closest to `word`, or an empty string."""
    matches = get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""
