"""Examples that workers read whenever they are needed: those of a random data set, or more than memory can hold.

The random numbers of an example depend only on the run's seed, the epoch and the example's number. So neither the
number of workers nor an interruption changes an example.
"""

from __future__ import annotations

import ctypes
import hashlib
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from .batches import Split
from .host import copied

START = "fork" if sys.platform == "linux" else None
"""How workers start: on Linux a data set need not be picklable, and is not copied."""
PR_SET_PDEATHSIG = 1
EVALUATED = 0
"""The epoch whose random numbers an example gets outside training updates; training begins with epoch 1."""
AHEAD = 4
"""Batches that each worker reads ahead."""

Read = Callable[[int], tuple[Tensor, np.ndarray | float]]
"""Returns an example's input, in its final layout and type, and its target as it was read."""


class Key(NamedTuple):
    """Which example, and what determines its random numbers."""

    seed: int
    epoch: int
    row: int


@dataclass(frozen=True)
class Failure:
    """Why a worker could not read an example."""

    sentence: str


class Rows:
    """The inputs of a data set, which are read whenever they are needed: what a tensor is to the rest of the program.

    Args:
        read: reads an example; a ValueError says why it cannot be read.
        count: the number of examples.
        targets: of all examples, as `read` returns them.
        failed: returns the error for a sentence.
        workers: processes that read; 0 for none.
        length: returns the present number of examples; None if it cannot change.
    """

    device = torch.device("cpu")
    seeds_all = False
    """Whether an example has drawn from the generators of numpy or Python; see `attempted`."""

    def __init__(
        self,
        read: Read,
        count: int,
        targets: Sequence[np.ndarray],
        failed: Callable[[str], Exception],
        workers: int,
        length: Callable[[], int] | None = None,
    ) -> None:
        self.length = length
        self.read, self.count, self.targets, self.failed, self.workers = read, count, targets, failed, workers
        self.numbers = [target.item() if target.ndim == 0 else None for target in targets]
        self.example = self.of([Key(0, EVALUATED, 0)])
        self.shape = torch.Size([count, *self.example.shape[1:]])
        self.dtype, self.ndim, self.nbytes = self.example.dtype, self.example.ndim, self.example.nbytes * count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            return self.example[0] if index == 0 else self.index_select(0, torch.tensor([index]))[0]
        return self.index_select(0, torch.arange(self.count)[index])

    def index_select(self, axis: int, rows: Tensor) -> Tensor:
        """Read examples in this process, with the random numbers of no run."""
        assert axis == 0
        return self.of([Key(0, EVALUATED, row) for row in rows.tolist()])

    def of(self, keys: Sequence[Key]) -> Tensor:
        """Read examples in this process.

        Raises:
            Exception: of `failed`.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a worker
        try:
            with preserved():
                batch = stacked(attempted(self, keys))
        finally:
            torch.set_num_threads(threads)
        return self.checked(batch)

    def check_length(self) -> None:
        """Refuse a data set whose length has changed since it was first read.

        Raises:
            Exception: of `failed`.
        """
        now = self.count if self.length is None else self.length()
        if now != self.count:
            raise self.failed(f"the length of the data set changed from {self.count:,} to {now:,} in training")

    def checked(self, batch: Tensor | Failure) -> Tensor:
        """Return a batch; raise the error of a worker.

        Raises:
            Exception: of `failed`.
        """
        if isinstance(batch, Failure):
            raise self.failed(batch.sentence)
        return batch

    def is_complex(self) -> bool:
        """See `torch.Tensor`."""
        return False

    def is_floating_point(self) -> bool:
        """See `torch.Tensor`."""
        return self.dtype.is_floating_point


class Examples(Dataset[Any]):
    """What a worker reads from.

    Args:
        rows: the inputs.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows.count

    def __getitem__(self, key: Key) -> Tensor | Failure:
        return attempted(self.rows, [key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[Tensor | Failure]:
        return attempted(self.rows, keys)


def attempted(rows: Rows, keys: Sequence[Key]) -> list[Tensor | Failure]:
    """Read examples, each with its own random numbers; see `attempt`.

    Most data sets draw from torch only. The generators of numpy and Python, whose seeding takes most of the time, are
    seeded for each example as soon as one has drawn from them; the examples of that batch are read again.
    """
    if not rows.seeds_all:
        before = other_states()
        found = [attempt(rows, key, seed_torch) for key in keys]
        if other_states() == before:
            return found
        rows.seeds_all = True
    return [attempt(rows, key, seed_all) for key in keys]


def other_states() -> tuple[Any, ...]:
    """Return the states of the global generators of numpy and Python, which can be compared."""
    arrays = cast(tuple[Any, ...], np.random.get_state())
    return arrays[1].tobytes(), arrays[2:], random.getstate()


def attempt(rows: Rows, key: Key, seed: Callable[[int], None]) -> Tensor | Failure:
    """Read an example with its own random numbers; return the sentence about an error.

    Args:
        rows: the data set.
        key: of the example.
        seed: seeds the global generators.
    """
    seed(seed_of(key))
    try:
        x, target = rows.read(key.row)
    except ValueError as error:
        return Failure(str(error))
    if type(target) in (int, float) and target == rows.numbers[key.row]:
        return x
    target, expected = np.asarray(target), rows.targets[key.row]
    if target.shape != expected.shape or (target != expected).any():
        return Failure(
            f"the target of example {key.row} is {target!s:.40}, but it was {expected!s:.40} "
            "when the data set was first read; targets should stay the same"
        )
    return x


def seed_of(key: Key) -> int:
    """Return the seed of an example; different runs, epochs and examples are unrelated (SHA-256)."""
    digest = hashlib.sha256(f"{key.seed}/example/{key.epoch}/{key.row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stacked(examples: Sequence[Tensor | Failure]) -> Tensor | Failure:
    """Return a batch of examples; the first failure if there is one."""
    for one in examples:
        if isinstance(one, Failure):
            return one
    batch: Tensor = default_collate(list(examples))  # in a worker, it writes into shared memory without a further copy
    return batch


def seed_torch(seed: int) -> None:
    """Seed the global generator of torch, on the CPU."""
    torch.random.default_generator.manual_seed(seed)


def seed_all(seed: int) -> None:
    """Seed the global generators of torch (on the CPU), numpy and Python."""
    seed_torch(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def preserved() -> Iterator[None]:
    """Restore the global generators of torch, numpy and Python after the block."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


def begin_worker(_number: int) -> None:
    """Leave signals to the main process, which stops after the current step; torch ends the workers.

    If the main process is killed, so is the worker: it holds the lock of the run's folder too.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def loader(dataset: Dataset[Any], workers: int, **settings: Any) -> DataLoader[Any]:
    """Return a loader of torch whose workers start as ours do; the global generator is not drawn from.

    Args:
        dataset: what a worker reads from.
        workers: their number; 0 reads in this process.
        settings: further ones of torch.
    """
    with quiet():
        return DataLoader(
            dataset,
            num_workers=workers,
            worker_init_fn=begin_worker,
            multiprocessing_context=START if workers else None,
            generator=torch.Generator(),
            **settings,
        )


def started(batches: DataLoader[Any]) -> Iterator[Any]:
    """Let the workers of a loader begin; they end with this process at the latest.

    Without the finalizer, `multiprocessing` would wait for them forever: it ends them by SIGTERM, which they ignore.
    """
    with quiet():
        iterator: Any = iter(batches)
    if batches.num_workers:
        Finalize(iterator, kill, (iterator._workers,), exitpriority=0)
    return iterator


def kill(workers: Sequence[BaseProcess]) -> None:
    """End workers; those that have ended, as usual, stay as they are."""
    for worker in workers:
        with suppress(ValueError):  # it was closed
            worker.kill()


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore torch's advice about the number of workers: it is the user's choice."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


class Plan:
    """The batches that the workers read next; torch asks for them anew in each epoch."""

    def __init__(self) -> None:
        self.batches: Sequence[Sequence[Key]] = ()

    def __iter__(self) -> Iterator[Sequence[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


@dataclass
class Streamed(Split):
    """A split whose inputs are read whenever they are needed.

    Args:
        seed: of the run; it determines the random numbers of the examples.
        waited: the seconds for which updates have waited for examples. The first batch of an epoch does not count:
            nothing can be read ahead of it, and in the first epoch the workers start.
        spent: the seconds of these updates, with the waiting.
    """

    seed: int = 0
    waited: float = field(default=0.0, init=False)
    spent: float = field(default=0.0, init=False)
    since: float | None = field(default=None, init=False)
    plan: Plan = field(default_factory=Plan, init=False, repr=False)
    loader: Any = field(default=None, init=False, repr=False)
    coming: Any = field(default=None, init=False, repr=False)
    """The batches that workers are reading; each with the index for which it was announced."""
    ahead: list[Tensor] = field(default_factory=list, init=False, repr=False)
    epoch: int = field(default=EVALUATED, init=False)

    @property
    def waiting(self) -> float:
        """The share `waited` of `spent`, since the start or the resume."""
        return self.waited / self.spent if self.spent else 0.0

    @property
    def inputs(self) -> Rows:
        """The inputs."""
        assert isinstance(self.x, Rows)
        return self.x

    def announce(self, batches: Sequence[Tensor], epoch: int) -> None:
        """Let workers begin to read the batches of an epoch, or of the rest of it.

        Args:
            batches: (1, batch) each, in the order in which `batch` is called with them.
            epoch: how many epochs are complete.
        """
        self.inputs.check_length()
        announced = [] if self.epoch != epoch + 1 else list(reversed(self.ahead))
        if announced and len(announced) == len(batches) and all(map(torch.equal, announced, [b[0] for b in batches])):
            self.since = time.perf_counter()
            return  # the workers are reading them
        self.since = None
        self.epoch, self.ahead = epoch + 1, [index[0] for index in reversed(batches)]
        self.coming = self.reading([self.keys(index[0], self.epoch) for index in batches])

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the announced batch, or read one with the random numbers of evaluation."""
        if self.ahead and torch.equal(self.ahead[-1], index):
            self.ahead.pop()
            began = time.perf_counter()
            x = self.taken(self.coming)
            now = time.perf_counter()
            if self.since is not None:
                self.waited, self.spent = self.waited + now - began, self.spent + now - self.since
            self.since = now
        else:
            x = self.inputs.of(self.keys(index, EVALUATED))
        return self.prepare(self.on_device(x)), self._on_device(self.y, index)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """See `Split.first`."""
        index = torch.arange(min(count, len(self)))
        x = self.inputs.of(self.keys(index, EVALUATED))
        return self.prepare(self.on_device(x)), self._on_device(self.y, index)

    def raw(self, index: Tensor | slice = slice(None)) -> Tensor:
        """See `Split.raw`."""
        return self.inputs.of(self.keys(torch.arange(len(self))[index], EVALUATED))

    def part(self, rows: slice) -> Split:
        """See `Split.part`."""
        whole = torch.arange(len(self)) if self.rows is None else self.rows
        return Streamed(self.x, self.y[rows], self.prepare, self.device, whole[rows], seed=self.seed)

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split.in_order`."""
        parts = list(torch.arange(len(self)).split(size))
        coming = self.reading([self.keys(part, EVALUATED) for part in parts])
        for part in parts:
            yield self.prepare(self.on_device(self.taken(coming))), self._on_device(self.y, part)

    def keys(self, index: Tensor, epoch: int) -> list[Key]:
        """Return the keys of examples of this split."""
        rows = index if self.rows is None else self.rows[index]
        return [Key(self.seed, epoch, row) for row in rows.tolist()]

    def reading(self, batches: Sequence[Sequence[Key]]) -> Iterator[Tensor | Failure]:
        """Return the batches, which workers begin to read now; without workers each is read when it is needed."""
        if not self.inputs.workers or not batches:
            return (self.inputs.of(keys) for keys in batches)
        self.plan.batches = batches
        if self.loader is None:
            self.loader = loader(
                Examples(self.inputs),
                self.inputs.workers,
                batch_sampler=self.plan,
                collate_fn=stacked,
                prefetch_factor=AHEAD,
                persistent_workers=True,
            )
        return started(self.loader)

    def taken(self, coming: Iterator[Tensor | Failure]) -> Tensor:
        """Return the next batch.

        Raises:
            Exception: of `Rows.failed`: an example cannot be read, or a worker has ended.
        """
        try:
            batch = next(coming)
        except (RuntimeError, OSError) as error:
            message = " ".join(str(error).split())
            workers = f"data.workers={self.inputs.workers}"
            if "shared memory" in message or "shm" in message or "No space left" in message:
                raise self.inputs.failed(
                    f"{workers} needs more shared memory than there is; use data.workers=0"
                ) from error
            if "worker" in message:
                raise self.inputs.failed(
                    f"a worker of {workers} has ended unexpectedly, perhaps because memory ran out ({message[:200]}); "
                    "use fewer workers"
                ) from error
            raise
        return self.inputs.checked(batch)

    def on_device(self, x: Tensor) -> Tensor:
        """Copy a batch to the device."""
        return copied(x.pin_memory(), self.device) if self.device.type == "cuda" else x

    def close(self) -> None:
        """End the workers."""
        self.coming, self.loader, self.ahead = None, None, []
