"""Importing heavy libraries without the garbage collector."""

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

from .errors import nearest

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


def object_at(path: str) -> Any:
    """Return the object at the end of a dotted path; Hydra, which looks it up, prints nothing.

    Raises:
        Exception: it cannot be imported; see `why_missing`.
    """
    from hydra.utils import get_object

    log = logging.getLogger("hydra.utils")
    before, log.disabled = log.disabled, True
    try:
        return get_object(path)
    finally:
        log.disabled = before


def why_missing(path: str) -> str | None:
    """Return why the object at the end of a dotted path does not exist, after it could not be imported.

    Returns:
        The module that lacks it, with the nearest name; None if a module raised an error.
    """
    parts = path.split(".")
    for end in range(len(parts) - 1, -1, -1):
        name = ".".join(parts[:end])
        if end and name not in sys.modules:
            continue
        with suppress(Exception):
            if find_spec(f"{name}.{parts[end]}".strip(".")) is not None:
                return None
        if not end:
            return f"Python cannot find a module {parts[0]!r}"
        module = sys.modules[name]
        names = [one for one in vars(module) if not one.startswith("_")]
        names += [one.name for one in iter_modules(getattr(module, "__path__", ()))]
        return f"{name} has no {parts[end]!r}{nearest(parts[end], names)}"
    return None
