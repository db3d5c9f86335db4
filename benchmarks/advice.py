"""The remedies of every verdict, each tried on a training that gets it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from experiments.verdicts.remedies import TABLE

from .measure import Settings
from .remedies import trials, verdicts_of
from .verdict_pictures import EXAMPLES

SEEDS, MOST = 10, 9
QUICK_SEEDS, QUICK_MOST = 4, 3
MORE: Mapping[str, str] = {
    "questionable data": "data=npz data.path={tiny} data.preprocess=none",
    "class imbalance": "data=npz data.path={rare} metrics=[balanced_accuracy] objective=val/balanced_accuracy",
    "outliers": "data=npz data.path={outliers} training.epochs=40",
    "uneven errors": "data=npz data.path={uneven} training.epochs=40",
    "not better than the bigram table": (
        "data=text model=rnn data.characters=10000 model.hidden=16 training.batch_size=8 optimizer.lr=5e-4 "
        "training.epochs=8"
    ),
}
"""Trainings of the verdicts that have no picture."""
GROUPS = {"helps": "helped", "not clear": "not clear", "does nothing": "did nothing", "harms": "harmed"}


def run(settings: Settings, screen: Console) -> None:
    """Measure and print."""
    seeds, most = (QUICK_SEEDS, QUICK_MOST) if settings.quick else (SEEDS, MOST)
    with tempfile.TemporaryDirectory() as below, contextlib.chdir(below):
        tables = planted(Path(below))
        for verdict in TABLE:
            if verdict not in (*MORE, *EXAMPLES):
                screen.print(f"{verdict}: no training")
                continue
            line = MORE[verdict].format(**tables) if verdict in MORE else EXAMPLES[verdict][0]
            folder, given = verdicts_of(line)
            marks = "" if verdict in given else " (NOT GIVEN)"
            screen.print(escape(f"{verdict}{marks}: {line or 'the default run'}; {tried(folder, seeds, most)}"))


def tried(folder: Path, seeds: int, most: int) -> str:
    """Try the remedies of a run; returns them by their effect, with the difference of the means."""
    content = trials(folder, seeds, most)
    shown = [f"{content['metric']} {np.mean(list(content['original'].values())):.3g}"]
    for effect, title in GROUPS.items():
        found = [one for one in content["remedies"] if one["effect"] == effect]
        if found:
            listed = (f"{one['name']} {one['difference']:+.3g}" if one["difference"] else one["name"] for one in found)
            shown.append(f"{title}: {', '.join(listed)}")
    return "; ".join(shown)


def planted(folder: Path) -> dict[str, str]:
    """Write data with a fault, and return their paths by name."""
    draw = np.random.default_rng(0)
    x = draw.uniform(-2, 2, size=(1000, 1))
    curve = np.square(x[:, 0])
    table = draw.normal(size=(1000, 6))
    sums = table[:, :3].sum(1)
    data = {
        "tiny": (1e-5 * table, (sums > 0).astype(int)),
        "rare": (table, (sums + draw.normal(size=1000) > 3.2).astype(int)),
        "outliers": (x, curve + draw.normal(0, 0.3, 1000) + np.where(draw.random(1000) < 0.03, 40, 0)),
        "uneven": (x, curve + draw.normal(0, 0.02 + 0.3 * curve)),
    }
    paths = {}
    for name, (inputs, targets) in data.items():
        paths[name] = str(folder / f"{name}.npz")
        np.savez(paths[name], x_train=inputs[:800], y_train=targets[:800], x_test=inputs[800:], y_test=targets[800:])
    return paths
