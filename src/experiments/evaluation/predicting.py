"""Predicting for files of one's own, by a run or by the mean of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.arguments import unlinked
from experiments.cli import clipped
from experiments.errors import UserError
from experiments.files import write_whole
from experiments.screen import Screen, shown_path

from .ensembles import refuse_too_few
from .evaluating import FOLDER
from .loading import load
from .predictions import Predictions


def predict(folders: Sequence[Path], given: str, trust: Sequence[str] = (), device: str = "auto") -> None:
    """Predict by runs one after another, print the predictions, and write them into `evaluation/` of each.

    Args:
        folders: of runs.
        given: the path of what is predicted for, see `Restored.predict`.
        trust, device: see `loading.load`.

    Raises:
        UserError: a run cannot be restored, or what is given is not what it was trained on.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    for number, folder in enumerate(folders):
        made = predicted(folder, given, trust, device)
        if number:
            screen.print("")
        screen.print(shown_path(folder))
        write(made, folder, f"input_{named(given)}", screen)


def predict_together(
    folders: Sequence[Path], given: str, out: Path, trust: Sequence[str] = (), device: str = "auto"
) -> None:
    """Predict by the mean of the probabilities of several runs.

    Args:
        out: the folder above `evaluation/`.
        folders, given, trust, device: see `predict`.

    Raises:
        UserError: there is one run alone, or they have not the same classes; see `predict` too.
        OSError: the folder cannot be written.
    """
    refuse_too_few(folders)
    members = [predicted(folder, given, trust, device) for folder in folders]
    first = members[0]
    for folder, member in zip(folders, members, strict=True):
        if member.classes != first.classes:
            paths = f"{shown_path(folder)} and {shown_path(folders[0])}"
            raise UserError(f"{paths} have different classes; an ensemble needs the same")
    mean = np.mean([member.probabilities for member in members], axis=0)
    screen = Screen()
    screen.print(f"mean of {len(members)} runs")
    write(Predictions(first.names, first.classes, mean), out, f"ensemble_input_{named(given)}", screen)


def predicted(folder: Path, given: str, trust: Sequence[str], device: str) -> Predictions:
    """Return a run's predictions for files."""
    run = load(folder, trust=trust, device=device)
    try:
        return run.predict(given)
    except UserError as error:
        raise UserError(f"input={error}") from error


def named(given: str) -> str:
    """Return what a folder of predictions for files is called after them."""
    return clipped(Path(given).expanduser().resolve().name)


def write(made: Predictions, folder: Path, name: str, screen: Screen) -> None:
    """Print predictions, and write them."""
    out = unlinked(folder / FOLDER, name) / name
    write_whole(out / "predictions.csv", made.as_csv().encode())
    screen.print(f"{len(made):,} example{'s' * (len(made) > 1)}\n")
    screen.print(made.as_table())
    if made.left_out:
        screen.print(f"and {made.left_out:,} more")
    screen.print(f"\nwritten  {shown_path(out / 'predictions.csv')}")
