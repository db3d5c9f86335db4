"""Signals that ask a run to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .engine import Stop

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class SignalStop(Stop):
    """Ctrl-C and SIGTERM ask for an end after the step in hand; a second one ends at once."""

    signal: int | None = None

    @property
    def requested(self) -> bool:  # type: ignore[override]
        """Whether a signal came."""
        return self.signal is not None

    def catch(self, number: int, _frame: Any) -> None:
        """Note the signal, and let the next one through."""
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch signals inside the block; outside the main thread there are none to catch."""
        try:
            before = {number: signal.signal(number, self.catch) for number in EXIT_CODES}
        except ValueError:
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
