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
    """The training error of a small network trained for short, and what more units and longer training take off.

    Args:
        small, big: the hidden layers, as the runs have them.
        short, long: epochs.
    """
    groups = {
        name: [run for run in runs if (level(run, "model.hidden"), run.config["training.epochs"]) == (hidden, epochs)]
        for name, hidden, epochs in (
            ("small and short", small, short),
            ("more units", big, short),
            ("longer training", small, long),
        )
    }
    base, units, longer = groups.values()
    values = {
        "training error, small and short": fmean(map(training_error, base)),
        "taken off by more units, least": lead(of_seeds(base, training_error), of_seeds(units, training_error)),
        "taken off by longer training, least": lead(of_seeds(base, training_error), of_seeds(longer, training_error)),
    }
    said = [
        f"{name}: a training error of {100 * fmean(map(training_error, own)):.1f} %" for name, own in groups.items()
    ]

    def draw() -> Figure:
        return curves_of(groups, "train/accuracy", "val/accuracy")

    return Measured(values, draw, said)


def training_error(run: Record) -> float:
    """Return the share of training examples that a run gets wrong in its last epoch."""
    return 1 - last(run, "train/accuracy")


def high_variance(runs: Sequence[Record]) -> Measured:
    """The gap between test and training error at the end, and by how much each remedy narrows it."""
    groups: dict[str, list[Record]] = {}
    for run in runs:
        groups.setdefault(remedy(run), []).append(run)
    restored = {name: [load(run.folder, checkpoint="last.pt") for run in own] for name, own in groups.items()}
    errors = {
        run.folder: {split: error(own, split) for split in ("train", "test")}
        for name, group in groups.items()
        for run, own in zip(group, restored[name], strict=True)
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
        name: {split: 100 * fmean(errors[run.folder][split] for run in own) for split in ("train", "test")}
        for name, own in groups.items()
    }
    said = [
        f"{name}: {own['train']:.1f} % wrong in training, {own['test']:.1f} % in the test"
        for name, own in shown.items()
    ]

    def draw() -> Figure:
        figure = canvas(12, 3.6)
        for axes, (name, own) in zip(figure.subplots(1, len(restored), sharey=True), restored.items(), strict=True):
            grid = torch.linspace(-2, 3, 160)
            points = torch.stack(torch.meshgrid(grid, grid - 0.4, indexing="xy"), -1)
            answers = own[0].scores(points.view(-1, 2)).argmax(1).view(len(grid), len(grid))
            axes.contourf(grid, grid - 0.4, answers, levels=[-0.5, 0.5, 1.5], colors=list(COLORS[:2]), alpha=0.2)
            split = own[0].data.splits["train"]
            x = split.x if split.rows is None else split.x[split.rows]
            for number in range(2):
                axes.plot(*x[split.y == number].T, "o", color=COLORS[number], markersize=3)
            axes.set_title(name)
            axes.set_xlabel(f"1st feature\ntrain {shown[name]['train']:.1f} %, test {shown[name]['test']:.1f} % wrong")
        figure.axes[0].set_ylabel("2nd feature")
        return figure

    return Measured(values, draw, said)


def remedy(run: Record) -> str:
    """Return what was done against overfitting in a run."""
    if run.config["data.limit"] is None:
        return "more data"
    if run.config["penalty.strength"]:
        return "L2"
    return "dropout" if run.config["model.dropout"] else "nothing done"


def error(run: Restored, split: str) -> float:
    """Return the share of a split that a run gets wrong, without dropout."""
    wrong = [(scores.argmax(1) != y).double() for scores, y in run.batches(run.data.splits[split])]
    return float(torch.cat(wrong).mean())
