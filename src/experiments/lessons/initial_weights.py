"""The initial weights and biases."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, by, last, lead, of_seeds, quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_OF_TEN = 1.53875
"""The mean of the largest of ten independent standard normal numbers (Teichroew 1956)."""
WEIGHTED_LAYERS = 3


def zero_biases(runs: Sequence[Record]) -> Measured:
    """Measure the share of equal hidden units with zero biases, and the difference in accuracy from random biases."""
    groups = by(runs, "init.bias")
    zero, random = groups["0.0"], groups["torch"]
    ours, theirs = (of_seeds(group, partial(last, metric="val/accuracy")) for group in (zero, random))
    low, high = lead(ours, theirs), -lead(theirs, ours)
    twins = [share for run in zero for layer, share in quantity(run, "twins").items() if layer != "head"]
    values = {
        "equal units, zero biases": fmean(twins),
        "accuracy, zero over random biases, least": low,
        "accuracy, zero over random biases, most": high,
    }
    said = [
        f"With zero biases the accuracy is {100 * low:.2f} to {100 * high:.2f} points higher than with random biases "
        "(95 % interval)"
    ]

    def draw() -> Figure:
        return curves_of({"zero biases": zero, "random biases": random}, "train/loss", "val/accuracy")

    return Measured(values, draw, said)


def large_weights(runs: Sequence[Record], large: int) -> Measured:
    """Measure the loss before and after training with He's weights, and with the same weights times a gain.

    Args:
        runs: with both gains.
        large: the gain.
    """
    groups = by(runs, "init.gain")
    named = {"He": groups["1"], f"{large} x He": groups[str(large)]}
    before = {name: fmean(quantity(run, "loss", 0)["model"] for run in group) for name, group in named.items()}
    after = {name: fmean(last(run, "train/loss") for run in group) for name, group in named.items()}
    theory = LARGEST_OF_TEN * math.sqrt(2) * large**WEIGHTED_LAYERS
    he, other = named
    values = {
        "loss before training over theory, large": before[other] / theory,
        "loss before training, He": before[he],
        "loss after training, large over He": after[other] / after[he],
    }
    said = [
        f"{name}: the loss is {before[name]:.3g} before training and {after[name]:.3g} in the last epoch, and the "
        f"validation accuracy is {100 * fmean(last(run, 'val/accuracy') for run in group):.1f} %"
        for name, group in named.items()
    ]

    def draw() -> Figure:
        return curves_of(named, "train/loss", "val/accuracy", log=True)

    return Measured(values, draw, said)


def shallow_and_deep(runs: Sequence[Record], first: str = "small_normal", second: str = "xavier") -> Measured:
    """Compare small initial weights with Xavier's, by the number of hidden layers.

    Args:
        runs: of both initializers, with networks of several depths and the same seeds.
        first, second: the initializers.
    """
    groups = {len(ast.literal_eval(hidden)): by(own, "init") for hidden, own in by(runs, "model.hidden").items()}
    accuracy = {
        depth: {name: fmean(last(run, "val/accuracy") for run in own) for name, own in kinds.items()}
        for depth, kinds in groups.items()
    }
    deepest = max(groups)
    values = {
        f"accuracy, small over Xavier's, hidden layers: {depth}": own[first] - own[second]
        for depth, own in accuracy.items()
    }
    values[f"accuracy, small, hidden layers: {deepest}"] = accuracy[deepest][first]
    said = [
        f"{depth} hidden: validation accuracy {own[first]:.1%} from small and {own[second]:.1%} from Xavier's weights"
        for depth, own in accuracy.items()
    ]
    named = {f"{depth} hidden, {name}": own for depth, kinds in groups.items() for name, own in kinds.items()}
    return Measured(values, lambda: curves_of(named, "train/loss", "val/accuracy"), said)
