"""Values that hold inside a `with` block of the running thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def holding(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Let a variable hold a value inside the block, and afterwards what it held before."""
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)
