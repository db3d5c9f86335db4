"""Runs of a fair search: those that chose the settings are told from those that judge them, on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.common.arrays import Array
from experiments.common.budget import expected_best
from experiments.common.metrics import Metric
from experiments.common.text import counted
from experiments.figures.canvas import canvas, integers, legend, legend_height
from experiments.figures.palette import Style, literal
from experiments.folders.reading import Record

from .drawing import NARROW, DrawnFigure
from .grouping import Group, Grouping, Setting, exactly, grouped, measured
from .statistics import std_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESAMPLES, CALIBRATED = 400, 0.85
"""The number of resampled choices of a setting, and the factor of their spread."""
CHOICE, INDEPENDENT, NUMBER = "trial.compare", "trial.independent", "trial.number"
"""The keys of a trial of a fair search: the choice that is compared, whether trials are independent, its number."""


@dataclass(frozen=True)
class FairRuns:
    """The runs of fair searches among some runs.

    Args:
        compared: the runs to compare: without those that chose settings, if there are runs on fresh seeds.
        tuning: the runs that chose the settings.
        key: the choice that all runs are about; None if there are other runs, or several choices.
        fresh: whether all compared runs have fresh seeds.
    """

    compared: Sequence[Record]
    tuning: Sequence[Record]
    key: str | None
    fresh: bool

    def notes(self) -> list[str]:
        """Return what the reader must know about them."""
        if not self.tuning:
            return []
        if not self.fresh and self.key is not None:
            return [
                "The runs on fresh seeds have not started: these are the runs of the tuning, which flatter every group"
            ]
        left_out = len(self.tuning) - sum(record in self.compared for record in self.tuning)
        return [f"{counted(left_out, 'run')} of the tuning left out: they chose the settings"] if left_out else []


def fair_runs(records: Sequence[Record], every: Sequence[Record]) -> FairRuns:
    """Sort out the runs of fair searches.

    Args:
        records: the runs to compare.
        every: all runs in the folders, of which a condition may have left some out.
    """
    choices: dict[Path, str] = {
        record.folder.parent: str(record.config[CHOICE]) for record in every if record.config.get(CHOICE) is not None
    }
    tuning = [record for record in records if record.config.get(CHOICE) is not None]
    judged = {record.folder.parent for record in every if is_fresh(record, choices)}
    compared = [record for record in records if record not in tuning or record.folder.parent not in judged]
    keys = {choices.get(record.folder.parent) for record in compared}
    key = next(iter(keys)) if len(keys) == 1 else None
    return FairRuns(compared, tuning, key, bool(compared) and all(is_fresh(record, choices) for record in compared))


def is_fresh(record: Record, choices: Mapping[Path, str]) -> bool:
    """Whether a run is one of a fair search on a fresh seed."""
    return record.folder.parent in choices and record.config.get(CHOICE) is None


def with_tuning(grouping: Grouping, runs: FairRuns, chooser: Metric | None) -> Grouping:
    """Return groups of runs on fresh seeds with the settings that were tried for each of them, the chosen one first.

    Args:
        grouping: of the runs on fresh seeds.
        runs: of the fair search.
        chooser: the metric that chose the settings.
    """
    if not runs.fresh or runs.key is None or chooser is None or grouping.nuisance or not runs.tuning:
        return grouping
    tried = grouped(runs.tuning, chooser.name, [runs.key], chooser=chooser)
    if not tried.nuisance:
        return grouping
    by_value = {exactly(first_of(group), runs.key): group.settings for group in tried.groups}

    def with_settings(group: Group) -> Group:
        first = first_of(group)
        settings = by_value.get(exactly(first, runs.key or ""), ())
        own = tuple(exactly(first, key) for key in tried.nuisance)

        def is_own(setting: Setting) -> bool:
            return tuple(exactly(next(iter(setting.records.values())), key) for key in tried.nuisance) == own

        return replace(group, settings=sorted(settings, key=lambda setting: not is_own(setting)))

    groups = [replace(group, luck=luck_of_group(group, chooser)) for group in map(with_settings, grouping.groups)]
    return replace(grouping, groups=groups, nuisance=tried.nuisance, chooser=chooser, fresh=True)


def luck_of_group(group: Group, chooser: Metric) -> float:
    """Return the luck of the choice of a group's setting, see `luck_of`."""
    tried = [setting for setting in group.settings if setting.score is not None]
    fresh = [record.metrics[chooser.name] for record in measured(group.records, chooser.name)]
    if len(tried) < 2 or len(fresh) < 2:
        return 0.0
    scores, values = [], []
    for setting in tried:
        found = [record.metrics[group.metric] for record in measured(setting.records, group.metric)]
        scores.append(chooser.score(setting.score or 0.0))
        values.append(sum(found) / len(found) if found else 0.0)
    runs = max(len(setting.records) for setting in tried)
    return luck_of(np.array(scores), np.array(values), std_of(fresh) / math.sqrt(runs))


def luck_of(scores: Array, values: Array, noise: float) -> float:
    """Return the standard deviation of a group's mean by the choice of its setting: other runs choose another one.

    Without it, groups that are equally good at their best are often told apart, because the trials of one of them chose
    worse (Bouthillier et al. 2021): in 16 % of simulated studies of four equal optimizers. It is the spread of the
    values that the chosen setting has if the noise of a run is added to the scores once more (a parametric bootstrap of
    the choice), times 0.85, with which at most 5 % of such studies claim a difference (`benchmarks fairness`).

    Args:
        scores: of the settings that were tried, the larger the better, (settings,).
        values: of the compared metric at these settings, (settings,).
        noise: the standard deviation of a score from seed to seed.
    """
    draws = scores + np.random.default_rng(0).normal(0, noise, (RESAMPLES, len(scores)))
    chosen = values[draws.argmax(1)]
    return CALIBRATED * float(chosen.std(ddof=1)) if chosen.min() < chosen.max() else 0.0


def first_of(group: Group) -> Record:
    """Return the first run of a group."""
    return next(iter(group.records.values()))


def budget_figure(grouping: Grouping, styles: Mapping[str, Style]) -> DrawnFigure | None:
    """Draw what the best of k trials reaches, for each group; None unless the groups were tuned by a fair search."""
    groups = [group for group in grouping.groups if len(group.settings) > 1]
    if not grouping.fresh or grouping.chooser is None or not groups:
        return None
    chooser = grouping.chooser
    independent = all(
        bool(record.config.get(INDEPENDENT))
        for group in groups
        for setting in group.settings
        for record in setting.records.values()
    )
    curves = {group.name: curve_of(group.settings, chooser, independent=independent) for group in groups}
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        return None
    expected = (
        f"The best {chooser.name} that k of these random trials are expected to reach."
        if independent
        else f"The best {chooser.name} of the first k trials, each of which depends on the earlier ones."
    )
    return DrawnFigure(
        "budget",
        "Performance against the budget of tuning",
        f"{expected} A line that is high from the start needs no tuning; where lines cross, the budget decides. "
        "These are the runs of the tuning: they say nothing about how certain a difference is.",
        budget(curves, chooser, styles, narrow=False),
        partial(budget, curves, chooser, styles, narrow=True),
    )


def curve_of(settings: Sequence[Setting], chooser: Metric, *, independent: bool) -> list[float]:
    """Return the expected best value of 1, 2, ... trials; the best of the first ones if they are not independent."""
    if independent:
        return expected_best([setting.score for setting in settings], chooser.larger_is_better)

    def number(setting: Setting) -> Any:
        given = next(iter(setting.records.values())).config.get(NUMBER)
        return given if isinstance(given, int) else 0

    scores = [setting.score for setting in sorted(settings, key=number) if setting.score is not None]
    best = np.maximum if chooser.larger_is_better else np.minimum
    return [float(value) for value in best.accumulate(scores)] if scores else []


def budget(
    curves: Mapping[str, Sequence[float]], chooser: Metric, styles: Mapping[str, Style], *, narrow: bool
) -> Figure:
    """Draw the figure of `budget_figure`."""
    width = NARROW if narrow else 8.5
    figure = canvas(width, 3.6 + legend_height(curves, width))
    axes = figure.subplots()
    for name, curve in curves.items():
        look: dict[str, Any] = {"color": styles[name].color, "linestyle": styles[name].linestyle}
        axes.plot(range(1, len(curve) + 1), np.array(curve) * chooser.scale, linewidth=1.8, **look)
    integers(axes)
    axes.set_xlim(1, max(2, *(len(curve) for curve in curves.values())))
    axes.set_xlabel("trials (k)")
    axes.set_ylabel(literal(chooser.label))
    legend(figure, list(curves), styles)
    return figure
