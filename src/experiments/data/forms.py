"""How a file becomes an example of a data set; a run keeps this with the model that it trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, MinLen
from torch import Tensor

WHITE = 255
"""The value of white in a picture of bytes."""


Background = Literal["white", "black"]


@dataclass(frozen=True)
class ImageForm:
    """Examples are pictures, (channels, height, width) with 1 channel for grey and 3 for RGB.

    Args:
        white: the value of white.
        size: pixels to which a picture's shorter side is scaled before its centre is cropped; None if a picture must
            have the shape of the examples already.
        background: the colour on which transparent pictures are drawn; None, as in runs of earlier versions, to leave
            their transparency out.
        limits: the values of black and white in grey pictures of 16 bits; None for all that 16 bits can hold.
        kind: the name of this form, in `data.json`.
    """

    white: Annotated[int, Gt(0)] = WHITE
    size: Annotated[int, Ge(1)] | None = None
    background: Background | None = None
    limits: tuple[float, float] | None = None
    kind: Literal["pictures"] = "pictures"


ColumnKind = Literal["numbers", "truths", "texts", "amounts", "dates"]


@dataclass(frozen=True)
class Column:
    """A column of a table that gives features.

    Args:
        name: its name in the header.
        kind: 'numbers' for one feature of numbers, 'truths' for one feature that is 1 for true and 0 for false, 'texts'
            for one feature per text, 'amounts' for numbers with a currency, a unit or a percent sign, 'dates' for the
            number of days since 1970.
        texts: the texts, in the order of their features.
        affix: the currency, unit or percent sign of amounts.
        day_first: whether the day is before the month in dates.
    """

    name: str
    kind: ColumnKind = "numbers"
    texts: tuple[str, ...] = ()
    affix: str = ""
    day_first: bool = False


@dataclass(frozen=True)
class ColumnUse:
    """What a column of a table holds, and what becomes of it.

    Args:
        name: its name in the header.
        holds: such as 'numbers', 'texts', 'dates', 'identifiers'.
        features: the number of its features; 0 if it is left out.
        note: the reason, and the setting that changes it; empty if there is nothing to say.
        doubtful: whether it is used, but looks as if it should not be.
    """

    name: str
    holds: str
    features: int
    note: str = ""
    doubtful: bool = False


Missing = Literal["error", "mean", "category", "drop"]
FILLED: tuple[Missing, ...] = ("mean", "category")
"""The settings of `missing` that fill missing cells in."""


@dataclass(frozen=True)
class TableForm:
    """Examples are rows of a table.

    Args:
        target: the column of the class, or the first of several targets.
        columns: the columns of the features, in order.
        drop: columns that are left out if the table has them.
        missing: how missing cells are treated, see `tables.csv`.
        separator: the character between two cells.
        decimal: the decimal mark of numbers.
        encoding: of the file; auto to detect it.
        missing_marks: further texts of a missing cell.
        unknown: what to do about a text that the run does not know.
        targets: all columns of targets, if there are several.
        kind: the name of this form, in `data.json`.
    """

    target: str
    columns: Annotated[tuple[Column, ...], MinLen(1)]
    drop: tuple[str, ...] = ()
    missing: Missing = "error"
    separator: str = ","
    decimal: Literal[".", ","] = "."
    encoding: str = "auto"
    missing_marks: tuple[str, ...] = ()
    unknown: Literal["error", "ignore"] = "error"
    targets: tuple[str, ...] = ()
    kind: Literal["table"] = "table"


class UnknownColumnError(ValueError):
    """A setting names a column that a table lacks.

    Args:
        setting: as it is typed.
        path: of the table.
        columns: those that it has, to choose from.
    """

    def __init__(self, setting: str, path: str, columns: str) -> None:
        super().__init__(f"{setting} is not a column of {path}; choose from {columns}")
        self.path, self.columns = path, columns


def features_of(form: TableForm) -> list[dict[str, str]]:
    """Return the features of a table's examples in their order: the column of each, and how its number is found."""
    ways = {
        "numbers": "the number",
        "truths": "1 for true, 0 for false",
        "dates": "days since 1970-01-01",
    }
    found = []
    for column in form.columns:
        if column.kind == "texts":
            found += [{"column": column.name, "value": f"1 for {text!r}, 0 for other texts"} for text in column.texts]
        else:
            amount = f"the number without {column.affix!r}" if column.affix else "the number"
            found.append({"column": column.name, "value": ways.get(column.kind, amount)})
    return found


@dataclass(frozen=True)
class TokenForm:
    """Examples are sequences of tokens: whole numbers that stand for the entries of a vocabulary.

    Args:
        vocabulary: the characters, in the order of their numbers.
        unknown: the token of all others.
        kind: the name of this form, in `data.json`.
    """

    vocabulary: Annotated[tuple[str, ...], MinLen(1)]
    unknown: Annotated[int, Ge(0)] = 0
    kind: Literal["characters"] = "characters"


TargetForm = Literal["classes", "numbers", "labels", "inputs", "tokens"]
"""The form of targets: one class per example, numbers, labels that are 0 or 1, the inputs themselves, or tokens."""
Form = ImageForm | TableForm | TokenForm | None
"""None if examples can only be given as arrays."""


@dataclass(frozen=True)
class Description:
    """The data that a run was trained on: `data.json` in its folder.

    Args:
        classes: the names of the classes, in the order of their numbers; empty if the targets are none.
        shape: the shape of a raw example, before preprocessing.
        form: how a file becomes such an example.
        numbers: the type of raw numbers that are not bytes; float64 if float32 would round them too much.
        layout: the order of the axes of pictures in arrays; None if it is not known.
        columns: what became of each column of a table.
        kind: the form of the targets.
        targets: the names of the numbers or labels.
        scaling: how numbers are scaled inside, as the task has fitted it.
    """

    classes: tuple[str, ...]
    shape: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]
    form: Form = None
    numbers: Literal["float32", "float64"] = "float32"
    layout: Literal["nchw", "nhwc"] | None = None
    columns: tuple[ColumnUse, ...] = ()
    kind: TargetForm = "classes"
    targets: tuple[str, ...] = ()
    scaling: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("there is no name of a class or target")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, labels or numbers."""
        return self.classes if self.kind == "classes" else self.targets


def of_bytes(x: Tensor) -> Form:
    """Return the form of examples that are pictures of bytes; None for all other examples.

    Args:
        x: examples, (examples, ...).
    """
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    return ImageForm(size=x.shape[2] if x.shape[2] == x.shape[3] else None, background="white")


def sides(shape: Sequence[int]) -> str:
    """Return a shape as text: '1 x 28 x 28'."""
    return " x ".join(map(str, shape))
