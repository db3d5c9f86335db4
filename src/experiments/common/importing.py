"""Importing heavy libraries without the garbage collector."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

HEAVY = "torch"


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Keep the garbage collector from searching what the block imports, now and later: it is never garbage.

    Torch has half a million objects. Only the first import counts: other objects of a program may become garbage.
    """
    if HEAVY in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
