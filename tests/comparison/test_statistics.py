"""Estimates, differences, corrections and places: parity with scipy and statsmodels, and how often they err."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from experiments.comparison import statistics
from experiments.comparison.statistics import (
    Estimate,
    Reached,
    difference,
    estimate,
    holm,
    places,
    reached,
    resolution_of,
    seeds_needed,
    t_test,
)
from tests.comparison.rates import assert_at_most_5_percent

REPLICATIONS = 1500
"""Families a simulation draws; the standard error of a rate of 5 % is then 0.6 %."""
FINITE = st.floats(-1e3, 1e3, allow_subnormal=False)
Draw = Callable[[np.random.Generator], NDArray[np.float64]]


def group(values: Sequence[float] | NDArray[np.float64], start: int = 0) -> dict[int, float]:
    """Values with seeds from `start` on."""
    return {start + i: float(value) for i, value in enumerate(values)}


def accuracies(groups: int, seeds: int, examples: int = 360, accuracy: float = 0.95, shared: float = 0.3) -> Draw:
    """Groups of one true accuracy: binomial counts, with a seed's split common to all and a run's own luck.

    The draws have shape (groups, seeds).
    """
    logit = math.log(accuracy / (1 - accuracy))

    def draw(generator: np.random.Generator) -> NDArray[np.float64]:
        luck = generator.normal(0, shared, seeds) + generator.normal(0, shared, (groups, seeds))
        return generator.binomial(examples, 1 / (1 + np.exp(-logit - luck))) / examples

    return draw


def normal(groups: int, seeds: int) -> Draw:
    """Groups of normal values, with a seed effect that all share."""
    return lambda generator: generator.normal(0, 1, (groups, seeds)) + generator.normal(0, 2, seeds)


# --- estimates


@pytest.mark.parametrize("n", [2, 3, 8])
def test_an_interval_equals_students(n: int) -> None:
    values = np.random.default_rng(n).normal(3, 2, n)
    found = estimate(list(values), level=0.9)
    expected = stats.t.interval(0.9, n - 1, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-10)
    assert (found.n, found.mean, found.std) == (n, pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))


def test_one_value_has_no_interval() -> None:
    assert estimate([0.5]) == Estimate(1, 0.5, None, None, None)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_estimate_without_runs_or_with_diverged_ones(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least one|finite"):
        estimate(values)


def test_equal_accuracies_are_not_infinitely_certain() -> None:
    assert estimate([0.9, 0.9, 0.9]).low is None
    found = estimate([0.9, 0.9, 0.9], resolution=0.1)
    assert found.std == 0
    assert found.low is not None
    assert 0.9 - found.low == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(36))


# --- differences


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
def test_pairs_are_tested_as_scipy_does(n: int) -> None:
    a, b = np.random.default_rng(n).normal(0.3, 1, (2, n))
    found = difference(group(a), {**group(b), 99: 5.0})
    assert found is not None
    expected = stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    assert found.paired
    assert found.n == n
    assert found.t_p == pytest.approx(expected.pvalue, abs=1e-10)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-10)
    assert found.std == pytest.approx((a - b).std(ddof=1))
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue, abs=1e-10)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_groups_without_common_seeds_are_tested_by_welch(n: int) -> None:
    generator = np.random.default_rng(n)
    a, b = generator.normal(0, 1, n), generator.normal(0.5, 4, n)
    found = difference(group(a), group(b, start=n - 1))  # one seed in common is no pair to compare
    assert found is not None
    expected = stats.ttest_ind(a, b, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert not found.paired
    assert found.t_p == pytest.approx(expected.pvalue, abs=1e-10)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-10)
    assert found.wilcoxon_p == pytest.approx(stats.mannwhitneyu(a, b, method="exact").pvalue, abs=1e-10)


def test_groups_of_different_sizes_have_the_smaller_ones_freedom() -> None:
    a, b = np.random.default_rng(0).normal(0, 1, 3), np.random.default_rng(1).normal(1, 1, 9)
    found = difference(group(a), group(b, start=10))
    assert found is not None
    statistic = stats.ttest_ind(a, b, equal_var=False).statistic
    assert found.t_p == pytest.approx(2 * stats.t.sf(abs(statistic), 2), abs=1e-10)
    assert found.wilcoxon_p == pytest.approx(stats.mannwhitneyu(a, b, method="exact").pvalue, abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_with_ties_and_zeros_are_counted_over_all_signs(seed: int) -> None:
    d = np.random.default_rng(seed).integers(-3, 5, 9) / 360
    found = difference(group(d), group(np.zeros(9)), resolution=1 / 360)
    kept = d[d != 0]
    ranks = stats.rankdata(np.abs(kept))
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=len(kept))
    ]
    own = ranks[kept > 0].sum()
    tails = np.mean(np.array(sums) <= own), np.mean(np.array(sums) >= own)
    assert found is not None
    assert found.wilcoxon_p == pytest.approx(min(1.0, 2 * min(tails)), abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_of_groups_with_ties_are_counted_over_all_deals(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 4, 9) / 360
    found = difference(group(values[:4]), group(values[4:], start=4), resolution=1 / 360)
    ranks = stats.rankdata(values)
    sums = np.array([ranks[list(deal)].sum() for deal in itertools.combinations(range(9), 4)])
    tails = np.mean(sums <= ranks[:4].sum()), np.mean(sums >= ranks[:4].sum())
    assert found is not None
    assert found.wilcoxon_p == pytest.approx(min(1.0, 2 * min(tails)), abs=1e-10)


STEP = 1 / 180
SPREADLESS = [
    ([0.9 + STEP, 0.8 + STEP], [0.9, 0.8], STEP, 2 * stats.t.sf(math.sqrt(12), 1)),  # equal by coincidence: 0.18
    ([0.9, 0.8], [0.9, 0.8], STEP, 1.0),
    ([0.9, 0.8], [0.9, 0.8], 0.0, 1.0),
    ([0.9 + STEP, 0.8 + STEP], [0.9, 0.8], 0.0, 1 / 2),  # the chance of equal signs
    ([1.1, 2.1, 3.1, 4.1, 5.1], [1.0, 2.0, 3.0, 4.0, 5.0], 0.0, 1 / 16),
]


@pytest.mark.parametrize(("first", "second", "resolution", "p"), SPREADLESS)
def test_equal_differences_are_not_infinitely_certain(
    first: list[float], second: list[float], resolution: float, p: float
) -> None:
    found = difference(group(first), group(second), resolution)
    assert found is not None
    assert found.t_p == pytest.approx(p, abs=1e-10)
    assert (found.low is None) == (resolution == 0)


def test_constant_groups_without_common_seeds_count_the_deals() -> None:
    found = difference(group([1.0, 1.0, 1.0]), group([2.0, 2.0, 2.0], start=3))
    assert found is not None
    assert found.t_p == pytest.approx(2 / 20)
    assert found.low is None


def test_too_few_runs_have_no_difference() -> None:
    assert difference({0: 1.0}, {0: 2.0}) is None
    assert difference({0: 1.0, 1: 2.0}, {5: 2.0}) is None
    assert difference({}, {}) is None


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 6), FINITE, max_size=6),
    st.dictionaries(st.integers(0, 6), FINITE, max_size=6),
    st.sampled_from([0.0, 0.01, 1.0]),
)
def test_a_difference_turns_round_with_its_groups(first: dict[int, float], second: dict[int, float], r: float) -> None:
    one, other = difference(first, second, r), difference(second, first, r)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.mean == -other.mean
        assert (one.t_p, one.wilcoxon_p, one.std) == pytest.approx((other.t_p, other.wilcoxon_p, other.std))
        assert 0 <= one.t_p <= 1
        assert 0 < one.wilcoxon_p <= 1
        if one.low is not None and other.high is not None:
            assert one.low == pytest.approx(-other.high)


# --- corrections and seeds


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=20))
def test_corrected_p_values_keep_their_order_and_are_not_smaller(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(raw <= new <= 1 for raw, new in zip(p_values, corrected, strict=True))
    ordered = [corrected[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])]
    assert ordered == sorted(ordered)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_correction_equals_holms(n: int) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(n).random(n) ** 4
    assert holm(list(p_values)) == pytest.approx(list(multitest.multipletests(p_values, method="holm")[1]), abs=1e-10)


@pytest.mark.parametrize("size", [0.15, 0.4, 0.8, 1.3, 2.1])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 28])
@pytest.mark.parametrize("paired", [True, False])
def test_the_seeds_needed_are_those_of_the_power_of_a_t_test(size: float, alpha: float, paired: bool) -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    test = power.TTestPower() if paired else power.TTestIndPower()
    expected = math.ceil(test.solve_power(effect_size=size, alpha=alpha, power=0.8))
    found = seeds_needed(-3 * size, 3, alpha, paired=paired, most=5000)
    assert found == max(2, expected)


def test_no_number_of_seeds_is_enough_for_no_difference() -> None:
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(0.01, 1.0) is None
    assert seeds_needed(1.0, 0.0) == 2
    assert seeds_needed(1e6, 1e-6) == 2
    assert seeds_needed(1e6, 1.0, alpha=1e-9) is not None


@pytest.mark.slow
@settings(deadline=None)
@given(st.floats(1e-6, 1e6), st.sampled_from([0.05, 1e-3, 1e-9]), st.booleans())
def test_more_seeds_have_more_power(size: float, alpha: float, paired: bool) -> None:
    found = [statistics.power_of(size, n, alpha, paired=paired) for n in range(2, 30)]
    assert all(0 <= power <= 1 + 1e-9 for power in found)
    assert np.all(np.diff(found) > -1e-6)


@pytest.mark.parametrize(("size", "n"), [(0.2, 40), (0.5, 10), (1.0, 4), (3.0, 3), (0.05, 900)])
def test_power_is_that_of_the_noncentral_t(size: float, n: int) -> None:
    critical, shift = stats.t.ppf(0.975, n - 1), size * math.sqrt(n)
    expected = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert statistics.power_of(size, n, 0.05, paired=True) == pytest.approx(expected, abs=1e-10)


# --- resolution and targets


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0.0),
        ([0.9, 0.9], 0.0),
        ([0.9, 0.9 + 1e-9], 0.0),
        ([k / 360 for k in (340, 351, 342, 342)], 2 / 360),
        ([float(np.float32(k / 360)) for k in (340, 341, 350)] + [340 / 360], 1 / 360),
    ],
)
def test_the_resolution_is_the_smallest_gap(values: list[float], expected: float) -> None:
    assert resolution_of(values) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], Reached(0, 0, None)),
        ([3, 1, 2], Reached(3, 3, 2)),
        ([3, 1, None], Reached(3, 2, 3)),
        ([1, None, None], Reached(3, 1, None)),
        ([1, 2, 4, None], Reached(4, 3, 3)),
        ([1, 2, None, None], Reached(4, 2, None)),
        ([None], Reached(1, 0, None)),
    ],
)
def test_a_target_that_is_not_reached_is_later_than_all(times: list[float | None], expected: Reached) -> None:
    assert reached(times) == expected


# --- places


def test_places_count_the_groups_that_are_shown_to_be_better() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (5, 6))
    groups = [group(mean + noise[i]) for i, mean in enumerate([0.5, 0.9, 0.9, 0.1])]
    assert places([*groups, {0: 0.7}, {}], larger_is_better=True) == [3, 1, 1, 4, None, None]
    assert places([*groups, {0: 0.7}, {}], larger_is_better=False) == [2, 3, 3, 1, None, None]
    assert places([], larger_is_better=True) == []
    assert places([groups[0]], larger_is_better=True) == [None]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 20), min_size=0, max_size=5), max_size=6), st.randoms(use_true_random=False))
def test_places_do_not_depend_on_the_order(values: list[list[int]], shuffler: random.Random) -> None:
    groups = [group([value / 20 for value in own]) for own in values]
    found = places(groups, larger_is_better=True, resolution=0.05)
    order = list(range(len(groups)))
    shuffler.shuffle(order)
    assert places([groups[i] for i in order], True, 0.05) == [found[i] for i in order]
    assert all(place is None or 1 <= place <= len(groups) for place in found)


# --- how often they err


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 8])
@pytest.mark.parametrize("kind", ["normal", "accuracies"])
def test_intervals_contain_the_true_value_as_often_as_promised(n: int, kind: str) -> None:
    generator = np.random.default_rng(n)
    draw, step = (normal(2, n), 0.0) if kind == "normal" else (accuracies(2, n), 1 / 360)
    truth = float(np.mean([draw(generator).mean() for _ in range(5000)])) if step else 0.0
    means, differences = [], []
    for _ in range(2 * REPLICATIONS):
        first, second = draw(generator)
        own, both = estimate(list(first), resolution=step), difference(group(first), group(second), step)
        assert own.low is not None
        assert own.high is not None
        assert both is not None
        assert both.low is not None
        assert both.high is not None
        means.append(own.low <= truth <= own.high)
        differences.append(both.low <= 0 <= both.high)
    print(f"coverage {kind} n={n}: mean {np.mean(means):.4f}, difference {np.mean(differences):.4f}")
    assert 0.93 <= np.mean(means) <= 0.97
    assert 0.93 <= np.mean(differences) <= 0.97


FAMILIES: list[tuple[Draw, float]] = [
    (normal(8, 3), 0.0),
    (accuracies(8, 2), 1 / 360),
    (accuracies(8, 3), 1 / 360),
    (accuracies(8, 2, examples=30), 1 / 30),
    (accuracies(8, 3, examples=30), 1 / 30),
    (accuracies(8, 5, examples=30), 1 / 30),
]
FAMILY_NAMES = ["normal n=3", "360 n=2", "360 n=3", "30 n=2", "30 n=3", "30 n=5"]


def against_baseline(draw: Draw, step: float, start: int = 0) -> list[list[float]]:
    """The p values of groups that are all equal against the first of them; seeds are shared where `start` is 0."""
    generator = np.random.default_rng(1)
    families = []
    for _ in range(REPLICATIONS):
        baseline, *others = (group(values, start * i) for i, values in enumerate(draw(generator)))
        tests = [t_test(other, baseline, step) for other in others]
        families.append([test.p for test in tests if test is not None])
    return families


@pytest.mark.parametrize(("draw", "step"), FAMILIES, ids=FAMILY_NAMES)
@pytest.mark.parametrize("start", [0, 100], ids=["paired", "unpaired"])
def test_a_family_of_comparisons_has_5_percent_false_alarms(draw: Draw, step: float, start: int) -> None:
    families = against_baseline(draw, step, start)
    assert_at_most_5_percent([min(holm(ps)) < 0.05 for ps in families])


def test_without_the_correction_there_are_more() -> None:
    families = against_baseline(*FAMILIES[0])
    with pytest.raises(AssertionError):
        assert_at_most_5_percent([min(ps) < 0.05 for ps in families])


def test_without_allowing_for_rounding_there_are_more() -> None:
    generator, draw = np.random.default_rng(1), FAMILIES[3][0]
    alarms = []
    for _ in range(REPLICATIONS):
        d = (lambda values: np.rint(30 * (values[1:] - values[0])))(draw(generator))
        ps = [0.0 if one.std() == 0 and one.any() else 1.0 for one in d]  # what a t-test says of equal differences
        alarms.append(min(holm(ps)) < 0.05)
    with pytest.raises(AssertionError):
        assert_at_most_5_percent(alarms)


PLACED = [(normal(5, 3), 0.0), (accuracies(5, 3), 1 / 360), (accuracies(5, 2, examples=30), 1 / 30)]


@pytest.mark.parametrize(("draw", "step"), PLACED, ids=["normal n=3", "360 n=3", "30 n=2"])
def test_equal_groups_all_have_the_first_place(draw: Draw, step: float) -> None:
    assert_at_most_5_percent(misplaced(draw, step))


def test_without_the_correction_they_have_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "holm", list)
    with pytest.raises(AssertionError):
        assert_at_most_5_percent(misplaced(*PLACED[0]))


def misplaced(draw: Draw, step: float) -> list[bool]:
    """Whether equal groups are given different places."""
    generator = np.random.default_rng(2)
    families = ([group(values) for values in draw(generator)] for _ in range(REPLICATIONS))
    return [set(places(family, larger_is_better=True, resolution=step)) != {1} for family in families]


def test_groups_of_different_sizes_have_5_percent_false_alarms() -> None:
    generator = np.random.default_rng(3)
    alarms = []
    for _ in range(REPLICATIONS):
        test = t_test(group(generator.normal(0, 2, 3)), group(generator.normal(0, 1, 9), start=10))
        assert test is not None
        alarms.append(test.p < 0.05)
    assert_at_most_5_percent(alarms)
