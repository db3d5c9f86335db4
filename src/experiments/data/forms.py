"""How a file becomes an example of a data set; a run keeps this with the model that it trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, MinLen
from torch import Tensor

WHITE = 255
"""The value of white in a picture of bytes."""


@dataclass(frozen=True)
class ImageForm:
    """Examples are pictures, (channels, height, width) with 1 channel for grey and 3 for RGB.

    Args:
        white: the value of white.
        size: pixels to which a picture's shorter side is scaled before its centre is cropped; None if a picture must
            have the shape of the examples already.
        kind: the name of this form, in `data.json`.
    """

    white: Annotated[int, Gt(0)] = WHITE
    size: Annotated[int, Ge(1)] | None = None
    kind: Literal["pictures"] = "pictures"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: its name in the header.
        kind: 'numbers' for one feature of numbers, 'truths' for one feature that is 1 for true and 0 for false, 'texts'
            for one feature per text.
        texts: the texts, in the order of their features.
    """

    name: str
    kind: Literal["numbers", "truths", "texts"] = "numbers"
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableForm:
    """Examples are rows of a table.

    Args:
        target: the column of the class.
        columns: the columns of the features, in order.
        drop: columns that are left out if the table has them.
        missing: how missing cells are treated, see `tables.csv`.
        separator: the character between two cells.
        kind: the name of this form, in `data.json`.
    """

    target: str
    columns: Annotated[tuple[Column, ...], MinLen(1)]
    drop: tuple[str, ...] = ()
    missing: Literal["error", "mean", "drop"] = "error"
    separator: str = ","
    kind: Literal["table"] = "table"


Form = ImageForm | TableForm | None
"""None if examples can only be given as arrays."""


@dataclass(frozen=True)
class Description:
    """The data that a run was trained on: `data.json` in its folder.

    Args:
        classes: the names of the classes, in the order of their numbers.
        shape: the shape of a raw example, before preprocessing.
        form: how a file becomes such an example.
    """

    classes: Annotated[tuple[str, ...], MinLen(1)]
    shape: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]
    form: Form = None


def of_bytes(x: Tensor) -> Form:
    """Return the form of examples that are pictures of bytes; None for all other examples.

    Args:
        x: examples, (examples, ...).
    """
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    return ImageForm(size=x.shape[2] if x.shape[2] == x.shape[3] else None)


def sides(shape: Sequence[int]) -> str:
    """Return a shape as text: '1 x 28 x 28'."""
    return " x ".join(map(str, shape))
