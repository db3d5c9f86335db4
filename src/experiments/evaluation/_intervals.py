"""Metrics of a split with bootstrap intervals, for any task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from experiments.common.metrics import Metric
from experiments.tasks.metrics import Measure

RESAMPLES = 1000
FEWER = 200
MANY = 20_000
"""Examples from which `FEWER` resamples are drawn: the intervals are narrow, and each resample takes long."""


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % interval.

    Args:
        value: of all examples.
        low, high: percentiles over resamples of the examples (Efron 1979).
        resamples: how many.
    """

    value: float
    low: float
    high: float
    resamples: int


def intervals(measures: Mapping[str, Measure], answers: Tensor, targets: Tensor) -> dict[str, Interval]:
    """Return metrics by name, without those that are not defined for these examples.

    Args:
        measures: the metrics, by name.
        answers, targets: see `tasks.metrics`.
    """
    found = {}
    for name, measure in measures.items():
        value = float(measure(answers, targets))
        if isfinite(value):
            draw = torch.Generator().manual_seed(0)
            count = RESAMPLES if len(answers) < MANY and answers.ndim < 3 else FEWER
            rows = (torch.randint(len(answers), (len(answers),), generator=draw) for _ in range(count))
            drawn = torch.tensor([float(measure(answers[own], targets[own])) for own in rows], dtype=torch.float64)
            drawn = drawn[drawn.isfinite()]
            low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
            found[name] = Interval(value, low, high, len(drawn))
    return found


def line(name: str, interval: Interval) -> str:
    """Return a metric with its interval for people."""
    metric = Metric(name)
    return f"{name}  {metric.value(interval.value)} (95 % {metric.bounds(interval.low, interval.high)})"
