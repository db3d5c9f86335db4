"""What a lesson finds, and how it asks a recipe's runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.common.metrics import Metric
from experiments.comparison.statistics import difference
from experiments.folders.reading import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Measured:
    """What a lesson found.

    Args:
        values: by quantity; what has a band is judged, the rest is shown.
        draw: makes the lesson's figure, inside `palette.drawing()`.
        said: sentences about it for the reader, with the numbers.
    """

    values: Mapping[str, float]
    draw: Callable[[], Figure]
    said: Sequence[str] = ()


def level(run: Record, key: str) -> str:
    """Return what a run has for a key: the choice of a config group, or the value of a setting."""
    if key in run.choices:
        return run.choices[key]
    if key not in run.config:
        raise KeyError(f"{run.folder} has no {key}")
    value = run.config[key]
    return str(value).lower() if isinstance(value, bool) else str(value)


def by(runs: Sequence[Record], key: str) -> dict[str, list[Record]]:
    """Divide runs by what they have for a key, in the order in which the values come."""
    found: dict[str, list[Record]] = {}
    for run in runs:
        found.setdefault(level(run, key), []).append(run)
    return found


def curve(run: Record, metric: str) -> Sequence[float]:
    """Return a metric at the end of each epoch; empty where it was not measured."""
    return run.history.get(metric, ())


def best(run: Record, metric: str) -> float:
    """Return a metric of the run's best epoch (for `test/...` that of its weights); nan where there is none."""
    return run.metrics.get(metric, math.nan)


def last(run: Record, metric: str) -> float:
    """Return a metric at the end of training; nan where the run diverged or has none."""
    values = curve(run, metric)
    return values[-1] if values and run.status in ("finished", "stopped") else math.nan


def at_best_rate(runs: Sequence[Record]) -> list[Record]:
    """Return the runs with the rate whose best validation accuracy is the highest, on average over the seeds."""
    return max(by(runs, "optimizer.lr").values(), key=lambda own: fmean(best(run, "val/accuracy") for run in own))


def epochs_to(run: Record, metric: str, target: float) -> float:
    """Return the first epoch at whose end a metric is as good as a target; inf where it never was."""
    rising = Metric(metric).larger_is_better
    for epoch, value in zip(run.history.get("epoch", ()), curve(run, metric), strict=True):
        if value >= target if rising else value <= target:
            return epoch
    return math.inf


def quantity(run: Record, name: str, epoch: int | None = None) -> dict[str, float]:
    """Return a quantity of `layers.csv` by layer, at an epoch: 0 is before training, None the last."""
    found = {}
    for layer, values in run.layers([name]).get(name, {}).items():
        at = max(values) if epoch is None else epoch
        if at in values:
            found[layer] = values[at]
    return found


def of_seeds(runs: Sequence[Record], value: Callable[[Record], float]) -> dict[str, float]:
    """Return a value of each run by its seed."""
    return {level(run, "seed"): value(run) for run in runs}


def lead(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Return by how much values are at least above others: the lower end of the 95 % interval of the mean difference.

    Args:
        first, second: by seed, over which they are paired.

    Returns:
        nan where a value is not finite, or where there are too few.
    """
    if not all(map(math.isfinite, (*first.values(), *second.values()))):
        return math.nan
    found = difference(first, second)
    if found is None:
        return math.nan
    return found.mean if found.low is None else found.low
