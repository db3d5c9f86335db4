"""Overfitting: the gap between training and test accuracy, and remedies that narrow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.evaluation.evaluating import evaluated
from experiments.evaluation.loading import load
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, lead, level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NONE = "none"


def closing(runs: Sequence[Record], remedies: Mapping[str, str]) -> Measured:
    """Measure by how much each remedy narrows the gap between training and test accuracy, both without Dropout.

    Args:
        runs: each with one remedy or none, with the same seeds.
        remedies: by name, the setting that is not 0 in a run with the remedy.
    """
    groups: dict[str, list[Record]] = {name: [] for name in (NONE, *remedies)}
    for run in runs:
        groups[next((name for name, key in remedies.items() if float(level(run, key)) > 0), NONE)].append(run)
    by_seed = {name: {level(run, "seed"): accuracies(run) for run in group} for name, group in groups.items()}
    training = {name: fmean(train for train, _ in pairs.values()) for name, pairs in by_seed.items()}
    test = {name: fmean(test for _, test in pairs.values()) for name, pairs in by_seed.items()}
    gaps = {name: {seed: train - test for seed, (train, test) in pairs.items()} for name, pairs in by_seed.items()}
    values = {"training accuracy, none": training[NONE]}
    values |= {f"gap, {name}": training[name] - test[name] for name in groups}
    values |= {f"gap closed at least, {name}": lead(gaps[NONE], gaps[name]) for name in remedies}

    def draw() -> Figure:
        return curves_of(groups, "train/accuracy", "val/accuracy")

    said = [
        f"{name.capitalize()}: training accuracy {training[name]:.1%}, test accuracy {test[name]:.1%}"
        for name in groups
    ]
    return Measured(values, draw, said)


def accuracies(run: Record) -> tuple[float, float]:
    """Return the final accuracies on the training and the test split, without Dropout."""
    restored = load(run.folder, checkpoint="last.pt")
    train, test = (evaluated(restored, split)[0].accuracy for split in ("train", "test"))
    return train, test
