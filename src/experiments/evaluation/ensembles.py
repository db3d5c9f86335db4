"""Ensembles of runs, or of checkpoints of one run: the mean of their probabilities, or of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.cli.arguments import unlinked
from experiments.common.errors import UserError
from experiments.common.files import write_json, write_whole
from experiments.common.screen import Screen, table
from experiments.common.text import shown_path
from experiments.data.batches import Split

from . import answering
from ._members import SOUP, EnsembleMember, examples, members, other_weights, scores, souped
from ._predictions import Predictions
from .evaluating import FOLDER, Evaluation, evaluation_of, split_folder_name, split_title
from .settings import RestoreSettings

Kind = Literal["mean", "soup"]
TOGETHER: Mapping[Kind, str] = {"mean": "ensemble", "soup": "soup"}
"""The beginning of each one's folder name."""
SMALLEST = 1e-300
"""The smallest probability whose logarithm is taken."""
APART = (
    "The mean of the weights is worse than every member: the loss between their weights is high. A mean of weights is "
    "useful along one run, and for runs that start from the same trained weights."
)


@dataclass(frozen=True)
class Judged:
    """A line of the table.

    Args:
        name: of the line.
        evaluation: its metrics; the loss is the mean negative logarithm of the right class's probability.
        probabilities: (examples, classes).
    """

    name: str
    evaluation: Evaluation
    probabilities: Tensor


@dataclass(frozen=True)
class Ensemble:
    """The evaluation of several runs or checkpoints together.

    Args:
        members: each by itself.
        mean: the mean of their probabilities.
        soup: the mean of their weights; None if their architectures differ.
        others: the other weights of the run, if there is only one run.
    """

    members: Sequence[Judged]
    mean: Judged
    soup: Judged | None
    others: Sequence[Judged]

    @property
    def mean_accuracy(self) -> float:
        """The mean of the members' accuracies."""
        return sum(member.evaluation.accuracy for member in self.members) / len(self.members)

    @property
    def mean_loss(self) -> float:
        """The mean of the members' losses; the loss of the ensemble is never higher (Jensen's inequality)."""
        return sum(member.evaluation.loss for member in self.members) / len(self.members)

    @property
    def apart(self) -> bool:
        """Whether the mean of the weights is less accurate than every member, with intervals that do not overlap."""
        lowest = min(member.evaluation.low for member in self.members)
        return self.soup is not None and self.soup.evaluation.high < lowest


def combine(folders: Sequence[Path], split: str, out: Path, kind: Kind, restoring: RestoreSettings) -> None:
    """Evaluate runs, or the kept checkpoints of one run, alone and together; print and write the results.

    The probabilities of the ensemble are the means of the members' probabilities (Hansen and Salamon 1990;
    Lakshminarayanan et al. 2017, section 2.4; for the checkpoints of one run, Huang et al. 2017). The weights of the
    uniform soup are the means of the members' weights (Wortsman et al. 2022, section 2).

    Args:
        folders: of runs.
        split: train, val or test.
        out: the folder above `evaluation/ensemble_<split>`, or `soup_<split>`.
        kind: the predictions to write: mean for those of the ensemble, soup for those of the mean of the weights.
        restoring: how the runs are restored.

    Raises:
        UserError: the runs cannot be evaluated, their classes or examples differ, or for a soup their architectures.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    screen.widen()
    own = members(folders, screen, restoring)
    splits = examples(own, split)
    first = own[0].run
    soup, reason = soup_or_reason(own, first.data.splits["train"], kind)
    others = other_weights(folders[0], restoring) if len(folders) == 1 else []
    name = f"{TOGETHER[kind]}_{split_folder_name(split, restoring.other)}"
    target = unlinked(out / FOLDER, name) / name
    title, column = split_title(split, restoring.other), "weights" if len(folders) == 1 else "run"
    if not first.classes:
        answered_together(screen, own, splits, [*([soup] if soup else []), *others], target, title, column, kind, split)
        screen.print(f"\nwritten  {shown_path(target)}")
        return
    ensemble = ensemble_of(own, splits, [*([soup] if soup else []), *others], split)
    write(target, own, ensemble, splits[0].y.cpu(), kind, own[0].run.data.numbers[split])
    show(screen, ensemble, title, column, reason)
    screen.print(f"\nwritten  {shown_path(target)}")


def answered_together(
    screen: Screen,
    own: Sequence[EnsembleMember],
    splits: Sequence[Split],
    more: Sequence[EnsembleMember],
    out: Path,
    title: str,
    column: str,
    kind: Kind,
    split: str,
) -> None:
    """Evaluate members whose targets are not classes: each, the mean of their answers, and further weights.

    Args:
        screen: to print on.
        own, splits, more, split: see `ensemble_of`.
        out: the folder for the results.
        title: of the split.
        column: the title of the members' column.
        kind: the answers to write.
    """
    task = own[0].run.task
    true = task.decode(splits[0].y.cpu())
    every = scores([*own, *more], [*splits, *[splits[0]] * len(more)])
    answers = [m.run.task.answer(s) for m, s in zip([*own, *more], every, strict=True)]
    mean = torch.stack(answers[: len(own)]).mean(0)
    names = [*(member.name for member in own), "ensemble", *(member.name for member in more)]
    lines = [*answers[: len(own)], mean, *answers[len(own) :]]
    results = [answering.answers_of(task, {}, line, true, split, None) for line in lines]
    shown = table(column, *task.metrics, right=tuple(task.metrics), wrapped=(column,))
    for name, result in zip(names, results, strict=True):
        shown.add_row(name, *(answering.cell(result, metric) for metric in task.metrics))
    screen.print(f"{title}, {len(true):,} examples\n")
    screen.print(shown)
    chosen = lines[len(own) + 1] if kind == "soup" else mean
    answering.write_predictions(out, task, chosen, true, own[0].run.data.numbers[split])
    members_of = [{"run": str(m.run.folder.path), "epoch": m.run.epoch} for m in own]
    described = [{**about, **asdict(result)} for about, result in zip(members_of, results, strict=False)]
    others = {name: asdict(result) for name, result in zip(names[len(own) :], results[len(own) :], strict=True)}
    write_json(out / "evaluation.json", {**others, "members": described})


def soup_or_reason(own: Sequence[EnsembleMember], train: Split, kind: Kind) -> tuple[EnsembleMember | None, str]:
    """Return the uniform soup, or None and the reason why there is none.

    Args:
        own: the members.
        train: the training split of the first.
        kind: the predictions to write.
        numbers: of the examples in the file, or in the split.

    Raises:
        UserError: there is none, and `kind` is soup.
    """
    try:
        return souped(own, train), ""
    except UserError as error:
        if kind == "soup":
            raise
        return None, f"no uniform soup: {error}"


def ensemble_of(
    own: Sequence[EnsembleMember], splits: Sequence[Split], more: Sequence[EnsembleMember], split: str
) -> Ensemble:
    """Evaluate the members, the mean of their probabilities, and further weights.

    Args:
        own: the members.
        splits: the examples of each member.
        more: further weights of the first member's run, evaluated on its examples; a soup comes first.
        split: the name of the split.
    """
    names, y = own[0].run.classes, splits[0].y.cpu()

    def judge(name: str, probabilities: Tensor) -> Judged:
        loss = float(nn.functional.nll_loss(probabilities.clamp_min(SMALLEST).log(), y))
        return Judged(name, evaluation_of(probabilities, y, names, split, loss), probabilities)

    every = scores([*own, *more], [*splits, *[splits[0]] * len(more)])
    lines = [judge(m.name, s.double().softmax(1)) for m, s in zip([*own, *more], every, strict=True)]
    alone, rest = lines[: len(own)], lines[len(own) :]
    mean = torch.stack([member.probabilities for member in alone]).mean(0)
    soups = [line for line in rest if line.name == SOUP]
    return Ensemble(alone, judge("ensemble", mean), soups[0] if soups else None, rest[len(soups) :])


def write(out: Path, own: Sequence[EnsembleMember], ensemble: Ensemble, y: Tensor, kind: Kind, numbers: Tensor) -> None:
    """Write the lines of the table, and the predictions of the ensemble or of the soup.

    Args:
        out: the folder.
        own: the members.
        ensemble: their evaluation.
        y: (examples,), the right classes.
        kind: the predictions to write.
        numbers: of the examples in the file, or in the split.

    Raises:
        OSError: the folder cannot be written.
    """
    chosen = ensemble.soup if kind == "soup" and ensemble.soup else ensemble.mean
    predictions = Predictions.of_split(chosen.probabilities, y, own[0].run.classes, numbers)
    write_whole(out / "predictions.csv", predictions.as_csv().encode())
    members = [
        {
            "run": str(member.run.folder.path),
            "epoch": member.run.epoch,
            **({"note": member.run.note} if member.run.note else {}),
            **asdict(line.evaluation),
        }
        for member, line in zip(own, ensemble.members, strict=True)
    ]
    about: dict[str, Any] = {"mean_accuracy": ensemble.mean_accuracy, "mean_loss": ensemble.mean_loss}
    about |= {"ensemble": asdict(ensemble.mean.evaluation)}
    about |= {"soup": asdict(ensemble.soup.evaluation)} if ensemble.soup else {}
    about |= {"beside": {line.name: asdict(line.evaluation) for line in ensemble.others}} if ensemble.others else {}
    write_json(out / "evaluation.json", {**about, "members": members})


def show(screen: Screen, ensemble: Ensemble, title: str, column: str, reason: str) -> None:
    """Print an ensemble and its members as a table.

    Args:
        screen: to print on.
        ensemble: to print.
        title: of the split.
        column: the title of the members' column.
        reason: why there is no soup; empty if there is one.
    """
    screen.print(f"{title}, {ensemble.mean.evaluation.examples:,} examples\n")
    right = ("accuracy", "95 % interval", "loss")
    printed = table(column, *right, right=right, wrapped=(column,))
    for line in ensemble.members:
        printed.add_row(line.name, *cells(line.evaluation))
    printed.add_row("mean of the members", f"{ensemble.mean_accuracy:.2%}", "", f"{ensemble.mean_loss:.4f}")
    for line in (ensemble.mean, *([ensemble.soup] if ensemble.soup else []), *ensemble.others):
        printed.add_row(line.name, *cells(line.evaluation))
    screen.print(printed)
    for note in (reason, APART if ensemble.apart else ""):
        if note:
            screen.print(f"\n{note}")


def cells(evaluation: Evaluation) -> tuple[str, str, str]:
    """Return accuracy, interval and loss as they are printed."""
    interval = f"{evaluation.low:.2%} to {evaluation.high:.2%}"
    return f"{evaluation.accuracy:.2%}", interval, f"{evaluation.loss:.4f}"
