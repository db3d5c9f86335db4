"""Runs that fall behind are given up."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from experiments.folders.run import RunFolder
from experiments.search._storage import opened
from experiments.search.reporting import PRUNED, epochs_of, pruner, reporter
from experiments.training.engine import set_statuses
from experiments.training.member import Member
from experiments.training.position import Plan, Position
from experiments.training.streams import Streams
from tests.helpers import Commands
from tests.search.searches import found_in, jobs, searched, study_in, sweeper


@pytest.mark.slow
def test_trials_that_fall_behind_are_pruned(commands: Commands) -> None:
    # With this seed the good rate comes first, and the others are measured against it.
    halving = "{name:successive_halving,reduction_factor:2}"
    rates = "optimizer.lr=1e-2,1e-8,1e-7,1e-6"
    settings = sweeper(n_trials=4, sampler="{name:grid,seed:3}", pruner=halving)
    outcome = searched(commands, rates, "training.epochs=8", *settings)
    assert outcome.code == 0, outcome.err
    folder = commands.folder / "outputs/s"
    trials = study_in(folder).trials
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        summary = json.loads((jobs(folder)[trial.number] / "summary.json").read_text())
        assert summary["status"] == "pruned"
        assert summary["epochs"] == trial.user_attrs[PRUNED] < 8
        assert "test/accuracy" in summary["metrics"]
    assert found_in(folder)["states"] == {"complete": 4 - len(pruned), "pruned": len(pruned)}


def a_trial(folder: Path, seeds: int = 1, number: int = 5) -> dict[str, Any]:
    """A study of five good trials of three epochs, and one more that runs: what its runs are given."""
    at = str(folder / "study.journal")
    study = optuna.create_study(storage=opened(at), study_name="s", direction="maximize")
    for _ in range(5):
        trial = study.ask()
        for epoch, value in ((1, 0.5), (2, 0.7), (3, 0.9)):
            trial.report(value, epoch)
        study.tell(trial, 0.9)
    study.ask()
    return {"storage": at, "study": "s", "number": number, "seeds": seeds, "pruner": "median", "epochs": 3}


def history(*values: float) -> list[dict[str, float]]:
    """Epochs with these objectives."""
    return [{"epoch": epoch, "val/accuracy": value} for epoch, value in enumerate(values, start=1)]


@pytest.mark.slow
def test_a_run_in_another_process_is_pruned_through_the_storage(tmp_path: Path) -> None:
    trial = a_trial(tmp_path)
    code = (
        "import sys, json; from experiments.search.reporting import reporter\n"
        f"ask = reporter({trial!r}, 'val/accuracy')\n"
        "rows = [{'epoch': 1, 'val/accuracy': 0.6}, {'epoch': 2, 'val/accuracy': 0.1}]\n"
        "print(ask([]), ask(rows[:1]), ask(rows))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
    told = study_in(tmp_path, "s").trials[5]
    assert told.intermediate_values == {1: 0.6, 2: 0.1}
    assert reporter(trial, "val/accuracy")(history(0.9)) is True  # another seed, here, follows


@pytest.mark.parametrize(
    ("training", "searched", "expected"),
    [
        ({"epochs": 9}, (), 9),
        ({"epochs": 9, "validate": "every:5steps"}, (), None),
        ({"epochs": 9, "steps": 100}, (), None),
        ({"epochs": 9}, ("optimizer.lr", "training.epochs"), None),
        ({"epochs": 9}, ("training.batch_size",), 9),
    ],
)
def test_hyperband_knows_the_reports_of_a_run_only_if_they_are_its_epochs(
    training: dict[str, Any], searched: tuple[str, ...], expected: int | None
) -> None:
    assert epochs_of(training, searched) == expected
    found: Any = pruner("hyperband", expected)
    assert found._max_resource == (expected or "auto")


def test_a_pruner_counts_the_periods_that_runs_report(commands: Commands) -> None:
    words = ("training.validate=every:1steps", "training.epochs=3", "optimizer.lr=1e-2,1e-3,1e-8")
    settings = sweeper(n_trials=3, sampler="{name:grid,seed:3}", pruner="{name:hyperband,min_resource:2}")
    outcome = searched(commands, *words, *settings)
    assert outcome.code == 0, outcome.err
    folder = commands.folder / "outputs/s"
    first, *others = study_in(folder).trials
    assert list(first.intermediate_values) == list(range(1, 10))  # three updates per epoch
    assert first.state == TrialState.COMPLETE
    config = yaml.safe_load((jobs(folder)[1] / ".hydra" / "config.yaml").read_text())
    assert config["trial"]["epochs"] is None
    for trial in others:
        assert trial.state == TrialState.COMPLETE or 2 <= trial.user_attrs[PRUNED] < 9


def test_seeds_side_by_side_are_reported_as_their_mean_and_pruned_together(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, seeds=3)
    asks = [reporter(trial, "val/accuracy") for _ in range(3)]
    rows = [history(0.4, 0.1), history(0.6, 0.2), history(0.8, 0.6)]
    for epoch in (1, 2):
        for ask, row in zip(asks, rows, strict=True):
            ask(row[:epoch])
        answers = {ask(row[:epoch]) for ask, row in zip(asks, rows, strict=True)}
        assert answers == {epoch == 2}
    assert study_in(tmp_path, "s").trials[5].intermediate_values == pytest.approx({1: 0.6, 2: 0.3})


def test_a_finished_seed_is_not_waited_for(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, seeds=2)
    one, _other = (reporter(trial, "val/accuracy") for _ in range(2))
    assert one(history(0.6)) is False  # the other may still come
    assert one(history(0.6, 0.75)) is False
    assert one(history(0.6, 0.75, 0.2)) is True
    assert study_in(tmp_path, "s").trials[5].intermediate_values == {2: 0.75, 3: 0.2}


def test_seeds_one_after_another_are_led_by_the_first(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, seeds=2)
    assert reporter(trial, "val/accuracy")(history(0.2)) is True
    assert reporter(trial, "val/accuracy")(history(0.99)) is True


def test_members_of_one_trial_end_after_the_same_epoch(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, seeds=2)
    plan = Plan(epochs=3, batch_size=1, examples=1, drop_last=False, validate=True)
    members = [
        Member(
            folder=RunFolder(tmp_path / str(seed)),
            streams=Streams(seed),
            rate=0.1,
            schedule=lambda *_: 1.0,
            objective="val/accuracy",
            pruned=reporter(trial, "val/accuracy"),
            history=history(value),
        )
        for seed, value in enumerate((0.1, 0.2))
    ]
    set_statuses(members, Position(plan, epoch=1), interrupted=False)
    assert [member.status for member in members] == ["pruned", "pruned"]
