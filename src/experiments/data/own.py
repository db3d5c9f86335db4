"""Examples from files of one's own, in the form that a run has learned to expect."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import packed, tables
from .forms import WHITE, Description, ImageForm, TableForm, sides
from .pictures import EXTENSIONS, files
from .sources import channels_first, read_arrays

KINDS = "a picture, a folder of pictures, a .csv or an .npz file"


@dataclass(frozen=True)
class NamedExamples:
    """Raw examples and what they are called.

    Args:
        x: (examples, *shape).
        names: of the files, or the numbers of the rows, from 1 in a table and from 0 in an array.
    """

    x: Tensor
    names: Sequence[str]


def read(path: str, description: Description) -> NamedExamples:
    """Read examples from a picture, a folder of pictures, a csv file or an npz file with the array x.

    Raises:
        ValueError: says what the file lacks, beginning with its path.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return pictures([str(place / name) for name in names_below(place, path)], description, below=str(place))
    if not place.exists():
        raise ValueError(f"{path!r} does not exist; give {KINDS}")
    kind = place.suffix.lower()
    if kind in EXTENSIONS:
        return pictures([str(place)], description, below=str(place.parent))
    if kind in (".csv", ".tsv", ".txt"):
        return table(str(place), description)
    if kind == ".npz":
        try:
            x = read_arrays(str(place), ["x"])["x"]
        except ValueError as error:
            raise ValueError(str(error).removeprefix("path=")) from None
        return arrays(x, description, repr(path))
    raise ValueError(f"{path!r} ends in {kind!r}; give {KINDS}, with pictures that end in {', '.join(EXTENSIONS)}")


def names_below(folder: Path, path: str) -> list[str]:
    """Return the pictures in a folder and below it, in order; names that begin with a dot are passed over.

    Raises:
        ValueError: there is none.
    """
    found = sorted(file.name for file in files(folder, "", frozenset()))
    if not found:
        raise ValueError(f"{path!r} holds no picture; their names end in {', '.join(EXTENSIONS)}")
    return found


def pictures(paths: Sequence[str], description: Description, below: str) -> NamedExamples:
    """Read pictures; they are called by their paths below a folder.

    Raises:
        ValueError: one cannot be read, or pictures are not what the run was trained on.
    """
    form, shape = description.form, description.shape
    if not isinstance(form, ImageForm):
        wanted = "a csv file" if isinstance(form, TableForm) else "an npz or csv file"
        raise ValueError(f"{paths[0]!r} is a picture, and the run was trained on none; give {wanted}")
    x = np.empty((len(paths), *shape), np.uint8)
    for row, path in zip(x, paths, strict=True):
        try:
            pixels = packed.alone(path, form.size, shape[0])
        except packed.UnreadableError as error:
            raise ValueError(f"{path!r} cannot be read as a picture ({error.reason})") from None
        if pixels.shape != tuple(shape):
            raise ValueError(f"{path!r} has the shape {sides(pixels.shape)}; the run was trained on {sides(shape)}")
        row[:] = pixels if form.white == WHITE else np.round(pixels * (form.white / WHITE))
    return NamedExamples(torch.from_numpy(x), [str(Path(path).relative_to(below)) for path in paths])


def table(path: str, description: Description) -> NamedExamples:
    """Read the rows of a csv file: by its columns' names where the run was trained on a table, else by their order.

    Raises:
        ValueError: it has other columns, or cells that the run cannot take.
    """
    form = description.form
    x = tables.rows(path, form) if isinstance(form, TableForm) else tables.plain_rows(path)
    return NamedExamples(arranged(x, description, repr(path)), [str(number + 1) for number in range(len(x))])


def arrays(x: np.ndarray, description: Description, place: str) -> NamedExamples:
    """Take examples from an array.

    Args:
        x: (examples, ...), see `arranged`.
        description: what is expected.
        place: what an error calls the array's file.

    Raises:
        ValueError: it holds no numbers, or examples of another shape.
    """
    if x.dtype.kind not in "iubf":
        raise ValueError(f"{place} holds an x of the type {x.dtype}; expected numbers")
    if x.dtype != np.uint8:
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as not finite
            x = x.astype(np.float32)
    made = arranged(torch.from_numpy(np.ascontiguousarray(x)), description, place)
    return NamedExamples(made, [str(number) for number in range(len(made))])


def arranged(x: Tensor, description: Description, place: str) -> Tensor:
    """Return examples in the shape that is expected.

    They may come so, as rows of all their values in order, or, being pictures, as (examples, height, width) or
    (examples, height, width, channels).

    Raises:
        ValueError: they have another shape, there is none, or one has a value that is not finite.
    """
    shape, form = description.shape, description.form
    if not x.ndim or not len(x):
        raise ValueError(f"{place} holds no example")
    found = next((way for way in (x, channels_first(x)) if tuple(way.shape[1:]) == shape), None)
    if found is None and tuple(x.shape[1:]) == (prod(shape),):
        found = x.view(-1, *shape)
    if found is None:
        given = f"examples of the shape {sides(x.shape[1:])}" if x.ndim > 1 else "single numbers"
        raise ValueError(f"{place} holds {given}; the run was trained on {sides(shape)}")
    allowed = found.isfinite()
    if isinstance(form, TableForm) and form.missing == "mean":
        allowed |= found.isnan()
    wrong = (~allowed.flatten(1).all(1)).nonzero()
    if len(wrong):
        raise ValueError(f"{place} holds a value that is not finite in float32, first in example {int(wrong[0])}")
    return found
