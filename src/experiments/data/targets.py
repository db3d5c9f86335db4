"""The targets of a table: their form, and numbers or labels from its cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .columns import TRUTHS, affix_of, amount, as_numbers
from .forms import TargetForm

if TYPE_CHECKING:
    import pandas as pd

BINARY = {0.0, 1.0}
YES_OR_NO = {"yes": 1.0, "no": 0.0}
DECIMAL_COMMA = re.compile(r"^\D{0,4}\d+,\d")


def numbers_of(cells: pd.Series, decimal: str) -> np.ndarray:
    """Return a column as numbers in float64, nan for cells that are none; true or yes is 1, false or no is 0."""
    values = as_numbers(cells, decimal).to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(values).any() and cells.dtype.kind not in "iuf":
        truths = cells.astype(str).str.lower().map({**TRUTHS, **YES_OR_NO}).to_numpy(dtype=np.float64, na_value=np.nan)
        values = truths if not np.isnan(truths).any() else values
    return values


def form_of(table: pd.DataFrame, names: Sequence[str], decimal: str) -> TargetForm:
    """Return the form of a table's targets.

    A single column is a regression if all of its cells are numbers and one has a fraction; otherwise its texts are
    classes. Several columns are labels if all of them are 0 and 1, otherwise numbers.

    Args:
        table: with the targets, read as texts or numbers.
        names: of the targets.
        decimal: the decimal mark of numbers.
    """
    columns = [numbers_of(table[name], decimal) for name in names]
    if len(columns) > 1:
        return "labels" if all(set(np.unique(values)) <= BINARY for values in columns) else "numbers"
    finite = np.isfinite(columns[0])
    if not finite.all():
        return "classes"
    return "numbers" if (columns[0] != np.floor(columns[0])).any() else "classes"


def values_of(table: pd.DataFrame, names: Sequence[str], decimal: str) -> Tensor:
    """Return numbers or labels, (rows, targets) in float64.

    Amounts with one currency or unit in all rows are read as numbers.

    Raises:
        ValueError: names the first cell that is not a finite number.
    """
    columns = [amounts_of(table[name], decimal) for name in names]
    for name, values in zip(names, columns, strict=True):
        wrong = ~np.isfinite(values)
        if wrong.any():
            first = int(np.argmax(wrong))
            file, row = table.index[first]
            cell = str(table[name].iloc[first])
            comma = "; if the comma is a decimal mark, add data.decimal=comma"
            comma = comma if decimal == "." and DECIMAL_COMMA.search(cell) else ""
            raise ValueError(
                f"{file} has {table[name].iloc[first]!r} in row {row} of the target {name!r}, which is not a finite "
                f"number; several targets, and those of a regression, should be numbers{comma}"
            )
    return torch.from_numpy(np.stack(columns, 1))


def amounts_of(cells: pd.Series, decimal: str) -> np.ndarray:
    """Return a column as numbers in float64, also if all cells have the same currency, unit or percent sign."""
    values = numbers_of(cells, decimal)
    if np.isnan(values).all():
        texts = [str(cell).strip() for cell in cells]
        if affix_of(texts, decimal):
            return np.array([amount(text, decimal) for text in texts])
    return values


def is_quantity(texts: Sequence[str]) -> bool:
    """Whether all texts are numbers, with a point or a decimal comma, or amounts of one currency or unit."""
    return any(affix_of(texts, decimal) is not None for decimal in (".", ","))
