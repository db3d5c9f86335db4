"""Learning rates: their size, their fall, and momentum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import spearmanr

from experiments.comparison.statistics import estimate
from experiments.figures.canvas import canvas, logarithmic
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best, by, curve, last, quantity
from experiments.surfaces.descent import descend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TARGET = 1e-6
UPDATES = 600


def update_ratio(runs: Sequence[Record]) -> Measured:
    """Norm of an update over norm of the weights, by learning rate: the median over weights, epochs and seeds."""
    groups = by(runs, "optimizer.lr")
    ratios = {
        float(rate): median(ratio for run in group for ratio in weight_ratios(run)) for rate, group in groups.items()
    }
    accuracy = {float(rate): fmean(best(run, "val/accuracy") for run in group) for rate, group in groups.items()}
    right = max(accuracy, key=lambda rate: accuracy[rate])
    rates = sorted(ratios)
    values = {
        "ratio at the best rate": ratios[right],
        "ratio at the lowest rate": ratios[rates[0]],
        "rank correlation of rate and ratio": float(spearmanr(rates, [ratios[rate] for rate in rates]).statistic),
        "best rate": right,
    }

    def draw() -> Figure:
        figure = canvas(6.5, 3.8)
        axes = figure.subplots()
        other, (blue, orange, *_) = axes.twinx(), styles(2)
        axes.plot(rates, [ratios[rate] for rate in rates], "o-", color=blue.color)
        other.plot(rates, [100 * accuracy[rate] for rate in rates], "s--", color=orange.color)
        axes.axhspan(1e-4, 1e-2, color=blue.color, alpha=0.12, linewidth=0)
        logarithmic(axes.xaxis)
        logarithmic(axes.yaxis)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("update : weight (norms)", color=blue.color)
        other.set_ylabel("validation accuracy (%)", color=orange.color)
        other.grid(visible=False)
        return figure

    said = [f"The best of the rates, {right:g}, has a ratio of {ratios[right]:.1e}"]
    return Measured(values, draw, said)


def weight_ratios(run: Record) -> list[float]:
    """Return the update ratio of each weight at the end of each epoch; biases begin at zero and have none."""
    found = run.layers(["update_ratio"]).get("update_ratio", {})
    return [ratio for name, values in found.items() if name.endswith("weight") for ratio in values.values()]


def shapes(runs: Sequence[Record], low: str, right: str, high: str) -> Measured:
    """Final training loss against that of the right rate, and how straight the curves fall.

    Args:
        low, right, high: the rates, as the runs have them.
    """
    groups = by(runs, "optimizer.lr")
    final = {rate: fmean(end(run) for run in groups[rate]) for rate in (low, right, high)}
    values = {
        "final loss, too low over right": final[low] / final[right],
        "final loss, too high over right": final[high] / final[right],
        "last third's fall over the first's, too low": fmean(straightness(run) for run in groups[low]),
        "last third's fall over the first's, right": fmean(straightness(run) for run in groups[right]),
    }
    named = {
        f"rate {rate}, {what}": groups[rate] for rate, what in ((low, "too low"), (right, "right"), (high, "too high"))
    }

    def draw() -> Figure:
        return curves_of(named, "train/loss", "val/accuracy", log=True)

    return Measured(values, draw)


def end(run: Record) -> float:
    """Return the training loss at the end; infinity for a run that diverged."""
    return last(run, "train/loss") if run.status in ("finished", "stopped") else math.inf


def straightness(run: Record) -> float:
    """Return by how much the loss falls in the last third of the epochs, over its fall in the first."""
    losses = [quantity(run, "loss", 0)["model"], *curve(run, "train/loss")]
    third = len(losses) // 3
    return (losses[-1 - third] - losses[-1]) / (losses[0] - losses[third])


def annealing(runs: Sequence[Record]) -> Measured:
    """How much lower a falling rate brings the training loss than a constant one: the low end of the 95 % interval."""
    groups = by(runs, "scheduler")
    constant = {run.config["seed"]: last(run, "train/loss") for run in groups.pop("constant")}
    values, means = {}, {}
    for name, group in groups.items():
        found = estimate([constant[run.config["seed"]] - last(run, "train/loss") for run in group])
        means[name] = found.mean
        values[f"{name}, least gain"] = found.mean if found.low is None else found.low
    said = [f"On average {name} ends {gain:.3g} lower than the constant rate" for name, gain in means.items()]

    def draw() -> Figure:
        return curves_of(by(runs, "scheduler"), "train/loss", "val/accuracy")

    return Measured(values, draw, said)


def nesterov(rate: float, momentum: float, curvature: float, nesterov: bool = True) -> Measured:
    """How fast torch's SGD comes to the minimum of a parabola, against the moduli of the recurrences' roots.

    Args:
        rate, momentum: of both.
        curvature: of the parabola `curvature w^2 / 2`, from w = 1.
        nesterov: whether the second one is Nesterov's.
    """
    paths = {"momentum": descent(rate, momentum, curvature), "Nesterov": descent(rate, momentum, curvature, nesterov)}
    theory = {"momentum": math.sqrt(momentum), "Nesterov": math.sqrt(momentum * (1 - rate * curvature))}
    envelope = {name: np.maximum.accumulate(np.abs(path)[::-1])[::-1] for name, path in paths.items()}
    values = {f"{name}, shrinkage over theory": shrinkage(found) / theory[name] for name, found in envelope.items()}
    needed = {name: float(np.argmax(found < TARGET)) for name, found in envelope.items()}
    values["updates to a millionth, Nesterov over momentum"] = needed["Nesterov"] / needed["momentum"]

    def draw() -> Figure:
        figure = canvas(6.5, 3.8)
        axes = figure.subplots()
        for (name, path), style in zip(paths.items(), styles(2), strict=True):
            axes.plot(np.abs(path), color=style.color, linestyle=style.linestyle, label=name)
            axes.plot(theory[name] ** np.arange(len(path)), color=INK, linewidth=0.8, linestyle=":")
        axes.set_ylim(1e-12, 10)
        logarithmic(axes.yaxis)
        axes.set_xlabel("updates")
        axes.set_ylabel("distance to the minimum (dotted: theory)")
        axes.legend()
        return figure

    said = [
        f"Momentum comes within a millionth after {needed['momentum']:g} updates, Nesterov after {needed['Nesterov']:g}"
    ]
    return Measured(values, draw, said)


def descent(rate: float, momentum: float, curvature: float, nesterov: bool = False) -> np.ndarray:
    """Return the weight before and after each update, in float64."""
    optimizer = partial(torch.optim.SGD, lr=rate, momentum=momentum, nesterov=nesterov)
    return descend(lambda w: curvature * w.square() / 2, optimizer, [1.0], UPDATES).points[:, 0]


def shrinkage(envelope: np.ndarray) -> float:
    """Return by what the distance is multiplied in an update: the slope of its logarithm down to 1e-12."""
    used = envelope[envelope > 1e-12]
    return float(np.exp(np.polyfit(np.arange(len(used)), np.log(used), 1)[0]))
