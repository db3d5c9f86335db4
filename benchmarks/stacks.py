"""Sweeps as stacks compared with the same sweeps run by run: whole commands, and an epoch by the size of the stack."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from experiments.cli.overrides import quoted
from experiments.folders.run import RunFolder
from experiments.runs.job import Job
from experiments.runs.together import train_together
from experiments.training.member import Member
from experiments.training.position import Position
from experiments.training.stop import Stop

from .measure import MIB, Settings, SkipError, interleaved, process, ratios
from .project import composed
from .report import Line, Target, tabulated

RUNS = 64
QUICK_RUNS = 16
OPTIMIZERS = ("sgd", "momentum", "adagrad", "adam")
DIGITS = ("model.hidden=[50,50]",)
MNIST = ("data=mnist", "model.hidden=[100,100]", "training.batch_size=128", "training.epochs=2")
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256)
LAUNCHERS = {"run by run": ("hydra/launcher=basic", "observers.pictures.enabled=false"), "as stacks": ()}


def run(settings: Settings, console: Console) -> None:
    """Print the tables."""
    least = (20.0, 20.0) if torch.cuda.is_available() else (8.0, 2.5)
    sweeps(settings, console, "digits MLP 64-50-50-10, batch 32, 20 epochs", DIGITS, Target(least[0], least=True))
    try:
        data = (*MNIST, f"data.root={quoted(settings.mnist())}")
    except SkipError as reason:
        console.print(f"MNIST skipped: {reason}")
    else:
        sweeps(settings, console, "MNIST MLP 784-100-100-10, batch 128, 2 epochs", data, Target(least[1], least=True))
    sizes(settings, console, "digits MLP 64-50-50-10, batch 32", DIGITS)


def sweeps(settings: Settings, console: Console, name: str, overrides: Sequence[str], target: Target) -> None:
    """Compare whole commands, in processes of their own."""
    runs = QUICK_RUNS if settings.quick else RUNS
    console.print(f"\n[bold]{runs} runs: {name}[/bold], all observers but the pictures")
    console.print(tabulated("s", sweep_lines(settings, overrides, target, runs)))


def sweep_lines(settings: Settings, overrides: Sequence[str], target: Target | None, runs: int) -> list[Line]:
    """Measure whole commands of a sweep, in processes of their own."""
    swept = (f"optimizer={','.join(OPTIMIZERS)}", f"seed=range({runs // len(OPTIMIZERS)})")
    actions = {launcher: command([*overrides, *swept, *more]) for launcher, more in LAUNCHERS.items()}
    samples = interleaved(actions, dict.fromkeys(actions, settings.repeats(2)))
    slow, fast = LAUNCHERS
    figures = ratios(samples, slow, fast)
    return [Line(slow, samples[slow]), Line(fast, samples[fast], f"{slow} / this", figures, target=target)]


def command(overrides: Sequence[str]) -> Callable[[], float]:
    """Return a function that runs a sweep and returns the seconds of the whole command."""

    def measured() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return process(["-m", "experiments.train", "-m", *overrides], Path(folder)).seconds

    return measured


def sizes(settings: Settings, console: Console, name: str, overrides: Sequence[str]) -> None:
    """Compare stacks of several sizes: an epoch with its evaluation, and the memory that a member takes."""
    chosen = SIZES[: -4 if settings.quick else None]
    actions = {f"K = {size}": partial(seconds_an_epoch, size, overrides) for size in chosen}
    samples = interleaved(actions, dict.fromkeys(actions, settings.repeats(4)))
    alone = f"K = {SIZES[0]}"
    lines = []
    for size in chosen:
        figures = [size * ratio for ratio in ratios(samples, alone, f"K = {size}")]
        lines.append(Line(f"K = {size}", samples[f"K = {size}"], "K epochs alone / this", figures))
    console.print(f"\n[bold]An epoch of K runs: {name}[/bold], metrics and checkpoints alone")
    console.print(tabulated("s", lines))
    few, many = (process(["-c", MEMORY.format(size=size, overrides=list(overrides))]).peak for size in (2, 66))
    console.print(f"peak memory of a member: {(many - few) / 64 / MIB:.1f} MiB")


MEMORY = """
from benchmarks.stacks import seconds_an_epoch
seconds_an_epoch({size}, {overrides})
"""


def seconds_an_epoch(size: int, overrides: Sequence[str], epochs: int = 3) -> float:
    """Train a stack for a few epochs; return the seconds per epoch, without the first."""
    folder = Path(tempfile.mkdtemp())
    clock: list[float] = []

    def on_epoch(_members: Sequence[Member], _position: Position) -> None:
        clock.append(time.perf_counter())

    try:
        config = composed([*overrides, f"training.epochs={epochs + 1}"])
        config["observers"] = {"metrics": config["observers"]["metrics"]}
        jobs = [Job({**config, "seed": seed}, RunFolder(folder / str(seed))) for seed in range(size)]
        train_together(jobs, Stop(), lambda _run: None, lambda _line: None, on_epoch)
    finally:
        shutil.rmtree(folder)
    return (clock[-1] - clock[1]) / (len(clock) - 2)
