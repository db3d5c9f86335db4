"""Ensembles of networks, and Dropout as an ensemble of very many."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from experiments.comparison.statistics import estimate
from experiments.evaluation.ensembles import combine
from experiments.evaluation.loading import load
from experiments.evaluation.settings import RestoreSettings
from experiments.figures.canvas import canvas
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.models.blocks import Dropout
from experiments.recipes.measured import Measured, lead, level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLIT = "test"


def together(runs: Sequence[Record], members: Annotated[int, Ge(2)] = 5) -> Measured:
    """Measure how much more accurate ensembles are than their members on average.

    Args:
        runs: of different seeds; as many ensembles are built as there are members for.
        members: of an ensemble.
    """
    ensembles = [ensemble(group) for group in zip(*[iter(runs)] * members, strict=False)]
    gains = [one["ensemble"]["accuracy"] - one["mean_accuracy"] for one in ensembles]
    saved = [one["mean_loss"] - one["ensemble"]["loss"] for one in ensembles]
    lowest = estimate(gains).low
    values = {
        "accuracy of a member": fmean(one["mean_accuracy"] for one in ensembles),
        "gain of the ensemble": fmean(gains),
        "gain of the ensemble, at least": fmean(gains) if lowest is None else lowest,
        "loss saved": min(saved),
    }
    best = fmean(max(member["accuracy"] for member in one["members"]) for one in ensembles)
    said = [
        f"One network has a mean test accuracy of {values['accuracy of a member']:.1%}, the best of {members} "
        f"{best:.1%}, and the ensemble of {members} {fmean(one['ensemble']['accuracy'] for one in ensembles):.1%}"
    ]
    return Measured(values, lambda: members_figure(ensembles), said)


def ensemble(runs: Sequence[Record]) -> Mapping[str, Any]:
    """Return the evaluation of runs that `evaluate ensemble=mean` writes."""
    out = runs[0].folder
    combine([run.folder for run in runs], SPLIT, out, "mean", RestoreSettings())
    written: Mapping[str, Any] = json.loads((out / "evaluation" / f"ensemble_{SPLIT}" / "evaluation.json").read_text())
    return written


def members_figure(ensembles: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the accuracy of every member and every ensemble."""
    figure = canvas(6.0, 3.6)
    axes = figure.subplots()
    one, other = styles(2)
    for number, result in enumerate(ensembles, 1):
        accuracies = [100 * member["accuracy"] for member in result["members"]]
        labels = ("one network", "mean of the networks", "ensemble") if number == 1 else (None, None, None)
        axes.scatter([number] * len(accuracies), accuracies, color=one.color, alpha=0.6, label=labels[0])
        axes.scatter([number], [100 * result["mean_accuracy"]], marker="_", s=300, color=one.color, label=labels[1])
        axes.scatter(
            [number], [100 * result["ensemble"]["accuracy"]], marker="D", s=60, color=other.color, edgecolors=INK,
            label=labels[2], zorder=3,
        )  # fmt: skip
    axes.set_xticks(range(1, len(ensembles) + 1))
    axes.set_xlabel("ensemble")
    axes.set_ylabel("test accuracy (%)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def passes(runs: Sequence[Record], most: Annotated[int, Ge(2)] = 50) -> Measured:
    """Compare the mean of many forward passes with Dropout on with one pass with Dropout off.

    Args:
        runs: of a model with Dropout, with different seeds.
        most: how many passes with Dropout on.
    """
    scaled: dict[str, float] = {}
    curves: dict[str, list[float]] = {}
    examples = 0
    for run in runs:
        probabilities, y, without = predicted(run, most)
        seed, examples = level(run, "seed"), len(y)
        scaled[seed] = accuracy(without, y)
        counts = torch.arange(1, most + 1)[:, None, None]
        curves[seed] = [accuracy(mean, y) for mean in probabilities.cumsum(0) / counts]
    one, many, rule = ([c[0] for c in curves.values()], [c[-1] for c in curves.values()], fmean(scaled.values()))
    error = math.sqrt(rule * (1 - rule) / examples)
    values = {
        "accuracy, scaled weights": rule,
        "accuracy, one pass": fmean(one),
        f"accuracy, {most} passes": fmean(many),
        "many passes from scaled weights (standard errors)": abs(fmean(many) - rule) / error,
        "gain of many passes over one, at least": lead(
            {seed: c[-1] for seed, c in curves.items()}, {seed: c[0] for seed, c in curves.items()}
        ),
    }
    said = [
        f"One pass with Dropout on is right in {fmean(one):.1%} of the test examples, the mean of {most} in "
        f"{fmean(many):.1%}, one pass with scaled weights in {rule:.1%}"
    ]
    return Measured(values, lambda: passes_figure(list(curves.values()), rule), said)


@torch.no_grad()
def predicted(run: Record, passes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a run's probabilities with Dropout on, the right classes, and its probabilities with Dropout off.

    Returns:
        Tensors of shapes (passes, examples, classes), (examples,) and (examples, classes).
    """
    restored = load(run.folder)
    model, split = restored.model, restored.data.splits[SPLIT]
    x, y = split.first(len(split))
    with restored.surroundings():
        without = model(x).softmax(1)
        for module in model.modules():
            if isinstance(module, Dropout):
                module.train()
        return torch.stack([model(x).softmax(1) for _ in range(passes)]), y, without


def accuracy(probabilities: Tensor, y: Tensor) -> float:
    """Return the accuracy of probabilities.

    Args:
        probabilities: (examples, classes).
        y: (examples,), class numbers.
    """
    return float((probabilities.argmax(1) == y).double().mean())


def passes_figure(curves: Sequence[Sequence[float]], rule: float) -> Figure:
    """Draw the error over the number of passes, as in figure 11 of the paper."""
    figure = canvas(6.0, 3.6)
    axes = figure.subplots()
    one, other = styles(2)
    axes.plot(
        range(1, len(curves[0]) + 1),
        [100 * (1 - fmean(values)) for values in zip(*curves, strict=True)],
        color=one.color,
        label="mean of the passes with Dropout on",
    )
    axes.axhline(100 * (1 - rule), color=other.color, linestyle=other.linestyle, label="one pass with scaled weights")
    axes.set_xlabel("passes")
    axes.set_ylabel("test error (%)")
    axes.set_xlim(left=1)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center")
    return figure
