"""A search as a user types it: `-m hydra/sweeper=optuna`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from experiments.search.hparams import hparams_config
from experiments.search.reporting import PRUNED, reporter
from experiments.search.storage import opened
from tests.helpers import SMALL, Commands, Outcome, run, start

LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweep.dir=outputs/s")
TINY = (*SMALL, "observers.progress.enabled=false", "observers.layers.enabled=false")
HIDDEN = "model.hidden=choice([8],[8,8])"
AGAIN = "~hydra.callbacks.fresh_folder"
"""Go on in the folder that is there."""


def sweeper(**settings: Any) -> list[str]:
    """Settings of the sweeper as overrides."""
    return [f"hydra.sweeper.{key}={value}" for key, value in settings.items()]


def searched(commands: Commands, *overrides: str, **settings: Any) -> Outcome:
    """Search with tiny runs."""
    return commands.train(*SEARCH, *TINY, *sweeper(**settings), *overrides)


def study_in(folder: Path, name: str = "outputs/s") -> optuna.Study:
    """The study of a sweep's folder, opened as any program of Optuna's would."""
    journal = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(journal))


def found_in(folder: Path) -> dict[str, Any]:
    """What the search found."""
    return json.loads((folder / "search.json").read_text())


def jobs(folder: Path) -> dict[int, Path]:
    """The runs' folders by their numbers."""
    return {int(path.name.split("_")[0]): path for path in folder.iterdir() if path.name[0].isdigit()}


def value_of(folder: Path) -> float:
    """A run's objective."""
    return json.loads((folder / "summary.json").read_text())["metrics"]["val/accuracy"]


def test_a_search_trains_its_trials_and_says_what_it_found(commands: Commands) -> None:
    outcome = searched(commands, LR, HIDDEN, n_trials=6, n_jobs=4)
    assert outcome.code == 0, outcome.err
    folder = commands.folder / "outputs/s"
    study, found, runs = study_in(folder), found_in(folder), jobs(folder)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 6
    assert list(runs) and sorted(runs) == list(range(6))
    for trial in study.trials:
        config = (runs[trial.number] / ".hydra/overrides.yaml").read_text()
        assert f"optimizer.lr={trial.params['optimizer.lr']}" in config
        assert f"model.hidden={trial.params['model.hidden']}" in config
        assert trial.value == value_of(runs[trial.number])
        assert set(trial.intermediate_values) == {1, 2}
        assert "trial" not in runs[trial.number].name
    best = max(trial.value or 0.0 for trial in study.trials)
    assert found["best"]["value"] == best
    assert found["states"] == {"complete": 6}
    assert set(found["importance"]) == {"optimizer.lr", "model.hidden"}
    assert sum(found["importance"].values()) == pytest.approx(1, abs=1e-3)
    assert 0 <= found["position"]["optimizer.lr"]["position"] <= 1
    assert {path.name for path in (folder / "search").iterdir()} == {"history.png", "slice.png", "contour.png"}
    assert "best     trial" in outcome.out
    assert "matters  " in outcome.out


def test_a_search_goes_on_to_its_total_in_new_folders(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=2).code == 0
    folder = commands.folder / "outputs/s"
    kept = {number: (path / "summary.json").read_bytes() for number, path in jobs(folder).items()}
    assert searched(commands, LR, AGAIN, n_trials=5).code == 0
    study = study_in(folder)
    assert len(study.trials) == 5
    assert sorted(jobs(folder)) == [0, 1, 2, 3, 4]
    assert all((jobs(folder)[number] / "summary.json").read_bytes() == content for number, content in kept.items())
    assert len({trial.params["optimizer.lr"] for trial in study.trials}) == 5
    assert len(list(folder.glob("events.*"))) == 1
    assert searched(commands, LR, AGAIN, n_trials=5).code == 0
    assert len(study_in(folder).trials) == 5


def test_a_study_of_something_else_is_not_gone_on_with(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=1).code == 0
    outcome = searched(commands, "optimizer.lr=interval(0,1)", "training.batch_size=8", AGAIN, n_trials=2)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "optimizer.lr (log interval(0.0001,0.1) -> interval(0.0,1.0))" in outcome.err
    assert "training.batch_size (absent -> training.batch_size=8)" in outcome.err
    assert len(study_in(commands.folder / "outputs/s").trials) == 1


def test_a_finite_space_is_tried_once_and_then_is_exhausted(commands: Commands) -> None:
    outcome = searched(commands, HIDDEN, "optimizer.lr=0.01,0.1", n_trials=9, n_jobs=3, sampler="grid")
    assert outcome.code == 0
    assert "exhausted: all of its 4 points" in outcome.out
    points = {tuple(trial.params.values()) for trial in study_in(commands.folder / "outputs/s").trials}
    assert points == {(hidden, lr) for hidden in ("[8]", "[8,8]") for lr in (0.01, 0.1)}


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


def test_a_trial_without_result_does_not_end_the_search(commands: Commands) -> None:
    # A batch of one example is refused by BatchNorm; a rate of 1e30 diverges.
    outcome = searched(
        commands, "training.batch_size=1,32", "optimizer.lr=0.01,1e30", "optimizer=sgd", "model.batch_norm=true",
        n_trials=4, sampler="grid",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = found_in(commands.folder / "outputs/s")
    assert found["states"] == {"failed": 2, "diverged": 1, "complete": 1}
    assert "BatchNorm" in outcome.err
    assert found["best"]["params"] == {"training.batch_size": 32, "optimizer.lr": 0.01}


def test_a_search_without_any_result_ends_with_a_sentence(commands: Commands) -> None:
    outcome = searched(commands, "training.batch_size=1,2", "model.hidden=[-1]", n_trials=2, sampler="grid")
    assert outcome.code == 2
    assert "none of the 2 trials has a result" in outcome.err
    assert found_in(commands.folder / "outputs/s")["best"] is None


def test_too_many_failures_end_the_search_where_asked(commands: Commands) -> None:
    outcome = searched(commands, "optimizer.lr=1e30,1e31", "optimizer=sgd", n_trials=2, max_failure_rate=0.5)
    assert outcome.code == 2
    assert "max_failure_rate=0.5" in outcome.err


def test_rounds_narrow_the_ranges(commands: Commands) -> None:
    outcome = commands.train(
        "-m", "search=coarse_to_fine", "hydra.sweep.dir=outputs/s", *TINY, LR, *sweeper(n_trials=9, rounds=2)
    )
    assert outcome.code == 0, outcome.err
    trials = study_in(commands.folder / "outputs/s").trials
    ranges = [(d.low, d.high) for trial in trials for d in [trial.distributions["optimizer.lr"]]]
    assert ranges[:5] == [(1e-4, 1e-1)] * 5
    assert len(set(ranges[5:])) == 1 and ranges[5] != ranges[0]
    best = max(trials[:5], key=lambda trial: trial.value or 0.0)
    assert ranges[5][0] <= best.params["optimizer.lr"] <= ranges[5][1]
    assert all(low <= t.params["optimizer.lr"] <= high for t, (low, high) in zip(trials, ranges, strict=True))
    assert "round 2: optimizer.lr from" in outcome.out


def test_what_falls_behind_is_pruned(commands: Commands) -> None:
    pruner = "{name:successive_halving,reduction_factor:2}"
    outcome = searched(
        commands, "optimizer.lr=1e-2,1e-8,1e-7,1e-6", "training.epochs=8", n_trials=4, sampler="grid", pruner=pruner
    )
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
        for epoch in (1, 2, 3):
            trial.report(0.9, epoch)
        study.tell(trial, 0.9)
    study.ask()
    return {"storage": at, "study": "s", "number": number, "seeds": seeds, "pruner": "median", "epochs": 3}


def history(*values: float) -> list[dict[str, float]]:
    """Epochs with these objectives."""
    return [{"epoch": epoch, "val/accuracy": value} for epoch, value in enumerate(values, start=1)]


def test_a_run_in_another_process_is_pruned_through_the_storage_alone(tmp_path: Path) -> None:
    trial = a_trial(tmp_path)
    code = (
        "import sys, json; from experiments.search.reporting import reporter\n"
        f"ask = reporter({trial!r}, 'val/accuracy')\n"
        "rows = [{'epoch': 1, 'val/accuracy': 0.95}, {'epoch': 2, 'val/accuracy': 0.1}]\n"
        "print(ask([]), ask(rows[:1]), ask(rows))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
    told = study_in(tmp_path, "s").trials[5]
    assert told.intermediate_values == {1: 0.95, 2: 0.1}
    assert reporter(trial, "val/accuracy")(history(0.9)) is True  # another seed, here, follows


def test_seeds_side_by_side_are_reported_as_their_mean_and_pruned_together(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, seeds=3)
    asks = [reporter(trial, "val/accuracy") for _ in range(3)]
    rows = [history(0.8, 0.1), history(1.0, 0.2), history(1.2, 0.6)]
    for epoch in (1, 2):
        for ask, row in zip(asks, rows, strict=True):
            ask(row[:epoch])
        answers = {ask(row[:epoch]) for ask, row in zip(asks, rows, strict=True)}
        assert answers == {epoch == 2}
    assert study_in(tmp_path, "s").trials[5].intermediate_values == pytest.approx({1: 1.0, 2: 0.3})


def test_a_seed_that_has_ended_is_waited_for_no_longer(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, seeds=2)
    one, _other = (reporter(trial, "val/accuracy") for _ in range(2))
    assert one(history(0.95)) is False  # the other may still come
    assert one(history(0.95, 0.95)) is False
    assert one(history(0.95, 0.95, 0.2)) is True
    assert study_in(tmp_path, "s").trials[5].intermediate_values == {2: 0.95, 3: 0.2}


def test_seeds_one_after_another_are_led_by_the_first(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, seeds=2)
    assert reporter(trial, "val/accuracy")(history(0.2)) is True
    assert reporter(trial, "val/accuracy")(history(0.99)) is True


WAIT = "import time\nimport experiments.job as job\nold = job.fit\n"
SLOW = WAIT + "def fit(*a, **k):\n    time.sleep(0.7)\n    return old(*a, **k)\njob.fit = fit"
"""Runs that take a while."""


def wait_for(path: Path, pattern: str, count: int) -> None:
    """Wait until so many files are there."""
    for _ in range(600):
        if len(list(path.glob(pattern))) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{pattern} did not come")


def test_trials_that_a_killed_search_left_are_tried_again(commands: Commands) -> None:
    arguments = [*SEARCH, *TINY, LR, *sweeper(n_trials=4)]
    folder = commands.folder / "outputs/s"
    process = start(commands.folder, *arguments, prelude=SLOW)
    wait_for(folder, "*/summary.json", 1)
    process.kill()
    process.communicate()
    before = study_in(folder).trials
    assert [trial.state for trial in before] == [TrialState.RUNNING] * 4
    outcome = commands.train(*arguments, AGAIN)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("was left unfinished") == 4
    after = study_in(folder).trials
    assert [trial.state for trial in after[:4]] == [TrialState.FAIL] * 4
    assert [trial.params for trial in after[4:]] == [trial.params for trial in before]
    assert all(trial.state == TrialState.COMPLETE for trial in after[4:])
    assert found_in(folder)["states"] == {"interrupted": 4, "complete": 4}
    assert max(jobs(folder)) == 7


def test_ctrl_c_ends_the_asking_and_keeps_what_is_done(commands: Commands) -> None:
    arguments = [*SEARCH, *TINY, LR, *sweeper(n_trials=3)]
    folder = commands.folder / "outputs/s"
    process = start(commands.folder, *arguments, prelude=SLOW)
    wait_for(folder, "1_*/checkpoints" if False else "1_*/train.log", 1)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    states = [trial.state for trial in study_in(folder).trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]
    assert found_in(folder)["states"] == {"complete": 1, "interrupted": 2, "waiting": 2}
    assert commands.train(*arguments, AGAIN).code == 0
    after = study_in(folder).trials
    assert [trial.state for trial in after[3:]] == [TrialState.COMPLETE] * 2
    assert len(after) == 5


@pytest.mark.parametrize("storage", ["sqlite:///study.db", "shared.journal"])
def test_two_processes_work_on_one_study(commands: Commands, storage: str) -> None:
    shared = [*TINY, "-m", "hydra/sweeper=optuna", "model.hidden=[4],[5],[6],[7],[8],[9]"]
    shared += sweeper(n_trials=6, n_jobs=1, storage=storage, study_name="both", sampler="random")
    two = [start(commands.folder, *shared, f"hydra.sweep.dir=outputs/{name}") for name in "ab"]
    for process in two:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    at = f"sqlite:///{commands.folder}/study.db" if "sqlite" in storage else None
    backend = optuna.storages.journal.JournalFileBackend(str(commands.folder / storage))
    study = optuna.load_study(study_name="both", storage=at or optuna.storages.JournalStorage(backend))
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len({trial.params["model.hidden"] for trial in complete}) == len(complete) == 6


def test_a_custom_search_space_may_depend_on_what_was_drawn(commands: Commands) -> None:
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
        hparams_config(tmp_path, {"optimizer.lr": (1e-4, 1e-1), "model.hidden": ["[50]", "[100, 100]"], "k": (1, 5)})
    (file,) = tmp_path.glob("events.*")
    events = EventAccumulator(str(file))
    events.Reload()
    content = events.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    by_name = {info.name: info for info in experiment.hparam_infos}
    assert list(by_name) == ["optimizer.lr", "model.hidden", "k"]
    assert by_name["optimizer.lr"].domain_interval.max_value == pytest.approx(0.1)
    assert [value.string_value for value in by_name["model.hidden"].domain_discrete.values] == ["[50]", "[100, 100]"]
    assert "val/accuracy" in [metric.name.tag for metric in experiment.metric_infos]


BAD = [
    (["seed=0"], "nothing to search"),
    ([LR, *sweeper(direction="upward")], "minimize, maximize or null"),
    ([LR, *sweeper(direction="[minimize,maximize]")], "several objectives"),
    ([LR, *sweeper(sampler="tp")], "did you mean 'tpe'"),
    ([LR, *sweeper(sampler="grid")], "cannot list the interval of optimizer.lr"),
    ([LR, *sweeper(pruner="medium")], "did you mean 'median'"),
    ([LR, "data.val_fraction=0", *sweeper(pruner="median")], "never measured with data.val_fraction=0"),
    ([LR, *sweeper(n_trials=0)], "n_trials=0 should be at least 1"),
    ([LR, *sweeper(rounds=2)], "needs points at random"),
    ([LR, *sweeper(storage="sqlite:////nowhere/study.db")], "cannot be opened"),
    ([LR, *sweeper(custom_search_space="no.such")], "cannot be imported"),
    (["seed=range(3)", *sweeper(seeds_per_trial=2)], "contradicts a search over seed"),
    (["optimizer=adam,sgdd"], "did you mean 'sgd'"),
    (["optimizer.lrr=interval(0,1)"], "did you mean 'optimizer.lr'"),
]


@pytest.mark.parametrize(("overrides", "reason"), BAD)
def test_bad_input_is_one_sentence(commands: Commands, overrides: list[str], reason: str) -> None:
    outcome = commands.train(*SEARCH, *TINY, *overrides)
    assert outcome.code == 2
    assert reason in outcome.err
    assert outcome.err.count("\n") == 1
    assert not jobs(commands.folder / "outputs/s")


def test_bad_input_is_one_sentence_in_a_process_of_its_own(tmp_path: Path) -> None:
    outcome = run(tmp_path, *SEARCH, "optimizer.lr=tag(log,interval(0,1))")
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        "Error: optimizer.lr=tag(log,interval(0,1)) has a logarithmic scale, which needs a low end above 0"
    ]
