"""Symmetry between the units of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best, by, quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def zero_weights(runs: Sequence[Record]) -> Measured:
    """Measure the share of hidden units that equal another unit after training, and the accuracy that this costs."""
    groups = by(runs, "init")

    def draw() -> Figure:
        return curves_of(groups, "val/accuracy")

    values = {}
    for name, group in groups.items():
        twins = [share for run in group for layer, share in quantity(run, "twins").items() if layer != "head"]
        values[f"equal units, {name}"] = fmean(twins)
    accuracy = {name: fmean(best(run, "val/accuracy") for run in group) for name, group in groups.items()}
    values["accuracy, xavier over zeros"] = accuracy.get("xavier", 0) - accuracy.get("zeros", 0)
    return Measured(values, draw)
