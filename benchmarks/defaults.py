"""Test accuracy of default runs with several initial weights, against scikit-learn's network of the same shape."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.comparison.statistics import difference, holm
from experiments.folders.run import RunFolder
from experiments.runs.job import Job
from experiments.runs.library import compose
from experiments.runs.together import train_together
from experiments.training.stop import Stop

from .measure import Settings

SEEDS, QUICK_SEEDS = 10, 5
INITS = ("he", "xavier", "torch")
UNSEEN = [
    f"observers.{name}.enabled=false"
    for name in ("progress", "tensorboard", "histograms", "layers", "pictures", "regions")
]
SHAPE = (100, 100)
Arrays = tuple[np.ndarray, np.ndarray]


def run(settings: Settings, screen: Console) -> None:
    """Measure and print."""
    seeds = QUICK_SEEDS if settings.quick else SEEDS
    shown = Table(box=None)
    for name in ("data set", "examples", *(f"init={name}" for name in INITS), "scikit-learn", "he - sklearn", "p"):
        shown.add_column(name)
    rows, tests = [], []
    for name, (train, test) in data_sets(settings.data).items():
        ours, theirs = default_runs(train, test, seeds), reference_runs(train, test, seeds)
        found = difference(ours["he"], theirs)
        means = [f"{np.mean(list(ours[init].values())):.3f}" for init in INITS]
        gap = np.mean(list(ours["he"].values())) - np.mean(list(theirs.values()))
        rows.append([name, str(len(train[0])), *means, f"{np.mean(list(theirs.values())):.3f}", f"{gap:+.3f}"])
        tests.append(1.0 if found is None else found.t_p)
        screen.print("  ".join(rows[-1]))
    for row, p in zip(rows, holm(tests), strict=True):
        shown.add_row(*row, f"{p:.2g}")
    screen.print(shown)
    for column, init in enumerate(INITS, 2):
        screen.print(f"mean of init={init}: {np.mean([float(row[column]) for row in rows]):.4f}")
    screen.print(f"mean of scikit-learn: {np.mean([float(row[2 + len(INITS)]) for row in rows]):.4f}; {seeds} seeds")


def data_sets(mnist: Path | None) -> Mapping[str, tuple[Arrays, Arrays]]:
    """Return tables and pictures by name, each as a training and a test part."""
    from sklearn import datasets

    draw: dict[str, Any] = {"n_samples": 2000, "random_state": 0}
    found: dict[str, Arrays] = {
        "wine": datasets.load_wine(return_X_y=True),
        "iris": datasets.load_iris(return_X_y=True),
        "breast cancer": datasets.load_breast_cancer(return_X_y=True),
        "digits (pictures)": datasets.load_digits(return_X_y=True),
        "moons": datasets.make_moons(noise=0.2, **draw),
        "circles": datasets.make_circles(noise=0.1, factor=0.5, **draw),
        "blobs": datasets.make_blobs(centers=5, cluster_std=2.5, **draw),
        "quantiles, 8 columns": datasets.make_gaussian_quantiles(n_features=8, n_classes=3, **draw),
        "quantiles, 4 columns": datasets.make_gaussian_quantiles(n_features=4, n_classes=3, **draw),
        "hastie": datasets.make_hastie_10_2(**draw),
        "classification, 20 columns": datasets.make_classification(n_informative=8, n_classes=3, **draw),
        "classification, few": datasets.make_classification(n_samples=300, n_informative=5, random_state=1),
        "noisy labels": datasets.make_classification(n_informative=6, flip_y=0.2, **draw),
    }
    parts = {name: divided(x, y) for name, (x, y) in found.items()}
    if mnist is not None:
        from torchvision.datasets import MNIST

        source = MNIST(str(mnist), train=True)
        parts["3,000 of MNIST (pictures)"] = divided(
            source.data[:3000].flatten(1).numpy(), source.targets[:3000].numpy()
        )
    return parts


def divided(x: np.ndarray, y: np.ndarray) -> tuple[Arrays, Arrays]:
    """Divide examples into two thirds to train on and a third to test on."""
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.float32), np.unique(y[order], return_inverse=True)[1]
    cut = 2 * len(x) // 3
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def default_runs(train: Arrays, test: Arrays, seeds: int) -> dict[str, dict[int, float]]:
    """Return the test accuracy of default runs by initial weights and seed; they are trained as stacks."""
    found: dict[str, dict[int, float]] = {init: {} for init in INITS}
    with tempfile.TemporaryDirectory() as below:
        path = Path(below, "own.npz")
        np.savez(path, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
        jobs, names = [], {}
        for init in INITS:
            config = compose("data=npz", f"data.path={path}", f"init={init}", *UNSEEN).plain()
            for seed in range(seeds):
                folder = Path(below, f"{init}_{seed}")
                names[folder.name] = (init, seed)
                jobs.append(Job({**config, "seed": seed}, RunFolder(folder), own=True))

        def ended(one: Any) -> None:
            init, seed = names[one.name]
            found[init][seed] = (one.summary or {})["metrics"]["test/accuracy"]

        train_together(jobs, Stop(), ended, lambda _: None)
    return found


def reference_runs(train: Arrays, test: Arrays, seeds: int) -> dict[int, float]:
    """Return the test accuracy of scikit-learn's network by seed, trained on four fifths as the default runs are."""
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = {}
    for seed in range(seeds):
        x, _, y, _ = train_test_split(*train, train_size=0.8, stratify=train[1], random_state=seed)
        network = make_pipeline(StandardScaler(), MLPClassifier(SHAPE, random_state=seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[seed] = float(network.fit(x, y).score(*test))
    return found
