"""Evaluation of runs whose targets are not classes: numbers or labels, one by one and together."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from rich.text import Text
from torch import Tensor

from experiments.common.files import write_json, write_whole
from experiments.common.screen import Screen, table
from experiments.common.text import shown_path
from experiments.tasks.base import Task
from experiments.tasks.metrics import Measure
from experiments.training.carried import Carried
from experiments.training.single import scores_of

from ._estimates import MOST_TARGETS, Estimates
from ._intervals import Interval, intervals
from .loading import Restored, scored

PER_TARGET: Mapping[str, Sequence[str]] = {
    "numbers": ("r2", "rmse", "mae"),
    "labels": ("f1", "precision", "recall", "auroc"),
}
"""The metrics of each target, by the form of the targets; none for other forms."""


@dataclass(frozen=True)
class Answered:
    """The metrics of answers on a split.

    Args:
        split: train, val or test.
        examples: how many.
        loss: the mean of the run's own loss, in the units of the data; None for the answers of several runs.
        metrics: with their intervals, by name.
        targets: the metrics of each target, by its name.
    """

    split: str
    examples: int
    loss: float | None
    metrics: Mapping[str, Interval]
    targets: Mapping[str, Mapping[str, float]]


def answered(run: Restored, split: str) -> tuple[Answered, Tensor, Tensor]:
    """Return the metrics of a run on a split, its answers and the true values, both (examples, targets).

    Raises:
        UserError: the run does not have the split.
    """
    scores, y, loss, measures = scored(run, split)
    answers, true = run.task.answer(scores), run.task.decode(y)
    return answers_of(run.task, measures, answers, true, split, loss), answers, true


def answers_of(
    task: Task, metrics: Mapping[str, Measure], answers: Tensor, true: Tensor, split: str, loss: float | None
) -> Answered:
    """Return the metrics of answers.

    Args:
        task: what is learnt.
        metrics: those of the run, besides the task's running one.
        answers, true: (examples, targets).
        split: its name.
        loss: of the run.
    """
    names = dict.fromkeys((*task.metrics, *PER_TARGET.get(task.form, ())))
    measures = {**{name: task.measures[name] for name in names}, **metrics}
    each = {}
    if task.form in PER_TARGET:
        each = {name: measures_of(task, answers[:, k : k + 1], true[:, k : k + 1]) for k, name in enumerate(task.names)}
    return Answered(split, len(answers), loss, intervals(measures, answers, true), each)


def measures_of(task: Task, answers: Tensor, true: Tensor) -> dict[str, float]:
    """Return the metrics of one target, without those that are not defined.

    Args:
        task: what is learnt.
        answers, true: (examples, 1).
    """
    found = {key: float(task.measures[key](answers, true)) for key in PER_TARGET[task.form]}
    return {key: value for key, value in found.items() if isfinite(value)}


def write(out: Path, run: Restored, result: Answered, answers: Tensor, true: Tensor, title: str) -> None:
    """Write the metrics, figures and predictions of an evaluation; each file is written completely or not at all.

    Args:
        out: the folder.
        run: that was evaluated.
        result: its metrics.
        answers: (examples, ...), see `Task.answer`.
        true: (examples, ...), decoded targets.
        title: of the split, for the figures.

    Raises:
        OSError: the folder cannot be written.
    """
    split = run.data.splits[result.split]
    scores = torch.cat([scores.cpu() for scores, _ in run.batches(split)])
    for name, figure in run.task.figures(split, scores, f"{title}, weights of epoch {run.epoch}").items():
        content = io.BytesIO()
        figure.savefig(content, format="png")
        write_whole(out / f"{name}.png", content.getvalue())
    write_predictions(out, run.task, answers, true, run.data.numbers[result.split])
    if text := samples(run, result.split):
        write_whole(out / "samples.txt", text.encode())
    source: dict[str, Any] = {"run": str(run.folder.path), "epoch": run.epoch}
    source |= {"data": run.other} if run.other else {}
    source |= {"note": run.note} if run.note else {}
    write_json(out / "evaluation.json", {**source, **asdict(result)})


def samples(run: Restored, split: str) -> str:
    """Return a text that the model has written; empty if it writes none."""
    examples = run.data.splits[split]
    carried = None if examples.follows is None else Carried(run.model, run.model, examples.follows)
    seen = 0

    def forward(x: Tensor) -> Tensor:
        nonlocal seen
        if carried is None:
            return scores_of(run.model, x, run.settings.precision, channels_last=False)
        carried.start(torch.full((len(x),), seen > 0))
        new, seen = x[:, seen:], x.shape[1]
        return scores_of(carried, new, run.settings.precision, channels_last=False)

    with run.surroundings(), torch.no_grad():
        return run.task.samples(forward, examples)


def write_predictions(out: Path, task: Task, answers: Tensor, true: Tensor, numbers: Tensor) -> None:
    """Write the answers for each example next to the true values.

    Args:
        out: the folder.
        task: what is learnt.
        answers: (examples, ...), see `Task.answer`.
        true: (examples, ...), decoded targets.
        numbers: of the examples in the file, or in the split.

    Raises:
        OSError: the folder cannot be written.
    """
    names = list(map(str, numbers.tolist()))
    if columns := task.rows(answers, true):
        lines = [["example", *columns], *map(list, zip(names, *columns.values(), strict=True))]
        text = "".join(",".join(c if isinstance(c, str) else f"{c:.7g}" for c in line) + "\n" for line in lines)
        write_whole(out / "predictions.csv", text.encode())
        return
    estimates = Estimates(names, task.names, answers.numpy(), true=true.numpy())
    write_whole(out / "predictions.csv", estimates.as_csv().encode())


def cell(result: Answered, metric: str) -> str:
    """Return a metric with its interval as a cell; empty if it is not defined."""
    found = result.metrics.get(metric)
    return "" if found is None else f"{found.value:.4g} ({found.low:.4g} to {found.high:.4g})"


def show(screen: Screen, run: Restored, result: Answered, title: str, out: Path) -> None:
    """Print an evaluation.

    Args:
        screen: to print on.
        run: that was evaluated.
        result: its metrics.
        title: of the split.
        out: the folder with the results.
    """
    screen.print(f"{shown_path(run.folder.path)}, weights of epoch {run.epoch}")
    if run.note:
        screen.print(f"warning: {run.note}")
    screen.print(f"{title}, {result.examples:,} examples\n")
    show_metrics(screen, run.task, result)
    if (out / "samples.txt").exists():
        screen.print("")
        screen.print(Text((out / "samples.txt").read_text(encoding="utf-8")))
    screen.print(f"\nwritten  {shown_path(out)}")


def show_metrics(screen: Screen, task: Task, result: Answered) -> None:
    """Print metrics with their intervals and, of several targets, those of each one."""
    shown = table("metric", "value", "95 % interval", right=("value", "95 % interval"))
    if result.loss is not None:
        shown.add_row("loss", f"{result.loss:.4g}", "")
    for name, interval in result.metrics.items():
        shown.add_row(name, f"{interval.value:.4g}", f"{interval.low:.4g} to {interval.high:.4g}")
    screen.print(shown)
    resamples = max((interval.resamples for interval in result.metrics.values()), default=0)
    screen.print(f"intervals: bootstrap over examples, {resamples:,} resamples")
    if len(task.names) > 1 and task.form in PER_TARGET:
        noun = "target" if task.form == "numbers" else "label"
        columns = PER_TARGET[task.form]
        printed = table(noun, *columns, right=tuple(columns))
        for name, values in list(result.targets.items())[:MOST_TARGETS]:
            printed.add_row(name, *(f"{values[key]:.4g}" if key in values else "" for key in columns))
        screen.print("")
        screen.print(printed)
