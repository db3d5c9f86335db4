"""How much memory a run takes at most: beyond the library it stands on."""

import torch
from rich.console import Console

from .epoch import overrides
from .measure import IMPORT, MIB, Settings, interleaved, process
from .report import Line, Target, tabulated

ROUNDS = 4
OURS = "an epoch of MNIST, batch 128"
THEIRS = "python -c 'import torch' with one optimizer"
TARGET = Target(350, unit=" MiB")


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    command_line = [*overrides(settings.mnist(), torch.device("cpu")), "training.epochs=1"]
    actions = {
        OURS: lambda: process(["-m", "experiments.train", *command_line]).peak / MIB,
        THEIRS: lambda: process(["-c", IMPORT]).peak / MIB,
    }
    samples = interleaved(actions, dict.fromkeys(actions, settings.repeats(ROUNDS)))
    beyond = [ours - theirs for ours, theirs in zip(samples[OURS], samples[THEIRS], strict=True)]
    console.print("Memory: the process's peak of resident memory, on the CPU; MiB")
    lines = [
        Line(OURS, samples[OURS], "this - import", beyond, " MiB", TARGET),
        Line(THEIRS, samples[THEIRS]),
    ]
    console.print(tabulated("MiB", lines))
