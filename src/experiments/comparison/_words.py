"""The numbers and findings of a comparison in words."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.common.metrics import Metric

from ._factors import Analysis, ConditionalEffect
from ._spread import OddSpread
from .grouping import Group, Grouping
from .statistics import Difference, Estimate, Reached, chance

MOST_OUTLIERS = 4
MOST_FOLDED = 6
"""The most groups that a sentence compares with the same winner; the table of differences holds all."""
ALL_EQUAL = "all equal"
"""Instead of an interval of several equal values."""
INCOMPLETE = (
    "type II, as some runs are missing; each is what a choice adds to the others, so they need not sum to 100 %"
)
"""Why the shares of the variance do not sum to 100 %."""
LEVEL = 0.05
"""A claim needs a p value below this, after Holm's correction over all comparisons of the question."""


def estimated(metric: Metric, estimate: Estimate) -> str:
    """Return a mean with its interval: '97.81 % (95 % 97.50 to 98.12, n = 8)'."""
    if estimate.low is None or estimate.high is None:
        equal = f", {ALL_EQUAL}" if estimate.n > 1 else ""
        return f"{metric.value(estimate.mean)} (n = {estimate.n}{equal})"
    return f"{metric.value(estimate.mean)} (95 % {metric.bounds(estimate.low, estimate.high)}, n = {estimate.n})"


def differing(
    metric: Metric,
    group: str,
    other: str,
    found: Difference,
    corrected: float,
    needed: int | None,
    most: int | None,
    reason: str = "",
) -> str:
    """Return what a difference shows, or how many seeds it would take to show one.

    Args:
        group, other: the names of the groups.
        found: group minus other.
        corrected: its p value after correction.
        needed: seeds that would show a difference of this size; None for more than `most`.
        most: None if the number of seeds cannot be given.
        reason: why a difference that looks large is not shown; empty if it does not look large.
    """
    runs = f"n = {found.n}" if found.paired else f"n = {found.n}, not paired"
    bounds = f"{interval_of(metric, found)}, "
    if corrected < LEVEL:
        better = (found.mean > 0) == metric.larger_is_better
        verb = "beats" if better else "is worse than"
        return f"{group} {verb} {other} by {metric.size(found.mean)} ({bounds}{runs})"
    why = f", although their intervals do not overlap, because {reason}" if reason else ""
    start = f"{group} and {other} cannot be told apart at {runs}{why}"
    if found.mean == 0:
        return f"{start}: their means are equal"
    if found.std == 0:
        return f"{start}: every seed differs by {metric.size(found.mean)}, but so few seeds may do so by chance"
    if most is None:
        return f"{start} (difference {metric.size(found.mean)}, {bounds.removesuffix(', ')})"
    if needed is None:
        return f"{start}; it may take more than {most:,} seeds to show a difference of {metric.size(found.mean)}"
    if needed <= found.n:  # the level of one test among many is lower
        return f"{start} (difference {metric.size(found.mean)}, {bounds.removesuffix(', ')})"
    return f"{start}; at least {needed:,} seeds would show a difference of {metric.size(found.mean)}"


def interval_of(metric: Metric, found: Difference) -> str:
    """Return the interval of a difference's size, '95 % 1.90 to 3.60', or the reason why it has none."""
    if found.low is None or found.high is None:
        return "all differences equal" if found.paired else "all values of a group equal"
    low, high = sorted((found.low, found.high)) if found.mean >= 0 else sorted((-found.low, -found.high))
    return f"95 % {metric.bounds(low, high)}"


def winning(metric: Metric, winner: str, beaten: Sequence[tuple[str, Difference]]) -> str:
    """Return by how much one group beats several others, in one sentence.

    Args:
        metric: that is compared.
        winner: the name of the group.
        beaten: the name of each other group, with the winner's difference from it.
    """
    alike = len({(found.n, found.paired) for _, found in beaten}) == 1
    parts = []
    for other, found in beaten[:MOST_FOLDED]:
        runs = f"n = {found.n}" if found.paired else f"n = {found.n}, not paired"
        inside = [interval_of(metric, found), *([] if alike else [runs])]
        parts.append(f"{other} by {metric.size(found.mean)} ({', '.join(inside)})")
    left = len(beaten) - len(parts)
    if left:
        parts.append(f"{left} more {'group' if left == 1 else 'groups'} (see the table of differences)")
    end = f"; {runs} in each comparison" if alike else ""
    return f"{winner} beats {', '.join(parts[:-1])} and {parts[-1]}{end}"


def tuning_sentences(metric: Metric, grouping: Grouping, best_first: Sequence[Group]) -> list[str]:
    """Return which settings of the nuisance keys were chosen, and what the choice does to the values.

    Args:
        metric: that is compared.
        grouping: of the runs.
        best_first: its groups.
    """
    tuned = [group for group in best_first if group.settings]
    if grouping.chooser is None or not tuned:
        return []
    budgets = [len(group.settings) for group in tuned]
    chosen = ", ".join(f"{group.name} at {group.settings[0].name} (best of {len(group.settings)})" for group in tuned)
    sentences = [f"Each group is at its best setting by {grouping.chooser.name}: {chosen}"]
    if grouping.fresh:
        lucks = sorted(metric.size(group.luck) for group in tuned)
        size = lucks[0] if lucks[0] == lucks[-1] else f"{lucks[0].removesuffix(' points')} to {lucks[-1]}"
        luck = f"; other trials would have chosen other settings, which changes a mean by about {size}"
        luck += ", and the intervals of the differences allow for that"
        sentences.append(
            "The settings were chosen by runs with other seeds, and only the runs on fresh seeds are compared, so the "
            f"choice does not flatter them{luck if any(group.luck for group in tuned) else ''}"
        )
    else:
        sentences.append(
            "The runs that are compared also chose these settings, which flatters every group; "
            "search=fair runs the best settings again on fresh seeds and compares only these runs"
        )
    if len(set(budgets)) > 1:
        sentences.append(
            f"The groups had {min(budgets)} to {max(budgets)} settings to choose from, which favours those with more"
        )
    return sentences


def odd(
    metric: Metric, group: Group, spread: OddSpread, keys: Sequence[str], target: float | None, times: Reached | None
) -> str:
    """Return that the runs of a group do not spread as a normal distribution does, and which of them are far away.

    Args:
        metric: that is compared.
        group: of the runs.
        spread: of its values.
        keys: that repeat the group, whose values name its runs.
        target: of the metric.
        times: how soon the runs reach it.
    """
    far = []
    for block in spread.outliers[:MOST_OUTLIERS]:
        values = block if isinstance(block, tuple) else (block,)
        run = " ".join(f"{key}={value}" for key, value in zip(keys, values, strict=False))
        far.append(f"{run}: {metric.value(group.values[block])}")
    more = len(spread.outliers) - len(far)
    far += [f"and {more} more"] if more else []
    interval = ", without an interval, which needs 6 runs"
    if spread.low is not None and spread.high is not None and spread.coverage is not None:
        interval = f" ({100 * spread.coverage:.1f} % {metric.bounds(spread.low, spread.high)}, exact)"
    reach = "; target=<value> shows how many of them reach it"
    if target is not None and times is not None:
        reach = f"; {times.reached} of {times.n} runs reach {metric.value(target)}"
    return (
        f"The spread of {group.name} is not normal ({', '.join(far)}), so intervals and tests of its mean may be off; "
        f"its median is {metric.value(spread.median)}{interval}{reach}"
    )


def share(value: float) -> str:
    """Return a share of the variance for people."""
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 10 or percent < 0.05 else f"{percent:.1f} %"


def signed(chance: str) -> str:
    """Return a p value of `chance` with the sign before it: '= 0.012', or '< 0.001'."""
    return chance if chance.startswith("<") else f"= {chance}"


def named(factors: Sequence[str]) -> str:
    """Return the name of an effect."""
    return " x ".join(factors) if len(factors) < 3 else "higher interactions"


def explained(analysis: Analysis) -> str:
    """Return the shares of the variance in a sentence."""
    shown = sorted(analysis.effects, key=lambda effect: -effect.share)
    parts = []
    for effect in shown:
        p = effect.corrected
        judged = "" if p is None else f" (p {signed(chance(p))})"
        parts.append(f"{named(effect.factors)} {share(effect.share)}{judged}")
    rest = [("seed", analysis.block), ("residual", analysis.residual)]
    parts += [f"{name} {share(value)}" for name, value in rest if value > 0]
    reason = "" if analysis.complete else f" ({INCOMPLETE})"
    return f"Shares of the variance{reason}: {', '.join(parts)}"


def conditional(metric: Metric, effect: ConditionalEffect) -> str:
    """Return the condition under which a factor matters in a sentence."""
    levels = " or ".join(f"{effect.other}={level}" for level in effect.where)
    return (
        f"{effect.factor} matters only with {levels}: its means differ by {metric.size(effect.spread_where)} there, "
        f"by {metric.size(effect.spread_not_where)} elsewhere"
    )
