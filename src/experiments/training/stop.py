"""Requests to stop, by signals or by nobody."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stop:
    """Says, when asked after a step, whether someone wants training to end; this one never does."""

    requested = False


class SignalStop(Stop):
    """Ctrl-C and SIGTERM ask for an end after the step in hand; a second one goes to whoever listened before."""

    signal: int | None = None

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:  # type: ignore[override]
        """Whether a signal came."""
        return self.signal is not None

    def catch(self, number: int, _frame: Any) -> None:
        """Note the signal, and let the next one through."""
        self.signal = number
        signal.signal(number, self.before[number])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch signals inside the block; outside the main thread there are none to catch."""
        if threading.current_thread() is threading.main_thread():
            # What C code listens to (None) could not be given back to it.
            self.before = {n: handler for n in EXIT_CODES if (handler := signal.getsignal(n)) is not None}
        for number in self.before:
            signal.signal(number, self.catch)
        try:
            yield
        finally:
            for number, handler in self.before.items():
                signal.signal(number, handler)
