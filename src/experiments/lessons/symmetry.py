"""Symmetry between the units of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from experiments.evaluation.loading import load
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
    linear = fmean(map(linear_accuracy, groups.get("zeros", [])))
    values["accuracy, zeros over a linear classifier"] = accuracy.get("zeros", 0) - linear
    shown = ", ".join(f"{value:.1%} with init={name}" for name, value in accuracy.items())
    return Measured(values, draw, [f"The validation accuracy is {shown}, and {linear:.1%} with a linear classifier"])


def linear_accuracy(run: Record) -> float:
    """Return the validation accuracy of a linear classifier that is fitted to a run's training examples."""
    splits = load(run.folder).data.splits
    (x, y), (new, answers) = (split.first(len(split)) for split in (splits["train"], splits["val"]))
    x, new = (torch.nn.functional.pad(part.flatten(1).double(), (0, 1), value=1.0) for part in (x, new))
    ridge = torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ torch.nn.functional.one_hot(y).double())
    return float(((new @ weights).argmax(1) == answers).double().mean())
