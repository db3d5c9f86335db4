"""Training stacks in workers, and on Ray, on this machine or on a cluster: each stack in a new process."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from annotated_types import Ge

from experiments.common.errors import UserError
from experiments.common.installing import install_command
from experiments.common.signatures import checked
from experiments.common.text import counted
from experiments.folders.sweep import Entry
from experiments.runs.job import Job
from experiments.runs.summary import write_failure
from experiments.runs.together import train_together
from experiments.training.stop import SignalStop, Stop

from ._devices import devices_of, gpus_of_a_stack

if TYPE_CHECKING:
    from ray import ObjectRef

POLLED_SECONDS = 0.5
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class RaySettings:
    """Where the workers are, and the resources of each; the defaults are those of the plugin's `Ray`.

    Args:
        address: of a cluster: auto for the one on this machine, or host:port; null starts one here.
        num_cpus: cores of each stack.
        num_gpus: GPUs of each stack; with a fraction, several stacks share one; see `gpus_of_a_stack`.
        max_retries: how often a stack is restarted after its process was killed.
    """

    address: str | None
    num_cpus: Annotated[float, Ge(0)]
    num_gpus: Annotated[float, Ge(0)] | Literal["auto"]
    max_retries: Annotated[int, Ge(0)]


class Workers(Protocol):
    """Processes that train stacks."""

    def start(self, jobs: Sequence[Job]) -> Any:
        """Start a stack, or queue it, and return its task."""

    def ended(self, tasks: Sequence[Any]) -> Sequence[Any]:
        """Wait a moment, and return the tasks that have ended."""

    def problem_of(self, task: Any) -> str | None:
        """Return what went wrong in a task that has ended, in a few words; None if nothing did."""

    def stop(self, tasks: Sequence[Any]) -> None:
        """Ask tasks to stop after the current step; those that wait are not started."""


@dataclass
class WorkerTask:
    """A stack that a worker trains.

    Args:
        jobs: its runs.
        tries: how often it was started.
    """

    jobs: Sequence[Job]
    tries: int = 1


def train_by(
    workers: Workers, stacks: Sequence[Sequence[Job]], most: int, stop: Stop, on_finish: Callable[[Sequence[Job]], None]
) -> None:
    """Train stacks in workers; those whose process was killed are restarted from their checkpoints.

    Args:
        workers: the processes.
        stacks: the runs of each.
        most: how often a stack is restarted.
        stop: a request to stop.
        on_finish: called with runs that have ended, some at a time.
    """
    running = {workers.start(jobs): WorkerTask(jobs) for jobs in stacks}
    open_jobs = [job for jobs in stacks for job in jobs]
    cancelled = False
    while running:
        ready = workers.ended(list(running))
        if stop.requested and not cancelled:
            cancelled = True
            workers.stop(list(running))
        for task in ready:
            stack = running.pop(task)
            problem = workers.problem_of(task)
            left = [remaining(job) for job in stack.jobs if not has_ended(job)]
            if not problem or not left or stop.requested:
                continue
            if stack.tries > most:
                for job in left:
                    give_up(job, f"{problem}, {stack.tries} times")
            else:
                print(f"{problem}: restarting {counted(len(left), 'run')} from the last checkpoint", flush=True)
                running[workers.start(left)] = WorkerTask(left, stack.tries + 1)
        ended = [job for job in open_jobs if has_ended(job)]
        if ended:
            gone = {id(job) for job in ended}
            open_jobs = [job for job in open_jobs if id(job) not in gone]
            on_finish(ended)


def train_on_ray(
    stacks: Sequence[Sequence[Job]], settings: Any, on_finish: Callable[[Sequence[Job]], None]
) -> int | None:
    """Train stacks in workers of Ray, several at a time; return the signal that stopped them, if there was one.

    Args:
        stacks: the runs of each.
        settings: see `RaySettings`.
        on_finish: called with runs that have ended, some at a time.

    Raises:
        UserError: Ray is not installed, or no cluster answers at the address.
    """
    chosen = RaySettings(**checked(RaySettings, settings, "hydra.launcher.ray"))
    stop = SignalStop()
    with connected(chosen) as ray, stop.listening():
        devices = devices_of([job.config for jobs in stacks for job in jobs])
        gpus = gpus_of_a_stack(chosen.num_gpus, devices, ray.cluster_resources().get("GPU", 0))
        work = ray.remote(max_calls=1, max_retries=0, num_cpus=chosen.num_cpus, num_gpus=gpus)(train)
        train_by(RayWorkers(ray, work), stacks, chosen.max_retries, stop, on_finish)
    return stop.signal


@dataclass
class RayWorkers:
    """See `Workers`.

    Args:
        ray: the library, connected.
        work: the remote function.
    """

    ray: Any
    work: Any

    def start(self, jobs: Sequence[Job]) -> ObjectRef[Any]:
        """See `Workers.start`."""
        reference: ObjectRef[Any] = self.work.remote(list(jobs), str(Path.cwd()))
        return reference

    def ended(self, tasks: Sequence[ObjectRef[Any]]) -> Sequence[ObjectRef[Any]]:
        """See `Workers.ended`."""
        ready: Sequence[ObjectRef[Any]] = self.ray.wait(list(tasks), timeout=POLLED_SECONDS)[0]
        return ready

    def problem_of(self, task: ObjectRef[Any]) -> str | None:
        """See `Workers.problem_of`."""
        return problem_of(self.ray, task)

    def stop(self, tasks: Sequence[ObjectRef[Any]]) -> None:
        """See `Workers.stop`."""
        for task in tasks:
            self.ray.cancel(task)


def train(jobs: list[Job], folder: str) -> None:
    """Train a stack in a worker."""
    if Path(folder).is_dir():
        os.chdir(folder)
    stop = SignalStop()
    with stop.listening():
        train_together(jobs, stop, lambda _run: None, print)


def problem_of(ray: Any, reference: ObjectRef[Any]) -> str | None:
    """Return what went wrong in a worker, in a few words; None if nothing did."""
    try:
        ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
        return "a worker was killed"
    except ray.exceptions.RayError as error:
        return f"a worker failed ({str(error).strip().splitlines()[-1][:200]})"
    return None


def has_ended(job: Job) -> bool:
    """Whether a run has ended."""
    return Entry(0, job.folder.path).is_over(retry=False)


def remaining(job: Job) -> Job:
    """Return a run that continues from its checkpoint, if it has one."""
    resumable = job.folder.last.exists()
    return replace(job, config={**job.config, "resume": str(job.folder.path) if resumable else None})


def give_up(job: Job, reason: str) -> None:
    """Write the summary of a run that is not tried again."""
    write_failure(job.folder, job.config, job.overrides, RuntimeError(reason))


@contextmanager
def connected(settings: RaySettings) -> Iterator[Any]:
    """Connect to a cluster inside the block, or start one here that only this process can use.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    if settings.address in (None, "local"):
        close_cluster()
    try:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
    except ImportError:
        raise UserError(
            f"hydra.launcher.executor=ray needs Ray; install the extra with: {install_command('ray')}"
        ) from None
    address = settings.address
    if address not in (None, "auto", "local"):
        check_address(str(address))
    try:
        # No file of the driver's folder is copied to the workers: they have the package and the run folders.
        ray.init(address=address or "local", include_dashboard=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"hydra.launcher.ray.address={address!r}: no cluster answers ({reason[:150]})") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def close_cluster() -> None:
    """Let a cluster that is started here listen only to this machine, and ask for a token.

    Whoever reaches a Ray cluster can run any code on it. Ray reads these variables when it is imported; what the user
    has set stays. Other users of the machine do not know the token.
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on any system, 0 means the loopback address
    if not os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"}:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def check_address(address: str) -> None:
    """Check that a server listens at an address; Ray itself would wait for minutes.

    Raises:
        UserError: no server listens, or the address is not valid.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise UserError(
            f"hydra.launcher.ray.address={address!r} is not an address; allowed: null, auto or host:port (head:6379)"
        )
    started = time.monotonic()
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        waited = time.monotonic() - started
        raise UserError(f"hydra.launcher.ray.address={address!r}: no answer after {waited:.1f} s ({error})") from None
