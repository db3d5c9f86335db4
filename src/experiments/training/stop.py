"""Stop requests, by signals or never."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}  # Windows has no SIGHUP
EXIT_CODES = {getattr(signal, name): code for name, code in CODES.items() if hasattr(signal, name)}
"""The signals that ask a training to stop, and the exit code after each: 128 and its number, as in a shell."""
HANGUP = getattr(signal, "SIGHUP", 0)


class Stop:
    """Whether training should stop, checked after every step; this one never stops it."""

    requested = False


class SignalStop(Stop):
    """Ctrl-C, SIGTERM and SIGHUP (a closed terminal) stop training after the current step.

    A second one goes to the handler from before.
    """

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
        """Catch signals inside the block; outside the main thread there are none.

        A closed terminal does not stop a program that was started with nohup. A block inside another one takes its
        place: a second signal goes to the handler from before both.
        """
        handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            # A handler of C code (None) could not be restored.
            handlers = {n: handler for n in EXIT_CODES if (handler := signal.getsignal(n)) is not None}
        if handlers.get(HANGUP) == signal.SIG_IGN:
            del handlers[HANGUP]
        self.before = {number: original(number, handler) for number, handler in handlers.items()}
        for number in handlers:
            signal.signal(number, self.catch)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextmanager
def ending() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block with its clean-up; a `SignalStop` inside the block comes first.

    Raises:
        SystemExit: with the code of the signal.
    """

    def end(number: int, _frame: Any) -> None:
        raise SystemExit(EXIT_CODES[signal.Signals(number)])

    numbers = [number for number in EXIT_CODES if number != signal.SIGINT]
    here = threading.current_thread() is threading.main_thread()
    replaced = [n for n in numbers if here and signal.getsignal(n) == signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def original(number: int, handler: Any) -> Any:
    """Return the handler that a stop request outside this one has replaced; any other handler as it is."""
    outer = getattr(handler, "__self__", None)
    return outer.before.get(number, handler) if isinstance(outer, SignalStop) else handler
