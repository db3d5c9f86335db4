"""A run and a sweep that were written before the package was divided into packages: every verb still takes them."""

import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from experiments.training.observer import Observer
from tests.helpers import REPOSITORY, Commands, metrics, summary, table

pytestmark = pytest.mark.slow

FIXTURES = REPOSITORY / "tests" / "fixtures" / "before_packages"
RUN = (
    "data.limit=96",
    "model.hidden=[12]",
    "observers.pictures.enabled=false",
    "observers.tensorboard.enabled=false",
    "observers.histograms.enabled=false",
    "training.epochs=3",
    "model.batch_norm=true",
    "scheduler=cosine",
    "training.early_stopping.patience=50",
)
SWEEP = (
    "-m",
    "data.limit=96",
    "model.hidden=[8]",
    "observers.pictures.enabled=false",
    "observers.tensorboard.enabled=false",
    "observers.histograms.enabled=false",
    "observers.progress.enabled=false",
    "observers.layers.enabled=false",
    "training.epochs=60",
    "training.batch_size=2",
    "optimizer=sgd,adam",
    "seed=1,2",
    "hydra.sweep.dir=sweep",
)

RESUMED = [  # epoch, step, lr, train/loss, train/accuracy, val/loss, val/accuracy; 4 and 5 as the old code trained them
    [1, 3, 0.000883022221559489, 2.559159199396769, 0.07291666666666667, 2.8301107618543835, 0.09027777777777778],
    [2, 6, 0.00041317591116653486, 2.477830410003662, 0.07291666666666667, 2.6852139366997614, 0.09375],
    [3, 9, 3.0153689607045842e-05, 2.4742517471313477, 0.09375, 2.619797388712565, 0.09027777777777778],
    [4, 12, 0.00016543469682057105, 2.4432573318481445, 0.09375, 2.5755221048990884, 0.09375],
    [5, 15, 1.0926199633097156e-05, 2.435749133427938, 0.11458333333333333, 2.5555337270100913, 0.09027777777777778],
]
TEST_LOSS = 2.550596575083496  # of epoch 4
# train/loss, val/loss, val/accuracy, test/loss, test/accuracy: the old code's epoch of the lowest loss among the best
SWEPT = [
    [0.11292427025424938, 0.6381822162204318, 0.8263888888888888, 0.6219942877442721, 0.8105849582172702],
    [0.09701418420687939, 0.5183260175916884, 0.8263888888888888, 0.5038532934883085, 0.8384401114206128],
    [0.07879203456104733, 0.535377025604248, 0.8333333333333334, 0.5317733196352483, 0.8523676880222841],
    [0.0820239507399189, 0.5049940745035807, 0.8506944444444444, 0.45719350007835496, 0.8690807799442897],
]


@pytest.fixture
def old_run(commands: Commands) -> Path:
    """A finished run of 3 epochs."""
    return Path(shutil.copytree(FIXTURES / "run", commands.folder / "run"))


@pytest.fixture
def old_sweep(commands: Commands) -> Path:
    """A sweep of 4 runs, interrupted after 24 of 60 epochs."""
    return Path(shutil.copytree(FIXTURES / "sweep", commands.folder / "sweep"))


def test_an_old_run_is_evaluated(commands: Commands, old_run: Path) -> None:
    outcome = commands.type("evaluate", f"run={old_run}")
    assert outcome.code == 0, outcome.err
    found = json.loads((old_run / "evaluation" / "test" / "evaluation.json").read_text())
    assert found["accuracy"] == pytest.approx(summary(old_run)["metrics"]["test/accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(summary(old_run)["metrics"]["test/loss"], rel=1e-6)


def test_an_old_run_is_exported(commands: Commands, old_run: Path) -> None:
    outcome = commands.type("export", f"run={old_run}", "format=torch")
    assert outcome.code == 0, outcome.err
    assert (old_run / "export" / "model.pt2").exists()


def test_an_old_run_is_resumed(commands: Commands, old_run: Path) -> None:
    outcome = commands.train(*RUN, "training.epochs=5", "scheduler.horizon=stretched", f"resume={old_run}")
    assert outcome.code == 0, outcome.err
    found = [[float(value) for value in row.values()] for row in metrics(old_run)]
    assert found == [pytest.approx(row, rel=1e-6) for row in RESUMED]
    assert summary(old_run)["best_epoch"] == 4, "as accurate as epoch 2, with a lower loss"
    assert summary(old_run)["metrics"]["test/loss"] == pytest.approx(TEST_LOSS, rel=1e-6)


def test_old_folders_are_compared(commands: Commands, old_run: Path, old_sweep: Path) -> None:
    outcome = commands.type("compare", str(old_run))
    assert outcome.code == 0, outcome.err
    (row,) = table(old_run / "comparison" / "table.csv")
    assert float(row["mean"]) == summary(old_run)["metrics"]["val/accuracy"]
    outcome = commands.type("compare", str(old_sweep))
    assert outcome.code == 0, outcome.err
    assert [row["group"] for row in table(old_sweep / "comparison" / "table.csv")] == [
        "optimizer=sgd",
        "optimizer=adam",
    ]


def test_an_old_sweep_is_resumed(commands: Commands, old_sweep: Path) -> None:
    before = table(old_sweep / "sweep.csv")
    outcome = commands.train(*SWEEP, f"resume={old_sweep}")
    assert outcome.code == 0, outcome.err
    rows = table(old_sweep / "sweep.csv")
    assert [row["status"] for row in before] == ["interrupted"] * 4
    assert [row["status"] for row in rows] == ["finished"] * 4
    assert [row["folder"] for row in rows] == [row["folder"] for row in before]
    for row, (train_loss, val_loss, val_accuracy, test_loss, test_accuracy) in zip(rows, SWEPT, strict=True):
        assert float(row["train/loss"]) == pytest.approx(train_loss, rel=1e-3)
        assert float(row["val/loss"]) == pytest.approx(val_loss, rel=1e-3)
        assert float(row["val/accuracy"]) == pytest.approx(val_accuracy, abs=0.01)
        assert float(row["test/loss"]) == pytest.approx(test_loss, rel=1e-3)
        assert float(row["test/accuracy"]) == pytest.approx(test_accuracy, abs=0.01)
    outcome = commands.type("compare", str(old_sweep))
    assert outcome.code == 0, outcome.err
    assert {row["status"] for row in table(old_sweep / "comparison" / "runs.csv")} == {"finished"}


@pytest.mark.parametrize(
    "path",
    [
        "experiments.cli.FreshFolder",
        "experiments.data.sources.Source",
        "experiments.lessons.planted.Unnormalized",
        "experiments.lessons.planted.unchanging",
        "experiments.lessons.planted.ungained",
        "experiments.observers.base.Observer",
        "experiments.penalties.Penalty",
        "experiments.surfaces.beale",
    ],
)
def test_a_name_that_users_know_still_leads_to_its_object(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert callable(getattr(import_module(module), name))


def test_the_documented_observer_is_that_of_the_loop() -> None:
    from experiments.observers import base

    assert base.Observer is Observer
