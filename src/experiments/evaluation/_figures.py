"""Figures that only an evaluation draws, and not a run in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._scores import Bin

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_figure(bins: Sequence[Bin], error: float, about: str) -> Figure:
    """Draw accuracy over confidence, and below it the number of examples in each bin (Guo et al. 2017, figure 4)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.6), dpi=100, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    left, widths = [each.low for each in bins], [each.high - each.low for each in bins]
    accuracies = [each.accuracy for each in bins]
    upper.bar(left, accuracies, widths, align="edge", edgecolor="white", label="accuracy")
    upper.plot([each.confidence for each in bins], accuracies, "o", color="black", markersize=4)
    upper.plot([0, 1], [0, 1], "--", color="grey", label="calibrated: accuracy equals confidence")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.legend(loc="upper left", fontsize=8)
    upper.set_title(f"Calibration: {about}\nexpected calibration error {error:.4f}", fontsize=10)
    lower.bar(left, [each.examples for each in bins], widths, align="edge", edgecolor="white", color="grey")
    lower.set(xlabel="confidence (probability of the predicted class)", ylabel="examples")
    return figure
