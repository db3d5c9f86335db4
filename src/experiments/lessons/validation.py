"""Validation: cross-validation compared with one split, and how far the best of many epochs flatters."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from experiments.common.arrays import Array
from experiments.comparison.statistics import estimate
from experiments.data.sources import digits
from experiments.figures.canvas import on_axes
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES, FOLDS, STRENGTH = 200, 5, 10.0


def cross_validation(repeats: Annotated[int, Ge(10)] = 200, folds: Annotated[int, Ge(1)] = FOLDS) -> Measured:
    """Measure the noise of the accuracy that one split estimates, and of the mean over five folds.

    A linear classifier is fitted by ridge regression to 160 of 200 digits, again and again with other splits.

    Args:
        repeats: how many times the 200 digits are divided anew.
        folds: how many of the five folds the cross-validation averages.
    """
    source = digits()
    x = (source.x_train.flatten(1).double() / 16).numpy()
    y = source.y_train.numpy()
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(x))[:EXAMPLES]
    rest = np.setdiff1d(np.arange(len(x)), chosen)
    accuracies = np.array([of_folds(x[chosen], y[chosen], rng.permutation(EXAMPLES)) for _ in range(repeats)])
    one, several = accuracies[:, 0], accuracies[:, :folds].mean(1)
    truth = accuracy(fitted(x[chosen], y[chosen]), x[rest], y[rest])
    values = {
        "spread of the estimate, five folds by one split": float(several.std() / one.std()),
        "mean of the estimates, five folds less one split": float(several.mean() - one.mean()),
        "mean of five folds less the accuracy on other digits": float(several.mean() - truth),
    }
    said = [
        f"One split of {EXAMPLES // FOLDS} digits gives {one.min():.0%} to {one.max():.0%}, five folds give "
        f"{several.min():.1%} to {several.max():.1%}, depending on how the same {EXAMPLES} digits are divided"
    ]

    @on_axes(6.5, 3.6)
    def draw(axes: Axes) -> None:
        bins = np.linspace(one.min(), 1, 25) * 100
        for (name, own), look in zip({"one split": one, "mean of five folds": several}.items(), styles(2), strict=True):
            axes.hist(100 * own, bins.tolist(), color=look.color, alpha=0.6, label=name)
        axes.axvline(100 * truth, color=INK, linestyle=":", label=f"on {len(rest):,} other digits")
        axes.set_xlabel("estimated accuracy (%)")
        axes.set_ylabel("divisions of the digits")
        axes.legend()

    return Measured(values, draw, said)


def of_folds(x: Array, y: NDArray[np.int64], order: NDArray[np.int64]) -> list[float]:
    """Return the accuracy on each fold of a classifier that is fitted to the other folds.

    Args:
        x: (examples, features).
        y: (examples,), class numbers.
        order: (examples,), a permutation of their indices, which decides the folds.
    """
    parts = np.array_split(order, FOLDS)
    rows = [(np.concatenate([*parts[:n], *parts[n + 1 :]]), part) for n, part in enumerate(parts)]
    return [accuracy(fitted(x[train], y[train]), x[test], y[test]) for train, test in rows]


def fitted(x: Array, y: NDArray[np.int64]) -> Array:
    """Return the weights of a linear classifier of the digits, by ridge regression on one-hot classes.

    Args:
        x: (examples, features).
        y: (examples,), class numbers.

    Returns:
        The weights, (features + 1, classes); those in the last row are the biases.
    """
    inputs = np.concatenate([x, np.ones((len(x), 1))], 1)
    weights: Array = np.linalg.solve(inputs.T @ inputs + STRENGTH * np.eye(inputs.shape[1]), inputs.T @ np.eye(10)[y])
    return weights


def accuracy(weights: Array, x: Array, y: NDArray[np.int64]) -> float:
    """Return the accuracy of a linear classifier.

    Args:
        weights: see `fitted`.
        x: (examples, features).
        y: (examples,), class numbers.
    """
    scores = np.concatenate([x, np.ones((len(x), 1))], 1) @ weights
    return float((scores.argmax(1) == y).mean())


def best_epoch(runs: Sequence[Record]) -> Measured:
    """Measure how far the best epoch's validation accuracy is above that of all epochs, and above the test accuracy.

    The runs learn from random classes, so every epoch is equally good: the best one is only the luckiest.
    """
    mean = {run.folder: fmean(curve(run, "val/accuracy")) for run in runs}
    above = [best(run, "val/accuracy") - mean[run.folder] for run in runs]
    test = [best(run, "test/accuracy") for run in runs]
    over_test = [best(run, "val/accuracy") - value for run, value in zip(runs, test, strict=True)]
    gain, flattery = estimate(above), estimate(over_test)
    values = {
        "best epoch less the mean epoch, validation accuracy, least": gain.mean if gain.low is None else gain.low,
        "best epoch, validation less test accuracy, least": flattery.mean if flattery.low is None else flattery.low,
        "test accuracy of the best epoch": fmean(test),
    }
    said = [
        f"The best epoch has a validation accuracy of {fmean(best(run, 'val/accuracy') for run in runs):.1%}, the mean "
        f"epoch one of {fmean(mean.values()):.1%}, and the weights of the best epoch are right in {fmean(test):.1%} of "
        "the test examples; chance is 10 %"
    ]
    return Measured(values, lambda: curves_of({"random classes": runs}, "val/accuracy", "train/accuracy"), said)
