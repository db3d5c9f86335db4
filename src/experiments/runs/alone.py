"""Runs trained one at a time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments.assembly.run import thread_count
from experiments.folders.hydra import write_composed
from experiments.folders.run import RunFolder
from experiments.folders.sweep import Entry
from experiments.training import processes
from experiments.training.engine import fit
from experiments.training.member import Member
from experiments.training.position import Position
from experiments.training.program import Program
from experiments.training.stop import EXIT_CODES, Stop
from experiments.training.streams import set_global_state

from .job import Job, composed
from .run import PreparedRun, Run, StartedRun
from .summary import outcomes


def run(cfg: DictConfig) -> float | None:
    """Train a configuration composed by Hydra in the folder that Hydra made; exits when interrupted."""
    stop = processes.stop()
    job = composed(cfg)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        entry = Entry(HydraConfig.get().job.num, job.folder.path)
        if job.resuming and entry.is_over(retry=job.config["retry_failed"]):
            return entry.summary.get("metrics", {}).get(job.config["objective"])
        begun = job.resuming and job.folder.last.exists()
        job.config["resume"] = str(job.folder.path) if begun else None
        if not (job.folder.path / ".hydra" / "overrides.yaml").exists():
            own: Any = OmegaConf.to_container(HydraConfig.get(), resolve=False)
            write_composed(job.config, own, job.folder.path)
    with stop.listening():
        summary = train(job.config, job.folder, choices=job.choices, overrides=job.overrides, stop=stop)
    if stop.signal is not None and summary["status"] == "interrupted":
        sys.exit(EXIT_CODES[signal.Signals(stop.signal)])
    return summary["metrics"].get(job.config["objective"])


def train(
    config: dict[str, Any],
    folder: RunFolder,
    *,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Train one run, or go on with it, and return its summary.

    Args:
        config, folder, choices, overrides: see `Job`.
        stop: asked after every step.

    Raises:
        UserError: something in the configuration or the folder cannot be used; a run that had not begun
            gets a summary that says so, one that had keeps what it has.
    """
    with Run(Job(config, folder, choices or {}, overrides)) as run:
        train_apart(run.prepare(), stop or Stop())
    assert run.summary is not None
    return run.summary


Told = Callable[[Run], None]
Watched = Callable[[Sequence[Member], Position], None]


def nobody(_members: Sequence[Member], _position: Position) -> None:
    """Watch nothing."""


def begun_at(runs: Sequence[PreparedRun]) -> Position:
    """Return where runs are, all at the same place."""
    position = Position(runs[0].parts.plan)
    states = [run.state["position"] for run in runs if run.state is not None]
    if states:
        position.load(states, runs[0].parts.program)
    return position


def threads_of(runs: Sequence[PreparedRun]) -> int:
    """Return how many threads runs are trained with."""
    first = runs[0]
    return thread_count(first.settings, first.parts, first.device, first.state, len(runs))


def train_apart(
    prepared: PreparedRun, stop: Stop, watched: Watched = nobody, started: StartedRun | None = None
) -> None:
    """Train a run by a program of its own.

    Args:
        prepared: the run.
        stop: asked after every step.
        watched: told where the run is, after each epoch.
        started: the same run, if it has been started.
    """
    position, threads, parts = begun_at([prepared]), threads_of([prepared]), prepared.parts
    with prepared.surroundings(threads):
        set_global_state(prepared.generator, prepared.device)
        run = started or prepared.start(position, threads)

        def ended(over: list[int]) -> None:
            watched([parts.member], position)
            if over:
                finish(parts.program, {0: run}, position)

        fit(parts.program, [parts.member], position, stop, ended)


def finish(program: Program, runs: Mapping[int, StartedRun], position: Position) -> None:
    """Write and say what came of runs that have come to their end."""
    found = {k: run.judged(position) for k, run in runs.items()}
    results = outcomes(program, {k: run.parts.member for k, run in runs.items()}, position)
    for k, run in runs.items():
        run.conclude(results[k], found[k], program.members)
