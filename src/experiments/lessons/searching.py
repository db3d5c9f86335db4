"""Hyperparameter search: random search, and a second round in narrower ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from experiments.common.metrics import merit
from experiments.figures.canvas import canvas, logarithmic
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.recipes.measured import Measured, best, level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEARCHES = 4000
SHARE = 0.01
"""Of the volume: the size of the good region."""
SIDE = 8
"""Values per hyperparameter in the grid."""
TRIALS = (1, 8, 16, 32, 64, 128, 256)
DIMENSIONS = (1, 2, 5)
RATE, DECAY = "optimizer.lr", "optimizer.weight_decay"

Sampler = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def volume(sampler: Literal["random", "grid"] = "random") -> Measured:
    """Measure how often a search hits a region with one hundredth of the unit cube's volume, at a random position.

    If all hyperparameters matter, the region is a cube. If only the first of two matters, it is a strip.

    Args:
        sampler: used as the random search.
    """
    draw_from: Sampler = {"random": at_random, "grid": on_grid}[sampler]
    rng = np.random.default_rng(0)
    cubes = {d: [hits(rng, draw_from, trials, d, (SHARE ** (1 / d),) * d) for trials in TRIALS] for d in DIMENSIONS}
    theory = 1 - (1 - SHARE) ** np.array(TRIALS)
    strip = (SHARE, 1.0)
    values = {
        "largest error, random": float(max(np.abs(np.array(shares) - theory).max() for shares in cubes.values())),
        "hits, random with 64 trials": hits(rng, draw_from, SIDE**2, 2, strip),
        "hits, grid of 8 x 8": hits(rng, on_grid, SIDE**2, 2, strip),
    }

    def draw() -> Figure:
        figure = canvas(9.5, 3.8)
        left, right = figure.subplots(1, 2)
        left.plot(TRIALS, 100 * theory, color=INK, linewidth=0.8, label="1 - 0.99^T")
        for (d, shares), style in zip(cubes.items(), styles(len(cubes)), strict=True):
            label = f"{d} hyperparameter{'s' * (d > 1)}"
            left.plot(TRIALS, 100 * np.array(shares), "o", color=style.color, label=label)
        left.set_xlabel("trials T")
        left.set_ylabel("searches that hit the best hundredth (%)")
        left.legend()
        for (name, sample), style in zip((("grid", on_grid), ("random", at_random)), styles(2), strict=True):
            points = sample(np.random.default_rng(1), SIDE**2, 2)
            right.plot(*points.T, "s" if name == "grid" else "o", color=style.color, markersize=4, label=name)
            right.plot(points[:, 0], np.full(len(points), -0.05 if name == "grid" else -0.1), "|", color=style.color)
        right.set_xlabel("hyperparameter that matters (ticks: tried values)")
        right.set_ylabel("hyperparameter that does not")
        right.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return figure

    return Measured(values, draw)


def hits(rng: np.random.Generator, sample: Sampler, trials: int, dimensions: int, sides: tuple[float, ...]) -> float:
    """Return the share of searches with a trial in a box of these sides, at a random position.

    Args:
        rng: draws the position of the box, and the points of a random search.
        sample: returns the points of a search, (points, dimensions).
        trials: of a search.
        dimensions: the number of hyperparameters, each in [0, 1).
        sides: of the box, one for each dimension.
    """
    successes = 0
    for _ in range(SEARCHES):
        corner = rng.random(dimensions) * (1 - np.array(sides))
        points = sample(rng, trials, dimensions)
        successes += bool(((points >= corner) & (points < corner + sides)).all(1).any())
    return successes / SEARCHES


def at_random(rng: np.random.Generator, trials: int, dimensions: int) -> NDArray[np.float64]:
    """Return points drawn uniformly from the cube, (trials, dimensions)."""
    return rng.random((trials, dimensions))


def on_grid(rng: np.random.Generator, trials: int, dimensions: int) -> NDArray[np.float64]:
    """Return the points of the largest grid with at most this many trials, (points, dimensions)."""
    del rng
    side = max(1, int(trials ** (1 / dimensions) + 1e-9))
    centres = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(*[centres] * dimensions), -1).reshape(-1, dimensions)


def narrowed(runs: Sequence[Record], first: Annotated[int, Ge(1)], looked_at: Annotated[int, Ge(1)] = 5) -> Measured:
    """Measure the learning rates of the best trials of a random search, and the gain of a second round around them.

    Args:
        runs: of a search in two rounds.
        first: the number of trials in the first round.
        looked_at: how many of its best trials are considered.
    """
    ordered = sorted(runs, key=lambda run: int(level(run, "trial.number")))
    coarse, fine = ordered[:first], ordered[first:]
    top = sorted(coarse, key=lambda run: merit(value(run), run.metrics), reverse=True)[:looked_at]
    rates = [float(level(run, RATE)) for run in top]
    ends = [float(level(run, RATE)) for run in fine]
    values = {
        f"rates of the best {looked_at} from 0.001 to 0.01": sum(1e-3 <= rate <= 1e-2 for rate in rates),
        "decades of rates in the second round": math.log10(max(ends) / min(ends)),
        "median accuracy gained by the second round": median(map(value, fine)) - median(map(value, coarse)),
    }
    shown = ", ".join(f"{rate:.2g}" for rate in rates)
    decays = [float(level(run, DECAY)) for run in top]
    said = [
        f"The best {looked_at} trials have learning rates of {shown}, and weight decays from {min(decays):.1g} to "
        f"{max(decays):.1g}",
        f"The second round tries rates from {min(ends):.2g} to {max(ends):.2g}: its median trial reaches "
        f"{median(map(value, fine)):.1%}, the median trial of the first round {median(map(value, coarse)):.1%}",
    ]
    return Measured(values, lambda: trials_figure(coarse, fine), said)


def value(run: Record) -> float:
    """Return the best validation accuracy of a trial; 0 if it diverged in its first epoch."""
    accuracy = best(run, "val/accuracy")
    return accuracy if math.isfinite(accuracy) else 0.0


def trials_figure(coarse: Sequence[Record], fine: Sequence[Record]) -> Figure:
    """Draw the accuracy of every trial over each hyperparameter."""
    figure = canvas(9.0, 3.8)
    names = {RATE: "learning rate", DECAY: "weight decay"}
    for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), names.items(), strict=True):
        for style, marker, (name, runs) in zip(
            styles(2), "os", {"first round": coarse, "second round": fine}.items(), strict=True
        ):
            axes.scatter(
                [float(level(run, key)) for run in runs],
                [100 * value(run) for run in runs],
                color=style.color,
                marker=marker,
                s=22,
                alpha=0.7,
                label=name if key == RATE else None,
            )
        logarithmic(axes.xaxis)
        axes.set_xlabel(label)
        if key == RATE:
            axes.set_ylabel("validation accuracy (%)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
