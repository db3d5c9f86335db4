"""Statistics on the values of a few seeds: estimates, differences, corrections, places.

Runs that differ only in their seed are a group; a group's values are a mapping from seed to value. Two runs with the
same seed share the split and the draw behind the initial weights, so groups are compared seed by seed if possible.

An accuracy moves in steps of 1 / (number of examples), its `resolution`. A few values may then be equal by
coincidence, and their standard deviation of 0 suggests that chance has no part in them. Rounding to a step r alone
causes an error of variance r^2 / 12 (uniform over r; Widrow and Kollar, Quantization Noise, 2008, chapter 1), and
r^2 / 6 for a difference of two values. This is added to the observed variance. The larger of the two instead of the
sum was tried: with four pairs whose differences spread over one or two steps it gave 1.5 times the false alarms that
it should.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chdtri, stdtr, stdtrit

SeedValues = Mapping[Any, float]
"""The value of each seed, of runs that differ only in the seed."""

NOISE = 1e-12
"""Relative to the largest value: a smaller difference is floating-point noise."""
FLOAT32 = 1e-6
"""Relative to the largest value: a smaller gap may be noise of single precision, in which metrics are computed."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Args:
        n: the number of values.
        mean: of the values.
        std: their sample standard deviation; None for one value.
        low: the lower end of the mean's confidence interval; None if there is no spread.
        high: its upper end.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """The difference of two groups' means.

    Args:
        n: the number of pairs; without pairs, the number of runs of the smaller group.
        mean: first minus second.
        std: of the pairs' differences, with the variance of rounding; without pairs, the root mean square of the two
            groups' standard deviations. `seeds_needed` takes this value.
        low: the lower end of the difference's confidence interval; None if there is no spread.
        high: its upper end.
        t_p: the p value of the paired t-test, or of Welch's.
        wilcoxon_p: that of Wilcoxon's signed-rank test, or of Mann and Whitney's: exact, conditional on ties.
        paired: whether the values were compared seed by seed.
    """

    n: int
    mean: float
    std: float
    low: float | None
    high: float | None
    t_p: float
    wilcoxon_p: float
    paired: bool


@dataclass(frozen=True)
class Reached:
    """How soon the runs of a group reach a target.

    Args:
        n: the number of runs.
        reached: the number of runs that reach it.
        median: of the times of all runs; None if half of them or more have not reached it.
    """

    n: int
    reached: int
    median: float | None


@dataclass(frozen=True)
class TTest:
    """A difference of means with its standard error, degrees of freedom and p value."""

    n: int
    mean: float
    std: float
    error: float
    freedom: float
    p: float
    paired: bool


def estimate(values: Sequence[float], level: float = 0.95, resolution: float = 0.0) -> Estimate:
    """Return the mean of some values with Student's interval.

    Args:
        values: one per seed.
        level: how often such an interval contains the true mean.
        resolution: the step between adjacent possible values; 0 for a continuous metric.

    Raises:
        ValueError: if there is no value, or one that is not finite.
    """
    refuse_infinite(values)
    if not values:
        raise ValueError("a mean needs at least one value")
    mean, n = mean_of(values), len(values)
    if n == 1:
        return Estimate(1, mean, None, None, None)
    std = std_of(values)
    low, high = interval(mean, math.hypot(std, resolution / math.sqrt(12)) / math.sqrt(n), n - 1, level)
    return Estimate(n, mean, std, low, high)


def difference(
    first: SeedValues, second: SeedValues, resolution: float = 0.0, level: float = 0.95, luck: float = 0.0
) -> Difference | None:
    """Return the first group's mean minus the second's, with its tests; None if there are too few runs.

    The test is paired over the common seeds if there are two or more of them, and leaves out runs without a partner.
    Otherwise it is Welch's, if both groups have two runs or more.

    If the spread is exactly 0 and no resolution is given, a t-test would be infinitely certain after two runs. The p
    value is then the chance that all signs are equal: 2 / 2^n for n pairs, and 2 / C(n + m, n) for groups of n and m
    equal values each. There is no interval in this case.

    Args:
        first: value by seed.
        second: value by seed.
        resolution: the step between adjacent possible values; 0 for a continuous metric.
        level: of the interval.
        luck: a standard deviation of the difference that more seeds do not reduce, see `_fair.luck_of`.

    Raises:
        ValueError: if a value is not finite.
    """
    test = t_test(first, second, resolution, luck)
    if test is None:
        return None
    low, high = interval(test.mean, test.error, test.freedom, level)
    rank_p = signed_rank(first, second, resolution) if test.paired else rank_sum(first, second, resolution)
    return Difference(test.n, test.mean, test.std, low, high, test.p, rank_p, test.paired)


def t_test(first: SeedValues, second: SeedValues, resolution: float = 0.0, luck: float = 0.0) -> TTest | None:
    """Return the t-test that suits two groups: paired, Welch's, or None; `luck` is that of `difference`.

    Args:
        first, second, resolution, luck: see `difference`.

    Raises:
        ValueError: a value is not finite.
    """
    refuse_infinite([*first.values(), *second.values()])
    common = common_seeds(first, second)
    if len(common) >= 2:
        return paired_test(first, second, common, resolution, luck)
    if min(len(first), len(second)) >= 2:
        return welch_test(list(first.values()), list(second.values()), resolution, luck)
    return None


def paired_test(
    first: SeedValues, second: SeedValues, common: Sequence[Hashable], resolution: float, luck: float = 0.0
) -> TTest:
    """Return Student's test of the differences' mean (Student 1908).

    Args:
        first, second, resolution, luck: see `difference`.
        common: the seeds of the pairs, two or more.
    """
    n = len(common)
    differences = [first[seed] - second[seed] for seed in common]
    noise = NOISE * scale_of([*first.values(), *second.values()])
    mean = 0.0 if abs(mean_of(differences)) <= noise else mean_of(differences)
    std = math.hypot(clean_std(differences, noise), resolution / math.sqrt(6))
    return judged(n, mean, std, math.hypot(std / math.sqrt(n), luck), n - 1, 2.0 / 2.0**n, paired=True)


def welch_test(first: Sequence[float], second: Sequence[float], resolution: float, luck: float = 0.0) -> TTest:
    """Return Welch's test of two means, whose variances may differ (Welch 1947).

    Welch's degrees of freedom are too many for a small group next to a large one: two runs against eight gave 9 %
    false alarms instead of 5 %, and ten times too many at 0.05 %. For groups of different sizes the degrees of freedom
    are therefore those of the smaller one, with which the test is never too certain, whatever the variances (Mickey
    and Brown 1966).

    Args:
        first, second: the values of each group, two or more.
        resolution, luck: see `difference`.
    """
    n, m = len(first), len(second)
    noise = NOISE * scale_of([*first, *second])
    mean = mean_of(first) - mean_of(second)
    mean = 0.0 if abs(mean) <= noise else mean
    rounding = resolution / math.sqrt(12)
    one, two = (math.hypot(clean_std(values, noise), rounding) for values in (first, second))
    error = math.hypot(one / math.sqrt(n), two / math.sqrt(m))
    share = (one / error) ** 2 / n if error > 0 else 0.5
    freedom = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1)) if n == m else min(n, m) - 1
    std = math.hypot(one, two) / math.sqrt(2)
    return judged(min(n, m), mean, std, math.hypot(error, luck), freedom, 2 / math.comb(n + m, n), paired=False)


def judged(n: int, mean: float, std: float, error: float, freedom: float, same_signs: float, *, paired: bool) -> TTest:
    """Return a t-test with its two-sided p value; without spread, the chance that all signs are the same.

    Args:
        n, mean, std, paired: see `Difference`.
        error: the standard error of the mean.
        freedom: the degrees of freedom of Student's distribution.
        same_signs: the chance that all signs are the same, for values without spread.
    """
    if mean == 0:
        p = 1.0
    elif error == 0:
        p = min(1.0, same_signs)
    else:
        p = 2 * float(stdtr(freedom, -abs(mean) / error))
    return TTest(n, mean, std, error, freedom, p, paired)


def interval(mean: float, error: float, freedom: float, level: float) -> tuple[float | None, float | None]:
    """Return Student's interval about a mean; (None, None) without a spread.

    Args:
        mean: the middle of the interval.
        error: its standard error.
        freedom: the degrees of freedom of Student's distribution.
        level: how often such an interval contains the true mean, such as 0.95.
    """
    if error == 0:
        return None, None
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return mean - half, mean + half


def signed_rank(first: SeedValues, second: SeedValues, resolution: float = 0.0) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test (Wilcoxon 1945), over all 2^n signs.

    Differences of zero are left out, as in Wilcoxon's paper; ties share the mean of their ranks, and the distribution
    is that of exactly these ranks.

    Args:
        first, second, resolution: see `difference`; seeds without a partner are left out.
    """
    common = common_seeds(first, second)
    step = tie_step([*first.values(), *second.values()], resolution)
    differences = stepped([first[seed] - second[seed] for seed in common], step)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    ranks = doubled_ranks(np.abs(differences))
    chances = np.zeros(ranks.sum() + 1)
    chances[0] = 1.0
    for rank in ranks:
        with_rank = chances[:-rank] / 2
        chances /= 2
        chances[rank:] += with_rank
    return two_sided(chances, int(ranks[differences > 0].sum()))


def rank_sum(first: SeedValues, second: SeedValues, resolution: float = 0.0) -> float:
    """Return the two-sided p value of Mann and Whitney's test (1947), over all assignments of the ranks.

    Args:
        first, second, resolution: see `difference`.
    """
    values = [*first.values(), *second.values()]
    ranks, n = doubled_ranks(stepped(values, tie_step(values, resolution))), len(first)
    ways = np.zeros((n + 1, ranks.sum() + 1))
    """The number of ways to choose ranks, by their number (rows) and their sum (columns)."""
    ways[0, 0] = 1.0
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, :-rank].copy()
    return two_sided(ways[n] / ways[n].sum(), int(ranks[:n].sum()))


def two_sided(chances: NDArray[np.float64], found: int) -> float:
    """Return twice the chance of the smaller tail, of a distribution over 0, 1, 2, ...

    Args:
        chances: (outcomes,), of each outcome.
        found: the observed outcome.
    """
    return min(1.0, 2 * float(min(chances[: found + 1].sum(), chances[found:].sum())))


def doubled_ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return twice the ranks, ties sharing the mean of theirs: whole numbers.

    Args:
        values: (values,); the ranks have the same shape.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (2 * np.cumsum(counts) - counts + 1)[inverse]


def tie_step(values: Iterable[float], resolution: float) -> float:
    """Return the step within which values are ties: a quarter of the resolution, as files round values too."""
    return resolution / 4 or NOISE * scale_of(values)


def stepped(values: Iterable[float], step: float) -> NDArray[np.float64]:
    """Return values in steps, rounded to whole numbers, (values,); for a step of 0 the values as they are."""
    found = np.fromiter(values, float)
    return np.rint(found / step) if step > 0 else found


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, by Holm's step-down method (Holm 1979).

    If claims are made below 5 % after it, the chance of one or more false alarms in the whole family is at most 5 %,
    however the tests depend on each other.
    """
    m, highest = len(p_values), 0.0
    corrected = [0.0] * m
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (m - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def seeds_needed(
    mean: float, std: float, alpha: float = 0.05, power: float = 0.8, paired: bool = True, most: int = 1000
) -> int | None:
    """Return how many seeds a group needs for a difference of this size to be shown; None if that is over `most`.

    The power is that of the two-sided t-test, from the noncentral t distribution (Cohen 1988, chapter 2), if the
    difference and the spread are the true ones.

    Args:
        mean: the difference.
        std: an upper limit, see `upper_std`, of the standard deviation of the
            differences of pairs; without pairs, of the values of a group.
        alpha: the level of the test; divide it by the number of comparisons to correct for them.
        power: the chance of showing the difference.
        paired: whether groups share their seeds.
        most: the largest answer; beyond it the answer is None.
    """
    if mean == 0:
        return None
    if std == 0:
        return 2
    size = min(abs(mean) / std, 1e9)
    needed = bisect_left(range(2, most + 1), power, key=lambda n: power_of(size, n, alpha, paired=paired)) + 2
    return needed if needed <= most else None


def upper_std(std: float, n: int, confidence: float = 0.9) -> float:
    """Return the upper confidence limit of a standard deviation, from the chi-squared distribution.

    The spread of a few seeds is often far too small by chance. With it, a number of seeds for a power of 80 % has a
    power of 50 to 78 % on average; with this limit it is at least 90 % (Browne 1995; `benchmarks fairness`).

    Args:
        std: of the sample.
        n: the number of values.
        confidence: the chance that the limit is above the true standard deviation of normal values.
    """
    return std * math.sqrt((n - 1) / float(chdtri(n - 1, confidence)))


def power_of(size: float, n: int, alpha: float, *, paired: bool) -> float:
    """Return the chance that a two-sided t-test shows a difference of `size` standard deviations with n seeds.

    |Z + shift| / sqrt(X / freedom), Z normal and X chi-squared, is above the critical value if X is below
    freedom (Z + shift)^2 / critical^2: the mean of that chance over Z, by the trapezoid rule. (scipy's distribution
    functions of the noncentral t return no number for some arguments.)

    Args:
        size: the difference, in standard deviations of the pairs' differences; without pairs, of the values of a group.
        n: the number of pairs, or of runs of each group.
        alpha: the level of the test.
        paired: whether groups share their seeds.
    """
    freedom, shift = (n - 1, size * math.sqrt(n)) if paired else (2 * n - 2, size * math.sqrt(n / 2))
    critical = float(stdtrit(freedom, 1 - alpha / 2))
    z = np.linspace(-9, 9, 1001)
    weights = np.exp(-(z**2) / 2)
    return float(weights @ chdtr(freedom, freedom * ((z + shift) / critical) ** 2) / weights.sum())


def resolution_of(values: Iterable[float]) -> float:
    """Return the smallest gap between distinct values; 0 if there are fewer than two.

    If the values have a true step, the gap is never below it, so everything that uses it errs on the side of caution.
    """
    ordered = sorted(values)
    noise = FLOAT32 * scale_of(ordered)
    return min((high - low for low, high in pairwise(ordered) if high - low > noise), default=0.0)


def reached(times: Sequence[float | None]) -> Reached:
    """Return the number of runs that reach a target, and the median time over all runs.

    A run that does not reach it (None) counts as later than all others: without it, failures would make a group look
    better.
    """
    ordered = sorted(math.inf if time is None else time for time in times)
    n = len(ordered)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2 if n else math.inf
    count = sum(math.isfinite(time) for time in ordered)
    return Reached(n, count, median if math.isfinite(median) else None)


@dataclass(frozen=True)
class PairTests:
    """The tests of all pairs of groups.

    Args:
        tested: the groups that have at least one test: a group of one run has none.
        shown: the pairs that are told apart, the better group first.
    """

    tested: frozenset[int]
    shown: frozenset[tuple[int, int]]


def pair_tests(
    values: Sequence[SeedValues],
    larger_is_better: bool,
    resolution: float = 0.0,
    alpha: float = 0.05,
    lucks: Sequence[float] = (),
) -> PairTests:
    """Test all pairs of groups together: if all groups are equal, the chance of any claim is at most alpha.

    Args:
        values: of each group, by seed.
        larger_is_better: the direction of the metric.
        resolution: the step between adjacent possible values; 0 for a continuous metric.
        alpha: the chance of a false claim.
        lucks: of each group, see `difference`; empty for none.
    """
    lucks = lucks or [0.0] * len(values)
    tests = {
        (i, j): test
        for i, j in combinations(range(len(values)), 2)
        if (test := t_test(values[i], values[j], resolution, math.hypot(lucks[i], lucks[j]))) is not None
    }
    corrected = holm([test.p for test in tests.values()])
    shown = {
        (i, j) if (test.mean > 0) == larger_is_better else (j, i)
        for ((i, j), test), p in zip(tests.items(), corrected, strict=True)
        if p < alpha
    }
    return PairTests(frozenset(group for pair in tests for group in pair), frozenset(shown))


def places(
    values: Sequence[SeedValues], larger_is_better: bool, resolution: float = 0.0, alpha: float = 0.05
) -> list[int | None]:
    """Return each group's place: 1 + the number of groups that are shown to be better; see `pair_tests`.

    'Not shown to be better' is not 'equal', and it is not transitive: B may have the place of A and that of C although
    A is shown to be better than C. The letters of a compact letter display show which groups are told apart.

    Args:
        values, larger_is_better, resolution, alpha: see `pair_tests`.

    Returns:
        A place for each group; None for a group that cannot be compared with any other, as it has fewer than two runs.
    """
    tests = pair_tests(values, larger_is_better, resolution, alpha)
    return [1 + sum(worse == i for _, worse in tests.shown) if i in tests.tested else None for i in range(len(values))]


def smallest_rank_p(n: int, other: int | None = None) -> float:
    """Return the smallest p value that a test on ranks can have: Wilcoxon's of n pairs, or Mann and Whitney's.

    Args:
        n: pairs, or runs of the smaller group.
        other: runs of the other group; None for pairs.
    """
    return 2 / 2**n if other is None else 2 / math.comb(n + other, n)


def common_seeds(first: SeedValues, second: SeedValues) -> list[Hashable]:
    """Return the seeds that both groups have."""
    return [seed for seed in first if seed in second]


def mean_of(values: Sequence[float]) -> float:
    """Return the mean, the same to the last bit in any order of the values."""
    return math.fsum(values) / len(values)


def std_of(values: Sequence[float]) -> float:
    """Return the sample standard deviation."""
    mean = mean_of(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def clean_std(values: Sequence[float], noise: float) -> float:
    """Return the sample standard deviation, 0 if the values differ by no more than floating-point noise."""
    return 0.0 if max(values) - min(values) <= noise else std_of(values)


def scale_of(values: Iterable[float]) -> float:
    """Return the largest magnitude."""
    return max((abs(value) for value in values), default=0.0)


def chance(p: float | None, level: float = 0.05) -> str:
    """Return a p value for people, with the digits that show on which side of the level it is.

    Args:
        p: the p value; None is a dash.
        level: below which a claim is made.
    """
    if p is None:
        return "-"
    if p < level <= float(f"{p:.3f}"):  # rounded, it would be on the other side of the level
        return next((text for digits in (4, 5) if float(text := f"{p:.{digits}f}") < level), f"< {level:g}")
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def refuse_infinite(values: Iterable[float]) -> None:
    """Refuse a value that is not finite: a run that diverged has no value.

    Raises:
        ValueError: one is not finite.
    """
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"values must be finite, but one is {value}; leave such runs out")
