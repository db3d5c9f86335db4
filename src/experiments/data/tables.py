"""Tables in text files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Gt, Lt

from . import memory
from .columns import TRUTHS, Kind, amount, as_numbers, days, recognised
from .forms import FILLED, Column, ColumnUse, Missing, TableForm, TargetForm, UnknownColumnError
from .sources import ROUNDED, Source, few_numbers, in_order, quantity, rounds, spelling
from .split import stratified
from .targets import form_of, is_quantity, refuse_dates, values_of, written
from .textfiles import (
    AUTO,
    Reading,
    TextLayout,
    all_rows,
    known_encoding,
    layout_of,
    one_character,
    parsed,
    stripped,
    undecodable,
)

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 20
SAMPLED = 10_000
"""Numbers of a column from which its spread is estimated."""
EPSILON = 2.0**-24
"""The largest relative error of a number that is rounded to float32."""
MOST_SPELLINGS = 3
"""The number of classes with several spellings that are named."""
DECIMALS: Mapping[str, Literal[".", ","]] = {"point": ".", "comma": ",", ".": ".", ",": ","}
GAP = "(missing)"
"""The text of a missing cell that is a category of its own."""
Name = str | int | float | bool | None
"""The name of a column as a command line gives it: a header may look like a number or a word of YAML."""


def csv(
    path: str,
    target: Name | list[Name],
    test_path: str | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    missing: Missing = "error",
    drop: list[Name] | None = None,
    separator: str = AUTO,
    decimal: Literal["point", "comma", ".", ","] = "point",
    encoding: str = AUTO,
    missing_marks: list[Name] | None = None,
    kinds: dict[str, Kind] | None = None,
    unknown: Literal["error", "ignore"] = "error",
    form: TableForm | None = None,
    val_path: str | None = None,
    wanted: TargetForm | None = None,
    missing_target: Literal["error", "drop"] = "error",
) -> Source:
    r"""A table with a header: one column is the class, or one or several are numbers or labels; others are features.

    A column of numbers, or of true and false, is one feature; so is one of money, percentages or another amount. A
    column of texts has one feature per text, which is 1 or 0. Dates, identifiers, row numbers and columns with one
    value are left out. A cell is missing if it is empty, NA, N/A, nan or null.

    Args:
        path: the file.
        target: the name of the class's column, of a column of numbers, or a list of columns of numbers or labels.
        test_path: a second table with the same columns, to test on.
        test_fraction: without a second table, the share of the rows to test on, the same rows for every seed.
        missing: what to do about missing cells: `error` refuses the table, `mean` fills in the mean of the training
            split (for a text column: the frequencies of the texts), `category` too, but in a text column a missing cell
            is a text of its own, `drop` leaves the row out.
        drop: columns to leave out.
        separator: the character between two cells, or a word: comma, semicolon, tab, pipe, space; auto to find it.
        decimal: point or comma.
        encoding: of the file; auto finds UTF-8 and UTF-16.
        missing_marks: further texts or numbers of a missing cell, such as ["?",-999].
        kinds: column -> numbers, texts, amounts or dates, instead of what its cells look like; a target of texts is the
            class, and one of another kind is predicted as a number.
        unknown: what to do, in prediction, about a text that the training did not know: `error` refuses the row, with
            `ignore` all features of the column are 0.
        form: the columns of the table that a run was trained on; None to infer the columns from this table.
        val_path: a further table with the same columns, to validate on.
        wanted: the form of targets that the task learns; None for what the cells show.
        missing_target: what to do about rows without a target: `error` refuses the table, `drop` leaves them out.

    Raises:
        ValueError: the file cannot be read as such a table.
    """
    given = (("path", path), ("val_path", val_path), ("test_path", test_path))
    paths = {f"{key}={name!r}": name for key, name in given if name is not None}
    known = form if isinstance(form, TableForm) else None
    marks = tuple(mark for mark in map(mark_text, missing_marks or ()))
    reading = Reading(one_character(separator), known_encoding(encoding), DECIMALS[decimal], marks)
    typed = target if isinstance(target, list) else [target]
    if not typed or len({*map(str, typed)}) < len(typed):
        raise ValueError(f"target={target!r} should be a column or a list of different columns")
    tables, layouts = read_tables(paths, typed[0], [] if known is None else textual(known.columns), reading)
    names = list(map(str, tables[0].columns))
    targets, dropped = [spelled(name, names) for name in typed], [spelled(name, names) for name in drop or ()]
    target = targets[0]
    chosen = {spelled_key(name, names): kind for name, kind in (kinds or {}).items()}
    check_columns(tables, list(paths), path, targets, dropped, chosen)
    left_out = {*dropped, *(() if known is None else known.drop)} - {*targets}
    gaps: list[str] = []
    for number, (table, file) in enumerate(zip(tables, paths, strict=True)):
        kept = table.drop(columns=[*left_out & {*table.columns}]) if left_out else table
        if missing_target == "drop":
            kept, without = with_targets(kept, file, targets, Path(paths[file]).name)
            gaps += without
        tables[number] = without_missing(kept, file, target, missing)
        gaps += about_gaps(kept, tables[number], Path(paths[file]).name, target, missing)

    whole = labelled(tables, list(paths))  # a row's label is its file and its number there
    del tables
    own, whole = whole[targets], whole.drop(columns=targets)
    dated = {name for name in targets if chosen.get(name) == "dates"}
    quantities = any(chosen.get(name) in ("dates", "numbers", "amounts") for name in targets)
    kind = wanted or ("numbers" if quantities else form_of(own, targets, reading.decimal))
    if kind == "classes":
        if len(targets) > 1:
            raise ValueError(f"target={targets} has {len(targets)} columns; the classes are one column")
        if known is None and chosen.get(target) != "texts":
            refuse_dates(own[target], target)
        numbers, classes, notes = class_numbers(own[target], target, least=2 if known is None else 1)
        doubt = quantity(classes, len(numbers), f"target {target!r}")
        doubts = [*alike(classes, target), *([] if doubt is None else [doubt])]
    else:
        numbers, classes, notes, doubts = values_of(own, targets, reading.decimal, dated), [], [], []
        if kind == "numbers" and wanted is None:
            notes = few_numbers(numbers, f"target {target!r}")
    strata = numbers if kind == "classes" else torch.zeros(len(numbers), dtype=torch.int64)
    uses: list[ColumnUse] = []
    if known is None:
        changes = int((np.diff(strata.numpy()[: file_sizes(whole)[0]]) != 0).sum())
        blocks = kind == "classes" and changes == len(classes) - 1
        columns, uses = recognised(whole, chosen, reading.decimal, blocks=blocks)
        columns, uses = with_gaps(whole, columns, uses, missing)
    else:
        check_known(whole, known.columns, f"path={path!r}", "; leave it out with 'data.drop'")
        columns = list(known.columns)
        unknown = known.unknown if unknown == "error" else unknown
    used = {column.name for column in columns}
    own_form = TableForm(
        target=target,
        columns=tuple(columns),
        drop=(*dropped, *(str(name) for name in whole.columns if name not in used)),
        missing=missing,
        separator=layouts[0].separator,
        decimal=reading.decimal,
        encoding=reading.encoding,
        missing_marks=marks,
        unknown=unknown,
        targets=tuple(targets) if len(targets) > 1 else (),
    )
    sizes = file_sizes(whole)
    x = torch.from_numpy(features(whole, replace(own_form, unknown=unknown if known is not None else "error")))
    lines = torch.tensor(whole.index.get_level_values(1).to_numpy())
    train, *others = torch.arange(len(numbers)).split(sizes)
    val = None if val_path is None else others.pop(0)
    if test_path is None:
        count = round(test_fraction * len(train))
        test, train = stratified(strata[: len(train)], count, torch.Generator().manual_seed(0))
        refused = f"test_fraction={test_fraction}"
    else:
        (test,) = others
        refused = f"test_path={test_path!r}"
    if known is None and kind == "classes":
        check_parts(numbers[train], numbers[test], classes, refused)
    notes = [*(note for layout in layouts for note in layout.notes), *gaps, *notes]
    return Source(
        x[train],
        numbers[train],
        x[test],
        numbers[test],
        classes,
        impute=missing in FILLED,
        form=own_form,
        columns=tuple(uses),
        notes=tuple(dict.fromkeys(notes)),
        doubts=tuple(doubts),
        x_val=None if val is None else x[val],
        y_val=None if val is None else numbers[val],
        targets=[] if kind == "classes" else targets,
        kind=kind,
        numbers={"train": lines[train], "test": lines[test]} | ({} if val is None else {"val": lines[val]}),
    )


def rows(path: str, form: TableForm) -> tuple[torch.Tensor, list[str]]:
    """Read the features of a table, which may lack the class's column.

    Args:
        path: the file.
        form: the form of the table that a run was trained on.

    Returns:
        (rows, features), nan for missing cells, in float64 if float32 would round them too much; and sentences about
        what was found in the file.

    Raises:
        ValueError: the table cannot be read, has other columns, or has cells that the run does not know.
    """
    file = repr(path)
    reading = Reading(AUTO, form.encoding, form.decimal, form.missing_marks, form.separator)
    (table,), layouts = read_tables({file: path}, None, textual(form.columns), reading)
    table = table[[name for name in table.columns if name not in {form.target, *form.targets, *form.drop}]]
    check_known(table, form.columns, file, "; remove it")
    table.index = table.index + 1
    gaps = table.isna()
    if form.missing not in FILLED and gaps.to_numpy().any():
        row, column = np.argwhere(gaps.to_numpy())[0]
        raise ValueError(
            f"{file} has no {table.columns[column]!r} in row {table.index[row]}; "
            "the run was trained without missing cells"
        )
    return torch.from_numpy(features(labelled([table], [file]), form)), list(layouts[0].notes)


def plain_rows(path: str) -> tuple[torch.Tensor, list[str]]:
    """Read a table that consists of numbers: (rows, columns), and sentences about what was found in the file.

    Raises:
        ValueError: the table cannot be read, or a cell is not a number.
    """
    file = repr(path)
    table, layout = read_table(path, file, Reading(), set())
    table.index = table.index + 1
    columns = tuple(Column(str(name)) for name in table.columns)
    return torch.from_numpy(features(labelled([table], [file]), TableForm("", columns))), list(layout.notes)


def with_gaps(
    table: pd.DataFrame, columns: Sequence[Column], uses: Sequence[ColumnUse], missing: Missing
) -> tuple[list[Column], list[ColumnUse]]:
    """Return columns with a text for missing cells if these are a category, and what becomes of the missing cells.

    Args:
        table: with missing cells as nan.
        columns: those that are features.
        uses: of all columns.
        missing: see `csv`.
    """
    counts = {name: int(table[name].isna().sum()) for name in (column.name for column in columns)}
    changed = {
        column.name: replace(column, texts=(*column.texts, GAP))
        for column in columns
        if missing == "category" and column.kind == "texts" and counts[column.name] and GAP not in column.texts
    }
    texts = {column.name for column in columns if column.kind == "texts"}
    noted = []
    for use in uses:
        count = counts.get(use.name, 0)
        if count:
            filled = "filled in by the mean"
            if use.name in texts and missing == "category":
                filled = "a feature of their own"
            elif use.name in texts:
                filled = "filled in by the frequencies of the texts; data.missing=category gives them a feature"
            note = f"{use.note}; " if use.note else ""
            features = use.features + (use.name in changed)
            use = replace(use, features=features, note=f"{note}{count:,} of {len(table):,} cells missing: {filled}")
        noted.append(use)
    return [changed.get(column.name, column) for column in columns], noted


def labelled(tables: Sequence[pd.DataFrame], files: Sequence[str]) -> pd.DataFrame:
    """Return tables as one, whose rows are labelled with their file and their number there."""
    import pandas as pd

    if len(tables) > 1:
        return pd.concat(tables, keys=files)
    (table,) = tables
    return table.set_axis(pd.MultiIndex.from_product([list(files), table.index]), axis=0)


def file_sizes(table: pd.DataFrame) -> list[int]:
    """Return the number of rows of each file in a table; see `labelled`."""
    return np.bincount(table.index.codes[0]).tolist()  # type: ignore[attr-defined]


def mark_text(mark: Name) -> str:
    """Return a mark of missing cells as it is written in a file."""
    return f"{mark:g}" if isinstance(mark, float) else "" if mark is None else str(mark)


def spelled(name: Name, names: Sequence[str]) -> str:
    """Return a column's name as the header spells it, for one that the command line read as a number or a YAML word."""
    if isinstance(name, str) or str(name) in names:
        return str(name)
    words = {True: ("true", "yes", "on", "y"), False: ("false", "no", "off", "n"), None: ("null", "none", "~")}
    if isinstance(name, bool) or name is None:
        matches = [own for own in names if own.lower() in words[name]]
    else:
        matches = [own for own in names if number_of(own) == name]
    return matches[0] if matches else "null" if name is None else str(name)


def spelled_key(name: str, names: Sequence[str]) -> str:
    """Return the name of a key of a mapping as the header spells it."""
    if name in names:
        return name
    plain: Name = {"true": True, "false": False, "null": None}.get(name, number_of(name) if number_of(name) else name)
    return spelled(plain, names)


def number_of(text: str) -> float | None:
    """Return the number that a text is; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def textual(columns: Iterable[Column]) -> list[str]:
    """Return the names of the columns whose cells are read as texts."""
    return [column.name for column in columns if column.kind != "numbers"]


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


def read_tables(
    paths: dict[str, str], target: Name, texts: Iterable[str], reading: Reading
) -> tuple[list[pd.DataFrame], list[TextLayout]]:
    """Read files; a column of texts in one file is a column of texts in all of them.

    Args:
        paths: name of a file in an error -> its path.
        target: the column of the class, which is read as texts.
        texts: further columns that are read as texts in any case.
        reading: the settings.

    Raises:
        ValueError: a file is absent, is not a table, or has no row.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    read = [read_table(path, file, reading, set(texts), target) for file, path in paths.items()]
    textlike: set[str] = set()
    for table, _ in read:
        kinds = table.dtypes.items()
        textlike |= {str(name) for name, kind in kinds if is_bool_dtype(kind) or not is_numeric_dtype(kind)}
    return [
        with_texts(table, textlike, path, layout, reading)
        for (table, layout), path in zip(read, paths.values(), strict=True)
    ], [layout for _, layout in read]


def read_table(
    path: str, file: str, reading: Reading, texts: set[str], target: Name = None
) -> tuple[pd.DataFrame, TextLayout]:
    """Read a file, with a column as numbers if all of its cells are numbers, which is much faster than texts.

    Args:
        path: the file.
        file: the name of the file in an error.
        reading: the settings.
        texts: the names of columns that are read as texts in any case.
        target: another such column.

    Raises:
        ValueError: the file is absent, is not a table, or has no row.
    """
    import pandas as pd
    from pandas.errors import ParserWarning

    if not Path(path).is_file():
        raise ValueError(f"{file} is not a file; give a csv file with a header")
    try:
        memory.require(Path(path).stat().st_size, file)
        layout = layout_of(path, file, reading)
        header = parsed(path, layout, reading, header=None, nrows=1, dtype=str, na_filter=False)
        names = [str(name).strip() for name in header.iloc[0]]
        nameless = len(names) - len([*dropwhile(lambda name: not name, reversed(names))])  # after commas at the ends
        repeated = [name for name, count in Counter(names).items() if count > 1 and (name or nameless < count)]
        if repeated:
            raise ValueError(
                f"{file} has two columns called {repeated[0]!r}; column names must be unique{without_header(names)}"
            )
        wanted = {*texts, spelled(target, names)}
        numbers = {number for number, name in enumerate(names) if name in wanted or number in layout.codes}
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # a first row that is longer than the header
            table = all_rows(path, layout, reading, len(names), numbers)
        if nameless and nameless < len(names) and len(table) and table.iloc[:, -nameless:].isna().to_numpy().all():
            names, table = names[:-nameless], table.iloc[:, :-nameless]
    except UnicodeDecodeError:
        raise undecodable(file, reading.encoding, reading.encoding == AUTO) from None
    except ParserWarning:
        raise ValueError(
            f"{file} cannot be read as a csv file: the first row is longer than the header; "
            "data.separator sets the character between its cells"
        ) from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, OverflowError, OSError) as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        reason = (
            f"line {found[2]} has {found[3]} cells instead of {found[1]}" if found else " ".join(str(error).split())
        )
        raise ValueError(
            f"{file} cannot be read as a csv file: {reason}; data.separator and data.encoding set how it is read"
        ) from None
    if len(table) == 0:
        raise ValueError(f"{file} has a header but no row")
    table.columns = pd.Index(names)
    return table, layout


def without_header(names: Sequence[str]) -> str:
    """Return the end of a sentence if the first line of a file is probably no header: half of its cells are numbers."""
    count = sum(number_of(name) is not None for name in names)
    return "; if the first line is a row and not the header, add a header" if 2 * count >= len(names) > 0 else ""


def with_texts(table: pd.DataFrame, texts: set[str], path: str, layout: TextLayout, reading: Reading) -> pd.DataFrame:
    """Return a table with some of its columns as texts, nan for missing cells; columns of numbers are read again."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    again = [
        number
        for number, (name, kind) in enumerate(table.dtypes.items())
        if name in texts and is_numeric_dtype(kind) and not is_bool_dtype(kind)
    ]
    if not texts & set(table.columns):
        return table
    columns: dict[str, pd.Series] = {}
    if again:
        settings: dict[str, Any] = {"header": 0, "names": range(table.shape[1]), "dtype": str, "na_filter": False}
        read = parsed(path, layout, reading, usecols=again, **settings)
        columns = {str(table.columns[number]): read[number] for number in again}
    return table.assign(
        **{
            name: stripped(columns[name] if name in columns else table[name], reading.missing)
            for name in map(str, table.columns)
            if name in texts
        }
    )


def check_columns(
    tables: list[pd.DataFrame],
    files: list[str],
    path: str,
    targets: list[str],
    drop: list[str],
    kinds: Mapping[str, Kind],
) -> None:
    """Refuse names that are not in the table, and a further table that lacks columns.

    Raises:
        ValueError: a name is not a column, no feature is left, or a further table lacks a column.
    """
    names = list(tables[0].columns)
    if len(names) == 1 and names != targets:
        raise ValueError(
            f"path={path!r} has only one column, {names[0]!r}; give the character between its cells, such as "
            "data.separator=semicolon"
        )
    asked = (("target", targets), ("drop", drop), ("kinds", kinds))
    for key, name in [(key, name) for key, given in asked for name in given]:
        if name not in names:
            close = get_close_matches(name, names, n=1, cutoff=0.5)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            more = ", ..." if len(names) > SHOWN else ""
            choices = f"{', '.join(names[:SHOWN])}{more}{meant}{without_header(names)}"
            raise UnknownColumnError(f"{key}={name!r}", path, choices)
    for target in targets:
        if target in drop:
            raise ValueError(f"drop={drop} contains the target; remove {target!r} from it")
    if len(names) == 1:
        raise ValueError(f"path={path!r} has only the column {names[0]!r}, the target; at least one feature is needed")
    if len(set(names) - set(drop)) <= len(targets):
        raise ValueError(f"drop={drop} leaves no column but the target; at least one feature is needed")
    for number, file in list(enumerate(files))[1:]:
        table = tables[number]
        absent = sorted(set(names) - set(table.columns) - set(drop))
        if absent:
            raise ValueError(f"{file} lacks the columns {', '.join(absent)}")
        tables[number] = table[names if not drop else [name for name in names if name in table.columns]]


def with_targets(table: pd.DataFrame, file: str, targets: Sequence[str], name: str) -> tuple[pd.DataFrame, list[str]]:
    """Return a table without the rows that lack a target, and a sentence about them if there are any.

    Args:
        table: with missing cells as nan.
        file: the name of its file in an error.
        targets: their columns.
        name: of the file in the sentence.

    Raises:
        ValueError: no row is left.
    """
    known = table[list(targets)].notna().all(axis=1)
    lost = int((~known).sum())
    if lost == len(table):
        raise ValueError(f"missing_target='drop' leaves no row of {file}, because none has a target")
    which = " or ".join(map(repr, targets))
    sentence = f"{name} has no {which} in {lost:,} of {len(table):,} rows, which are left out"
    return (table[known], [sentence]) if lost else (table, [])


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
    table = table.set_axis(table.index + 1, axis=0)
    gaps = table.isna()
    cells = gaps.to_numpy()
    if not cells.any():
        return table
    empty = [
        name
        for name, gap in zip(table.columns, np.atleast_1d(cells.all(axis=0)), strict=True)
        if gap and name != target
    ]
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
            f"target={target!r} is missing in row {without_class[0]} of {file} ({len(without_class)} in total): the "
            "cell is empty, or NA, N/A, NaN or NULL, which a class cannot be called; fill it in or spell it otherwise, "
            "or leave such rows out with data.missing_target=drop"
        )
    if missing == "error":
        row, column = np.argwhere(cells)[0]
        raise ValueError(
            f"missing='error': row {table.index[row]} of {file} has no {table.columns[column]!r} "
            f"({int(cells.sum())} missing cells in total); use mean, category or drop"
        )
    return table


def about_gaps(before: pd.DataFrame, after: pd.DataFrame, file: str, target: str, missing: Missing) -> list[str]:
    """Return a sentence about the missing cells of a table, if there are any.

    Args:
        before, after: the table as it is, and with its missing cells treated.
        file: its name.
        target: the column of the class.
        missing: see `csv`.
    """
    lost = len(before) - len(after)
    if lost:
        without = int(before[target].isna().sum())
        of_target = f"; {without} of them {'has' if without == 1 else 'have'} no {target!r}" if without else ""
        return [f"{file} has missing cells in {lost:,} of {len(before):,} rows, which are left out{of_target}"]
    count = int(after.isna().to_numpy().sum())
    return (
        [f"{file} has {count:,} missing cell{'s' * (count > 1)}, filled in by data.missing={missing}"] if count else []
    )


def class_numbers(column: pd.Series, target: str, least: int) -> tuple[torch.Tensor, list[str], list[str]]:
    """Return each row's class number, the names of the classes, and sentences about them.

    The names are the texts in the file, sorted as numbers if all of them are numbers. Spellings of one number, such as
    1 and 1.0, are one class with the most frequent spelling as its name; 01 and 1 are two classes.

    Raises:
        ValueError: there are fewer than `least` classes, or a class has fewer than `least` examples.
    """
    import pandas as pd

    codes, found = pd.factorize(column, sort=True)
    texts, counts = [str(text) for text in found], np.bincount(codes)
    merged: dict[object, list[int]] = {}
    for number, text in enumerate(texts):
        merged.setdefault(spelling(text), []).append(number)
    most = {group[int(np.argmax(counts[group]))]: group for group in merged.values()}
    names = in_order([texts[number] for number in most])
    position = {name: index for index, name in enumerate(names)}
    number_of_text = np.empty(len(texts), np.int64)
    for number, group in most.items():
        number_of_text[group] = position[texts[number]]
    labels = number_of_text[codes]
    if len(names) < least:
        raise ValueError(f"target={target!r} has only one class, {names[0]!r}; at least two are needed")
    sizes = np.bincount(labels)
    if sizes.min() < least:
        single = names[int(sizes.argmin())]
        hint = ""
        rare = len(names) > len(labels) / 2 and is_quantity(names)
        if rare or quantity(names, len(labels), target) is not None:
            hint = "; it looks like a quantity: try task=regression"
        if any("," in name for name in names) and all(re.fullmatch(r"[-+]?\d+(,\d+)?", name) for name in names):
            hint = "; if these are numbers with decimal commas, add data.decimal=comma"
        raise ValueError(f"target={target!r} has only one example of class {single!r}; every class needs two{hint}")
    notes = [
        f"target {target!r}: {', '.join(repr(texts[number]) for number in group)} are one class, {texts[name]!r}, "
        "because they are the same number"
        for name, group in most.items()
        if len(group) > 1
    ][:MOST_SPELLINGS]
    return torch.from_numpy(labels), names, notes


def alike(names: Sequence[str], target: str) -> list[str]:
    """Return sentences about classes that differ only in case."""
    lower: dict[str, list[str]] = {}
    for name in names:
        lower.setdefault(name.casefold(), []).append(name)
    return [
        f"target {target!r}: {' and '.join(map(repr, group))} are different classes, although only their case differs"
        for group in lower.values()
        if len(group) > 1
    ][:MOST_SPELLINGS]


def features(table: pd.DataFrame, form: TableForm) -> np.ndarray:
    """Return the features of columns, nan for missing cells: in float32, or in float64 if that would round too much.

    Raises:
        ValueError: a cell is not of its column's kind.
    """
    kinds = [table[column.name] for column in form.columns]
    widths = [len(column.texts) if column.kind == "texts" else 1 for column in form.columns]
    turned = np.empty((sum(widths), len(table)), np.float32)  # a column at a time is written to memory in one piece
    wide: dict[int, np.ndarray] = {}
    start = 0
    for cells, column, width in zip(kinds, form.columns, widths, strict=True):
        values = encoded(cells, column, form)
        if values.dtype == np.float64 and may_round(values) and rounds(torch.from_numpy(values.copy())):
            wide[start] = values[:, 0]
        turned[start : start + width] = values.T
        start += width
    x = torch.from_numpy(turned).t().contiguous().numpy()
    if not wide:
        return x
    exact = x.astype(np.float64)
    start = 0
    for cells, column, width in zip(kinds, form.columns, widths, strict=True):
        if column.kind in ("numbers", "amounts", "dates"):
            exact[:, start] = wide[start] if start in wide else encoded(cells, column, form)[:, 0]
        start += width
    return exact


def may_round(values: np.ndarray) -> bool:
    """Whether float32 could round numbers by more than a negligible share of their spread; quick, for most columns."""
    some = values[:: max(1, len(values) // SAMPLED)]
    size = max(abs(values.min()), abs(values.max()))
    return not size * EPSILON < ROUNDED * some.std() / 2  # nan too


def encoded(cells: pd.Series, column: Column, form: TableForm) -> np.ndarray:
    """Return the features of a column, (rows, features): numbers in float64, 0 and 1 in float32.

    Raises:
        ValueError: a cell is not of the column's kind.
    """
    match column.kind:
        case "truths":
            return truths(cells)
        case "texts":
            return one_hot(cells, column, form.unknown)
        case "amounts":
            known = {text: amount(text, form.decimal) for text in map(str, cells.dropna().unique())}
            if column.affix:
                known |= {text: np.nan for text in known if column.affix not in text}
            reason = f"which is not a number with {column.affix or 'separators'}"
            return numeric(cells, cells.map(known), reason + other_mark(cells, form.decimal))
        case "dates":
            return numeric(cells, days(cells, first=column.day_first), "which is not a date")
    numbers = as_numbers(cells, form.decimal)
    reason = "which is not a number"
    if numbers is not cells:
        reason += other_mark(cells[numbers.isna() & cells.notna()], form.decimal)
    return numeric(cells, numbers, reason)


def other_mark(cells: pd.Series, decimal: str) -> str:
    """Return the remedy for numbers with the other decimal mark, as the end of a sentence; empty if they are not."""
    other, word = (",", "comma") if decimal == "." else (".", "point")
    marked = [text for text in map(str, cells.dropna().unique()[:SAMPLED]) if other in text]
    if not marked or any(np.isnan(amount(text, other)) for text in marked):
        return ""
    return f" with the decimal mark {decimal!r} of the training; for a file of input=, add data.decimal={word}"


def numeric(column: pd.Series, numbers: pd.Series, reason: str) -> np.ndarray:
    """Return a column of numbers in float64, of shape (rows, 1).

    Args:
        column: the cells.
        numbers: the same as numbers, nan for those that are none.
        reason: why such a cell is refused.

    Raises:
        ValueError: a cell is not a number, or not finite in float32.
    """
    if numbers is not column:
        refuse_cells(column, numbers.isna() & column.notna(), reason)
    values = numbers.to_numpy(dtype=np.float64)
    largest = np.finfo(np.float32).max
    if not (values.min() >= -largest and values.max() <= largest):  # nan too
        infinite = np.flatnonzero(np.abs(values) > largest)
    else:
        infinite = np.empty(0, np.int64)
    if len(infinite):
        first = infinite[0]
        file, row = column.index[first]
        raise ValueError(
            f"{file} has {column.iloc[first]!s} in row {row} of column {column.name!r}, "
            "which is not finite in float32; correct it, or empty the cell and add data.missing=mean"
        )
    return values[:, None]


def truths(column: pd.Series) -> np.ndarray:
    """Return a feature that is 1 for true and 0 for false, of shape (rows, 1).

    Raises:
        ValueError: a cell is neither.
    """
    values = column.str.lower().map(TRUTHS)
    refuse_cells(column, values.isna() & column.notna(), "which is neither true nor false")
    return values.to_numpy(dtype=np.float32)[:, None]


def one_hot(column: pd.Series, known: Column, unknown: str) -> np.ndarray:
    """Return a feature for each text of a column, of shape (rows, texts).

    Raises:
        ValueError: a cell has another text, and `unknown` is 'error'.
    """
    import pandas as pd

    if GAP in known.texts:
        column = column.fillna(GAP)
    other = ~column.isin(known.texts) & column.notna()
    if unknown == "error":
        allowed = ", ".join(known.texts[:SHOWN]) + (", ..." if len(known.texts) > SHOWN else "")
        refuse_cells(
            column, other, f"which is not one of {allowed}; data.unknown=ignore sets all features of the column to 0"
        )
    codes = pd.Categorical(column.where(~other), categories=known.texts).codes
    values = np.eye(len(known.texts), dtype=np.float32)[codes]
    values[codes < 0] = np.nan
    values[other.to_numpy()] = 0.0
    return values


def refuse_cells(column: pd.Series, wrong: pd.Series, reason: str) -> None:
    """Refuse a column that has wrong cells.

    Raises:
        ValueError: names the first wrong cell.
    """
    if wrong.any():
        first = int(np.argmax(wrong.to_numpy()))
        file, row = column.index[first]
        raise ValueError(f"{file} has {written(column.iloc[first])} in row {row} of column {column.name!r}, {reason}")


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
