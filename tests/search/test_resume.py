"""A search goes on where it was."""

import os
import signal
from typing import Any

import pytest
from optuna.trial import TrialState

from experiments.search.loop import Search
from tests.helpers import Commands, table, thinned
from tests.search.searches import AGAIN, LR, jobs, searched, study_in


@pytest.mark.slow
def test_a_resumed_search_reaches_its_total_in_new_folders(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=2).code == 0
    folder = commands.folder / "outputs/s"
    kept = {number: (path / "summary.json").read_bytes() for number, path in jobs(folder).items()}
    assert searched(commands, LR, "resume=outputs/s", n_trials=5).code == 0
    study = study_in(folder)
    assert len(study.trials) == 5
    assert sorted(jobs(folder)) == [0, 1, 2, 3, 4]
    assert all((jobs(folder)[number] / "summary.json").read_bytes() == content for number, content in kept.items())
    assert len({trial.params["optimizer.lr"] for trial in study.trials}) == 5
    assert len(list(folder.glob("events.*"))) == 1
    assert searched(commands, LR, "resume=outputs/s", n_trials=5).code == 0
    assert len(study_in(folder).trials) == 5


@pytest.mark.slow
def test_a_study_of_something_else_is_not_resumed(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=1).code == 0
    outcome = searched(commands, "optimizer.lr=interval(0,1)", "training.batch_size=8", AGAIN, n_trials=2)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "optimizer.lr (log interval(0.0001,0.1) -> interval(0.0,1.0))" in outcome.err
    assert "training.batch_size (absent -> training.batch_size=8)" in outcome.err
    assert len(study_in(commands.folder / "outputs/s").trials) == 1


@pytest.mark.slow
def test_a_study_can_be_resumed_in_a_moved_folder(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=1).code == 0
    (commands.folder / "outputs/s").rename(commands.folder / "moved")
    assert searched(commands, LR, AGAIN, "hydra.sweep.dir=moved", n_trials=2).code == 0
    assert len(study_in(commands.folder / "moved").trials) == 2


@pytest.mark.slow
def test_the_torn_end_of_a_journal_is_set_aside(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=2).code == 0
    journal = commands.folder / "outputs/s" / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"worker_id":"a')
    outcome = searched(commands, LR, "resume=outputs/s", n_trials=3)
    assert outcome.code == 0, outcome.err
    assert "study.journal ended within a line: its whole lines are kept, and the torn end is now" in outcome.out
    assert (journal.parent / "study.journal.damaged").read_bytes() == b'{"op_code":4,"worker_id":"a'
    assert journal.read_bytes().startswith(whole)
    assert len(study_in(journal.parent).trials) == 3


@pytest.mark.slow
@pytest.mark.parametrize("content", thinned([b"", b"garbage", None, b"\0" * 500]))
def test_a_lost_journal_is_not_a_new_search(commands: Commands, content: bytes | None) -> None:
    assert searched(commands, LR, n_trials=1).code == 0
    folder = commands.folder / "outputs/s"
    (folder / "study.journal").unlink()
    if content is not None:
        (folder / "study.journal").write_bytes(content)
    outcome = searched(commands, LR, "resume=outputs/s", n_trials=2)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "study.journal has no trial of the search, but 'outputs/s' has 1 of its runs" in outcome.err
    assert "restore the file from a copy, or start a new search in a new folder" in outcome.err
    assert sorted(jobs(folder)) == [0]


@pytest.mark.slow
def test_a_journal_damaged_in_its_middle_is_refused_with_a_remedy(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=1).code == 0
    journal = commands.folder / "outputs/s" / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], lines[1][:5] + b"\n", *lines[2:]]))
    outcome = searched(commands, LR, "resume=outputs/s", n_trials=2)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "restore the file from a copy, or start a new search in a new folder" in outcome.err


@pytest.mark.slow
def test_a_search_that_is_ended_between_launches_leaves_a_table_and_no_running_trial(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = Search.ask, []

    def ask(self: Search) -> Any:
        asked.append(1)
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self)

    monkeypatch.setattr(Search, "ask", ask)
    outcome = searched(commands, LR, "hydra.sweeper.n_jobs=1", n_trials=3)
    assert outcome.code == 143, outcome.err
    folder = commands.folder / "outputs/s"
    assert [row["status"] for row in table(folder / "sweep.csv")] == ["finished"]
    assert [trial.state for trial in study_in(folder).trials] == [TrialState.COMPLETE]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    monkeypatch.undo()
    monkeypatch.chdir(commands.folder)
    assert searched(commands, LR, "hydra.sweeper.n_jobs=1", "resume=outputs/s", n_trials=3).code == 0
    assert len(study_in(folder).trials) == 3
