"""Accuracies that a source reports, measured here."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from experiments.evaluation.loading import load
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best


def accuracy(runs: Sequence[Record]) -> Measured:
    """Measure the test accuracy with the weights of the best epoch (of the last one without a validation split)."""
    accuracies = [best(run, "test/accuracy") for run in runs]
    held_out = "val" if "val/accuracy" in runs[0].history else "train"
    said = [f"Test accuracy of each seed: {listed(accuracies)}"]
    return Measured(
        {"test accuracy, best run": max(accuracies), "test accuracy, median": median(accuracies)},
        lambda: curves_of({"runs": runs}, f"{held_out}/loss", f"{held_out}/accuracy"),
        said,
    )


def best_by_test(runs: Sequence[Record]) -> Measured:
    """Measure the test accuracy of the epoch that is best on the test digits, and of the one that validation chooses.

    The runs keep the checkpoint of every epoch.
    """
    measured = accuracy(runs)
    highest = [max(test_accuracies(run)) for run in runs]
    flattered = [high - best(run, "test/accuracy") for high, run in zip(highest, runs, strict=True)]
    values = {
        "test accuracy, median, epoch chosen by the test digits": median(highest),
        "test accuracy, mean gain if the test digits choose the epoch": fmean(flattered),
    }
    said = [
        f"Test accuracy of each seed if the test digits choose the epoch: {listed(highest)}",
        f"This is {100 * fmean(flattered):.2f} points more than with the epoch that the validation split chooses",
    ]
    return Measured({**measured.values, **values}, measured.draw, [*measured.said, *said])


def test_accuracies(run: Record) -> list[float]:
    """Return the test accuracy of the weights of each epoch, from the checkpoints that were kept."""
    restored = load(run.folder)
    accuracies = []
    for path in sorted((run.folder / "checkpoints").glob("epoch_*.pt")):
        restored.model = load(run.folder, checkpoint=path.name).model
        right = [(scores.argmax(1) == y).double().sum() for scores, y in restored.batches(restored.data.splits["test"])]
        accuracies.append(float(sum(right)) / len(restored.data.splits["test"]))
    return accuracies


def listed(accuracies: Sequence[float]) -> str:
    """Return accuracies as text."""
    return ", ".join(f"{100 * value:.2f} %" for value in accuracies)
