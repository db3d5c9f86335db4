"""A search goes on where it was."""

from tests.helpers import Commands
from tests.search.searches import AGAIN, LR, jobs, searched, study_in


def test_a_search_goes_on_to_its_total_in_new_folders(commands: Commands) -> None:
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


def test_a_study_of_something_else_is_not_gone_on_with(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=1).code == 0
    outcome = searched(commands, "optimizer.lr=interval(0,1)", "training.batch_size=8", AGAIN, n_trials=2)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "optimizer.lr (log interval(0.0001,0.1) -> interval(0.0,1.0))" in outcome.err
    assert "training.batch_size (absent -> training.batch_size=8)" in outcome.err
    assert len(study_in(commands.folder / "outputs/s").trials) == 1


def test_a_study_goes_on_in_a_folder_that_was_moved(commands: Commands) -> None:
    assert searched(commands, LR, n_trials=1).code == 0
    (commands.folder / "outputs/s").rename(commands.folder / "moved")
    assert searched(commands, LR, AGAIN, "hydra.sweep.dir=moved", n_trials=2).code == 0
    assert len(study_in(commands.folder / "moved").trials) == 2
