"""The result of a lesson, and functions that read values from a recipe's runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.common.metrics import Metric
from experiments.common.statuses import COMPLETED
from experiments.comparison.statistics import difference
from experiments.folders.reading import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Measured:
    """The result of a lesson.

    Args:
        values: by quantity; a quantity with a band is checked against it, the others are only shown.
        draw: draws the lesson's figure; it is called inside `palette.drawing()`.
        said: sentences for the reader, with the numbers.
    """

    values: Mapping[str, float]
    draw: Callable[[], Figure]
    said: Sequence[str] = ()


def level(run: Record, key: str) -> str:
    """Return a run's value for a key: the choice of a config group, or the value of a setting.

    Raises:
        KeyError: the run has neither.
    """
    if key in run.choices:
        return run.choices[key]
    if key not in run.config:
        raise KeyError(f"{run.folder} has no {key}")
    value = run.config[key]
    return str(value).lower() if isinstance(value, bool) else str(value)


def by(runs: Sequence[Record], key: str) -> dict[str, list[Record]]:
    """Group runs by their value for a key, in the order of first occurrence."""
    groups: dict[str, list[Record]] = {}
    for run in runs:
        groups.setdefault(level(run, key), []).append(run)
    return groups


def curve(run: Record, metric: str) -> Sequence[float]:
    """Return a metric at the end of each epoch; empty if it was not measured."""
    return run.history.get(metric, ())


def best(run: Record, metric: str) -> float:
    """Return a metric of the run's best epoch (for `test/...`, of that epoch's weights); nan if there is none."""
    return run.metrics.get(metric, math.nan)


def last(run: Record, metric: str) -> float:
    """Return a metric at the end of training; nan if the run diverged or does not have it."""
    values = curve(run, metric)
    return values[-1] if values and run.status in COMPLETED else math.nan


def at_best_rate(runs: Sequence[Record]) -> list[Record]:
    """Return the runs with the best learning rate, by the mean over the seeds of their best validation accuracy."""

    def merit(group: Sequence[Record]) -> tuple[float, float]:
        names = ("val/accuracy", "val/loss")
        return Metric(names[0]).merit({name: fmean(best(run, name) for run in group) for name in names})

    return max(by(runs, "optimizer.lr").values(), key=merit)


def epochs_to(run: Record, metric: str, target: float) -> float:
    """Return the first epoch at whose end a metric is at least as good as a target; inf if there is none."""
    rising = Metric(metric).larger_is_better
    for epoch, value in zip(run.history.get("epoch", ()), curve(run, metric), strict=True):
        if value >= target if rising else value <= target:
            return epoch
    return math.inf


def quantity(run: Record, name: str, epoch: int | None = None) -> dict[str, float]:
    """Return a quantity of `layers.csv` by layer, at one epoch: 0 is before training, None is the last."""
    by_layer = {}
    for layer, values in run.layers([name]).get(name, {}).items():
        chosen = max(values) if epoch is None else epoch
        if chosen in values:
            by_layer[layer] = values[chosen]
    return by_layer


def of_seeds(runs: Sequence[Record], value: Callable[[Record], float]) -> dict[str, float]:
    """Return a value of each run by its seed."""
    return {level(run, "seed"): value(run) for run in runs}


def lead(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Return the lower end of the 95 % interval of the mean difference between two sets of values.

    Args:
        first, second: values by seed; they are paired by seed.

    Returns:
        The lower end; nan if a value is not finite, or if there are too few pairs.
    """
    if not all(map(math.isfinite, (*first.values(), *second.values()))):
        return math.nan
    interval = difference(first, second)
    if interval is None:
        return math.nan
    return interval.mean if interval.low is None else interval.low
