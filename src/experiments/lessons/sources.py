"""Accuracies that a source reports, measured here."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best


def accuracy(runs: Sequence[Record]) -> Measured:
    """Measure the test accuracy with the weights of the best epoch (of the last one without a validation split)."""
    accuracies = [best(run, "test/accuracy") for run in runs]
    held_out = "val" if "val/accuracy" in runs[0].history else "train"
    said = [f"Test accuracy of each seed: {', '.join(f'{100 * value:.2f} %' for value in accuracies)}"]
    return Measured(
        {"test accuracy, best run": max(accuracies), "test accuracy, median": median(accuracies)},
        lambda: curves_of({"runs": runs}, f"{held_out}/loss", f"{held_out}/accuracy"),
        said,
    )
