"""Learning rates: their size, their decay, and momentum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import spearmanr

from experiments.common.statuses import COMPLETED
from experiments.comparison.statistics import estimate
from experiments.figures.canvas import logarithmic, on_axes
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best, by, curve, last, lead, of_seeds, quantity
from experiments.surfaces.descent import descend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TARGET = 1e-6
UPDATES = 600


def update_ratio(runs: Sequence[Record]) -> Measured:
    """Measure the norm of an update divided by that of the weights, by learning rate.

    The ratio is the median over weights, epochs and seeds.
    """
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

    @on_axes(6.5, 3.8)
    def draw(axes: Axes) -> None:
        other, (blue, orange, *_) = axes.twinx(), styles(2)
        axes.plot(rates, [ratios[rate] for rate in rates], "o-", color=blue.color)
        other.plot(rates, [100 * accuracy[rate] for rate in rates], "s--", color=orange.color)
        axes.axhspan(1e-4, 1e-2, color=blue.color, alpha=0.12, linewidth=0)
        logarithmic(axes.xaxis)
        logarithmic(axes.yaxis)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("norm of update / norm of weights", color=blue.color)
        other.set_ylabel("validation accuracy (%)", color=orange.color)
        other.grid(visible=False)

    said = [f"The best rate, {right:g}, has a ratio of {ratios[right]:.1e}"]
    return Measured(values, draw, said)


def weight_ratios(run: Record) -> list[float]:
    """Return the update ratios of all weights at the end of each epoch; biases start at zero and have none."""
    ratios = run.layers(["update_ratio"]).get("update_ratio", {})
    return [ratio for name, values in ratios.items() if name.endswith("weight") for ratio in values.values()]


def shapes(runs: Sequence[Record], low: str, right: str, high: str) -> Measured:
    """Compare the final training loss of three rates, and measure how straight their curves are.

    Args:
        low, right, high: the rates, as in the configurations of the runs.
    """
    groups = by(runs, "optimizer.lr")
    final = {rate: fmean(end(run) for run in groups[rate]) for rate in (low, right, high)}
    values = {
        "final loss, too low over right": final[low] / final[right],
        "final loss, too high over right": final[high] / final[right],
        "last third's fall over the first's, too low": fmean(straightness(run) for run in groups[low]),
        "last third's fall over the first's, right": fmean(straightness(run) for run in groups[right]),
    }
    names = {low: "too low", right: "right", high: "too high"}
    named = {f"rate {rate}, {name}": groups[rate] for rate, name in names.items()}

    def draw() -> Figure:
        return curves_of(named, "train/loss", "val/accuracy", log=True)

    return Measured(values, draw)


def end(run: Record) -> float:
    """Return the training loss at the end; inf if the run diverged."""
    return last(run, "train/loss") if run.status in COMPLETED else math.inf


def straightness(run: Record) -> float:
    """Return the fall of the loss in the last third of the epochs, divided by its fall in the first third."""
    losses = [quantity(run, "loss", 0)["model"], *curve(run, "train/loss")]
    third = len(losses) // 3
    return (losses[-1 - third] - losses[-1]) / (losses[0] - losses[third])


def annealing(runs: Sequence[Record]) -> Measured:
    """Measure by how much a falling rate lowers the training loss: the lower end of the 95 % interval."""
    groups = by(runs, "scheduler")
    constant = {run.config["seed"]: last(run, "train/loss") for run in groups.pop("constant")}
    values, means = {}, {}
    for name, group in groups.items():
        gain = estimate([constant[run.config["seed"]] - last(run, "train/loss") for run in group])
        means[name] = gain.mean
        values[f"{name}, least gain"] = gain.mean if gain.low is None else gain.low
    said = [f"The final loss with {name} is {mean:.3g} below that of the constant rate" for name, mean in means.items()]

    def draw() -> Figure:
        return curves_of(by(runs, "scheduler"), "train/loss", "val/accuracy")

    return Measured(values, draw, said)


def babysitting(runs: Sequence[Record], same: float, lower: float) -> Measured:
    """Measure what a run gains that is resumed at a lower rate by hand, against the same run at its own rate.

    Args:
        runs: that were resumed after half of their epochs.
        same, lower: the two rates, as in the configurations of the runs.
    """
    groups = by(runs, "optimizer.lr")
    kept, changed = groups[str(same)], groups[str(lower)]
    losses = [curve(run, "train/loss") for run in kept]
    quarter = len(losses[0]) // 4
    stalled = fmean(fmean(own[-quarter:]) / fmean(own[len(own) // 2 - quarter : len(own) // 2]) for own in losses)
    gain = lead(of_seeds(kept, end), of_seeds(changed, end))
    rates = [curve(run, "lr") for run in changed]
    values = {
        "loss at the same rate, last six epochs by the six before the change": stalled,
        "loss at the same rate less that at a tenth, least": gain,
        "first rate by the last one": fmean(own[0] / own[-1] for own in rates),
    }
    named = {f"resumed at {lower}": changed, f"resumed at {same}": kept}

    def draw() -> Figure:
        return curves_of(named, "train/loss", "lr")

    said = [f"The last loss is {fmean(map(end, kept)):.3g} at {same} and {fmean(map(end, changed)):.3g} at {lower}"]
    return Measured(values, draw, said)


def nesterov(rate: float, momentum: float, curvature: float, nesterov: bool = True) -> Measured:
    """Compare the convergence of torch's SGD on a parabola with the moduli of the roots of its recurrences.

    Args:
        rate, momentum: of both optimizers.
        curvature: of the parabola `curvature w^2 / 2`; w starts at 1.
        nesterov: whether the second optimizer uses Nesterov momentum.
    """
    paths = {"momentum": descent(rate, momentum, curvature), "Nesterov": descent(rate, momentum, curvature, nesterov)}
    theory = {"momentum": math.sqrt(momentum), "Nesterov": math.sqrt(momentum * (1 - rate * curvature))}
    envelope = {name: np.maximum.accumulate(np.abs(path)[::-1])[::-1] for name, path in paths.items()}
    values = {f"{name}, shrinkage over theory": shrinkage(own) / theory[name] for name, own in envelope.items()}
    needed = {name: float(np.argmax(own < TARGET)) for name, own in envelope.items()}
    values["updates to a millionth, Nesterov over momentum"] = needed["Nesterov"] / needed["momentum"]

    @on_axes(6.5, 3.8)
    def draw(axes: Axes) -> None:
        for (name, path), style in zip(paths.items(), styles(2), strict=True):
            axes.plot(np.abs(path), color=style.color, linestyle=style.linestyle, label=name)
            axes.plot(theory[name] ** np.arange(len(path)), color=INK, linewidth=0.8, linestyle=":")
        axes.set_ylim(1e-12, 10)
        logarithmic(axes.yaxis)
        axes.set_xlabel("updates")
        axes.set_ylabel("distance to the minimum (dotted: theory)")
        axes.legend()

    said = [
        f"Momentum is within a millionth after {needed['momentum']:g} updates, Nesterov after {needed['Nesterov']:g}"
    ]
    return Measured(values, draw, said)


def descent(rate: float, momentum: float, curvature: float, nesterov: bool = False) -> np.ndarray:
    """Return the weight before and after each update, (updates + 1,), in float64.

    Args:
        rate, momentum: of the optimizer.
        curvature: of the parabola `curvature w^2 / 2`; w starts at 1.
        nesterov: whether it uses Nesterov momentum.
    """
    optimizer = partial(torch.optim.SGD, lr=rate, momentum=momentum, nesterov=nesterov)
    return descend(lambda w: curvature * w.square() / 2, optimizer, [1.0], UPDATES).points[:, 0]


def shrinkage(envelope: np.ndarray) -> float:
    """Return the factor of the distance per update, from the slope of its logarithm down to 1e-12.

    Args:
        envelope: (updates + 1,), the largest distance from the minimum after each number of updates or later.
    """
    used = envelope[envelope > 1e-12]
    return float(np.exp(np.polyfit(np.arange(len(used)), np.log(used), 1)[0]))
