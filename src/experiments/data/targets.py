"""The targets of a table: their form, and numbers or labels from its cells."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .columns import (
    SAMPLED,
    TRUTHS,
    affix_of,
    amount,
    as_numbers,
    compact_dates,
    day_first,
    days,
    is_date,
    mostly_dates,
)
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


def refuse_dates(cells: pd.Series, name: str) -> None:
    """Refuse dates as classes: a model could only learn the dates of the training examples.

    Args:
        cells: of the target, as texts or numbers.
        name: of the target.

    Raises:
        ValueError: nearly all of them are dates.
    """
    texts = sorted(str(cell).strip() for cell in cells.unique()[:SAMPLED])
    numbers = [int(text) for text in texts if re.fullmatch(r"(19|20)\d{6}", text)]
    if not mostly_dates(texts) and (len(numbers) < len(texts) or not compact_dates(np.array(numbers))):
        return
    plain = name if re.fullmatch(r"\w[\w .%/-]*", name) else "<name>"
    raise ValueError(
        f"target={name!r} holds dates such as {texts[0]!r}, and each of them would be a class; choose another column, "
        f"or add 'data.kinds={{{plain}:dates}}' to predict the number of days since 1970, or "
        f"'data.kinds={{{plain}:texts}}' if the dates are classes"
    )


def values_of(table: pd.DataFrame, names: Sequence[str], decimal: str, dated: Collection[str] = frozenset()) -> Tensor:
    """Return numbers or labels, (rows, targets) in float64.

    Amounts with one currency or unit in all rows are read as numbers.

    Args:
        table: with the targets.
        names: of the targets.
        decimal: the decimal mark of numbers.
        dated: the targets whose cells are dates, which become days since 1970.

    Raises:
        ValueError: names the first cell that is not a finite number.
    """
    columns = [days_of(table[name]) if name in dated else amounts_of(table[name], decimal) for name in names]
    for name, values in zip(names, columns, strict=True):
        wrong = ~np.isfinite(values)
        if wrong.any():
            first = int(np.argmax(wrong))
            file, row = table.index[first]
            cell = str(table[name].iloc[first])
            comma = "; if the comma is a decimal mark, add data.decimal=comma"
            comma = comma if decimal == "." and DECIMAL_COMMA.search(cell) else ""
            if name in dated:
                raise ValueError(f"{file} has {cell!r} in row {row} of the target {name!r}, which is not a date")
            if is_date(cell):
                comma = f"; 'data.kinds={{{name}:dates}}' reads dates as days since 1970"
            raise ValueError(
                f"{file} has {written(table[name].iloc[first])} in row {row} of the target {name!r}, which is not a "
                f"finite number; several targets, and those of a regression, should be numbers{comma}"
            )
    return torch.from_numpy(np.stack(columns, 1))


def written(cell: object) -> str:
    """Return a cell as an error shows it: a text in quotes, or a number."""
    return repr(cell) if isinstance(cell, str) else str(cell)


def days_of(cells: pd.Series) -> np.ndarray:
    """Return a column of dates as days since 1970 in float64, nan for cells that are none."""
    if cells.dtype.kind not in "iuf":
        texts = cells.astype(str).str.strip()
        compact = texts.str.fullmatch(r"(19|20)\d{6}").all()
        cells = texts.astype(np.int64) if compact else texts
    first = cells.dtype.kind not in "iuf" and day_first(map(str, cells.unique()))
    return days(cells, first=first).to_numpy(dtype=np.float64, na_value=np.nan)


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
