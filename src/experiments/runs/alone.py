"""Training runs one at a time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments.assembly.run import thread_count
from experiments.assembly.trust import packages
from experiments.common.errors import UserError, is_own
from experiments.common.metrics import objective_of
from experiments.common.recorded import recorded
from experiments.common.statuses import WITH_RESULT
from experiments.folders.hydra import flush_composed, write_composed
from experiments.folders.lock import is_locked, locked
from experiments.folders.run import RunFolder
from experiments.folders.sweep import FILE, Entry
from experiments.training import processes
from experiments.training._watching import failed_observer
from experiments.training.engine import fit
from experiments.training.member import Member
from experiments.training.position import Position
from experiments.training.program import Program
from experiments.training.stop import EXIT_CODES, SignalStop, Stop
from experiments.training.streams import set_global_state

from .job import Job, composed, named_code
from .run import PreparedRun, Run, StartedRun, of_own_code
from .summary import outcomes


def run(
    cfg: DictConfig,
    early: SignalStop | None = None,
    typed: Sequence[str] = (),
    on_end: Callable[[str], object] | None = None,
) -> float | None:
    """Train the run that Hydra composed, in the folder that Hydra created; an interrupted run ends the process.

    Args:
        cfg: the composed configuration.
        early: listens to signals since Hydra created the folder; None if nothing does.
        typed: the arguments of the command; code that they name themselves is trusted.
        on_end: called with the status of the run when it has ended.
    """
    stop = processes.stop(early)
    job = composed(cfg)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        entry = Entry(HydraConfig.get().job.num, job.folder.path)
        if job.resuming and entry.is_over(retry=job.config["retry_failed"]):
            return result_of(entry.summary, job.config)
        resumable = job.resuming and job.folder.last.exists()
        job.config["resume"] = str(job.folder.path) if resumable else None
        if not (job.folder.path / ".hydra" / "overrides.yaml").exists():
            own: Any = OmegaConf.to_container(HydraConfig.get(), resolve=False)
            write_composed(job.config, own, job.folder.path)
    elif job.resuming:
        check_sweep_is_over(job.folder.path)
        job.config["trust"] = [*packages(job.config.get("trust")), *named_code(typed)]
    if not job.resuming and processes.rank() == 0:
        whole: Any = OmegaConf.to_container(HydraConfig.get(), resolve=False)
        typed = whole["overrides"]["task"]
        if recorded(typed, job.config) != typed:
            write_composed(job.config, whole, job.folder.path)
        else:
            flush_composed(job.folder.path)
    with nullcontext() if stop is early else stop.listening():
        summary = train_job(job, stop)
    if stop.signal is not None and summary["status"] == "interrupted":
        sys.exit(EXIT_CODES[signal.Signals(stop.signal)])
    if on_end is not None:
        on_end(summary["status"])
    return result_of(summary, job.config)


def train_job(job: Job, stop: Stop) -> dict[str, Any]:
    """Train a run that is composed, and return its summary; see `train`."""
    return train(
        job.config,
        job.folder,
        choices=job.choices,
        overrides=job.overrides,
        own=job.own,
        config_dir=job.config_dir,
        stop=stop,
    )


def result_of(summary: Mapping[str, Any], config: Mapping[str, Any]) -> float | None:
    """Return the objective of a run that has ended; None if it was not measured."""
    return summary.get("metrics", {}).get(summary.get("objective") or objective_of(config))


def check_sweep_is_over(folder: Path) -> None:
    """Refuse to resume a single run while a process is running its sweep.

    Raises:
        UserError: a process is.
    """
    for above in folder.absolute().parents[:2]:
        if (above / FILE).exists() and is_locked(above):
            raise UserError(
                f"resume={str(folder)!r} belongs to the sweep {str(above)!r}, which another process is running; "
                "wait until it ends"
            )


def train(
    config: dict[str, Any],
    folder: RunFolder,
    *,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    own: bool = False,
    config_dir: Path | None = None,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Train one run, or continue it, and return its summary.

    Args:
        config, folder, choices, overrides, own, config_dir: see `Job`.
        stop: checked after every step.

    Raises:
        UserError: something in the configuration or the folder cannot be used. A new run gets a summary with the
            error; a resumed run keeps its files.
    """
    lock: AbstractContextManager[None]
    lock = locked(folder.path, "run") if processes.rank() == 0 else nullcontext()
    with lock, Run(Job(config, folder, choices or {}, overrides, own, config_dir)) as run:
        train_separately(run.prepare(), stop or Stop())
    assert run.summary is not None
    return run.summary


OnFinish = Callable[[Run], None]
OnEpoch = Callable[[Sequence[Member], Position], None]


def ignore(_members: Sequence[Member], _position: Position) -> None:
    """Do nothing after an epoch."""


def position_of(runs: Sequence[PreparedRun]) -> Position:
    """Return the position of runs, which is the same for all of them."""
    position = Position(runs[0].parts.plan)
    states = [run.state["position"] for run in runs if run.state is not None]
    if states:
        position.load(states, runs[0].parts.program)
    return position


def threads_of(runs: Sequence[PreparedRun]) -> int:
    """Return the number of threads that runs are trained with."""
    first = runs[0]
    return thread_count(first.settings, first.parts, first.device, first.state, len(runs))


def train_separately(
    prepared: PreparedRun, stop: Stop, on_epoch: OnEpoch = ignore, started: StartedRun | None = None
) -> None:
    """Train a run with its own program.

    Args:
        prepared: the run.
        stop: checked after every step.
        on_epoch: called with the run's member and position after each epoch.
        started: the same run, if it has already been started.
    """
    position, threads, parts = position_of([prepared]), threads_of([prepared]), prepared.parts
    with prepared.surroundings(threads):
        set_global_state(prepared.generator, prepared.device)
        run = started or prepared.start(position, threads)
        if parts.program.note:
            prepared.run.screen.log(f"{parts.program.note}\n")

        def after_epoch(ended: list[int]) -> None:
            on_epoch([parts.member], position)
            if ended:
                finish(parts.program, {0: run}, position)

        try:
            fit(parts.program, [parts.member], position, stop, after_epoch)
        finally:
            for split in parts.program.splits.values():
                split.close()


def finish(program: Program, runs: Mapping[int, StartedRun], position: Position) -> None:
    """Give the verdicts on runs that have ended, and write and print their summaries; a failed run has its error."""
    for run in runs.values():
        if run.parts.member.error is not None:
            run.run.fail(run.parts.member.error)
    runs = {k: run for k, run in runs.items() if run.parts.member.error is None}
    judgements = {k: run.judge(position) for k, run in runs.items()}
    members = {k: run.parts.member for k, run in runs.items()}
    results = outcomes(program, members, position)
    for k, run in runs.items():
        best = None if "problem" in results[k] else results[k].get("best_step", results[k]["best_epoch"])
        if call_scored(run, best or position.mark, several=program.members > 1):
            run.conclude(results[k], judgements[k], program.members)


def call_scored(run: StartedRun, epoch: int, *, several: bool) -> bool:
    """Call `scored` of the run's observers; return False if it failed, which ends only that run of several.

    Args:
        run: a run that has ended.
        epoch: whose weights its program has.
        several: whether it was trained together with others.

    Raises:
        Exception: an observer failed, and the run was trained alone.
    """
    member = run.parts.member
    if member.status not in WITH_RESULT:
        return True

    def call() -> bool:
        for observer in member.observers:
            try:
                observer.scored(epoch)
            except Exception as error:
                if is_own(type(observer)) or isinstance(error, UserError):
                    raise
                raise failed_observer(observer, "scored", error) from error
        return True

    if several:
        return run.run.attempt(call) is not None
    try:
        return call()
    except Exception as error:
        raise of_own_code(error) or error from None
