"""How numbers and findings of a comparison are put into words."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.common.metrics import Metric

from ._factors import Analysis, Only
from .statistics import Difference, Estimate

LEVEL = 0.05
"""Claims are made below this p value, after Holm's correction over all that were asked together."""


def estimated(metric: Metric, found: Estimate) -> str:
    """Return a mean with its interval: '97.81 % (95 % 97.50 to 98.12, n = 8)'."""
    if found.low is None or found.high is None:
        return f"{metric.value(found.mean)} (n = {found.n})"
    return f"{metric.value(found.mean)} (95 % {metric.bounds(found.low, found.high)}, n = {found.n})"


def differing(
    metric: Metric, group: str, other: str, found: Difference, corrected: float, needed: int | None, most: int
) -> str:
    """Return what a difference shows, or what it would take.

    Args:
        group, other: their names.
        found: group minus other.
        corrected: its p value after correction.
        needed: seeds that would show a difference of this size; None for more than `most`.
    """
    runs = f"n = {found.n}" if found.paired else f"n = {found.n}, not paired"
    bounds = ""
    if found.low is not None and found.high is not None:
        low, high = sorted((found.low, found.high)) if found.mean >= 0 else sorted((-found.low, -found.high))
        bounds = f"95 % {metric.bounds(low, high)}, "
    if corrected < LEVEL:
        better = (found.mean > 0) == metric.larger_is_better
        verb = "beats" if better else "is beaten by"
        return f"{group} {verb} {other} by {metric.size(found.mean)} ({bounds}{runs})"
    start = f"{group} and {other} cannot be told apart at {runs}"
    if found.mean == 0:
        return f"{start}: their means are equal"
    if found.std == 0:
        return f"{start}: they differ by {metric.size(found.mean)} with every seed, which so few can do by chance"
    if needed is None:
        return f"{start}; not even {most:,} seeds would show a difference of {metric.size(found.mean)}"
    if needed <= found.n:  # it was tested among many
        return f"{start} (difference {metric.size(found.mean)}, {bounds.removesuffix(', ')})"
    return f"{start}; about {needed:,} seeds would show a difference of {metric.size(found.mean)}"


def share(value: float) -> str:
    """Return a share of the variance for people."""
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 10 or percent < 0.05 else f"{percent:.1f} %"


def chance(p: float | None) -> str:
    """Return a p value for people; a dash where there is none."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def named(factors: Sequence[str]) -> str:
    """Return what an effect is called."""
    return " x ".join(factors) if len(factors) < 3 else "higher interactions"


def explained(analysis: Analysis) -> str:
    """Return in a sentence how the variance divides."""
    shown = sorted(analysis.effects, key=lambda effect: -effect.share)
    parts = []
    for effect in shown:
        p = effect.corrected
        judged = "" if p is None else f" (p {chance(p)})" if p < 0.001 else f" (p = {chance(p)})"
        parts.append(f"{named(effect.factors)} {share(effect.share)}{judged}")
    rest = [("the seed", analysis.block), ("what is left", analysis.residual)]
    parts += [f"{name} {share(value)}" for name, value in rest if value > 0]
    return f"Of the variance: {', '.join(parts)}"


def conditional(metric: Metric, found: Only) -> str:
    """Return in a sentence where alone a factor matters."""
    where = " or ".join(f"{found.other}={level}" for level in found.where)
    return (
        f"{found.factor} matters only where {where}: its means differ by {metric.size(found.spread_where)} there, "
        f"by {metric.size(found.spread_not_where)} elsewhere"
    )
