"""What softmax makes of scores, and where it draws the line between classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from experiments.common.arrays import Array
from experiments.evaluation.loading import Restored, load
from experiments.figures.canvas import canvas
from experiments.figures.palette import COLORS, INK, styles
from experiments.folders.reading import Record
from experiments.losses import cross_entropy
from experiments.recipes.measured import Measured, best

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SIDE = 6.0
"""Of the plane's part that is looked at: from minus this to this, in both directions."""
LINES = 81
HALVINGS = 12
"""Of a grid's mesh, 0.15: the place is then known to 4e-5."""
CERTAIN = 100.0


def linear_boundaries(runs: Sequence[Record]) -> Measured:
    """How far from a straight line the places lie where a run's answer changes from one class to another: the worst."""
    restored = [load(run.folder) for run in runs]
    changes = [boundaries(run) for run in restored]
    furthest = max(off_line(places) for found in changes for places in found.values())
    values = {
        "largest distance of a boundary from a line": furthest,
        "test accuracy": fmean(best(run, "test/accuracy") for run in runs),
    }
    said = [f"No place where the answer changes is further than {furthest:.1e} from its line"]

    def draw() -> Figure:
        figure = canvas(5.5, 4.8)
        axes = figure.subplots()
        grid = torch.linspace(-SIDE, SIDE, 240)
        points = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
        answers = answer(restored[0], points.view(-1, 2)).view(len(grid), len(grid))
        count = len(restored[0].classes)
        axes.contourf(grid, grid, answers, levels=np.arange(count + 1) - 0.5, colors=list(COLORS[:count]), alpha=0.2)
        for places in changes[0].values():
            axes.plot(*places.T, ".", color=INK, markersize=2)
        data = restored[0].data.splits["test"]
        for number, name in enumerate(restored[0].classes):
            x = data.x[data.y == number]
            axes.plot(*x.T, "o", color=COLORS[number], markersize=2.5, label=f"class {name}")
        axes.set_xlim(-SIDE, SIDE)
        axes.set_ylim(-SIDE, SIDE)
        axes.set_aspect("equal")
        axes.set_xlabel("1st feature")
        axes.set_ylabel("2nd feature")
        axes.legend(loc="upper right")
        return figure

    return Measured(values, draw, said)


def answer(run: Restored, x: Tensor) -> Tensor:
    """Return the class that a run gives each raw point, (points,)."""
    return run.scores(x.float()).argmax(1)


def boundaries(run: Restored) -> dict[tuple[int, int], Array]:
    """Return by pair of classes the places where the answer changes from one to the other, (places, 2).

    They are looked for between neighbours on the lines of a grid, by halving.
    """
    grid = torch.linspace(-SIDE, SIDE, LINES, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1)
    before = torch.cat([points[:-1].reshape(-1, 2), points[:, :-1].reshape(-1, 2)])
    after = torch.cat([points[1:].reshape(-1, 2), points[:, 1:].reshape(-1, 2)])
    one, other = answer(run, before), answer(run, after)
    changing = one != other
    before, after, one, other = before[changing], after[changing], one[changing], other[changing]
    for _ in range(HALVINGS):
        middle = (before + after) / 2
        found = answer(run, middle)
        before = torch.where((found == one)[:, None], middle, before)
        after = torch.where((found == one)[:, None], after, middle)
    other = answer(run, after)  # a third class may lie in between
    places = {
        pair: before[torch.isin(one, torch.tensor(pair)) & torch.isin(other, torch.tensor(pair))].numpy()
        for pair in combinations(range(len(run.classes)), 2)
    }
    return {pair: own for pair, own in places.items() if len(own) > 2}


def off_line(places: Array) -> float:
    """Return the largest distance of some places from the straight line that fits them best."""
    centred = places - places.mean(0)
    normal = np.linalg.svd(centred, full_matrices=False)[2][-1]
    return float(np.abs(centred @ normal).max())


def softmax_hardmax(scores: Sequence[float], base: float = math.e) -> Measured:
    """The probabilities behind the package's cross-entropy, what they become of large scores, and the gradient.

    Args:
        scores: of the classes.
        base: of the powers that softmax is made of.
    """
    z = torch.tensor(scores, dtype=torch.float64) * math.log(base)
    soft, hard = probabilities(z), torch.nn.functional.one_hot(z.argmax(), len(z)).double()
    values = {f"softmax, {name}": float(p) for name, p in zip(("1st", "2nd", "3rd", "4th"), soft, strict=False)}
    values["softmax of 100 times the scores, distance from hardmax"] = distance(probabilities(CERTAIN * z), hard)
    values["gradient, distance from probabilities minus one-hot"] = max(
        distance(gradient(z, k), soft - torch.nn.functional.one_hot(torch.tensor(k), len(z))) for k in range(len(z))
    )
    shown = {
        "half the scores": probabilities(z / 2),
        "softmax": soft,
        "twice the scores": probabilities(2 * z),
        "hardmax": hard,
    }
    said = [f"Softmax gives {', '.join(f'{p:.3f}' for p in soft.tolist())}"]

    def draw() -> Figure:
        figure = canvas(6.5, 3.6)
        axes = figure.subplots()
        width = 0.8 / len(shown)
        for place, ((name, p), look) in enumerate(zip(shown.items(), styles(len(shown)), strict=True)):
            axes.bar(np.arange(len(z)) + (place - 1.5) * width, p.numpy(), 0.9 * width, color=look.color, label=name)
        axes.set_xticks(range(len(z)), [f"{score:g}" for score in scores])
        axes.set_xlabel("score of the class")
        axes.set_ylabel("probability")
        axes.legend()
        return figure

    return Measured(values, draw, said)


def probabilities(z: Tensor) -> Tensor:
    """Return what the cross-entropy takes some scores for, (classes,): exp of minus the loss of each class."""
    return torch.exp(-cross_entropy(z.expand(len(z), -1), torch.arange(len(z)), reduction="none"))


def gradient(z: Tensor, k: int) -> Tensor:
    """Return the cross-entropy's gradient at the scores where class k is right, (classes,)."""
    z = z.clone().requires_grad_()
    (found,) = torch.autograd.grad(cross_entropy(z[None], torch.tensor([k])), [z])
    return found


def distance(first: Tensor, second: Tensor) -> float:
    """Return the largest difference of two tensors' elements."""
    return float((first - second).abs().max())
