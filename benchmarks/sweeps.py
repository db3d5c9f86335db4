"""Sweeps of many tiny runs: the time and the memory of each further run, and composing its job."""

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from rich.console import Console

from experiments.cli.composing import register_resolvers
from experiments.common.conf import conf_folder
from experiments.sweeps._composer import Composer

from .measure import MIB, Process, Settings, interleaved, process
from .report import Line, Target, tabulated

SIZES, QUICK_SIZES = (64, 500, 2000), (8, 24, 48)
TINY = ("model.hidden=[8]", "data.limit=96", "training.epochs=2")
JOBS = 2000
FLAT, COMPOSING = Target(1.2, unit=" times"), Target(1.0, unit=" ms")


class Further(NamedTuple):
    """What each run takes that a longer sweep has more than a shorter one, in milliseconds and MiB."""

    name: str
    wall: float
    cpu: float
    memory: float


def run(settings: Settings, console: Console) -> None:
    """Print the tables."""
    sizes = QUICK_SIZES if settings.quick else SIZES
    swept = {size: sweep(size) for size in sizes}
    console.print(f"\n[bold]Sweeps of tiny runs[/bold]: {' '.join(TINY)}, all observers but the pictures, as stacks")
    lines = [Line(f"{size} runs", [done.seconds], "CPU", [done.cpu], " s") for size, done in swept.items()]
    console.print(tabulated("s", lines))
    further = [between(swept, *pair) for pair in pairwise(sizes)]
    console.print(tabulated("ms", lines_of(further)))
    composing = "composing a job"
    times = interleaved({composing: partial(milliseconds_of_a_job, JOBS)}, {composing: settings.repeats(4)})[composing]
    console.print(tabulated("ms", [Line(composing, times, f"{JOBS} jobs", times, " ms", COMPOSING)]))


def sweep(size: int) -> Process:
    """Run a sweep in a process of its own, to its end."""
    with tempfile.TemporaryDirectory() as folder:
        return process(["-m", "experiments.train", "-m", *TINY, f"seed=range({size})"], Path(folder))


def between(swept: dict[int, Process], small: int, large: int) -> Further:
    """Return what each further run takes."""
    one, other, count = swept[small], swept[large], large - small
    return Further(
        f"{small} to {large}",
        (other.seconds - one.seconds) / count * 1e3,
        (other.cpu - one.cpu) / count * 1e3,
        (other.peak - one.peak) / count / MIB,
    )


def lines_of(further: Sequence[Further]) -> list[Line]:
    """Return the lines about further runs; a sweep is flat if a run of a longer one takes no more CPU."""
    first, last = further[0], further[-1]
    lines = [Line(f"a run more, {one.name}", [one.wall], "CPU", [one.cpu], " ms") for one in further]
    lines += [Line(f"a run more, {one.name}", (), "memory", [one.memory], " MiB") for one in further]
    return [*lines, Line("flat", (), "the last CPU / the first", [last.cpu / first.cpu], " times", FLAT)]


def milliseconds_of_a_job(jobs: int) -> float:
    """Compose jobs that differ in their seeds and rates; return the milliseconds of each."""
    register_resolvers()
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(conf_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
        master = loader.load_configuration("train", [f"hydra.sweep.dir={folder}"], RunMode.MULTIRUN)
        composer = Composer(loader, master)
        began = time.perf_counter()
        for number in range(jobs):
            composer.compose(["optimizer=sgd", f"optimizer.lr=0.0{number + 1}", f"seed={number}"], number)
        return (time.perf_counter() - began) / jobs * 1e3
