"""Figures of an evaluation that a run in training does not draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._scores import Bin

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_figure(bins: Sequence[Bin], error: float, about: str) -> Figure:
    """Draw accuracy against confidence, and below how many examples are behind each (Guo et al. 2017, figure 4)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.6), dpi=100, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    left, widths = [found.low for found in bins], [found.high - found.low for found in bins]
    upper.bar(left, [f.accuracy for f in bins], widths, align="edge", edgecolor="white", label="accuracy")
    upper.plot([f.confidence for f in bins], [f.accuracy for f in bins], "o", color="black", markersize=4)
    upper.plot([0, 1], [0, 1], "--", color="grey", label="calibrated: as often right as sure")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.legend(loc="upper left", fontsize=8)
    upper.set_title(f"Calibration: {about}\nexpected calibration error {error:.4f}", fontsize=10)
    lower.bar(left, [f.examples for f in bins], widths, align="edge", edgecolor="white", color="grey")
    lower.set(xlabel="confidence (probability of the predicted class)", ylabel="examples")
    return figure
