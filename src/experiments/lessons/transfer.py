"""Transfer: training that starts from trained weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best, by, curve, lead, of_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCRATCH = "None"
CLASSES = 5
"""The new classes: the loss of a guess is the logarithm of their number."""


def head_start(runs: Sequence[Record]) -> Measured:
    """Measure the lead of runs that start from trained weights over runs from scratch, paired by seed."""
    groups = by(runs, "init_from.path")
    scratch = groups.pop(SCRATCH)
    (tuned,) = groups.values()
    named = {"fine-tuned": tuned, "from scratch": scratch}
    accuracy = {name: of_seeds(group, lambda run: best(run, "test/accuracy")) for name, group in named.items()}
    pace = {name: of_seeds(group, lambda run: fmean(curve(run, "val/accuracy"))) for name, group in named.items()}
    losses = [curve(run, "val/loss") for run in tuned]
    values = {
        "test accuracy, least lead": lead(accuracy["fine-tuned"], accuracy["from scratch"]),
        "mean validation accuracy over the epochs, least lead": lead(pace["fine-tuned"], pace["from scratch"]),
        "share of the loss's fall in the first 3 of 10 epochs, fine-tuned": fmean(map(early, losses)),
        "share of the loss's fall in the last 3 of 10 epochs, fine-tuned": fmean(map(late, losses)),
    }

    def draw() -> Figure:
        return curves_of(named, "val/loss", "val/accuracy")

    tuned_mean, scratch_mean = (fmean(accuracy[name].values()) for name in named)
    said = [f"Test accuracy is {tuned_mean:.1%} after fine-tuning and {scratch_mean:.1%} from scratch"]
    return Measured(values, draw, said)


def early(losses: Sequence[float]) -> float:
    """Return the share of the fall from a guess's loss to the lowest one that the first three tenths of a run take."""
    return (math.log(CLASSES) - losses[3 * len(losses) // 10 - 1]) / (math.log(CLASSES) - min(losses))


def late(losses: Sequence[float]) -> float:
    """Return the share of the same fall that the last three tenths take; it is negative if the loss rises."""
    return (losses[7 * len(losses) // 10 - 1] - losses[-1]) / (math.log(CLASSES) - min(losses))
