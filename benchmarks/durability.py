"""What it costs that files are on the disk before they get their names: the share of an epoch that waits for it."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console

from .epoch import overrides
from .measure import Settings, timed
from .project import Project
from .report import Line, Target, tabulated

ROUNDS = 40
TARGET = Target(2, unit=" %")


def run(settings: Settings, console: Console) -> None:
    """Print the table: every epoch ends with a flush of all files, as the last epoch of a run does.

    The waiting itself is measured: it is less than what the epochs of two trainings differ by.
    """
    command_line = [*overrides(settings.mnist(), torch.device("cpu")), "training.batch_size=32"]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,  # on a disk, not in memory
            waiting() as waited,
            Project(command_line, Path(folder)) as training,
        ):
            training.epoch()
            epochs, waits = [], []
            for _ in range(settings.repeats(ROUNDS)):
                already = sum(waited)
                epochs.append(timed(training.epoch)())
                waits.append(sum(waited) - already)
    finally:
        torch.set_num_threads(before)
    shares = [100 * wait / (epoch - wait) for wait, epoch in zip(waits, epochs, strict=True)]
    console.print("Durability: MNIST, batch 32, one thread; seconds an epoch, checkpoint and validation in it")
    lines = [Line("an epoch", epochs), Line("waiting for the disk", waits, "cost of an epoch", shares, " %", TARGET)]
    console.print(tabulated("s", lines))


@contextmanager
def waiting() -> Iterator[list[float]]:
    """Give the block a list that gets the seconds of every flush inside it."""
    real = os.fsync
    waited: list[float] = []

    def flush(descriptor: int) -> None:
        began = time.perf_counter()
        real(descriptor)
        waited.append(time.perf_counter() - began)

    os.fsync = flush  # type: ignore[assignment]
    try:
        yield waited
    finally:
        os.fsync = real
