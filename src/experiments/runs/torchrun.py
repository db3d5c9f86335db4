"""One run in the several processes that torchrun starts: how they meet, write and part."""

import io
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import torch
import torch.distributed as dist

from experiments.cli.overrides import quoted
from experiments.cli.resuming import folder_to_resume, resumed_command_line
from experiments.common.errors import UserError
from experiments.training.stop import EXIT_CODES

FAREWELL = 5.0
"""Seconds that a process which fails waits for the others to do the same; some may wait for its part of a sum."""
FOLLOWED = "followed"
"""The end of a process that lost another one."""


@contextmanager
def joined() -> Iterator[Path | None]:
    """Meet the other processes, and end as they do; gives those other than 0 a folder that is removed afterwards.

    The others' output is held back. What they have to say of an error is printed only where process 0 has not failed
    by itself: it would be the same.
    """
    dist.init_process_group()
    if dist.get_rank() == 0:
        with parting(io.StringIO()):
            yield None
        return
    held = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix="experiments-") as folder,
        parting(held),
        redirect_stdout(io.StringIO()),
        redirect_stderr(held),
    ):
        yield Path(folder)


@contextmanager
def parting(held: io.StringIO) -> Iterator[None]:
    """End together, with the exit code of the process that failed first.

    A process whose exchange breaks off because another one has left is not at fault, and says nothing.
    """
    store, me, size = dist.distributed_c10d._get_default_store(), dist.get_rank(), dist.get_world_size()
    code, crash = 0, None
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        code, crash = 130 if isinstance(error, KeyboardInterrupt) else 1, error
    ends = [""] * size
    with suppress(RuntimeError):  # torchrun, which keeps the store, may have ended
        late = code > 0 and store.add("failures", 1) > 1
        store.set(f"end/{me}", FOLLOWED if late and crash is not None else str(code))
        dist.destroy_process_group()
        if code:
            ends = farewell(store, size)
    for number in EXIT_CODES:  # torchrun signals the others when the first has failed
        signal.signal(number, signal.SIG_IGN)
    faults = [int(end) if end not in ("", FOLLOWED) else 0 for end in ends]
    if ends[me] == FOLLOWED and any(faults):
        sys.exit(next(filter(None, faults)))
    if code and (me == 0 or not faults[0]):
        print(held.getvalue(), end="", file=sys.stderr, flush=True)
        if crash is not None:
            raise crash
    if code:
        sys.exit(code)


def farewell(store: dist.Store, size: int) -> list[str]:
    """Wait until every process has come to its end; return how, empty for one that does not come."""
    deadline = time.monotonic() + FAREWELL
    keys = [f"end/{number}" for number in range(size)]
    while not store.check(keys) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [store.get(key).decode() if store.check([key]) else "" for key in keys]


def own_command_line(typed: Sequence[str], folder: Path | None) -> list[str]:
    """Return this process's command line: the others write into a folder of their own.

    That of a run that is gone on with is a copy of it.

    Args:
        typed: the arguments.
        folder: where this process may write; None for process 0.

    Raises:
        UserError: they ask for a sweep, or to go on with what is no run.
    """
    for word in typed:
        if re.fullmatch(r"-m|--multirun|hydra\.mode=\W?multirun\W?", word, re.IGNORECASE):
            raise UserError(
                f"{word} sweeps over many runs, and torchrun trains one in several processes; leave out one of them"
            )
    own = resumed_command_line(typed)
    if folder is not None:
        run = folder_to_resume(typed)
        if run is not None:
            copied(run, folder / "run")
        own.append(f"hydra.run.dir={quoted(folder / 'run')}")
    dist.all_reduce(torch.zeros(1))  # process 0 changes nothing in a folder before it is copied
    return own


def copied(run: Path, place: Path) -> None:
    """Copy what a run goes on from."""
    for part in (".hydra", "checkpoints"):
        if (run / part).is_dir():
            shutil.copytree(run / part, place / part, ignore=shutil.ignore_patterns("*.tmp", "epoch_*.pt"))
