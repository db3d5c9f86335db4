"""The split into training and validation examples, and a mistake in it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch

from experiments.checks import CHECKS, CheckResult, Subject
from experiments.evaluation.loading import load
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best, by
from experiments.training.criterion import Criterion

RIGHT = "right_slice"


def slices(runs: Sequence[Record], planted: str = "wrong_slice") -> Measured:
    """Measure how a network that trains on its validation examples looks, and whether the check of the examples fails.

    Args:
        runs: of the data sets `planted.right_slice` and `planted.wrong_slice`.
        planted: the data set with the mistake.
    """
    groups = {target.rpartition(".")[2]: own for target, own in by(runs, "data._target_").items()}
    right, wrong = groups[RIGHT], groups[planted]
    checked, correct = examples_check(wrong[0]), examples_check(right[0])
    flattery = {
        name: fmean(best(r, "val/accuracy") - best(r, "test/accuracy") for r in own) for name, own in groups.items()
    }
    values = {
        "check fails, wrong slice (1 for yes)": float(checked.verdict == "fail"),
        "check fails, right slice (1 for yes)": float(correct.verdict == "fail"),
        "validation examples that are training examples, wrong slice": checked.numbers["duplicates"]["val"],
        "validation less test accuracy, wrong slice": flattery[planted],
    }
    shown = {
        name: " and ".join(f"{fmean(best(run, f'{split}/accuracy') for run in own):.1%}" for split in ("val", "test"))
        for name, own in (("wrong", wrong), ("right", right))
    }
    said = [
        f"Validation and test accuracy are {shown['wrong']} with the wrong slice, {shown['right']} with the right one",
        f"python -m experiments.check only=examples finds: {checked.measured}",
    ]
    named = {"right slice": right, "wrong slice": wrong}
    return Measured(values, lambda: curves_of(named, "train/accuracy", "val/accuracy"), said)


def examples_check(run: Record) -> CheckResult:
    """Return the result of the check of the examples on a run's data."""
    restored = load(run.folder, trust=["experiments.lessons.planted"])
    subject = Subject(
        model=restored.model,
        splits=restored.data.splits,
        classes=restored.classes,
        criterion=Criterion(),
        optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
        rate=0.1,
        batch_size=32,
    )
    return CHECKS["examples"](subject)
