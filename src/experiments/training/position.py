"""The plan of a training, and the position of the loop in it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .program import Program
from .transfer import to_host


@dataclass(frozen=True)
class Plan:
    """How long to train: the same for every member.

    Args:
        epochs: passes over the training split.
        batch_size: examples per update.
        examples: in the training split.
        drop_last: whether the examples that do not fill the last batch are left out, different ones in each epoch.
        validate: whether there is a validation split.
        keep_every: epochs between checkpoints that are kept; None keeps only the last and the best.
        steps: updates to train, instead of epochs; the last epoch may be shorter. None for `epochs`.
        seconds: the time in updates and evaluation after which training ends anyway; None for no limit.
        evaluate_train: whether the training split is measured in evaluation mode after each epoch too.
    """

    epochs: int
    batch_size: int
    examples: int
    drop_last: bool
    validate: bool
    keep_every: int | None = None
    steps: int | None = None
    seconds: float | None = None
    evaluate_train: bool = False

    @cached_property
    def steps_per_epoch(self) -> int:
        """Updates per epoch."""
        whole, rest = divmod(self.examples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @cached_property
    def total_steps(self) -> int:
        """Updates in all epochs."""
        return self.epochs * self.steps_per_epoch if self.steps is None else self.steps


@dataclass
class Position:
    """Where the loop is; the members are in step.

    Args:
        epoch: how many epochs are complete.
        batch: how many updates of the next epoch are done.
        seconds: time spent in updates and evaluation so far.
        training_seconds: time spent in updates so far.
        trained_examples: how many examples each member has been trained on.
        examples_per_second: of each member, in the last epoch.
        saved_at: when checkpoints were last written, in seconds of `time.monotonic`.
        saving_seconds: how long that took.
        flushed_at: when all files were last flushed to the disk, in the same seconds.
        skipped: how many updates the complete epochs lack, because training ended within an epoch and was resumed.
        newest: how many updates the newest complete epoch had, if it was trained since the start or the resume.
        active: the numbers of the members that are still trained, A of K; the tensors below have a row for each.
        orders: (A, examples), the order of each member's examples in this epoch.
        losses: (updates per epoch, A), the mean loss of each batch so far.
        score: (A,), the sum of the running metric so far, such as right answers.
        penalty: (A,), the sum of the batches' penalties so far, each times its examples.
        sums: the last three on the host, as they were after the last step.
    """

    plan: Plan
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    trained_examples: int = 0
    examples_per_second: float = 0.0
    saved_at: float = -math.inf
    saving_seconds: float = 0.0
    flushed_at: float = -math.inf
    skipped: int = 0
    newest: int | None = None
    active: list[int] = field(default_factory=list)
    orders: Tensor = field(default_factory=lambda: torch.empty(0))
    losses: Tensor = field(default_factory=lambda: torch.empty(0))
    score: Tensor = field(default_factory=lambda: torch.empty(0))
    penalty: Tensor = field(default_factory=lambda: torch.empty(0))
    sums: list[Tensor] = field(default_factory=list)

    def read_sums(self) -> None:
        """Copy the sums of the epoch to the host."""
        self.sums = to_host(self.losses, self.score, self.penalty)

    @property
    def step(self) -> int:
        """How many updates are done."""
        return self.epoch * self.plan.steps_per_epoch - self.skipped + self.batch

    @property
    def updates(self) -> int:
        """How many updates the present epoch has: fewer than the others if the planned steps end within it."""
        if self.plan.steps is None:
            return self.plan.steps_per_epoch
        return max(0, min(self.plan.steps_per_epoch, self.plan.steps - (self.step - self.batch)))

    @property
    def epochs(self) -> int:
        """How many epochs there will be, with the present one."""
        if self.plan.steps is None:
            return self.plan.epochs
        return self.epoch + math.ceil(max(0, self.plan.steps - (self.step - self.batch)) / self.plan.steps_per_epoch)

    @property
    def out_of_time(self) -> bool:
        """Whether the time of the plan is over."""
        return self.plan.seconds is not None and self.seconds >= self.plan.seconds

    @property
    def is_complete(self) -> bool:
        """Whether all planned epochs or steps are done."""
        return self.epoch >= self.plan.epochs if self.plan.steps is None else self.step >= self.plan.steps

    @property
    def is_over(self) -> bool:
        """Whether training ends here; within an epoch it does not, even if no time and no steps are left."""
        return self.batch == 0 and (self.is_complete or self.out_of_time)

    def end_epoch(self) -> None:
        """Count the present epoch as complete, whatever the number of its updates."""
        self.newest = self.batch
        self.skipped += self.plan.steps_per_epoch - self.batch
        self.epoch, self.batch = self.epoch + 1, 0

    def epoch_of(self, step: int) -> tuple[int, bool]:
        """Return the epoch that has an update, from 1, and whether the update is its last; before training, epoch 0.

        Args:
            step: how many updates are done after it; it may be a later or an earlier one.
        """
        whole, passed = self.plan.steps_per_epoch, step - (self.step - self.batch)
        if passed > self.updates:
            epochs, rest = divmod(passed - self.updates, whole)
            return self.epoch + 1 + epochs + (rest > 0), rest == 0 or step == self.plan.steps
        if passed > 0:
            return self.epoch + 1, passed == self.updates
        before = -passed - (whole if self.newest is None else self.newest)
        if passed == 0 or before < 0:
            return self.epoch, passed == 0
        epochs, rest = divmod(before, whole)
        return self.epoch - 1 - epochs, rest == 0

    @property
    def kept(self) -> bool:
        """Whether the checkpoint of this position is kept: it is the end of an epoch that the plan keeps."""
        every = self.plan.keep_every
        return every is not None and self.batch == 0 and self.epoch > 0 and self.epoch % every == 0

    def row(self, member: int) -> int:
        """Return a member's row in the tensors."""
        return self.active.index(member)

    def state_dict(self, member: int) -> dict[str, Any]:
        """Return a member's position, and its partial epoch if there is one."""
        state: dict[str, Any] = {
            name: getattr(self, name) for name in ("epoch", "batch", "seconds", "training_seconds", "trained_examples")
        }
        if self.skipped:
            state["skipped"] = self.skipped
        if self.batch:
            row = self.row(member)
            state["order"] = self.orders[row].cpu()
            state["losses"] = self.losses[: self.batch, row].cpu()
            state["correct"] = self.score[row].cpu()
            state["penalty"] = self.penalty[row].cpu()
        return state

    def load(self, states: Sequence[dict[str, Any]], program: Program) -> None:
        """Restore the members' position, which is the same for all."""
        first = states[0]
        for name in ("epoch", "batch", "seconds", "training_seconds", "trained_examples"):
            setattr(self, name, first[name])
        self.skipped = first.get("skipped", 0)
        if self.batch:
            self.orders = torch.stack([state["order"] for state in states]).to(program.index_device)
            self.losses = torch.zeros(
                self.plan.steps_per_epoch, len(states), dtype=torch.float64, device=program.device
            )
            self.losses[: self.batch] = torch.stack([s["losses"] for s in states], 1).to(program.device)
            self.score = torch.stack([s["correct"] for s in states]).to(program.device)
            self.penalty = torch.stack([s["penalty"] for s in states]).to(program.device)


def in_epochs(steps: int, plan: Plan) -> float:
    """Return a number of updates as epochs, an integer if they are whole."""
    epochs, rest = divmod(steps, plan.steps_per_epoch)
    return epochs if not rest else steps / plan.steps_per_epoch


def epoch_of(state: Mapping[str, Any]) -> int:
    """Return after which epoch a checkpoint was written.

    Raises:
        ValueError: it does not say so.
    """
    try:
        return int(state["position"]["epoch"])
    except (KeyError, TypeError) as error:
        raise ValueError("it has no readable position") from error
