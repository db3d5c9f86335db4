"""Figures of a plane: which class a model takes each of its points for."""

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COARSE, FINE = 48, 200
"""Points a side of the grid, in TensorBoard and in the figure."""
PIXELS = 4
"""A side of a point in TensorBoard."""
MARGIN = 0.08
"""How far the plane reaches beyond the examples, as a share of their range."""
MOST_DOTS = 2000
FAINTEST, STRONGEST = 0.08, 0.5
"""How much of a class's colour a region has, where the model has no idea and where it is sure."""
MARKERS = ("o", "s", "^", "D")
"""Classes beyond the eight colours have another marker."""
LONGEST_NAME = 20
MOST_NAMED = 20


@dataclass(frozen=True)
class Plane:
    """A grid of points around examples of two features.

    Args:
        x, y: its columns and rows, in the data's own units, (size,) each.
        points: all of them, row by row, as examples to be given to a model.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    points: Split

    def laid_out(self, scores: Tensor) -> NDArray[np.float64]:
        """Return the points' scores as (rows, columns, classes)."""
        return scores.double().cpu().numpy().reshape(len(self.y), len(self.x), -1)


def planar(split: Split) -> bool:
    """Whether an example is a point of a plane."""
    return math.prod(split.x.shape[1:]) == 2


def located(x: Tensor) -> NDArray[np.float64]:
    """Return examples as they came as points, (examples, 2); nan where one has a gap."""
    return x.flatten(1).double().cpu().numpy()


def plane(train: Split, size: int) -> Plane:
    """Lay a grid over the examples of a split.

    Args:
        train: of examples with two features; its preparation is the grid's.
        size: points a side.
    """
    found = located(train.raw(slice(MOST_DOTS)))
    found = found[np.isfinite(found).all(1)]
    low, high = (found.min(0), found.max(0)) if len(found) else (np.zeros(2), np.zeros(2))
    reach = np.where(high > low, MARGIN * (high - low), 0.5)
    x, y = np.linspace(low - reach, high + reach, size).T
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), 2).astype(np.float32)).to(train.x.device)
    points = grid.reshape(-1, *train.x.shape[1:])
    return Plane(x, y, replace(train, x=points, y=train.y.new_zeros(len(points)), rows=None))


def dots(split: Split, plane: Plane) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Return the pixels of a split's examples in an image of a plane: rows, columns and colours."""
    found = located(split.raw(slice(MOST_DOTS)))
    seen = np.isfinite(found).all(1)
    low, high = np.array([plane.x[0], plane.y[0]]), np.array([plane.x[-1], plane.y[-1]])
    place = (found[seen] - low) / (high - low) * (PIXELS * (len(plane.x) - 1)) + (PIXELS - 1) / 2
    columns, rows = np.round(place).astype(np.int64).T
    colours = (255 * rgb(split.y[:MOST_DOTS].cpu().numpy()[seen])).astype(np.uint8)
    around = [(up, right) for up in (-1, 0, 1) for right in (-1, 0, 1)]
    return (
        np.concatenate([rows + up for up, _ in around]),
        np.concatenate([columns + right for _, right in around]),
        np.tile(colours, (len(around), 1)),
    )


def rgb(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the colours of classes, (classes, 3), from 0 to 1."""
    known = np.array([[int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)] for color in COLORS])
    return known[numbers % len(COLORS)]


def shaded(scores: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colour points by the class that they are taken for, the stronger the larger its probability.

    Args:
        scores: (rows, columns, classes).

    Returns:
        (rows, columns, 3); white where a score is not finite.
    """
    powers = np.exp(scores - scores.max(2, keepdims=True))
    chance = 1 / scores.shape[2]
    sureness = (1 / powers.sum(2) - chance) / max(1 - chance, 1e-9)  # the largest probability's power is 1
    strength = np.nan_to_num(FAINTEST + (STRONGEST - FAINTEST) * sureness)[..., None]
    return (255 * (1 - strength + strength * rgb(scores.argmax(2)))).astype(np.uint8)


def regions_figure(
    plane: Plane,
    scores: NDArray[np.float64],
    train: Split,
    judged: Split,
    answers: Tensor,
    about: str,
    classes: Sequence[str],
) -> Figure:
    """Draw decision regions, the training split's examples as dots, and what is wrongly classified as crosses.

    Args:
        plane: where.
        scores: of its points, (rows, columns, classes).
        train: the training split.
        judged: the split whose mistakes are shown.
        answers: its scores, (examples, classes).
        about: what it is called, and whose weights these are.
        classes: names.
    """
    figure = new_figure(7.4, 5.2)
    axes = figure.add_axes((0.13, 0.11, 0.64, 0.77))
    half = np.array([plane.x[1] - plane.x[0], plane.y[1] - plane.y[0]]) / 2
    extent = (plane.x[0] - half[0], plane.x[-1] + half[0], plane.y[0] - half[1], plane.y[-1] + half[1])
    axes.imshow(shaded(scores), origin="lower", extent=extent, aspect="auto", interpolation="bilinear")
    draw_boundaries(axes, plane, scores)
    draw_dots(axes, located(train.raw(slice(MOST_DOTS))), train.y[:MOST_DOTS].cpu().numpy(), classes)
    wrong = answers.argmax(1) != judged.y.cpu()
    crosses = located(judged.raw(wrong.nonzero().flatten()[:MOST_DOTS].to(judged.x.device)))
    label = f"wrong: {int(wrong.sum()):,} of {len(wrong):,}"
    axes.scatter(crosses[:, 0], crosses[:, 1], s=26, color="black", marker="x", linewidths=1.1, label=label)
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="first feature", ylabel="second feature")
    accuracy = 1 - float(wrong.double().mean())
    axes.set_title(f"Decision regions: {about}\naccuracy {accuracy:.4f}; the paler, the less sure", fontsize=10)
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=8, frameon=False, title="training split"
    )
    legend.get_title().set_fontsize(8)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a class may be called $x$
    return figure


def draw_boundaries(axes: Axes, plane: Plane, scores: NDArray[np.float64]) -> None:
    """Draw a line around each class's region, where its score is as large as the largest of the others."""
    for number in range(scores.shape[2] if scores.shape[2] > 2 else 1):
        lead = scores[..., number] - np.delete(scores, number, axis=2).max(2, initial=-np.inf)
        if lead.min() < 0 < lead.max() < np.inf:
            axes.contour(plane.x, plane.y, lead, levels=[0], colors="black", linewidths=0.8)


def draw_dots(axes: Axes, points: NDArray[np.float64], y: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Draw examples in the colours of their classes; where these are few, the legend names them."""
    colours = rgb(np.arange(len(classes)))
    for number, name in enumerate(classes):
        own, named = points[y == number], len(classes) <= MOST_NAMED
        marker = MARKERS[number // len(COLORS) % len(MARKERS)]
        axes.scatter(
            own[:, 0], own[:, 1], s=16, color=colours[number], marker=marker, edgecolors="white", linewidths=0.4,
            label=str(name)[:LONGEST_NAME] if named else None,
        )  # fmt: skip
