"""A search as a user types it: `-m hydra/sweeper=optuna`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from experiments.folders.hparams import Domain, hparams_config
from tests.helpers import Commands
from tests.search.searches import HIDDEN, LR, SEARCH, TINY, found_in, jobs, searched, study_in, sweeper, value_of


@pytest.mark.slow
def test_a_search_trains_its_trials_and_reports_the_best(commands: Commands) -> None:
    outcome = searched(commands, LR, HIDDEN, n_trials=5, n_jobs=4)
    assert outcome.code == 0, outcome.err
    folder = commands.folder / "outputs/s"
    study, found, runs = study_in(folder), found_in(folder), jobs(folder)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5
    assert sorted(runs) == list(range(5))
    for trial in study.trials:
        config = (runs[trial.number] / ".hydra/overrides.yaml").read_text()
        assert f"optimizer.lr={trial.params['optimizer.lr']}" in config
        assert f"model.hidden={trial.params['model.hidden']}" in config
        assert trial.value == value_of(runs[trial.number])
        assert set(trial.intermediate_values) == {1, 2}
        assert "trial" not in runs[trial.number].name
    best = max(trial.value or 0.0 for trial in study.trials)
    assert found["best"]["value"] == best
    assert found["states"] == {"complete": 5}
    assert (found["importance"], found["importance_trials"]) == ({}, 5)
    assert 0 <= found["position"]["optimizer.lr"]["position"] <= 1
    assert {path.name for path in (folder / "search").iterdir()} == {"history.png", "slice.png", "contour.png"}
    assert "best     trial" in outcome.out
    assert "matters  cannot be told from 5 trials with a result; at least 25 are needed" in outcome.out


@pytest.mark.slow
def test_a_search_of_a_quantity_minimizes_its_loss_and_goes_on_with_the_task_spelled_out(commands: Commands) -> None:
    rows = [f"{x / 7:.3f},{x % 5},{3 * x + 0.5}" for x in range(40)]
    (commands.folder / "houses.csv").write_text("\n".join(["area,rooms,price", *rows]))
    data: tuple[str, ...] = (
        "data=csv",
        f"data.path={commands.folder / 'houses.csv'}",
        "data.target=price",
        "data.limit=null",
    )
    outcome = searched(commands, LR, *data, n_trials=2)
    assert outcome.code == 0, outcome.err
    assert "best     trial 0: val/loss" in outcome.out or "best     trial 1: val/loss" in outcome.out
    study = study_in(commands.folder / "outputs/s")
    assert (study.direction.name, study.user_attrs["objective"]) == ("MINIMIZE", "val/loss")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    stated = ("task=regression", "objective=val/loss", "resume=outputs/s")
    outcome = searched(commands, LR, *data, *stated, n_trials=3)
    assert outcome.code == 0, outcome.err
    assert "run  optimizer.lr  val/loss  test/loss  epochs" in outcome.out
    assert len(study_in(commands.folder / "outputs/s").trials) == 3
    outcome = searched(commands, LR, *data, "task=classification", "resume=outputs/s", n_trials=4)
    assert "resume cannot change task (absent -> task=classification)" in outcome.err


@pytest.mark.slow
def test_a_finite_space_is_tried_once_and_then_is_exhausted(commands: Commands) -> None:
    outcome = searched(commands, HIDDEN, "optimizer.lr=0.01,0.1", n_trials=9, n_jobs=3, sampler="grid")
    assert outcome.code == 0
    assert "exhausted: all of its 4 points" in outcome.out
    points = {tuple(trial.params.values()) for trial in study_in(commands.folder / "outputs/s").trials}
    assert points == {(hidden, lr) for hidden in ("[8]", "[8,8]") for lr in (0.01, 0.1)}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are not listed here")
def test_a_search_closes_its_database(commands: Commands) -> None:
    storage = commands.folder / "study.db"
    outcome = searched(commands, HIDDEN, n_trials=2, n_jobs=2, sampler="grid", storage=f"sqlite:///{storage}")
    assert outcome.code == 0, outcome.err
    assert storage.exists()
    assert str(storage) not in [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]


@pytest.mark.slow
def test_the_objective_is_the_mean_over_seeds(commands: Commands) -> None:
    outcome = searched(commands, LR, "seed=5", n_trials=2, seeds_per_trial=3)
    assert outcome.code == 0
    folder = commands.folder / "outputs/s"
    runs = jobs(folder)
    for trial in study_in(folder).trials:
        own = [runs[3 * trial.number + seed] for seed in range(3)]
        assert [json.loads((path / "summary.json").read_text())["seed"] for path in own] == [5, 6, 7]
        assert trial.value == pytest.approx(sum(map(value_of, own)) / 3)
        assert trial.user_attrs["seeds"] == [value_of(path) for path in own]


@pytest.mark.slow
def test_a_trial_without_result_does_not_end_the_search(commands: Commands) -> None:
    # A batch of one example is refused by BatchNorm; a rate of 1e30 diverges.
    outcome = searched(
        commands, "training.batch_size=1,32", "optimizer.lr=0.01,1e30", "optimizer=sgd", "model.batch_norm=true",
        n_trials=4, sampler="grid",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = found_in(commands.folder / "outputs/s")
    assert found["states"] == {"failed": 2, "diverged": 1, "complete": 1}
    assert "BatchNorm" in outcome.out
    assert found["best"]["params"] == {"training.batch_size": 32, "optimizer.lr": 0.01}


@pytest.mark.slow
def test_a_search_without_any_result_ends_in_one_sentence(commands: Commands) -> None:
    outcome = searched(commands, "training.batch_size=16,32", "optimizer.lr=1e30", n_trials=2, sampler="grid")
    assert outcome.code == 2
    assert "none of the 2 trials has a result" in outcome.err
    assert found_in(commands.folder / "outputs/s")["best"] is None


@pytest.mark.slow
def test_too_many_failures_end_the_search_if_configured(commands: Commands) -> None:
    outcome = searched(commands, "optimizer.lr=1e30,1e31", "optimizer=sgd", n_trials=2, max_failure_rate=0.5)
    assert outcome.code == 2
    assert "max_failure_rate=0.5" in outcome.err


@pytest.mark.slow
def test_rounds_narrow_the_ranges(commands: Commands) -> None:
    outcome = commands.train("-m", "search=coarse_to_fine", SEARCH[2], *TINY, LR, *sweeper(n_trials=9, rounds=2))
    assert outcome.code == 0, outcome.err
    trials = study_in(commands.folder / "outputs/s").trials
    drawn: list[Any] = [trial.distributions["optimizer.lr"] for trial in trials]
    ranges = [(distribution.low, distribution.high) for distribution in drawn]
    assert ranges[:5] == [(1e-4, 1e-1)] * 5
    assert len(set(ranges[5:])) == 1
    assert ranges[5] != ranges[0]
    best = max(trials[:5], key=lambda trial: trial.value or 0.0)
    assert ranges[5][0] <= best.params["optimizer.lr"] <= ranges[5][1]
    assert all(low <= t.params["optimizer.lr"] <= high for t, (low, high) in zip(trials, ranges, strict=True))
    assert "round 2: optimizer.lr from" in outcome.out


@pytest.mark.slow
def test_a_custom_search_space_may_depend_on_earlier_draws(commands: Commands) -> None:
    (commands.folder / "own_space.py").write_text(
        "def more(cfg, trial):\n"
        "    if trial.params['optimizer'] == 'sgd':\n"
        "        trial.suggest_float('optimizer.momentum', 0.0, 0.5)\n"
        "    assert trial.user_attrs['training.batch_size'] == '16'\n"
    )
    sys.path.insert(0, str(commands.folder))
    try:
        outcome = searched(
            commands, "optimizer=adam,momentum", "training.batch_size=16",
            n_trials=2, sampler="random", custom_search_space="own_space.more",
        )  # fmt: skip
    finally:
        sys.path.remove(str(commands.folder))
    assert outcome.code == 0, outcome.err


def test_the_search_is_one_experiment_in_tensorboards_hparams(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    for _ in range(2):  # the second time there is one already
        swept: dict[str, Domain] = {"optimizer.lr": (1e-4, 1e-1), "model.hidden": [[50], [100, 100]], "k": (1, 5)}
        hparams_config(tmp_path, swept, {})
    (file,) = tmp_path.glob("events.*")
    events = EventAccumulator(str(file))
    events.Reload()
    content = events.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    by_name = {info.name: info for info in experiment.hparam_infos}
    assert list(by_name) == ["optimizer.lr", "model.hidden", "k"]
    assert by_name["optimizer.lr"].domain_interval.max_value == pytest.approx(0.1)
    assert [value.string_value for value in by_name["model.hidden"].domain_discrete.values] == ["[100, 100]", "[50]"]
    assert experiment.metric_infos[0].display_name == "val/accuracy"
    assert all(info.differs for info in experiment.hparam_infos)


@pytest.mark.slow
def test_the_study_can_be_in_a_file_of_the_user(commands: Commands) -> None:
    own = commands.folder / "own/search/mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "# @package _global_\n"
        "defaults:\n  - override /hydra/sweeper: optuna\n"
        "hydra:\n  sweeper:\n    n_trials: 2\n    sampler: {_target_: optuna.samplers.RandomSampler, seed: 7}\n"
        "    params:\n      optimizer.lr: tag(log, interval(1e-4, 1e-1))\n      model.dropout: interval(0, 0.5)\n"
        "      training.batch_size: 16\n"
    )
    outcome = commands.train(
        "--config-dir", str(own.parents[1]), *SEARCH[:1], "search=mine", SEARCH[2], *TINY, "seed=3"
    )
    assert outcome.code == 0, outcome.err
    folder = commands.folder / "outputs/s"
    assert [set(trial.params) for trial in study_in(folder).trials] == [{"optimizer.lr", "model.dropout"}] * 2
    assert "training.batch_size=16" in (jobs(folder)[1] / ".hydra/overrides.yaml").read_text()
