"""Verdicts on faulty trainings: how many are true, and how often the advice that they name helps when it is tried."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.remedies.options import RemedyOptions
from experiments.remedies.running import FILE, FOLDER, remedy
from experiments.runs import alone
from experiments.runs.library import compose, job_of

from .measure import Settings

SEEDS, MOST = 10, 3
QUICK_SEEDS, QUICK_MOST = 4, 2
UNSEEN = [
    f"observers.{name}.enabled=false" for name in ("progress", "tensorboard", "histograms", "pictures", "regions")
]
TOO_HIGH, TOO_LOW = "learning rate too high", "learning rate too low"
OVER, UNDER = "overfitting", "underfitting"
LIMITED = "limited by the data or by the model"
HOLDS: Mapping[str, Mapping[str, str]] = {
    "seen while the verdicts were written": {
        "data=wine optimizer=sgd optimizer.lr=30 training.epochs=10": TOO_HIGH,
        "data=breast_cancer optimizer.lr=1 training.epochs=10": TOO_HIGH,
        "data=blobs optimizer=momentum optimizer.lr=3 training.epochs=10": TOO_HIGH,
        "data=wine optimizer=sgd optimizer.lr=1e-5 training.epochs=30": TOO_LOW,
        "data=breast_cancer optimizer.lr=1e-6 training.epochs=15": TOO_LOW,
        "data=moons optimizer=sgd optimizer.lr=1e-4 training.epochs=15": TOO_LOW,
        "data=wine init=zeros training.epochs=20": "symmetry",
        "data=blobs init=constant init.value=0.1 training.epochs=10": "symmetry",
        "data=circles model.hidden=[] training.epochs=30": UNDER,
        "data=moons model.hidden=[50] model.dropout=0.9 training.epochs=30": UNDER,
        "data=npz data.path={quantiles} training.epochs=40": OVER,
        "data=npz data.path={few} training.epochs=40": OVER,
        "data=breast_cancer data.limit=40 training.epochs=80 model.hidden=[300,300]": OVER,
        "data=two_gaussians data.distance=1.2 training.epochs=20": f"{LIMITED}|data suspect",
        "data=npz data.path={shuffled} training.epochs=30": "data suspect",
        "data=wine init=unit_normal training.epochs=15": "initial loss off",
        "data=circles training.epochs=5": "still improving",
        "data=moons optimizer.lr=3e-4 training.epochs=6": "still improving",
        "data=blobs training.batch_size=1000 training.epochs=20": "large batch",
        "data=blobs data.imbalance=30 training.epochs=12": "class imbalance",
    },
    "held out": {
        "data=iris optimizer=sgd optimizer.lr=50 training.epochs=15": TOO_HIGH,
        "data=circles optimizer=sgd optimizer.lr=20 training.epochs=15": TOO_HIGH,
        "model=cnn data.limit=400 optimizer.lr=0.3 training.epochs=6": TOO_HIGH,
        "data=npz data.path={wide} optimizer=rmsprop optimizer.lr=0.5 training.epochs=10": TOO_HIGH,
        "data=circles optimizer=momentum optimizer.lr=1e-5 training.epochs=15": TOO_LOW,
        "data=npz data.path={wide} optimizer.lr=1e-6 training.epochs=15": TOO_LOW,
        "data=iris optimizer=sgd optimizer.lr=1e-4 training.epochs=40": TOO_LOW,
        "data=breast_cancer init=zeros model.activation=tanh training.epochs=10": "symmetry",
        "data=npz data.path={wide} init=constant init.value=0.02 training.epochs=10": "symmetry",
        "data=npz data.path={ring} model.hidden=[] training.epochs=30": UNDER,
        "data=npz data.path={wide} model.dropout=0.9 training.epochs=20": UNDER,
        "data=spiral model.hidden=[2] training.epochs=60": UNDER,
        "data=npz data.path={noisy} training.epochs=60": OVER,
        "data=npz data.path={wide} data.limit=80 training.epochs=80 model.activation=tanh init=xavier": OVER,
        "model=cnn data.limit=60 training.epochs=30": OVER,
        "data=npz data.path={coin} model.hidden=[20] training.epochs=30": f"{LIMITED}|data suspect",
        "data=npz data.path={shuffled} model.hidden=[300] training.epochs=60": "data suspect",
        "data=breast_cancer init=unit_normal model.hidden=[100,100,100] training.epochs=10": "initial loss off",
        "data=npz data.path={ring} optimizer=sgd optimizer.lr=0.05 training.epochs=10": "still improving",
        "data=npz data.path={wide} data.limit=200 training.batch_size=500 training.epochs=20": "large batch",
    },
}
"""The trainings, with the verdict that is true; one of several is enough."""
HEALTHY: Mapping[str, Sequence[str]] = {
    "seen while the verdicts were written": (
        "data=blobs training.epochs=20",
        "data=circles training.epochs=60",
        "data=moons training.epochs=80",
        "data=spiral training.epochs=100",
        "data=breast_cancer training.epochs=20",
        "data=wine training.epochs=80",
        "data=iris training.epochs=150",
        "model=cnn training.epochs=10",
        "model.batch_norm=true training.epochs=15",
        "optimizer=momentum scheduler=one_cycle training.epochs=20",
    ),
    "held out": (
        "data=sine training.epochs=60",
        "data=moons init=he optimizer=adam training.epochs=40",
        "data=circles model.hidden=[50,50] training.epochs=40",
        "data=npz data.path={easy} training.epochs=20",
        "data=npz data.path={ring} training.epochs=20",
        "model=cnn model.batch_norm=true training.epochs=8",
        "optimizer=sgd optimizer.lr=0.1 training.epochs=30",
        "optimizer=adamw scheduler=cosine training.epochs=20",
        "model.hidden=[200] model.dropout=0.2 training.epochs=20",
        "model.activation=tanh init=xavier training.epochs=20",
    ),
}
MINOR = ("still improving",)
"""A verdict that is no fault of a training, so that it is no false alarm."""
HOPELESS = (LIMITED, "data suspect")
"""Verdicts on data that no setting can mend: whether a remedy helps is not counted."""
BETTER = 0.01
"""The difference of the means that is counted, in a share or in the share of a loss."""


@dataclass(frozen=True)
class Case:
    """The result of one training.

    Args:
        given: the names of its verdicts.
        right: whether one of them is the true one.
        helped: whether each remedy of the list helped, the first one first; empty if none was tried or none can help.
        better: whether the mean of each was better.
        shown: each remedy with its difference.
    """

    given: Sequence[str]
    right: bool
    helped: Sequence[bool]
    better: Sequence[bool] = ()
    shown: str = ""


def run(settings: Settings, screen: Console) -> None:
    """Measure and print."""
    seeds, most = (QUICK_SEEDS, QUICK_MOST) if settings.quick else (SEEDS, MOST)
    with tempfile.TemporaryDirectory() as below, contextlib.chdir(below):
        tables = planted(Path(below))
        for title, lines in HOLDS.items():
            cases = []
            for line, wanted in lines.items():
                cases.append(tried(line.format(**tables), wanted.split("|"), seeds, most))
                screen.print(shown(line, cases[-1]))
            screen.print(f"{title}: {counted(cases)}")
        for title, healthy in HEALTHY.items():
            wrong = 0
            for line in healthy:
                given = verdicts_of(line.format(**tables))[1]
                wrong += any(name not in ("healthy", *MINOR) for name in given)
                screen.print(f"{line}: {', '.join(given)}")
            screen.print(f"false alarms on healthy runs, {title}: {wrong} of {len(healthy)}; aim: at most 5 %")


def planted(folder: Path) -> dict[str, str]:
    """Write tables, and return their paths by name."""
    from sklearn import datasets

    draw = np.random.default_rng(0)
    more = {"n_samples": 1500, "random_state": 3}
    wide, labels = datasets.make_classification(n_features=30, n_informative=8, n_classes=3, **more)
    noisy = datasets.make_classification(n_features=20, n_informative=5, flip_y=0.3, **more)
    ring = draw.normal(size=(1500, 5))
    made = {
        "quantiles": datasets.make_gaussian_quantiles(n_features=8, n_classes=3, **more),
        "few": datasets.make_classification(n_samples=150, n_features=30, n_informative=4, random_state=5),
        "shuffled": (wide, draw.permutation(labels)),
        "wide": (wide, labels),
        "noisy": noisy,
        "ring": (ring, (np.square(ring).sum(1) > 4.4).astype(int)),
        "easy": datasets.make_classification(n_features=10, n_informative=5, class_sep=2.0, **more),
        "coin": (ring, (draw.random(1500) < 1 / (1 + np.exp(-ring[:, 0]))).astype(int)),
    }
    paths = {}
    for name, (x, y) in made.items():
        cut = 3 * len(x) // 4
        x = x.astype(np.float32)
        paths[name] = str(folder / f"{name}.npz")
        np.savez(paths[name], x_train=x[:cut], y_train=y[:cut], x_test=x[cut:], y_test=y[cut:])
    return paths


def verdicts_of(line: str) -> tuple[Path, list[str]]:
    """Train, and return the run's folder and the names of its verdicts."""
    job = job_of(compose(*shlex.split(line), *UNSEEN))
    with contextlib.redirect_stdout(io.StringIO()):
        summary = alone.train(job.config, job.folder, choices=job.choices, overrides=job.overrides, own=True)
    return job.folder.path, [verdict["name"] for verdict in summary["verdicts"]]


def trials(folder: Path, seeds: int, most: int) -> dict[str, Any]:
    """Try the remedies of a run, and return the content of `remedy.json`."""
    with contextlib.redirect_stdout(io.StringIO()):
        remedy(folder, RemedyOptions(seeds=seeds, most=most))
    content: dict[str, Any] = json.loads((folder / FOLDER / FILE).read_text(encoding="utf-8"))
    return content


def tried(line: str, wanted: Sequence[str], seeds: int, most: int) -> Case:
    """Train, judge, and try the remedies of the verdicts."""
    folder, given = verdicts_of(line)
    content = trials(folder, seeds, most)
    known = {one["name"]: one for one in content["remedies"]}
    ordered = [known[name] for name in content["order"]]
    falls = content["metric"].endswith("loss")
    size = abs(float(np.mean(list(content["original"].values())))) if falls else 1.0
    gains = [(-1 if falls else 1) * (one["difference"] or 0.0) / size for one in ordered]
    listed = ", ".join(f"{one['name']} {gain:+.2f}" for one, gain in zip(ordered, gains, strict=True))
    right = any(name in wanted for name in given)
    if set(wanted) <= set(HOPELESS):
        return Case(given, right, (), (), listed)
    return Case(given, right, [one["effect"] == "helps" for one in ordered], [gain > BETTER for gain in gains], listed)


def shown(line: str, case: Case) -> str:
    """Return a line about a case."""
    marks = "".join("+" if helped else "-" for helped in case.helped) or "none tried"
    return f"{'right' if case.right else 'WRONG'}  {line}: {', '.join(case.given)}; advice {marks} ({case.shown})"


def counted(cases: Sequence[Case]) -> str:
    """Return how many cases are right and how often advice helped, with the aims."""
    with_advice = [case for case in cases if case.helped]
    right, first = sum(case.right for case in cases), sum(case.helped[0] for case in with_advice)
    second = sum(any(case.helped[:2]) for case in with_advice)
    some = sum(any(case.helped) for case in with_advice)
    means = [sum(case.better[0] for case in with_advice), sum(any(case.better) for case in with_advice)]
    n, m = len(cases), len(with_advice)
    return (
        f"{right} of {n} verdicts right (aim 90 %), the first advice helped in {first} of {m} (aim 60 %), one of the "
        f"first two in {second}, any in {some} (aim 85 %); the mean was better by {BETTER} with the first in "
        f"{means[0]}, with any in {means[1]}"
    )
