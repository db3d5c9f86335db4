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
        validate_steps: updates between two validations; None for those of an epoch. Such a period then takes the place
            of an epoch in the loop: it has a row, and `Position.epoch` counts periods. The order of the examples, a
            temporary freeze and `epochs` still go by passes over the training split.
        keep_steps: updates between checkpoints that are kept.
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
    validate_steps: int | None = None
    keep_steps: int | None = None

    @cached_property
    def steps_per_epoch(self) -> int:
        """Updates per epoch."""
        whole, rest = divmod(self.examples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @cached_property
    def total_steps(self) -> int:
        """Updates in all epochs."""
        return self.epochs * self.steps_per_epoch if self.steps is None else self.steps

    @cached_property
    def period(self) -> int:
        """Updates between two validations."""
        return self.steps_per_epoch if self.validate_steps is None else self.validate_steps

    @cached_property
    def last_step(self) -> int | None:
        """The update that ends training; None if a number of complete epochs does."""
        return self.total_steps if self.steps is not None or self.validate_steps is not None else None

    def batch_sizes(self, offset: int, count: int) -> Tensor:
        """Return the examples of each of `count` updates, (count, 1).

        Args:
            offset: how many updates of its pass over the training split are done before the first one.
            count: the number of updates.
        """
        sizes = torch.full((count, 1), self.batch_size, dtype=torch.float64)
        if not self.drop_last:
            sizes[self.steps_per_epoch - 1 - offset :: self.steps_per_epoch] = self.examples - self.batch_size * (
                self.steps_per_epoch - 1
            )
        return sizes


@dataclass
class Position:
    """Where the loop is; the members are in step.

    Args:
        epoch: how many epochs are complete; with `Plan.validate_steps`, how many periods of that many updates.
        batch: how many updates of the next one are done.
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
        orders: (A, examples), the order of each member's examples in this pass over the training split.
        losses: (updates per period, A), the mean loss of each batch so far.
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
        return self.epoch * self.plan.period - self.skipped + self.batch

    @property
    def updates(self) -> int:
        """How many updates the present epoch has: fewer than the others if the planned steps end within it."""
        if self.plan.last_step is None:
            return self.plan.period
        return max(0, min(self.plan.period, self.plan.last_step - (self.step - self.batch)))

    @property
    def epochs(self) -> int:
        """How many epochs there will be, with the present one."""
        if self.plan.last_step is None:
            return self.plan.epochs
        return self.epoch + math.ceil(max(0, self.plan.last_step - (self.step - self.batch)) / self.plan.period)

    @property
    def passes(self) -> int:
        """How many passes over the training split are complete."""
        return self.epoch if self.plan.validate_steps is None else self.step // self.plan.steps_per_epoch

    @property
    def offset(self) -> int:
        """How many updates of the next pass over the training split are done."""
        return self.batch if self.plan.validate_steps is None else self.step % self.plan.steps_per_epoch

    @property
    def part(self) -> int:
        """How many updates follow before the loop does something else: a pass or a period ends, or a checkpoint is
        kept."""
        left = [self.updates - self.batch, self.plan.steps_per_epoch - self.offset]
        if self.plan.keep_steps is not None:
            left.append(self.plan.keep_steps - self.step % self.plan.keep_steps)
        return min(left)

    @property
    def mark(self) -> int:
        """The number that stands for the newest row on an axis: its epoch, or its step if rows are periods of steps."""
        return self.epoch if self.plan.validate_steps is None else self.step

    @property
    def name(self) -> str:
        """What the newest row is called: 'epoch 5', or 'step 1000' if rows are periods of steps."""
        return f"{'epoch' if self.plan.validate_steps is None else 'step'} {self.mark}"

    @property
    def marks(self) -> int:
        """The number that `mark` will have at the end."""
        return self.epochs if self.plan.validate_steps is None else self.plan.total_steps

    @property
    def out_of_time(self) -> bool:
        """Whether the time of the plan is over."""
        return self.plan.seconds is not None and self.seconds >= self.plan.seconds

    @property
    def is_complete(self) -> bool:
        """Whether all planned epochs or steps are done."""
        last = self.plan.last_step
        return self.epoch >= self.plan.epochs if last is None else self.step >= last

    @property
    def is_over(self) -> bool:
        """Whether training ends here; within an epoch it does not, even if no time and no steps are left."""
        return self.batch == 0 and (self.is_complete or self.out_of_time)

    def end_epoch(self) -> None:
        """Count the present epoch as complete, whatever the number of its updates."""
        self.newest = self.batch
        self.skipped += self.plan.period - self.batch
        self.epoch, self.batch = self.epoch + 1, 0

    def epoch_of(self, step: int) -> tuple[int, bool]:
        """Return the epoch that has an update, from 1, and whether the update is its last; before training, epoch 0.

        Args:
            step: how many updates are done after it; it may be a later or an earlier one.
        """
        whole, passed = self.plan.period, step - (self.step - self.batch)
        if passed > self.updates:
            epochs, rest = divmod(passed - self.updates, whole)
            return self.epoch + 1 + epochs + (rest > 0), rest == 0 or step == self.plan.last_step
        if passed > 0:
            return self.epoch + 1, passed == self.updates
        before = -passed - (whole if self.newest is None else self.newest)
        if passed == 0 or before < 0:
            return self.epoch, passed == 0
        epochs, rest = divmod(before, whole)
        return self.epoch - 1 - epochs, rest == 0

    @property
    def kept(self) -> str | None:
        """The name of the checkpoint of this position, if the plan keeps it: 'epoch_005' or 'step_000500'."""
        every, steps = self.plan.keep_every, self.plan.keep_steps
        if every is not None and self.offset == 0 and self.passes > 0 and self.passes % every == 0:
            return f"epoch_{self.passes:03d}"
        if steps is not None and self.step > 0 and self.step % steps == 0:
            return f"step_{self.step:06d}"
        return None

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
        if self.offset:
            state["order"] = self.orders[self.row(member)].cpu()
        if self.batch:
            row = self.row(member)
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
        if self.offset:
            self.orders = torch.stack([state["order"] for state in states]).to(program.index_device)
        if self.batch:
            self.losses = torch.zeros(self.plan.period, len(states), dtype=torch.float64, device=program.device)
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
