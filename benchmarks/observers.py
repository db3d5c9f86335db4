"""What it costs to watch: the same training with all observers and with none."""

import tempfile
from collections.abc import Mapping, Sequence
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
EVERY_STEP = "layers alone, at every step"
CASES = {
    NONE: (),
    "all observers": OBSERVERS,
    "histograms alone": ("histograms",),
    "layers alone": ("layers",),
    EVERY_STEP: ("layers",),
}
TARGETS = {
    "all observers": Target(5, unit=" %"),
    "layers alone": Target(5, unit=" %"),
    EVERY_STEP: Target(100, unit=" %"),
}


def run(settings: Settings, console: Console) -> None:
    """Print the tables: MNIST has the target; the digits are so few that an epoch ends before it began."""
    mnist = overrides(settings.mnist(), torch.device("cpu"))
    digits = ["data=digits", "training.device=cpu"]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measure("MNIST, batch 128, one thread", mnist, settings.repeats(ROUNDS), TARGETS, console)
        measure("digits, batch 32, one thread (the default run)", digits, settings.repeats(ROUNDS), {}, console)
    finally:
        torch.set_num_threads(before)


def measure(
    title: str, command_line: Sequence[str], repeats: int, targets: Mapping[str, Target], console: Console
) -> None:
    """Measure one training with each set of observers, and print the table."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trainings = {
            name: stack.enter_context(Project([*command_line, *steps(name)], folder / str(number), watched))
            for number, (name, watched) in enumerate(CASES.items())
        }
        for training in trainings.values():
            training.epoch()
        actions = {name: timed(training.epoch) for name, training in trainings.items()}
        samples = interleaved(actions, dict.fromkeys(actions, repeats))
    lines = [Line(NONE, samples[NONE])]
    for name in list(CASES)[1:]:
        costs = [100 * (ratio - 1) for ratio in ratios(samples, name, NONE)]
        lines.append(Line(name, samples[name], "cost of an epoch", costs, " %", targets.get(name)))
    console.print(f"Observers: {title}; seconds an epoch, checkpoint and validation in each")
    console.print(tabulated("s", lines))


def steps(case: str) -> list[str]:
    """Return what a case adds to the command line."""
    return ["observers.layers.every_steps=1"] if case == EVERY_STEP else []
