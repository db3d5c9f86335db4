"""Analysis of variance over a sweep's factors: parity with statsmodels, and how often it errs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.comparison import _factors
from experiments.comparison._factors import Analysis, FactorRow, analyse, only_where
from tests.comparison.rates import assert_at_most_5_percent

REPLICATIONS = 800
"""Sweeps a simulation draws; the standard error of a rate of 5 % is then 0.8 %."""
Value = Callable[[tuple[str, ...], int], float]


def crossed(levels: Sequence[int], seeds: int, value: Value) -> list[FactorRow]:
    """Runs of every combination of so many levels a factor: a0, a1, ... and b0, b1, ..."""
    each = [[f"{letter}{i}" for i in range(number)] for letter, number in zip("abcd", levels, strict=False)]
    return [(cell, seed, value(cell, seed)) for cell in itertools.product(*each) for seed in range(seeds)]


def noisy(seed: int, spread: float = 1.0) -> Value:
    """Normal values with an effect of a, of a with b, and of the seed."""
    generator = np.random.default_rng(seed)
    return lambda cell, block: float(
        0.5 * (cell[0] == "a1") + 0.8 * (cell[:2] == ("a0", "b1")) + 0.4 * block + generator.normal(0, spread)
    )


def null(generator: np.random.Generator, examples: int = 0, main: float = 0.0) -> Value:
    """Values that no factor acts on but the first, and that alone; accuracies where a number of examples is given."""
    luck = generator.normal(0, 1, 20)

    def value(cell: tuple[str, ...], seed: int) -> float:
        score = 1.0 * luck[seed] + generator.normal(0, 1) + main * (cell[0] == "a1")
        return float(generator.binomial(examples, 1 / (1 + np.exp(-3 - 0.3 * score))) / examples if examples else score)

    return value


def reference(rows: Sequence[FactorRow], names: str, blocks: bool = True) -> Any:
    """Statsmodels' analysis of variance, type II."""
    ols = pytest.importorskip("statsmodels.formula.api").ols
    anova_lm = pytest.importorskip("statsmodels.stats.anova").anova_lm
    frame = pd.DataFrame([{**dict(zip(names, cell, strict=True)), "s": str(s), "y": y} for cell, s, y in rows])
    formula = "y ~ " + " * ".join(f"C({name})" for name in names) + (" + C(s)" if blocks else "")
    return anova_lm(ols(formula, frame).fit(), typ=2), float(((frame.y - frame.y.mean()) ** 2).sum())


def assert_same(found: Analysis, rows: Sequence[FactorRow], names: str, blocks: bool = True) -> None:
    """Fail unless shares and p values are statsmodels'."""
    expected, total = reference(rows, names, blocks)
    for effect in found.effects:
        line = expected.loc[":".join(f"C({name})" for name in effect.factors)]
        assert effect.share == pytest.approx(line["sum_sq"] / total, abs=1e-10)
        assert effect.p == pytest.approx(line["PR(>F)"], abs=1e-10)
    assert found.residual == pytest.approx(expected.loc["Residual", "sum_sq"] / total, abs=1e-10)
    assert found.freedom == expected.loc["Residual", "df"]
    assert found.block == pytest.approx(expected.loc["C(s)", "sum_sq"] / total if blocks else 0, abs=1e-10)


def shares(found: Analysis) -> float:
    """The sum of all shares."""
    return math.fsum([*(effect.share for effect in found.effects), found.block, found.residual])


SIZES = [("a", (3,), 4), ("ab", (3, 2), 3), ("ab", (2, 4), 2), ("abc", (2, 3, 2), 3)]


@pytest.mark.parametrize(("names", "levels", "seeds"), SIZES)
def test_a_full_crossing_has_the_classical_sums_of_squares(names: str, levels: tuple[int, ...], seeds: int) -> None:
    rows = crossed(levels, seeds, noisy_with_any(len(levels)))
    found = analyse(rows, tuple(names))
    assert_same(found, rows, names)
    assert len(found.effects) == {1: 1, 2: 3, 3: 7}[len(names)]
    assert shares(found) == pytest.approx(1)
    assert found.complete
    assert not found.left_out
    ps = [effect.p for effect in found.effects if effect.p is not None]
    assert [effect.corrected for effect in found.effects] == _factors.holm(ps)


def noisy_with_any(number: int) -> Value:
    """As `noisy`, of one factor too."""
    value = noisy(3)
    return lambda cell, seed: value((*cell, "b0")[: max(2, number)], seed)


@pytest.mark.parametrize(("names", "levels", "seeds"), SIZES[1:])
def test_missing_runs_leave_sums_of_squares_of_type_2(names: str, levels: tuple[int, ...], seeds: int) -> None:
    rows = crossed(levels, seeds + 1, noisy(4))
    kept = [row for i, row in enumerate(rows) if i % 7 != 3]
    found = analyse(kept, tuple(names))
    assert_same(found, kept, names)
    assert not found.complete
    assert not found.left_out


def test_unpaired_seeds_are_not_blocks() -> None:
    rows = [(cell, i, value) for i, (cell, _, value) in enumerate(crossed((3, 2), 3, noisy(5)))]
    assert_same(analyse(rows, ("a", "b")), rows, "ab", blocks=False)


def test_higher_interactions_are_one_effect() -> None:
    rows = crossed((2, 2, 3, 2), 2, noisy(6))
    found, (expected, total) = analyse(rows, tuple("abcd")), reference(rows, "abcd")
    higher = [name for name in expected.index if name.count(":") >= 2]
    effect = found.of("a", "b", "c", "d")
    assert effect is not None
    assert len(higher) == 5
    assert effect.share == pytest.approx(expected.loc[higher, "sum_sq"].sum() / total, abs=1e-10)
    assert shares(found) == pytest.approx(1)


def test_an_interaction_with_a_missing_cell_is_left_out() -> None:
    rows = [row for row in crossed((3, 2, 2), 3, noisy(7)) if row[0][:2] != ("a2", "b1")]
    found = analyse(rows, ("a", "b", "c"))
    assert found.left_out == (("a", "b"), ("a", "b", "c"))
    assert found.of("c", "a") is not None
    assert found.freedom > 0


def test_factors_that_cannot_be_told_apart_are_left_out() -> None:
    rows = [((level, level, "same"), seed, value) for (level,), seed, value in crossed((3,), 3, noisy_with_any(1))]
    found = analyse(rows, ("a", "b", "c"))
    assert found.left_out == (("c",), ("a",), ("b",), ("a", "b"))
    assert found.effects == ()


def test_one_seed_has_shares_and_no_p() -> None:
    found = analyse(crossed((3, 2), 1, noisy(8)), ("a", "b"))
    assert shares(found) == pytest.approx(1)
    assert {(effect.p, effect.corrected) for effect in found.effects} == {(None, None)}
    assert (found.block, found.residual, found.freedom) == (0, 0, 0)


def test_equal_values_and_no_residual() -> None:
    flat = analyse(crossed((2, 2), 2, lambda _cell, _seed: 0.7), ("a", "b"))
    assert {(effect.share, effect.p) for effect in flat.effects} == {(0, None)}
    steps = crossed((2, 2), 2, lambda cell, _seed: 0.9 + 0.01 * (cell[0] == "a1"))
    assert {effect.p for effect in analyse(steps, ("a", "b")).effects} == {None}
    rounded = analyse(steps, ("a", "b"), resolution=0.01).of("a")
    assert rounded is not None
    assert rounded.p is not None
    assert 0.001 < rounded.p < 0.05


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([], ("a",)),
        ([(("x",), 0, 1.0)], ("a", "b")),
        ([(("x", "y"), 0, 1.0)], ("a", "a")),
        ([(("x",), 0, math.nan)], "a"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(rows: list[FactorRow], names: Sequence[str]) -> None:
    with pytest.raises(ValueError, match=r"needs|levels|distinct|finite"):
        analyse(rows, names)


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.floats(0.1, 10), st.floats(-5, 5))
def test_order_and_units_do_not_matter(shuffler: random.Random, scale: float, shift: float) -> None:
    rows = crossed((2, 3), 3, noisy(9))[:-2]
    found = analyse(rows, ("a", "b"))
    moved = [(cell[::-1], seed, shift + scale * value) for cell, seed, value in rows]
    shuffler.shuffle(moved)
    other = analyse(moved, ("b", "a"))
    for effect in found.effects:
        same = other.of(*effect.factors)
        assert same is not None
        assert (same.share, same.p) == pytest.approx((effect.share, effect.p), abs=1e-9)


# --- where a factor matters


def init_and_norm(generator: np.random.Generator, elsewhere: float = 0.0) -> Value:
    """What a matters by where b is b0, and by how much elsewhere; c does nothing."""
    return lambda cell, seed: float(
        (0.12 if cell[1] == "b0" else elsewhere) * (cell[0] == "a1")
        + 0.02 * seed
        + 0.05 * (cell[1] == "b1")
        + generator.normal(0, 0.005)
    )


def test_a_factor_that_matters_only_with_one_level_of_another() -> None:
    rows = crossed((3, 2, 2), 3, init_and_norm(np.random.default_rng(0)))
    found = {(only.factor, only.other): only for only in only_where(rows, ("a", "b", "c"))}
    only = found[("a", "b")]
    assert (only.where, only.not_where) == (("b0",), ("b1",))
    assert only.spread_where == pytest.approx(0.12, abs=0.01)
    assert only.spread_not_where < 0.01
    assert set(found) <= {("a", "b"), ("b", "a")}


def test_a_factor_that_matters_everywhere_is_not_reported_for_single_levels() -> None:
    rows = crossed((3, 2), 3, init_and_norm(np.random.default_rng(0), elsewhere=0.06))
    effect = analyse(rows, ("a", "b")).of("a", "b")
    assert effect is not None
    assert effect.corrected is not None
    assert effect.corrected < 0.05
    assert not [only for only in only_where(rows, ("a", "b")) if only.factor == "a"]


def test_an_unknown_spread_does_not_count_as_zero() -> None:
    generator = np.random.default_rng(0)
    elsewhere = (3.1, -0.7)  # 1.2 in the mean, over a quarter of 4, and too unsteady to be shown
    rows = crossed(
        (2, 2),
        8,
        lambda cell, seed: float(
            (4 if cell[1] == "b0" else elsewhere[seed % 2]) * (cell[0] == "a1") + generator.normal(0, 0.1)
        ),
    )
    ps = _factors.simple_effects(rows, ("a", "b"), "a", "b", 0.0)
    assert ps["b0"] < 0.01
    assert ps["b1"] > 0.05
    assert not [only for only in only_where(rows, ("a", "b")) if only.factor == "a"]


def test_nothing_is_reported_if_a_level_has_no_runs() -> None:
    rows = crossed((3, 3), 3, init_and_norm(np.random.default_rng(0)))
    assert only_where(rows, ("a", "b"))
    assert not only_where([row for row in rows if row[0] != ("a2", "b2")], ("a", "b"))


def test_a_missing_run_adds_no_spread() -> None:
    rows = crossed((2, 2), 3, lambda _cell, seed: 1.0 * seed)
    assert _factors.spread(rows[1:], ("a", "b"), "a") == 0


# --- how often they err


def effects_shown(rows: Sequence[FactorRow], names: str, step: float) -> bool:
    """Whether any effect is."""
    found = analyse(rows, tuple(names), step).effects
    return any(effect.corrected is not None and effect.corrected < 0.05 for effect in found)


def effect_alarms(examples: int, seeds: int) -> list[bool]:
    """Whether an effect is shown, of sweeps in which no factor does anything."""
    generator = np.random.default_rng(1)
    step = 1 / examples if examples else 0.0
    return [
        effects_shown(crossed((2, 2, 2), seeds, null(generator, examples)), "abc", step) for _ in range(REPLICATIONS)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("examples", "seeds"), [(0, 3), (360, 2), (30, 2), (30, 3)])
def test_effects_have_5_percent_false_alarms(examples: int, seeds: int) -> None:
    assert_at_most_5_percent(effect_alarms(examples, seeds))


def only_alarms(examples: int, main: float) -> list[bool]:
    """Whether a factor is said to matter only somewhere, of sweeps without interactions."""
    generator = np.random.default_rng(2)
    step = 1 / examples if examples else 0.0
    return [
        bool(only_where(crossed((2, 2, 2, 2), 2, null(generator, examples, main)), tuple("abcd"), step))
        for _ in range(REPLICATIONS)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("examples", "main"), [(0, 0.0), (0, 1.5), (30, 0.0)])
def test_conditional_effects_have_5_percent_false_alarms(examples: int, main: float) -> None:
    assert_at_most_5_percent(only_alarms(examples, main))


@pytest.mark.slow
@pytest.mark.parametrize(("alarms", "arguments"), [(effect_alarms, (0, 3)), (only_alarms, (0, 0.0))])
def test_without_the_correction_there_are_more(
    monkeypatch: pytest.MonkeyPatch, alarms: Callable[..., list[bool]], arguments: tuple[float, ...]
) -> None:
    monkeypatch.setattr(_factors, "holm", list)
    with pytest.raises(AssertionError):
        assert_at_most_5_percent(alarms(*arguments))
