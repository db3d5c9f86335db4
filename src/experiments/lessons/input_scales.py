"""The scale of the inputs: gradient descent on quadratic bowls, and inputs of another style."""

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
from experiments.recipes.drawing import bars
from experiments.recipes.measured import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES = (3, 10, 30, 100)
"""Of the second feature; the first has 1."""
SHOWN = 5
"""The scale of the second feature in the figure."""
EXAMPLES = 1000
EXCESS = 1e-6
"""The excess loss at which descent ends, as a share of the first one; it is the loss minus its minimum."""
WEIGHTS = np.array([1.0, 1.0])
"""Of the target: how much it depends on each feature, in units of the feature's scale."""


def feature_scaling(preprocess: str = "standardize") -> Measured:
    """Measure the steps of gradient descent until the excess loss is a millionth, with the best constant rate.

    Args:
        preprocess: used instead of standardizing.
    """
    raw = [hessian(features(scale)) for scale in SCALES]
    steps = [len(descent(bowl)) - 1 for bowl in raw]
    conditions = [condition(bowl) for bowl in raw]
    theory = [math.log(EXCESS) / (2 * math.log((k - 1) / (k + 1))) for k in conditions]
    prepared = [hessian(prepare(features(scale), preprocess)) for scale in SCALES]
    after = [len(descent(bowl)) - 1 for bowl in prepared]
    ratios = [measured / expected for measured, expected in zip(steps, theory, strict=True)]
    values = {
        "steps over theory, least": min(ratios),
        "steps over theory, most": max(ratios),
        "growth of the steps with the condition number, exponent": slope(conditions, steps),
        "steps, standardized, scales of 1 to 100": float(after[-1]),
    }
    said = [f"Scales of 1 to {SCALES[-1]} take {steps[-1]:,} steps, standardized features take {after[-1]:,}"]

    return Measured(values, lambda: scaling_figure(conditions, steps, after, preprocess), said)


def scaling_figure(conditions: Sequence[float], steps: Sequence[int], after: Sequence[int], preprocess: str) -> Figure:
    """Draw gradient descent on one elongated and one round bowl, and the steps over the condition number.

    Args:
        conditions: condition numbers before preparation.
        steps, after: that descent takes before and after preparation.
        preprocess: the preparation.
    """
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
    expected = math.log(EXCESS) / (2 * np.log((sizes - 1) / (sizes + 1)))
    third.plot(sizes, expected, color=INK, linewidth=0.8, label="theory")
    looks = styles(2)
    third.plot(conditions, steps, "o", color=looks[0].color, label="not standardized")
    third.plot(conditions, after, "s", color=looks[1].color, label="standardized")
    logarithmic(third.xaxis)
    logarithmic(third.yaxis)
    third.set_xlabel("condition number, not standardized")
    third.set_ylabel("steps to a millionth of the excess loss")
    third.legend()
    return figure


def features(scale: float) -> Tensor:
    """Return examples of two independent normal features with scales 1 and `scale`, (examples, 2)."""
    drawn = torch.randn(EXAMPLES, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn * torch.tensor([1.0, scale])


def prepare(x: Tensor, name: str) -> Tensor:
    """Return inputs after a preparation of `data.preprocess`.

    Args:
        x: (examples, features).
        name: of the preparation.
    """
    return PREPROCESSES[name](x)(x)


def hessian(x: Tensor) -> Array:
    """Return the second derivatives of half the mean squared error of a linear model without bias, (2, 2)."""
    x = x.double()
    return (x.T @ x / len(x)).numpy()


def condition(bowl: Array) -> float:
    """Return the largest curvature divided by the smallest.

    Args:
        bowl: (2, 2), see `hessian`.
    """
    low, high = np.linalg.eigvalsh(bowl)
    return float(high / low)


def descent(bowl: Array) -> Array:
    """Return the weights' distances from the minimum before and after each step, (steps + 1, 2).

    The target is the sum of the features, each divided by its scale; the weights start at 0. The rate is the best
    constant rate: 2 divided by the sum of the largest and the smallest curvature.

    Args:
        bowl: (2, 2), see `hessian`.
    """
    rate = 2 / np.linalg.eigvalsh(bowl).sum()
    distance = -WEIGHTS / np.sqrt(np.diag(bowl))
    update = np.eye(2) - rate * bowl
    path, target = [distance], EXCESS * excess(bowl, distance)
    while excess(bowl, path[-1]) > target:
        path.append(update @ path[-1])
    return np.array(path)


def excess(bowl: Array, distance: Array) -> float:
    """Return the loss minus its minimum.

    Args:
        bowl: (2, 2), see `hessian`.
        distance: (2,), of the weights from the minimum.
    """
    return float(distance @ bowl @ distance) / 2


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the exponent with which y grows as a power of x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw_descent(axes: Axes, bowl: Array) -> None:
    """Draw the contours of the loss and the path of gradient descent over them.

    Args:
        axes: to draw on.
        bowl: (2, 2), see `hessian`.
    """
    path = descent(bowl)
    size = 1.3 * float(np.abs(path).max())
    grid = np.linspace(-size, size, 200)
    points = np.stack(np.meshgrid(grid, grid), -1)
    heights = np.einsum("...i,ij,...j->...", points, bowl, points) / 2
    levels = excess(bowl, path[0]) * np.array([0.01, 0.1, 0.3, 1, 3, 10])
    axes.contour(grid, grid, heights, levels=levels, colors=INK, linewidths=0.6, alpha=0.5)
    axes.plot(*path.T, "o-", color=styles(1)[0].color, markersize=3, linewidth=1, label=f"{len(path) - 1} steps")
    axes.plot(0, 0, "+", color=INK, markersize=10)
    axes.set_xlabel("1st weight minus the best")
    axes.set_ylabel("2nd weight minus the best")
    axes.set_aspect("equal")
    axes.legend(loc="upper right")


def bright(x: Tensor) -> Tensor:
    """Return pictures of any shape, with values from 0 to 16, brightened, with a quarter of the contrast."""
    return x / 4 + 12


def inverted(x: Tensor) -> Tensor:
    """Return pictures of any shape, with values from 0 to 16, with black and white exchanged."""
    return 16 - x


def moved(x: Tensor) -> Tensor:
    """Return pictures moved 2 pixels to the right; the columns that leave on the right come in on the left.

    Args:
        x: (examples, channels, height, width).
    """
    return x.roll(2, -1)


STYLES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "bright and faint": bright,
    "inverted": inverted,
    "moved by 2 pixels": moved,
}


def covariate_shift(runs: Sequence[Record]) -> Measured:
    """Measure the accuracy lost on other styles of test digits, prepared as in training or by the style's own mean."""
    restored = [load(run.folder) for run in runs]
    plain = fmean(accuracy(run, *raw(run, "test")) for run in restored)
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
        for column, picture in enumerate(shown.values()):
            axes = figure.add_subplot(grid[0, column])
            axes.imshow(picture[0, 0].numpy(), cmap="gray", vmin=0, vmax=16)
            axes.set_axis_off()
        axes = figure.add_subplot(grid[1, :])
        same, own = ([100 * accuracy for accuracy in side] for side in zip(*drawn.values(), strict=True))
        bars(axes, {"prepared as in training": same, "each style standardized by itself": own}, list(drawn))
        axes.axhline(10, color=INK, linewidth=0.8, linestyle=":")
        axes.set_ylabel("test accuracy (%; dotted: chance)")
        axes.legend(loc="upper right")
        return figure

    return Measured(values, draw)


def raw(run: Restored, split: str) -> tuple[Tensor, Tensor]:
    """Return a split's raw examples, (examples, *description.shape), and their classes, (examples,)."""
    examples = run.data.splits[split]
    return examples.x if examples.rows is None else examples.x[examples.rows], examples.y


def accuracy(run: Restored, x: Tensor, y: Tensor) -> float:
    """Return a run's accuracy on raw examples.

    Args:
        run: the trained run.
        x: (examples, *description.shape).
        y: (examples,), class numbers.
    """
    return float((run.scores(x).argmax(1) == y).double().mean())


def styled(run: Restored, style: Callable[[Tensor], Tensor], *, own: bool) -> float:
    """Return a run's accuracy on test examples of another style.

    Args:
        run: the trained run.
        style: changes raw examples.
        own: whether to standardize by the mean and spread of the training examples in this style, instead of those of
            the run; this needs no classes.
    """
    x, y = raw(run, "test")
    x = style(x.float())
    if not own:
        return accuracy(run, x, y)
    prepared = PREPROCESSES["standardize"](style(raw(run, "train")[0].float()))(x)
    with torch.no_grad():
        return float((run.model(prepared).argmax(1) == y).double().mean())
