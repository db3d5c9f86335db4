"""Curves: each group's mean over its runs, epoch by epoch, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from experiments.common.arrays import Array
from experiments.common.metrics import Metric
from experiments.folders.reading import Record

from .grouping import Group

FIRST = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
NOT_METRICS = {"epoch", "step", "seconds"}
ENOUGH = 0.5
"""The share of a group's runs that must be left at an epoch: a mean of fewer does not stand for the group."""


@dataclass(frozen=True)
class Curve:
    """A metric of a group over training.

    Args:
        group: of runs.
        metric: its name.
        x: epoch, step and seconds: the runs' mean at each epoch, (epochs,); no epoch if runs validate by steps.
        mean: over the runs that have the epoch, (epochs,).
        low, high: 95 % interval of the mean, (epochs,), cut to possible values; nan if only one run is left.
        n: the number of runs, (epochs,).
    """

    group: Group
    metric: str
    x: dict[str, Array]
    mean: Array
    low: Array
    high: Array
    n: NDArray[np.int64]


def curves(groups: Sequence[Group]) -> list[Curve]:
    """Return the curves of all metrics of some groups."""
    return [curve for group in groups for metric in metrics([group]) if (curve := curve_of(group, metric)) is not None]


def metrics(groups: Sequence[Group]) -> list[str]:
    """Return the per-epoch metrics of the runs of some groups, losses and accuracies first."""
    names = dict.fromkeys(
        name
        for group in groups
        for record in group.records.values()
        for name in record.history
        if name not in NOT_METRICS
    )
    return [*(name for name in FIRST if name in names), *(name for name in names if name not in FIRST)]


def curve_of(group: Group, metric: str) -> Curve | None:
    """Return a group's curve; None if no run has the metric."""
    records = [record for record in group.records.values() if metric in record.history]
    if not records:
        return None
    histories = aligned(records)
    values = table([history[metric] for history in histories])
    n = np.isfinite(values).sum(0)
    kept = int((n >= max(1, ENOUGH * len(records))).cumprod().sum())
    if kept == 0:
        return None
    values, n = values[:, :kept], n[:kept]
    mean = np.nansum(values, 0) / n
    several = np.maximum(n, 2)
    std = np.sqrt(np.nansum((values - mean) ** 2, 0) / (several - 1))
    reach = np.where(n > 1, stdtrit(several - 1, 0.975) * std / np.sqrt(several), np.nan)
    low, high = mean - reach, mean + reach
    if Metric(metric).is_share:
        low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    x = {}
    by_steps = any(record.validated_every is not None for record in records)
    for axis in ("step", "seconds") if by_steps else ("epoch", "step", "seconds"):
        positions = table([history.get(axis, ()) for history in histories])[:, :kept]
        if positions.shape[1] == kept and np.isfinite(positions).any(0).all():
            x[axis] = np.nanmean(positions, 0)
    return Curve(group, metric, x, mean, low, high, n)


def aligned(records: Sequence[Record]) -> list[Mapping[str, Sequence[float]]]:
    """Return the histories of some runs; if they validate at different steps, only the rows at common steps."""
    histories = [record.history for record in records]
    if len({record.validated_every for record in records}) == 1:
        return histories
    common = set.intersection(*(set(history.get("step", ())) for history in histories))
    return (
        [
            {
                name: [value for value, step in zip(column, history["step"], strict=False) if step in common]
                for name, column in history.items()
            }
            for history in histories
        ]
        if common
        else histories
    )


def table(rows: Sequence[Sequence[float]]) -> Array:
    """Return rows of different lengths as one array, (rows, length of the longest), filled up with nan."""
    length = max(map(len, rows))
    filled = np.full((len(rows), length), np.nan)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return filled
