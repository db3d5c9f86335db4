"""Figures that only an evaluation draws, and not a run in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._scores import Bin, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
