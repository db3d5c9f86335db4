"""Searches that are killed, interrupted, or shared by two processes."""

import os
import signal
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.forked import Forked
from tests.helpers import Commands, run_fresh, start
from tests.search.searches import AGAIN, LR, SEARCH, TINY, found_in, jobs, study_in, sweeper

WAIT = "import time\nfrom experiments.runs import alone, together\nold = alone.fit\n"
SLOW = WAIT + "def fit(*a, **k):\n    time.sleep(0.7)\n    return old(*a, **k)\nalone.fit = together.fit = fit"
"""Runs that take a while."""


def wait_for(path: Path, pattern: str, count: int) -> None:
    """Wait until so many files are there."""
    for _ in range(600):
        if len(list(path.glob(pattern))) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{pattern} did not come")


def slow_search(commands: Commands, trials: int, awaited: str) -> tuple[list[str], Forked]:
    """Start a search with slow runs in a process, wait until it has written a file, and return its words and itself."""
    words = [*SEARCH, *TINY, LR, "hydra/launcher=basic", *sweeper(n_trials=trials)]
    process = start(commands.folder, *words, prelude=SLOW)
    wait_for(commands.folder / "outputs/s", awaited, 1)
    return words, process


@pytest.mark.slow
def test_trials_that_a_killed_search_left_are_tried_again(commands: Commands) -> None:
    words, process = slow_search(commands, 2, "*/summary.json")
    folder = commands.folder / "outputs/s"
    process.kill()
    process.communicate()
    before = study_in(folder).trials
    assert [trial.state for trial in before] == [TrialState.RUNNING] * 2
    outcome = commands.train(*words, AGAIN)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("was left unfinished") == 1
    after = study_in(folder).trials
    assert [trial.state for trial in after] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert after[2].params == before[1].params
    assert found_in(folder)["states"] == {"interrupted": 1, "complete": 2}
    assert max(jobs(folder)) == 2


@pytest.mark.slow
def test_ctrl_c_ends_the_search_and_keeps_the_finished_trials(commands: Commands) -> None:
    words, process = slow_search(commands, 3, "01_*/train.log")
    folder = commands.folder / "outputs/s"
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    states = [trial.state for trial in study_in(folder).trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]
    assert found_in(folder)["states"] == {"complete": 1, "interrupted": 2, "waiting": 2}
    assert commands.train(*words, AGAIN).code == 0
    after = study_in(folder).trials
    assert [trial.state for trial in after[3:]] == [TrialState.COMPLETE] * 2
    assert len(after) == 5


@pytest.mark.slow
def test_two_processes_work_on_one_study(commands: Commands) -> None:
    storage = "sqlite:///study.db"
    shared = ["-m", "hydra/sweeper=optuna", *TINY, "model.hidden=[4],[5],[6],[7]"]
    shared += sweeper(n_trials=4, n_jobs=1, storage=storage, study_name="both", sampler="random")
    two = [start(commands.folder, *shared, f"hydra.sweep.dir=outputs/{name}") for name in "ab"]
    said = [process.communicate(timeout=120)[1] for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    database = optuna.storages.RDBStorage(f"sqlite:///{commands.folder}/study.db")
    study = optuna.load_study(study_name="both", storage=database)
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    database.remove_session()
    database.engine.dispose()
    assert len({trial.params["model.hidden"] for trial in complete}) == len(complete) == 4


@pytest.mark.slow
def test_bad_input_is_one_sentence_in_a_separate_process(tmp_path: Path) -> None:
    outcome = run_fresh(tmp_path, *SEARCH, "optimizer.lr=tag(log,interval(0,1))")
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        "Error: optimizer.lr=tag(log,interval(0,1)) has a logarithmic scale, which needs a low end above 0"
    ]
