"""The targets of a table: their form, and numbers or labels from its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .columns import TRUTHS, as_numbers
from .forms import TargetForm

if TYPE_CHECKING:
    import pandas as pd

BINARY = {0.0, 1.0}
YES_OR_NO = {"yes": 1.0, "no": 0.0}


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

    Raises:
        ValueError: names the first cell that is not a finite number.
    """
    columns = [numbers_of(table[name], decimal) for name in names]
    for name, values in zip(names, columns, strict=True):
        wrong = ~np.isfinite(values)
        if wrong.any():
            first = int(np.argmax(wrong))
            file, row = table.index[first]
            raise ValueError(
                f"{file} has {table[name].iloc[first]!r} in row {row} of the target {name!r}, which is not a finite "
                "number; several targets, and those of a regression, should be numbers"
            )
    return torch.from_numpy(np.stack(columns, 1))
