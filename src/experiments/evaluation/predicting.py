"""Predicting for files of one's own, by a run or by the mean of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.cli.arguments import unlinked
from experiments.cli.overrides import clipped
from experiments.common.errors import UserError
from experiments.common.files import write_whole
from experiments.common.screen import Screen
from experiments.common.text import shown_path

from ._members import members, refuse_other_classes, souped
from ._predictions import Predictions
from .ensembles import TOGETHER, Kind
from .evaluating import FOLDER
from .loading import Restored, load


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
        made = predicted(load(folder, trust=trust, device=device), given)
        if number:
            screen.print("")
        screen.print(shown_path(folder))
        write(made, folder, f"input_{named(given)}", screen)


def predict_together(
    folders: Sequence[Path], given: str, out: Path, kind: Kind, trust: Sequence[str] = (), device: str = "auto"
) -> None:
    """Predict by several runs, or the kept checkpoints of one.

    Args:
        out: the folder above `evaluation/`.
        kind: mean of their probabilities, or soup for the mean of their weights.
        folders, given, trust, device: see `predict`.

    Raises:
        UserError: there are not two, or they have not the same classes; see `predict` too.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    own = members(folders, screen, trust, device)
    first = own[0].run
    for member in own[1:]:
        refuse_other_classes(first, member.run)
    if kind == "soup":
        made = predicted(souped(own, first.data.splits["train"]).run, given)
    else:
        each = [predicted(member.run, given) for member in own]
        made = Predictions(each[0].names, first.classes, np.mean([one.probabilities for one in each], axis=0))
    screen.print(f"{kind} of {', '.join(member.name for member in own)}")
    write(made, out, f"{TOGETHER[kind]}_input_{named(given)}", screen)


def predicted(run: Restored, given: str) -> Predictions:
    """Return a run's predictions for files."""
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
