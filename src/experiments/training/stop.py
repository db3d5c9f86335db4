"""Stop requests, by signals or never."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stop:
    """Whether training should stop, checked after every step; this one never stops it."""

    requested = False


class SignalStop(Stop):
    """Ctrl-C and SIGTERM stop training after the current step; a second one goes to the handler from before."""

    signal: int | None = None

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:  # type: ignore[override]
        """Whether a signal has come."""
        return self.signal is not None

    def catch(self, number: int, _frame: Any) -> None:
        """Note the signal, and leave the next one to the handler from before."""
        self.signal = number
        signal.signal(number, self.before[number])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch signals inside the block; outside the main thread there are none."""
        if threading.current_thread() is threading.main_thread():
            # A handler of C code (None) could not be restored.
            self.before = {n: handler for n in EXIT_CODES if (handler := signal.getsignal(n)) is not None}
        for number in self.before:
            signal.signal(number, self.catch)
        try:
            yield
        finally:
            for number, handler in self.before.items():
                signal.signal(number, handler)
