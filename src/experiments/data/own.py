"""Examples from the user's own files, in the form of the data that a run was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import memory, packed, parquet, tables
from .forms import FILLED, WHITE, Description, ImageForm, TableForm, sides
from .packed import Conversion
from .pictures import EXTENSIONS, files, left_aside
from .sources import MAGIC, channels_first, declared, read_arrays
from .textfiles import AUTO

KINDS = "a picture, a folder of pictures, a .csv file, a .parquet file, an .npz file or an .npy file"


@dataclass(frozen=True)
class NamedExamples:
    """Raw examples and their names.

    Args:
        x: (examples, *shape).
        names: the names of the files, or the numbers of the rows: from 1 in a table, from 0 in an array.
        notes: sentences for the user about what was found in the file.
    """

    x: Tensor
    names: Sequence[str]
    notes: Sequence[str] = ()


def read(path: str, description: Description) -> NamedExamples:
    """Read examples from a picture, a folder of pictures, a csv file or an npz file with the array x.

    Raises:
        ValueError: the file is absent, cannot be read, or does not fit the run; the message begins with its path.
    """
    expanded = Path(path).expanduser()
    if expanded.is_dir():
        names, others = names_below(expanded, path)
        read = pictures([str(expanded / name) for name in names], description, below=str(expanded))
        return replace(read, notes=left_aside(others, path))
    if not expanded.exists():
        raise ValueError(f"{path!r} does not exist; give {KINDS}")
    kind = expanded.suffix.lower()
    if kind in EXTENSIONS:
        return pictures([str(expanded)], description, below=str(expanded.parent))
    if kind in (".csv", ".tsv", ".txt"):
        return table(str(expanded), description)
    if kind in parquet.EXTENSIONS:
        with parquet.as_csv([str(expanded)], [repr(path)]) as (copy,):
            return table(copy, description)
    if kind in (".npz", ".npy"):
        x, notes = array_of(str(expanded))
        return replace(arrays(x, description, repr(path)), notes=notes)
    raise ValueError(f"{path!r} ends in {kind!r}; give {KINDS}; pictures end in {', '.join(EXTENSIONS)}")


def array_of(path: str) -> tuple[np.ndarray, list[str]]:
    """Return the only array of a .npy file, or the array x of an .npz file, and sentences about other arrays.

    Raises:
        ValueError: the file cannot be read, or has no array x.
    """
    with Path(path).open("rb") as file:
        single = file.read(len(MAGIC)) == MAGIC  # whatever the file is called
    try:
        if single:
            check_size(path)
            return np.load(path, allow_pickle=False), []
        arrays, notes = read_arrays(path, ["x"])
    except memory.MemoryLimitError as error:
        raise ValueError(str(error).removeprefix("path=")) from None
    except ValueError as error:
        reason = str(error).removeprefix("path=")
        raise ValueError(f"{path!r} cannot be read as an .npy file: {reason}" if single else reason) from None
    return arrays["x"], notes


def check_size(path: str) -> None:
    """Refuse a .npy file that declares more values than it has.

    Raises:
        ValueError: it does.
        MemoryLimitError: its values need more memory than they may take.
    """
    with Path(path).open("rb") as file:
        size = declared(file)
    held = Path(path).stat().st_size
    if size > held:
        raise ValueError(f"it declares {size:,} bytes, but has {held:,}")
    memory.require(size, f"path={path!r}")


def names_below(folder: Path, path: str) -> tuple[list[str], list[str]]:
    """Return the pictures in a folder and its sub-folders, in order, and the other files; hidden ones are skipped.

    Raises:
        ValueError: there is no picture.
    """
    others: list[str] = []
    names = sorted(file.name for file in files(folder, "", frozenset(), others))
    if not names:
        raise ValueError(f"{path!r} contains no picture; the names of pictures end in {', '.join(EXTENSIONS)}")
    return names, others


def pictures(paths: Sequence[str], description: Description, below: str) -> NamedExamples:
    """Read pictures; their names are their paths below a folder.

    Raises:
        ValueError: a picture cannot be read, or the run was not trained on such pictures.
    """
    form, shape = description.form, description.shape
    if not isinstance(form, ImageForm):
        wanted = "a csv file" if isinstance(form, TableForm) else "an npz or csv file"
        raise ValueError(f"{paths[0]!r} is a picture, but the run was not trained on pictures; give {wanted}")
    x = np.empty((len(paths), *shape), np.uint8)
    for row, path in zip(x, paths, strict=True):
        try:
            pixels = packed.single_picture(path, form.size, shape[0], Conversion(form.background, form.limits))
        except packed.UnreadableError as error:
            raise ValueError(f"{path!r} cannot be read as a picture ({error.reason})") from None
        if pixels.shape != tuple(shape):
            raise ValueError(f"{path!r} has the shape {sides(pixels.shape)}; the run was trained on {sides(shape)}")
        row[:] = pixels if form.white == WHITE else np.round(pixels * (form.white / WHITE))
    return NamedExamples(torch.from_numpy(x), [str(Path(path).relative_to(below)) for path in paths])


def table(path: str, description: Description) -> NamedExamples:
    """Read the rows of a csv file: columns by name if the run was trained on a table, by order otherwise.

    Raises:
        ValueError: the table has other columns, or cells that the run cannot take.
    """
    form = description.form
    x, notes = tables.rows(path, form) if isinstance(form, TableForm) else tables.plain_rows(path)
    examples = arranged(of_type(x, description), description, repr(path))
    return NamedExamples(examples, [str(number + 1) for number in range(len(x))], notes)


def frame(x: Any, description: Description, form: TableForm) -> NamedExamples:
    """Read the rows of a table of pandas, as those of the csv file with the same cells; its index names them.

    Args:
        x: the table.
        description: the data that the run was trained on.
        form: of its table.

    Raises:
        ValueError: see `table`.
    """
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "table.csv")
        x.to_csv(path, index=False, sep=form.separator, decimal=form.decimal, encoding="utf-8")
        try:
            read = table(path, replace(description, form=replace(form, encoding=AUTO)))
        except ValueError as error:
            raise ValueError(str(error).replace(repr(path), "the table")) from None
    return NamedExamples(read.x, [str(name) for name in x.index])


def arrays(x: np.ndarray, description: Description, file: str) -> NamedExamples:
    """Take examples from an array.

    Args:
        x: (examples, ...), see `arranged`.
        description: the data that the run was trained on.
        file: the name of the array's file in an error.

    Raises:
        ValueError: the array does not hold numbers, or its examples have another shape.
    """
    if x.dtype.kind not in "iubf":
        raise ValueError(f"{file} has an array x of type {x.dtype}; expected numbers")
    if x.dtype not in (np.uint8, np.float32):
        x = x.astype(np.float64)
    examples = arranged(of_type(torch.from_numpy(np.ascontiguousarray(x)), description), description, file)
    return NamedExamples(examples, [str(number) for number in range(len(examples))])


def of_type(x: Tensor, description: Description) -> Tensor:
    """Return inputs in the type of the numbers that the run was trained on; bytes stay bytes."""
    if x.dtype == torch.uint8:
        return x
    return x.double() if description.numbers == "float64" else x.float()


def arranged(x: Tensor, description: Description, file: str) -> Tensor:
    """Return examples in the shape of the data that the run was trained on.

    Args:
        x: examples in that shape or flattened; pictures also as (examples, height, width) or
            (examples, height, width, channels).
        description: the data that the run was trained on.
        file: the name of the file in an error.

    Raises:
        ValueError: the examples have another shape, there is no example, or a value is not finite.
    """
    shape, form = description.shape, description.form
    if not x.ndim or not len(x):
        raise ValueError(f"{file} contains no example")
    candidates = (channels_first(x), x) if description.layout == "nhwc" else (x, channels_first(x))
    examples = next((candidate for candidate in candidates if tuple(candidate.shape[1:]) == shape), None)
    if examples is None and tuple(x.shape[1:]) == (prod(shape),):
        examples = x.view(-1, *shape)
    if examples is None:
        given = f"examples of shape {sides(x.shape[1:])}" if x.ndim > 1 else "single numbers"
        raise ValueError(f"{file} contains {given}; the run was trained on {sides(shape)}")
    allowed = examples.float().isfinite() if examples.dtype == torch.float64 else examples.isfinite()
    if isinstance(form, TableForm) and form.missing in FILLED:
        allowed |= examples.isnan()
    wrong = (~allowed.flatten(1).all(1)).nonzero()
    if len(wrong):
        raise ValueError(f"{file} contains a value that is not finite in float32, first in example {int(wrong[0])}")
    return examples
