"""Coarse to fine: random points in wide ranges, then in narrower ones around the best points.

(CS231n, "Neural Networks Part 3": search from coarse to fine, with random points, on logarithmic scales, and be
careful with best values on the border.)
"""

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial

from ._study import better_first, counted
from .space import Dimension, Space

BEST = 0.2
"""The share of the trials, the best ones, that the next round's ranges enclose."""
MARGIN = 0.1
"""The margin on both sides of them, as a share of the range."""
BORDER = 0.05
"""The distance from an end of the range below which a value is on the border, as a share of the range."""
KEY = "round {}"
"""The attribute of the study that holds the ranges of a round."""


def quotas(trials: int, rounds: int) -> list[int]:
    """Return the number of trials of each round: as equal as possible, larger in the first rounds."""
    return [trials // rounds + (number < trials % rounds) for number in range(rounds)]


def current(study: optuna.Study, space: Space, sizes: Sequence[int]) -> tuple[int, Space, int]:
    """Return the current round, the space with its ranges, and the number of trials that it still needs.

    A finished round decides the ranges of the next one. The study keeps them, so a resumed search has the same.
    """
    narrowed = space
    for number, size in enumerate(sizes):
        if number > 0:
            narrowed = space.within(ranges_of(study, narrowed, space, number))
        done = [trial for trial in counted(study) if trial.user_attrs.get("round", 0) == number]
        if len(done) < size:
            return number, narrowed, size - len(done)
    return len(sizes) - 1, narrowed, 0


def ranges_of(study: optuna.Study, before: Space, asked: Space, number: int) -> dict[str, list[float]]:
    """Return the ranges of a round, which are chosen when it begins."""
    key = KEY.format(number)
    if key not in study.user_attrs:
        trials = [trial for trial in counted(study) if trial.user_attrs.get("round", 0) == number - 1]
        study.set_user_attr(key, narrowed(before, asked, better_first(study, trials), number))
    ranges: dict[str, list[float]] = study.user_attrs[key]
    return ranges


def narrowed(before: Space, asked: Space, best_first: Sequence[FrozenTrial], number: int) -> dict[str, list[float]]:
    """Narrow every numeric range to the best fifth of a round's trials; move it beyond a border that the best is on."""
    ranges = {name: list(d.bounds) for name, d in before.dimensions.items() if d.numeric}
    best = best_first[: max(1, math.ceil(BEST * len(best_first)))] if best_first else []
    if not best:
        print(f"round {number + 1}: no trial has a result, so the ranges stay the same")
        return ranges
    for name in ranges:
        dimension = before.dimensions[name]
        positions = [dimension.position(trial.params[name]) for trial in best]
        low, high = max(0.0, min(positions) - MARGIN), min(1.0, max(positions) + MARGIN)
        side = border(dimension, best[0].params[name])
        if side:
            middle = positions[0]
            low, high = middle - (high - low) / 2, middle + (high - low) / 2
        ranges[name] = within_reason(dimension, asked.dimensions[name], low, high)
        shown = " to ".join(f"{end:.3g}" for end in ranges[name])
        reason = f"; the best, {best[0].params[name]:.3g}, was on the {side} border" if side else ""
        print(f"round {number + 1}: {name} from {shown}{reason}")
    return ranges


def border(dimension: Dimension, value: Any) -> str:
    """Return `lower` or `upper` if a value is at an end of its range, else an empty text."""
    low, high = dimension.bounds
    position = dimension.position(value)
    if low == high:
        return ""
    if value <= low or position < BORDER:
        return "lower"
    return "upper" if value >= high or position > 1 - BORDER else ""


def within_reason(dimension: Dimension, asked: Dimension, low: float, high: float) -> list[float]:
    """Return the values at two positions, but at least 0, or from 0 to 1, if that held for the original range."""
    ends = [dimension.at(low), dimension.at(high)]
    least, most = asked.bounds
    if isinstance(dimension.distribution, IntDistribution):
        ends = [math.floor(ends[0]), max(math.ceil(ends[1]), math.floor(ends[0]) + 1)]
        ends[0] = max(ends[0], 1 if least >= 1 else 0 if least >= 0 else ends[0])
    elif not dimension.log:
        if least >= 0:
            ends[0] = max(ends[0], 0.0)
        if least >= 0 and most == 1:
            ends[1] = min(ends[1], 1.0)
    if isinstance(dimension.distribution, IntDistribution):
        return [int(end) for end in ends]
    return [float(f"{end:.4g}") for end in ends]
