"""Figures of a regression: predictions against true values, and residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.common.arrays import Array

from .canvas import canvas
from .palette import literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TARGETS = 9
"""The targets that a figure shows."""
MOST_DOTS = 2000
BLUE, ORANGE = "#0072B2", "#D55E00"


def predicted_figure(predicted: Array, true: Array, names: Sequence[str], about: str) -> Figure:
    """Draw the prediction of each example against its true value, in one panel per target.

    Args:
        predicted, true: (examples, targets), in the user's units.
        names: of the targets.
        about: the split and the epoch of the weights, for the title.
    """
    figure, panels = panelled(len(names), f"Predicted against true: {about}")
    for axes, name, own, wanted in zip(panels, names, predicted.T, true.T, strict=False):
        low, high = min(own.min(), wanted.min()), max(own.max(), wanted.max())
        axes.plot([low, high], [low, high], "--", color="grey", linewidth=1)
        dots(axes, wanted, own)
        spread = np.square(wanted - wanted.mean()).sum()
        share = 1 - np.square(own - wanted).sum() / spread if spread > 0 else math.nan
        axes.set_title(f"{literal(name)}: R² {share:.3f}", fontsize=10)
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")
    return figure


def residuals_figure(predicted: Array, true: Array, names: Sequence[str], about: str) -> Figure:
    """Draw the error of each example, true minus predicted, against its prediction, in one panel per target.

    Args:
        predicted, true, names, about: see `predicted_figure`.
    """
    figure, panels = panelled(len(names), f"Residuals: {about}")
    for axes, name, own, wanted in zip(panels, names, predicted.T, true.T, strict=False):
        axes.axhline(0, linestyle="--", color="grey", linewidth=1)
        dots(axes, own, wanted - own)
        size = math.sqrt(np.square(own - wanted).mean())
        axes.set_title(f"{literal(name)}: RMSE {size:.4g}", fontsize=10)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true minus predicted")
    return figure


def fit_figure(x: Array, predicted: Array, true: Array, names: Sequence[str], about: str) -> Figure:
    """Draw true values and predictions over the only feature, in one panel per target.

    Args:
        x: (examples,), raw.
        predicted, true, names, about: see `predicted_figure`.
    """
    figure, panels = panelled(len(names), f"Fit: {about}")
    order = np.argsort(x)
    for axes, name, own, wanted in zip(panels, names, predicted.T, true.T, strict=False):
        dots(axes, x, wanted)
        axes.plot(x[order], own[order], color=ORANGE, linewidth=2, label="predicted")
        axes.set_title(literal(name), fontsize=10)
        axes.set_xlabel("feature")
        axes.legend(fontsize=8)
    return figure


def panelled(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each target."""
    count = min(count, MOST_TARGETS)
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    figure = canvas(1 + 3.8 * columns, 0.6 + 3.6 * rows)
    figure.suptitle(title, fontsize=10)
    return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


def dots(axes: Axes, x: Array, y: Array) -> None:
    """Draw at most `MOST_DOTS` dots, at equal distances in the order of the examples.

    Args:
        axes: to draw on.
        x, y: (examples,).
    """
    step = max(1, math.ceil(len(x) / MOST_DOTS))
    axes.plot(x[::step], y[::step], ".", color=BLUE, markersize=5, alpha=0.5, markeredgewidth=0, label="true")
