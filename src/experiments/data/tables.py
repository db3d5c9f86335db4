"""Tables in text files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Gt, Lt

from .forms import Column, TableForm
from .sources import Source
from .split import stratified

if TYPE_CHECKING:
    import pandas as pd

MOST_TEXTS = 256
"""A text column with more different texts is taken for names or a mistake, and not made into so many features."""
MISSING_TEXTS = ["", "NA", "N/A", "NaN", "nan", "NULL", "null"]
"""What counts as a missing cell."""
LARGEST_EXACT = 2**53
"""Up to here float64 holds every whole number."""
SHOWN = 20
TRUTHS = {"true": 1.0, "false": 0.0}


def csv(
    path: str,
    target: str,
    test_path: str | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    missing: Literal["error", "mean", "drop"] = "error",
    drop: list[str] | None = None,
    separator: str = ",",
    form: TableForm | None = None,
) -> Source:
    r"""A table with a header: one column is the class, the others are features.

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
        separator: one character, between cells; a tab may be written as \t.
        form: what the columns are, where a run that was trained on such a table knows it; None to see it here.

    Raises:
        ValueError: the file cannot be read as such a table.
    """
    places = {f"{key}={name!r}": name for key, name in (("path", path), ("test_path", test_path)) if name is not None}
    known = form.columns if isinstance(form, TableForm) else None
    tables = read_tables(places, {target, *textual(known or ())}, one_character(separator))
    check_columns(tables, path, test_path, target, drop or [])
    kept = [[name for name in table.columns if name not in (drop or [])] for table in tables]
    tables = [
        without_missing(table[names], place, target, missing)
        for table, names, place in zip(tables, kept, places, strict=True)
    ]

    import pandas as pd

    whole = pd.concat(tables, keys=list(places))  # a row's label is its file's place and its number there
    numbers, classes = class_numbers(whole.pop(target), target, least=2 if known is None else 1)
    if known is not None:
        check_known(whole, known, f"path={path!r}", "; leave it out with 'data.drop'")
    columns = columns_of(whole) if known is None else known
    x = torch.from_numpy(features(whole, columns))
    if test_path is None:
        test, train = stratified(numbers, round(test_fraction * len(numbers)), torch.Generator().manual_seed(0))
        refused = f"test_fraction={test_fraction}"
    else:
        train, test = torch.arange(len(numbers)).split([len(table) for table in tables])
        refused = f"test_path={test_path!r}"
    if known is None:
        check_parts(numbers[train], numbers[test], classes, refused)
    made = TableForm(target, tuple(columns), tuple(drop or ()), missing, one_character(separator))
    return Source(x[train], numbers[train], x[test], numbers[test], classes, impute=missing == "mean", form=made)


def rows(path: str, form: TableForm) -> torch.Tensor:
    """Read the features of a table that need not have the class's column: (rows, features), nan for missing cells.

    Args:
        path: the file, in UTF-8.
        form: of the table that a run was trained on.

    Raises:
        ValueError: it cannot be read, has other columns, or cells that the run knows nothing of.
    """
    import pandas as pd

    place = repr(path)
    (table,) = read_tables({place: path}, textual(form.columns), form.separator)
    table = table[[name for name in table.columns if name not in {form.target, *form.drop}]]
    check_known(table, form.columns, place, "; remove it")
    table.index = table.index + 1
    gaps = table.isna()
    if form.missing != "mean" and gaps.to_numpy().any():
        row, column = np.argwhere(gaps.to_numpy())[0]
        raise ValueError(
            f"{place} has no {table.columns[column]!r} in row {table.index[row]}, and the run was trained without gaps"
        )
    return torch.from_numpy(features(pd.concat([table], keys=[place]), form.columns))


def plain_rows(path: str) -> torch.Tensor:
    """Read a table of numbers alone: (rows, columns).

    Raises:
        ValueError: it cannot be read, or a cell is no number.
    """
    import pandas as pd

    place = repr(path)
    table = read_table(path, place, ",")
    table.index = table.index + 1
    columns = [Column(str(name)) for name in table.columns]
    return torch.from_numpy(features(pd.concat([table.astype(object)], keys=[place]), columns))


def textual(columns: Iterable[Column]) -> set[str]:
    """Return the names of the columns whose cells are read as they stand."""
    return {column.name for column in columns if column.kind != "numbers"}


def check_known(table: pd.DataFrame, columns: Sequence[Column], place: str, remedy: str) -> None:
    """Refuse a table that has not the columns that a run knows.

    Raises:
        ValueError: names those that are too few or too many.
    """
    wanted = [column.name for column in columns]
    for names, what, more in (
        ([name for name in wanted if name not in table.columns], "lacks", "which the run was trained with"),
        ([name for name in table.columns if name not in wanted], "has", "which the run was not trained with" + remedy),
    ):
        if names:
            shown = ", ".join(map(repr, names[:SHOWN]))
            raise ValueError(f"{place} {what} the column{'s' * (len(names) > 1)} {shown}, {more}")


def one_character(separator: str) -> str:
    """Return what separates cells, a tab for its usual spelling.

    Raises:
        ValueError: it is not one character, or one that a file has another use for.
    """
    meant = separator.replace("\\t", "\t")
    if len(meant) != 1 or meant in '"\r\n':
        raise ValueError(f"separator={separator!r} must be one character, such as ',' or ';', and \\t for a tab")
    return meant


def read_tables(places: dict[str, str], known: set[str], separator: str) -> list[pd.DataFrame]:
    """Read files; what is a column of texts in one of them is one in all.

    Args:
        places: the files' names, each after what an error calls it.
        known: columns that are of texts in any case.
        separator: one character.

    Raises:
        ValueError: a file is absent, no table, or has no row.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    tables = [read_table(name, place, separator) for place, name in places.items()]
    texts = set(known)
    for table in tables:
        kinds = table.dtypes.items()
        texts |= {str(name) for name, kind in kinds if is_bool_dtype(kind) or not is_numeric_dtype(kind)}
    return [with_texts(table, texts, name, separator) for table, name in zip(tables, places.values(), strict=True)]


def read_table(path: str, place: str, separator: str) -> pd.DataFrame:
    """Read a file, with numbers where a whole column parses as such: much faster than texts.

    Raises:
        ValueError: it is absent, no table, or has no row.
    """
    import pandas as pd
    from pandas.errors import ParserWarning

    if not Path(path).is_file():
        raise ValueError(f"{place} is no file; name a csv file with a header")
    try:
        header = parsed(path, separator, header=None, nrows=1, dtype=str, na_filter=False)
        names = [str(name).strip() for name in header.iloc[0]]
        twice = [name for number, name in enumerate(names) if name in names[:number]]
        if twice:
            raise ValueError(f"{place} has two columns called {twice[0]!r}; every column needs a name of its own")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # a first row that is longer than the header
            table = parsed(path, separator, header=0, names=range(len(names)))
    except UnicodeDecodeError:
        raise ValueError(f"{place} is not text in UTF-8; name a csv file, saved in that encoding") from None
    except ParserWarning:
        raise ValueError(f"{place} cannot be read as a csv file: the first row is longer than the header") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, OverflowError, OSError) as error:
        raise ValueError(f"{place} cannot be read as a csv file: {' '.join(str(error).split())}") from None
    if len(table) == 0:
        raise ValueError(f"{place} holds a header and no row")
    table.columns = pd.Index(names)
    return table


def with_texts(table: pd.DataFrame, texts: set[str], path: str, separator: str) -> pd.DataFrame:
    """Return a table with the cells of some columns as they stand in its file, nan where they are missing."""
    import pandas as pd

    numbers = [number for number, name in enumerate(table.columns) if name in texts]
    if not numbers:
        return table
    read = parsed(path, separator, header=0, names=range(table.shape[1]), usecols=numbers, dtype=str, na_filter=False)
    columns: dict[str, pd.Series] = dict(table.items())  # type: ignore[arg-type]
    for number in numbers:
        column = read[number].str.strip()
        columns[table.columns[number]] = column.where(~(column.isin(MISSING_TEXTS) | column.isna()))
    return pd.DataFrame(columns)


def parsed(path: str, separator: str, **settings: Any) -> pd.DataFrame:
    """Read a csv file with what is the same in every reading."""
    import pandas as pd

    settings = {"keep_default_na": False, "na_values": MISSING_TEXTS, **settings}
    return pd.read_csv(
        path, sep=separator, encoding="utf-8-sig", skipinitialspace=True, index_col=False, low_memory=False, **settings
    )


def check_columns(tables: list[pd.DataFrame], path: str, test_path: str | None, target: str, drop: list[str]) -> None:
    """Refuse names that are not in the table, and a second table with other columns."""
    names = list(tables[0].columns)
    if len(names) == 1 and names != [target]:
        raise ValueError(
            f"path={path!r} has one column only, {names[0]!r}; give what separates its cells as data.separator"
        )
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


def without_missing(table: pd.DataFrame, place: str, target: str, missing: str) -> pd.DataFrame:
    """Deal with missing cells; rows are counted from 1 below the header, and keep their numbers."""
    table.index = table.index + 1
    gaps = table.isna()
    empty = [name for name in table.columns if name != target and gaps[name].all()]
    if empty:
        raise ValueError(f"{place} has no value at all in column {empty[0]!r}; leave it out with 'data.drop'")
    if missing == "drop":
        table = table[~gaps.any(axis=1)]
        if len(table) == 0:
            raise ValueError(f"missing='drop' leaves no row of {place}, since each has a missing cell; use mean")
        return table
    without_class = gaps.index[gaps[target]]
    if len(without_class):
        raise ValueError(
            f"target={target!r} is missing in row {without_class[0]} of {place} ({len(without_class)} such); "
            "fill it in, or leave such rows out with data.missing=drop"
        )
    if missing == "error" and gaps.to_numpy().any():
        row, column = np.argwhere(gaps.to_numpy())[0]
        raise ValueError(
            f"missing='error': row {table.index[row]} of {place} has no {table.columns[column]!r} "
            f"({int(gaps.to_numpy().sum())} missing cells altogether); use mean or drop"
        )
    return table


def class_numbers(column: pd.Series, target: str, least: int) -> tuple[torch.Tensor, list[str]]:
    """Return each row's class number, and the names: in the order of numbers, or of the alphabet.

    Raises:
        ValueError: there are fewer classes than `least`, or fewer examples of one.
    """
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").to_numpy()
    exact = numbers.dtype.kind in "iu" or bool((np.abs(numbers) < LARGEST_EXACT).all())
    if exact:
        values, codes = np.unique(numbers, return_inverse=True)
        names = [str(int(value)) if value == int(value) else str(value) for value in values]
    else:
        values, codes = np.unique(column.to_numpy(dtype=str), return_inverse=True)
        names = [str(value) for value in values]
    if len(names) < least:
        raise ValueError(f"target={target!r} holds one class only, {names[0]!r}; at least two are needed")
    counts = np.bincount(codes)
    if counts.min() < least:
        lone = names[int(counts.argmin())]
        hint = "; it looks like a quantity, and this program predicts classes" if len(names) > len(codes) / 2 else ""
        raise ValueError(f"target={target!r} has one example only of the class {lone!r}; every class needs two{hint}")
    return torch.from_numpy(codes.astype(np.int64)), names


def columns_of(table: pd.DataFrame) -> list[Column]:
    """Return what the columns of a table of features are.

    Raises:
        ValueError: one is neither numbers nor a few texts.
    """
    return [Column(str(name)) if is_numeric(table[name]) else text_column(table[name]) for name in table.columns]


def features(table: pd.DataFrame, columns: Iterable[Column]) -> np.ndarray:
    """Return the features of columns in float32, nan where a cell is missing.

    Raises:
        ValueError: a cell is not of its column's kind.
    """
    made = {"numbers": numeric, "truths": truths, "texts": one_hot}
    return np.concatenate([made[column.kind](table[column.name], column) for column in columns], axis=1)


def is_numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers.

    Raises:
        ValueError: most of its cells are numbers and some are not, or would be with a point in place of a comma.
    """
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column):
        return True
    present = column.dropna()
    odd = present[pd.to_numeric(present, errors="coerce").isna()]
    commas = odd[odd.str.contains(",")]
    if 0 < len(odd) < len(present) / 2:
        place, row = odd.index[0]
        raise ValueError(
            f"{place} holds numbers in column {column.name!r}, and {odd.iloc[0]!r} in row {row}; "
            "correct it, or leave the column out with 'data.drop'"
        )
    if len(commas) and pd.to_numeric(odd.str.replace(",", ""), errors="coerce").notna().mean() > 0.5:
        place, row = commas.index[0]
        raise ValueError(
            f"{place} has {commas.iloc[0]!r} in row {row} of column {column.name!r}: numbers with commas; "
            "write a decimal point and nothing between thousands, or leave the column out with 'data.drop'"
        )
    return len(odd) == 0


def text_column(column: pd.Series) -> Column:
    """Return what a column of texts is.

    Raises:
        ValueError: there are too many different ones.
    """
    texts = sorted(column.dropna().unique())
    if len(texts) > MOST_TEXTS:
        raise ValueError(
            f"{column.index[0][0]} holds {len(texts)} different texts in column {column.name!r}, too many for one-hot; "
            f"leave it out with 'data.drop=[{column.name}]'"
        )
    name = str(column.name)
    return (
        Column(name, "truths")
        if {text.lower() for text in texts} <= TRUTHS.keys()
        else Column(name, "texts", tuple(texts))
    )


def numeric(column: pd.Series, _known: Column) -> np.ndarray:
    """Return a column of numbers, of shape (rows, 1).

    Raises:
        ValueError: one of them is none, or not finite in float32.
    """
    import pandas as pd

    parsed = pd.to_numeric(column, errors="coerce")
    refuse_cells(column, parsed.isna() & column.notna(), "which is no number")
    with np.errstate(over="ignore"):
        values = parsed.to_numpy(dtype=np.float64).astype(np.float32)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        first = infinite[0]
        place, row = column.index[first]
        raise ValueError(
            f"{place} has {column.iloc[first]!s} in row {row} of column {column.name!r}, "
            "which is not finite in float32; correct it, or empty the cell and add data.missing=mean"
        )
    return values[:, None]


def truths(column: pd.Series, _known: Column) -> np.ndarray:
    """Return a feature that is 1 for true and 0 for false, of shape (rows, 1).

    Raises:
        ValueError: a cell is neither.
    """
    found = column.str.lower().map(TRUTHS)
    refuse_cells(column, found.isna() & column.notna(), "which is neither true nor false")
    return found.to_numpy(dtype=np.float32)[:, None]


def one_hot(column: pd.Series, known: Column) -> np.ndarray:
    """Return a feature for each text of a column, of shape (rows, texts).

    Raises:
        ValueError: a cell holds another text.
    """
    import pandas as pd

    allowed = ", ".join(known.texts[:SHOWN]) + (", ..." if len(known.texts) > SHOWN else "")
    refuse_cells(column, ~column.isin(known.texts) & column.notna(), f"which is none of {allowed}")
    codes = pd.Categorical(column, categories=known.texts).codes
    made = np.eye(len(known.texts), dtype=np.float32)[codes]
    made[codes < 0] = np.nan
    return made


def refuse_cells(column: pd.Series, wrong: pd.Series, why: str) -> None:
    """Refuse a column with cells that are wrong.

    Raises:
        ValueError: names the first of them.
    """
    if wrong.any():
        first = int(np.argmax(wrong.to_numpy()))
        place, row = column.index[first]
        raise ValueError(f"{place} has {column.iloc[first]!r} in row {row} of column {column.name!r}, {why}")


def check_parts(y_train: torch.Tensor, y_test: torch.Tensor, classes: list[str], refused: str) -> None:
    """Refuse a class that there is nothing to learn from.

    Args:
        y_train, y_test: (examples,), class numbers.
        classes: their names.
        refused: the setting that made the test part, with its value.
    """
    if len(y_test) == 0:
        raise ValueError(f"{refused} leaves no row to test on; use a larger one")
    absent = (torch.bincount(y_train, minlength=len(classes)) == 0).nonzero()
    if len(absent):
        raise ValueError(f"{refused} leaves no row of the class {classes[int(absent[0])]!r} to train on; it needs one")
