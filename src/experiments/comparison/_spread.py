"""Groups whose runs do not spread as a normal distribution does, such as runs that sometimes collapse."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

from .statistics import NOISE, SeedValues, scale_of

LIMITS = {
    3: 223.0, 4: 22.7, 5: 26.9, 6: 12.8, 7: 13.8, 8: 9.7, 9: 9.8, 10: 8.1, 12: 7.3, 15: 6.8, 20: 5.8, 30: 5.2, 50: 4.7,
}  # fmt: skip
"""By the number of runs: the distance from the median, in normalised median absolute deviations, that the farthest of
as many normal values exceeds in one of 200 groups (simulated)."""
NORMAL = 1.4826
"""The standard deviation of a normal distribution, in median absolute deviations."""
LEVEL = 0.95


@dataclass(frozen=True)
class OddSpread:
    """The spread of a group that is not normal.

    Args:
        outliers: the runs that are too far from the median, the farthest first.
        median: of all runs.
        low, high: its interval from order statistics, which holds for any distribution; None for fewer than 6 runs.
        coverage: the chance that such an interval contains the true median; None without an interval.
    """

    outliers: tuple[Hashable, ...]
    median: float
    low: float | None
    high: float | None
    coverage: float | None


def odd_spread(values: SeedValues, resolution: float = 0.0) -> OddSpread | None:
    """Return a group's spread if some of its runs are too far from the others for a normal distribution.

    Distances are measured in median absolute deviations, which a few far runs do not change (Iglewicz and Hoaglin
    1993).

    Args:
        values: by seed.
        resolution: the step between adjacent possible values; 0 for a continuous metric.

    Returns:
        None if the values may be normal, or for fewer than three values.
    """
    if len(values) < min(LIMITS):
        return None
    middle = median(list(values.values()))
    distances = {seed: abs(value - middle) for seed, value in values.items()}
    noise = NOISE * scale_of(values.values())
    unit = max(math.hypot(NORMAL * median(list(distances.values())), resolution / math.sqrt(12)), noise)
    limit = LIMITS[max(n for n in LIMITS if n <= len(values))]
    outliers = [seed for seed, distance in distances.items() if distance > limit * unit]
    if not outliers:
        return None
    low, high, coverage = median_interval(sorted(values.values()))
    return OddSpread(tuple(sorted(outliers, key=lambda seed: -distances[seed])), middle, low, high, coverage)


def median(values: list[float]) -> float:
    """Return the median."""
    ordered, n = sorted(values), len(values)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def median_interval(ordered: list[float]) -> tuple[float | None, float | None, float | None]:
    """Return the shortest interval between order statistics that contains the median with a chance of 95 % or more.

    The chance that the true median is between the k-th smallest and the k-th largest of n values is
    1 - 2 P(X < k), X binomial with n and 1/2, for any continuous distribution (Thompson 1936).

    Args:
        ordered: the values, ascending.

    Returns:
        Both ends and the chance; three times None for fewer than six values.
    """
    n = len(ordered)
    best: tuple[float | None, float | None, float | None] = (None, None, None)
    tail = 0.0
    for k in range(1, n // 2 + 1):
        tail += math.comb(n, k - 1) / 2**n
        if 1 - 2 * tail < LEVEL:
            break
        best = ordered[k - 1], ordered[n - k], 1 - 2 * tail
    return best
