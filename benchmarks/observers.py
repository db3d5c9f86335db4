"""What it costs to watch: the same training with all observers and with none."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from rich.console import Console

from .epoch import overrides
from .measure import Settings, interleaved, ratios, timed
from .project import OBSERVERS, Project
from .report import Line, Target, tabulated

ROUNDS = 40
NONE = "no observer"
CASES = {NONE: (), "all observers": OBSERVERS, "histograms alone": ("histograms",)}
TARGET = Target(5, unit=" %")


def run(settings: Settings, console: Console) -> None:
    """Print the tables: MNIST has the target; the digits are so few that an epoch ends before it began."""
    mnist = overrides(settings.mnist(), torch.device("cpu"))
    digits = ["data=digits", "training.device=cpu"]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measure("MNIST, batch 128, one thread", mnist, settings.repeats(ROUNDS), TARGET, console)
        measure("digits, batch 32, one thread (the default run)", digits, settings.repeats(ROUNDS), None, console)
    finally:
        torch.set_num_threads(before)


def measure(title: str, command_line: Sequence[str], repeats: int, target: Target | None, console: Console) -> None:
    """Measure one training with each set of observers, and print the table."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trainings = {
            name: stack.enter_context(Project(command_line, folder / str(number), watched))
            for number, (name, watched) in enumerate(CASES.items())
        }
        for training in trainings.values():
            training.epoch()
        actions = {name: timed(training.epoch) for name, training in trainings.items()}
        samples = interleaved(actions, dict.fromkeys(actions, repeats))
    lines = [Line(NONE, samples[NONE])]
    for name in list(CASES)[1:]:
        costs = [100 * (ratio - 1) for ratio in ratios(samples, name, NONE)]
        held = target if name == "all observers" else None
        lines.append(Line(name, samples[name], "cost of an epoch", costs, " %", held))
    console.print(f"Observers: {title}; seconds an epoch, checkpoint and validation in each")
    console.print(tabulated("s", lines))
