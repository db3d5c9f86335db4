"""Arrays in .npy files that are mapped into memory, so that they may be larger than it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Lt

from . import memory
from .forms import TargetForm
from .sources import MAGIC, NAMES, VALIDATION, Layout, Source, array_form, class_texts, of_arrays, quantity
from .split import stratified
from .streamed import Rows

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
    rows: dict[str, torch.Tensor] = {}
    if x_test is None:
        test, train = drawn(arrays["x"], arrays["y"], test_fraction, wanted)
        rows = {"train_rows": train, "test_rows": test}
        by_part |= {"x_test": by_part["x_train"], "y_test": by_part["y_train"]}
        notes.append(
            f"there is no test part; {len(test):,} of the {len(arrays['y']):,} examples are drawn for testing, "
            "the same for every seed"
        )
    parts = ("train", "test", *(["val"] if x_val is not None else []))
    source = of_arrays(by_part, called, parts, layout=layout, wanted=wanted, notes=notes, mapped=mapped)
    source.train_rows, source.test_rows = rows.get("train_rows"), rows.get("test_rows")
    return source


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


def drawn(
    x: np.ndarray | Rows, y: np.ndarray, fraction: float, wanted: TargetForm | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the examples to test on, a share of each class; return their rows and those of the others, in order.

    Raises:
        ValueError: the numbers of examples differ, or no example is left for a part or a class.
    """
    if not x.ndim or not y.ndim or len(x) != len(y):
        counts = ["no" if not array.ndim else f"{len(array):,}" for array in (x, y)]
        raise ValueError(f"x has {counts[0]} examples but y has {counts[1]}; the numbers must agree")
    strata = np.zeros(len(y), np.int64)
    if (wanted or array_form([y])) == "classes":
        texts, strata, counted = np.unique(class_texts(y, "y"), return_inverse=True, return_counts=True)
        if counted.min() < 2:
            hint = "; it looks like a quantity: try task=regression" if quantity(list(texts), len(y), "y") else ""
            single = str(texts[int(counted.argmin())])
            raise ValueError(f"y has only one example of class {single!r}; every class needs two{hint}")
    test, train = stratified(torch.from_numpy(strata), round(fraction * len(y)), torch.Generator().manual_seed(0))
    if not len(test) or len(np.unique(strata[train])) < len(np.unique(strata)):
        lacking = (
            "example to test on; use a larger" if not len(test) else "example of a class to train on; use a smaller"
        )
        raise ValueError(f"test_fraction={fraction} leaves no {lacking} fraction")
    return test.sort().values, train.sort().values
