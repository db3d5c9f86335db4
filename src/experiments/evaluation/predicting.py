"""Predictions for the user's own files, with one run or with several together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.cli.arguments import unlinked
from experiments.cli.overrides import clipped
from experiments.common.errors import UserError
from experiments.common.files import write_whole
from experiments.common.screen import Screen, printing_log
from experiments.common.text import shown_path

from ._members import members, refuse_other_classes, souped
from ._predictions import Predictions
from .ensembles import TOGETHER, Kind
from .evaluating import FOLDER
from .loading import Restored, restored
from .settings import RestoreSettings


def predict(folders: Sequence[Path], path: str, restoring: RestoreSettings) -> None:
    """Predict with each run, print the predictions, and write them into the run's `evaluation/`.

    Args:
        folders: of runs.
        path: of the files, see `Restored.predict`.
        restoring: how the runs are restored; of `other` only `unknown`, `decimal` and `encoding` are used, see
            `tables.csv`.

    Raises:
        UserError: a run cannot be restored, or it was trained on other kinds of examples.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    for number, folder in enumerate(folders):
        run = restored(folder, restoring)
        with printing_log(screen):
            predictions = predictions_for(path, run)
        if number:
            screen.print("")
        screen.print(shown_path(folder))
        if run.note:
            screen.print(f"warning: {run.note}")
        write(predictions, folder, f"input_{input_folder_name(path)}", screen)


def predict_together(folders: Sequence[Path], path: str, out: Path, kind: Kind, restoring: RestoreSettings) -> None:
    """Predict with several runs together, or with the kept checkpoints of one run.

    Args:
        out: the folder above `evaluation/`.
        kind: mean for the mean of the probabilities, soup for the mean of the weights.
        folders, path, restoring: see `predict`.

    Raises:
        UserError: there are fewer than two members, or their classes differ; see also `predict`.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    own = members(folders, screen, restoring)
    first = own[0].run
    for member in own[1:]:
        refuse_other_classes(first, member.run)
    if kind == "soup":
        predictions = predictions_for(path, souped(own, first.data.splits["train"]).run)
    else:
        each = [predictions_for(path, member.run) for member in own]
        predictions = mean_of(each)
    screen.print(f"{kind} of {', '.join(member.name for member in own)}")
    write(predictions, out, f"{TOGETHER[kind]}_input_{input_folder_name(path)}", screen)


def mean_of(each: Sequence[Predictions]) -> Predictions:
    """Return the mean of the probabilities or of the numbers of several runs."""
    return replace(each[0], probabilities=np.mean([one.probabilities for one in each], axis=0))


def predictions_for(path: str, run: Restored) -> Predictions:
    """Return a run's predictions for files.

    Raises:
        UserError: see `Restored.predict`.
    """
    try:
        return run.predict(path)
    except UserError as error:
        raise UserError(f"input={error}") from error


def input_folder_name(path: str) -> str:
    """Return the name of the folder for predictions, after the files that they are for."""
    return clipped(Path(path).expanduser().resolve().name)


def write(predictions: Predictions, folder: Path, name: str, screen: Screen) -> None:
    """Print predictions, and write them to `evaluation/<name>/predictions.csv`.

    Args:
        predictions: of one run, or of several together.
        folder: the one above `evaluation/`.
        name: see `input_folder_name`.
        screen: to print on.

    Raises:
        OSError: the folder cannot be written.
    """
    out = unlinked(folder / FOLDER, name) / name
    write_whole(out / "predictions.csv", predictions.as_csv().encode())
    screen.print(f"{len(predictions):,} example{'s' * (len(predictions) > 1)}\n")
    screen.print(predictions.as_table())
    if predictions.left_out:
        screen.print(f"and {predictions.left_out:,} more")
    screen.print(f"\nwritten  {shown_path(out / 'predictions.csv')}")
