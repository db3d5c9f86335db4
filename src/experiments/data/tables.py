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
"""A text column with more different texts is refused: it holds names, or is a mistake."""
MISSING_TEXTS = ["", "NA", "N/A", "NaN", "nan", "NULL", "null"]
"""The texts of a missing cell."""
LARGEST_EXACT = 2**53
"""float64 represents every integer up to this one."""
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

    A column of numbers, or of true and false, is one feature; any other column has one feature per text, which is 1
    or 0. A cell is missing if it is empty, NA, N/A, nan or null.

    Args:
        path: the file, in UTF-8.
        target: the name of the class's column.
        test_path: a second table with the same columns, to test on.
        test_fraction: without a second table, the share of the rows to test on, the same rows for every seed.
        missing: what to do about missing cells: `error` refuses the table, `mean` fills in the mean of the training
            split (for a text column: the frequencies of the texts), `drop` leaves the row out.
        drop: columns to leave out.
        separator: the character between two cells; a tab may be written as \t.
        form: the columns of the table that a run was trained on; None to infer the columns from this table.

    Raises:
        ValueError: the file cannot be read as such a table.
    """
    paths = {f"{key}={name!r}": name for key, name in (("path", path), ("test_path", test_path)) if name is not None}
    known = form.columns if isinstance(form, TableForm) else None
    tables = read_tables(paths, {target, *textual(known or ())}, one_character(separator))
    check_columns(tables, path, test_path, target, drop or [])
    kept = [[name for name in table.columns if name not in (drop or [])] for table in tables]
    tables = [
        without_missing(table[names], file, target, missing)
        for table, names, file in zip(tables, kept, paths, strict=True)
    ]

    import pandas as pd

    whole = pd.concat(tables, keys=list(paths))  # a row's label is its file and its number there
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
    own_form = TableForm(target, tuple(columns), tuple(drop or ()), missing, one_character(separator))
    return Source(x[train], numbers[train], x[test], numbers[test], classes, impute=missing == "mean", form=own_form)


def rows(path: str, form: TableForm) -> torch.Tensor:
    """Read the features of a table, which may lack the class's column: (rows, features), nan for missing cells.

    Args:
        path: the file, in UTF-8.
        form: the form of the table that a run was trained on.

    Raises:
        ValueError: the table cannot be read, has other columns, or has cells that the run does not know.
    """
    import pandas as pd

    file = repr(path)
    (table,) = read_tables({file: path}, textual(form.columns), form.separator)
    table = table[[name for name in table.columns if name not in {form.target, *form.drop}]]
    check_known(table, form.columns, file, "; remove it")
    table.index = table.index + 1
    gaps = table.isna()
    if form.missing != "mean" and gaps.to_numpy().any():
        row, column = np.argwhere(gaps.to_numpy())[0]
        raise ValueError(
            f"{file} has no {table.columns[column]!r} in row {table.index[row]}; "
            "the run was trained without missing cells"
        )
    return torch.from_numpy(features(pd.concat([table], keys=[file]), form.columns))


def plain_rows(path: str) -> torch.Tensor:
    """Read a table that consists of numbers: (rows, columns).

    Raises:
        ValueError: the table cannot be read, or a cell is not a number.
    """
    import pandas as pd

    file = repr(path)
    table = read_table(path, file, ",")
    table.index = table.index + 1
    columns = [Column(str(name)) for name in table.columns]
    return torch.from_numpy(features(pd.concat([table.astype(object)], keys=[file]), columns))


def textual(columns: Iterable[Column]) -> set[str]:
    """Return the names of the columns whose cells are read as texts."""
    return {column.name for column in columns if column.kind != "numbers"}


def check_known(table: pd.DataFrame, columns: Sequence[Column], file: str, remedy: str) -> None:
    """Refuse a table whose columns are not those that a run knows.

    Raises:
        ValueError: names the missing columns, or the additional ones.
    """
    wanted = [column.name for column in columns]
    for names, verb, reason in (
        ([name for name in wanted if name not in table.columns], "lacks", "which the run was trained with"),
        ([name for name in table.columns if name not in wanted], "has", "which the run was not trained with" + remedy),
    ):
        if names:
            shown = ", ".join(map(repr, names[:SHOWN]))
            raise ValueError(f"{file} {verb} the column{'s' * (len(names) > 1)} {shown}, {reason}")


def one_character(separator: str) -> str:
    r"""Return the separator, with \t replaced by a tab.

    Raises:
        ValueError: the separator is not one character, or has another meaning in a csv file.
    """
    character = separator.replace("\\t", "\t")
    if len(character) != 1 or character in '"\r\n':
        raise ValueError(f"separator={separator!r} must be one character, such as ',' or ';', or \\t for a tab")
    return character


def read_tables(paths: dict[str, str], known: set[str], separator: str) -> list[pd.DataFrame]:
    """Read files; a column of texts in one file is a column of texts in all of them.

    Args:
        paths: name of a file in an error -> its path.
        known: columns that are read as texts in any case.
        separator: one character.

    Raises:
        ValueError: a file is absent, is not a table, or has no row.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    tables = [read_table(path, file, separator) for file, path in paths.items()]
    texts = set(known)
    for table in tables:
        kinds = table.dtypes.items()
        texts |= {str(name) for name, kind in kinds if is_bool_dtype(kind) or not is_numeric_dtype(kind)}
    return [with_texts(table, texts, path, separator) for table, path in zip(tables, paths.values(), strict=True)]


def read_table(path: str, file: str, separator: str) -> pd.DataFrame:
    """Read a file, with a column as numbers if all of its cells are numbers, which is much faster than texts.

    Args:
        path: the file.
        file: the name of the file in an error.
        separator: one character.

    Raises:
        ValueError: the file is absent, is not a table, or has no row.
    """
    import pandas as pd
    from pandas.errors import ParserWarning

    if not Path(path).is_file():
        raise ValueError(f"{file} is not a file; give a csv file with a header")
    try:
        header = parsed(path, separator, header=None, nrows=1, dtype=str, na_filter=False)
        names = [str(name).strip() for name in header.iloc[0]]
        repeated = [name for number, name in enumerate(names) if name in names[:number]]
        if repeated:
            raise ValueError(f"{file} has two columns called {repeated[0]!r}; column names must be unique")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # a first row that is longer than the header
            table = parsed(path, separator, header=0, names=range(len(names)))
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text in UTF-8; save the csv file in that encoding") from None
    except ParserWarning:
        raise ValueError(f"{file} cannot be read as a csv file: the first row is longer than the header") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, OverflowError, OSError) as error:
        raise ValueError(f"{file} cannot be read as a csv file: {' '.join(str(error).split())}") from None
    if len(table) == 0:
        raise ValueError(f"{file} has a header but no row")
    table.columns = pd.Index(names)
    return table


def with_texts(table: pd.DataFrame, texts: set[str], path: str, separator: str) -> pd.DataFrame:
    """Return a table with some of its columns read as texts, nan for missing cells."""
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
    """Read a csv file with pandas; the settings that every reading shares are filled in."""
    import pandas as pd

    settings = {"keep_default_na": False, "na_values": MISSING_TEXTS, **settings}
    return pd.read_csv(
        path, sep=separator, encoding="utf-8-sig", skipinitialspace=True, index_col=False, low_memory=False, **settings
    )


def check_columns(tables: list[pd.DataFrame], path: str, test_path: str | None, target: str, drop: list[str]) -> None:
    """Refuse names that are not in the table, and a second table that lacks columns.

    Raises:
        ValueError: a name is not a column, no feature is left, or the second table lacks a column.
    """
    names = list(tables[0].columns)
    if len(names) == 1 and names != [target]:
        raise ValueError(
            f"path={path!r} has only one column, {names[0]!r}; give the character between its cells as data.separator"
        )
    for key, name in [("target", target), *(("drop", name) for name in drop)]:
        if name not in names:
            close = get_close_matches(name, names, n=1, cutoff=0.5)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            more = ", ..." if len(names) > SHOWN else ""
            raise ValueError(
                f"{key}={name!r} is not a column of {path}; choose from {', '.join(names[:SHOWN])}{more}{meant}"
            )
    if target in drop:
        raise ValueError(f"drop={drop} contains the target; remove {target!r} from it")
    if len(set(names) - set(drop)) < 2:
        raise ValueError(f"drop={drop} leaves no column but the target; at least one feature is needed")
    if test_path is not None:
        absent = sorted(set(names) - set(tables[1].columns) - set(drop))
        if absent:
            raise ValueError(f"test_path={test_path!r} lacks the columns {', '.join(absent)}")
        tables[1] = tables[1][names if not drop else [name for name in names if name in tables[1].columns]]


def without_missing(table: pd.DataFrame, file: str, target: str, missing: str) -> pd.DataFrame:
    """Return a table with its missing cells treated; rows are numbered from 1 and keep their numbers.

    Args:
        table: with missing cells as nan.
        file: the name of its file in an error.
        target: the column of the class.
        missing: see `csv`.

    Raises:
        ValueError: a column is empty, no row is left, a class is missing, or any cell is and `missing` is 'error'.
    """
    table.index = table.index + 1
    gaps = table.isna()
    empty = [name for name in table.columns if name != target and gaps[name].all()]
    if empty:
        raise ValueError(f"{file} has no value in column {empty[0]!r}; leave it out with 'data.drop'")
    if missing == "drop":
        table = table[~gaps.any(axis=1)]
        if len(table) == 0:
            raise ValueError(f"missing='drop' leaves no row of {file}, because every row has a missing cell; use mean")
        return table
    without_class = gaps.index[gaps[target]]
    if len(without_class):
        raise ValueError(
            f"target={target!r} is missing in row {without_class[0]} of {file} ({len(without_class)} in total); "
            "fill it in, or leave such rows out with data.missing=drop"
        )
    if missing == "error" and gaps.to_numpy().any():
        row, column = np.argwhere(gaps.to_numpy())[0]
        raise ValueError(
            f"missing='error': row {table.index[row]} of {file} has no {table.columns[column]!r} "
            f"({int(gaps.to_numpy().sum())} missing cells in total); use mean or drop"
        )
    return table


def class_numbers(column: pd.Series, target: str, least: int) -> tuple[torch.Tensor, list[str]]:
    """Return each row's class number, and the names of the classes: sorted as numbers, or else as texts.

    Raises:
        ValueError: there are fewer than `least` classes, or a class has fewer than `least` examples.
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
        raise ValueError(f"target={target!r} has only one class, {names[0]!r}; at least two are needed")
    counts = np.bincount(codes)
    if counts.min() < least:
        single = names[int(counts.argmin())]
        hint = "; it looks like a quantity, but this program predicts classes" if len(names) > len(codes) / 2 else ""
        raise ValueError(f"target={target!r} has only one example of class {single!r}; every class needs two{hint}")
    return torch.from_numpy(codes.astype(np.int64)), names


def columns_of(table: pd.DataFrame) -> list[Column]:
    """Return the columns of a table of features.

    Raises:
        ValueError: a column has neither numbers nor a limited number of texts.
    """
    return [Column(str(name)) if is_numeric(table[name]) else text_column(table[name]) for name in table.columns]


def features(table: pd.DataFrame, columns: Iterable[Column]) -> np.ndarray:
    """Return the features of columns in float32, nan for missing cells.

    Raises:
        ValueError: a cell is not of its column's kind.
    """
    encoders = {"numbers": numeric, "truths": truths, "texts": one_hot}
    return np.concatenate([encoders[column.kind](table[column.name], column) for column in columns], axis=1)


def is_numeric(column: pd.Series) -> bool:
    """Whether a column has numbers.

    Raises:
        ValueError: most of its cells are numbers but some are not, or they are numbers with commas.
    """
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(column):
        return True
    present = column.dropna()
    odd = present[pd.to_numeric(present, errors="coerce").isna()]
    commas = odd[odd.str.contains(",")]
    if 0 < len(odd) < len(present) / 2:
        file, row = odd.index[0]
        raise ValueError(
            f"{file} has numbers in column {column.name!r}, but {odd.iloc[0]!r} in row {row}; "
            "correct it, or leave the column out with 'data.drop'"
        )
    if len(commas) and pd.to_numeric(odd.str.replace(",", ""), errors="coerce").notna().mean() > 0.5:
        file, row = commas.index[0]
        raise ValueError(
            f"{file} has {commas.iloc[0]!r} in row {row} of column {column.name!r}: numbers with commas; "
            "use a decimal point and no thousands separator, or leave the column out with 'data.drop'"
        )
    return len(odd) == 0


def text_column(column: pd.Series) -> Column:
    """Return the description of a column of texts.

    Raises:
        ValueError: there are too many different texts.
    """
    texts = sorted(column.dropna().unique())
    if len(texts) > MOST_TEXTS:
        raise ValueError(
            f"{column.index[0][0]} has {len(texts)} different texts in column {column.name!r}, too many for one-hot "
            f"features; leave it out with 'data.drop=[{column.name}]'"
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
        ValueError: a cell is not a number, or not finite in float32.
    """
    import pandas as pd

    parsed = pd.to_numeric(column, errors="coerce")
    refuse_cells(column, parsed.isna() & column.notna(), "which is not a number")
    with np.errstate(over="ignore"):
        values = parsed.to_numpy(dtype=np.float64).astype(np.float32)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        first = infinite[0]
        file, row = column.index[first]
        raise ValueError(
            f"{file} has {column.iloc[first]!s} in row {row} of column {column.name!r}, "
            "which is not finite in float32; correct it, or empty the cell and add data.missing=mean"
        )
    return values[:, None]


def truths(column: pd.Series, _known: Column) -> np.ndarray:
    """Return a feature that is 1 for true and 0 for false, of shape (rows, 1).

    Raises:
        ValueError: a cell is neither.
    """
    values = column.str.lower().map(TRUTHS)
    refuse_cells(column, values.isna() & column.notna(), "which is neither true nor false")
    return values.to_numpy(dtype=np.float32)[:, None]


def one_hot(column: pd.Series, known: Column) -> np.ndarray:
    """Return a feature for each text of a column, of shape (rows, texts).

    Raises:
        ValueError: a cell has another text.
    """
    import pandas as pd

    allowed = ", ".join(known.texts[:SHOWN]) + (", ..." if len(known.texts) > SHOWN else "")
    refuse_cells(column, ~column.isin(known.texts) & column.notna(), f"which is not one of {allowed}")
    codes = pd.Categorical(column, categories=known.texts).codes
    values = np.eye(len(known.texts), dtype=np.float32)[codes]
    values[codes < 0] = np.nan
    return values


def refuse_cells(column: pd.Series, wrong: pd.Series, reason: str) -> None:
    """Refuse a column that has wrong cells.

    Raises:
        ValueError: names the first wrong cell.
    """
    if wrong.any():
        first = int(np.argmax(wrong.to_numpy()))
        file, row = column.index[first]
        raise ValueError(f"{file} has {column.iloc[first]!r} in row {row} of column {column.name!r}, {reason}")


def check_parts(y_train: torch.Tensor, y_test: torch.Tensor, classes: list[str], refused: str) -> None:
    """Refuse a split without test examples, or without training examples of a class.

    Args:
        y_train, y_test: (examples,), class numbers.
        classes: the names of the classes.
        refused: the setting that defines the test part, with its value.

    Raises:
        ValueError: names the setting and the class.
    """
    if len(y_test) == 0:
        raise ValueError(f"{refused} leaves no row to test on; use a larger fraction")
    absent = (torch.bincount(y_train, minlength=len(classes)) == 0).nonzero()
    if len(absent):
        raise ValueError(
            f"{refused} leaves no row of the class {classes[int(absent[0])]!r} to train on; at least one is needed"
        )
