"""Accuracies that a source reports."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best


def accuracy(runs: Sequence[Record]) -> Measured:
    """The test accuracy of the best epoch's weights (the last ones without a validation split)."""
    found = [best(run, "test/accuracy") for run in runs]
    held_out = "val" if "val/accuracy" in runs[0].history else "train"
    said = [f"Test accuracy of each seed: {', '.join(f'{100 * value:.2f} %' for value in found)}"]
    return Measured(
        {"test accuracy, best run": max(found), "test accuracy, median": median(found)},
        lambda: curves_of({"runs": runs}, f"{held_out}/loss", f"{held_out}/accuracy"),
        said,
    )
