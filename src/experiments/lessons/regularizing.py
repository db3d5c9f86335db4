"""Regularization against memorized training examples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import fmean

from experiments.comparison.statistics import estimate
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best, level

ORDER = ("standard", "dropout", "dropout with max-norm")


def in_order(runs: Sequence[Record]) -> Measured:
    """Measure by how much dropout lowers the test error, and max-norm in addition, over the same seeds."""
    groups = {name: [run for run in runs if kind(run) == name] for name in ORDER}
    errors = {name: {run.config["seed"]: test_error(run) for run in own} for name, own in groups.items()}
    values = {}
    for one, other in itertools.pairwise(ORDER):
        gap = estimate([errors[one][seed] - errors[other][seed] for seed in errors[one]])
        values[f"points of test error, {one} over {other}"] = gap.mean
        values[f"points of test error, {one} over {other}, lower bound"] = math.nan if gap.low is None else gap.low
    said = [f"Test error: {', '.join(f'{name} {fmean(own.values()):.2f} %' for name, own in errors.items())}"]
    return Measured(values, lambda: curves_of(groups, "train/loss", "val/accuracy", log=True), said)


def test_error(run: Record) -> float:
    """Return the test error in per cent."""
    return 100 - 100 * best(run, "test/accuracy")


def kind(run: Record) -> str:
    """Return which of the three kinds a run is."""
    if float(level(run, "model.dropout")) == 0:
        return "standard"
    return "dropout" if level(run, "penalty") == "none" else "dropout with max-norm"
