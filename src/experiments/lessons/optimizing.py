"""Comparisons of optimizers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, by, last, level

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def at_best_rates(runs: Sequence[Record]) -> Measured:
    """Compare the training costs that the optimizers reach at their best rates, as ratios.

    The cost is the loss plus the penalty, averaged over the batches of the last epoch.
    """
    groups: dict[str, list[Record]] = {}
    for run in runs:
        groups.setdefault(kind(run), []).append(run)
    chosen = {name: best_rate(group) for name, group in groups.items()}
    costs = {name: fmean(map(cost, group)) for name, group in chosen.items()}
    values = {
        f"training cost after training, {one} by {other}": costs[one] / costs[other]
        for one, other in itertools.permutations(costs, 2)
    }
    said = [
        f"{name} reaches {costs[name]:.4f} with a rate of {level(group[0], 'optimizer.lr')}"
        for name, group in chosen.items()
    ]

    def draw() -> Figure:
        return curves_of(chosen, "train/loss", "train/accuracy", log=True)

    return Measured(values, draw, said)


def kind(run: Record) -> str:
    """Return the name of a run's optimizer, and whether its rate does not decay."""
    name = level(run, "optimizer")
    return name if float(run.config["scheduler.decay"]) else f"{name} without decay"


def best_rate(runs: Sequence[Record]) -> Sequence[Record]:
    """Return the runs with the rate whose mean cost is the lowest."""
    return min(by(runs, "optimizer.lr").values(), key=lambda group: fmean(map(cost, group)))


def cost(run: Record) -> float:
    """Return the minimized cost at the end of training; inf if the run diverged."""
    penalty = last(run, "train/penalty")
    total = last(run, "train/loss") + (0.0 if math.isnan(penalty) else penalty)
    return math.inf if math.isnan(total) else total
