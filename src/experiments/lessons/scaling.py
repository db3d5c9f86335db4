"""The scale of the inputs: gradient descent on bowls, and inputs of another style."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from experiments.common.arrays import Array
from experiments.data.preprocess import PREPROCESSES
from experiments.evaluation.loading import Restored, load
from experiments.figures.canvas import canvas, logarithmic
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.recipes.measured import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SCALES = (3, 10, 30, 100)
"""Of the second feature; the first has 1."""
SHOWN = 5
EXAMPLES = 1000
EXCESS = 1e-6
"""Of the loss over its minimum, by what it is at first."""
WEIGHTS = np.array([1.0, 1.0])
"""By which the target depends on each feature, in units of its scale."""


def feature_scaling(preprocess: str = "standardize") -> Measured:
    """Steps of gradient descent until a linear model's excess loss is a millionth, with the best constant rate.

    Args:
        preprocess: what takes the part of standardizing.
    """
    raw = [hessian(features(scale)) for scale in SCALES]
    steps = [len(descent(bowl)) - 1 for bowl in raw]
    conditions = [condition(bowl) for bowl in raw]
    theory = [math.log(EXCESS) / (2 * math.log((k - 1) / (k + 1))) for k in conditions]
    prepared = [hessian(prepare(features(scale), preprocess)) for scale in SCALES]
    after = [len(descent(bowl)) - 1 for bowl in prepared]
    ratios = [found / expected for found, expected in zip(steps, theory, strict=True)]
    values = {
        "steps over theory, least": min(ratios),
        "steps over theory, most": max(ratios),
        "growth of the steps with the condition number, exponent": slope(conditions, steps),
        "steps, standardized, scales of 1 to 100": float(after[-1]),
    }
    said = [f"With scales of 1 to {SCALES[-1]} it takes {steps[-1]:,} steps, standardized {after[-1]:,}"]

    def draw() -> Figure:
        figure = canvas(12, 3.8)
        first, second, third = figure.subplots(1, 3)
        x = features(SHOWN)
        for axes, name, inputs in (
            (first, f"scales of 1 and {SHOWN}", x),
            (second, "standardized", prepare(x, preprocess)),
        ):
            draw_descent(axes, hessian(inputs))
            axes.set_title(name)
        sizes = np.geomspace(2, 2 * conditions[-1])
        third.plot(
            sizes, math.log(EXCESS) / (2 * np.log((sizes - 1) / (sizes + 1))), color=INK, linewidth=0.8, label="theory"
        )
        looks = styles(2)
        third.plot(conditions, steps, "o", color=looks[0].color, label="not standardized")
        third.plot(conditions, after, "s", color=looks[1].color, label="standardized")
        logarithmic(third.xaxis)
        logarithmic(third.yaxis)
        third.set_xlabel("condition number, not standardized")
        third.set_ylabel("steps to a millionth of the loss")
        third.legend()
        return figure

    return Measured(values, draw, said)


def features(scale: float) -> Tensor:
    """Return examples of two independent normal features, of scales 1 and another, (examples, 2)."""
    drawn = torch.randn(EXAMPLES, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn * torch.tensor([1.0, scale])


def prepare(x: Tensor, name: str) -> Tensor:
    """Return inputs prepared as `data.preprocess` prepares them."""
    return PREPROCESSES[name](x)(x)


def hessian(x: Tensor) -> Array:
    """Return the second derivatives of half the mean squared error of a linear model without bias, (2, 2)."""
    x = x.double()
    return (x.T @ x / len(x)).numpy()


def condition(bowl: Array) -> float:
    """Return the largest curvature by the smallest."""
    low, high = np.linalg.eigvalsh(bowl)
    return float(high / low)


def descent(bowl: Array) -> Array:
    """Return the weights' distances from the minimum before and after each step, (steps + 1, 2).

    The target is the sum of the features, each by its scale; the weights begin at 0. The rate is the best of all
    constant ones, 2 by the sum of the largest and smallest curvature.
    """
    rate = 2 / np.linalg.eigvalsh(bowl).sum()
    distance = -WEIGHTS / np.sqrt(np.diag(bowl))
    update = np.eye(2) - rate * bowl
    path, target = [distance], EXCESS * excess(bowl, distance)
    while excess(bowl, path[-1]) > target:
        path.append(update @ path[-1])
    return np.array(path)


def excess(bowl: Array, distance: Array) -> float:
    """Return by how much the loss is above its minimum."""
    return float(distance @ bowl @ distance) / 2


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the exponent of the power of x by which y grows."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw_descent(axes: Axes, bowl: Array) -> None:
    """Draw the contours of the loss and the path of gradient descent over them."""
    path = descent(bowl)
    size = 1.3 * float(np.abs(path).max())
    grid = np.linspace(-size, size, 200)
    places = np.stack(np.meshgrid(grid, grid), -1)
    heights = np.einsum("...i,ij,...j->...", places, bowl, places) / 2
    levels = excess(bowl, path[0]) * np.array([0.01, 0.1, 0.3, 1, 3, 10])
    axes.contour(grid, grid, heights, levels=levels, colors=INK, linewidths=0.6, alpha=0.5)
    axes.plot(*path.T, "o-", color=styles(1)[0].color, markersize=3, linewidth=1, label=f"{len(path) - 1} steps")
    axes.plot(0, 0, "+", color=INK, markersize=10)
    axes.set_xlabel("1st weight, from the best")
    axes.set_ylabel("2nd weight, from the best")
    axes.set_aspect("equal")
    axes.legend(loc="upper right")


def bright(x: Tensor) -> Tensor:
    """Return pictures of 0 to 16 with a quarter of the contrast, at the bright end."""
    return x / 4 + 12


def inverted(x: Tensor) -> Tensor:
    """Return pictures of 0 to 16 with black and white exchanged."""
    return 16 - x


def moved(x: Tensor) -> Tensor:
    """Return pictures moved 2 pixels to the right; what leaves comes in at the left."""
    return x.roll(2, -1)


STYLES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "bright and faint": bright,
    "inverted": inverted,
    "moved by 2 pixels": moved,
}


def covariate_shift(runs: Sequence[Record]) -> Measured:
    """Accuracy lost on test digits of other styles, prepared as the run prepares and standardized by themselves."""
    restored = [load(run.folder) for run in runs]
    plain = fmean(right(run, *raw(run, "test")) for run in restored)
    values, drawn = {"accuracy, as trained": plain}, {"as trained": (plain, plain)}
    for name, style in STYLES.items():
        same = fmean(styled(run, style, own=False) for run in restored)
        own = fmean(styled(run, style, own=True) for run in restored)
        values[f"lost, {name}"] = plain - same
        values[f"lost, {name}, standardized by itself"] = plain - own
        drawn[name] = same, own
    example = raw(restored[0], "test")[0][:1].float()

    def draw() -> Figure:
        figure = canvas(8, 4)
        grid = figure.add_gridspec(2, len(drawn), height_ratios=(1, 3))
        shown = {"as trained": example, **{name: style(example) for name, style in STYLES.items()}}
        for place, picture in enumerate(shown.values()):
            axes = figure.add_subplot(grid[0, place])
            axes.imshow(picture[0, 0].numpy(), cmap="gray", vmin=0, vmax=16)
            axes.set_axis_off()
        axes = figure.add_subplot(grid[1, :])
        for side, (name, look) in enumerate(
            zip(("prepared as in training", "each style standardized by itself"), styles(2), strict=True)
        ):
            heights = [100 * found[side] for found in drawn.values()]
            axes.bar(np.arange(len(drawn)) + 0.4 * side - 0.2, heights, 0.36, color=look.color, label=name)
        axes.axhline(10, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(drawn)), list(drawn))
        axes.set_ylabel("test accuracy (%; dotted: chance)")
        axes.legend(loc="upper right")
        return figure

    return Measured(values, draw)


def raw(run: Restored, split: str) -> tuple[Tensor, Tensor]:
    """Return a split's examples as they came, and their classes."""
    held = run.data.splits[split]
    return held.x if held.rows is None else held.x[held.rows], held.y


def right(run: Restored, x: Tensor, y: Tensor) -> float:
    """Return the share of raw examples that a run classifies rightly."""
    return float((run.scores(x).argmax(1) == y).double().mean())


def styled(run: Restored, style: Callable[[Tensor], Tensor], *, own: bool) -> float:
    """Return a run's accuracy on test examples of another style.

    Args:
        run: the trained one.
        style: changes raw examples.
        own: whether they are standardized by the mean and spread of the style's training examples, whose classes are
            not needed, and not by those that the run was trained with.
    """
    x, y = raw(run, "test")
    x = style(x.float())
    if not own:
        return right(run, x, y)
    prepared = PREPROCESSES["standardize"](style(raw(run, "train")[0].float()))(x)
    with torch.no_grad():
        return float((run.model(prepared).argmax(1) == y).double().mean())
