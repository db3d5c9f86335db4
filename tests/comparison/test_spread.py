"""Groups with runs that collapse: they are named, and the median has an interval that holds for them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.comparison._spread import LIMITS, median_interval, odd_spread
from experiments.comparison.statistics import power_of, seeds_needed, upper_std
from tests.comparison.planted import compared, plant, plant_all, rows_of
from tests.helpers import Commands, thinned


@pytest.mark.parametrize("n", [3, 5, 8, 11, 25])
def test_normal_values_are_rarely_called_odd(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.95, 0.01, (1000, n))
    odd = [odd_spread(dict(enumerate(map(float, draw)))) is not None for draw in draws]
    assert np.mean(odd) <= 0.005 + 3 * np.sqrt(0.005 / 1000)


@pytest.mark.parametrize(("n", "collapsed"), [(4, 1), (5, 1), (8, 1), (8, 3), (12, 4)])
def test_runs_that_collapse_are_named(n: int, collapsed: int) -> None:
    values = np.random.default_rng(n).normal(0.96, 0.004, n)
    values[:collapsed] = np.random.default_rng(1).normal(0.11, 0.01, collapsed)
    found = odd_spread(dict(enumerate(map(float, values))))
    assert found is not None
    assert set(found.outliers) == set(range(collapsed))


def test_equal_runs_and_rounded_ones_are_not_odd() -> None:
    assert odd_spread(dict.fromkeys(range(8), 0.9), 1 / 360) is None
    assert odd_spread(dict.fromkeys(range(8), 0.9)) is None
    assert odd_spread({**dict.fromkeys(range(7), 0.9), 7: 0.9 + 1 / 360}, 1 / 360) is None
    assert odd_spread({0: 0.1, 1: 0.9}) is None
    assert min(LIMITS) == 3


@pytest.mark.parametrize("n", [6, 8, 15, 30])
def test_the_interval_of_a_median_covers_it_for_runs_that_collapse(n: int) -> None:
    generator = np.random.default_rng(n)
    draws = np.where(generator.random((2000, n)) < 0.3, 0.1, 0.96) + generator.normal(0, 0.01, (2000, n))
    truth = 0.96 + 0.01 * stats.norm.ppf((0.5 - 0.3) / 0.7)
    covered = []
    for draw in np.sort(draws):
        low, high, coverage = median_interval([float(value) for value in draw])
        assert low is not None
        assert high is not None
        assert coverage is not None
        assert coverage >= 0.95
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_five_runs_have_no_interval_of_the_median() -> None:
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == (None, None, None)
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (1.0, 6.0, 1 - 2 / 64)


@pytest.mark.usefixtures("undrawn")
def test_a_group_that_collapses_is_reported_with_its_median(commands: Commands) -> None:
    for seed, value in enumerate([0.96, 0.97, 0.95, 0.96, 0.11, 0.965, 0.955, 0.97], 1):
        curve = [0.1, value]
        plant(commands.folder / f"s{seed}", value, metric="val/accuracy", curve=curve, seed=seed, optimizer="sgd")
    plant_all(commands.folder, [0.95, 0.96, 0.955, 0.965, 0.95, 0.96, 0.955, 0.97], "val/accuracy", optimizer="adam")
    said = compared(commands, ".", "metric=val/accuracy", "target=0.9").out
    assert (
        "- The spread of optimizer=sgd is not normal (seed=5: 11.00 %), so intervals and tests of its mean may be off; "
        "its median is 96.00 % (99.2 % 11.00 to 97.00, exact); 7 of 8 runs reach 90.00 %\n"
    ) in said
    rows = {row["optimizer"]: row for row in rows_of(commands.folder)}
    assert [float(rows["sgd"][name]) for name in ("median", "median_low", "median_high")] == [0.96, 0.11, 0.97]
    assert float(rows["adam"]["median"]) == pytest.approx(0.9575)
    said = compared(commands, ".", "metric=val/accuracy").out
    assert "exact); target=<value> shows how many of them reach it" in said
    compared(commands, ".", "metric=val/accuracy", "where=optimizer=adam", "out=one")
    assert "median" not in (commands.folder / "one" / "table.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("n", thinned([2, 3, 5, 8]))
@pytest.mark.parametrize("tests", [1, 6])
def test_at_least_so_many_seeds_have_the_power_that_is_claimed(n: int, tests: int) -> None:
    """The difference that is named is shown with a chance of at least 80 %, averaged over what n seeds may show."""
    generator = np.random.default_rng(n)
    powers = []
    for draw in generator.normal(generator.normal(0, 1, (400, 1)), 1, (400, n)):
        mean, std = float(draw.mean()), float(draw.std(ddof=1))
        needed = seeds_needed(mean, upper_std(std, n), 0.05 / tests)
        undecided = stats.ttest_1samp(draw, 0).pvalue * tests >= 0.05
        if undecided and needed is not None:
            powers.append(power_of(min(abs(mean), 50.0), needed, 0.05 / tests, paired=True))
    assert len(powers) > 100
    assert np.mean(powers) >= 0.8


def test_the_limit_of_a_spread_is_above_it_nine_times_of_ten() -> None:
    stds = np.random.default_rng(0).normal(0, 1, (4000, 4)).std(axis=1, ddof=1)
    above = np.mean([upper_std(float(std), 4) > 1 for std in stds])
    assert above == pytest.approx(0.9, abs=0.015)
