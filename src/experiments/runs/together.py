"""Runs trained many at a time, as stacks."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from .run import Run

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
        watched: told of the runs of a stack and where they are, after each epoch.
    """
    settle([job.folder for job in jobs])
    sources = assembly.Sources()
    prepared = []
    for job in jobs:
        if stop.requested:
            break
        run = Run(job, quiet=True)
        if run.attempt(lambda run=run: run.prepare(sources)):  # type: ignore[misc]
            prepared.append(run)
        else:
            ended(run)
    for group in stacks(prepared, say):
        if stop.requested:
            for run in group:
                run.close()
        else:
            train_group(group, stop, ended, say, watched)


def fitting(job: Job) -> int | None:
    """Return how many runs like this one fit into half of the memory that is free; None where it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            replace(job, folder=RunFolder(Path(folder)), config={**job.config, "resume": None, "trial": None}),
            quiet=True,
        )
        if not run.attempt(lambda: run.prepare(assembly.Sources())):
            return None
        program, layers = run.parts.program, run.parts.layers
        run.close()
    weights = sum(p.numel() for p in program.parameters)
    batch = program.updating.micro_batch or run.parts.plan.batch_size
    values = batch * (math.prod(run.parts.data.input_shape) + sum(math.prod(layer.output_shape) for layer in layers))
    free = device.free_memory(run.place)
    needed = 4 * (WEIGHT_COPIES * weights + ACTIVATION_COPIES * values)
    return max(1, min(LARGEST_STACK[run.place.type], int(free / 2 // needed)))


def stacks(runs: Sequence[Run], say: Callable[[str], None]) -> list[list[Run]]:
    """Divide runs into those that can share a program; those with one rule stand next to each other."""
    groups: list[tuple[dict[str, object], list[Run]]] = []
    for run in runs:
        reason = reason_apart(run.parts.program)
        own = {**signature(run.parts.program), "place": run.place_in_training(), "reason": reason and id(run)}
        if reason and len(runs) > 1:
            say(f"{run.name} on its own: {reason}")
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


def in_order(run: Run) -> int:
    """Where a run stands in a stack: always the same, so that a resumed one computes with the same bits."""
    rule = rule_for(run.parts.program)
    return RULES.index(rule) if rule is not None else len(RULES)


def train_group(
    runs: Sequence[Run], stop: Stop, told: Told, say: Callable[[str], None], watched: Watched = nobody
) -> None:
    """Train runs that agree in all that a stack has to; one after another where they cannot be called as one."""
    position, threads = begun_at(runs), threads_of(runs)
    ready = []
    for run in runs:
        with run.surroundings(threads):
            if run.attempt(lambda run=run: run.begin(position, threads)):  # type: ignore[misc]
                ready.append(run)
            else:
                told(run)
    program = stacked(ready, say)
    if program is not None:
        try:
            train_stack(program, ready, position, threads, stop, told, watched)
        except Exception as error:
            ready = [run.begun_anew() for run in ready if run.summary is None]
            say(f"{counted(len(ready), 'run')} one after another, to find which cannot go on: {one_line(error)}")
        else:
            return
    for run in ready:
        run.attempt(lambda run=run: train_apart(run, stop, watched))  # type: ignore[misc]
        run.close()
        told(run)


def stacked(runs: Sequence[Run], say: Callable[[str], None]) -> Stack | None:
    """Return the program of runs; None where each has to go on its own.

    The last one of a stack that was killed goes on in a stack: with the same arithmetic, to the same bits.
    """
    if not runs or (len(runs) == 1 and not (runs[0].state or {}).get("program", {}).get("stacked")):
        return None
    try:
        return Stack([run.parts.program for run in runs], [run.generator for run in runs])
    except ValueError as error:
        say(f"{len(runs)} runs one after another: {error}")
        return None


def train_stack(
    program: Stack, runs: Sequence[Run], position: Position, threads: int, stop: Stop, told: Told, watched: Watched
) -> None:
    """Train runs as one program.

    Raises:
        Exception: what any of them cannot do, such as writing; those without a summary have not come to their end.
    """

    def ended(over: list[int]) -> None:
        watched(runs, position)
        finish(program, {k: runs[k] for k in over}, position)
        for k in over:
            runs[k].attempt(runs[k].close)
            told(runs[k])

    with runs[0].surroundings(threads):
        fit(program, [run.parts.member for run in runs], position, stop, ended)
