"""One run inside the loop."""

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch import Tensor

from experiments.common.metrics import Metric
from experiments.folders.run import Row, RunFolder
from experiments.schedules import Schedule, key_of

from .observer import Observer
from .position import Plan
from .streams import Streams

Status = Literal["finished", "stopped", "pruned", "diverged", "interrupted", "failed"]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when `metric` has not improved by more than `min_delta` for `patience` epochs.

    Without a `min_delta`, an epoch with the same value and a lower validation loss is an improvement too. An epoch that
    does not define the metric is not an improvement.
    (Prechelt 1998; Goodfellow et al. 2016, algorithm 7.1.)
    """

    patience: Annotated[int, Ge(1)]
    metric: str = "val/loss"
    min_delta: Annotated[float, Ge(0)] = 0.0

    def applies(self, history: Sequence[Row]) -> bool:
        """Whether to stop after these epochs; they are replayed, so there is nothing to save."""
        best, waited = (-math.inf, -math.inf), 0
        for row in history:
            value = row.get(self.metric, math.nan)
            merit = Metric(self.metric).merit(row) if math.isfinite(value) else (-math.inf, -math.inf)
            if merit[0] > best[0] + self.min_delta or (self.min_delta == 0 and merit > best):
                best, waited = merit, 0
            else:
                waited += 1
        return waited >= self.patience


def best_row(history: Sequence[Row], objective: str) -> Row | None:
    """Return the epoch with the best objective, see `Metric.merit`; if no epoch has a finite one, the last epoch."""
    measured = [row for row in history if math.isfinite(row.get(objective, math.nan))]
    if measured:
        return max(measured, key=Metric(objective).merit)
    return history[-1] if history else None


@dataclass
class Member:
    """One run inside the loop.

    Args:
        folder: where it writes.
        streams: its randomness.
        rate: its learning rate before the schedule.
        schedule: gives the factor of the rate.
        objective: the metric that decides which epoch is best.
        early_stopping: when to stop before the last epoch, if ever.
        pruned: called with the epochs so far after each one; returns whether a search prunes the run.
        origin: the file that its first weights are from, if any; see `assembly.model`.
        penalized: whether a penalty is added to its loss and reported separately.
        observers: watch it.
        history: its epochs so far.
        status: None while it trains.
        diverged_at: the step whose loss was not finite.
        unwritten: the checkpoint of its best epoch, if it is not on the disk yet.
        error: that one of its observers has raised; the other members continue.
        doubts: sentences about what may be a mistake in its model.
        unused: its parameters that get no gradient.
        refused: what its observers have added to a row and cannot be kept.
        undefined: the metrics that were not a finite number in an epoch of this process, which were named.
        lengths: the steps of each training example, if it has sequences of unequal lengths; see `by_length`.
        follows: whether each training example continues the one before it, if its state is carried; see `in_lanes`.
        horizon: the updates for which its schedule is meant, after which the rate stays the same; None for the plan's.
    """

    folder: RunFolder
    streams: Streams
    rate: float
    schedule: Schedule
    objective: str
    early_stopping: EarlyStopping | None = None
    pruned: Callable[[Sequence[Row]], bool] | None = None
    penalized: bool = False
    origin: Mapping[str, Any] | None = None
    observers: list[Observer] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)
    status: Status | None = None
    diverged_at: int | None = None
    unwritten: dict[str, Any] | None = None
    error: Exception | None = None
    doubts: Sequence[str] = ()
    unused: Sequence[str] = ()
    refused: set[str] = field(default_factory=set)
    undefined: set[str] = field(default_factory=set)
    horizon: int | None = None
    lengths: Tensor | None = None
    follows: Tensor | None = None
    texts: list[str] = field(default_factory=list, init=False, repr=False)

    def history_text(self) -> str:
        """Return the history as JSON, each row of which is converted once.

        In a checkpoint, text takes a tenth of the time that the numbers would.
        """
        self.texts += map(json.dumps, self.history[len(self.texts) :])
        return f"[{', '.join(self.texts)}]"

    def learning_rate(self, step: int, plan: Plan, val_losses: Sequence[float]) -> float:
        """Return the scheduled rate of an update, counted from 0."""
        return self.rate * self.factor(step, plan, val_losses)

    def factor(self, step: int, plan: Plan, val_losses: Sequence[float]) -> float:
        """Return the schedule's factor of the rate of an update, counted from 0."""
        total = plan.total_steps if self.horizon is None else self.horizon
        return self.schedule(min(step / max(total, 1), 1.0), val_losses)

    def val_losses(self) -> list[float]:
        """Return the validation losses so far, one per epoch, which `plateau` uses."""
        return [row["val/loss"] for row in self.history if "val/loss" in row]

    def improved(self) -> bool:
        """Whether the newest epoch is the best so far."""
        return bool(self.history) and best_row(self.history, self.objective) is self.history[-1]


class Rates:
    """The scheduled rates of members in an epoch: members with the same schedule share its factor.

    Args:
        members: that train.
        plan: of the training.
    """

    def __init__(self, members: Sequence[Member], plan: Plan) -> None:
        self.plan = plan
        self.schedules: dict[Hashable, tuple[Member, list[float]]] = {}
        self.owners: list[tuple[float, Hashable]] = []
        for number, member in enumerate(members):
            own = key_of(member.schedule)
            key = number if own is None else (own, member.horizon)
            self.schedules.setdefault(key, (member, member.val_losses()))
            self.owners.append((member.rate, key))

    def __call__(self, step: int) -> list[float]:
        """Return the members' rates of an update, counted from 0; see `Member.learning_rate`."""
        factors = {key: one.factor(step, self.plan, losses) for key, (one, losses) in self.schedules.items()}
        return [rate * factors[key] for rate, key in self.owners]
