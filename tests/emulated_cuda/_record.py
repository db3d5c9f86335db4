"""What an emulated device is asked to do."""

import sys
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

OWN = str(Path(__file__).parent)
SOURCES = tuple(f"/{name}/" for name in ("src/experiments", "tests", "benchmarks"))


class Wait(NamedTuple):
    """A wait of the host for the device: its kind, and the line of this project that causes it."""

    kind: str
    line: str


@dataclass
class Record:
    """The work of an emulated device.

    Args:
        launches: the number of launches by operation.
        waits: the number of waits by kind and line.
        synchronized: the number of calls of `torch.cuda.synchronize` by line, which are not in `waits`.
    """

    launches: Counter[str] = field(default_factory=Counter)
    waits: Counter[Wait] = field(default_factory=Counter)
    synchronized: Counter[str] = field(default_factory=Counter)

    def launch(self, operation: str) -> None:
        """Count a launch."""
        self.launches[operation] += 1

    def wait(self, kind: str) -> None:
        """Count a wait."""
        self.waits[Wait(kind, calling_line())] += 1

    @contextmanager
    def counted(self) -> Iterator["Record"]:
        """Return a record that has, after the block, only what happens inside it."""
        launches, waits, synchronized = self.launches.copy(), self.waits.copy(), self.synchronized.copy()
        inside = Record()
        try:
            yield inside
        finally:
            inside.launches.update(self.launches - launches)
            inside.waits.update(self.waits - waits)
            inside.synchronized.update(self.synchronized - synchronized)


_pinned: MutableMapping[Tensor, bool] = WeakTensorKeyDictionary()


def pin(tensor: Tensor) -> Tensor:
    """Note that the memory of a tensor is pinned, and return it."""
    _pinned[tensor] = True
    return tensor


def is_pinned(tensor: Tensor) -> bool:
    """Whether the memory of a tensor is pinned, so that it is copied without a wait."""
    return tensor in _pinned


class Current:
    """The record of the device that is emulated at the moment."""

    record = Record()


def calling_line() -> str:
    """Return the innermost line of this project outside this package, such as `src/experiments/.../single.py:12`."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        source = next((part for part in SOURCES if part in name), None)
        if source is not None and not name.startswith(OWN):
            return f"{source[1:]}{name.rpartition(source)[2]}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "torch"
