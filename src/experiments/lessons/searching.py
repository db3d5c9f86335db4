"""Search by chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.comparison.drawing import canvas
from experiments.comparison.palette import INK, styles
from experiments.recipes.measured import Measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEARCHES = 4000
SHARE = 0.01
SIDE = 8
TRIALS = (1, 8, 16, 32, 64, 128, 256)
DIMENSIONS = (1, 2, 5)

Sampler = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def volume(sampler: Literal["random", "grid"] = "random") -> Measured:
    """How often a search comes into a region of one hundredth of the volume that lies somewhere in the unit cube.

    In one case all hyperparameters matter: the region is a cube. In the other only the first of two matters: it is a
    strip.

    Args:
        sampler: what takes the part of the random search.
    """
    draw_from: Sampler = {"random": at_random, "grid": on_grid}[sampler]
    rng = np.random.default_rng(0)
    cubes = {d: [hits(rng, draw_from, trials, d, (SHARE ** (1 / d),) * d) for trials in TRIALS] for d in DIMENSIONS}
    theory = 1 - (1 - SHARE) ** np.array(TRIALS)
    strip = (SHARE, 1.0)
    values = {
        "largest error, random": float(max(np.abs(np.array(found) - theory).max() for found in cubes.values())),
        "hits, random with 64 trials": hits(rng, draw_from, SIDE**2, 2, strip),
        "hits, grid of 8 x 8": hits(rng, on_grid, SIDE**2, 2, strip),
    }

    def draw() -> Figure:
        figure = canvas(9.5, 3.8)
        left, right = figure.subplots(1, 2)
        left.plot(TRIALS, 100 * theory, color=INK, linewidth=0.8, label="1 - 0.99^T")
        for (d, found), style in zip(cubes.items(), styles(len(cubes)), strict=True):
            left.plot(TRIALS, 100 * np.array(found), "o", color=style.color, label=f"{d} hyperparameter{'s' * (d > 1)}")
        left.set_xlabel("trials T")
        left.set_ylabel("searches that hit the best hundredth (%)")
        left.legend()
        for (name, sample), style in zip((("grid", on_grid), ("random", at_random)), styles(2), strict=True):
            points = sample(np.random.default_rng(1), SIDE**2, 2)
            right.plot(*points.T, "s" if name == "grid" else "o", color=style.color, markersize=4, label=name)
            right.plot(points[:, 0], np.full(len(points), -0.05 if name == "grid" else -0.1), "|", color=style.color)
        right.set_xlabel("hyperparameter that matters (ticks: values tried)")
        right.set_ylabel("hyperparameter that does not")
        right.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return figure

    return Measured(values, draw)


def hits(rng: np.random.Generator, sample: Sampler, trials: int, dimensions: int, sides: tuple[float, ...]) -> float:
    """Return the share of searches one of whose trials lies in a box of these sides, placed at random."""
    found = 0
    for _ in range(SEARCHES):
        corner = rng.random(dimensions) * (1 - np.array(sides))
        points = sample(rng, trials, dimensions)
        found += bool(((points >= corner) & (points < corner + sides)).all(1).any())
    return found / SEARCHES


def at_random(rng: np.random.Generator, trials: int, dimensions: int) -> NDArray[np.float64]:
    """Return points drawn evenly from the cube, (trials, dimensions)."""
    return rng.random((trials, dimensions))


def on_grid(rng: np.random.Generator, trials: int, dimensions: int) -> NDArray[np.float64]:
    """Return the points of a grid with as many values a hyperparameter as fit into so many trials."""
    del rng
    side = max(1, int(trials ** (1 / dimensions) + 1e-9))
    places = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(*[places] * dimensions), -1).reshape(-1, dimensions)
