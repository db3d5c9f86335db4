"""Metrics: their names, directions, units and words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

AUTO = "auto"
RISING = frozenset(
    ("accuracy", "balanced_accuracy", "top_k", "f1", "precision", "recall", "auroc", "average_precision", "mcc", "r2",
     "spearman")
)  # fmt: skip
"""The metrics that should rise; all others, such as losses and errors, should fall."""
SHARES = ("accuracy", "top_k")
"""The ends of the names of metrics that are shown in per cent."""
OBJECTIVES = {"Auto": "val/accuracy", "Classification": "val/accuracy"}
"""The objective of `objective=auto` by the name of the task's class; for every other task it is val/loss."""
OTHERS = ("embedded.diabetes", "embedded.linnerud", "planes.sine", "planes.topics", "text.text")
WITHOUT_CLASSES = tuple(f"experiments.data.{name}" for name in OTHERS)
"""Our data sets whose targets are no classes."""
_own: dict[str, bool] = {}
"""Whether a metric of the user should rise, by name."""


def declare(metrics: Any) -> None:
    """Note the directions of the user's own metrics, from the setting `metrics` of a run."""
    for entry in metrics if isinstance(metrics, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("larger_is_better"), bool):
            _own[str(entry.get("name") or own_name(str(entry.get("_target_"))))] = entry["larger_is_better"]


def own_name(target: str) -> str:
    """Return the name of a metric that has none: the last part of its path, such as `f_beta` of `MyMetrics.FBeta`."""
    last = target.rpartition(".")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower()


def objective_of(config: Mapping[str, Any]) -> str:
    """Return the metric that decides which epoch of a run is best, as far as its configuration shows it.

    Args:
        config: of a run, nested or with dotted keys.
    """
    chosen = str(config.get("objective") or AUTO)
    if chosen != AUTO:
        return chosen
    kind, source = kind_and_source(config)
    if kind == "Auto" and source in WITHOUT_CLASSES:
        return "val/loss"
    return OBJECTIVES.get(kind, "val/loss")


def is_open(config: Mapping[str, Any]) -> bool:
    """Whether only the data of a run decide its objective, see `objective_of`: their targets may be numbers."""
    kind, source = kind_and_source(config)
    return str(config.get("objective", AUTO)) == AUTO and kind == "Auto" and source not in WITHOUT_CLASSES


def kind_and_source(config: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name of the class of a run's task, and the path of its data."""
    task = config.get("task")
    target = task.get("_target_") if isinstance(task, Mapping) else config.get("task._target_")
    kind = str(target or "Auto").rpartition(".")[2]
    data = config.get("data")
    return kind, data.get("_target_") if isinstance(data, Mapping) else config.get("data._target_")


def split_of(name: str, splits: Iterable[str] = ("train", "val", "test")) -> str | None:
    """Return the split of a metric's name; None if the name is of another form."""
    split, slash, kind = name.partition("/")
    return split if slash and kind and split in splits else None


TRAIN_EVAL = "train_eval"
"""The training split in evaluation mode; `train` is the mean over the batches, each before its update."""
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
        with_loss: whether the loss decides between equal values; not between runs with different losses.
    """

    name: str
    with_loss: bool = True

    @property
    def is_share(self) -> bool:
        """Whether it is shown in per cent."""
        return self.name.endswith(SHARES)

    @property
    def larger_is_better(self) -> bool:
        """Whether it should rise, as an accuracy should; a loss should fall."""
        kind = self.name.rpartition("/")[2]
        return _own.get(kind, self.is_share or kind in RISING)

    def score(self, value: float) -> float:
        """Return a value with the sign that makes the larger one the better one."""
        return value if self.larger_is_better else -value

    def merit(self, measured: Mapping[str, float]) -> tuple[float, float]:
        """Return the sort key of an epoch or a run, see `merit`.

        Args:
            measured: values by the names of metrics; the metric itself is one of them.
        """
        losses = measured if self.with_loss else {}
        return merit(self.score(measured[self.name]), losses, self.name.partition("/")[0])

    @property
    def label(self) -> str:
        """The metric with its unit, for an axis."""
        split, slash, kind = self.name.partition("/")
        words = f"{SPLITS.get(split, split)} {kind}" if slash else {"lr": "learning rate"}.get(self.name, self.name)
        words = words.replace("_", " ") if slash else words
        return f"{words} (%)" if self.is_share else words

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.is_share else 1.0

    def possible(self, low: float, high: float) -> tuple[float, float]:
        """Return the part of an interval that is possible: a share is between 0 and 1.

        The part covers the true value exactly as often as the whole interval.
        """
        return (max(low, 0.0), min(high, 1.0)) if self.is_share else (low, high)

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
