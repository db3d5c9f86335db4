"""Fixtures of the tests of runs."""

import shutil
from pathlib import Path

import pytest

from tests.helpers import Commands, run, run_folders
from tests.interrupted import CHOICES


def trained_apart(folder: Path, *choices: str) -> Path:
    """Train in a process of its own, and return the run's folder."""
    outcome = run(folder, *choices)
    assert outcome.code == 0, outcome.err
    (path,) = run_folders(folder)
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    return trained_apart(tmp_path_factory.mktemp("undisturbed"), *CHOICES)


@pytest.fixture(scope="session")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, to be copied."""
    return trained_apart(tmp_path_factory.mktemp("two_epochs"), *CHOICES, "training.epochs=2")


@pytest.fixture
def interrupted(commands: Commands, two_epochs: Path) -> Path:
    """A run of two epochs that can be continued."""
    return Path(shutil.copytree(two_epochs, commands.folder / "outputs" / "train" / two_epochs.name))
