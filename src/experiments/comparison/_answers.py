"""What groups of runs show: a table, differences with their certainty, and the effect of each factor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from math import hypot, prod
from typing import Any

from experiments.common.errors import UserError, nearest
from experiments.common.metrics import Metric
from experiments.common.ranking import Ranking, different_losses, is_loss, ranking_of
from experiments.common.statuses import COMPLETED
from experiments.folders.reading import UNFINISHED, Record, number
from experiments.folders.sweep import FILE

from ._factors import Analysis, ConditionalEffect, analyse, only_where
from ._ranks import Ranks, letters, ranks_of
from ._spread import OddSpread, odd_spread
from ._words import LEVEL, conditional, differing, estimated, explained, odd, tuning_sentences, winning
from .grouping import Group, Grouping, conditions, satisfies, shown
from .statistics import (
    Difference,
    Estimate,
    Reached,
    difference,
    estimate,
    holm,
    pair_tests,
    reached,
    resolution_of,
    seeds_needed,
    smallest_rank_p,
    upper_std,
)

UNEQUAL = 3.0
"""If one standard deviation is more than this many times another, it explains why a large difference is not shown."""
UNDECIDED = "No group is shown to be the best"
"""The start of the headline if another group is level with the best one."""
MOST_PAIRS = 1_000
"""The most pairs of groups that are tested: 46 groups or more are compared only with a baseline."""
MOST_SEEDS = 1_000
MOST_FACTORS, MOST_CELLS = 5, 300
"""The most factors and combinations of an analysis of variance: more is a search, not a crossing."""
FILLED = 0.5
"""The share of the combinations that must have runs for a sweep to count as crossed."""


@dataclass(frozen=True)
class GroupRow:
    """One group's row of the table.

    Args:
        group: of runs.
        place: 1 + the number of groups shown to be better than it; None without a test.
        estimate: of the metric's mean; None if no run has completed.
        best: value of its best run.
        epochs, seconds: how soon its runs reach the target, in `Question.unit` and in seconds; None without a target.
        speed: mean of examples per second; None if no run has it.
        verdicts: the number of runs with each verdict.
        letters: two groups share a letter if they cannot be told apart; None without a test, or with a baseline.
        spread: of its runs, if that is not normal.
    """

    group: Group
    place: int | None
    estimate: Estimate | None
    best: float | None
    epochs: Reached | None
    seconds: Reached | None
    speed: float | None
    verdicts: Counter[str]
    letters: str | None = None
    spread: OddSpread | None = None


@dataclass(frozen=True)
class GroupDifference:
    """The difference between two groups.

    Args:
        group, other: the two groups.
        difference: group minus other.
        corrected: the t-test's p value, corrected over all comparisons of the question.
        wilcoxon: Wilcoxon's p value, corrected in the same way; None if no p value could be below 5 % after that.
        needed: seeds that would show a difference of this size; None if it is shown, or for more than 1,000.
        tests: the number of comparisons that are corrected together.
        sized: whether the number of seeds can be given: not if groups average over settings, or if luck of the choice
            of a setting remains.
    """

    group: Group
    other: Group
    difference: Difference
    corrected: float
    wilcoxon: float | None
    needed: int | None
    tests: int = 1
    sized: bool = True

    def wins(self, metric: Metric) -> bool:
        """Whether the group is shown to be better than the other."""
        return self.corrected < LEVEL and (self.difference.mean > 0) == metric.larger_is_better

    def sentence(self, metric: Metric) -> str:
        """Return the difference in words."""
        most = MOST_SEEDS if self.sized else None
        names = self.group.name, self.other.name
        return differing(metric, *names, self.difference, self.corrected, self.needed, most, self.reason(metric))

    def reason(self, metric: Metric) -> str:
        """Return why groups cannot be told apart although their intervals do not overlap; empty if they overlap."""
        groups = self.group, self.other
        if self.corrected < LEVEL or any(len(group.values) < 2 for group in groups):
            return ""
        wide, narrow = sorted((estimate(list(group.values.values())) for group in groups), key=spread_of, reverse=True)
        if None in (wide.low, wide.high, narrow.low, narrow.high) or overlap(wide, narrow):
            return ""
        parts = []
        if spread_of(wide) > UNEQUAL * spread_of(narrow):
            widest = max(groups, key=lambda group: spread_of(estimate(list(group.values.values()))))
            low, high = min(widest.values.values()), max(widest.values.values())
            parts.append(f"the runs of {widest.name} range from {metric.value(low)} to {metric.value(high)}")
        if any(group.luck for group in groups):
            parts.append("the choice of the settings was partly luck")
        if self.tests > 1:
            parts.append(f"{self.tests} pairs are tested")
        return " and ".join(parts)


@dataclass(frozen=True)
class Question:
    """The question to the runs.

    Args:
        metric: to compare.
        baseline: conditions of the groups that the others are compared with; none for the best group.
        target: the value that the metric is to reach.
        axis: of the curves, and the unit in which the way to the target is counted: 'epoch', 'step' or 'seconds'.
    """

    metric: Metric
    baseline: Sequence[tuple[str, Any]] = ()
    target: float | None = None
    axis: str = "epoch"

    @property
    def unit(self) -> str:
        """The unit of the axis."""
        return self.axis if self.axis == "seconds" else f"{self.axis}s"


@dataclass(frozen=True)
class Answer:
    """What the runs show.

    Args:
        question: the question that is answered.
        grouping: of the runs.
        rows: a row of the table for each group, the best first.
        differences: of the groups from the baseline, or of the best group from the others.
        analysis: the shares of the factors in the variance; None if the runs are not a crossing.
        conditional: factors that matter only at some levels of another factor.
        without_partner: groups that match no baseline.
        ranks: of the groups over the seeds, in the order of the rows; None for too few groups or seeds.
    """

    question: Question
    grouping: Grouping
    rows: Sequence[GroupRow]
    differences: Sequence[GroupDifference]
    analysis: Analysis | None
    conditional: Sequence[ConditionalEffect]
    without_partner: Sequence[Group] = field(default_factory=list)
    ranks: Ranks | None = None

    @cached_property
    def sentences(self) -> list[str]:
        """The answer in sentences, the most important first."""
        return self.worded([pair.sentence(self.question.metric) for pair in self.differences])

    @cached_property
    def folded(self) -> list[str]:
        """The sentences in a form for the page: all groups that one group beats are in one sentence."""
        metric, found = self.question.metric, []
        beaten = [pair for pair in self.differences if pair.wins(metric)]
        for pair in self.differences:
            others = [other for other in beaten if other.group is pair.group]
            if pair not in beaten or len(others) < 2:
                found.append(pair.sentence(metric))
            elif pair is others[0]:
                found.append(winning(metric, pair.group.name, [(o.other.name, o.difference) for o in others]))
        return self.worded(found)

    def worded(self, differences: Sequence[str]) -> list[str]:
        """Return the answer in sentences, with these about the differences."""
        metric, sentences = self.question.metric, [self.headline()]
        if self.rows[0].estimate is None:
            return sentences
        sentences += differences
        sentences += tuning_sentences(metric, self.grouping, [row.group for row in self.rows])
        sentences += [
            odd(metric, row.group, row.spread, self.grouping.repeated, self.question.target, row.epochs)
            for row in self.rows
            if row.spread is not None
        ]
        if self.analysis is not None and self.analysis.effects:
            sentences.append(explained(self.analysis))
        sentences += [conditional(metric, effect) for effect in self.conditional]
        return sentences

    @cached_property
    def is_stacked(self) -> bool:
        """Whether all runs were trained in stacks, so that examples per second tell nothing about a group."""
        return all(is_stacked(record) for record in records_of(self.grouping))

    def fewest_ranked(self) -> int:
        """The fewest seeds with which Wilcoxon's test could show a difference after the correction."""
        tests = next((pair.tests for pair in self.differences), 1)
        return next(n for n in range(2, 100) if tests * smallest_rank_p(n) < LEVEL)

    def headline(self) -> str:
        """The best group in a sentence: a winner only if no other group is level with it."""
        metric, best = self.question.metric, self.rows[0]
        if best.estimate is None:
            completed = any(record.status in COMPLETED for record in records_of(self.grouping))
            reason = f"No completed run has {metric.name}" if completed else "No run has completed"
            return f"{reason}: there is nothing to compare yet"
        if len(self.rows) == 1:
            return f"{best.group.name}: {metric.name} {estimated(metric, best.estimate)}"
        if best.estimate.n == 1:
            alone = all(row.place is None for row in self.rows)
            few = "with one seed per group nothing can be claimed" if alone else "with one run nothing can be claimed"
            return f"{best.group.name} has the best {metric.name}, {metric.value(best.estimate.mean)}; {few}"
        mean = estimated(metric, best.estimate)
        tied = [pair for pair in self.differences if best.group in (pair.group, pair.other) and pair.corrected >= LEVEL]
        if not tied:
            return f"{best.group.name} has the best mean {metric.name}, {mean}"
        end = "highest" if metric.larger_is_better else "lowest"
        others = len(self.rows) - 1
        against = f"{len(tied)} of {others} others"
        if self.question.baseline:
            against = "the baseline"
        elif len(tied) == others:
            against = "the other group" if others == 1 else f"the other {others} groups"
        return (
            f"{UNDECIDED}: {best.group.name} has the {end} mean {metric.name}, {mean}, but "
            f"{against} cannot be told apart from it"
        )


def spread_of(found: Estimate) -> float:
    """Return the standard deviation of the runs; 0 for one run."""
    return found.std or 0.0


def overlap(one: Estimate, other: Estimate) -> bool:
    """Whether two intervals overlap."""
    assert one.low is not None
    assert one.high is not None
    assert other.low is not None
    assert other.high is not None
    return one.low <= other.high and other.low <= one.high


def answered(grouping: Grouping, question: Question) -> Answer:
    """Return the answer that the groups give to a question.

    Raises:
        UserError: the baseline matches no group, or several groups that the other groups cannot choose between.
    """
    metric = question.metric
    if question.target is not None:
        refuse_unreachable(grouping, metric, question.target)
    values = [value for group in grouping.groups for value in group.values.values()]
    resolution = resolution_of(values) if metric.is_share else 0.0
    few = len(grouping.groups) * (len(grouping.groups) - 1) // 2 <= MOST_PAIRS
    rows = [row_of(group, question, resolution) for group in grouping.groups]
    rows.sort(key=lambda row: (row.estimate is not None, merit_of(row, metric)), reverse=True)
    if few:
        rows = with_places(rows, metric, resolution, lettered=not question.baseline)
    unpaired: list[Group] = []
    if question.baseline:
        pairs, unpaired = paired_with_baseline(grouping, question.baseline)
        differences = compared(pairs, resolution)
    else:
        differences = best_against_others([row.group for row in rows], resolution) if few else []
    if grouping.pooled or grouping.fresh:
        differences = [replace(pair, needed=None, sized=False) for pair in differences]
    if grouping.fresh:  # ranks do not know the luck of the choice
        differences = [replace(pair, wilcoxon=None) for pair in differences]
    runs, names = crossing(grouping) if not grouping.fresh else ([], [])
    return Answer(
        question,
        grouping,
        rows,
        differences,
        analyse(runs, names, resolution) if runs else None,
        only_where(runs, names, resolution) if runs and len(names) > 1 else [],
        unpaired,
        None if question.baseline else ranks_of([r.group.values for r in rows], metric.larger_is_better, resolution),
    )


def merit_of(row: GroupRow, metric: Metric) -> tuple[float, float]:
    """Return the sort key of a group: the mean of the metric, see `Metric.merit`."""
    if row.estimate is None:
        return 0.0, 0.0
    losses = [
        record.metrics["val/loss"]
        for block, record in row.group.records.items()
        if block in row.group.values and "val/loss" in record.metrics
    ]
    loss = {"val/loss": sum(losses) / len(losses)} if losses else {}
    return metric.merit({**loss, metric.name: row.estimate.mean})


def with_places(rows: Sequence[GroupRow], metric: Metric, resolution: float, *, lettered: bool) -> list[GroupRow]:
    """Return the rows with their places and, unless the question is about a baseline, with letters."""
    lucks = [row.group.luck for row in rows]
    tests = pair_tests([row.group.values for row in rows], metric.larger_is_better, resolution, LEVEL, lucks)
    tested = [index for index in range(len(rows)) if index in tests.tested]
    position = {index: number for number, index in enumerate(tested)}
    found = letters(len(tested), {(position[one], position[other]) for one, other in tests.shown}) if lettered else None
    placed = []
    for index, row in enumerate(rows):
        place = 1 + sum(worse == index for _, worse in tests.shown) if index in position else None
        own = found[position[index]] if found is not None and index in position else None
        placed.append(replace(row, place=place, letters=own))
    return placed


def row_of(group: Group, question: Question, resolution: float) -> GroupRow:
    """Return a group's row of the table, without its place."""
    metric = question.metric
    values = list(group.values.values())
    best = (max if metric.larger_is_better else min)(values) if values else None
    noted = [record.summary.get("examples_per_second", "") for record in group.records.values()]
    speeds = [float(speed) for speed in noted if number(speed)]
    verdicts = Counter(name for record in group.records.values() for name in set(verdict_names(record)))
    return GroupRow(
        group,
        None,
        possible(estimate(values), metric) if values else None,
        best,
        to_target(group, question, question.axis),
        to_target(group, question, "seconds"),
        sum(speeds) / len(speeds) if speeds else None,
        verdicts,
        spread=odd_spread(group.values, resolution),
    )


def possible(found: Estimate, metric: Metric) -> Estimate:
    """Return an estimate whose interval holds only values that the metric can have, see `Metric.possible`."""
    if found.low is None or found.high is None:
        return found
    low, high = metric.possible(found.low, found.high)
    return replace(found, low=low, high=high)


def verdict_names(record: Record) -> list[str]:
    """Return the names of a run's verdicts, except that it is healthy."""
    found = record.summary.get("verdicts")
    names = [verdict.get("name") for verdict in found if isinstance(verdict, dict)] if isinstance(found, list) else []
    return [name for name in names if isinstance(name, str) and name != "healthy"]


def refuse_unreachable(grouping: Grouping, metric: Metric, target: float) -> None:
    """Refuse a target of a metric without a curve, and an accuracy above 100 %.

    Raises:
        UserError: with what is allowed.
    """
    if metric.is_share and target > 1:
        raise UserError(f"target={target:g} should be at most 1: 0.97 is an accuracy of 97 %")
    curves = dict.fromkeys(name for record in records_of(grouping) for name in record.history if "/" in name)
    if curves and metric.name not in curves:
        raise UserError(
            f"target needs a metric that is measured every epoch, but {metric.name} is measured once; "
            f"choose metric from {listed(list(curves))}"
        )


def to_target(group: Group, question: Question, axis: str) -> Reached | None:
    """Return how soon the runs of a group reach the target; a running one counts as soon as it has."""
    if question.target is None:
        return None
    metric, target = question.metric, question.target
    times: list[float | None] = []
    for record in group.records.values():
        time = next(
            (
                moment
                for value, moment in zip(
                    record.history.get(metric.name, ()), record.history.get(axis, ()), strict=False
                )
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
    """Return each group with the baseline that it is compared with, and the groups that have none.

    If several groups match, each other group has the one that agrees with it in all other keys.

    Raises:
        UserError: no group matches, or several that no other group agrees with.
    """
    chosen = [
        group for group in grouping.groups if all(satisfies(record, baseline) for record in group.records.values())
    ]
    typed = " ".join(f"{key}={value}" for key, value in baseline)
    if not chosen:
        names = [group.name for group in grouping.groups]
        raise UserError(
            f"baseline={typed!r} matches no group; the groups are: {listed(names, 12)}" + nearest(typed, names)
        )
    if 1 < len(chosen) == len(grouping.groups):
        raise UserError(f"baseline={typed!r} matches all {len(chosen)} groups; add a key that tells them apart")
    keys = {key for key, _ in baseline}
    rest = [key for key in grouping.keys if key not in keys]
    pairs, unpaired = [], []
    for group in grouping.groups:
        if group in chosen:
            continue
        partners = [o for o in chosen if all(o.levels.get(key) == group.levels.get(key) for key in rest)]
        if len(chosen) == 1:
            partners = chosen
        if len(partners) == 1:
            pairs.append((group, partners[0]))
        else:
            unpaired.append(group)
    if unpaired and not pairs:
        names = [group.name for group in chosen]
        raise UserError(
            f"baseline={typed!r} matches {len(chosen)} groups ({listed(names)}); add a key that tells them apart"
        )
    return pairs, unpaired


def compared(pairs: Sequence[tuple[Group, Group]], resolution: float) -> list[GroupDifference]:
    """Return the differences of pairs of groups, corrected for their number."""
    differences = [
        (pair, difference(pair[0].values, pair[1].values, resolution, luck=hypot(pair[0].luck, pair[1].luck)))
        for pair in pairs
    ]
    tested = [(pair, possible_difference(test, pair[0].metric)) for pair, test in differences if test is not None]
    corrected = holm([test.t_p for _, test in tested])
    ranked = holm([test.wilcoxon_p for _, test in tested])
    return [
        GroupDifference(
            *pair,
            test,
            p,
            w if can_rank(pair, test, len(tested)) else None,
            seeds(test, p, len(tested)),
            len(tested),
        )
        for (pair, test), p, w in zip(tested, corrected, ranked, strict=True)
    ]


def possible_difference(test: Difference, name: str) -> Difference:
    """Return a difference whose interval holds only possible values: two shares differ by at most 1."""
    if not Metric(name).is_share or test.low is None or test.high is None:
        return test
    return replace(test, low=max(test.low, -1.0), high=min(test.high, 1.0))


def can_rank(pair: tuple[Group, Group], test: Difference, tests: int) -> bool:
    """Whether a test on ranks could show a difference of this pair, if it is the most certain one of some tests."""
    sizes = (test.n, None) if test.paired else (len(pair[0].values), len(pair[1].values))
    return tests * smallest_rank_p(*sizes) < LEVEL


def best_against_others(groups: Sequence[Group], resolution: float) -> list[GroupDifference]:
    """Return the differences of the best group, which is the first, from each other.

    As the runs themselves chose it, the p values are corrected over all pairs of groups: any could have been best.
    """
    return [pair for pair in compared(list(combinations(groups, 2)), resolution) if pair.group is groups[0]]


def seeds(test: Difference, corrected: float, tests: int) -> int | None:
    """Return how many seeds would show an undecided difference if it is as large as it looks.

    The spread that is assumed is the upper end of its confidence interval.
    """
    if corrected < LEVEL or test.std == 0:
        return None
    return seeds_needed(test.mean, upper_std(test.std, test.n), LEVEL / tests, paired=test.paired, most=MOST_SEEDS)


def crossing(grouping: Grouping) -> tuple[list[tuple[tuple[str, ...], Any, float]], list[str]]:
    """Return the runs as rows of an analysis of variance, and its factors; both empty if they are not a crossing."""
    names = list(grouping.keys)
    levels = {key: {group.levels[key] for group in grouping.groups} for key in names}
    cells = prod(len(values) for values in levels.values())
    rows = [
        (tuple(group.levels[key] for key in names), block, value)
        for group in grouping.groups
        for block, value in group.values.items()
    ]
    filled = {levels for levels, _, _ in rows}
    enough = rows and len(rows) > len(filled) > 1 and len(filled) >= FILLED * cells
    if not enough or len(names) > MOST_FACTORS or cells > MOST_CELLS:
        return [], []
    return rows, names


def chooser_of(records: Sequence[Record], metric: Metric) -> Metric | None:
    """Return the metric that chooses settings: the runs' objective, else the compared one; never that of a test split.

    Args:
        records: the runs.
        metric: the metric to compare.
    """
    objectives = {record.objective for record in records}
    names = [*(objectives if len(objectives) == 1 else ()), metric.name]
    rankings = [ranking_of(name, *settings_and_metrics(records)) for name in names]
    have = {name for record in records for name in record.metrics}
    usable = [ranking.metric for ranking in rankings if ranking.metric is not None]
    return next((one for one in usable if one.name in have and not one.name.startswith("test/")), None)


def wanted_ranking(records: Sequence[Record], wanted: str | None) -> Ranking:
    """Return how runs are compared: by the wanted metric, or else by the runs' objective, see `ranking_of`.

    Args:
        records: the runs.
        wanted: the name of a metric; None for the objective.

    Raises:
        UserError: no run has the metric, the runs have different objectives, or it is a loss that cannot be compared
            because the runs have different losses.
    """
    objectives = Counter(record.objective for record in records)
    if wanted is None and len(objectives) > 1:
        raise UserError(f"the runs have different objectives: {with_runs(objectives)}; choose one with metric=<name>")
    name = next(iter(objectives)) if wanted is None else wanted
    known = dict.fromkeys(key for record in records for key in (*record.metrics, *record.history))
    known = dict.fromkeys(key for key in known if "/" in key)
    if wanted is None and known and name not in known:
        raise UserError(
            f"no run has {name}, the objective of all runs; choose with metric=<name>: {listed(list(known), 12)}"
        )
    if wanted is not None and wanted not in known:
        raise UserError(
            f"metric={wanted!r} is not a metric of these runs; choose from {listed(list(known), 12)}"
            + nearest(wanted, known)
        )
    ranking = ranking_of(name, *settings_and_metrics(records))
    if ranking.metric is None or (wanted is not None and ranking.is_replaced):
        usable = [key for key in known if not is_loss(key)]
        first = [ranking.metric.name] if ranking.metric is not None else usable
        asked = f"metric={wanted}: " if wanted is not None else ""
        raise UserError(
            f"{asked}{ranking.reason}; choose {f'metric={first[0]}' if len(first) == 1 else 'a metric of the answers'}"
            f"{f' ({listed(first, 12)})' if len(first) > 1 else ''}, or runs with one loss by where={one_loss(records)}"
        )
    return ranking


def settings_and_metrics(records: Sequence[Record]) -> tuple[list[Mapping[str, Any]], list[list[str]]]:
    """Return the configurations and the names of the metrics of the runs that have measured something."""
    measured = [(record.config, [*record.metrics, *record.history]) for record in records]
    measured = [pair for pair in measured if pair[1]]
    return [config for config, _ in measured], [names for _, names in measured]


def one_loss(records: Sequence[Record]) -> str:
    """Return a condition that only runs with the same loss as the first run meet, as far as one key decides it."""
    key = different_losses(settings_and_metrics(records)[0]).partition("=")[0]
    key = key if key != "loss" or "loss" in records[0].choices else "loss._target_"
    return f"{key}={shown(records[0], key)}"


def unmixed(records: Sequence[Record], *, mixed: bool) -> str | None:
    """Return a sentence about runs of different data sets; None for one data set.

    Raises:
        UserError: there are several, which are not to be mixed.
    """
    sets = Counter(
        record.choices.get("data") or str(record.config.get("data._target_", "?")).rpartition(".")[2]
        for record in records
    )
    if len(sets) < 2:
        return None
    if mixed:
        return f"The runs have different data sets: {with_runs(sets)}"
    raise UserError(
        f"the runs have different data sets: {with_runs(sets)}; choose one with where=data={next(iter(sets))}, "
        "or compare all with mixed=true"
    )


def with_runs(counts: Mapping[str, int]) -> str:
    """Return names with their numbers of runs: 'digits (2 runs), mnist (1 run)'."""
    return listed([f"{name} ({count} run{'' if count == 1 else 's'})" for name, count in counts.items()])


def notes(answer: Answer, every: Sequence[Record]) -> list[str]:
    """Return what else the reader must know, such as which runs are not in the means."""
    sentences = []
    records = records_of(answer.grouping)
    lacking = [r for g in answer.grouping.groups for b, r in g.records.items() if b not in g.values]
    lacking = [record for record in lacking if record.status in COMPLETED]
    if lacking:
        name, verb = answer.question.metric.name, "has" if len(lacking) == 1 else "have"
        sentences.append(
            f"{len(lacking)} of {len(records)} runs completed but {verb} no {name}, so the means leave them out"
        )
    for status in dict.fromkeys(record.status for record in records if record.status not in COMPLETED):
        groups = [(group.name, group.statuses[status]) for group in answer.grouping.groups if group.statuses[status]]
        count = sum(number for _, number in groups)
        names = listed([f"{name} ({number})" if number > 1 else name for name, number in groups], 6)
        verb, left_out = VERBS.get(status, (status, status))[count > 1], ("is", "are")[count > 1]
        sentences.append(f"{count} of {len(records)} runs {verb} and {left_out} not in the means: {names}")
    if answer.grouping.repeats:
        repeats = len(answer.grouping.repeats)
        verb = "run repeats" if repeats == 1 else "runs repeat"
        sentences.append(f"{repeats} more {verb} a configuration and seed; of each, the newest completed run counts")
    singles = [row for row in answer.rows if row.estimate is not None and row.estimate.n == 1]
    if singles:
        some = "1 group has" if len(singles) == 1 else f"{len(singles)} groups have"
        subject = "Every group has" if len(singles) == len(answer.rows) > 1 else some
        swept = all((record.folder.parent / FILE).exists() for row in singles for record in row.group.records.values())
        remedy = "add 'seed=range(5)' to the sweep" if swept else "train each with -m 'seed=range(5)'"
        sentences.append(f"{subject} only one run: an interval needs more seeds; {remedy}")
    if answer.without_partner:
        names = listed([group.name for group in answer.without_partner], 6)
        sentences.append(f"There is no matching baseline for {names}")
    sentences += unchosen(answer.grouping)
    if len(answer.grouping.repeated) > 1:
        keys = listed(list(answer.grouping.repeated), 12)
        sentences.append(f"The runs of a group differ in {keys}; runs that agree in all of them are paired")
    noted = [record.summary.get("versions") for record in every if record.summary]
    versions = Counter(str(libraries.get("torch")) for libraries in noted if isinstance(libraries, dict))
    if len(versions) > 1:
        sentences.append(f"The runs used different versions of torch: {listed(list(versions))}")
    return sentences


def timing_note(answer: Answer) -> str | None:
    """Return a note on the times of runs that were trained together; None if there are none."""
    if not any(is_stacked(record) for record in records_of(answer.grouping)):
        return None
    times = "Seconds" if answer.is_stacked else "Seconds and examples per second"
    return f"{times} of runs that were trained together are those of the whole stack"


def unchosen(grouping: Grouping) -> list[str]:
    """Return a note on the runs without a result at settings that were not chosen."""
    others = [record for group in grouping.groups for setting in group.settings for record in setting.records.values()]
    compared_runs = {record.folder for record in records_of(grouping)}
    statuses = Counter(record.status for record in others if record.folder not in compared_runs)
    lost = [f"{count} {status}" for status, count in statuses.items() if status not in COMPLETED]
    return [f"Runs without a result at settings that were not chosen: {', '.join(lost)}"] if lost else []


VERBS = {
    "pruned": ("was pruned", "were pruned"),
    "interrupted": ("was interrupted", "were interrupted"),
    UNFINISHED: ("has not ended", "have not ended"),
}
"""The verb of a status for one run, and for several."""


def is_stacked(record: Record) -> bool:
    """Whether a run was trained together with others."""
    together = record.summary.get("trained_together")
    return isinstance(together, int) and together > 1


def records_of(grouping: Grouping) -> list[Record]:
    """Return the runs of all groups."""
    return [record for group in grouping.groups for record in group.records.values()]


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return the first of some names, and the number of the others."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def split_conditions(text: str | None, option: str) -> list[tuple[str, Any]]:
    """Read the conditions in a text, with commas or spaces between them: 'optimizer=sgd,init=he'."""
    return conditions(re.split(r"[,\s]+(?=[\w.]+=)", text.strip()), option) if text else []


def chosen(records: Sequence[Record], wanted: Sequence[tuple[str, Any]], known: Callable[[str], None]) -> list[Record]:
    """Return the runs that match all conditions.

    Raises:
        UserError: none does, or no run has one of the keys.
    """
    for key, _ in wanted:
        known(key)
    left = [record for record in records if satisfies(record, wanted)]
    if not left:
        typed = " ".join(f"{key}={value}" for key, value in wanted)
        unmatched = [pair for pair in wanted if not any(satisfies(record, [pair]) for record in records)]
        if not unmatched:
            raise UserError(
                f"where={typed!r} matches none of {len(records)} runs, although each of its conditions matches some"
            )
        key, value = unmatched[0]
        values = list(dict.fromkeys(shown(record, key) for record in records))
        raise UserError(
            f"where={typed!r} matches none of {len(records)} runs; for {key} choose from {listed(values, 8)}"
            + nearest(str(value), values)
        )
    return left
