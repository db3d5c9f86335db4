"""Tables in text files."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt, Lt

from .sources import Source
from .split import stratified

if TYPE_CHECKING:
    import pandas as pd

MOST_TEXTS = 256
"""A text column with more different texts is taken for names or a mistake, and not made into so many features."""
MISSING_TEXTS = ["", "NA", "N/A", "NaN", "nan", "NULL", "null"]
"""What counts as a missing cell."""
SHOWN = 20


def csv(
    path: str,
    target: str,
    test_path: str | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    missing: Literal["error", "mean", "drop"] = "error",
    drop: list[str] | None = None,
    separator: str = ",",
) -> Source:
    """A table with a header: one column is the class, the others are features.

    Columns of numbers (and of true and false) are features as they are, each text of another column is a feature
    that is 1 or 0. A cell is missing when it is empty, NA, N/A, nan or null.

    Args:
        path: the file, in UTF-8.
        target: the name of the class's column.
        test_path: a second table with the same columns, to test on.
        test_fraction: the share of the rows to test on where there is no second table: the same rows for every seed.
        missing: what to do about missing cells: `mean` takes the mean of the training split (of a text column: the
            texts' frequencies), `drop` leaves the row out.
        drop: columns to leave out.
        separator: between cells.

    Raises:
        ValueError: the file cannot be read as such a table.
    """
    tables = [read_table(path, "path", separator)]
    if test_path is not None:
        tables.append(read_table(test_path, "test_path", separator))
    check_columns(tables, path, test_path, target, drop or [])
    kept = [[name for name in table.columns if name not in (drop or [])] for table in tables]
    tables = [without_missing(table[names], target, missing) for table, names in zip(tables, kept, strict=True)]

    import pandas as pd

    whole = pd.concat(tables)
    numbers, classes = class_numbers(whole.pop(target), target)
    x = torch.from_numpy(features(whole))
    if test_path is None:
        test, train = stratified(numbers, round(test_fraction * len(numbers)), torch.Generator().manual_seed(0))
    else:
        train, test = torch.arange(len(numbers)).split([len(table) for table in tables])
    check_parts(numbers[train], numbers[test], classes, target)
    return Source(x[train], numbers[train], x[test], numbers[test], classes, impute=missing == "mean")


def read_table(path: str, key: str, separator: str) -> pd.DataFrame:
    """Read a file with every cell as it stands there; missing cells become None.

    Raises:
        ValueError: it is absent, no table, or has no row.
    """
    import pandas as pd

    if not Path(path).is_file():
        raise ValueError(f"{key}={path!r} does not exist; name a csv file with a header")
    try:
        table = pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            na_values=MISSING_TEXTS,
            encoding="utf-8-sig",
            header=None,
            skip_blank_lines=True,
            index_col=False,
        )
    except UnicodeDecodeError:
        raise ValueError(f"{key}={path!r} is not in UTF-8; save it in that encoding") from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{key}={path!r} cannot be read as a csv file: {' '.join(str(error).split())}") from None
    names = ["" if name is None or name != name else str(name).strip() for name in table.iloc[0]]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise ValueError(f"{key}={path!r} has two columns called {twice[0]!r}; every column needs a name of its own")
    table = table.iloc[1:].reset_index(drop=True)
    table.columns = pd.Index(names)
    if len(table) == 0:
        raise ValueError(f"{key}={path!r} holds a header and no row")
    table = table.apply(lambda column: column.str.strip())
    return table.where(~table.isin(MISSING_TEXTS))


def check_columns(tables: list[pd.DataFrame], path: str, test_path: str | None, target: str, drop: list[str]) -> None:
    """Refuse names that are not in the table, and a second table with other columns."""
    names = list(tables[0].columns)
    for key, name in [("target", target), *(("drop", name) for name in drop)]:
        if name not in names:
            close = get_close_matches(name, names, n=1, cutoff=0.5)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            more = ", ..." if len(names) > SHOWN else ""
            raise ValueError(
                f"{key}={name!r} is no column of {path}; there are {', '.join(names[:SHOWN])}{more}{meant}"
            )
    if target in drop:
        raise ValueError(f"drop={drop} holds the target; leave {target!r} out of it")
    if len(set(names) - set(drop)) < 2:
        raise ValueError(f"drop={drop} leaves no column besides the target; at least one is needed")
    if test_path is not None:
        absent = sorted(set(names) - set(tables[1].columns) - set(drop))
        if absent:
            raise ValueError(f"test_path={test_path!r} lacks the columns {', '.join(absent)}")
        tables[1] = tables[1][names if not drop else [name for name in names if name in tables[1].columns]]


def without_missing(table: pd.DataFrame, target: str, missing: str) -> pd.DataFrame:
    """Deal with missing cells; rows are counted from 1 below the header, and keep their numbers."""
    table.index = table.index + 1
    gaps = table.isna()
    if missing == "drop":
        table = table[~gaps.any(axis=1)]
        if len(table) == 0:
            raise ValueError("missing='drop' leaves no row, since each has a missing cell; use mean")
        return table
    without_class = gaps.index[gaps[target]]
    if len(without_class):
        raise ValueError(
            f"target={target!r} is missing in row {without_class[0]} ({len(without_class)} such); "
            "fill it in, or leave such rows out with data.missing=drop"
        )
    if missing == "error" and gaps.to_numpy().any():
        row, column = np.argwhere(gaps.to_numpy())[0]
        raise ValueError(
            f"missing='error': row {table.index[row]} has no {table.columns[column]!r} "
            f"({int(gaps.to_numpy().sum())} missing cells altogether); use mean or drop"
        )
    empty = [name for name in table.columns if gaps[name].all()]
    if empty:
        raise ValueError(
            f"missing={missing!r} finds no value at all in column {empty[0]!r}; leave it out with data.drop"
        )
    return table


def class_numbers(column: pd.Series, target: str) -> tuple[torch.Tensor, list[str]]:
    """Return each row's class number, and the names: in the order of numbers, or of the alphabet."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().all():
        values, codes = np.unique(numbers.to_numpy(dtype=np.float64), return_inverse=True)
        names = [f"{value:g}" if value != int(value) else str(int(value)) for value in values]
    else:
        values, codes = np.unique(column.to_numpy(dtype=str), return_inverse=True)
        names = [str(value) for value in values]
    if len(names) < 2:
        raise ValueError(f"target={target!r} holds one class only, {names[0]!r}; at least two are needed")
    counts = np.bincount(codes)
    if counts.min() < 2:
        lone = names[int(counts.argmin())]
        hint = "; it looks like a quantity, and this program predicts classes" if len(names) > len(codes) / 2 else ""
        raise ValueError(f"target={target!r} has one example only of the class {lone!r}; every class needs two{hint}")
    return torch.from_numpy(codes.astype(np.int64)), names


def features(table: pd.DataFrame) -> np.ndarray:
    """Return the features in float32, nan where a cell is missing."""
    columns = [numeric(table[name]) if is_numeric(table[name]) else one_hot(table[name]) for name in table.columns]
    return np.concatenate(columns, axis=1)


def is_numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers.

    Raises:
        ValueError: most of its cells are numbers and some are not.
    """
    import pandas as pd

    present = column.dropna()
    odd = present[pd.to_numeric(present, errors="coerce").isna()]
    if 0 < len(odd) < len(present) / 2 and not set(present.str.lower()) <= {"true", "false"}:
        raise ValueError(
            f"path: column {column.name!r} holds numbers, and {odd.iloc[0]!r} in row {odd.index[0]}; "
            "correct it, or leave the column out with data.drop"
        )
    return len(odd) == 0


def numeric(column: pd.Series) -> np.ndarray:
    """Return a column of numbers, of shape (rows, 1).

    Raises:
        ValueError: one of them is not finite in float32.
    """
    import pandas as pd

    with np.errstate(over="ignore"):
        values = pd.to_numeric(column).to_numpy(dtype=np.float64).astype(np.float32)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        place = infinite[0]
        row, cell = column.index[place], column.iloc[place]
        raise ValueError(f"path: row {row} has {cell!r} in column {column.name!r}, which is not finite")
    return values[:, None]


def one_hot(column: pd.Series) -> np.ndarray:
    """Return a feature for each text of a column, of shape (rows, texts); one for true and false.

    Raises:
        ValueError: there are too many.
    """
    import pandas as pd

    texts = sorted(column.dropna().unique())
    if len(texts) > MOST_TEXTS:
        raise ValueError(
            f"path: column {column.name!r} holds {len(texts)} different texts, too many to make features of; "
            f"leave it out with 'data.drop=[{column.name}]'"
        )
    if {text.lower() for text in texts} <= {"true", "false"}:
        truths = column.str.lower().map({"true": 1.0, "false": 0.0})
        return truths.to_numpy(dtype=np.float32)[:, None]
    codes = pd.Categorical(column, categories=texts).codes
    made = np.eye(len(texts), dtype=np.float32)[codes]
    made[codes < 0] = np.nan
    return made


def check_parts(y_train: torch.Tensor, y_test: torch.Tensor, classes: list[str], target: str) -> None:
    """Refuse a class that there is nothing to learn from."""
    known = torch.bincount(y_train, minlength=len(classes))
    if (known == 0).any():
        name = classes[int((known == 0).nonzero()[0])]
        raise ValueError(f"target={target!r}: the class {name!r} is in the test rows alone; train on it too")
    if len(y_test) == 0:
        raise ValueError("test_fraction leaves no row to test on; use a larger one")
