"""Groups that cannot be told apart: the letters of a compact letter display, and ranks over seeds."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from .statistics import SeedValues, doubled_ranks, stepped, tie_step

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
NEMENYI = (
    1.960, 2.344, 2.569, 2.728, 2.850, 2.948, 3.031, 3.102, 3.164, 3.219, 3.268, 3.313, 3.354, 3.391, 3.426, 3.458,
    3.489, 3.517, 3.544,
)  # fmt: skip
"""The 95 % quantile of the studentized range for 2 to 20 groups, over the square root of 2 (Demšar 2006)."""
FEWEST_BLOCKS = 5
"""The fewest seeds for which ranks are drawn: the quantiles are those of many."""


@dataclass(frozen=True)
class Ranks:
    """The groups' mean ranks over the seeds that all of them have.

    Args:
        mean: of each group; 1 is the best.
        blocks: the number of seeds.
        p: of Friedman's test that all groups have the same ranks (Friedman 1937), from the chi-squared distribution.
        critical: the difference of two mean ranks above which Nemenyi's test shows it, at 5 % for all pairs together.
    """

    mean: tuple[float, ...]
    blocks: int
    p: float
    critical: float

    def bars(self) -> list[tuple[int, ...]]:
        """Return the largest sets of groups that the test does not tell apart, each in the order of their ranks."""
        order = sorted(range(len(self.mean)), key=lambda index: self.mean[index])
        if self.p >= 0.05:
            return [tuple(order)]
        found: list[tuple[int, ...]] = []
        for start, first in enumerate(order):
            joined = tuple(index for index in order[start:] if self.mean[index] - self.mean[first] < self.critical)
            if len(joined) > 1 and not any(set(joined) <= set(bar) for bar in found):
                found.append(joined)
        return found


def letters(count: int, different: Collection[tuple[int, int]]) -> list[str] | None:
    """Return the letters of a compact letter display: two groups share a letter if they cannot be told apart.

    The method is 'insert and absorb' (Piepho 2004): each pair that is told apart splits every column of letters that
    contains both.

    Args:
        count: the number of groups, the best first.
        different: the pairs of groups that are told apart.

    Returns:
        The letters of each group; None if more than 26 are needed.
    """
    columns = [frozenset(range(count))]
    for one, other in sorted(different):
        split = [column for column in columns if one in column and other in column]
        kept = [column for column in columns if column not in split]
        for part in (column - {left_out} for column in split for left_out in (one, other)):
            if not any(part <= column for column in kept):
                kept = [column for column in kept if not column <= part] + [part]
        columns = kept
        if len(columns) > 10 * len(ALPHABET):
            return None
    if len(columns) > len(ALPHABET):
        return None
    ordered = sorted(columns, key=sorted)
    return [
        "".join(letter for letter, column in zip(ALPHABET, ordered, strict=False) if i in column) for i in range(count)
    ]


def ranks_of(values: Sequence[SeedValues], larger_is_better: bool, resolution: float = 0.0) -> Ranks | None:
    """Return the mean ranks of some groups; None for fewer than three groups, more than 20, or fewer than five seeds.

    Args:
        values: of each group, by seed.
        larger_is_better: the direction of the metric.
        resolution: the step between adjacent possible values; 0 for a continuous metric.
    """
    k = len(values)
    common: list[Hashable] = [seed for seed in values[0] if all(seed in group for group in values)] if values else []
    n = len(common)
    if not 3 <= k <= len(NEMENYI) + 1 or n < FEWEST_BLOCKS:
        return None
    step = tie_step([value for group in values for value in group.values()], resolution)
    sign = -1.0 if larger_is_better else 1.0
    ranked = np.array([doubled_ranks(stepped([sign * group[seed] for group in values], step)) for seed in common]) / 2
    mean = ranked.mean(0)
    spread = ((ranked - (k + 1) / 2) ** 2).sum() / (n * (k - 1))  # k (k + 1) / 12 without ties
    statistic = n * float(((mean - (k + 1) / 2) ** 2).sum()) / spread if spread > 0 else 0.0
    critical = NEMENYI[k - 2] * math.sqrt(k * (k + 1) / (6 * n))
    return Ranks(tuple(mean.tolist()), n, float(chdtrc(k - 1, statistic)), critical)
