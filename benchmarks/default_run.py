"""The default run as people start it: how long it takes, and how good it gets beside a loop by hand."""

import json
import statistics
import tempfile
from pathlib import Path

import torch
from rich.console import Console

from experiments import assembly
from experiments.training.streams import Streams

from .loops import Arrays, evaluate, fused_epoch, perceptron
from .measure import Settings, process
from .project import composed
from .report import Line, Target, tabulated

SEEDS = range(5)
QUICK_SEEDS = range(2)
SECONDS = Target(20, unit=" s")
ACCURACY = Target(0.96, least=True)


def run(settings: Settings, console: Console) -> None:
    """Print the tables."""
    seeds = QUICK_SEEDS if settings.quick else SEEDS
    runs = [trained(seed) for seed in seeds]
    seconds, accuracies = [s for s, _ in runs], [a for _, a in runs]
    by_hand = [by_hand_accuracy(seed) for seed in seeds]
    console.print(f"The default run: python -m experiments.train seed=0, ..., {seeds[-1]}")
    console.print(tabulated("s", [Line("wall time", seconds, "the slowest", [max(seconds)], " s", SECONDS)]))
    lines = [
        Line("this project", accuracies, "mean", [statistics.mean(accuracies)], target=ACCURACY),
        Line("by hand, torch's own initial weights, last epoch", by_hand, "mean", [statistics.mean(by_hand)]),
    ]
    console.print()
    console.print(tabulated("test accuracy", lines))


def trained(seed: int) -> tuple[float, float]:
    """Train in a process of its own; returns its seconds and test accuracy."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds = process(["-m", "experiments.train", f"seed={seed}"], folder).seconds
        (summary,) = folder.glob("outputs/*/*/summary.json")
        return seconds, json.loads(summary.read_text(encoding="utf-8"))["metrics"]["test/accuracy"]


def by_hand_accuracy(seed: int) -> float:
    """Train on the same examples by hand for as many epochs; returns the last epoch's test accuracy."""
    config = composed([f"seed={seed}"])
    cpu = torch.device("cpu")
    splits = assembly.data(config, Streams(seed, cpu), cpu).splits
    train, test = (Arrays(s.prepare(s.x).flatten(1), s.y) for s in (splits["train"], splits["test"]))
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        model = perceptron(train.x.shape[1], config["model"]["hidden"], 10)
        order = torch.Generator().manual_seed(seed)
        epoch = fused_epoch(model, train, config["training"]["batch_size"], order)
        for _ in range(config["training"]["epochs"]):
            epoch()
    return evaluate(model, test)[1]
