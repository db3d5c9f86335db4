"""Overfitting: the gap between the training and the test accuracy, and what closes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.comparison.reading import Record
from experiments.evaluation.evaluating import evaluated
from experiments.evaluation.loading import loaded
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best, lead, level
from experiments.screen import Screen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NONE = "none"


def closing(runs: Sequence[Record], remedies: Mapping[str, str]) -> Measured:
    """By how much each remedy narrows the gap between training and test accuracy, both without Dropout.

    Args:
        runs: each with one remedy or none, with the same seeds.
        remedies: by what the figure calls them, the setting that is not 0 in a run with it.
    """
    groups: dict[str, list[Record]] = {name: [] for name in (NONE, *remedies)}
    for run in runs:
        groups[next((name for name, key in remedies.items() if float(level(run, key)) > 0), NONE)].append(run)
    training = {name: {level(run, "seed"): fitted(run) for run in group} for name, group in groups.items()}
    gaps = {
        name: {level(run, "seed"): training[name][level(run, "seed")] - best(run, "test/accuracy") for run in group}
        for name, group in groups.items()
    }
    values = {"training accuracy, none": fmean(training[NONE].values())}
    values |= {f"gap, {name}": fmean(found.values()) for name, found in gaps.items()}
    values |= {f"gap closed at least, {name}": lead(gaps[NONE], gaps[name]) for name in remedies}

    def draw() -> Figure:
        return curves_of(groups, "train/accuracy", "val/accuracy")

    said = [
        f"{name.capitalize()}: training accuracy {fmean(training[name].values()):.1%}, test accuracy "
        f"{fmean(best(run, 'test/accuracy') for run in group):.1%}"
        for name, group in groups.items()
    ]
    return Measured(values, draw, said)


def fitted(run: Record) -> float:
    """Return the accuracy on the training split of the weights whose test accuracy is known, without Dropout."""
    return evaluated(loaded(run.folder, Screen(quiet=True)), "train")[0].accuracy
