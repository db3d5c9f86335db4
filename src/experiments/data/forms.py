"""What a file has to look like to become an example of a data set: kept with the run that learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, MinLen
from torch import Tensor

WHITE = 255
"""Of a picture in bytes."""


@dataclass(frozen=True)
class ImageForm:
    """Examples are pictures, (channels, height, width) with 1 channel for grey and 3 for RGB.

    Args:
        white: the value that stands for white.
        size: the side that the shorter side of a picture is scaled to, before its centre is cut out; None where
            pictures have to come in the shape of the examples.
        kind: tells it from other forms.
    """

    white: Annotated[int, Gt(0)] = WHITE
    size: Annotated[int, Ge(1)] | None = None
    kind: Literal["pictures"] = "pictures"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: in the header.
        kind: a feature of numbers, one of true and false, or one feature for each of its texts.
        texts: these, in the order of the features.
    """

    name: str
    kind: Literal["numbers", "truths", "texts"] = "numbers"
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableForm:
    """Examples are rows of a table.

    Args:
        target: the class's column.
        columns: of the features, in their order.
        drop: columns that are left out where they are there.
        missing: what becomes of a missing cell, see `tables.csv`.
        separator: one character, between cells.
        kind: tells it from other forms.
    """

    target: str
    columns: Annotated[tuple[Column, ...], MinLen(1)]
    drop: tuple[str, ...] = ()
    missing: Literal["error", "mean", "drop"] = "error"
    separator: str = ","
    kind: Literal["table"] = "table"


Form = ImageForm | TableForm | None
"""None where examples come in arrays alone."""


@dataclass(frozen=True)
class Description:
    """What a run has learned to expect of data: `data.json` in its folder.

    Args:
        classes: names, in the order of their numbers.
        shape: of an example as it came, before it is prepared.
        form: how a file becomes such an example.
    """

    classes: Annotated[tuple[str, ...], MinLen(1)]
    shape: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]
    form: Form = None


def of_bytes(x: Tensor) -> Form:
    """Return the form of pictures in bytes; None for what is none.

    Args:
        x: examples, (examples, ...).
    """
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    return ImageForm(size=x.shape[2] if x.shape[2] == x.shape[3] else None)


def sides(shape: Sequence[int]) -> str:
    """Return a shape for people: '1 x 28 x 28'."""
    return " x ".join(map(str, shape))
