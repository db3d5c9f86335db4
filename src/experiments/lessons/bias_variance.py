"""High bias, high variance, and their remedies."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from experiments.evaluation.loading import Restored, load
from experiments.figures.canvas import canvas
from experiments.figures.palette import COLORS
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, last, lead, level, of_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def high_bias(runs: Sequence[Record], small: str, big: str, short: int, long: int) -> Measured:
    """Measure the training error of a small network after a short training, and how much three remedies lower it.

    Args:
        small, big: the hidden layers, as in the configurations of the runs.
        short, long: epochs.
    """
    groups = {
        name: [
            run
            for run in runs
            if (level(run, "model"), level(run, "model.hidden"), run.config["training.epochs"])
            == (model, hidden, epochs)
        ]
        for name, model, hidden, epochs in (
            ("small and short", "mlp", small, short),
            ("more units", "mlp", big, short),
            ("longer training", "mlp", small, long),
            ("a CNN", "cnn", "[]", short),
        )
    }
    base = of_seeds(groups["small and short"], training_error)
    values = {"training error, small and short": fmean(base.values())}
    for name in ("more units", "longer training", "a CNN"):
        values[f"taken off by {name}, least"] = lead(base, of_seeds(groups[name], training_error))
    said = [
        f"{name}: a training error of {100 * fmean(map(training_error, group)):.1f} %" for name, group in groups.items()
    ]

    def draw() -> Figure:
        return curves_of(groups, "train/accuracy", "val/accuracy")

    return Measured(values, draw, said)


def training_error(run: Record) -> float:
    """Return the share of training examples that a run classifies wrongly in its last epoch."""
    return 1 - last(run, "train/accuracy")


def high_variance(runs: Sequence[Record]) -> Measured:
    """Measure the gap between test and training error at the end, and by how much each remedy narrows it."""
    groups: dict[str, list[Record]] = {}
    for run in runs:
        groups.setdefault(remedy(run), []).append(run)
    models = {name: [load(run.folder, checkpoint="last.pt") for run in group] for name, group in groups.items()}
    errors = {
        run.folder: {split: error(model, split) for split in ("train", "test")}
        for name, group in groups.items()
        for run, model in zip(group, models[name], strict=True)
    }

    def gap(run: Record) -> float:
        return errors[run.folder]["test"] - errors[run.folder]["train"]

    base = groups["nothing done"]
    values = {
        "training error, nothing done": fmean(errors[run.folder]["train"] for run in base),
        "gap, nothing done": fmean(map(gap, base)),
    }
    for name in ("more data", "L2", "dropout"):
        values[f"gap narrowed by {name}, least"] = lead(of_seeds(base, gap), of_seeds(groups[name], gap))
    shown = {
        name: {split: 100 * fmean(errors[run.folder][split] for run in group) for split in ("train", "test")}
        for name, group in groups.items()
    }
    said = [
        f"{name}: {wrong['train']:.1f} % of the training and {wrong['test']:.1f} % of the test examples are wrong"
        for name, wrong in shown.items()
    ]

    def draw() -> Figure:
        figure = canvas(12, 3.6)
        for axes, (name, (model, *_)) in zip(figure.subplots(1, len(models), sharey=True), models.items(), strict=True):
            grid = torch.linspace(-2, 3, 160)
            points = torch.stack(torch.meshgrid(grid, grid - 0.4, indexing="xy"), -1)
            answers = model.scores(points.view(-1, 2)).argmax(1).view(len(grid), len(grid))
            axes.contourf(grid, grid - 0.4, answers, levels=[-0.5, 0.5, 1.5], colors=list(COLORS[:2]), alpha=0.2)
            split = model.data.splits["train"]
            x = split.x if split.rows is None else split.x[split.rows]
            for label in range(2):
                axes.plot(*x[split.y == label].T, "o", color=COLORS[label], markersize=3)
            axes.set_title(name)
            axes.set_xlabel(f"1st feature\ntrain {shown[name]['train']:.1f} %, test {shown[name]['test']:.1f} % wrong")
        figure.axes[0].set_ylabel("2nd feature")
        return figure

    return Measured(values, draw, said)


def remedy(run: Record) -> str:
    """Return the name of a run's remedy against overfitting."""
    if run.config["data.limit"] is None:
        return "more data"
    if run.config["penalty.strength"]:
        return "L2"
    return "dropout" if run.config["model.dropout"] else "nothing done"


def error(run: Restored, split: str) -> float:
    """Return the share of a split's examples that a run classifies wrongly, without dropout."""
    wrong = [(scores.argmax(1) != y).double() for scores, y in run.batches(run.data.splits[split])]
    return float(torch.cat(wrong).mean())
