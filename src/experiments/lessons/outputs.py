"""Softmax: the probabilities that it computes from scores, and the boundaries between its classes."""

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
from experiments.figures.canvas import on_axes
from experiments.figures.palette import COLORS, INK
from experiments.folders.reading import Record
from experiments.losses import cross_entropy
from experiments.recipes.drawing import bars
from experiments.recipes.measured import Measured, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 6.0
"""The boundaries are searched for from -6 to 6 in both directions."""
LINES = 81
"""Lines of the grid, 0.15 apart."""
HALVINGS = 12
"""Of the distance between two lines: a point is then known to 4e-5."""
CERTAIN = 100.0
"""The factor of the scores with which softmax is nearly hardmax."""


def linear_boundaries(runs: Sequence[Record]) -> Measured:
    """Measure how far the boundaries between classes are from straight lines, in the worst run."""
    restored = [load(run.folder) for run in runs]
    changes = [boundaries(run) for run in restored]
    furthest = max(distance_from_line(points) for pairs in changes for points in pairs.values())
    values = {
        "largest distance of a boundary from a line": furthest,
        "test accuracy": fmean(best(run, "test/accuracy") for run in runs),
    }
    said = [f"No point of a boundary is further than {furthest:.1e} from its straight line"]

    @on_axes(5.5, 4.8)
    def draw(axes: Axes) -> None:
        grid = torch.linspace(-SIDE, SIDE, 240)
        points = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)
        answers = answer(restored[0], points.view(-1, 2)).view(len(grid), len(grid))
        count = len(restored[0].classes)
        axes.contourf(grid, grid, answers, levels=np.arange(count + 1) - 0.5, colors=list(COLORS[:count]), alpha=0.2)
        for boundary in changes[0].values():
            axes.plot(*boundary.T, ".", color=INK, markersize=2)
        data = restored[0].data.splits["test"]
        for label, name in enumerate(restored[0].classes):
            x = data.x[data.y == label]
            axes.plot(*x.T, "o", color=COLORS[label], markersize=2.5, label=f"class {name}")
        axes.set_xlim(-SIDE, SIDE)
        axes.set_ylim(-SIDE, SIDE)
        axes.set_aspect("equal")
        axes.set_xlabel("1st feature")
        axes.set_ylabel("2nd feature")
        axes.legend(loc="upper right")

    return Measured(values, draw, said)


def answer(run: Restored, x: Tensor) -> Tensor:
    """Return the class that a run predicts for each raw point, (points,).

    Args:
        run: the trained run.
        x: (points, 2).
    """
    return run.scores(x.float()).argmax(1)


def boundaries(run: Restored) -> dict[tuple[int, int], Array]:
    """Return the points where the answer changes from one class to another, (points, 2), by pair of classes.

    They are searched for between neighbouring points of a grid, by bisection.
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
        unchanged = (answer(run, middle) == one)[:, None]
        before = torch.where(unchanged, middle, before)
        after = torch.where(unchanged, after, middle)
    other = answer(run, after)  # there may be a third class in between
    by_pair = {
        pair: before[torch.isin(one, torch.tensor(pair)) & torch.isin(other, torch.tensor(pair))].numpy()
        for pair in combinations(range(len(run.classes)), 2)
    }
    return {pair: found for pair, found in by_pair.items() if len(found) > 2}


def distance_from_line(points: Array) -> float:
    """Return the largest distance of points from the straight line that fits them best.

    Args:
        points: (points, 2).
    """
    centred = points - points.mean(0)
    normal = np.linalg.svd(centred, full_matrices=False)[2][-1]
    return float(np.abs(centred @ normal).max())


def softmax_hardmax(scores: Sequence[float], base: float = math.e) -> Measured:
    """Measure the probabilities behind the package's cross-entropy, also for large scores, and its gradient.

    Args:
        scores: of the classes.
        base: of the powers in softmax.
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

    @on_axes(6.5, 3.6)
    def draw(axes: Axes) -> None:
        bars(axes, {name: p.tolist() for name, p in shown.items()}, [f"{score:g}" for score in scores])
        axes.set_xlabel("score of the class")
        axes.set_ylabel("probability")
        axes.legend()

    return Measured(values, draw, said)


def probabilities(z: Tensor) -> Tensor:
    """Return the probabilities behind the cross-entropy, (classes,): exp(-loss) of each class.

    Args:
        z: (classes,), the scores.
    """
    return torch.exp(-cross_entropy(z.expand(len(z), -1), torch.arange(len(z)), reduction="none"))


def gradient(z: Tensor, k: int) -> Tensor:
    """Return the gradient of the cross-entropy with respect to the scores if class k is right, (classes,).

    Args:
        z: (classes,), the scores.
        k: the right class.
    """
    z = z.clone().requires_grad_()
    (by_score,) = torch.autograd.grad(cross_entropy(z[None], torch.tensor([k])), [z])
    return by_score


def distance(first: Tensor, second: Tensor) -> float:
    """Return the largest difference between the elements of two tensors of the same shape."""
    return float((first - second).abs().max())


def log_of_zero(delta: float = 1e-7, double: bool = False) -> Measured:
    """Measure the loss of a certain and wrong answer: from a sigmoid's output, and from its score.

    Args:
        delta: the number that is added inside the logarithm.
        double: whether to compute in double precision instead of single.
    """
    z = torch.arange(0, 41, dtype=torch.float64 if double else torch.float32)
    a = z.sigmoid()
    naive, capped = -(1 - a).log(), -(1 - a + delta).log()
    from_score = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.zeros_like(z), reduction="none")
    rounded = (a == 1).nonzero().flatten()
    score = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-(1 - score.sigmoid() + delta).log().sum(), score)
    values = {
        "smallest score whose sigmoid is exactly 1": float(z[rounded[0]]) if len(rounded) else math.inf,
        "infinite losses from the output, of 41 scores": float(naive.isinf().sum()),
        "loss of the score 40, output plus 1e-7": float(capped[-1]),
        "gradient of the score 40, output plus 1e-7": float(gradient[-1].abs()),
        "loss of the score 40, from the score": float(from_score[-1]),
    }
    said = [
        f"In single precision the sigmoid of {values['smallest score whose sigmoid is exactly 1']:g} is exactly 1, so "
        "the logarithm of 1 - 1 is minus infinity; with 1e-7 inside, the loss stays finite, but its gradient is 0",
    ]

    @on_axes(6.5, 3.6)
    def draw(axes: Axes) -> None:
        curves = {"from the output": naive, f"from the output plus {delta:g}": capped, "from the score": from_score}
        for (name, own), color, dash in zip(curves.items(), COLORS, ("-", "--", ":"), strict=False):
            axes.plot(z.numpy(), own.numpy(), color=color, linestyle=dash, label=name)
        axes.set_xlabel("score of a class that is wrong")
        axes.set_ylabel("loss")
        axes.legend()

    return Measured(values, draw, said)
