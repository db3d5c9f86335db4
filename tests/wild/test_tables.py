"""Tables as people have them are read as they are meant, or refused with the setting that helps."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from experiments import assembly
from experiments.data.tables import csv
from experiments.evaluation.loading import load
from experiments.training.streams import Streams
from tests.helpers import SMALL, Commands, composed, metrics, summary, weights

from .outcomes import assert_printed, assert_refused
from .tables import CASES, FIRST, Table, late, noise, table, word

CPU = torch.device("cpu")
QUICK = (*(word for word in SMALL if not word.startswith("data.limit")), "observers.layers.enabled=false")


def loaded(path: Path, case: Table) -> assembly.Data:
    """Load a table as a run does."""
    config = composed("data=csv", "data.path=x", "data.target=y", f"task={case.task}")
    section = {**config["data"], "path": str(path), "target": case.target, **case.settings}
    return assembly.data({**config, "data": section}, Streams(0), CPU)


@pytest.mark.parametrize("name", CASES)
def test_a_table_has_its_right_outcome(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = tmp_path / "own.csv"
    path.write_bytes(case.content)
    if case.refused is not None:
        assert_refused(partial(loaded, path, case), case.refused)
        return
    data = loaded(path, case)
    assert case.classes is None or data.classes == case.classes
    columns = data.description.columns
    assert {use.name: (use.holds, use.features) for use in columns if use.name in case.columns} == case.columns
    assert data.splits["train"].x.shape[1] == sum(use.features for use in columns)
    prepared = data.splits["train"].first(1000)[0]
    assert prepared.isfinite().all()
    assert prepared.dtype == torch.float32
    assert_printed([*data.notes, *data.doubts, *(use.note for use in columns)], case.said)


def test_plain_tables_are_read_without_notes(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(table(x=noise, w=word))
    data = loaded(path, Table(b""))
    assert [*data.notes, *data.doubts, *(use.note for use in data.description.columns if use.note)] == []
    assert data.splits["train"].x.dtype == torch.float32


def test_amounts_are_the_numbers_that_they_show(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    cells = ["$5", "$1,000.50", "-$3", "$-4", "$ 7"]
    path.write_text("p,y\n" + "".join(f'"{cell}",{y}\n' for cell in cells for y in "ab"))
    source = csv(str(path), "y", test_fraction=0.5)
    x = torch.cat([source.x_train, source.x_test]).flatten()
    assert sorted(set(x.tolist())) == [-4, -3, 5, 7, 1000.5]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        *(("3.4.2020", 18355), ("2020-04-03", 18355), ("13/4/2020", 18365), ("3. April 2020", 18355)),
        *(("3 avril 2020", 18355), ("2020年4月3日", 18355), ("3-Mai-2020", 18385), ("20200403", 18355)),
    ],
)
def test_dates_are_days(tmp_path: Path, cell: str, expected: int) -> None:
    path = tmp_path / "own.csv"
    path.write_text("d,y\n" + f"{cell},a\n{cell},b\n" * 4)
    source = csv(str(path), "y", kinds={"d": "dates"})
    assert set(source.x_train.flatten().tolist()) == {expected}


def test_a_target_of_dates_is_days(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    for cells, days in ((("2020-04-03", "13.4.2020"), None), (("3.4.2020", "13.4.2020"), {18355, 18365})):
        path.write_text("x,y\n" + "".join(f"{i},{cells[i % 2]}\n" for i in range(8)))
        source = csv(str(path), "y", kinds={"y": "dates"})
        assert source.kind == "numbers"
        assert days is None or set(torch.cat([source.y_train, source.y_test]).flatten().tolist()) == days
    path.write_text("x,y\n" + "".join(f"{i},{(20200403, 20200413)[i % 2]}\n" for i in range(8)))
    assert set(csv(str(path), "y", kinds={"y": "dates"}).y_train.flatten().tolist()) == {18355, 18365}


@pytest.mark.slow
def test_numbers_are_centred_before_they_are_rounded(commands: Commands) -> None:
    """A table of Unix times is learnt, evaluated, predicted, exported and resumed to the last digit."""
    content = table(rows=400, t=late, y=lambda i: "ba"[late(i) > FIRST + 20])
    Path("own.csv").write_bytes(content)
    settings = (*QUICK, "data=csv", "data.path=own.csv", "data.target=y", "optimizer.lr=0.01")
    folder = commands.trained(*settings, "training.epochs=12")
    assert summary(folder)["metrics"]["test/accuracy"] > 0.95
    assert json.loads((folder / "data.json").read_text())["numbers"] == "float64"

    run = load(folder, device="cpu")
    frame = pd.read_csv("own.csv")
    frame[["t"]].to_csv("new.csv", index=False)
    np.savez("new.npz", x=frame[["t"]].to_numpy())
    np.save("new.npy", frame[["t"]].to_numpy())
    expected = frame["y"].tolist()
    for given in ("new.csv", "new.npz", "new.npy", frame[["t"]].to_numpy()):
        assert np.mean(np.array(run.predict(given).labels) == expected) > 0.95
    assert commands.type("evaluate", f"run={folder}", "device=cpu").code == 0

    assert commands.type("export", f"run={folder}", "format=torch").code == 0
    program = torch.export.load(str(folder / "export" / "model.pt2")).module()
    x = torch.tensor(frame[["t"]].to_numpy(), dtype=torch.float64)
    np.testing.assert_allclose(program(x).numpy(), run.probabilities(x).numpy(), atol=1e-6)

    half = commands.trained(*settings, "training.epochs=6", "name=half")
    assert commands.train(*settings, "name=half", f"resume={half}", "training.epochs=12").code == 0
    assert metrics(half) == metrics(folder)
    assert all(torch.equal(a, b) for a, b in zip(weights(half).values(), weights(folder).values(), strict=True))


@pytest.mark.slow
def test_a_stack_is_as_exact_as_a_run(commands: Commands) -> None:
    Path("own.csv").write_bytes(table(rows=200, t=late, y=lambda i: "ba"[late(i) > FIRST + 20]))
    settings = (*QUICK, "data=csv", "data.path=own.csv", "data.target=y", "optimizer.lr=0.01", "training.epochs=12")
    assert commands.train("-m", *settings, "seed=0,1").code == 0
    scores = [json.loads(path.read_text())["metrics"]["test/accuracy"] for path in Path().rglob("summary.json")]
    assert len(scores) == 2
    assert min(scores) > 0.9


def test_a_table_may_have_its_own_validation_part(tmp_path: Path) -> None:
    for name, rows in (("own", 60), ("val", 9), ("test", 12)):
        (tmp_path / f"{name}.csv").write_bytes(table(rows=rows, x=noise, w=word))
    paths = {f"{name}_path": str(tmp_path / f"{name}.csv") for name in ("val", "test")}
    case = Table(b"", settings={"val_path": paths["val_path"]})
    data = loaded(tmp_path / "own.csv", case)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 48, "val": 9, "test": 12}
    assert "the 9 validation examples are the data set's own; data.val_fraction=0.2 is not used" in data.notes
    data = loaded(tmp_path / "own.csv", Table(b"", settings=paths))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60, "val": 9, "test": 12}
    whole = csv(str(tmp_path / "val.csv"), "y", test_path=paths["test_path"])
    assert torch.equal(data.splits["val"].raw(), whole.x_train)
    assert torch.equal(data.splits["test"].raw(), whole.x_test)
    (tmp_path / "val.csv").write_bytes(table(x=noise))
    assert_refused(partial(loaded, tmp_path / "own.csv", case), r"data.val_path='.*val.csv' lacks the columns w")


@pytest.mark.slow
def test_predictions_join_with_the_file(commands: Commands) -> None:
    Path("own.csv").write_bytes(table(x=noise, y=lambda i: f"0{1 + i % 2}"))
    folder = commands.trained(*QUICK, "data=csv", "data.path=own.csv", "data.target=y", "training.epochs=1")
    assert commands.type("evaluate", f"run={folder}", "device=cpu").code == 0
    predictions = pd.read_csv(folder / "evaluation" / "test" / "predictions.csv", dtype=str)
    assert set(predictions["target"]) == {"01", "02"}
    Path("own.csv").write_bytes(table(x=noise, y=lambda i: 1 + i % 2))  # as a spreadsheet saves it
    outcome = commands.type("evaluate", f"run={folder}", "data.path=own.csv", "device=cpu")
    assert outcome.code == 0, outcome.err
    assert "classes are spelled differently than in training: '1' is '01', '2' is '02'" in outcome.out


@pytest.mark.slow
def test_the_columns_are_shown_and_kept(commands: Commands) -> None:
    Path("own.csv").write_bytes(table(Id=lambda i: i + 1, price=lambda i: f"${i * i}", n=lambda i: i, x=noise))
    words = (*QUICK, "data=csv", "data.path=own.csv", "data.target=y")
    folder = commands.trained(*words, "training.epochs=1")
    log = (folder / "train.log").read_text()
    assert re.search(r"^Id +row numbers +- +left out: it counts the rows", log, re.MULTILINE)
    assert re.search(r"^price +money \(\$\) +1 +read as numbers", log, re.MULTILINE)
    kept = json.loads((folder / "data.json").read_text())["columns"]
    assert [(use["name"], use["features"]) for use in kept] == [("Id", 0), ("price", 1), ("n", 1), ("x", 1)]
    (verdict,) = [v for v in summary(folder)["verdicts"] if v["name"] == "questionable data"]
    assert "column 'n': it counts the rows" in verdict["evidence"]
    outcome = commands.type("check", "only=examples", *words)
    (result,) = json.loads(next(Path().glob("outputs/check/*/checks.json")).read_text())["checks"]
    assert "1 of 4 columns left out: Id (row numbers)" in result["measured"]
    assert result["verdict"] == "warn"
    assert "Column 'n': it counts the rows" in outcome.out


@pytest.mark.slow
def test_the_named_settings_work_as_they_are_printed(commands: Commands) -> None:
    Path("own.csv").write_bytes(
        table(Id=lambda i: i + 1, zip=lambda i: f"{i % 5:05}", q=lambda i: "?" if i == 1 else i * i)
    )
    words = ["data=csv", "data.path=own.csv", "data.target=y", *QUICK, "training.epochs=1"]
    assert "'data.missing_marks=[\"?\"]'" in commands.train(*words).err
    words += ['data.missing_marks=["?"]', "data.missing=mean"]
    folder = commands.trained(*words, "data.kinds={Id:numbers,zip:numbers}")
    kept = json.loads((folder / "data.json").read_text())["columns"]
    assert [(use["name"], use["holds"]) for use in kept] == [("Id", "numbers"), ("zip", "numbers"), ("q", "numbers")]


@pytest.mark.slow
def test_an_unknown_text_in_new_rows(commands: Commands) -> None:
    Path("own.csv").write_bytes(table(x=noise, w=word))
    folder = commands.trained(*QUICK, "data=csv", "data.path=own.csv", "data.target=y", "training.epochs=1")
    Path("new.csv").write_text("x,w\n1,red\n1,violet\n")
    outcome = commands.type("evaluate", f"run={folder}", "input=new.csv")
    assert outcome.code == 2
    assert "'violet' in row 2 of column 'w', which is not one of blue, green, red; data.unknown=ignore" in outcome.err
    outcome = commands.type("evaluate", f"run={folder}", "input=new.csv", "data.unknown=ignore")
    assert outcome.code == 0, outcome.err
    assert len(pd.read_csv(folder / "evaluation" / "input_new.csv" / "predictions.csv")) == 2
    assert commands.type("evaluate", f"run={folder}", "input=new.csv", "data.unknown=skip").code == 2


@pytest.mark.slow
def test_new_rows_may_have_another_layout(commands: Commands) -> None:
    Path("own.csv").write_bytes(table(x=noise, w=word))
    folder = commands.trained(*QUICK, "data=csv", "data.path=own.csv", "data.target=y", "training.epochs=1")
    run = load(folder, device="cpu")
    Path("plain.csv").write_bytes(table(x=noise, w=word))
    expected = run.predict("plain.csv").probabilities
    for content in (
        table(";", x=noise, w=word),
        table(encoding="utf-16", x=noise, w=word),
        table(",", "# new\n", x=noise, w=word),
    ):
        Path("other.csv").write_bytes(content)
        assert np.array_equal(run.predict("other.csv").probabilities, expected)


@pytest.mark.parametrize(
    "columns", [{}, {"w": lambda i: "?" if i > 900 else i}, {"w": lambda i: "x" if i > 900 else i}]
)
def test_a_large_file_is_read_in_pieces(tmp_path: Path, columns: Any) -> None:
    path, few = tmp_path / "own.csv", table(rows=2000, x=noise, v=word, t=late, **columns)
    head, *rows = few.decode().splitlines()
    wide = ",".join(f"z{number}" for number in range(600))  # so many cells that pandas converts two pieces
    path.write_text("\n".join([f"{wide},{head}", *(f"{'0,' * 600}{row}" for row in rows)]) + "\n")
    (tmp_path / "few.csv").write_bytes(few)
    settings: dict[str, Any] = {
        "missing": "mean",
        "missing_marks": ["?"],
        "kinds": {"w": "numbers"} if columns else None,
    }
    if columns and rows[1500].endswith("x"):
        with pytest.raises(ValueError, match="'x' in row 902 of column 'w', which is not a number"):
            csv(str(path), "y", **settings)
        return
    pieces, whole = csv(str(path), "y", **settings), csv(str(tmp_path / "few.csv"), "y", **settings)
    assert torch.equal(whole.x_train.nan_to_num(-1), pieces.x_train.nan_to_num(-1))
    assert torch.equal(whole.y_train, pieces.y_train)
