"""Runs trained many at a time, as stacks."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from experiments import assembly
from experiments.common.text import counted, one_line
from experiments.folders.run import RunFolder, settle
from experiments.training import device
from experiments.training.engine import fit
from experiments.training.position import Position
from experiments.training.stack import Stack, reason_apart, rule_for, signature
from experiments.training.stack.rules import RULES
from experiments.training.stop import Stop

from .alone import Told, Watched, begun_at, finish, nobody, threads_of, train_apart
from .job import Job
from .run import PreparedRun, Run, StartedRun

WEIGHT_COPIES, ACTIVATION_COPIES = 10, 4
"""How often a member's weights are there at once (models, gradients, averages, checkpoints, what observers keep), and
the values that a batch leaves in its layers."""
LARGEST_STACK = {"cpu": 64, "cuda": 256}
"""Beyond this nothing is gained: see `benchmarks stacks`."""


def train_together(
    jobs: Sequence[Job], stop: Stop, ended: Told, say: Callable[[str], None], watched: Watched = nobody
) -> None:
    """Train runs, as many of them at once as can be; one that fails does not keep the others from their end.

    Args:
        jobs: what to train.
        stop: asked after every step.
        ended: told of each run when it has a summary.
        say: told what became of the plan.
        watched: told of the members of a stack and where they are, after each epoch.
    """
    settle([job.folder for job in jobs])
    sources = assembly.Sources()
    prepared = []
    for job in jobs:
        if stop.requested:
            break
        run = Run(job, quiet=True)
        ready = run.attempt(partial(run.prepare, sources))
        if ready is None:
            ended(run)
        else:
            prepared.append(ready)
    for group in stacks(prepared, say):
        if stop.requested:
            for member in group:
                member.run.close()
        else:
            train_group(group, stop, ended, say, watched)


def fitting(job: Job) -> int | None:
    """Return how many runs like this one fit into half of the memory that is free; None where it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        config = {**job.config, "resume": None, "trial": None}
        run = Run(replace(job, folder=RunFolder(Path(folder)), config=config), quiet=True)
        prepared = run.attempt(partial(run.prepare, assembly.Sources()))
        run.close()
    if prepared is None:
        return None
    parts, kind = prepared.parts, prepared.device.type
    weights = sum(p.numel() for p in parts.program.parameters)
    batch = parts.program.updating.micro_batch or parts.plan.batch_size
    outputs = sum(math.prod(layer.output_shape) for layer in parts.layers)
    values = batch * (math.prod(parts.data.input_shape) + outputs)
    needed = 4 * (WEIGHT_COPIES * weights + ACTIVATION_COPIES * values)
    return max(1, min(LARGEST_STACK[kind], int(device.free_memory(prepared.device) / 2 // needed)))


def stacks(runs: Sequence[PreparedRun], say: Callable[[str], None]) -> list[list[PreparedRun]]:
    """Divide runs into those that can share a program; those with one rule stand next to each other."""
    groups: list[tuple[dict[str, object], list[PreparedRun]]] = []
    for run in runs:
        reason = reason_apart(run.parts.program)
        own = {**signature(run.parts.program), "place": run.progress, "reason": reason and id(run)}
        if reason and len(runs) > 1:
            say(f"{run.run.name} on its own: {reason}")
        for known, group in groups:
            if own == known:
                group.append(run)
                break
        else:
            groups.append((own, [run]))
    if len(groups) > 1:
        first = groups[0][0]
        differing = {key for own, _ in groups[1:] for key in own if own[key] != first[key]} - {"reason"}
        if differing:
            say(f"{len(groups)} stacks in place of one, since they differ in {', '.join(sorted(differing))}")
    return [sorted(group, key=in_order) for _, group in groups]


def in_order(run: PreparedRun) -> int:
    """Where a run stands in a stack: always the same, so that a resumed one computes with the same bits."""
    rule = rule_for(run.parts.program)
    return RULES.index(rule) if rule is not None else len(RULES)


def train_group(
    group: Sequence[PreparedRun], stop: Stop, told: Told, say: Callable[[str], None], watched: Watched = nobody
) -> None:
    """Train runs that agree in all that a stack has to; one after another where they cannot be called as one."""
    position, threads = begun_at(group), threads_of(group)
    started = started_at(group, position, threads, told)
    program = stacked(started, say)
    left: list[tuple[Run, Callable[[], None]]]
    left = [(one.run, partial(train_apart, one.prepared, stop, watched, one)) for one in started]
    if program is not None:
        try:
            train_stack(program, started, position, threads, stop, told, watched)
        except Exception as error:
            again = [one.run.begun_anew() for one in started if one.run.summary is None]
            say(f"{counted(len(again), 'run')} one after another, to find which cannot go on: {one_line(error)}")
            left = [(run, partial(train_anew, run, stop, watched)) for run in again]
        else:
            return
    for run, train in left:
        run.attempt(train)
        run.close()
        told(run)


def started_at(group: Sequence[PreparedRun], position: Position, threads: int, told: Told) -> list[StartedRun]:
    """Start runs, and return those that could be."""
    started = []
    for prepared in group:
        with prepared.surroundings(threads):
            run = prepared.run.attempt(partial(prepared.start, position, threads))
            if run is None:
                told(prepared.run)
            else:
                started.append(run)
    return started


def train_anew(run: Run, stop: Stop, watched: Watched) -> None:
    """Prepare a run and train it by a program of its own."""
    train_apart(run.prepare(), stop, watched)


def stacked(runs: Sequence[StartedRun], say: Callable[[str], None]) -> Stack | None:
    """Return the program of runs; None where each has to go on its own.

    The last one of a stack that was killed goes on in a stack: with the same arithmetic, to the same bits.
    """
    if not runs or (len(runs) == 1 and not (runs[0].prepared.state or {}).get("program", {}).get("stacked")):
        return None
    try:
        return Stack([run.parts.program for run in runs], [run.prepared.generator for run in runs])
    except ValueError as error:
        say(f"{len(runs)} runs one after another: {error}")
        return None


def train_stack(
    program: Stack,
    runs: Sequence[StartedRun],
    position: Position,
    threads: int,
    stop: Stop,
    told: Told,
    watched: Watched,
) -> None:
    """Train runs as one program.

    Raises:
        Exception: what any of them cannot do, such as writing; those without a summary have not come to their end.
    """

    members = [run.parts.member for run in runs]

    def ended(over: list[int]) -> None:
        watched(members, position)
        finish(program, {k: runs[k] for k in over}, position)
        for k in over:
            run = runs[k].run
            run.attempt(run.close)
            told(run)

    with runs[0].prepared.surroundings(threads):
        fit(program, members, position, stop, ended)
