"""One run in several processes that torchrun starts: how they join, write and exit."""

import io
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig

from experiments.cli.overrides import quoted
from experiments.cli.resuming import folder_to_resume, resumed_command_line
from experiments.common.errors import UserError
from experiments.common.text import shown_path
from experiments.folders.run import RunFolder
from experiments.training.stop import EXIT_CODES

EXIT_SECONDS = 5.0
"""How long a failed process waits for the others to exit; some may still be waiting for its part of a sum."""
FOLLOWED = "followed"
"""Instead of an exit code: the process failed because another one had left."""
ANSWER_SECONDS = 600.0
"""How long a process waits for the others' part of a sum. One that evaluates or writes files may take long."""
POLLED_SECONDS = 0.5
LEFT_SECONDS = 10.0
"""How long a process may take to notice that another one has failed. With gloo its next sum fails at once; with nccl it
would wait for the time above, in the middle of a step, where Python handles no signal."""


@contextmanager
def joined() -> Iterator[Path | None]:
    """Join the other processes, and exit as they do; every process but 0 gets a temporary folder.

    The output of the others is held back. Their error messages are printed only if process 0 did not fail itself, since
    its message would be the same.
    """
    dist.init_process_group(timeout=timedelta(seconds=ANSWER_SECONDS))
    if dist.get_rank() == 0:
        with exiting_together(io.StringIO()), not_left_waiting(None):
            yield None
        return
    held = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix="experiments-") as folder,
        exiting_together(held),
        not_left_waiting(Path(folder)),
        redirect_stdout(io.StringIO()),
        redirect_stderr(held),
    ):
        yield Path(folder)


@contextmanager
def not_left_waiting(folder: Path | None) -> Iterator[None]:
    """End this process inside the block if another one has failed and this one still waits for its part of a sum.

    Whatever happens, the run has its last checkpoint: its files are written whole, so that a process can end at any
    moment.

    Args:
        folder: the temporary folder of this process; None for process 0.
    """
    store, left = dist.distributed_c10d._get_default_store(), threading.Event()
    watch = threading.Thread(target=leave_after_failure, args=(store, dist.get_world_size(), left, folder), daemon=True)
    watch.start()
    try:
        yield
    finally:
        left.set()
        watch.join()


def leave_after_failure(store: dist.Store, size: int, left: threading.Event, folder: Path | None) -> None:
    """Wait until this process has left; end it if it does not leave soon after the failure of another one.

    Args:
        store: of the processes.
        size: their number.
        left: set when this process leaves.
        folder: see `not_left_waiting`.
    """
    with suppress(RuntimeError):  # torchrun, which keeps the store, may have ended
        while not store.check(["failures"]):
            if left.wait(POLLED_SECONDS):
                return
        if left.wait(LEFT_SECONDS):
            return
        codes = [store.get(key).decode() for key in (f"end/{number}" for number in range(size)) if store.check([key])]
        code = next((int(text) for text in codes if text not in ("0", FOLLOWED)), 1)
        if folder is None:
            print(
                "Error: another process of the run has failed, and this one has waited for it for "
                f"{LEFT_SECONDS:.0f} s; {kept_checkpoint()}",
                file=sys.stderr,
                flush=True,
            )
        else:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)


def kept_checkpoint() -> str:
    """Return the words that tell how the run of this process can continue."""
    folder = Path(HydraConfig.get().runtime.output_dir) if HydraConfig.initialized() else None
    if folder is None or not RunFolder(folder).last.exists():
        return "there is no checkpoint yet: start the run again"
    return f"its last checkpoint is kept: continue with resume={shown_path(folder)}"


@contextmanager
def exiting_together(held: io.StringIO) -> Iterator[None]:
    """Exit together, with the exit code of the process that failed first.

    A process that fails only because another one has left prints nothing.

    Args:
        held: the output that was held back.

    Raises:
        SystemExit: a process has failed; with its exit code.
        BaseException: that of the block, in the process that reports the failure.
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
        if not (code and dist.is_nccl_available() and torch.cuda.is_initialized()):
            dist.destroy_process_group()  # nccl would wait for sums that the others have not begun
        if code:
            ends = exit_codes(store, size)
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


def exit_codes(store: dist.Store, size: int) -> list[str]:
    """Wait for every process to end; return their exit codes as text, empty for a process that did not end."""
    deadline = time.monotonic() + EXIT_SECONDS
    keys = [f"end/{number}" for number in range(size)]
    while not store.check(keys) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [store.get(key).decode() if store.check([key]) else "" for key in keys]


def own_command_line(typed: Sequence[str], folder: Path | None) -> list[str]:
    """Return this process's command line: every process but 0 writes to its own folder.

    If the run is resumed, this folder is a copy of the run's.

    Args:
        typed: the arguments.
        folder: where this process may write; None for process 0.

    Raises:
        UserError: they ask for a sweep, or to resume what is not a run folder.
    """
    for word in typed:
        if re.fullmatch(r"-m|--multirun|hydra\.mode=\W?multirun\W?", word, re.IGNORECASE):
            raise UserError(
                f"{word} trains many runs, but torchrun trains one run in several processes; leave out one of them"
            )
    own = resumed_command_line(typed)
    if folder is not None:
        run = folder_to_resume(typed)
        if run is not None:
            copy_run(run, folder / "run")
        own.append(f"hydra.run.dir={quoted(folder / 'run')}")
    dist.all_reduce(torch.zeros(1))  # process 0 changes nothing in a folder until every copy is complete
    return own


def copy_run(run: Path, target: Path) -> None:
    """Copy the files that a run is resumed from."""
    for part in (".hydra", "checkpoints"):
        if (run / part).is_dir():
            shutil.copytree(run / part, target / part, ignore=shutil.ignore_patterns("*.tmp", "epoch_*.pt"))
