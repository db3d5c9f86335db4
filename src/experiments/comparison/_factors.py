"""Analysis of variance of a crossed sweep, and factors that matter only at some levels of another.

Seeds are blocks (Fisher's randomized complete block design): runs of one seed share the split and the draw behind
the weights, and what is left after the cells and the blocks is the error. See Montgomery, Design and Analysis of
Experiments, chapters 4 and 5; Langsrud 2003 on sums of squares of type II.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy.special import fdtrc

from experiments.common.arrays import Array

from .statistics import holm, refuse_infinite

FactorRow = tuple[tuple[str, ...], Hashable, float]
"""A run: its level of each factor, its block (seed), its value."""


NOTHING = 1e-20
"""A share of the total sum of squares below which a sum of squares is floating-point noise."""
QUARTER = 0.25
"""The largest spread at levels where a factor does not matter, as a share of that where it matters; our choice."""


@dataclass(frozen=True)
class Effect:
    """The effect of a factor, or of several together.

    Args:
        factors: one for a main effect, two for their interaction; all factors, if there are three or more, for
            the interactions of more than two taken together.
        share: of the total sum of squares.
        p: of the F-test against the residual; None if there is no residual.
        corrected: p after Holm's correction over all effects of the analysis.
    """

    factors: tuple[str, ...]
    share: float
    p: float | None
    corrected: float | None


@dataclass(frozen=True)
class Analysis:
    """The parts of the variance of a sweep's values.

    The shares, `block` and `residual` are of the total sum of squares about the mean. They sum to 1 if every
    cell has the same blocks; otherwise each is the part that an effect adds to the others that do not contain it,
    and they need not.

    Args:
        effects: main effects, interactions of two, and the higher ones as one.
        block: the share of the seeds.
        residual: the share that neither the cells nor the seeds explain.
        freedom: the residual's degrees of freedom.
        left_out: effects that cannot be told apart from others, as cells are missing or a factor has one level.
        complete: whether every cell has the same blocks, once each.
    """

    effects: tuple[Effect, ...]
    block: float
    residual: float
    freedom: int
    left_out: tuple[tuple[str, ...], ...]
    complete: bool

    def of(self, *factors: str) -> Effect | None:
        """Return the effect of some factors, in whatever order."""
        return next((effect for effect in self.effects if set(effect.factors) == set(factors)), None)


@dataclass(frozen=True)
class ConditionalEffect:
    """A factor that matters only at some levels of another.

    Args:
        factor: the factor that matters.
        other: the factor that it depends on.
        where: the other's levels at which it is shown to matter.
        not_where: the other levels.
        spread_where: largest minus smallest mean over the factor's levels; the smallest over the levels in `where`.
        spread_not_where: the same, the largest over the levels in `not_where`.
    """

    factor: str
    other: str
    where: tuple[str, ...]
    not_where: tuple[str, ...]
    spread_where: float
    spread_not_where: float


@dataclass(frozen=True)
class Term:
    """The sum of squares of an effect, its degrees of freedom, and whether all of it can be estimated."""

    factors: tuple[str, ...]
    squares: float
    freedom: int
    whole: bool


@dataclass(frozen=True)
class Design:
    """The runs of a crossed sweep, and least squares on them.

    Args:
        rows: the runs.
        names: of the factors.
    """

    rows: Sequence[FactorRow]
    names: tuple[str, ...]

    @cached_property
    def values(self) -> Array:
        """The runs' values minus their mean, (runs,)."""
        values = np.array([value for _, _, value in self.rows], dtype=float)
        return values - values.mean()

    @cached_property
    def total(self) -> float:
        """The total sum of squares; rounding errors of equal values count as 0."""
        largest = max(abs(value) for _, _, value in self.rows)
        squares = float(self.values @ self.values)
        return squares if squares > NOTHING * len(self.rows) * largest**2 else 0.0

    @cached_property
    def levels(self) -> dict[str, int]:
        """The number of levels of each factor."""
        return {name: len({levels[i] for levels, _, _ in self.rows}) for i, name in enumerate(self.names)}

    @cached_property
    def blocks(self) -> list[Array]:
        """The columns of the blocks, (runs, blocks).

        There are none if no block is in more than one cell, as it is then only a label.
        """
        blocks = [block for _, block, _ in self.rows]
        shared = len({(levels, block) for levels, block, _ in self.rows}) > len(set(blocks))
        return [columns(blocks)] if shared else []

    @cached_property
    def known(self) -> dict[tuple[str, ...], Array]:
        """The columns of combinations of factors that have been needed so far."""
        return {}

    def cells(self, factors: Iterable[str]) -> Array:
        """Return a column for each combination of some factors' levels, (runs, cells).

        The columns span the effects of every order of these factors.
        """
        asked = set(factors)
        wanted = tuple(name for name in self.names if name in asked)
        if wanted not in self.known:
            indices = [self.names.index(name) for name in wanted]
            self.known[wanted] = columns([tuple(levels[i] for i in indices) for levels, _, _ in self.rows])
        return self.known[wanted]

    def fit(self, parts: Sequence[Array]) -> tuple[float, int]:
        """Return the residual sum of squares of a model, and its rank.

        Args:
            parts: the columns of the model, (runs, columns) each.
        """
        model = np.hstack(parts)
        solution, _, rank, _ = np.linalg.lstsq(model, self.values, rcond=None)
        rest = self.values - model @ solution
        squares = float(rest @ rest)
        return (squares if squares > NOTHING * self.total else 0.0), int(rank)

    def term(self, factors: tuple[str, ...], without: Sequence[Array], freedom: int) -> Term:
        """Return the sum of squares that the cells of some factors add to a model.

        Args:
            factors: whose cells are added.
            without: the columns of the model, (runs, columns) each.
            freedom: the degrees of freedom of the term if all of it can be estimated.
        """
        (before, rank), (after, higher) = self.fit(without), self.fit([*without, self.cells(factors)])
        squares = max(before - after, 0.0)
        return Term(factors, squares, higher - rank, higher - rank == freedom > 0)

    def effect(self, factors: tuple[str, ...]) -> Term:
        """Return the type II sum of squares: what some factors add to all effects that do not contain all of them.

        An effect does not contain them all if it lacks one of them, so the cells of all factors but one span them.
        """
        without = [self.cells(name for name in self.names if name != factor) for factor in factors]
        return self.term(factors, [*without, *self.blocks], math.prod(self.levels[name] - 1 for name in factors))

    def higher(self) -> Term:
        """Return the sum of squares that interactions of three or more factors add to those of two."""
        pairs = [self.cells(pair) for pair in combinations(self.names, 2)]
        below = sum(math.prod(self.levels[name] - 1 for name in part) for part in subsets(self.names, 2))
        freedom = math.prod(self.levels.values()) - 1 - below
        return self.term(self.names, [*pairs, *self.blocks], freedom)

    @property
    def complete(self) -> bool:
        """Whether every cell has the same blocks, once each."""
        blocks = {block for _, block, _ in self.rows}
        pairs = {(levels, block) for levels, block, _ in self.rows}
        return len(pairs) == len(self.rows) == math.prod(self.levels.values()) * len(blocks)


def analyse(rows: Sequence[FactorRow], names: Sequence[str], resolution: float = 0.0) -> Analysis:
    """Return how the variance of a crossed sweep's values divides among its factors.

    Args:
        rows: the runs.
        names: of the factors, in the order of the rows' levels.
        resolution: the step r between adjacent possible values: the variance of rounding, r^2 / 12, is added to the
            residual's, as values of few runs may be equal by coincidence. 0 for a continuous metric; a residual of 0
            then leaves nothing to judge by.

    Raises:
        ValueError: if there are no runs or factors, their levels do not fit the names, or a value is not finite.
    """
    refuse_misfits(rows, names)
    everything = Design(rows, tuple(names))
    varied = tuple(name for name in names if everything.levels[name] > 1)
    design = Design([(chosen(row, names, varied), row[1], row[2]) for row in rows], varied)
    if not varied:
        return Analysis((), 0.0, float(design.total > 0), 0, tuple((name,) for name in names), design.complete)
    terms = [design.effect(part) for part in subsets(varied, 2)] + ([design.higher()] if len(varied) > 2 else [])
    kept = [term for term in terms if term.whole]
    cells = design.cells(varied)
    unexplained, _ = design.fit([cells])
    residual, rank = design.fit([cells, *design.blocks])
    freedom = len(rows) - rank
    rounding = resolution**2 / 12
    ps = [f_test(term, residual, freedom, rounding) for term in kept]
    return Analysis(
        effects=tuple(
            Effect(term.factors, share(term.squares, design.total), p, corrected)
            for term, p, corrected in zip(kept, ps, corrections(ps), strict=True)
        ),
        block=share(max(unexplained - residual, 0.0), design.total),
        residual=share(residual, design.total),
        freedom=freedom,
        left_out=(
            *((name,) for name in names if name not in varied),
            *(term.factors for term in terms if not term.whole),
        ),
        complete=design.complete,
    )


def f_test(term: Term, residual: float, freedom: int, rounding: float) -> float | None:
    """Return the p value of an effect against the residual; None if there is no residual."""
    if freedom <= 0:
        return None
    error = residual / freedom + rounding
    if error == 0:
        return None
    return float(fdtrc(term.freedom, freedom, term.squares / term.freedom / error))


def corrections(ps: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected by Holm's method; None stays None."""
    corrected = iter(holm([p for p in ps if p is not None]))
    return [None if p is None else next(corrected) for p in ps]


def only_where(
    rows: Sequence[FactorRow], names: Sequence[str], resolution: float = 0.0, alpha: float = 0.05
) -> list[ConditionalEffect]:
    """Return the factors that matter only at some levels of another: 'init matters only with batch_norm=false'.

    A pair of factors is considered if its interaction is shown (corrected p < alpha). Then the effect of one is
    tested within each level of the other, on the runs of that level only, and all these tests are corrected together
    (simple effects; Kirk, Experimental Design, chapter on factorial designs). The factor matters at the levels at
    which its effect is shown. It is reported not to matter at the others if its effect is shown at none of them and
    its spread there is at most a quarter of the spread where it matters: no test can show an absence, so the
    spreads belong in the sentence. A pair with a level at which some of the factor's levels have no runs is left
    out.
    """
    analysis = analyse(rows, names, resolution)
    pairs = [
        pair
        for effect in analysis.effects
        if len(effect.factors) == 2 and effect.corrected is not None and effect.corrected < alpha
        for pair in (effect.factors, effect.factors[::-1])
    ]
    tests = {
        (factor, other, level): p
        for factor, other in pairs
        for level, p in simple_effects(rows, names, factor, other, resolution).items()
    }
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    effects = []
    for factor, other in pairs:
        ps = {level: p for (one, two, level), p in corrected.items() if (one, two) == (factor, other)}
        where = tuple(level for level, p in ps.items() if p < alpha)
        not_where = tuple(level for level in ps if level not in where)
        if where and not_where:
            spreads = {level: spread(within(rows, names, other, level), names, factor) for level in ps}
            most, least = max(spreads[level] for level in not_where), min(spreads[level] for level in where)
            if most <= QUARTER * least:
                effects.append(ConditionalEffect(factor, other, where, not_where, least, most))
    return effects


def simple_effects(
    rows: Sequence[FactorRow], names: Sequence[str], factor: str, other: str, resolution: float
) -> dict[str, float]:
    """Return the p value of a factor within each level of another; empty if one of them cannot be tested."""
    rest = [name for name in names if name != other]
    ps = {}
    for level in levels_of(rows, names, other):
        inside = within(rows, names, other, level)
        same = levels_of(inside, names, factor) == levels_of(rows, names, factor)
        effect = analyse([(chosen(row, names, rest), row[1], row[2]) for row in inside], rest, resolution).of(factor)
        if not same or effect is None or effect.p is None:
            return {}
        ps[level] = effect.p
    return ps


def spread(rows: Sequence[FactorRow], names: Sequence[str], factor: str) -> float:
    """Return the largest minus the smallest mean over a factor's levels.

    The means are over the settings (other factors and seed) that all levels have, so that a missing run does not
    look like an effect; over all runs if there is no such setting.
    """
    rest = [name for name in names if name != factor]
    number = len(levels_of(rows, names, factor))
    settings: dict[Hashable, set[str]] = {}
    for row in rows:
        settings.setdefault((chosen(row, names, rest), row[1]), set()).update(chosen(row, names, [factor]))
    whole = {setting for setting, found in settings.items() if len(found) == number}
    kept = [row for row in rows if (chosen(row, names, rest), row[1]) in whole] or rows
    values: dict[str, list[float]] = {}
    for row in kept:
        values.setdefault(chosen(row, names, [factor])[0], []).append(row[2])
    means = [math.fsum(found) / len(found) for found in values.values()]
    return max(means) - min(means)


def within(rows: Sequence[FactorRow], names: Sequence[str], factor: str, level: str) -> list[FactorRow]:
    """Return the runs with a factor at some level."""
    return [row for row in rows if chosen(row, names, [factor]) == (level,)]


def levels_of(rows: Sequence[FactorRow], names: Sequence[str], factor: str) -> list[str]:
    """Return the levels that a factor has, sorted."""
    return sorted({chosen(row, names, [factor])[0] for row in rows})


def chosen(row: FactorRow, names: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return a run's levels of some factors."""
    return tuple(row[0][names.index(name)] for name in wanted)


def subsets(names: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Return the subsets of one to `most` elements, the small ones first."""
    return [part for size in range(1, most + 1) for part in combinations(names, size)]


def columns(labels: Sequence[Hashable]) -> Array:
    """Return a column of 0 and 1 for each distinct label, shape (rows, labels)."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.eye(len(numbers))[[numbers[label] for label in labels]]


def share(squares: float, total: float) -> float:
    """Return a part of a total as a share; 0 for a total of 0."""
    return squares / total if total > 0 else 0.0


def refuse_misfits(rows: Sequence[FactorRow], names: Sequence[str]) -> None:
    """Raise ValueError if runs and factors do not match."""
    if not rows or not names:
        raise ValueError("an analysis of variance needs runs and factors")
    if len(set(names)) != len(names):
        raise ValueError(f"the factors {', '.join(names)} are not distinct")
    for levels, _, _ in rows:
        if len(levels) != len(names):
            raise ValueError(f"a run has {len(levels)} levels for {len(names)} factors")
    refuse_infinite(value for _, _, value in rows)
