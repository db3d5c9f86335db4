"""Small validation splits, on which most epochs and runs have the same accuracy: the lower validation loss decides."""

import json
import re
from pathlib import Path

import pytest
import torch

from experiments.evaluation.evaluating import chosen
from tests.helpers import NO_PICTURES, Commands, metrics, run_folders, summary
from tests.search.searches import found_in, study_in

TIED = (
    *("data=blobs", "data.classes=2", "data.examples=60", "data.noise=0.3", "data.val_fraction=0.2"),
    *("model.hidden=[8]", "training.epochs=6", "optimizer.lr=0.01", "observers.tensorboard.enabled=false", NO_PICTURES),
    "observers.regions.enabled=false",
)
"""Two clouds far apart: soon every validation example is right, and the loss still falls."""


def best_of(folder: Path) -> dict[str, str]:
    """The row of the epoch with the highest validation accuracy and, of those, the lowest validation loss."""
    return max(metrics(folder), key=lambda row: (float(row["val/accuracy"]), -float(row["val/loss"])))


@pytest.mark.slow
def test_the_best_epoch_has_the_lowest_loss_of_those_with_the_best_accuracy(commands: Commands) -> None:
    folder = commands.trained(*TIED)
    best = best_of(folder)
    equals = [row for row in metrics(folder) if row["val/accuracy"] == best["val/accuracy"]]
    assert len(equals) > 1
    assert best is not equals[0]
    assert summary(folder)["best_epoch"] == int(best["epoch"])
    assert summary(folder)["metrics"]["val/loss"] == float(best["val/loss"])
    state = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    assert state["position"]["epoch"] == int(best["epoch"])
    evaluated = commands.type("evaluate", f"run={folder}", "split=val")
    assert f"weights of epoch {best['epoch']}" in evaluated.out
    assert float(best["val/loss"]) == pytest.approx(
        json.loads((folder / "evaluation" / "val" / "evaluation.json").read_text())["loss"], rel=1e-5
    )


@pytest.mark.slow
def test_the_best_runs_have_the_lowest_losses_of_those_with_the_best_accuracy(commands: Commands) -> None:
    assert commands.train("-m", *TIED, "seed=1,2,3,4").code == 0
    folders = run_folders(commands.folder)
    order = sorted(folders, key=lambda f: (-summary(f)["metrics"]["val/accuracy"], summary(f)["metrics"]["val/loss"]))
    assert len({summary(folder)["metrics"]["val/accuracy"] for folder in folders}) < len(folders)
    two = chosen([commands.folder / "outputs"], 2)
    assert [path.resolve() for path in two] == [path.resolve() for path in order[:2]]
    compared = commands.type("compare", str(commands.folder / "outputs"), "by=seed")
    assert re.findall(r"^seed=(\d)", compared.out, re.MULTILINE) == [str(summary(folder)["seed"]) for folder in order]


@pytest.mark.slow
def test_the_best_trial_has_the_lowest_loss_of_those_with_the_best_accuracy(commands: Commands) -> None:
    pytest.importorskip("optuna")
    grid = ("hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "hydra.sweep.dir=outputs/s")
    outcome = commands.train("-m", *TIED, *grid, "optimizer.lr=choice(0.005,0.02,0.03)")
    assert outcome.code == 0, outcome.err
    folder = commands.folder / "outputs" / "s"
    trials = study_in(folder).trials
    assert len({trial.value for trial in trials}) < len(trials)
    best = min(trials, key=lambda trial: (-(trial.value or 0.0), trial.user_attrs["val/loss"]))
    assert found_in(folder)["best"]["trial"] == best.number
    (run,) = found_in(folder)["best"]["folders"]
    assert summary(Path(run))["metrics"]["val/loss"] == best.user_attrs["val/loss"]


@pytest.mark.slow
def test_weights_of_another_epoch_than_the_best_one_are_not_tested(commands: Commands) -> None:
    """As in the folder of a run that was interrupted when the first of equals was still the best."""
    folder = commands.trained(*TIED, "training.epochs=4")
    last = folder / "checkpoints" / "last.pt"
    state = torch.load(last, weights_only=True)
    history = json.loads(state["history"])
    history[1] |= {"val/accuracy": 1.0, "val/loss": 0.0}
    last.unlink()  # best.pt may be another name of the same file
    torch.save({**state, "history": json.dumps(history)}, last)
    outcome = commands.train(f"resume={folder}", "training.epochs=5")
    assert outcome.code == 0, outcome.err
    assert "best.pt has the weights of epoch 4; the weights of epoch 2, the best one, are lost" in outcome.out
    assert "it has those of epoch 4, not of epoch 2; the test split is not measured" in outcome.out
    assert summary(folder)["best_epoch"] == 2
    assert "test/accuracy" not in summary(folder)["metrics"]
