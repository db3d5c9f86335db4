"""The loop, written once for K >= 1 runs."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from .common.metrics import MetricName, better_is_more
from .folders.run import Row, RunFolder
from .observers.base import Observer
from .program import Program
from .schedules import Schedule
from .streams import Streams

Status = Literal["finished", "stopped", "pruned", "diverged", "interrupted"]


@dataclass(frozen=True)
class Plan:
    """How long to train: the same for every member.

    Args:
        epochs: passes over the training split.
        batch_size: examples an update.
        examples: in the training split.
        drop_last: leave out the examples that do not fill a last batch, in every epoch others.
        validate: whether there is a validation split.
        keep_every: epochs from one checkpoint that is kept to the next; None keeps the last and the best alone.
    """

    epochs: int
    batch_size: int
    examples: int
    drop_last: bool
    validate: bool
    keep_every: int | None = None

    @cached_property
    def steps_per_epoch(self) -> int:
        """Updates an epoch."""
        whole, rest = divmod(self.examples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @cached_property
    def total_steps(self) -> int:
        """Updates altogether."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when `metric` has not improved by more than `min_delta` for `patience` epochs.

    (Prechelt 1998; Goodfellow et al. 2016, algorithm 7.1.)
    """

    patience: Annotated[int, Ge(1)]
    metric: MetricName = "val/loss"
    min_delta: Annotated[float, Ge(0)] = 0.0

    def applies(self, history: Sequence[Row]) -> bool:
        """Whether the epochs so far say stop; it replays them, so there is nothing to save."""
        best, waited = -math.inf, 0
        for row in history:
            score = better_is_more(self.metric) * row[self.metric]
            if score > best + self.min_delta:
                best, waited = score, 0
            else:
                waited += 1
        return waited >= self.patience


def best_row(history: Sequence[Row], objective: str) -> Row | None:
    """Return the first epoch with the best objective, or the last epoch where it was not measured."""
    measured = [row for row in history if objective in row]
    if measured:
        return max(measured, key=lambda row: better_is_more(objective) * row[objective])
    return history[-1] if history else None


@dataclass
class Member:
    """One run inside the loop.

    Args:
        folder: where it writes.
        streams: its randomness.
        rate: its learning rate before the schedule.
        schedule: what the rate is multiplied by.
        objective: the metric that says which epoch is best.
        early_stopping: when to stop before the last epoch, if at all.
        pruned: told the epochs so far after each one, says whether a search has seen enough of the run.
        origin: which file its first weights are from, if any; see `build.model`.
        penalized: whether a penalty is added to its loss, and shown apart from it.
        observers: what watches it.
        history: its epochs so far.
        status: None while it trains.
        diverged_at: the step whose loss was not finite.
        unwritten: the checkpoint of its best epoch, where that is not on the disk yet.
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

    def learning_rate(self, progress: float, val_losses: Sequence[float]) -> float:
        """The scheduled rate."""
        return self.rate * self.schedule(progress, val_losses)

    def val_losses(self) -> list[float]:
        """The validation losses so far, one an epoch: what `plateau` looks at."""
        return [row["val/loss"] for row in self.history if "val/loss" in row]

    def improved(self) -> bool:
        """Whether the newest epoch is the best so far."""
        return bool(self.history) and best_row(self.history, self.objective) is self.history[-1]


@dataclass
class Position:
    """Where the loop is, members side by side.

    Args:
        epoch: how many epochs are complete.
        batch: how many updates of the next one are done.
        seconds: time spent in updates and evaluation so far; `training_seconds` in updates alone.
        examples_per_second: of each member's updates made last, up to the end of their epoch.
        saved_at: when checkpoints were written last, by a clock that only goes forward.
        active: the numbers of the members that are still trained, A of K: the rows of what follows.
        orders: (A, examples), the order in which this epoch takes each member's examples.
        losses: (updates an epoch, A), the mean loss of each batch so far.
        correct: (A,), right answers so far.
        penalty: (A,), the sum over the examples so far of the penalty in their batch.
    """

    plan: Plan
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    trained_examples: int = 0
    examples_per_second: float = 0.0
    saved_at: float = -math.inf
    active: list[int] = field(default_factory=list)
    orders: Tensor = field(default_factory=lambda: torch.empty(0))
    losses: Tensor = field(default_factory=lambda: torch.empty(0))
    correct: Tensor = field(default_factory=lambda: torch.empty(0))
    penalty: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def step(self) -> int:
        """How many updates are done."""
        return self.epoch * self.plan.steps_per_epoch + self.batch

    @property
    def kept(self) -> bool:
        """Whether the checkpoint of this place is kept: that of the end of an epoch that the plan names."""
        every = self.plan.keep_every
        return every is not None and self.batch == 0 and self.epoch > 0 and self.epoch % every == 0

    @property
    def progress(self) -> float:
        """The share of training that is done."""
        return self.step / max(self.plan.total_steps, 1)

    def row(self, member: int) -> int:
        """Which row of the tensors is a member's."""
        return self.active.index(member)

    def state_dict(self, member: int) -> dict[str, Any]:
        """Return one member's place, with the half-done epoch where there is one."""
        state: dict[str, Any] = {
            name: getattr(self, name) for name in ("epoch", "batch", "seconds", "training_seconds", "trained_examples")
        }
        if self.batch:
            row = self.row(member)
            state["order"] = self.orders[row].cpu()
            state["losses"] = self.losses[: self.batch, row].cpu()
            state["correct"] = self.correct[row].cpu()
            state["penalty"] = self.penalty[row].cpu()
        return state

    def load(self, states: Sequence[dict[str, Any]], program: Program) -> None:
        """Go to where the members were, all at the same place."""
        first = states[0]
        for name in ("epoch", "batch", "seconds", "training_seconds", "trained_examples"):
            setattr(self, name, first[name])
        if self.batch:
            self.orders = torch.stack([state["order"] for state in states]).to(program.index_device)
            self.losses = torch.zeros(
                self.plan.steps_per_epoch, len(states), dtype=torch.float64, device=program.device
            )
            self.losses[: self.batch] = torch.stack([s["losses"] for s in states], 1).to(program.device)
            self.correct = torch.stack([s["correct"] for s in states]).to(program.device)
            self.penalty = torch.stack([s["penalty"] for s in states]).to(program.device)


class Stop:
    """Says, when asked after a step, whether someone wants training to end; this one never does."""

    requested = False


Ended = Callable[[list[int]], None]


def fit(
    program: Program,
    members: Sequence[Member],
    position: Position,
    stop: Stop | None = None,
    ended: Ended | None = None,
) -> None:
    """Train until every member has a status.

    Each epoch's metrics go to the members' histories, observers and checkpoints. A request to stop is
    followed after the step in hand, and the half-done epoch is in the checkpoint. A member that has come to its end
    leaves, and the others go on without it.

    Args:
        program: computes for all members.
        members: in the program's order; their `status` says how each ended.
        position: where to begin; moves along.
        stop: asked after every step.
        ended: told after each epoch which members came to their end in it, while the program still has them.

    Raises:
        OSError: a file cannot be written; what was complete stays.
    """
    stop = stop or Stop()
    position.active = list(range(len(members)))
    for number, member in enumerate(members):
        for observer in member.observers:
            observer.start(member, number, program, position)
    try:
        if position.step == 0:
            save(program, members, position)
        decide(members, position, interrupted=False)
        part_with(program, members, position, ended)
        while position.active:
            whole = train_epoch(program, members, position, stop)
            if whole:
                end_epoch(program, members, position)
            decide(members, position, interrupted=stop.requested)
            if whole or stop.requested:
                save(program, members, position)
            part_with(program, members, position, ended)
    finally:
        for k in position.active:  # after an error
            close(members[k])


def part_with(program: Program, members: Sequence[Member], position: Position, ended: Ended | None) -> None:
    """Let the members go that have come to their end."""
    over = [k for k in position.active if members[k].status is not None]
    for k in over:
        close(members[k])
    if ended is not None:
        ended(over)
    position.active = [k for k in position.active if k not in over]
    if over and position.active:
        program.keep(position.active)


def close(member: Member) -> None:
    """Close a member's observers."""
    for observer in member.observers:
        observer.close()


def train_epoch(program: Program, members: Sequence[Member], position: Position, stop: Stop) -> bool:
    """Make the updates that are left of an epoch; False when it was cut short.

    Nothing waits for the device in here: losses stay on it until the epoch ends.
    """
    plan = position.plan
    if stop.requested:  # before an order is drawn, which a resumed run would draw again
        return False
    program.begin_epoch(position.epoch)
    if position.batch == 0:
        begin_epoch(program, members, position)
    training = [members[k] for k in position.active]
    val_losses = [member.val_losses() for member in training]
    watching = [o for member in training for o in member.observers if o.watches_updates]
    batches = position.orders.split(plan.batch_size, dim=1)
    examples_before = position.trained_examples
    started = time.perf_counter()
    while position.batch < plan.steps_per_epoch and not stop.requested:
        index = batches[position.batch]
        rates = [m.learning_rate(position.progress, v) for m, v in zip(training, val_losses, strict=True)]
        for observer in watching:
            observer.before_update(position.step)
        measured = program.step(index, rates)
        position.losses[position.batch] = measured.loss
        position.correct += measured.correct
        if measured.penalty is not None:
            position.penalty += measured.penalty * index.shape[1]
        position.batch += 1
        position.trained_examples += index.shape[1]
        for observer in watching:
            observer.after_update(position.step)
    if program.device.type == "cuda":
        torch.cuda.synchronize(program.device)
    spent = time.perf_counter() - started
    position.seconds += spent
    position.training_seconds += spent
    position.examples_per_second = (position.trained_examples - examples_before) / max(spent, 1e-9)
    return position.batch == plan.steps_per_epoch


def begin_epoch(program: Program, members: Sequence[Member], position: Position) -> None:
    """Draw each member's order and clear the sums."""
    plan, active = position.plan, position.active
    orders = [torch.randperm(plan.examples, generator=members[k].streams.order) for k in active]
    position.orders = torch.stack(orders).to(program.index_device)
    position.losses = torch.zeros(plan.steps_per_epoch, len(active), dtype=torch.float64, device=program.device)
    position.correct = torch.zeros(len(active), dtype=torch.int64, device=program.device)
    position.penalty = torch.zeros(len(active), dtype=torch.float64, device=program.device)


def end_epoch(program: Program, members: Sequence[Member], position: Position) -> None:
    """Read the sums, evaluate, and tell the observers; a member whose loss is not finite gets no row."""
    plan, active = position.plan, position.active
    started = time.perf_counter()
    losses, correct, penalty = position.losses.cpu(), position.correct.cpu(), position.penalty.cpu()
    sizes = torch.full((plan.steps_per_epoch, 1), plan.batch_size, dtype=torch.float64)
    if not plan.drop_last:
        sizes[-1] = plan.examples - plan.batch_size * (plan.steps_per_epoch - 1)
    means = (losses * sizes).sum(0) / sizes.sum()
    program.end_epoch(position.epoch + 1)
    validation = program.evaluate("val", active) if plan.validate else [()] * len(active)
    position.seconds += time.perf_counter() - started
    first_step = position.step - plan.steps_per_epoch
    finite = losses.isfinite().all(0).tolist()
    position.epoch, position.batch = position.epoch + 1, 0

    for row, (k, measured) in enumerate(zip(active, validation, strict=True)):
        member = members[k]
        if not finite[row] or not all(map(math.isfinite, measured)):
            member.diverged_at = first_bad_step(losses[:, row], first_step)
            continue
        metrics: Row = {
            "epoch": position.epoch,
            "step": position.step,
            "lr": member.learning_rate((position.step - 1) / plan.total_steps, member.val_losses()),
            "train/loss": means[row].item(),
            "train/accuracy": correct[row].item() / sizes.sum().item(),
        }
        if member.penalized:
            metrics["train/penalty"] = penalty[row].item() / sizes.sum().item()
        metrics |= zip(("val/loss", "val/accuracy"), measured, strict=False)
        metrics["seconds"] = position.seconds
        member.history.append(metrics)
        for observer in member.observers:
            if observer.when(position.epoch):
                observer.epoch_end(metrics)


def first_bad_step(losses: Tensor, first_step: int) -> int:
    """Return the first step (counted from 1) whose loss is not finite; the last where only validation's is not."""
    bad = (~losses.isfinite()).nonzero()
    return first_step + (int(bad[0]) + 1 if len(bad) else len(losses))


def decide(members: Sequence[Member], position: Position, *, interrupted: bool) -> None:
    """Give every member that has come to an end its status: the one place where that is decided."""
    training = [member for member in members if member.status is None and member.diverged_at is None]
    watched = [member for member in training if member.pruned and position.batch == 0]
    for member in watched:
        enough(member)  # all are told before one is judged: the seeds of a trial end together
    for member in members:
        if member.status is not None:
            continue
        if member.diverged_at is not None:
            member.status = "diverged"
        elif position.epoch >= position.plan.epochs:
            member.status = "finished"
        elif member.early_stopping and position.batch == 0 and member.early_stopping.applies(member.history):
            member.status = "stopped"
        elif member in watched and enough(member):
            member.status = "pruned"
        elif interrupted:
            member.status = "interrupted"


def enough(member: Member) -> bool:
    """Whether a search has seen enough of a member, which is told of its newest epoch."""
    return bool(member.history) and member.pruned is not None and member.pruned(member.history)


def save(program: Program, members: Sequence[Member], position: Position) -> None:
    """Write checkpoints of the members that are trained; a diverged one keeps its last good one.

    All are written before the first takes its place, so that killed runs can go on side by side: see `run.settle`.
    Between two times that a program writes them, the best epochs are kept in memory; those whose checkpoints are to
    stay are written.
    """
    active = {k: members[k] for k in position.active}
    good = {k: member for k, member in active.items() if member.status != "diverged"}
    improved = {k for k, member in good.items() if member.folder.best in names(member, position)}
    ending = any(member.status is not None for member in active.values())
    if not ending and not position.kept and time.monotonic() - position.saved_at < program.checkpoint_seconds:
        for k in improved:
            members[k].unwritten = state_of(program, k, members[k], position)
        return
    for member in active.values():
        for observer in member.observers:
            observer.before_checkpoint()
    for k, member in active.items():
        if member.unwritten is not None and k not in improved:
            member.folder.write_best(member.unwritten)
        member.unwritten = None
    for k, member in good.items():
        member.folder.write_next(state_of(program, k, member, position))
    for member in good.values():
        member.folder.take_next(*names(member, position))
    position.saved_at = time.monotonic()


def names(member: Member, position: Position) -> list[Path]:
    """Return what a member's checkpoint of this place is called besides `last.pt`."""
    best = position.batch == 0 and member.improved()
    return [member.folder.best] * best + [member.folder.of_epoch(position.epoch)] * position.kept


def state_of(program: Program, k: int, member: Member, position: Position) -> dict[str, Any]:
    """Return everything that a member needs to go on to the bit."""
    return {
        "program": program.state_dict(k),
        "streams": member.streams.state_dict(),
        "generator": program.generator(k),
        "position": position.state_dict(k),
        "history": json.dumps(member.history),  # a text takes a tenth of the time of as many numbers
        **({"origin": dict(member.origin)} if member.origin is not None else {}),
    }
