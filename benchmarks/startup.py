"""How long the command takes before it trains: against importing the library it stands on."""

from rich.console import Console

from .measure import IMPORT, Settings, interleaved, process, ratios
from .report import Line, Target, tabulated

ROUNDS = 8
OURS = "python -m experiments.train training.epochs=0"
THEIRS = "python -c 'import torch' with one optimizer"
TARGET = Target(1.3)


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    actions = {
        OURS: lambda: process(["-m", "experiments.train", "training.epochs=0"]).seconds,
        THEIRS: lambda: process(["-c", IMPORT]).seconds,
    }
    for action in actions.values():
        action()  # the first one reads from the disk
    samples = interleaved(actions, dict.fromkeys(actions, settings.repeats(ROUNDS)))
    console.print("Start-up: digits, no epoch, the test split evaluated; seconds to the end of the process")
    lines = [
        Line(OURS, samples[OURS], "this / import", ratios(samples, OURS, THEIRS), target=TARGET),
        Line(THEIRS, samples[THEIRS]),
    ]
    console.print(tabulated("s", lines))
