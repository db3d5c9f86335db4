"""Several runs as one: the mean of what they hold for probable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.arguments import unlinked
from experiments.errors import UserError
from experiments.files import write_whole
from experiments.run import write_json
from experiments.screen import Screen, shown_path, table

from .evaluating import FOLDER, Evaluation, evaluated, judged, place_of, said_of
from .loading import Restored, load
from .predictions import Predictions


@dataclass(frozen=True)
class Ensemble:
    """What several runs are worth together.

    Args:
        members: each alone.
        together: the mean of their probabilities.
    """

    members: Sequence[Evaluation]
    together: Evaluation

    @property
    def mean_accuracy(self) -> float:
        """The mean of the members' accuracies."""
        return sum(member.accuracy for member in self.members) / len(self.members)


def combine(
    folders: Sequence[Path],
    split: str,
    out: Path,
    trust: Sequence[str] = (),
    device: str = "auto",
    other: Mapping[str, Any] | None = None,
) -> None:
    """Evaluate runs and their ensemble on the same examples, print both, and write the ensemble.

    The ensemble gives each class the mean of the members' probabilities (Hansen and Salamon 1990;
    Lakshminarayanan et al. 2017, section 2.4).

    Args:
        folders: of at least two runs.
        split: train, val or test.
        out: the folder above `evaluation/ensemble_<split>`.
        trust, device, other: see `loading.load`.

    Raises:
        UserError: a run cannot be evaluated, or they have not the same classes and examples.
        OSError: the folder cannot be written.
    """
    refuse_too_few(folders)
    screen = Screen()
    screen.widen()
    members, shares = [], []
    first: Restored | None = None
    for folder in folders:
        run = load(folder, trust=trust, device=device, other=other)
        made, scores = evaluated(run, split)
        if first is not None:
            refuse_others(first, run, split)
        first = first or run
        members.append(made)
        shares.append(scores.double().softmax(1))
    assert first is not None
    names, y = first.classes, first.data.splits[split].y.cpu()
    mean = torch.stack(shares).mean(0)
    loss = float(torch.nn.functional.nll_loss(mean.clamp_min(1e-300).log(), y))
    found = Ensemble(members, judged(mean, y, names, split, loss))
    name = f"ensemble_{place_of(split, other)}"
    target = unlinked(out / FOLDER, name) / name
    write_whole(target / "predictions.csv", Predictions.of_split(mean, y, names).as_csv().encode())
    runs = [{"run": str(folder), **asdict(member)} for folder, member in zip(folders, members, strict=True)]
    about = {"mean_accuracy": found.mean_accuracy, "ensemble": asdict(found.together), "members": runs}
    write_json(target / "evaluation.json", about)
    show(screen, folders, found, target, said_of(split, other))


def refuse_too_few(folders: Sequence[Path]) -> None:
    """Refuse an ensemble of one.

    Raises:
        UserError: there are not two runs.
    """
    if len(folders) < 2:
        raise UserError("ensemble=mean needs two runs or more; give their folders, or that of a sweep")


def refuse_others(first: Restored, run: Restored, split: str) -> None:
    """Refuse a run that is asked other questions than the first.

    Raises:
        UserError: it has other classes, or other examples in the split.
    """
    paths = f"{shown_path(run.folder.path)} and {shown_path(first.folder.path)}"
    if first.classes != run.classes:
        raise UserError(f"{paths} have different classes; an ensemble needs the same")
    if not torch.equal(raw(first, split), raw(run, split)):
        hint = "; with other seeds only split=test is the same" if split != "test" else ""
        raise UserError(f"{paths} have different examples in split={split}; an ensemble needs the same{hint}")


def raw(run: Restored, split: str) -> Tensor:
    """Return the examples of a split as they came, with their classes: (examples, features + 1), on the host."""
    found = run.data.splits[split]
    return torch.cat([found.raw().cpu().flatten(1).double(), found.y.cpu()[:, None].double()], 1)


def show(screen: Screen, folders: Sequence[Path], found: Ensemble, out: Path, said: str) -> None:
    """Print an ensemble beside its members."""
    screen.print(f"{said}, {found.together.examples:,} examples\n")
    printed = table(
        "run", "accuracy", "95 % interval", "loss", right=("accuracy", "95 % interval", "loss"), wrapped=("run",)
    )
    for folder, member in zip(folders, found.members, strict=True):
        printed.add_row(folder.resolve().name, *cells(member))
    printed.add_row("mean of the members", f"{found.mean_accuracy:.2%}", "", "")
    printed.add_row("ensemble", *cells(found.together))
    screen.print(printed)
    screen.print(f"\nwritten  {shown_path(out)}")


def cells(made: Evaluation) -> tuple[str, str, str]:
    """Return accuracy, interval and loss for people."""
    return f"{made.accuracy:.2%}", f"{made.low:.2%} to {made.high:.2%}", f"{made.loss:.4f}"
