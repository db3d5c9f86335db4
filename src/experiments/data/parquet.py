"""Tables in Parquet and Arrow files: their columns are understood as those of a csv file with the same cells."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt, Lt

from . import memory, tables
from .columns import Kind
from .forms import Missing, TableForm, TargetForm
from .sources import Source
from .tables import Name

if TYPE_CHECKING:
    import pyarrow

PARQUET, ARROW = b"PAR1", b"ARROW1"
"""The first bytes of the files."""
EXTENSIONS = (".parquet", ".pq", ".arrow", ".feather")


def parquet(
    path: str,
    target: Name | list[Name],
    test_path: str | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    missing: Missing = "error",
    drop: list[Name] | None = None,
    missing_marks: list[Name] | None = None,
    kinds: dict[str, Kind] | None = None,
    unknown: Literal["error", "ignore"] = "error",
    form: TableForm | None = None,
    val_path: str | None = None,
    wanted: TargetForm | None = None,
    missing_target: Literal["error", "drop"] = "error",
) -> Source:
    """A table in a Parquet or Arrow file; see `tables.csv` for its columns and for the settings.

    Args:
        path: the file.
        target: the column of the class, or of the numbers or labels.
        test_path: a second table with the same columns, to test on.
        test_fraction: without a second table, the share of the rows to test on, the same rows for every seed.
        missing: what to do about missing cells: error, mean, category or drop.
        drop: columns to leave out.
        missing_marks: further texts or numbers of a missing cell.
        kinds: column -> numbers, texts, amounts or dates.
        unknown: what to do, in prediction, about a text that the training did not know.
        form: the columns of the table that a run was trained on; None to infer the columns from this table.
        val_path: a further table with the same columns, to validate on.
        wanted: the form of targets that the task learns; None for what the cells show.
        missing_target: what to do about rows without a target: error or drop.

    Raises:
        ValueError: the file cannot be read as such a table.
    """
    given = {"path": path, "test_path": test_path, "val_path": val_path}
    paths = {key: name for key, name in given.items() if name is not None}
    with as_csv(list(paths.values()), [f"{key}={name!r}" for key, name in paths.items()]) as copies:
        copied: dict[str, Any] = dict(zip(paths, copies, strict=True))
        try:
            return tables.csv(
                target=target,
                test_fraction=test_fraction,
                missing=missing,
                missing_target=missing_target,
                drop=drop,
                separator="comma",
                missing_marks=missing_marks,
                kinds=kinds,
                unknown=unknown,
                form=form,
                wanted=wanted,
                **copied,
            )
        except ValueError as error:
            message = str(error).replace("a csv file", "a table")
            for copy, name in zip(copies, paths.values(), strict=True):
                message = message.replace(copy, name)
            raise ValueError(message) from None


@contextmanager
def as_csv(paths: Sequence[str], subjects: Sequence[str]) -> Iterator[list[str]]:
    """Write tables to csv files of the same names in a temporary folder, which is removed after the block.

    Args:
        paths: of the tables.
        subjects: the names of the files in an error.

    Raises:
        ValueError: a file cannot be read, or a column cannot be a column of a table.
    """
    with tempfile.TemporaryDirectory() as folder:
        copies: list[str] = []
        for number, (path, subject) in enumerate(zip(paths, subjects, strict=True)):
            copy = Path(folder) / str(number) / Path(path).name
            copy.parent.mkdir()
            write_csv(read(path, subject), copy, subject)
            copies.append(str(copy))
        yield copies


def read(path: str, subject: str) -> pyarrow.Table:
    """Read a Parquet or Arrow file.

    Raises:
        ValueError: it is absent or cannot be read, or pyarrow is not installed.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"{subject} is not a file; give a table in a Parquet or Arrow file")
    if find_spec("pyarrow") is None:
        raise ValueError(f"{subject} needs pyarrow, which is not installed; run `pip install pyarrow`")
    import pyarrow
    from pyarrow import feather
    from pyarrow import parquet as files

    with file.open("rb") as opened:
        head = opened.read(len(ARROW))
    memory.require(file.stat().st_size, subject)
    try:
        if head.startswith(PARQUET):
            return files.read_table(file)
        if head == ARROW:
            return feather.read_table(file)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{subject} cannot be read: {' '.join(str(error).split())[:300]}") from None
    csv = "; use data=csv" if file.suffix.lower() in (".csv", ".tsv", ".txt") else ""
    raise ValueError(f"{subject} is not a Parquet or Arrow file{csv}")


def write_csv(table: pyarrow.Table, path: Path, subject: str) -> None:
    """Write a table to a csv file, with full precision.

    Raises:
        ValueError: a column has lists, bytes or other cells that are not a number, a text or a date.
    """
    import pyarrow
    from pyarrow import csv, types

    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
            raise ValueError(
                f"{subject} has the column {name!r} of type {kind}, which is not a number, a text or a date; leave it "
                "out when the file is written"
            )
        if types.is_float16(kind):
            column = column.cast(pyarrow.float32())
        elif types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind) or types.is_null(kind):
            column = column.cast(pyarrow.string())
        columns.append(column)
    csv.write_csv(pyarrow.table(columns, names=table.column_names), path)
