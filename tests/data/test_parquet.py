"""A table in a Parquet or Arrow file is the same data as the csv file with the same cells."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import assembly
from experiments.data.own import read
from experiments.data.parquet import write_csv
from experiments.training.streams import Streams
from tests.helpers import SMALL, Commands, composed, table
from tests.wild.outcomes import assert_refused

pa = pytest.importorskip("pyarrow")
feather = pytest.importorskip("pyarrow.feather")
files = pytest.importorskip("pyarrow.parquet")

ROWS = 60
RNG = np.random.default_rng(0)
CELLS: dict[str, Any] = {
    "height": RNG.standard_normal(ROWS),
    "count": RNG.integers(0, 9, ROWS),
    "colour": [("red", "green", "blue")[k % 3] for k in range(ROWS)],
    "smokes": [k % 2 == 0 for k in range(ROWS)],
    "code": [f"{k % 4:03d}" for k in range(ROWS)],
    "born": np.datetime64("1990-01-31") + 40 * np.arange(ROWS),
    "ill": [("no", "yes")[k % 5 == 0] for k in range(ROWS)],
}


def saved(folder: Path, name: str = "own.parquet", **changed: Any) -> str:
    """Save the cells, some of them changed or, if they are None, left out."""
    cells = pa.table({key: value for key, value in {**CELLS, **changed}.items() if value is not None})
    path = folder / name
    if path.suffix == ".csv":
        write_csv(cells, path, "cells")
    elif path.suffix == ".parquet":
        files.write_table(cells, path)
    else:
        feather.write_feather(cells, str(path))
    return str(path)


def loaded(path: str, choice: str = "parquet", **settings: Any) -> assembly.Data:
    """Load a table as a run does."""
    config = composed(f"data={choice}", "data.path=x", "data.target=ill")
    section = {**config["data"], "path": path, **settings}
    return assembly.data({**config, "data": section}, Streams(0), torch.device("cpu"))


@pytest.mark.parametrize("name", ["own.parquet", "own.arrow"])
def test_the_columns_are_those_of_a_csv_file(tmp_path: Path, name: str) -> None:
    own = loaded(saved(tmp_path, name), kinds={"born": "dates"})
    plain = loaded(saved(tmp_path, "own.csv"), "csv", kinds={"born": "dates"})
    assert own.description.columns == plain.description.columns
    assert own.classes == ["no", "yes"]
    for part, split in plain.splits.items():
        assert torch.equal(own.splits[part].raw(), split.raw())
        assert torch.equal(own.splits[part].y, split.y)


def test_numbers_keep_all_digits(tmp_path: Path) -> None:
    times = [1_700_000_000 + k for k in range(ROWS)]
    thirds = np.float32(1) / np.arange(1, ROWS + 1, dtype=np.float32)
    data = loaded(saved(tmp_path, height=times, count=thirds, code=None, born=None), preprocess="none", drop=["colour"])
    first = data.splits["train"].raw()
    assert first.dtype == torch.float64
    assert set(first[:, 0].tolist()) <= set(map(float, times))
    assert set(first[:, 1].float().tolist()) <= set(thirds.tolist())


def test_categories_and_gaps_are_understood(tmp_path: Path) -> None:
    colours = pa.array([None, *CELLS["colour"][1:]]).dictionary_encode()
    height = pa.array([None, *CELLS["height"][1:]])
    assert loaded(saved(tmp_path, colour=colours, height=height), missing="mean").input_shape == (10,)
    with pytest.raises(Exception, match=r"^data.missing='error': row 1 of path='.*own.parquet' has no 'height'"):
        loaded(saved(tmp_path, colour=colours, height=height))


def cut_off(folder: Path) -> Path:
    path = Path(saved(folder))
    path.write_bytes(path.read_bytes()[:200])
    return path


def lacking(folder: Path) -> Path:
    files.write_table(pa.table({"height": [1.0], "ill": ["no"]}), folder / "test.parquet")
    return folder / "test.parquet"


WRONG: dict[str, Callable[[Path], Any]] = {
    "absent": lambda _: loaded("nowhere.parquet"),
    "csv": lambda folder: loaded(saved(folder, "own.csv")),
    "cut off": lambda folder: loaded(str(cut_off(folder))),
    "lists": lambda folder: loaded(saved(folder, count=[[1, 2]] * ROWS)),
    "bytes": lambda folder: loaded(saved(folder, count=[b"1"] * ROWS)),
    "no rows": lambda folder: loaded(saved(folder, **{key: pa.array(value)[:0] for key, value in CELLS.items()})),
    "unknown target": lambda folder: loaded(saved(folder), target="il"),
    "test": lambda folder: loaded(saved(folder), test_path=str(lacking(folder))),
}
REFUSED = {
    "absent": r"data.path='nowhere.parquet' is not a file; give a table in a Parquet or Arrow file$",
    "csv": r"data.path='.*own.csv' is not a Parquet or Arrow file; use data=csv$",
    "cut off": r"data.path='.*own.parquet' cannot be read: ",
    "lists": r"data.path='.*own.parquet' has the column 'count' of type list<.*>, which is not a number, a text",
    "bytes": r"data.path='.*own.parquet' has the column 'count' of type binary, which is not a number, a text",
    "no rows": r"data.path='.*own.parquet' has a header but no row$",
    "unknown target": r"data.target='il' is not a column of .*own.parquet; choose from .*; did you mean 'ill'\?$",
    "test": r"data.test_path='.*test.parquet' lacks the columns born, code, colour, count, smokes$",
}


@pytest.mark.parametrize(("kind", "sentence"), REFUSED.items(), ids=REFUSED)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, kind: str, sentence: str) -> None:
    assert_refused(partial(WRONG[kind], tmp_path), sentence)


def test_a_new_table_is_read_for_a_prediction(tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = loaded(path)
    assert torch.equal(read(path, data.description).x, read(saved(tmp_path, "own.csv"), data.description).x)


@pytest.mark.slow
def test_a_run_is_trained_and_predicts(commands: Commands) -> None:
    saved(commands.folder)
    folder = commands.trained(*SMALL[:1], *SMALL[2:], "data=parquet", "data.path=own.parquet", "data.target=ill")
    outcome = commands.type("evaluate", f"run={folder}", "input=own.parquet")
    assert outcome.code == 0, outcome.err
    assert len(table(next(folder.rglob("predictions.csv")))) == ROWS
