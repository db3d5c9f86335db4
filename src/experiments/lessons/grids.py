"""A grid of hyperparameters compared with random draws, both as the package generates them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt

from experiments.figures.canvas import canvas, on_axes
from experiments.figures.palette import INK, styles
from experiments.recipes.drawing import HEIGHT, bars
from experiments.recipes.measured import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna.distributions import BaseDistribution

    from experiments.search.space import Space

GridPoint = tuple[float, float]


def grid_and_random(
    *,
    trials: Annotated[int, Ge(1)] = 9,
    volume: Annotated[float, Gt(0), Lt(1)] = 0.1,
    relevant: Literal[1, 2] = 1,
    repeats: Annotated[int, Ge(1)] = 500,
) -> Measured:
    """Measure how often a search over two hyperparameters hits a good region, with a grid and with random draws.

    Args:
        trials: of a search; a square number.
        volume: the good share of the space; the corner of the region is drawn for each search.
        relevant: how many of the two matter: with 1 the region is an interval of the first, with 2 a square.
        repeats: the number of searches.
    """
    generator = torch.Generator().manual_seed(0)
    side = volume ** (1 / relevant)
    corners = ((1 - side) * torch.rand(repeats, relevant, generator=generator)).tolist()
    grid = grid_points(math.isqrt(trials))
    drawn = [random_points(trials, seed) for seed in range(repeats)]
    searches = {"grid": [grid] * repeats, "random": drawn}
    values: dict[str, float] = {}
    for name, points in searches.items():
        hits = [any(inside(p, corner, side) for p in own) for own, corner in zip(points, corners, strict=True)]
        values[f"hits, {name}"] = fmean(hits)
        values[f"values of the first hyperparameter, {name}"] = fmean(len({p[0] for p in own}) for own in points)
    said = [
        f"With {trials} trials a grid tries {values['values of the first hyperparameter, grid']:g} values of each "
        f"hyperparameter and hits the good {100 * volume:g} % in {100 * values['hits, grid']:.1f} % of the searches; "
        f"random draws hit it in {100 * values['hits, random']:.1f} %"
    ]
    return Measured(values, lambda: searches_figure({"grid": grid, "random": drawn[0]}, corners[0], side), said)


def grid_points(count: int) -> list[GridPoint]:
    """Return the points of a grid with `count` values per side, each in the middle of its cell."""
    from optuna.distributions import CategoricalDistribution

    space = unit_square(CategoricalDistribution([(number + 0.5) / count for number in range(count)]))
    return [(point["first"], point["second"]) for point in space.points()]


def random_points(trials: int, seed: int) -> list[GridPoint]:
    """Return the points that a random search tries."""
    import optuna
    from optuna.distributions import FloatDistribution

    from experiments.search.sampling import sampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = unit_square(FloatDistribution(0, 1))
    study = optuna.create_study(sampler=sampler("random", seed, 0, space))
    asked = [study.ask(space.distributions).params for _ in range(trials)]
    return [(point["first"], point["second"]) for point in asked]


def unit_square(distribution: BaseDistribution) -> Space:
    """Return the space of two hyperparameters with the same distribution."""
    from experiments.search.space import Dimension, Space

    return Space({name: Dimension(name, distribution) for name in ("first", "second")}, {})


def inside(point: GridPoint, corner: Sequence[float], side: float) -> bool:
    """Whether a point is in the region with this lower corner.

    Args:
        point: two hyperparameters.
        corner: one number for each hyperparameter that matters.
        side: of the region.
    """
    return all(low <= x < low + side for x, low in zip(point, corner, strict=False))


def searches_figure(searches: dict[str, list[GridPoint]], corner: Sequence[float], side: float) -> Figure:
    """Draw the points of one search of each kind, their values of the first hyperparameter, and the good region.

    Args:
        searches: the points by the name of the search.
        corner, side: see `inside`.
    """
    figure = canvas(2 * HEIGHT, HEIGHT + 0.4)
    for axes, (name, points), look in zip(figure.subplots(1, 2), searches.items(), styles(2), strict=True):
        axes.axvspan(corner[0], corner[0] + side, color=INK, alpha=0.12)
        axes.plot(*zip(*points, strict=True), "o", color=look.color)
        axes.plot([x for x, _ in points], [-0.06] * len(points), "|", color=look.color, markersize=10)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.12, 1)
        axes.set_title(f"{name}: {len({x for x, _ in points})} values")
        axes.set_xlabel("hyperparameter that matters")
        axes.set_ylabel("hyperparameter that does not")
        axes.grid(visible=False)
    return figure


DECADES = 4
"""From 0.0001 to 1."""


def decades(draws: Annotated[int, Ge(10)] = 1000, log: bool = True) -> Measured:
    """Measure how random draws of a hyperparameter from 0.0001 to 1 are shared among the four decades.

    Args:
        draws: how many.
        log: whether the first kind of draws is on a logarithmic scale.
    """
    kinds = {"logarithmic": drawn(draws, log=log), "linear": drawn(draws, log=False)}
    shares = {name: [fmean(10.0**-n <= x * (1 + 1e-12) < 10.0 ** (1 - n) for x in own) for n in (4, 3, 2, 1)]
              for name, own in kinds.items()}  # fmt: skip
    values = {
        "logarithmic: furthest share of a decade from a quarter": max(abs(s - 0.25) for s in shares["logarithmic"]),
        "linear: share of the top decade": shares["linear"][-1],
    }
    said = [
        f"{name.capitalize()} draws from 0.0001 to 1: {', '.join(f'{share:.1%}' for share in own)} in the four decades"
        for name, own in shares.items()
    ]

    @on_axes(7.0, 3.4)
    def draw(axes: Axes) -> None:
        names = ["0.0001 to 0.001", "to 0.01", "to 0.1", "to 1"]
        bars(axes, {name: [100 * share for share in own] for name, own in shares.items()}, names)
        axes.set_ylabel("share of the draws (%)")
        axes.legend()

    return Measured(values, draw, said)


def drawn(draws: int, *, log: bool) -> list[float]:
    """Return values that a random search draws from 0.0001 to 1."""
    import optuna
    from optuna.distributions import FloatDistribution

    from experiments.search.sampling import sampler
    from experiments.search.space import Dimension, Space

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = Space({"value": Dimension("value", FloatDistribution(1e-4, 1, log=log))}, {})
    study = optuna.create_study(sampler=sampler("random", 0, 0, space))
    return [study.ask(space.distributions).params["value"] for _ in range(draws)]
