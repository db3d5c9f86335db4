"""Several nets as one, and Dropout as very many."""

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
from experiments.figures.canvas import canvas
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.models.blocks import Dropout
from experiments.recipes.measured import Measured, lead, level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLIT = "test"


def together(runs: Sequence[Record], members: Annotated[int, Ge(2)] = 5) -> Measured:
    """How much more often the mean of several nets' outputs is right than they are on average.

    Args:
        runs: of different seeds; so many ensembles are made of them as there are members for.
        members: of an ensemble.
    """
    made = [ensemble(group) for group in zip(*[iter(runs)] * members, strict=False)]
    gains = [one["ensemble"]["accuracy"] - one["mean_accuracy"] for one in made]
    saved = [one["mean_loss"] - one["ensemble"]["loss"] for one in made]
    lowest = estimate(gains).low
    values = {
        "accuracy of a member": fmean(one["mean_accuracy"] for one in made),
        "gain of the ensemble": fmean(gains),
        "gain of the ensemble, at least": fmean(gains) if lowest is None else lowest,
        "loss saved": min(saved),
    }
    best = fmean(max(member["accuracy"] for member in one["members"]) for one in made)
    said = [
        f"A net is right in {values['accuracy of a member']:.1%} of the test examples, the best of {members} in "
        f"{best:.1%}, {members} together in {fmean(one['ensemble']['accuracy'] for one in made):.1%}"
    ]
    return Measured(values, lambda: members_figure(made), said)


def ensemble(runs: Sequence[Record]) -> Mapping[str, Any]:
    """Return what `evaluate ensemble=mean` writes of some runs."""
    out = runs[0].folder
    combine([run.folder for run in runs], SPLIT, out, "mean")
    found: Mapping[str, Any] = json.loads((out / "evaluation" / f"ensemble_{SPLIT}" / "evaluation.json").read_text())
    return found


def members_figure(made: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw every member and every ensemble."""
    figure = canvas(6.0, 3.6)
    axes = figure.subplots()
    one, other = styles(2)
    for place, found in enumerate(made, 1):
        alone = [100 * member["accuracy"] for member in found["members"]]
        axes.scatter([place] * len(alone), alone, color=one.color, alpha=0.6, label="a net" if place == 1 else None)
        axes.scatter(
            [place], [100 * found["mean_accuracy"]], marker="_", s=300, color=one.color,
            label="their mean" if place == 1 else None,
        )  # fmt: skip
        axes.scatter(
            [place], [100 * found["ensemble"]["accuracy"]], marker="D", s=60, color=other.color, edgecolors=INK,
            label="the ensemble" if place == 1 else None, zorder=3,
        )  # fmt: skip
    axes.set_xticks(range(1, len(made) + 1))
    axes.set_xlabel("ensemble")
    axes.set_ylabel("test accuracy (%)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def passes(runs: Sequence[Record], most: Annotated[int, Ge(2)] = 50) -> Measured:
    """Whether the mean of many forward passes with Dropout on agrees with one pass without it.

    Args:
        runs: of a model with Dropout, of different seeds.
        most: passes with Dropout on.
    """
    scaled: dict[str, float] = {}
    curves: dict[str, list[float]] = {}
    examples = 0
    for run in runs:
        shares, y, without = predicted(run, most)
        seed, examples = level(run, "seed"), len(y)
        scaled[seed] = right(without, y)
        counts = torch.arange(1, most + 1)[:, None, None]
        curves[seed] = [right(mean, y) for mean in shares.cumsum(0) / counts]
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
    """Return the probabilities of some passes with Dropout on, the right classes, and those of a pass without.

    Returns:
        (passes, examples, classes), (examples,) and (examples, classes).
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


def right(shares: Tensor, y: Tensor) -> float:
    """Return the accuracy of probabilities."""
    return float((shares.argmax(1) == y).double().mean())


def passes_figure(curves: Sequence[Sequence[float]], rule: float) -> Figure:
    """Draw the error over the number of passes, as figure 11 of the paper does."""
    figure = canvas(6.0, 3.6)
    axes = figure.subplots()
    one, other = styles(2)
    places = range(1, len(curves[0]) + 1)
    axes.plot(
        places,
        [100 * (1 - fmean(values)) for values in zip(*curves, strict=True)],
        color=one.color,
        label="mean of so many passes with Dropout on",
    )
    axes.axhline(100 * (1 - rule), color=other.color, linestyle=other.linestyle, label="one pass with scaled weights")
    axes.set_xlabel("passes")
    axes.set_ylabel("test error (%)")
    axes.set_xlim(left=1)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center")
    return figure
