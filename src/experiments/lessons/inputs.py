"""The preparation of the inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from experiments.evaluation.loading import load
from experiments.figures.canvas import canvas, legend, legend_height, logarithmic
from experiments.figures.palette import styles
from experiments.folders.reading import Record
from experiments.recipes.drawing import HEIGHT, WIDTH, curves_of
from experiments.recipes.measured import Measured, by, curve, last, level

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def centring(runs: Sequence[Record]) -> Measured:
    """Measure the largest stable learning rate for each preparation of the inputs, compared with theory.

    The runs train linear models with `loss=mse` and the whole split as one batch: see `largest_stable`.
    """
    groups = by(runs, "data.preprocess")
    theory = {name: largest_stable(group[0]) for name, group in groups.items()}
    largest = {name: max((rate(run) for run in group if stable(run)), default=0.0) for name, group in groups.items()}
    lowest = {name: min(last_or_inf(run) for run in group) for name, group in groups.items()}
    values = {f"largest rate by theory's, {name}": largest[name] / theory[name] for name in groups}
    for name in groups:
        values[f"training loss at its best rate, none by {name}"] = lowest.get("none", math.nan) / lowest[name]
    for name in groups:
        values[f"largest rate, {name} by none"] = largest[name] / largest["none"] if largest.get("none") else math.nan
    rates = ", ".join(f"{name} {theory[name]:.3g}" for name in groups)
    losses = ", ".join(f"{name} {lowest[name]:.3g}" for name in groups)
    said = [f"Largest stable rate by theory: {rates}", f"Training loss at the best rate: {losses}"]

    def draw() -> Figure:
        figure = canvas(WIDTH + 2, HEIGHT + legend_height(groups, WIDTH + 2))
        axes = figure.subplots()
        looks = dict(zip(groups, styles(len(groups)), strict=True))
        for size, (name, group) in zip(range(4 * len(groups), 0, -4), groups.items(), strict=True):
            points = sorted((rate(run), last(run, "train/loss")) for run in group if stable(run))
            look: dict[str, Any] = {"color": looks[name].color, "linestyle": looks[name].linestyle}
            axes.plot(
                [x for x, _ in points], [y for _, y in points], marker="o", markersize=size, fillstyle="none", **look
            )
            axes.axvline(theory[name], linewidth=1, alpha=0.6, **look)
        axes.set_xlabel("learning rate (vertical lines: the largest stable rate by theory)")
        axes.set_ylabel("training loss at the end")
        logarithmic(axes.xaxis)
        logarithmic(axes.yaxis)
        legend(figure, groups, looks)
        return figure

    return Measured(values, draw, said)


def rate(run: Record) -> float:
    """Return a run's learning rate."""
    return float(level(run, "optimizer.lr"))


def stable(run: Record) -> bool:
    """Whether the training loss fell."""
    losses = curve(run, "train/loss")
    return math.isfinite(last(run, "train/loss")) and losses[-1] < losses[0]


def last_or_inf(run: Record) -> float:
    """Return the training loss at the end; inf if it did not fall."""
    return last(run, "train/loss") if stable(run) else math.inf


def largest_stable(run: Record) -> float:
    """Return the largest rate with which gradient descent on a run's quadratic loss is stable: 2 / largest curvature.

    A linear model with `loss=mse`, averaged over C classes, has the curvature 2/C E[x x^T] for the weights of each
    class; the inputs x include a 1 for the bias (LeCun, Kanter and Solla 1991).
    """
    data = load(run.folder).data
    split = data.splits["train"]
    x = torch.cat([part.flatten(1) for part, _ in split.in_order(len(split))]).double()
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    return len(data.classes) / float(torch.linalg.eigvalsh(x.T @ x / len(x))[-1])


def preparations(runs: Sequence[Record], plain: str = "scale") -> Measured:
    """Measure how much a network gains if its inputs are prepared with more than a common factor.

    Args:
        runs: with several `data.preprocess`, with the same seeds.
        plain: the preparation that only scales.
    """
    groups = by(runs, "data.preprocess")
    accuracy = {name: fmean(last(run, "val/accuracy") for run in own) for name, own in groups.items()}
    values = {f"accuracy, {name} less {plain}": value - accuracy[plain] for name, value in accuracy.items()}
    values[f"accuracy, {plain}"] = accuracy[plain]
    said = [f"Validation accuracy: {', '.join(f'{name} {value:.1%}' for name, value in accuracy.items())}"]
    return Measured(values, lambda: curves_of(groups, "train/loss", "val/accuracy"), said)
