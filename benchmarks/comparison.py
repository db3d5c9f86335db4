"""How long comparing takes: a thousand run folders with all that observers leave, read and reported."""

import csv
import io
import itertools
import json
import os
import random
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from .measure import MIB, Process, Settings, interleaved, process
from .report import Line, Target, tabulated

ROUNDS = 4
SECONDS, MEMORY = Target(30, unit=" s"), Target(1024, unit=" MiB")
OPTIMIZERS = ("sgd", "momentum", "adagrad", "rmsprop", "adam")
INITS = ("he", "xavier", "lecun", "orthogonal", "torch")
RATES = (0.0, 0.1, 0.2, 0.3, 0.5)
SWEEPS = {
    "1,000 runs in 125 groups": (OPTIMIZERS, INITS, RATES, range(8)),
    "64 runs in 8 groups": (OPTIMIZERS[:4], INITS[:2], RATES[:1], range(8)),
}
OURS, THEIRS = "python -m experiments.compare", "a notebook that reads the same files"
MODELS = "train", "-m", f"optimizer={','.join(OPTIMIZERS)}", "observers.pictures.enabled=false", "training.epochs=20"
"""The real runs, one of each optimizer."""
NOTEBOOK = """
import json, sys
from pathlib import Path

import pandas as pd
import yaml

metrics, layers, runs = [], [], []
for folder in sorted(path.parent.parent for path in Path(sys.argv[1]).glob("*/.hydra/config.yaml")):
    config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    chosen = yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text())["hydra"]["runtime"]["choices"]
    keys = {"optimizer": chosen["optimizer"], "init": chosen["init"], "dropout": config["model"]["dropout"]}
    summary = json.loads((folder / "summary.json").read_text())
    runs.append({**keys, "seed": config["seed"], **summary["metrics"]})
    metrics.append(pd.read_csv(folder / "metrics.csv").assign(**keys))
    layers.append(pd.read_csv(folder / "layers.csv").assign(**keys))
groups = ["optimizer", "init", "dropout"]
print(pd.DataFrame(runs).groupby(groups)["val/accuracy"].agg(["mean", "std", "count"]))
print(pd.concat(metrics).groupby([*groups, "epoch"])["val/loss"].mean())
print(pd.concat(layers).groupby([*groups, "epoch", "layer", "quantity"])["value"].mean())
"""
"""Means of the same runs, by hand: no figure, no statistics."""


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    console.print("Comparing: run folders of 20 epochs on the digits, each with layers.csv and histograms; CPU alone")
    with tempfile.TemporaryDirectory() as temporary:
        models = real_runs(Path(temporary, "real"))
        for number, (name, levels) in enumerate(SWEEPS.items()):
            folder = Path(temporary, str(number))
            sweep(folder, models, levels)
            measure(name, folder, settings.repeats(ROUNDS), console, targets=number == 0)


def measure(name: str, folder: Path, rounds: int, console: Console, *, targets: bool) -> None:
    """Print how long comparing one sweep takes, and how much memory."""
    taken: dict[str, list[Process]] = {OURS: [], THEIRS: []}
    commands = {
        OURS: ["-m", "experiments.compare", str(folder)],
        THEIRS: ["-c", NOTEBOOK, str(folder)],
    }

    def noted(command: str) -> Callable[[], float]:
        def seconds() -> float:
            taken[command].append(process(commands[command]))
            return taken[command][-1].seconds

        return seconds

    samples = interleaved({command: noted(command) for command in commands}, dict.fromkeys(commands, rounds))
    peaks = {command: [done.peak / MIB for done in found] for command, found in taken.items()}
    console.print(f"\n[bold]{name}[/bold]: the table, all figures, the page")
    for unit, found, target in (("s", samples, SECONDS), ("MiB", peaks, MEMORY)):
        ratio = [ours / theirs for ours, theirs in zip(found[OURS], found[THEIRS], strict=True)]
        lines = [
            Line(OURS, found[OURS], "itself", found[OURS], f" {unit}", target if targets else None),
            Line("", compared="this / notebook", figures=ratio),
            Line(THEIRS, found[THEIRS]),
        ]
        console.print(tabulated(unit, lines))


def real_runs(folder: Path) -> dict[str, Path]:
    """Train one run with each optimizer; returns their folders."""
    process([*("-m", f"experiments.{MODELS[0]}"), *MODELS[1:], f"hydra.sweep.dir='{folder}'"])
    return {optimizer: next(folder.glob(f"*optimizer={optimizer}*")) for optimizer in OPTIMIZERS}


def sweep(folder: Path, models: Mapping[str, Path], levels: Sequence[Sequence[Any]]) -> None:
    """Make a crossed sweep of copies: a factor does something, and so does chance."""
    for number, (optimizer, init, rate, seed) in enumerate(itertools.product(*levels)):
        values = {"optimizer": optimizer, "init": init, "model.dropout": rate, "seed": seed}
        name = ",".join(f"{key}={value}" for key, value in values.items())
        worse = 0.002 * INITS.index(init) + 0.01 * rate + random.Random(f"{seed} {name}").gauss(0.005, 0.004)
        copied(models[optimizer], folder / f"{number}_{name}", values, worse)


def copied(model: Path, folder: Path, values: Mapping[str, Any], worse: float) -> None:
    """Copy a run under another configuration, a little worse; what no factor changes is linked."""
    (folder / ".hydra").mkdir(parents=True)
    for path in (model / "layers.csv", *model.glob("events.out.tfevents.*")):
        os.link(path, folder / path.name)
    config, noted = ((model / ".hydra" / name).read_text(encoding="utf-8") for name in ("config.yaml", "hydra.yaml"))
    for pattern, value in (
        (r"(?m)^seed: .*", f"seed: {values['seed']}"),
        (r"(?m)^  dropout: .*", f"  dropout: {values['model.dropout']}"),
        (r"initializers\.\w+", f"initializers.{values['init']}"),
    ):
        config = re.sub(pattern, value, config)
    noted = re.sub(r"(?m)^      init: .*", f"      init: {values['init']}", noted)
    overrides = "".join(f"- {key}={value}\n" for key, value in values.items())
    for name, text in (("config.yaml", config), ("hydra.yaml", noted), ("overrides.yaml", overrides)):
        (folder / ".hydra" / name).write_text(text, encoding="utf-8")
    with (model / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [{key: changed(key, float(value), worse) for key, value in row.items()} for row in csv.DictReader(file)]
    written = io.StringIO()
    writer = csv.DictWriter(written, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (folder / "metrics.csv").write_text(written.getvalue(), encoding="utf-8")
    summary = json.loads((model / "summary.json").read_text(encoding="utf-8"))
    summary["metrics"] = {key: changed(key, value, worse) for key, value in summary["metrics"].items()}
    summary["seed"] = values["seed"]
    (folder / "summary.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")


def changed(name: str, value: float, worse: float) -> float:
    """Return a metric, a little worse."""
    if name.endswith("accuracy"):
        return min(1.0, max(0.0, value - worse))
    return value * (1 + 10 * worse) if name.endswith("loss") else int(value) if name in ("epoch", "step") else value
