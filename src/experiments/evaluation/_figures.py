"""Figures that only an evaluation draws, and not a run in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.common.arrays import Array
from experiments.figures.canvas import canvas
from experiments.figures.palette import literal

from ._scores import Bin, ClassNumbers, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

APART = 0.06
"""The distance between two dots whose thresholds can be read."""
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The thresholds that are marked on a curve."""
BAR, LINE = "#1f6fb4", "#6b6b6b"


def reliability_figure(bins: Sequence[Bin], error: float, about: str) -> Figure:
    """Draw accuracy over confidence, and below it the number of examples in each bin (Guo et al. 2017, figure 4)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 5.6), dpi=100, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    left, widths = [each.low for each in bins], [each.high - each.low for each in bins]
    accuracies = [each.accuracy for each in bins]
    upper.bar(left, accuracies, widths, align="edge", edgecolor="white", color=BAR, label="accuracy of the examples")
    ranges = [wilson(round(each.accuracy * each.examples), each.examples) for each in bins]
    middles = [(each.low + each.high) / 2 for each in bins]
    lows, highs = zip(*ranges, strict=True)
    upper.vlines(middles, lows, highs, color="black", linewidth=1.2, label="its 95 % interval (Wilson)")
    confidences = [each.confidence for each in bins]
    look = {"color": "white", "markeredgecolor": "black", "markersize": 5}
    upper.plot(confidences, accuracies, "D", label="at the mean confidence", **look)
    upper.plot([0, 1], [0, 1], "--", color=LINE, label="calibrated: accuracy\nequals confidence")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.set_title(f"Calibration: {about}\nexpected calibration error {error:.4f}", fontsize=10)
    lower.bar(left, [each.examples for each in bins], widths, align="edge", edgecolor="white", color=LINE)
    for each, middle in zip(bins, middles, strict=True):
        lower.annotate(compact(each.examples), (middle, each.examples), (0, 2), textcoords="offset points",
                       ha="center", va="bottom", fontsize=8)  # fmt: skip
    lower.set(xlabel="confidence (probability of the predicted class)", ylabel="examples", yscale="log")
    lower.set_ylim(0.7, 6 * max(each.examples for each in bins))
    lower.yaxis.set_major_formatter("{x:,.0f}")
    lower.minorticks_off()
    handles, labels = upper.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda index: not labels[index].startswith("accuracy"))
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="outside right upper", fontsize=8, frameon=False
    )
    return figure


def compact(count: int) -> str:
    """Return a count that fits above a bar: 8,921, 120k, 3.4M."""
    if count < 100_000:
        return f"{count:,}"
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1e6:.1f}M"


def thresholds_figure(probability: Array, y: ClassNumbers, name: str, about: str) -> Figure:
    """Draw the ROC curve and the precision-recall curve of the second of two classes, with thresholds from 0.1 to 0.9.

    Args:
        probability: of the class, (examples,).
        y: class numbers, (examples,).
        name: of the class.
        about: the split and the epoch of the weights, for the title.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    figure = canvas(9, 4.4)
    left, right = figure.subplots(1, 2)
    figure.suptitle(f"Thresholds of {literal(name)}: {about}", fontsize=10)
    if 0 < y.sum() < len(y):
        false, true, cuts = roc_curve(y, probability)
        precision, recall, levels = precision_recall_curve(y, probability)
        draw_curve(left, false, true, cuts, f"AUROC {roc_auc_score(y, probability):.4f}")
        found = f"average precision {average_precision_score(y, probability):.4f}"
        draw_curve(right, recall[:-1], precision[:-1], levels, found)
    left.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    right.axhline(float(y.mean()), linestyle="--", color="grey", linewidth=1)
    left.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.02))
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    return figure


def draw_curve(axes: Axes, x: Array, y: Array, cuts: Array, title: str) -> None:
    """Draw a curve over all thresholds, with a dot at some of them, and their numbers if they are apart.

    Args:
        axes: to draw on.
        x, y, cuts: (thresholds,), the coordinates of the curve and the threshold at each point.
        title: above it.
    """
    axes.plot(x, y, linewidth=2)
    named: list[tuple[float, float]] = []
    for cut in THRESHOLDS:
        nearest = int(np.abs(cuts - cut).argmin())
        at = float(x[nearest]), float(y[nearest])
        axes.plot(*at, "o", color="#D55E00", markersize=4)
        if all(math.dist(at, other) > APART for other in named):
            axes.annotate(f"{cut:g}", at, fontsize=8, xytext=(-6, -12), textcoords="offset points", ha="right")
            named.append(at)
    axes.set_title(title, fontsize=10)
