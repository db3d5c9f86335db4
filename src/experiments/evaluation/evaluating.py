"""Evaluation of runs: one by one, each written into its own folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import assembly
from experiments.cli.arguments import unlinked
from experiments.cli.overrides import clipped
from experiments.common.errors import UserError
from experiments.common.files import write_json, write_whole
from experiments.common.ranking import ranking_of
from experiments.common.screen import Screen, table
from experiments.common.text import shown_path
from experiments.figures.classes import confusion, confusion_figure, drawable, worst_figure
from experiments.figures.regions import FINE, planar, plane, regions_figure
from experiments.folders.reading import found_below, record

from . import answering
from ._figures import reliability_figure, thresholds_figure
from ._intervals import Interval, intervals
from ._intervals import line as metric_line
from ._predictions import Predictions
from ._scores import TOP, Bin, ClassScore, calibration_error, class_scores, reliability, top, wilson
from .loading import Restored, restored, scored
from .settings import RestoreSettings

FOLDER = "evaluation"
NAMES = {"train": "training split", "val": "validation split", "test": "test split"}


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a run on a split.

    Args:
        split: train, val or test.
        examples: how many.
        accuracy: the share of right answers.
        low, high: the 95 % interval of the accuracy (Wilson 1927).
        loss: the mean of the run's own loss.
        top: by k, the share of examples whose class is among the k most probable ones.
        calibration_error: the expected one, see `_scores.calibration_error`.
        classes: precision, recall and F1 of each class.
        bins: accuracy by confidence.
        metrics: the run's further metrics with their intervals, by name.
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
    metrics: Mapping[str, Interval] = field(default_factory=dict)


def evaluate(folders: Sequence[Path], split: str, restoring: RestoreSettings) -> None:
    """Evaluate runs, print their metrics, and write them into `evaluation/<split>` of each run.

    Args:
        folders: of runs.
        split: train, val or test.
        restoring: how the runs are restored.

    Raises:
        UserError: a folder is not a run, or cannot be evaluated in this way; the runs before it are written.
        OSError: the folder cannot be written.
    """
    screen = Screen()
    for number, folder in enumerate(folders):
        if number:
            screen.print("")
        run = restored(folder, restoring)
        name = split_folder_name(split, restoring.other)
        if not run.classes:
            result, answers, true = answering.answered(run, split)
            show_notes(screen, run, split)
            out = unlinked(folder / FOLDER, name) / name
            answering.write(out, run, result, answers, true, NAMES[split])
            answering.show(screen, run, result, split_title(split, run.other), out)
            continue
        evaluation, scores, probabilities = evaluated(run, split)
        show_notes(screen, run, split)
        out = unlinked(folder / FOLDER, name) / name
        write(out, run, evaluation, scores, probabilities)
        show(screen, run, evaluation, out)


def show_notes(screen: Screen, run: Restored, split: str) -> None:
    """Print what is known about another data set, of which a split is evaluated."""
    if not run.other:
        return
    for note in [*run.data.notes, *run.data.doubts]:
        screen.print(note)
    if doubt := assembly.seems_inverted(run.data.splits[split], run.description.form):
        screen.print(f"warning: {doubt}")


def split_folder_name(split: str, other: Mapping[str, Any]) -> str:
    """Return the name of the folder for a split; it includes the settings of another data set."""
    return clipped(",".join([split, *settings_of(other)]))


def split_title(split: str, other: Mapping[str, Any]) -> str:
    """Return the name of a split for the printed output."""
    settings = settings_of(other)
    return " ".join([NAMES[split], *(["of", *settings] if settings else [])])


def settings_of(other: Mapping[str, Any]) -> list[str]:
    """Return the settings of another data set as they are typed."""
    return [f"{'data' if key == 'data' else f'data.{key}'}={value}" for key, value in other.items()]


def chosen(folders: Sequence[Path], best: int | None) -> list[Path]:
    """Return the runs in folders of runs or sweeps.

    Args:
        folders: of runs or sweeps.
        best: the number of best runs to choose, by their objective; None for all runs.

    Raises:
        UserError: a folder contains no run, or `best` is given and the runs have different objectives, or different
            losses and no other metric that ranks them.
    """
    runs = []
    for folder in folders:
        below, _ = found_below(folder)
        if not below:
            raise UserError(f"{str(folder)!r} is not a run folder, and contains none")
        runs += below
    if best is None:
        return runs
    records = [record(folder) for folder in runs]
    objectives = {run.objective for run in records}
    if len(objectives) > 1:
        raise UserError(f"best={best} needs one objective; these runs have {', '.join(sorted(objectives))}")
    measured = [run for run in records if run.metrics]
    ranking = ranking_of(
        next(iter(objectives)), [run.config for run in measured], [list(run.metrics) for run in measured]
    )
    metric = ranking.metric
    if metric is None:
        raise UserError(f"best={best} cannot rank these runs: {ranking.reason}; give the folder of one with run=")
    measured = [run for run in measured if metric.name in run.metrics]
    if not measured:
        raise UserError(f"best={best} cannot rank these runs: none has {metric.name}; give the folder of one with run=")
    measured.sort(key=lambda run: metric.merit(run.metrics), reverse=True)
    return [run.folder for run in measured[:best]]


def evaluated(run: Restored, split: str) -> tuple[Evaluation, Tensor, Tensor]:
    """Return the metrics of a run on a split, its scores and its probabilities, both (examples, classes).

    Raises:
        UserError: the run does not have the split.
    """
    scores, y, loss, measures = scored(run, split)
    probabilities = scores.double().softmax(1)
    evaluation = evaluation_of(probabilities, y, run.classes, split, loss)
    evaluation = replace(evaluation, metrics=intervals(measures, probabilities, y))
    return evaluation, scores, probabilities


def evaluation_of(probabilities: Tensor, y: Tensor, names: Sequence[str], split: str, loss: float) -> Evaluation:
    """Return the metrics of probabilities.

    Args:
        probabilities: (examples, classes).
        y: the right classes, (examples,).
        names: of the classes.
        split: the name of the split.
        loss: the mean loss of the examples.
    """
    array, targets = probabilities.numpy(), y.numpy()
    predicted = array.argmax(1)
    right, bins = int((predicted == targets).sum()), reliability(array, targets)
    low, high = wilson(right, len(targets))
    return Evaluation(
        split=split,
        examples=len(targets),
        accuracy=right / len(targets),
        low=low,
        high=high,
        loss=loss,
        top={k: top(array, targets, k) for k in TOP if k < len(names)},
        calibration_error=calibration_error(bins),
        classes=class_scores(predicted, targets, names),
        bins=bins,
    )


def write(out: Path, run: Restored, evaluation: Evaluation, scores: Tensor, probabilities: Tensor) -> None:
    """Write the metrics, figures and predictions of an evaluation; each file is written completely or not at all.

    Args:
        out: the folder.
        run: that was evaluated.
        evaluation: its metrics.
        scores, probabilities: (examples, classes), on the CPU.

    Raises:
        OSError: the folder cannot be written.
    """
    split, names = run.data.splits[evaluation.split], run.classes
    y, about = split.y.cpu(), f"{NAMES[evaluation.split]}, weights of epoch {run.epoch}"
    figures = {
        "confusion": confusion_figure(confusion(scores, y), names, about),
        "calibration": reliability_figure(evaluation.bins, evaluation.calibration_error, about),
    }
    if len(names) == 2:
        figures["thresholds"] = thresholds_figure(probabilities[:, 1].numpy(), y.numpy(), names[1], about)
    if drawable(run.data.input_shape):
        figures["worst"] = worst_figure(split, scores, names, about)
    train = run.data.splits["train"]
    if planar(train):
        grid = plane(train, FINE)
        grid_scores = grid.laid_out(torch.cat([part for part, _ in run.batches(grid.points)]))
        figures["regions"] = regions_figure(grid, grid_scores, train, split, scores, about, names)
    for name, figure in figures.items():
        content = io.BytesIO()
        figure.savefig(content, format="png")
        write_whole(out / f"{name}.png", content.getvalue())
    predictions = Predictions.of_split(probabilities, y, names, run.data.numbers[evaluation.split])
    write_whole(out / "predictions.csv", predictions.as_csv().encode())
    source = {"run": str(run.folder.path), "epoch": run.epoch, **({"data": run.other} if run.other else {})}
    source |= {"note": run.note} if run.note else {}
    write_json(out / "evaluation.json", {**source, **asdict(evaluation)})


def show(screen: Screen, run: Restored, evaluation: Evaluation, out: Path) -> None:
    """Print an evaluation.

    Args:
        screen: to print on.
        run: that was evaluated.
        evaluation: its metrics.
        out: the folder with the results.
    """
    screen.print(f"{shown_path(run.folder.path)}, weights of epoch {run.epoch}")
    if run.note:
        screen.print(f"warning: {run.note}")
    screen.print(f"{split_title(evaluation.split, run.other)}, {evaluation.examples:,} examples\n")
    interval = f"{evaluation.low:.2%} to {evaluation.high:.2%}"
    screen.print(f"accuracy  {evaluation.accuracy:.2%} (95 % {interval})")
    screen.print(f"loss      {evaluation.loss:.4f}")
    for k, value in evaluation.top.items():
        if k > 1:
            screen.print(f"top {k}     {value:.2%}")
    screen.print(f"expected calibration error  {evaluation.calibration_error:.4f}")
    for name, interval_of in evaluation.metrics.items():
        screen.print(metric_line(name, interval_of))
    screen.print("")
    shown = table("class", "precision", "recall", "F1", "examples", right=("precision", "recall", "F1", "examples"))
    for score in evaluation.classes:
        numbers = [f"{number:.3f}" for number in (score.precision, score.recall, score.f1)]
        shown.add_row(score.name, *numbers, str(score.examples))
    screen.print(shown)
    screen.print(f"\nwritten  {shown_path(out)}")
