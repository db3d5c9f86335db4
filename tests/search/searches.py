"""What the tests of searches share."""

import json
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend

from tests.helpers import SMALL, Commands, Outcome

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
    journal = JournalFileBackend(str(folder / "study.journal"))
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
