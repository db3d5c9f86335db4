"""Arrays in .npy files that are mapped into memory, so that they may be larger than it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from torch import Tensor

from . import memory
from .forms import TargetForm
from .sources import MAGIC, NAMES, VALIDATION, Layout, Source, of_arrays, with_test_rows

MAPPED = (np.uint8, np.float32)
"""The types of inputs that stay in their file; others are read, and become one of these."""


def npy(
    x: str,
    y: str,
    x_test: str | None = None,
    y_test: str | None = None,
    x_val: str | None = None,
    y_val: str | None = None,
    layout: Layout | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    wanted: TargetForm | None = None,
) -> Source:
    """Inputs and targets in .npy files; inputs in bytes or float32 are read from their file in training.

    Args:
        x, y: the inputs and targets; see `sources.npz` for their shapes.
        x_test, y_test: those to test on; None to draw them.
        x_val, y_val: those to validate on, if there are any.
        layout: nhwc if the channels are the last axis of x, nchw if they are the second; None for what the shape shows.
        test_fraction: without x_test, the share of the examples to test on, the same ones for every seed.
        wanted: the form of targets that the task learns; None for what y shows.

    Raises:
        ValueError: a file is absent or unreadable, or an array is unsuitable.
    """
    given = {"x_test": x_test, "y_test": y_test, "x_val": x_val, "y_val": y_val}
    for part in ("test", "val"):
        lacking = [f"{kind}_{part}" for kind in "xy" if given[f"{kind}_{part}"] is None]
        if len(lacking) == 1:
            other = f"{'y' if lacking[0][0] == 'x' else 'x'}_{part}"
            raise ValueError(f"{other}={given[other]!r} is given without {lacking[0]}; give both, or neither")
    paths = {"x": x, "y": y, **{name: path for name, path in given.items() if path is not None}}
    arrays = {name: opened(path, name) for name, path in paths.items()}
    inputs = [array for name, array in arrays.items() if name[0] == "x"]
    mapped = inputs[0].dtype in MAPPED and all(array.dtype == inputs[0].dtype for array in inputs)
    for name, array in arrays.items():
        if not (mapped and name[0] == "x"):
            memory.require(array.nbytes, f"{name}={paths[name]!r}")
            arrays[name] = np.array(array)
    names = {"x_train": "x", "y_train": "y"}
    by_part = {own: arrays[names.get(own, own)] for own in (*NAMES, *VALIDATION) if names.get(own, own) in arrays}
    called = {own: names.get(own, own) for own in (*NAMES, *VALIDATION)}
    notes = [f"{Path(x).name} is read from its file in training"] if mapped else []
    rows: tuple[Tensor | None, Tensor | None] = (None, None)
    if x_test is None:
        by_part, rows = with_test_rows(by_part, ("x", "y"), test_fraction, wanted)
        notes.append(
            f"no test part is given; {len(rows[1]):,} of the {len(arrays['y']):,} examples are set aside "
            "for testing, the same ones for every seed"
        )
    parts = ("train", "test", *(["val"] if x_val is not None else []))
    return of_arrays(by_part, called, parts, layout=layout, wanted=wanted, notes=notes, mapped=mapped, rows=rows)


def opened(path: str, name: str) -> np.ndarray:
    """Return the array of a .npy file, mapped into memory.

    Raises:
        ValueError: the file is absent, is not such a file, is cut off, or holds objects.
    """
    file = Path(path).expanduser()
    try:
        with file.open("rb") as head:
            if head.read(len(MAGIC)) != MAGIC:
                raise ValueError(f"{name}={path!r} is not an .npy file; save it with numpy.save")
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{name}={path!r} does not exist; give an .npy file") from None
    except (OSError, EOFError, TypeError, SyntaxError) as error:
        raise ValueError(f"{name}={path!r} cannot be read: {' '.join(str(error).split())}") from None
    except ValueError as error:
        if str(error).startswith(f"{name}="):
            raise
        if "mmap length" in str(error):
            raise ValueError(f"{name}={path!r} is cut off: it is shorter than the array that it declares") from None
        hint = "; save texts with dtype=str instead of object" if "object" in str(error) else ""
        raise ValueError(f"{name}={path!r} cannot be read: {' '.join(str(error).split())}{hint}") from None
    if not array.size:
        raise ValueError(f"{name}={path!r} is empty: its shape is {array.shape}")
    if not array.flags.c_contiguous and math.prod(array.shape[1:]) > 1:
        raise ValueError(f"{name}={path!r} has its values in Fortran's order; save numpy.ascontiguousarray({name})")
    return array
