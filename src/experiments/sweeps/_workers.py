"""Stacks trained by Ray's workers, on this machine or on a cluster: one fresh process for each."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from experiments.common.errors import UserError
from experiments.common.installing import install_command
from experiments.common.signatures import checked
from experiments.folders.sweep import Entry
from experiments.runs.job import Job
from experiments.runs.summary import try_to_say_failed
from experiments.runs.together import train_together
from experiments.training.stop import SignalStop

if TYPE_CHECKING:
    from ray import ObjectRef

POLLED_SECONDS = 0.5
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class RaySettings:
    """Where the workers are, and what each has.

    Args:
        address: of a cluster: auto for the one of this machine, or host:port; null starts one here.
        num_cpus: cores of each stack.
        num_gpus: GPUs of each stack; a part of one lets several share it.
        max_retries: how often a stack is begun again whose process was killed.
    """

    address: str | None = None
    num_cpus: Annotated[float, Ge(0)] = 1
    num_gpus: Annotated[float, Ge(0)] = 0
    max_retries: Annotated[int, Ge(0)] = 3


@dataclass
class WorkerTask:
    """A stack that a worker has.

    Args:
        jobs: its runs.
        tries: how often it was begun.
    """

    jobs: Sequence[Job]
    tries: int = 1


def train_on_ray(stacks: Sequence[Sequence[Job]], settings: Any, ended: Callable[[Sequence[Job]], None]) -> int | None:
    """Train stacks in workers, several at a time; returns the signal that asked for an end, if one did.

    Args:
        stacks: the runs of each.
        settings: see `RaySettings`.
        ended: told of runs that have come to their end, some at a time.

    Raises:
        UserError: there is no Ray, or nobody answers at the address.
    """
    chosen = RaySettings(**checked(RaySettings, settings, "hydra.launcher.ray"))
    stop = SignalStop()
    with connected(chosen) as ray, stop.listening():
        work = ray.remote(max_calls=1, max_retries=0, num_cpus=chosen.num_cpus, num_gpus=chosen.num_gpus)(train)
        given = {work.remote(list(jobs), str(Path.cwd())): WorkerTask(jobs) for jobs in stacks}
        open_jobs = [job for jobs in stacks for job in jobs]
        cancelled = False
        while given:
            ready, _ = ray.wait(list(given), timeout=POLLED_SECONDS)
            if stop.requested and not cancelled:
                cancelled = True
                for reference in given:
                    ray.cancel(reference)
            for reference in ready:
                stack = given.pop(reference)
                problem = outcome(ray, reference)
                left = [again(job) for job in stack.jobs if not over(job)]
                if not problem or not left or stop.requested:
                    continue
                if stack.tries > chosen.max_retries:
                    for job in left:
                        fail(job, f"{problem}, {stack.tries} times")
                else:
                    print(f"{problem}: {len(left)} runs go on from their checkpoints", flush=True)
                    given[work.remote(left, str(Path.cwd()))] = WorkerTask(left, stack.tries + 1)
            done = [job for job in open_jobs if over(job)]
            if done:
                open_jobs = [job for job in open_jobs if job not in done]
                ended(done)
    return stop.signal


def train(jobs: list[Job], folder: str) -> None:
    """Train a stack: what a worker does."""
    if Path(folder).is_dir():
        os.chdir(folder)
    stop = SignalStop()
    with stop.listening():
        train_together(jobs, stop, lambda _run: None, print)


def outcome(ray: Any, reference: ObjectRef[Any]) -> str | None:
    """Return what happened to a worker, in a few words; None where it ended as it should."""
    try:
        ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
        return "a worker was killed"
    except ray.exceptions.RayError as error:
        return f"a worker failed ({str(error).strip().splitlines()[-1][:200]})"
    return None


def over(job: Job) -> bool:
    """Whether a run has come to its end."""
    return Entry(0, job.folder.path).is_over(retry=False)


def again(job: Job) -> Job:
    """Return what is left of a run."""
    begun = job.folder.last.exists()
    return replace(job, config={**job.config, "resume": str(job.folder.path) if begun else None})


def fail(job: Job, why: str) -> None:
    """Give a run up."""
    try_to_say_failed(job.folder, job.config, job.overrides, RuntimeError(why))


@contextmanager
def connected(settings: RaySettings) -> Iterator[Any]:
    """Join a cluster, or start one here, for the block."""
    try:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
    except ImportError:
        raise UserError(
            f"hydra.launcher.executor=ray needs Ray; install the extra with: {install_command('ray')}"
        ) from None
    address = settings.address
    if address not in (None, "auto", "local"):
        answers(str(address))
    try:
        # Nothing of the driver's folder is copied to the workers: they have the package, and the runs' folders.
        ray.init(address=address or "local", include_dashboard=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"hydra.launcher.ray.address={address!r}: no cluster answers ({reason[:150]})") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def answers(address: str) -> None:
    """Find out whether somebody listens, where Ray itself would wait for minutes.

    Raises:
        UserError: nobody does, or the address is none.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise UserError(
            f"hydra.launcher.ray.address={address!r} is no address; allowed: null, auto or host:port, such as head:6379"
        )
    began = time.monotonic()
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        waited = time.monotonic() - began
        raise UserError(
            f"hydra.launcher.ray.address={address!r}: nobody answers there after {waited:.1f} s ({error})"
        ) from None
