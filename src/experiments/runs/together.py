"""Training many runs at a time, as stacks."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from experiments import assembly
from experiments.common.errors import OwnCodeError, UserError
from experiments.common.files import flushing
from experiments.common.groups import add_to_group
from experiments.common.text import counted, one_line
from experiments.data.memory import MemoryLimitError, exceeds_handles, exhausts
from experiments.folders.run import RunFolder, settle
from experiments.training import device
from experiments.training.engine import fit
from experiments.training.position import Position
from experiments.training.stack import Stack, reason_apart, rule_for, signature, stack_of
from experiments.training.stack.rules import RULES
from experiments.training.stop import Stop

from .alone import OnEpoch, OnFinish, finish, ignore, position_of, threads_of, train_separately
from .job import Job
from .run import PreparedRun, Run, StartedRun
from .summary import disk_problem, was_removed

Log = Callable[[str], None]
Item = TypeVar("Item")
Result = TypeVar("Result")

WEIGHT_COPIES, ACTIVATION_COPIES = 10, 4
"""Copies of a member's weights that are in memory at once (models, gradients, averages, checkpoints, observers), and
copies of the activations of a batch."""
LARGEST_STACK = {"cpu": 64, "cuda": 256}
"""Larger stacks are not faster: see `benchmarks stacks`."""


def train_together(jobs: Sequence[Job], stop: Stop, on_finish: OnFinish, log: Log, on_epoch: OnEpoch = ignore) -> None:
    """Train runs, as many at once as possible; a run that fails does not stop the others.

    Args:
        jobs: the runs.
        stop: checked after every step.
        on_finish: called with each run when it has ended or failed.
        log: called with each message about the stacks.
        on_epoch: called with the members of a stack and their position after each epoch.
    """
    settle([job.folder for job in jobs])
    train_runs([partial(Run, job, quiet=True) for job in jobs], stop, on_finish, log, on_epoch)


def train_runs(
    openers: Sequence[Callable[[], Run]], stop: Stop, on_finish: OnFinish, log: Log, on_epoch: OnEpoch
) -> None:
    """Train runs, as many at once as can be open at a time.

    Args:
        openers: each opens a run.
        stop, on_finish, log, on_epoch: see `train_together`.

    Raises:
        UserError: a run cannot be opened.
        Exception: memory or file handles are exhausted by a single run.
    """
    try:
        prepared = prepared_runs(openers, stop, on_finish)
    except TooManyRunsError as error:
        if len(error.left) < 2:
            raise error.reason from None
        log(too_large(error.left, error.reason))
        for half in halves(error.left):
            train_runs(half, stop, on_finish, log, on_epoch)
        return
    for group in stacks(prepared, log):
        if stop.requested:
            for each in group:
                each.run.close()
        else:
            train_group(group, stop, on_finish, log, on_epoch)


class TooManyRunsError(Exception):
    """Runs cannot all be open at a time: memory or file handles are exhausted.

    Args:
        reason: the error.
        left: open the runs that have not failed for another reason.
    """

    def __init__(self, reason: Exception, left: Sequence[Callable[[], Run]]) -> None:
        super().__init__(str(reason))
        self.reason, self.left = reason, left


def prepared_runs(openers: Sequence[Callable[[], Run]], stop: Stop, on_finish: OnFinish) -> list[PreparedRun]:
    """Prepare runs, which share their data sets, and return those that did not fail.

    Raises:
        TooManyRunsError: they cannot all be open at a time; all are closed.
    """
    sources, left = assembly.Sources(), list(openers)
    prepared: list[PreparedRun] = []
    with ExitStack() as opened:
        for opener in takewhile(lambda _: not stop.requested, openers):
            try:
                run = opener()
            except UserError as error:
                if exceeds_handles(error.__cause__):
                    raise TooManyRunsError(error, left) from None
                raise
            opened.callback(run.close)
            reasons: list[Exception] = []
            prepare = partial(run.prepare, sources)
            ready = run.attempt(partial(noting, prepare, reasons) if prepared else prepare)
            if reasons:
                raise TooManyRunsError(reasons[0], left)
            if ready is None:
                left.remove(opener)
                on_finish(run)
            else:
                prepared.append(ready)
        opened.pop_all()
    return prepared


def noting(work: Callable[[], Result], reasons: list[Exception]) -> Result | None:
    """Call a function and return its result; None, with the reason in the list, if memory or files are exhausted."""
    try:
        return work()
    except Exception as error:
        if not exhausts(error) and not isinstance(error.__cause__, MemoryLimitError):
            raise
        reasons.append(error.with_traceback(None))
        return None


def halves(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    """Divide a sequence."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def built(job: Job) -> PreparedRun:
    """Build a run like this one, and write nothing.

    Raises:
        Exception: the run cannot be built.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = {**job.config, "resume": None, "trial": None}
        run = Run(replace(job, folder=RunFolder(Path(folder)), config=config), quiet=True)
        prepared = run.attempt(partial(run.prepare, assembly.Sources()))
        run.close()
    if prepared is None:
        raise run.error or UserError("the run cannot be built")
    return prepared


def largest_stack(job: Job, share: float = 1.0) -> int:
    """Return how many runs like this one fit into half of the free memory; nothing is written.

    Args:
        job: the run.
        share: of the free memory, if other stacks are trained on the same device at the same time.

    Raises:
        Exception: the run cannot be built.
    """
    prepared = built(job)
    parts, kind = prepared.parts, prepared.device.type
    weights = sum(p.numel() for p in parts.program.parameters)
    batch = parts.program.updating.micro_batch or parts.plan.batch_size
    outputs = sum(math.prod(layer.output_shape) for layer in parts.layers)
    values = batch * (math.prod(parts.data.input_shape) + outputs)
    needed = 4 * (WEIGHT_COPIES * weights + ACTIVATION_COPIES * values)
    return max(1, min(LARGEST_STACK[kind], int(share * device.free_memory(prepared.device) / 2 // needed)))


def stacks(runs: Sequence[PreparedRun], log: Log) -> list[list[PreparedRun]]:
    """Divide runs into groups that can share a program; in each, runs with the same rule are next to each other."""
    groups: list[tuple[dict[str, object], list[PreparedRun]]] = []
    for one in runs:
        observer = assembly.apart(one.run.job.config)
        reason = f"observers.{observer} watches one run at a time" if observer else reason_apart(one.parts.program)
        own = {**signature(one.parts.program), "progress": one.progress, "reason": reason and id(one)}
        if reason and len(runs) > 1:
            log(f"{one.run.name} on its own: {reason}")
        add_to_group(groups, own, one)
    if len(groups) > 1:
        first = groups[0][0]
        differing = {key for own, _ in groups[1:] for key in own if own[key] != first[key]} - {"reason"}
        if differing:
            log(f"{len(groups)} stacks instead of one: the runs differ in {', '.join(sorted(differing))}")
    return [sorted(group, key=stack_order) for _, group in groups]


def stack_order(run: PreparedRun) -> int:
    """Return the sort key of a run in a stack, always the same, so that a resumed stack computes the same bits."""
    rule = rule_for(run.parts.program)
    return RULES.index(rule) if rule is not None else len(RULES)


def train_group(
    group: Sequence[PreparedRun], stop: Stop, on_finish: OnFinish, log: Log, on_epoch: OnEpoch = ignore
) -> None:
    """Train runs that can share a stack, or one after another if their models cannot be called as one."""
    position, threads = position_of(group), threads_of(group)
    try:
        started = start_group(group, position, threads, on_finish)
    except OwnCodeError as error:
        log(f"training {counted(len(group), 'run')} one after another: {error}")
        train_in_turn([one.run for one in group], stop, on_finish, on_epoch)
        return
    except OSError as error:
        divide([one.run for one in group if one.run.error is None], error, stop, on_finish, log, on_epoch)
        return
    program = built_stack(started, log)
    left: list[tuple[Run, Callable[[], None]]]
    left = [(one.run, partial(train_separately, one.prepared, stop, on_epoch, one)) for one in started]
    if program is not None:
        try:
            train_stack(program, started, position, threads, stop, on_finish, on_epoch)
        except Exception as error:
            unended = [one.run for one in started if one.run.summary is None and one.run.error is None]
            for run in unended:
                if was_removed(run.job.folder):
                    run.fail(UserError(disk_problem(OSError(), run.job.folder)))
                    on_finish(run)
            unended = [run for run in unended if not was_removed(run.job.folder)]
            if len(unended) > 1 and exhausts(error):
                del program, started, left
                divide(unended, error, stop, on_finish, log, on_epoch)
                return
            if not unended:
                return
            log(f"training {counted(len(unended), 'run')} one after another to find which one fails: {one_line(error)}")
            train_in_turn(unended, stop, on_finish, on_epoch)
        return
    for run, train in left:
        run.attempt(train)
        run.attempt(run.close)
        on_finish(run)


def too_large(runs: Sequence[object], error: Exception) -> str:
    """Return the message that runs are divided."""
    return f"{counted(len(runs), 'run')} do not fit into one stack; training them as two ({one_line(error)})"


def divide(runs: Sequence[Run], error: Exception, stop: Stop, on_finish: OnFinish, log: Log, on_epoch: OnEpoch) -> None:
    """Train runs of a stack that was too large for the memory or the open files as two, from their last checkpoints."""
    log(too_large(runs, error.with_traceback(None)))  # the traceback has the tensors of the step
    for run in runs:
        with suppress(OSError):
            run.close()
    for half in halves(runs):
        train_runs([run.restart for run in half], stop, on_finish, log, on_epoch)


def train_in_turn(runs: Sequence[Run], stop: Stop, on_finish: OnFinish, on_epoch: OnEpoch) -> None:
    """Train runs from their last checkpoints, each with its own program and observers."""
    for run in [run.restart() for run in runs]:
        run.attempt(partial(prepare_and_train, run, stop, on_epoch))
        run.attempt(run.close)
        on_finish(run)


def start_group(
    group: Sequence[PreparedRun], position: Position, threads: int, on_finish: OnFinish
) -> list[StartedRun]:
    """Start runs, and return those that did not fail.

    Raises:
        OwnCodeError: an observer of the user cannot be built for several runs at once.
        OSError: the files of several runs cannot all be open at a time.
    """
    started: list[StartedRun] = []
    refused: list[OwnCodeError | OSError] = []

    def start(prepared: PreparedRun) -> StartedRun | None:
        try:
            with flushing(len(group) == 1):  # the first checkpoints of several flush everything
                return prepared.start(position, threads)
        except OwnCodeError as error:
            if len(group) == 1:
                raise
            refused.append(error)
        except OSError as error:
            if len(group) == 1 or not exceeds_handles(error):
                raise
            refused.append(error)
        return None

    for prepared in group:
        with prepared.surroundings(threads):
            run = prepared.run.attempt(partial(start, prepared))
            if refused:
                for observer in [o for one in started for o in one.parts.member.observers]:
                    with suppress(Exception):  # it has not been started
                        observer.close()
                raise refused[0]
            if run is None:
                on_finish(prepared.run)
            else:
                started.append(run)
    return started


def prepare_and_train(run: Run, stop: Stop, on_epoch: OnEpoch) -> None:
    """Prepare a run and train it with its own program."""
    train_separately(run.prepare(), stop, on_epoch)


def built_stack(runs: Sequence[StartedRun], log: Log) -> Stack | None:
    """Return the program of a stack; None if each run has to be trained separately.

    The only run left of a killed stack continues in a stack, with the same arithmetic, so that its bits are the same.
    """
    if not runs or (len(runs) == 1 and not (runs[0].prepared.state or {}).get("program", {}).get("stacked")):
        return None
    try:
        program = stack_of([run.parts.program for run in runs], [run.prepared.generator for run in runs])
    except ValueError as error:
        log(f"training {counted(len(runs), 'run')} one after another: {error}")
        return None
    for run in runs:
        if program.note:
            run.prepared.run.screen.log(f"{program.note}\n")
    return program


def train_stack(
    program: Stack,
    runs: Sequence[StartedRun],
    position: Position,
    threads: int,
    stop: Stop,
    on_finish: OnFinish,
    on_epoch: OnEpoch,
) -> None:
    """Train runs as one program.

    Raises:
        Exception: one of the runs failed, e.g. to write a file; the runs without a summary have not ended.
    """

    members = [run.parts.member for run in runs]

    def after_epoch(ended: list[int]) -> None:
        on_epoch(members, position)
        finish(program, {k: runs[k] for k in ended}, position)
        for k in ended:
            run = runs[k].run
            run.attempt(run.close)
            on_finish(run)

    with runs[0].prepared.surroundings(threads):
        fit(program, members, position, stop, after_epoch)
