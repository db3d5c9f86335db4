"""The training loop, for K >= 1 runs."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.common.files import flush_all, flushing
from experiments.common.metrics import TRAIN_EVAL
from experiments.data.sequences import by_length, in_lanes
from experiments.folders.run import Row

from ._watching import called, close, end_of_epoch, heeded, note_failure, watching_of
from .member import Member, Rates
from .observer import Observer
from .position import Plan, Position, in_epochs
from .program import Program
from .stop import Stop
from .transfer import state_to_host, to_device

LOG = logging.getLogger("experiments")
FLUSH_SECONDS = 1.0
"""The least time between two flushes of the files other than `last.pt`."""
SAVING_SHARE, LONGEST_UNSAVED = 0.05, 60.0
"""The share of the time that a program which saves less often than once per epoch spends on it, unless that means more
seconds than this between two checkpoints."""


def fit(
    program: Program,
    members: Sequence[Member],
    position: Position,
    stop: Stop | None = None,
    on_epoch: Callable[[list[int]], None] | None = None,
) -> None:
    """Train until every member has a status.

    Each epoch's metrics go to the members' histories, observers and checkpoints. A stop request takes effect after the
    current step, and the checkpoint then holds the partial epoch. A member that has ended leaves, and the others
    continue; so does a member of several whose observer fails, after the epoch. Such an observer fails at the start, or
    in a run on its own, with an error.

    Args:
        program: computes the steps of all members.
        members: in the program's order; their `status` says how each ended.
        position: where to start; it moves with the training.
        stop: checked after every step.
        on_epoch: called after each epoch with the members that have ended, while the program still has them.

    Raises:
        OSError: a file cannot be written; complete files are unchanged.
        UserError: an observer of the user failed.
    """
    stop = stop or Stop()
    position.active = list(range(len(members)))
    started: dict[int, list[Observer]] = {k: [] for k in position.active}
    try:
        for k, member in enumerate(members):
            for observer in member.observers:
                started[k].append(observer)
                try:
                    observer.start(member, k, program, position)
                except Exception as error:
                    note_failure(members, k, observer, "start", error)
        if position.step == 0:
            save(program, members, position)
        set_statuses(members, position, interrupted=False)
        remove_ended(program, members, position, on_epoch)
        while position.active:
            # After a stop request the order of batches is not drawn: a resumed run draws it again.
            whole = not stop.requested and train_part(program, members, position, stop)
            if whole:
                end_epoch(program, members, position)
            set_statuses(members, position, interrupted=stop.requested)
            if whole or stop.requested or position.kept:
                save(program, members, position)
            remove_ended(program, members, position, on_epoch)
    except BaseException:
        for k in position.active:
            observers, started[k] = started[k], []
            with suppress(Exception):  # of the same cause
                close(members, k, observers)
        raise


def remove_ended(
    program: Program,
    members: Sequence[Member],
    position: Position,
    on_epoch: Callable[[list[int]], None] | None,
) -> None:
    """Remove the members that have ended."""
    ended = [k for k in position.active if members[k].status is not None]
    for k in ended:
        close(members, k, members[k].observers)
    if on_epoch is not None:
        on_epoch(ended)
    left = [row for row, k in enumerate(position.active) if k not in ended]
    if ended and position.offset:
        position.orders = position.orders[left]
    position.active = [position.active[row] for row in left]
    if ended and position.active:
        program.keep(position.active)


def train_part(program: Program, members: Sequence[Member], position: Position, stop: Stop) -> bool:
    """Run the updates of `Position.part`, usually the rest of an epoch; return whether the epoch is complete.

    Nothing here waits for the device: losses stay on it until the part ends. The epoch is complete with the last of
    the planned steps, and when the time is over.
    """
    plan = position.plan
    program.begin_epoch(position.passes)
    if position.offset == 0:
        draw_orders(program, members, position)
    if position.batch == 0:
        clear_sums(program, position)
    training = [members[k] for k in position.active]
    for member in training:
        member.streams.noise.update = position.step
    rates_of = Rates(training, plan)
    watching = watching_of(members, position.active, position.step + 1, position.step + position.part)
    batches = position.orders.split(plan.batch_size, dim=1)
    offset, updates = position.offset, position.updates
    last = plan.steps_per_epoch if plan.last_step is None else offset + plan.last_step - position.step
    program.announce(batches[offset:last], position.passes)
    examples_before = position.trained_examples
    started, end = time.perf_counter(), position.batch + position.part
    deadline = math.inf if plan.seconds is None else started + plan.seconds - position.seconds
    while position.batch < end and not (position.batch and time.perf_counter() >= deadline):
        index = batches[offset]
        offset += 1
        rates = rates_of(position.step)
        now = watching.get(position.step + 1, [])
        called(members, now, "before_update", position.step)
        measured = program.step(index, rates)
        position.losses[position.batch] = measured.loss
        position.score += measured.score
        if measured.penalty is not None:
            position.penalty += measured.penalty * index.shape[1]
        position.batch += 1
        position.trained_examples += index.shape[1]
        called(members, now, "after_update", position.step)
        if stop.requested:  # not before the first update: a checkpoint has the order of a partial epoch only
            break
    position.read_sums()  # which waits for the device
    spent = time.perf_counter() - started
    position.seconds += spent
    position.training_seconds += spent
    position.examples_per_second = (position.trained_examples - examples_before) / max(spent, 1e-9)
    return position.batch == updates or position.out_of_time


def draw_orders(program: Program, members: Sequence[Member], position: Position) -> None:
    """Draw the order of each member's examples in the next pass over the training split."""
    draws = [drawn_order(members[k], position.plan) for k in position.active]
    position.orders = to_device(torch.stack(draws), program.index_device)


def drawn_order(member: Member, plan: Plan) -> Tensor:
    """Draw the order of a member's examples in a pass over the training split, (examples,)."""
    generator = member.streams.order
    if member.follows is not None:
        return in_lanes(member.follows, plan.batch_size, generator)
    drawn = torch.randperm(plan.examples, generator=generator)
    return drawn if member.lengths is None else by_length(drawn, member.lengths, plan.batch_size, generator)


def clear_sums(program: Program, position: Position) -> None:
    """Clear the sums of an epoch."""
    count = len(position.active)
    position.losses = torch.zeros(position.plan.period, count, dtype=torch.float64, device=program.device)
    position.score = torch.zeros(count, dtype=program.score_type, device=program.device)
    position.penalty = torch.zeros(count, dtype=torch.float64, device=program.device)


def end_epoch(program: Program, members: Sequence[Member], position: Position) -> None:
    """Read the sums, evaluate, and call the observers; a member whose loss is not finite gets no row."""
    plan, active = position.plan, position.active
    started = time.perf_counter()
    losses, score, penalty = position.sums
    updates, losses = position.batch, losses[: position.batch]
    sizes = plan.batch_sizes((position.offset - updates) % plan.steps_per_epoch, updates)
    means = (losses * sizes).sum(0) / sizes.sum()
    program.end_epoch(position.epoch + 1 if plan.validate_steps is None else position.passes)
    validation = program.evaluate("val", active) if plan.validate else [{} for _ in active]
    training = program.evaluate(TRAIN_EVAL, active) if plan.evaluate_train else [{} for _ in active]
    position.seconds += time.perf_counter() - started
    first_step = position.step - updates
    finite = losses.isfinite().all(0).tolist()
    position.end_epoch()

    for row, (k, measured) in enumerate(zip(active, validation, strict=True)):
        member = members[k]
        if not finite[row] or not math.isfinite(measured.get("loss", 0.0)):
            member.diverged_at = first_bad_step(losses[:, row], first_step)
            continue
        metrics: Row = {
            "epoch": position.epoch,
            "step": position.step,
            "lr": member.learning_rate(position.step - 1, plan, member.val_losses()),
            "train/loss": means[row].item(),
            f"train/{program.running}": program.running_value(score[row].item() / sizes.sum().item()),
        }
        if member.penalized:
            metrics["train/penalty"] = penalty[row].item() / sizes.sum().item()
        metrics |= {f"val/{name}": value for name, value in measured.items()}
        metrics |= {f"{TRAIN_EVAL}/{name}": value for name, value in training[row].items()}
        metrics["seconds"] = position.seconds
        member.history.append(metrics)
        note_undefined(member, metrics, position.name)
        end_of_epoch(members, k, metrics, position.epoch)


def note_undefined(member: Member, row: Row, name: str) -> None:
    """Name the metrics that an epoch does not define, each once.

    Args:
        member: whose epoch.
        row: of the epoch.
        name: of the epoch.
    """
    for metric in member.folder.measured:
        if metric in row or metric in member.undefined:
            continue
        member.undefined.add(metric)
        best = ", and the epoch cannot be the best one" if metric == member.objective else ""
        LOG.info(f"warning: {metric} is not a finite number in {name}: its cell in metrics.csv is empty{best}")


def first_bad_step(losses: Tensor, first_step: int) -> int:
    """Return the first step, from 1, whose loss is not finite; the last step if only the validation loss is not."""
    bad = (~losses.isfinite()).nonzero()
    return first_step + (int(bad[0]) + 1 if len(bad) else len(losses))


def set_statuses(members: Sequence[Member], position: Position, *, interrupted: bool) -> None:
    """Set the status of every member that has ended; nothing else does."""
    training = [m for m in members if m.status is None and m.diverged_at is None and m.error is None]
    searched = [member for member in training if member.pruned and position.batch == 0]
    for member in searched:
        report_to_search(member)  # all report before one is judged: the seeds of a trial end together
    for member in members:
        if member.status is not None:
            continue
        if member.error is not None:
            member.status = "failed"
        elif member.diverged_at is not None:
            member.status = "diverged"
        elif position.is_over:
            member.status = "finished"
        elif member.early_stopping and position.batch == 0 and member.early_stopping.applies(member.history):
            member.status = "stopped"
        elif member in searched and report_to_search(member):
            member.status = "pruned"
        elif interrupted:
            member.status = "interrupted"


def report_to_search(member: Member) -> bool:
    """Report a member's newest epoch to its search; return whether the search prunes it."""
    return bool(member.history) and member.pruned is not None and member.pruned(member.history)


def save(program: Program, members: Sequence[Member], position: Position) -> None:
    """Write the checkpoints of the active members; a diverged or failed member keeps its last good one.

    All are written before the first one replaces an old one, so that a killed stack can be resumed: see `run.settle`.
    `last.pt` is always on the disk before it gets its name; the other files are flushed every `FLUSH_SECONDS` and at
    the end, as an epoch may take less time than that.

    If the program saves less often than once per epoch, best epochs are kept in memory until then. Epochs whose
    checkpoints are to be kept are always written.
    """
    active = {k: members[k] for k in position.active}
    good = {k: member for k, member in active.items() if member.status not in ("diverged", "failed")}
    improved = {k for k, member in good.items() if member.folder.best in checkpoint_paths(member, position)}
    ending = any(member.status is not None for member in active.values())
    begin = time.monotonic()
    if not ending and not position.kept and begin - position.saved_at < seconds_unsaved(program, position):
        for k in improved:
            members[k].unwritten = state_of(program, k, members[k], position)
        return
    due, several = ending or time.monotonic() - position.flushed_at >= FLUSH_SECONDS, len(active) > 1
    with flushing(due and not several):
        for k, member in active.items():
            for observer in heeded(member):
                try:
                    observer.before_checkpoint()
                except Exception as error:
                    note_failure(members, k, observer, "before_checkpoint", error)
        for k, member in active.items():
            if member.unwritten is not None and k not in improved:
                member.folder.write_best(member.unwritten)
            member.unwritten = None
    with flushing(not several):
        for k, member in good.items():
            member.folder.write_next(state_of(program, k, member, position))
    if several:
        flush_all()
    with flushing(due and not several):
        for member in good.values():
            member.folder.take_next(*checkpoint_paths(member, position))
    position.saved_at = time.monotonic()
    position.saving_seconds = position.saved_at - begin
    if due:
        position.flushed_at = position.saved_at


def seconds_unsaved(program: Program, position: Position) -> float:
    """Return the least time between two checkpoints."""
    least = program.checkpoint_seconds
    return max(least, min(position.saving_seconds / SAVING_SHARE, LONGEST_UNSAVED)) if least else 0.0


def checkpoint_paths(member: Member, position: Position) -> list[Path]:
    """Return the other paths, besides `last.pt`, of a member's checkpoint at this position."""
    best = position.batch == 0 and member.improved()
    names = [] if position.kept is None else [member.folder.named(position.kept)]
    return [member.folder.best] * best + names


def state_of(program: Program, k: int, member: Member, position: Position) -> dict[str, Any]:
    """Return everything that a member needs to continue with the same bits."""
    state = {
        "program": program.state_dict(k),
        "streams": member.streams.state_dict(),
        "generator": program.generator(k),
        "position": position.state_dict(k),
        "horizon": in_epochs(member.horizon or position.plan.total_steps, position.plan),
        "history": member.history_text(),
        **({"origin": dict(member.origin)} if member.origin is not None else {}),
        "tables": {name: list(digest) for o in member.observers for name, digest in o.tables().items()},
        "copies": {name: copy for o in member.observers for name, copy in o.copies().items()},
    }
    return state if program.device.type == "cpu" else state_to_host(state)
