"""Test accuracy of runs with several defaults, against scikit-learn's network of the same shape."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
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
USUAL = "optimizer=adam"
"""Adam with its usual rate, 0.001."""
DEFAULTS: Mapping[str, Sequence[str]] = {
    "he": ("init=he", USUAL),
    "xavier": ("init=xavier", USUAL),
    "xavier, bias=torch": ("init=xavier", "init.bias=torch", USUAL),
    "torch": ("init=torch", USUAL),
    "torch, lr=0.002": ("init=torch", USUAL, "optimizer.lr=0.002"),
    "xavier, bias=torch, lr=0.002": ("init=xavier_biases", USUAL, "optimizer.lr=0.002"),
    "the defaults": (),
    "torch, lr=0.003": ("init=torch", USUAL, "optimizer.lr=0.003"),
}
"""The defaults, and what else could be, as overrides of a default run."""
UNSEEN = [
    f"observers.{name}.enabled=false"
    for name in ("progress", "tensorboard", "histograms", "layers", "pictures", "regions")
]
SHAPE = (100, 100)
LEVEL, REFERENCE = 0.05, "scikit-learn"
Arrays = tuple[np.ndarray, np.ndarray]


def run(settings: Settings, screen: Console) -> None:
    """Measure and print."""
    seeds = QUICK_SEEDS if settings.quick else SEEDS
    names = (*DEFAULTS, REFERENCE)
    shown = Table("data set", "examples", *names, box=None)
    means: dict[str, list[float]] = {name: [] for name in names}
    gaps: dict[str, list[float]] = {name: [] for name in DEFAULTS}
    tests: dict[str, list[float]] = {name: [] for name in DEFAULTS}
    sets = data_sets(settings.data)
    for title, (train, test) in sets.items():
        scores = {**default_runs(train, test, seeds), REFERENCE: reference_runs(train, test, seeds)}
        for name in names:
            means[name].append(float(np.mean(list(scores[name].values()))))
        for name in DEFAULTS:
            found = difference(scores[name], scores[REFERENCE])
            gaps[name].append(means[name][-1] - means[REFERENCE][-1])
            tests[name].append(1.0 if found is None else found.t_p)
        shown.add_row(title, str(len(train[0])), *(f"{means[name][-1]:.3f}" for name in names))
        screen.print(f"{title}: {', '.join(f'{name} {means[name][-1]:.3f}' for name in names)}")
    shown.add_row("mean", "", *(f"{np.mean(means[name]):.4f}" for name in names))
    screen.print(shown)
    for name in DEFAULTS:
        judged = list(zip(sets, gaps[name], holm(tests[name]), strict=True))
        behind = [f"{title} ({gap:+.3f}, p {p:.2g})" for title, gap, p in judged if gap < 0 and p < LEVEL]
        ahead = [f"{title} ({gap:+.3f}, p {p:.2g})" for title, gap, p in judged if gap > 0 and p < LEVEL]
        screen.print(f"{name}: behind on {', '.join(behind) or 'none'}; ahead on {', '.join(ahead) or 'none'}")
    screen.print(f"{seeds} seeds; p is corrected for {len(sets)} sets (Holm)")


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
    """Return the test accuracy of runs by defaults and seed; they are trained as stacks."""
    found: dict[str, dict[int, float]] = {name: {} for name in DEFAULTS}
    with tempfile.TemporaryDirectory() as below:
        path = Path(below, "own.npz")
        np.savez(path, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
        jobs, names = [], {}
        for number, (name, words) in enumerate(DEFAULTS.items()):
            config = compose("data=npz", f"data.path={path}", *words, *UNSEEN).plain()
            for seed in range(seeds):
                folder = Path(below, f"{number}_{seed}")
                names[folder.name] = (name, seed)
                jobs.append(Job({**config, "seed": seed}, RunFolder(folder), own=True))

        def ended(one: Any) -> None:
            name, seed = names[one.name]
            found[name][seed] = (one.summary or {})["metrics"]["test/accuracy"]

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
