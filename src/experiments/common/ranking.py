"""The metric that runs are ranked by: the values of different losses cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .keys import flattened
from .metrics import SPLITS, TRAIN_EVAL, Metric, kind_and_source

LOSS = "loss"
DEFAULTS: Mapping[str, Any] = {
    "loss.label_smoothing": 0.0,
    "loss.positive_weight": 1.0,
    "loss.margin": 1.0,
    "loss.delta": 1.0,
}
"""The settings of our losses with the values that a loss without such a setting stands for."""
TARGET, PREPARED = "_target_", "data.preprocess"
NUMBERS = ("Regression", "Reconstruction")
"""The tasks whose score is R^2; that of the others is the accuracy."""
OF_NUMBERS = ("diabetes", "linnerud", "sine")
MOST_VALUES = 6


@dataclass(frozen=True)
class Ranking:
    """How runs are ranked.

    Args:
        metric: that ranks them; None if they have no metric whose values can be compared.
        differing: what their losses differ in, as it is typed: 'loss=mse,mae'; empty if they have the same loss.
        asked: the name of the metric that was to rank them.
    """

    metric: Metric | None
    differing: str
    asked: str

    @property
    def is_replaced(self) -> bool:
        """Whether the runs are not ranked by the metric that was asked for."""
        return self.metric is None or self.metric.name != self.asked

    @property
    def reason(self) -> str:
        """Why they are not ranked by the metric that was asked for, in a clause."""
        return f"the runs have different losses ({self.differing}), so their {self.asked} cannot be compared"


def is_loss(name: str) -> bool:
    """Whether a metric is the loss of a split, whose meaning the settings of the loss decide."""
    split, _, kind = name.partition("/")
    return kind == LOSS and (split in SPLITS or split == TRAIN_EVAL)


def ranking_of(name: str, configs: Iterable[Mapping[str, Any]], measured: Sequence[Iterable[str]]) -> Ranking:
    """Return how runs are ranked: by a metric or, if it is a loss and their losses differ, by the score of their task.

    Args:
        name: of the metric that is to rank them.
        configs: of the runs, nested or with dotted keys.
        measured: the names of the metrics of each run.
    """
    differing = different_losses(configs, name)
    if not differing:
        return Ranking(Metric(name), "", name)
    if not is_loss(name):
        return Ranking(Metric(name, with_loss=False), differing, name)
    score = score_of(measured, name.partition("/")[0])
    return Ranking(None if score is None else Metric(score, with_loss=False), differing, name)


def score_of(measured: Sequence[Iterable[str]], split: str) -> str | None:
    """Return the score of the task on a split, if all runs have it: the metric that training measures with the loss.

    Args:
        measured: the names of the metrics of each run.
        split: whose score is wanted.
    """
    shared = set.intersection(*(set(names) for names in measured)) if measured else set()
    first = next(iter(measured), ())
    kinds = [kind for kind in (name.partition("/")[2] for name in first) if kind != LOSS]
    running = [kind for kind in kinds if f"train/{kind}" in shared and f"{split}/{kind}" in shared]
    return f"{split}/{running[0]}" if running else None


def usual_score(config: Mapping[str, Any]) -> str | None:
    """Return the score of a task on the validation split as far as a configuration shows it, such as val/r2.

    Args:
        config: of a run, nested or with dotted keys.
    """
    kind, source = kind_and_source(config)
    name = str(source).rpartition(".")[2]
    if kind in NUMBERS or (kind == "Auto" and name in OF_NUMBERS):
        return "val/r2"
    return "val/accuracy" if kind != "Auto" or name in ("topics", "text") else None


def different_losses(configs: Iterable[Mapping[str, Any]], name: str = "val/loss") -> str:
    """Return what gives the losses of runs different meanings: 'loss=mse,mae'; empty if they have the same one.

    Args:
        configs: of the runs, nested or with dotted keys.
        name: of the loss: that of training batches has the weights of the classes, others do not.
    """
    meanings = [loss_settings(config, of_batches=name.startswith("train/")) for config in configs]
    meanings = [meaning for meaning in meanings if meaning[LOSS]]  # programs of others have none
    keys = dict.fromkeys(key for meaning in meanings for key in meaning)
    values = {key: [shown(meaning.get(key, DEFAULTS.get(key))) for meaning in meanings] for key in keys}
    values = {key: list(dict.fromkeys(found)) for key, found in values.items()}
    differing = {key: found for key, found in values.items() if len(found) > 1}
    if LOSS in differing:  # the settings of different losses need not be named
        differing = {LOSS: differing[LOSS]}
    return "; ".join(f"{key}={listed(found)}" for key, found in differing.items())


def loss_settings(config: Mapping[str, Any], *, of_batches: bool) -> dict[str, Any]:
    """Return the settings of a run that decide what its loss measures, by key; `loss` is the name of the function.

    Args:
        config: of the run.
        of_batches: whether the loss of training batches is meant.
    """
    flat = flattened(config)
    found = {key: value for key, value in flat.items() if key.startswith(f"{LOSS}.") and not isinstance(value, Mapping)}
    target = found.pop(f"{LOSS}.{TARGET}", flat.get(LOSS))
    found[LOSS] = target.removeprefix("experiments.losses.") if isinstance(target, str) else ""
    if of_batches and "data.balance" in flat:
        found["data.balance"] = flat["data.balance"]
    if kind_and_source(flat)[0] == "Reconstruction":  # the divergence is a part of the loss, the inputs are the targets
        found["model.beta"] = flat.get("model.beta", 0) if flat.get("model.variational") else 0
        found[PREPARED] = str(flat.get(PREPARED) or {k: v for k, v in flat.items() if k.startswith(f"{PREPARED}.")})
    return found


def shown(value: Any) -> str:
    """Return a value as text that is the same for equal numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return str(value)


def listed(values: Sequence[str]) -> str:
    """Return the first of some values, and whether there are more."""
    return ",".join(values[:MOST_VALUES]) + (",..." if len(values) > MOST_VALUES else "")
