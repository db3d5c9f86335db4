"""Figures of a plane: the class that a model predicts at each point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.data.batches import Split

from ._colors import COLORS
from .canvas import new_figure
from .palette import literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COARSE, FINE = 48, 200
"""Points per side of the grid, in TensorBoard and in the figure."""
PIXELS = 4
"""Pixels per side of a point in TensorBoard."""
MARGIN = 0.08
"""The margin around the examples, as a share of their range."""
MOST_DOTS = 2000
"""The largest number of examples that are drawn."""
FAINTEST, STRONGEST = 0.08, 0.5
"""The opacity of a class's colour if all classes are equally probable, and if one class has probability 1."""
MARKERS = ("o", "s", "^", "D")
"""Each time that the eight colours repeat, the classes get the next marker."""
LONGEST_NAME = 20
"""Characters of a class's name."""
MOST_NAMED = 20
"""The largest number of classes that the legend names."""


@dataclass(frozen=True)
class Plane:
    """A grid of points around examples with two features.

    Args:
        x, y: the coordinates of its columns and rows, in the data's own units, (size,) each.
        points: all points, row by row, as examples for a model.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    points: Split

    def laid_out(self, scores: Tensor) -> NDArray[np.float64]:
        """Return the scores of all points as (rows, columns, classes)."""
        return scores.double().cpu().numpy().reshape(len(self.y), len(self.x), -1)


def planar(split: Split) -> bool:
    """Whether an example is a point in a plane: it has two features."""
    return math.prod(split.x.shape[1:]) == 2


def coordinates(x: Tensor) -> NDArray[np.float64]:
    """Return the coordinates of raw examples, (examples, 2); nan for missing values."""
    return x.flatten(1).double().cpu().numpy()


def plane(train: Split, size: int) -> Plane:
    """Lay a grid over the examples of a split.

    Args:
        train: examples with two features; the grid's points are prepared in the same way.
        size: points per side.
    """
    examples = coordinates(train.raw(slice(MOST_DOTS)))
    examples = examples[np.isfinite(examples).all(1)]
    low, high = (examples.min(0), examples.max(0)) if len(examples) else (np.zeros(2), np.zeros(2))
    reach = np.where(high > low, MARGIN * (high - low), 0.5)
    x, y = np.linspace(low - reach, high + reach, size).T
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), 2).astype(np.float32)).to(train.x.device)
    points = grid.reshape(-1, *train.x.shape[1:])
    return Plane(x, y, replace(train, x=points, y=train.y.new_zeros(len(points)), rows=None))


def dots(split: Split, plane: Plane) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Return the pixels of a split's examples in an image of a plane: rows, columns and colours.

    Args:
        split: its examples have two features.
        plane: the grid of points.

    Returns:
        Rows and columns, (dots,) each, and colours from 0 to 255, (dots, 3).
    """
    examples = coordinates(split.raw(slice(MOST_DOTS)))
    complete = np.isfinite(examples).all(1)
    low, high = np.array([plane.x[0], plane.y[0]]), np.array([plane.x[-1], plane.y[-1]])
    pixels = (examples[complete] - low) / (high - low) * (PIXELS * (len(plane.x) - 1)) + (PIXELS - 1) / 2
    columns, rows = np.round(pixels).astype(np.int64).T
    colours = (255 * rgb(split.y[:MOST_DOTS].cpu().numpy()[complete])).astype(np.uint8)
    around = [(up, right) for up in (-1, 0, 1) for right in (-1, 0, 1)]
    return (
        np.concatenate([rows + up for up, _ in around]),
        np.concatenate([columns + right for _, right in around]),
        np.tile(colours, (len(around), 1)),
    )


def rgb(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the colours of class numbers, (numbers, 3), with values from 0 to 1."""
    colours = np.array([[int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)] for color in COLORS])
    return colours[numbers % len(COLORS)]


def shaded(scores: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colour points by the class that is predicted there, the stronger the larger its probability.

    Args:
        scores: (rows, columns, classes).

    Returns:
        (rows, columns, 3); white if a score is not finite.
    """
    powers = np.exp(scores - scores.max(2, keepdims=True))
    chance = 1 / scores.shape[2]
    confidence = (1 / powers.sum(2) - chance) / max(1 - chance, 1e-9)  # the power of the largest probability is 1
    opacity = np.nan_to_num(FAINTEST + (STRONGEST - FAINTEST) * confidence)[..., None]
    return (255 * (1 - opacity + opacity * rgb(scores.argmax(2)))).astype(np.uint8)


def regions_figure(
    plane: Plane,
    scores: NDArray[np.float64],
    train: Split,
    evaluated: Split,
    evaluated_scores: Tensor,
    about: str,
    classes: Sequence[str],
) -> Figure:
    """Draw decision regions, the training split's examples as dots, and misclassified examples as crosses.

    Args:
        plane: the grid of points.
        scores: the scores of its points, (rows, columns, classes).
        train: the training split.
        evaluated: the split whose misclassified examples are shown.
        evaluated_scores: the scores of this split, (examples, classes).
        about: the name of this split and the epoch of the weights, for the title.
        classes: the names of the classes.
    """
    figure = new_figure(8.0, 5.2)
    axes = figure.add_axes((0.12, 0.11, 0.6, 0.77))
    half = np.array([plane.x[1] - plane.x[0], plane.y[1] - plane.y[0]]) / 2
    extent = (plane.x[0] - half[0], plane.x[-1] + half[0], plane.y[0] - half[1], plane.y[-1] + half[1])
    axes.imshow(shaded(scores), origin="lower", extent=extent, aspect="auto", interpolation="bilinear")
    draw_boundaries(axes, plane, scores)
    draw_dots(axes, coordinates(train.raw(slice(MOST_DOTS))), train.y[:MOST_DOTS].cpu().numpy(), classes)
    wrong = evaluated_scores.argmax(1) != evaluated.y.cpu()
    crosses = coordinates(evaluated.raw(wrong.nonzero().flatten()[:MOST_DOTS].to(evaluated.x.device)))
    label = f"{about.partition(',')[0]},\nwrong: {int(wrong.sum()):,} of {len(wrong):,}"
    axes.scatter(crosses[:, 0], crosses[:, 1], s=26, color="black", marker="x", linewidths=1.1, label=label)
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="first feature", ylabel="second feature")
    accuracy = 1 - float(wrong.double().mean())
    axes.set_title(f"Decision regions: {about}\naccuracy {accuracy:.4f}; pale: uncertain", fontsize=10)
    title = "training split, by class" + (f"\n({len(classes):,}, names left out)" if len(classes) > MOST_NAMED else "")
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=8, frameon=False, title=title, alignment="left"
    )
    legend.get_title().set_fontsize(8)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a class may be called $x$
    return figure


def draw_boundaries(axes: Axes, plane: Plane, scores: NDArray[np.float64]) -> None:
    """Draw the boundary of each class's region, where its score equals the largest other score.

    Args:
        axes: to draw on.
        plane: the grid of points.
        scores: (rows, columns, classes).
    """
    if scores.shape[2] < 2:
        return
    first, second = torch.from_numpy(scores).topk(2, dim=2).values.numpy().transpose(2, 0, 1)
    predicted = scores.argmax(2)
    for number in np.unique(predicted)[: scores.shape[2] if scores.shape[2] > 2 else 1]:
        lead = scores[..., number] - np.where(predicted == number, second, first)
        if lead.min() < 0 < lead.max() < np.inf:
            axes.contour(plane.x, plane.y, lead, levels=[0], colors="black", linewidths=0.8)


def draw_dots(axes: Axes, points: NDArray[np.float64], y: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Draw examples in the colours of their classes; the legend names the classes if there are at most `MOST_NAMED`.

    Args:
        axes: to draw on.
        points: (examples, 2).
        y: (examples,), class numbers.
        classes: their names.
    """
    colours = rgb(np.arange(len(classes)))
    named = len(classes) <= MOST_NAMED
    for number, name in enumerate(classes):
        own = points[y == number]
        if not named and not len(own):
            continue
        marker = MARKERS[number // len(COLORS) % len(MARKERS)]
        axes.scatter(
            own[:, 0], own[:, 1], s=16, color=colours[number], marker=marker, edgecolors="white", linewidths=0.4,
            label=literal(str(name)[:LONGEST_NAME]) if named else None,
        )  # fmt: skip
