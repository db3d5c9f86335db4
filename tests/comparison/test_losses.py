"""Runs with different losses are ranked by the score of their task."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.common.ranking import different_losses, is_loss, ranking_of, usual_score
from experiments.folders.reading import Reader
from experiments.sweeps.launch import Progress
from tests.comparison.planted import compared, refused, rows_of
from tests.helpers import NO_PICTURES, Commands, composed

TINY = ("data=diabetes", "training.epochs=2", "observers.tensorboard.enabled=false", NO_PICTURES)
CODE = ("model=autoencoder", "task=reconstruction")
REGRESSION = ["train/loss", "train/r2", "val/loss", "val/r2", "val/rmse"]


def differing(*commands: tuple[str, ...], name: str = "val/loss") -> str:
    """What the losses of runs with these overrides differ in."""
    return different_losses([composed(*words) for words in commands], name)


@pytest.mark.parametrize(
    ("commands", "found"),
    [
        ([("loss=mse",), ("loss=mae",), ("loss=mse",)], "loss=mse,mae"),
        ([("loss=huber",), ("loss=huber", "loss.delta=2")], "loss.delta=1,2"),
        ([("loss=cross_entropy",), ("loss=cross_entropy", "loss.label_smoothing=0.1")], "loss.label_smoothing=0,0.1"),
        ([("loss=huber", "loss.delta=2"), ("loss=mae",)], "loss=huber,mae"),
        ([("optimizer=sgd",), ("optimizer=adam", "penalty=l2", "data.balance=class_weights")], ""),
        ([(*CODE, "model.beta=2"), CODE], ""),
        ([(*CODE, "model.variational=true", "model.beta=2"), CODE], "model.beta=2,0"),
        (
            [(*CODE, f"data.preprocess={name}") for name in ("scale", "standardize")],
            "data.preprocess=scale,standardize",
        ),
    ],
)
def test_what_gives_losses_different_meanings(commands: list[tuple[str, ...]], found: str) -> None:
    assert differing(*commands) == found


def test_the_weights_of_classes_count_in_the_loss_of_training_batches_and_nowhere_else() -> None:
    runs = [("data.balance=none",), ("data.balance=class_weights",)]
    assert differing(*runs, name="train/loss") == "data.balance=none,class_weights"
    assert differing(*runs, name="val/loss") == differing(*runs, name="train_eval/loss") == ""


def test_a_setting_of_an_own_loss_counts_and_one_that_is_left_out_has_its_default() -> None:
    own = [{"loss._target_": "mine.focal", "loss.gamma": value} for value in (1, 2.0)]
    assert different_losses(own) == "loss.gamma=1,2"
    ours = [{"loss._target_": "experiments.losses.huber", **more} for more in ({}, {"loss.delta": 1.0})]
    assert different_losses(ours) == ""


def test_the_score_of_the_task_ranks_runs_with_different_losses() -> None:
    configs = [{"loss._target_": f"experiments.losses.{name}"} for name in ("mse", "mae")]
    ranking = ranking_of("val/loss", configs, [REGRESSION] * 2)
    assert ranking.metric is not None
    assert ranking.metric.name == "val/r2"
    assert ranking.reason == "the runs have different losses (loss=mse,mae), so their val/loss cannot be compared"
    assert ranking_of("val/loss", configs, [REGRESSION, ["val/loss"]]).metric is None
    tied = ranking_of("val/accuracy", configs, [["val/accuracy"]] * 2)
    assert not tied.is_replaced
    assert tied.metric is not None
    assert tied.metric.merit({"val/accuracy": 0.9, "val/loss": 1.0}) == tied.metric.merit({"val/accuracy": 0.9})
    assert not ranking_of("val/loss", configs[:1] * 2, [REGRESSION] * 2).is_replaced


def test_which_metrics_are_losses() -> None:
    names = ("val/loss", "test/loss", "train/loss", "train_eval/loss", "val/log_loss", "loss", "val/r2")
    assert [is_loss(name) for name in names] == [True] * 4 + [False] * 3


def test_the_usual_score_of_a_task() -> None:
    found = [usual_score(composed(f"data={data}")) for data in ("diabetes", "sine", "topics", "text", "csv")]
    assert found == ["val/r2", "val/r2", "val/accuracy", "val/accuracy", None]
    assert usual_score(composed("task=reconstruction")) == "val/r2"


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_sweep_of_losses_is_ranked_compared_and_evaluated_by_r2(commands: Commands) -> None:
    outcome = commands.train("-m", *TINY, "loss=mse,mae,huber", "seed=range(2)")
    assert outcome.code == 0, outcome.err
    reason = "have different losses (loss=mse,mae,huber), so their val/loss cannot be compared"
    assert f"\nThe runs {reason}; the runs are ranked by val/r2\n" in outcome.out
    (sweep,) = (commands.folder / "outputs" / "train").iterdir()
    best = max(Reader([sweep]).read().records, key=lambda run: run.metrics["val/r2"])
    assert f"\nbest run {best.folder.name}  val/r2 {best.metrics['val/r2']:.4f}\n" in outcome.out
    with (sweep / "sweep.csv").open(newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == list("012345")
    assert best.folder.name in commands.type("evaluate", str(sweep), "best=1").out

    shown = compared(commands, sweep)
    assert shown.out.startswith("val/r2 of 6 runs in 3 groups\n")
    sentence = f"note: The runs {reason}, neither here nor in the curves; the groups are compared by val/r2\n"
    assert sentence in shown.out
    assert len(rows_of(sweep)) == 3
    for name in ("val/loss", "test/loss", "train/loss"):
        assert refused(commands, str(sweep), f"metric={name}") == (
            f"Error: metric={name}: the runs have different losses (loss=mse,mae,huber), so their {name} cannot be "
            f"compared; choose metric={name.partition('/')[0]}/r2, or runs with one loss by where=loss=mse\n"
        )
    assert compared(commands, sweep, "where=loss=mse").out.startswith("val/loss of 2 runs in 1 group\n")
    shown = compared(commands, sweep, "best=loss")
    assert "at its best setting by val/r2: all runs at loss=" in shown.out


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("search=coarse_to_fine", "data=diabetes", "loss=mse,mae"), "loss=choice(mse,mae)"),
        (
            ("search=coarse_to_fine", "data=diabetes", "loss=huber", "loss.delta=interval(0.1,3)"),
            "loss.delta=interval(0.1,3.0)",
        ),
        (
            ("search=fair", "for=loss", "data=diabetes", "loss=mse,mae", "optimizer.lr=interval(0.001,0.1)"),
            "loss=mse,mae",
        ),
        (
            ("search=fair", "for=optimizer", "optimizer=sgd,adam", "data=diabetes", "loss=mse,huber"),
            "loss=choice(mse,huber)",
        ),
    ],
)
def test_a_search_of_losses_by_a_loss_is_refused(commands: Commands, words: tuple[str, ...], refusal: str) -> None:
    outcome = commands.train("-m", *words, *TINY)
    assert outcome.refusal() == (
        f"Error: objective=val/loss cannot rank the trials: {refusal} changes what it measures; "
        "choose objective=val/r2\n"
    )
    assert not [*commands.folder.glob("outputs/**/.hydra")]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_remedy_of_the_refusal_works(commands: Commands, tmp_path: Path) -> None:
    words = ("loss=mse,mae", "objective=val/r2", "hydra.sweeper.sampler=grid", "hydra.sweeper.n_trials=2")
    outcome = commands.train("-m", "hydra/sweeper=optuna", *TINY, *words)
    assert outcome.code == 0, outcome.err
    assert "best     trial " in outcome.out
    assert "val/r2" in outcome.out
    assert [*tmp_path.glob("outputs/**/search.json")]


def test_the_best_loss_of_a_stack_is_not_shown_if_its_runs_have_different_losses() -> None:
    configs = [composed("data=diabetes", "loss=huber", f"loss.delta={delta}") for delta in (1, 2)]
    row = {"epoch": 1, "val/loss": 3.0}
    members: Any = [SimpleNamespace(status=None, objective="val/loss", history=[row]) for _ in configs]
    for own, shown in ((configs, "1/5, 2 runs"), (configs[:1] * 2, "1/5, 2 runs, best val/loss now 3.0000")):
        lines: list[object] = []
        progress = Progress("", lines.append, own)
        progress.shown = -1e9
        position: Any = SimpleNamespace(epoch=1, name="1", marks=5, plan=SimpleNamespace(epochs=5, validate_steps=None))
        progress(members, position)
        assert lines == [shown]
