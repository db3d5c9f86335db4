"""Photographs: how well a CNN does on 10,000 of CIFAR-10, as JPEG files in folders, and how long it takes."""

import json

from rich.console import Console

from experiments.cli.overrides import quoted

from .measure import Settings, process
from .packing import unpacked
from .report import Line, Target, tabulated

CHOICES = (
    "data=image_folder",
    "data.size=32",
    "data.augment=crop_flip",
    "model=cnn",
    "model.stages=[[32],[64],[128]]",
    "model.batch_norm=true",
    "scheduler=one_cycle",
    "optimizer.lr=0.003",
    "training.batch_size=128",
    "training.epochs=20",
)
ACCURACY = Target(0.60, least=True)
SECONDS = Target(600, unit=" s")


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    with unpacked(settings) as folder:
        places = [f"data.path={quoted(folder / 'pictures')}", f"data.cache={quoted(folder / 'cache')}"]
        seconds = process(["-m", "experiments.train", *CHOICES, *places], folder).seconds
        (found,) = folder.glob("outputs/*/*/summary.json")
        accuracy = json.loads(found.read_text(encoding="utf-8"))["metrics"]["test/accuracy"]
    console.print(f"python -m experiments.train {' '.join(CHOICES)} data.path=...")
    console.print(tabulated("s", [Line("from typing to the end", [seconds], "this", [seconds], " s", SECONDS)]))
    console.print(tabulated("", [Line("test accuracy", [accuracy], "this", [accuracy], target=ACCURACY)]))
