"""Evaluating runs: one by one, each into its own folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import assembly
from experiments.cli.arguments import unlinked
from experiments.cli.overrides import clipped
from experiments.common.errors import UserError
from experiments.common.files import write_json, write_whole
from experiments.common.metrics import Metric
from experiments.common.screen import Screen, table
from experiments.common.text import shown_path
from experiments.figures.classes import confusion, confusion_figure, drawable, worst_figure
from experiments.figures.regions import FINE, planar, plane, regions_figure
from experiments.folders.reading import found_below, record

from ._figures import reliability_figure
from ._predictions import Predictions
from ._scores import TOP, Bin, ClassScore, calibration_error, class_scores, reliability, top, wilson
from .loading import Restored, load

FOLDER = "evaluation"
NAMES = {"train": "training split", "val": "validation split", "test": "test split"}


@dataclass(frozen=True)
class Evaluation:
    """What a run is worth on a split.

    Args:
        split: train, val or test.
        examples: in it.
        accuracy: share of right answers.
        low, high: its 95 % interval (Wilson 1927).
        loss: mean of the run's own loss.
        top: share of the examples whose class is among the k most probable ones, by k.
        calibration_error: expected, see `scores.calibration_error`.
        classes: precision, recall and F1 of each.
        bins: accuracy against confidence.
    """

    split: str
    examples: int
    accuracy: float
    low: float
    high: float
    loss: float
    top: Mapping[int, float]
    calibration_error: float
    classes: Sequence[ClassScore]
    bins: Sequence[Bin]


def evaluate(
    folders: Sequence[Path],
    split: str,
    trust: Sequence[str] = (),
    device: str = "auto",
    other: Mapping[str, Any] | None = None,
) -> None:
    """Evaluate runs, print what they are worth, and write it into `evaluation/<split>` of each.

    Args:
        folders: of runs.
        split: train, val or test.
        trust: prefixes of code that their configurations may name besides ours.
        device, other: see `loading.load`.

    Raises:
        UserError: one is no run, or cannot be evaluated so; those before it are written.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    for number, folder in enumerate(folders):
        if number:
            screen.print("")
        run = load(folder, trust=trust, device=device, other=other)
        made, scores = evaluated(run, split)
        name = place_of(split, other)
        out = unlinked(folder / FOLDER, name) / name
        write(out, run, made, scores)
        show(screen, run, made, out)


def place_of(split: str, other: Mapping[str, Any] | None) -> str:
    """Return the name of the folder for a split: with what is other about the data set, since it is another split."""
    return clipped(",".join([split, *settings_of(other)]))


def said_of(split: str, other: Mapping[str, Any] | None) -> str:
    """Return what a split is called for people."""
    settings = settings_of(other)
    return " ".join([NAMES[split], *(["of", *settings] if settings else [])])


def settings_of(other: Mapping[str, Any] | None) -> list[str]:
    """Return the settings of another data set as they were typed."""
    return [f"{'data' if key == 'data' else f'data.{key}'}={value}" for key, value in (other or {}).items()]


def chosen(folders: Sequence[Path], best: int | None) -> list[Path]:
    """Return the runs at or below some folders.

    Args:
        folders: of runs or sweeps.
        best: only so many, the best by their objective; None for all.

    Raises:
        UserError: a folder holds no run, or the best of runs with different objectives are asked for.
    """
    runs = []
    for folder in folders:
        below, _ = found_below(folder)
        if not below:
            raise UserError(f"{str(folder)!r} is no run folder, and holds none")
        runs += below
    if best is None:
        return runs
    records = [record(folder) for folder in runs]
    objectives = {run.objective for run in records}
    if len(objectives) > 1:
        raise UserError(f"best={best} needs one objective; these runs have {', '.join(sorted(objectives))}")
    metric = Metric(next(iter(objectives)))
    measured = [run for run in records if metric.name in run.metrics]
    measured.sort(key=lambda run: run.metrics[metric.name], reverse=metric.larger_is_better)
    return [run.folder for run in measured[:best]]


def evaluated(run: Restored, split: str) -> tuple[Evaluation, Tensor]:
    """Return what a run is worth on a split, and its scores, (examples, classes).

    Raises:
        UserError: the run has no such split.
    """
    data = run.data
    if split not in data.splits:
        raise UserError(f"split={split} is none of {shown_path(run.folder.path)}; it has {', '.join(data.splits)}")
    examples, criterion = data.splits[split], assembly.criterion(run.config, data)
    total = torch.zeros((), dtype=torch.float64, device=run.device)
    parts = []
    for scores, y in run.batches(examples):
        total += criterion.total(scores, y)
        parts.append(scores.cpu())
    scores = torch.cat(parts)
    loss = total.item() / len(examples)
    return judged(scores.double().softmax(1), examples.y.cpu(), run.classes, split, loss), scores


def judged(shares: Tensor, y: Tensor, names: Sequence[str], split: str, loss: float) -> Evaluation:
    """Return what probabilities are worth.

    Args:
        shares: probabilities, (examples, classes).
        y: the right classes, (examples,).
        names: of the classes.
        split: where they are from.
        loss: their mean loss.
    """
    probabilities, targets = shares.numpy(), y.numpy()
    predicted = probabilities.argmax(1)
    right, bins = int((predicted == targets).sum()), reliability(probabilities, targets)
    low, high = wilson(right, len(targets))
    return Evaluation(
        split=split,
        examples=len(targets),
        accuracy=right / len(targets),
        low=low,
        high=high,
        loss=loss,
        top={k: top(probabilities, targets, k) for k in TOP if k < len(names)},
        calibration_error=calibration_error(bins),
        classes=class_scores(predicted, targets, names),
        bins=bins,
    )


def write(out: Path, run: Restored, made: Evaluation, scores: Tensor) -> None:
    """Write an evaluation: its numbers, figures and predictions, each file whole or not at all."""
    split, names = run.data.splits[made.split], run.classes
    y, about = split.y.cpu(), f"{NAMES[made.split]}, weights of epoch {run.epoch}"
    figures = {
        "confusion": confusion_figure(confusion(scores, y), names, about),
        "calibration": reliability_figure(made.bins, made.calibration_error, about),
    }
    if drawable(run.data.input_shape):
        figures["worst"] = worst_figure(split, scores, names, about)
    train = run.data.splits["train"]
    if planar(train):
        found = plane(train, FINE)
        seen = found.laid_out(torch.cat([part for part, _ in run.batches(found.points)]))
        figures["regions"] = regions_figure(found, seen, train, split, scores, about, names)
    for name, figure in figures.items():
        content = io.BytesIO()
        figure.savefig(content, format="png")
        write_whole(out / f"{name}.png", content.getvalue())
    shares = Predictions.of_split(scores.double().softmax(1), y, names)
    write_whole(out / "predictions.csv", shares.as_csv().encode())
    about_it = {"run": str(run.folder.path), "epoch": run.epoch, **({"data": run.other} if run.other else {})}
    write_json(out / "evaluation.json", {**about_it, **asdict(made)})


def show(screen: Screen, run: Restored, made: Evaluation, out: Path) -> None:
    """Print an evaluation."""
    screen.print(f"{shown_path(run.folder.path)}, weights of epoch {run.epoch}")
    screen.print(f"{said_of(made.split, run.other)}, {made.examples:,} examples\n")
    screen.print(f"accuracy  {made.accuracy:.2%} (95 % {made.low:.2%} to {made.high:.2%})")
    screen.print(f"loss      {made.loss:.4f}")
    for k, value in made.top.items():
        if k > 1:
            screen.print(f"top {k}     {value:.2%}")
    screen.print(f"expected calibration error  {made.calibration_error:.4f}\n")
    shown = table("class", "precision", "recall", "F1", "examples", right=("precision", "recall", "F1", "examples"))
    for found in made.classes:
        shown.add_row(
            found.name, f"{found.precision:.3f}", f"{found.recall:.3f}", f"{found.f1:.3f}", str(found.examples)
        )
    screen.print(shown)
    screen.print(f"\nwritten  {shown_path(out)}")
