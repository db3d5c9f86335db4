"""What groups of runs show: a table, differences with their certainty, and what each factor does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any

from experiments.common.errors import UserError, nearest
from experiments.common.metrics import Metric
from experiments.folders.reading import UNFINISHED, Record, number

from ._factors import Analysis, Only, analyse, only_where
from ._words import LEVEL, conditional, differing, estimated, explained
from .grouping import ENDED_WELL, Group, Grouping, conditions, satisfies, shown
from .statistics import (
    Difference,
    Estimate,
    Reached,
    difference,
    estimate,
    holm,
    places,
    reached,
    resolution_of,
    seeds_needed,
)

MOST_PAIRS = 1_000
"""Pairs of groups that are tested; 46 groups have more, and there the best is chosen from too many to be shown."""
MOST_SEEDS = 1_000
MOST_FACTORS, MOST_CELLS = 5, 300
"""What an analysis of variance is made of: more is a search, not a crossing."""
FILLED = 0.5
"""The share of the combinations that must have runs for a sweep to count as crossed."""


@dataclass(frozen=True)
class GroupRow:
    """One group's row of the table.

    Args:
        group: of runs.
        place: 1 + the groups that are shown to be better than it, or than one behind it; None where none can be.
        estimate: of the metric's mean; None where no run ended well.
        best: value of its best run.
        epochs, seconds: how soon its runs reach the target; None without one.
        speed: examples per second, mean; None where no run tells.
        verdicts: how many runs have which.
    """

    group: Group
    place: int | None
    estimate: Estimate | None
    best: float | None
    epochs: Reached | None
    seconds: Reached | None
    speed: float | None
    verdicts: Counter[str]


@dataclass(frozen=True)
class Against:
    """A group held against another.

    Args:
        group, other: what is compared.
        difference: group minus other.
        corrected: the t-test's p value, corrected over all that was asked together.
        wilcoxon: Wilcoxon's, corrected likewise.
        needed: seeds that would show a difference of this size; None where it is shown, or for more than 1,000.
    """

    group: Group
    other: Group
    difference: Difference
    corrected: float
    wilcoxon: float
    needed: int | None

    def said(self, metric: Metric) -> str:
        """Return it in words."""
        return differing(
            metric, self.group.name, self.other.name, self.difference, self.corrected, self.needed, MOST_SEEDS
        )


@dataclass(frozen=True)
class Question:
    """What is asked of the runs.

    Args:
        metric: what is compared.
        baseline: conditions of the groups that the others are held against; none for the best one.
        target: of the metric, to be reached.
    """

    metric: Metric
    baseline: Sequence[tuple[str, Any]] = ()
    target: float | None = None


@dataclass(frozen=True)
class Answer:
    """What the runs show.

    Args:
        question: that was asked.
        grouping: of the runs.
        lines: a row of the table for each group, the best first.
        against: differences to the baseline, or of the best from the others.
        analysis: how the variance divides among the factors; None where the runs are no crossing.
        only: factors that matter only somewhere.
        without_partner: groups that no baseline agrees with.
    """

    question: Question
    grouping: Grouping
    lines: Sequence[GroupRow]
    against: Sequence[Against]
    analysis: Analysis | None
    only: Sequence[Only]
    without_partner: Sequence[Group] = field(default_factory=list)

    @cached_property
    def said(self) -> list[str]:
        """The answer in sentences, the most important first."""
        metric, sentences = self.question.metric, []
        best = self.lines[0]
        if best.estimate is None:
            ended = any(record.status in ENDED_WELL for record in records_of(self.grouping))
            why = f"No run that has ended well has {metric.name}" if ended else "No run has ended well"
            return [f"{why}: there is nothing to compare yet"]
        if len(self.lines) == 1:
            sentences.append(f"{best.group.name}: {metric.name} {estimated(metric, best.estimate)}")
        elif best.estimate.n == 1 and all(line.place is None for line in self.lines):
            sentences.append(
                f"{best.group.name} has the best {metric.name}, {metric.value(best.estimate.mean)}; "
                "from one seed each nothing can be claimed"
            )
        else:
            level = sum(held.group is best.group and held.corrected >= LEVEL for held in self.against)
            also = f"; {level} of {len(self.lines) - 1} others cannot be told from it" if level else ""
            mean = estimated(metric, best.estimate)
            sentences.append(f"{best.group.name} has the best mean {metric.name}, {mean}{also}")
        sentences += [against.said(metric) for against in self.against]
        if self.analysis is not None and self.analysis.effects:
            sentences.append(explained(self.analysis))
        sentences += [conditional(metric, only) for only in self.only]
        return sentences


def answered(grouping: Grouping, question: Question) -> Answer:
    """Return what the groups show.

    Raises:
        UserError: the baseline fits no group, or several that the other groups cannot choose between.
    """
    metric = question.metric
    if question.target is not None:
        refuse_unreachable(grouping, metric, question.target)
    values = [value for group in grouping.groups for value in group.values.values()]
    resolution = resolution_of(values) if metric.is_share else 0.0
    few = len(grouping.groups) * (len(grouping.groups) - 1) // 2 <= MOST_PAIRS
    found = (
        places([group.values for group in grouping.groups], metric.larger_is_better, resolution)
        if few
        else [None] * len(grouping.groups)
    )
    lines = [line(group, place, question) for group, place in zip(grouping.groups, found, strict=True)]
    sign = -1 if metric.larger_is_better else 1
    lines.sort(key=lambda line: (line.estimate is None, sign * line.estimate.mean if line.estimate else 0.0))
    lines = sharing_places(lines)
    alone: list[Group] = []
    if question.baseline:
        pairs, alone = paired_with_baseline(grouping, question.baseline)
        against = compared(pairs, resolution)
    else:
        against = best_against_others([line.group for line in lines], resolution) if few else []
    rows, names = crossing(grouping)
    return Answer(
        question,
        grouping,
        lines,
        against,
        analyse(rows, names, resolution) if rows else None,
        only_where(rows, names, resolution) if rows and len(names) > 1 else [],
        alone,
    )


def sharing_places(lines: Sequence[GroupRow]) -> list[GroupRow]:
    """Let a group share the place of one behind it that cannot be told from those before both.

    To be told apart is no order: the second may be shown to be worse than the first, and the third, whose runs vary
    more, may not.
    """
    shared: list[GroupRow] = []
    for line in reversed(lines):
        behind = [other.place for other in shared if other.place is not None]
        shared.append(replace(line, place=min(line.place, *behind)) if line.place is not None and behind else line)
    return shared[::-1]


def line(group: Group, place: int | None, question: Question) -> GroupRow:
    """Return a group's row of the table."""
    metric = question.metric
    values = list(group.values.values())
    best = (max if metric.larger_is_better else min)(values) if values else None
    noted = [record.summary.get("examples_per_second", "") for record in group.records.values()]
    speeds = [float(speed) for speed in noted if number(speed)]
    verdicts = Counter(name for record in group.records.values() for name in set(verdict_names(record)))
    return GroupRow(
        group,
        place,
        estimate(values) if values else None,
        best,
        to_target(group, question, "epoch"),
        to_target(group, question, "seconds"),
        sum(speeds) / len(speeds) if speeds else None,
        verdicts,
    )


def verdict_names(record: Record) -> list[str]:
    """Return the names of a run's verdicts, but for the one that nothing is wrong."""
    found = record.summary.get("verdicts")
    names = [verdict.get("name") for verdict in found if isinstance(verdict, dict)] if isinstance(found, list) else []
    return [name for name in names if isinstance(name, str) and name != "healthy"]


def refuse_unreachable(grouping: Grouping, metric: Metric, target: float) -> None:
    """Refuse a target of a metric that has no curve, and an accuracy beyond 100 %.

    Raises:
        UserError: with what is allowed.
    """
    if metric.is_share and target > 1:
        raise UserError(f"target={target:g} should be at most 1: 0.97 is an accuracy of 97 %")
    curves = dict.fromkeys(name for record in records_of(grouping) for name in record.history if "/" in name)
    if curves and metric.name not in curves:
        raise UserError(
            f"target needs a metric of every epoch, and {metric.name} is scored once; "
            f"metric may be {listed(list(curves))}"
        )


def to_target(group: Group, question: Question, axis: str) -> Reached | None:
    """Return how soon the runs of a group reach the target; one that is still running counts once it has."""
    if question.target is None:
        return None
    metric, target = question.metric, question.target
    times: list[float | None] = []
    for record in group.records.values():
        time = next(
            (
                at
                for value, at in zip(record.history.get(metric.name, ()), record.history.get(axis, ()), strict=False)
                if (value >= target if metric.larger_is_better else value <= target)
            ),
            None,
        )
        if time is not None or record.status != UNFINISHED:
            times.append(time)
    return reached(times)


def paired_with_baseline(
    grouping: Grouping, baseline: Sequence[tuple[str, Any]]
) -> tuple[list[tuple[Group, Group]], list[Group]]:
    """Return each group with the baseline that it is held against, and the groups that have none.

    Of several groups that fit, each other group has the one that agrees with it in everything else.

    Raises:
        UserError: none fits, or several that differ in nothing that the other groups have.
    """
    chosen = [
        group for group in grouping.groups if all(satisfies(record, baseline) for record in group.records.values())
    ]
    typed = " ".join(f"{key}={value}" for key, value in baseline)
    if not chosen:
        names = [group.name for group in grouping.groups]
        raise UserError(f"baseline={typed!r} fits no group; there are: {listed(names, 12)}" + nearest(typed, names))
    if 1 < len(chosen) == len(grouping.groups):
        raise UserError(f"baseline={typed!r} fits all {len(chosen)} groups; add what tells them apart")
    keys = {key for key, _ in baseline}
    rest = [key for key in grouping.keys if key not in keys]
    pairs, alone = [], []
    for group in grouping.groups:
        if group in chosen:
            continue
        partners = [o for o in chosen if all(o.levels.get(key) == group.levels.get(key) for key in rest)]
        if len(chosen) == 1:
            partners = chosen
        if len(partners) == 1:
            pairs.append((group, partners[0]))
        else:
            alone.append(group)
    if alone and not pairs:
        names = [group.name for group in chosen]
        raise UserError(f"baseline={typed!r} fits {len(chosen)} groups ({listed(names)}); add what tells them apart")
    return pairs, alone


def compared(pairs: Sequence[tuple[Group, Group]], resolution: float) -> list[Against]:
    """Return the differences of pairs of groups, corrected for their number."""
    found = [(pair, difference(pair[0].values, pair[1].values, resolution)) for pair in pairs]
    tested = [(pair, made) for pair, made in found if made is not None]
    corrected = holm([made.t_p for _, made in tested])
    ranked = holm([made.wilcoxon_p for _, made in tested])
    return [
        Against(*pair, made, p, w, seeds(made, p, len(tested)))
        for (pair, made), p, w in zip(tested, corrected, ranked, strict=True)
    ]


def best_against_others(groups: Sequence[Group], resolution: float) -> list[Against]:
    """Return how far the best group is ahead of each other.

    As the runs themselves chose it, the p values are corrected over all pairs of groups: any could have been best.
    """
    return [found for found in compared(list(combinations(groups, 2)), resolution) if found.group is groups[0]]


def seeds(found: Difference, corrected: float, tests: int) -> int | None:
    """Return how many seeds would show an undecided difference, were it as large as it looks."""
    if corrected < LEVEL or found.std == 0:
        return None
    return seeds_needed(found.mean, found.std, LEVEL / tests, paired=found.paired, most=MOST_SEEDS)


def crossing(grouping: Grouping) -> tuple[list[tuple[tuple[str, ...], Any, float]], list[str]]:
    """Return the runs as rows of an analysis of variance, and its factors; nothing where they are no crossing."""
    names = list(grouping.keys)
    levels = {key: {group.levels[key] for group in grouping.groups} for key in names}
    cells = prod(len(found) for found in levels.values())
    rows = [
        (tuple(group.levels[key] for key in names), block, value)
        for group in grouping.groups
        for block, value in group.values.items()
    ]
    held = {levels for levels, _, _ in rows}
    enough = rows and len(rows) > len(held) > 1 and len(held) >= FILLED * cells
    if not enough or len(names) > MOST_FACTORS or cells > MOST_CELLS:
        return [], []
    return rows, names


def metric_of(records: Sequence[Record], wanted: str | None) -> Metric:
    """Return what is compared: the metric asked for, or else the runs' objective.

    Raises:
        UserError: no run has it, or the runs have different objectives.
    """
    objectives = Counter(record.objective for record in records)
    if wanted is None and len(objectives) > 1:
        said = listed([f"{name} ({count} runs)" for name, count in objectives.items()])
        raise UserError(f"the runs have different objectives: {said}; choose with metric=<name>")
    name = next(iter(objectives)) if wanted is None else wanted
    known = dict.fromkeys(key for record in records for key in (*record.metrics, *record.history))
    known = dict.fromkeys(key for key in known if "/" in key)
    if wanted is None and known and name not in known:
        raise UserError(
            f"no run has {name}, the objective of all; choose with metric=<name>: {listed(list(known), 12)}"
        )
    if wanted is not None and wanted not in known:
        raise UserError(
            f"metric={wanted!r} is none of these runs; they have: {listed(list(known), 12)}" + nearest(wanted, known)
        )
    return Metric(name)


def unmixed(records: Sequence[Record], *, mixed: bool) -> str | None:
    """Return a sentence about runs of different data sets; None where there is one.

    Raises:
        UserError: there are several, and they are not to be mixed.
    """
    sets = Counter(
        record.choices.get("data") or str(record.config.get("data._target_", "?")).rpartition(".")[2]
        for record in records
    )
    if len(sets) < 2:
        return None
    said = listed([f"{name} ({count} runs)" for name, count in sets.items()])
    if mixed:
        return f"The runs are of different data sets: {said}"
    first = next(iter(sets))
    raise UserError(f"the runs are of different data sets: {said}; choose with where=data={first}, or give mixed=true")


def notes(answer: Answer, every: Sequence[Record]) -> list[str]:
    """Return what the reader must know besides: who has no share in the means, and how times were taken."""
    said = []
    records = records_of(answer.grouping)
    lacking = [r for g in answer.grouping.groups for b, r in g.records.items() if b not in g.values]
    lacking = [record for record in lacking if record.status in ENDED_WELL]
    if lacking:
        name, have = answer.question.metric.name, "has" if len(lacking) == 1 else "have"
        said.append(
            f"{len(lacking)} of {len(records)} runs ended well but {have} no {name}, and so no share in the means"
        )
    for status in dict.fromkeys(record.status for record in records if record.status not in ENDED_WELL):
        groups = [(group.name, group.statuses[status]) for group in answer.grouping.groups if group.statuses[status]]
        count = sum(number for _, number in groups)
        names = listed([f"{name} ({number})" if number > 1 else name for name, number in groups], 6)
        verb = VERBS.get(status, (status, status))[count > 1]
        said.append(f"{count} of {len(records)} runs {verb}, without a share in the means: {names}")
    if answer.grouping.repeats:
        repeats = len(answer.grouping.repeats)
        verb = "run repeats" if repeats == 1 else "runs repeat"
        said.append(f"{repeats} more {verb} a configuration and seed; the newest of each that ended well counts")
    singles = [line for line in answer.lines if line.estimate is not None and line.estimate.n == 1]
    if singles:
        some = "1 group has" if len(singles) == 1 else f"{len(singles)} groups have"
        whose = "Every group has" if len(singles) == len(answer.lines) > 1 else some
        said.append(f"{whose} one run: without more seeds there is no interval; add 'seed=range(5)' to the sweep")
    if answer.without_partner:
        said.append(f"No baseline agrees with {listed([group.name for group in answer.without_partner], 6)}")
    if len(answer.grouping.repeated) > 1:
        keys = listed(list(answer.grouping.repeated), 12)
        said.append(f"The runs of a group differ in {keys}; those that agree in all of them are pairs")
    together = [record.summary.get("trained_together") for record in records]
    if any(isinstance(number, int) and number > 1 for number in together):
        said.append("Seconds and examples per second of runs that were trained together are those of the whole stack")
    noted = [record.summary.get("versions") for record in every if record.summary]
    versions = Counter(str(found.get("torch")) for found in noted if isinstance(found, dict))
    if len(versions) > 1:
        said.append(f"The runs were made with different versions of torch: {listed(list(versions))}")
    return said


VERBS = {
    "pruned": ("was pruned", "were pruned"),
    "interrupted": ("was interrupted", "were interrupted"),
    UNFINISHED: ("has not ended", "have not ended"),
}
"""What is said of one run with a status, and of several."""


def records_of(grouping: Grouping) -> list[Record]:
    """Return the runs of all groups."""
    return [record for group in grouping.groups for record in group.records.values()]


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names in a row, the first of many."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def split_conditions(text: str | None, option: str) -> list[tuple[str, Any]]:
    """Read conditions that stand in one text: 'optimizer=sgd,init=he', or with spaces between."""
    return conditions(re.split(r"[,\s]+(?=[\w.]+=)", text.strip()), option) if text else []


def chosen(records: Sequence[Record], wanted: Sequence[tuple[str, Any]], known: Callable[[str], None]) -> list[Record]:
    """Return the runs that fulfil all conditions.

    Raises:
        UserError: none does, or a key is none of theirs.
    """
    for key, _ in wanted:
        known(key)
    left = [record for record in records if satisfies(record, wanted)]
    if not left:
        typed = " ".join(f"{key}={value}" for key, value in wanted)
        alone = [pair for pair in wanted if not any(satisfies(record, [pair]) for record in records)]
        if not alone:
            raise UserError(f"where={typed!r} fits none of {len(records)} runs, though each of it alone fits some")
        key, value = alone[0]
        values = list(dict.fromkeys(shown(record, key) for record in records))
        raise UserError(
            f"where={typed!r} fits none of {len(records)} runs; {key} is one of {listed(values, 8)}"
            + nearest(str(value), values)
        )
    return left
