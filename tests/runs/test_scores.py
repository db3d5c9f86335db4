"""The scores at the end: of the best epoch, on every split in evaluation mode, and so are the pictures."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.assembly import run as assembly
from experiments.evaluation.loading import load
from experiments.observers.pictures import Pictures
from experiments.training.observer import Observer
from tests.helpers import Commands, metrics, run_folders, summary

QUIET = tuple(f"observers.{name}.enabled=false" for name in ("tensorboard", "histograms", "layers", "regions"))
TINY = ("data=moons", "data.examples=120", "model.hidden=[8]", "model.dropout=0.5", "optimizer.lr=0.3", *QUIET)
NO_PICTURES = "observers.pictures.enabled=false"


def measured(folder: Path) -> dict[str, float]:
    """The loss and the accuracy of a run's best weights on its whole training split."""
    run = load(folder)
    loss = right = 0.0
    for scores, y in run.batches(run.data.splits["train"]):
        loss += torch.nn.functional.cross_entropy(scores, y, reduction="sum").item()
        right += (scores.argmax(1) == y).sum().item()
    count = len(run.data.splits["train"])
    return {"loss": loss / count, "accuracy": right / count}


def fitted(folder: Path) -> dict[str, float]:
    """The scores of the training split in evaluation mode, as the summary has them."""
    found = summary(folder)["metrics"].items()
    return {name.partition("/")[2]: value for name, value in found if name.startswith("train_eval/")}


def test_the_training_split_is_measured_as_the_others_are(commands: Commands) -> None:
    outcome = commands.train(*TINY, NO_PICTURES, "training.epochs=4")
    (folder,) = run_folders(commands.folder)
    found = fitted(folder)
    assert found == pytest.approx(measured(folder), rel=1e-5)
    rows, own = metrics(folder), summary(folder)
    during = float(rows[own["best_epoch"] - 1]["train/accuracy"])
    assert own["metrics"]["train/accuracy"] == during != found["accuracy"]
    assert f"train  {found['loss']:.4f}    {found['accuracy']:.4f}" in outcome.out
    assert not any("train_eval" in name for name in rows[0])


def test_runs_of_a_stack_are_measured_alike(commands: Commands) -> None:
    commands.train("-m", *TINY, NO_PICTURES, "training.epochs=2", "seed=0,1")
    for folder in run_folders(commands.folder):
        assert summary(folder)["trained_together"] == 2
        assert fitted(folder) == pytest.approx(measured(folder), rel=1e-5)


def test_it_is_a_column_if_it_is_wanted(commands: Commands) -> None:
    folder = commands.trained(*TINY, NO_PICTURES, "training.epochs=3", "training.evaluate_train=true")
    rows, own = metrics(folder), summary(folder)
    best = rows[own["best_epoch"] - 1]
    assert fitted(folder) == {name: float(best[f"train_eval/{name}"]) for name in ("loss", "accuracy")}
    plain = metrics(commands.trained(*TINY, NO_PICTURES, "training.epochs=3"))
    assert [{name: row[name] for name in plain[0]} for row in rows] == plain, "it changes nothing else"


def test_a_sample_of_many_examples_is_named(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "TRAIN_EVAL_MOST", 30)
    outcome = commands.train(*TINY, NO_PICTURES, "training.epochs=1")
    assert "train is measured on 24 of the 96 training examples, evenly spaced" in outcome.out
    (folder,) = run_folders(commands.folder)
    assert math.isclose(fitted(folder)["accuracy"] * 24, round(fitted(folder)["accuracy"] * 24))


def test_pictures_are_of_the_epoch_whose_scores_are_printed(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    def draw(self: Pictures, epoch: int) -> None:
        split, scores, about = self.evaluated(epoch)
        drawn.append((epoch, (scores.argmax(1) == split.y).float().mean().item(), about))

    monkeypatch.setattr(Pictures, "draw", draw)
    folder = commands.trained(*TINY, "training.epochs=6", "seed=2")
    own = summary(folder)
    assert own["best_epoch"] < 6
    ((epoch, accuracy, about),) = drawn
    assert (epoch, about) == (own["best_epoch"], f"validation split, after epoch {own['best_epoch']}")
    assert accuracy == pytest.approx(own["metrics"]["val/accuracy"])


class Sulking(Observer):
    """Fails when the scores are known."""

    def scored(self, epoch: int) -> None:
        raise ValueError(f"no picture of epoch {epoch}")


@pytest.mark.parametrize("words", [(), ("-m", "seed=0,1")])
def test_an_observer_that_fails_at_the_end_is_one_sentence(commands: Commands, words: tuple[str, ...]) -> None:
    own = f"+observers.own={{_target_: {__name__}.Sulking}}"
    outcome = commands.train(*words, *TINY, NO_PICTURES, "training.epochs=1", own)
    assert outcome.code != 0
    assert "raised ValueError: no picture of epoch 1" in outcome.err + outcome.out
    assert "Traceback" not in outcome.err
    assert {summary(folder)["status"] for folder in run_folders(commands.folder)} == {"failed"}
