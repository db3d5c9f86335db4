"""Metrics: their names, directions, units and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MetricName = Literal["val/accuracy", "val/loss", "train/accuracy", "train/loss"]


AXES = {"epoch": "epochs", "step": "steps (updates)", "seconds": "time (s)"}
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def merit(score: float, measured: Mapping[str, float], split: str = "val") -> tuple[float, float]:
    """Return the sort key whose largest value is the best, for everything that is chosen: epochs, runs, trials, groups.

    Of equals, as accuracies on a small validation split often are, the one with the lower validation loss is the better
    one; without a validation split, the one with the lower loss of the metric's own split.

    Args:
        score: the metric, with the sign that makes the larger one the better one.
        measured: values by the names of metrics.
        split: of the metric.
    """
    return score, -measured.get("val/loss", measured.get(f"{split}/loss", 0.0))


@dataclass(frozen=True)
class Metric:
    """What is compared.

    Args:
        name: such as `val/accuracy`.
    """

    name: str

    @property
    def is_share(self) -> bool:
        """Whether it is shown in per cent."""
        return self.name.endswith("accuracy")

    @property
    def larger_is_better(self) -> bool:
        """Whether it should rise, as an accuracy should; a loss should fall."""
        return self.is_share

    def score(self, value: float) -> float:
        """Return a value with the sign that makes the larger one the better one."""
        return value if self.larger_is_better else -value

    def merit(self, measured: Mapping[str, float]) -> tuple[float, float]:
        """Return the sort key of an epoch or a run, see `merit`.

        Args:
            measured: values by the names of metrics; the metric itself is one of them.
        """
        return merit(self.score(measured[self.name]), measured, self.name.partition("/")[0])

    @property
    def label(self) -> str:
        """The metric with its unit, for an axis."""
        split, slash, kind = self.name.partition("/")
        words = f"{SPLITS.get(split, split)} {kind}" if slash else {"lr": "learning rate"}.get(self.name, self.name)
        return f"{words} (%)" if self.is_share else words

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.is_share else 1.0

    def value(self, value: float) -> str:
        """Return a value for people."""
        return f"{100 * value:.2f} %" if self.is_share else f"{value:.4g}"

    def size(self, value: float) -> str:
        """Return the size of a difference for people."""
        shown = 100 * abs(value) if self.is_share else abs(value)
        text = f"{shown:.2g}" if shown < 10 else f"{shown:.1f}"
        return f"{text} points" if self.is_share else text

    def bounds(self, low: float, high: float) -> str:
        """Return an interval without its unit."""
        if self.is_share:
            return f"{100 * low:.2f} to {100 * high:.2f}"
        return f"{low:.4g} to {high:.4g}"
