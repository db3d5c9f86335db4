"""Streams of an emulated CUDA device: a tensor that one stream writes has to be waited for by another."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from ._record import Current

_numbers = count()


class Stream:
    """A queue of work; `seen` is how much of each other stream's work it has waited for."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.number = next(_numbers)
        self.work = 0
        self.seen: dict[int, int] = {}

    def wait_stream(self, other: "Stream") -> None:
        """Let later work here wait for the present work of another stream."""
        self.seen[other.number] = other.work

    def synchronize(self) -> None:
        """Wait on the host."""
        Current.record.wait("synchronize")


DEFAULT = Stream()
_current = [DEFAULT]


def current_stream(device: Any = None) -> Stream:
    """Return the stream of the calling code."""
    del device
    return _current[-1]


@contextmanager
def stream(chosen: Stream | None) -> Iterator[None]:
    """Use a stream inside the block."""
    _current.append(chosen or _current[-1])
    try:
        yield
    finally:
        _current.pop()


def note_written(tensor: Any) -> None:
    """Note that the current stream, if it is not the default one, writes a tensor."""
    own = current_stream()
    if own is not DEFAULT:
        own.work += 1
        tensor.written = (own, own.work)


def check_waited_for(tensor: Any) -> None:
    """Check that the current stream has waited for the stream that wrote a tensor, and that its memory is kept.

    Raises:
        RuntimeError: it has not, or `record_stream` was not called.
    """
    writer, work = tensor.written or (current_stream(), 0)
    own = current_stream()
    if writer is own:
        return
    if own.seen.get(writer.number, -1) < work:
        raise RuntimeError("a tensor is used before the stream that writes it was waited for")
    if own.number not in tensor.recorded:
        raise RuntimeError("a tensor of another stream is used without record_stream: its memory may be reused")
