"""Training stacks in processes of this machine, one per core or GPU, without Ray."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any, Literal

from annotated_types import Ge

from experiments.common.signatures import checked
from experiments.runs.job import Job
from experiments.runs.together import train_together
from experiments.training.device import cores
from experiments.training.stop import EXIT_CODES, SignalStop, Stop

from ._devices import devices_of, local_workers
from ._workers import POLLED_SECONDS, train_by

LEAVING_SECONDS = 30.0
"""The seconds that a worker whose sweep was killed has to stop."""


@dataclass(frozen=True)
class LocalSettings:
    """The processes; the defaults are those of the plugin's `Local`.

    Args:
        workers: how many train at a time; auto for one per GPU or, if the runs use none, one per core.
        max_retries: how often a stack is restarted after its process was killed.
    """

    workers: Annotated[int, Ge(1)] | Literal["auto"]
    max_retries: Annotated[int, Ge(0)]


def local_settings(settings: Any) -> LocalSettings:
    """Return the settings of the executor.

    Raises:
        UserError: one of them is not valid.
    """
    return LocalSettings(**checked(LocalSettings, settings, "hydra.launcher.local"))


def train_in_processes(
    stacks: Sequence[Sequence[Job]], settings: Any, on_finish: Callable[[Sequence[Job]], None]
) -> int | None:
    """Train stacks in processes of this machine, with the settings of `LocalSettings`; see `train_on_ray`."""
    import torch

    chosen = local_settings(settings)
    if not stacks:
        return None
    present = torch.cuda.device_count()
    devices = devices_of([job.config for jobs in stacks for job in jobs])
    count, gpus = local_workers(chosen.workers, devices, present)
    stop = SignalStop()
    with stop.listening(), processes(min(count, len(stacks)), gpus) as workers:
        train_by(workers, stacks, chosen.max_retries, stop, on_finish)
    return stop.signal


@contextmanager
def processes(count: int, gpus: int) -> Iterator[LocalWorkers]:
    """Have processes inside the block; they are started when they get their first stack.

    Args:
        count: how many.
        gpus: those that they share in turn; 0 for none.
    """
    stopping = get_context("spawn").Event()
    slots: SimpleQueue[Slot] = SimpleQueue()
    each = max(1, cores() // count)
    all_slots = [Slot(stopping, each, visible(n % gpus) if gpus else None) for n in range(count)]
    for slot in all_slots:
        slots.put(slot)
    with ThreadPoolExecutor(count, "stack") as threads:
        workers = LocalWorkers(threads, slots, stopping)
        try:
            yield workers
        finally:
            stopping.set()  # after an error, or a second Ctrl-C, the workers stop too
            threads.shutdown(cancel_futures=True)
            for slot in all_slots:
                slot.close()


def visible(gpu: int) -> str:
    """Return the name of a GPU for a process that sees only this one."""
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[gpu] if gpu < len(named) else str(gpu)


@dataclass
class Slot:
    """A process that trains one stack at a time, and is replaced if it was killed.

    Args:
        stopping: set when its stack should stop.
        threads: of the process.
        gpu: that it sees; None for all of them.
    """

    stopping: Event
    threads: int
    gpu: str | None
    pool: ProcessPoolExecutor | None = None

    def train(self, jobs: list[Job]) -> str | None:
        """Train a stack in the process; return what went wrong, in a few words."""
        if self.stopping.is_set():
            return None
        if self.pool is None:
            given = (self.stopping, self.threads, self.gpu)
            self.pool = ProcessPoolExecutor(1, get_context("spawn"), begin, given)
        try:
            self.pool.submit(train, jobs, str(Path.cwd())).result()
        except BrokenProcessPool:
            self.close()
            return "a worker was killed"
        except Exception as error:  # of any kind, as a stack has code of the user
            return f"a worker failed ({(str(error) or type(error).__name__).strip().splitlines()[-1][:200]})"
        return None

    def close(self) -> None:
        """End the process."""
        if self.pool is not None:
            self.pool.shutdown()
            self.pool = None


@dataclass
class LocalWorkers:
    """See `Workers`.

    Args:
        threads: each waits for one process.
        slots: the processes that have no stack.
        stopping: set when all should stop.
    """

    threads: ThreadPoolExecutor
    slots: SimpleQueue[Slot]
    stopping: Event

    def start(self, jobs: Sequence[Job]) -> Future[str | None]:
        """See `Workers.start`."""
        return self.threads.submit(self.train, list(jobs))

    def train(self, jobs: list[Job]) -> str | None:
        """Train a stack in a free process; return what went wrong."""
        slot = self.slots.get()
        try:
            return slot.train(jobs)
        finally:
            self.slots.put(slot)

    def ended(self, tasks: Sequence[Future[str | None]]) -> Sequence[Future[str | None]]:
        """See `Workers.ended`."""
        return list(wait(tasks, POLLED_SECONDS, FIRST_COMPLETED).done)

    def problem_of(self, task: Future[str | None]) -> str | None:
        """See `Workers.problem_of`."""
        return task.result()

    def stop(self, tasks: Sequence[Future[str | None]]) -> None:
        """See `Workers.stop`."""
        del tasks
        self.stopping.set()


@dataclass
class WorkerStop(Stop):
    """A stop request of the process that has started this one, or its end.

    Args:
        event: set by that process.
        orphaned: whether it has ended.
    """

    event: Event | None = None
    orphaned: threading.Event = field(default_factory=threading.Event)

    @property
    def requested(self) -> bool:  # type: ignore[override]
        """Whether to stop."""
        return self.orphaned.is_set() or (self.event is not None and self.event.is_set())


STOP = WorkerStop()
"""The stop requests of this process, if it is a worker."""


def begin(stopping: Event, threads: int, gpu: str | None) -> None:
    """Prepare a worker: it stops with the process that has started it, which gets the signals of the terminal."""
    for number in EXIT_CODES:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    os.environ["OMP_NUM_THREADS"] = str(threads)
    STOP.event = stopping
    threading.Thread(target=leave_with_parent, daemon=True).start()


def leave_with_parent() -> None:
    """Wait until the process that has started this one has ended; then stop the training, and end."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    STOP.orphaned.set()
    time.sleep(LEAVING_SECONDS)
    os._exit(1)


def train(jobs: list[Job], folder: str) -> None:
    """Train a stack in a worker."""
    if Path(folder).is_dir():
        os.chdir(folder)
    train_together(jobs, STOP, lambda _run: None, print)
