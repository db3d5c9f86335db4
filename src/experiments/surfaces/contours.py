"""The picture of paths on a surface: contours with paths, or the curve of a function of one number."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.figures.palette import COLORS, INK, PAPER, drawing, literal

from .descent import DescentPath, Surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = 301
"""Points along each axis at which the function is evaluated."""
LEVELS = 14
STEEP = 6.0
"""The levels are logarithmic if the highest height is more than this many times the median height."""
LOWEST = 1e-4
"""The lowest logarithmic level, as a share of the highest."""
MARGIN = 0.1
MARKERS = "osD^vPX*"
MOST_MARKED = 60
"""The largest number of marks on a path; a path with more updates has no mark at some of them."""


@dataclass(frozen=True)
class NamedPath:
    """A path and its name."""

    name: str
    path: DescentPath


def draw(surface: Surface, coordinates: Sequence[str], lines: Sequence[NamedPath], title: str) -> bytes:
    """Draw paths with their start, their ends and the minima; return the picture as PNG.

    A path that leaves the drawn range is cut off.

    Args:
        surface: the function.
        coordinates: the names of one or two.
        lines: the paths with their names, all on this surface.
        title: above the picture.
    """
    with drawing():
        content = io.BytesIO()
        figure_of(surface, coordinates, lines, title).savefig(content, format="png")
    return content.getvalue()


def figure_of(surface: Surface, coordinates: Sequence[str], lines: Sequence[NamedPath], title: str) -> Figure:
    """Return the figure of `draw`; call it inside `palette.drawing()`."""
    from matplotlib.figure import Figure

    two = len(coordinates) == 2
    height = (4.9 if two else 4.2) + 0.24 * -(-(len(lines) + 2) // 3)
    figure = Figure(figsize=(8.5, height), layout="constrained")
    ranges = drawn_ranges(surface, lines)
    if two:
        contours(figure, surface, coordinates, lines, ranges)
    else:
        curve(figure, surface, coordinates[0], lines, ranges[0])
    figure.suptitle(literal(title), fontweight="bold", fontsize=12)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def drawn_ranges(surface: Surface, lines: Sequence[NamedPath]) -> list[tuple[float, float]]:
    """Return the range to draw for each coordinate: the starts with the surface's view, or with the whole paths."""
    points = [line.path.points[:1] for line in lines]
    if surface.view is not None:
        points.append(np.array(surface.view).T)
        margin = 0.0
    else:
        points += [line.path.points for line in lines if not line.path.diverged]
        points += [np.array(surface.minima)] if surface.minima else []
        margin = MARGIN
    every = np.concatenate(points)
    low, high = every.min(0), every.max(0)
    room = np.where(high > low, margin * (high - low), 1.0)
    return [(float(a), float(b)) for a, b in zip(low - room, high + room, strict=True)]


def contours(
    figure: Figure,
    surface: Surface,
    coordinates: Sequence[str],
    lines: Sequence[NamedPath],
    ranges: Sequence[tuple[float, float]],
) -> None:
    """Draw the paths on the contour lines of the function.

    Args:
        figure: to draw on.
        surface, coordinates, lines: see `draw`.
        ranges: the lowest and highest number to draw, of each coordinate.
    """
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

    axes = figure.subplots()
    x, y = np.meshgrid(*(np.linspace(low, high, GRID) for low, high in ranges))
    heights = values(surface, x, y)
    lowest = min([np.nanmin(heights), *(values(surface, *np.array(minimum)).item() for minimum in surface.minima)])
    levels = lowest + contour_levels(heights - lowest)
    shades = LinearSegmentedColormap.from_list("deeper is darker", ["#b9c3cf", "#f6f7f9"])
    axes.contourf(x, y, heights, levels, cmap=shades, norm=BoundaryNorm(levels, shades.N), extend="both")
    axes.contour(x, y, heights, levels, colors=INK, alpha=0.25, linewidths=0.6, linestyles="solid")
    for number, line in enumerate(lines):
        trail(axes, line.path.points[:, 0], line.path.points[:, 1], number, line.name)
    mark(axes, [line.path.points[0] for line in lines], surface.minima)
    axes.set(xlim=ranges[0], ylim=ranges[1], xlabel=literal(coordinates[0]), ylabel=literal(coordinates[1]))
    axes.grid(visible=False)


def curve(
    figure: Figure, surface: Surface, coordinate: str, lines: Sequence[NamedPath], seen_range: tuple[float, float]
) -> None:
    """Draw the paths on the curve of the function, and next to it over the updates.

    Args:
        figure: to draw on.
        surface, lines: see `draw`.
        coordinate: its name.
        seen_range: the lowest and highest number to draw.
    """
    below, over = figure.subplots(1, 2)
    w = np.linspace(*seen_range, GRID)
    heights = values(surface, w)
    below.plot(w, heights, color=INK, alpha=0.4, linewidth=1.2, linestyle="-")
    for number, line in enumerate(lines):
        trail(below, line.path.points[:, 0], line.path.values, number, line.name)
        trail(over, np.arange(len(line.path.points)), line.path.points[:, 0], number, line.name)
    starts = [np.array([line.path.points[0, 0], line.path.values[0]]) for line in lines]
    mark(below, starts, [(minimum[0], values(surface, np.array(minimum[0])).item()) for minimum in surface.minima])
    room = MARGIN * (np.nanmax(heights) - np.nanmin(heights))
    below.set(xlim=seen_range, ylim=(np.nanmin(heights) - room, np.nanmax(heights) + room))
    below.set(xlabel=literal(coordinate), ylabel="value")
    for minimum in surface.minima:
        over.axhline(minimum[0], color=INK, alpha=0.4, linewidth=1.2, linestyle="--")
    over.set(ylim=seen_range, xlabel="updates", ylabel=literal(coordinate))


def trail(axes: Axes, x: NDArray[Any], y: NDArray[Any], number: int, name: str) -> None:
    """Draw one path, with marks at its updates and a large mark at its end.

    Args:
        axes: to draw on.
        x, y: (points,).
        number: of the path, which decides its colour and its marks.
        name: in the legend.
    """
    look: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
    every = -(-len(x) // MOST_MARKED)
    edge: dict[str, Any] = {"markeredgecolor": PAPER, "markeredgewidth": 0.4}
    axes.plot(x, y, markersize=4.5, linewidth=1.4, linestyle="-", label=literal(name), markevery=every, **edge, **look)
    axes.plot(x[-1:], y[-1:], markersize=10, linestyle="", zorder=4, **{**edge, "markeredgewidth": 1.2}, **look)


def mark(axes: Axes, starts: Sequence[Any], minima: Sequence[Any]) -> None:
    """Mark the starts of the paths and the minima of the function.

    Args:
        axes: to draw on.
        starts, minima: points of two numbers each.
    """
    for points, shape, size, color, name in ((starts, "o", 9, PAPER, "start"), (minima, "*", 14, INK, "minimum")):
        if len(points):
            x, y = np.unique(np.array(points), axis=0).T
            look: dict[str, Any] = {"markersize": size, "markerfacecolor": color, "markeredgecolor": INK, "zorder": 5}
            axes.plot(x, y, shape, linestyle="", label=name, **look)


def contour_levels(heights: NDArray[Any]) -> NDArray[Any]:
    """Return levels above the lowest height: quadratic, for even rings in a bowl, or logarithmic on a steep surface.

    Args:
        heights: of any shape, above the lowest one; may have nan.

    Returns:
        The levels, rising, (levels,).
    """
    highest = float(np.nanmax(heights)) or 1.0
    if highest > STEEP * float(np.nanmedian(heights)):
        return highest * np.geomspace(LOWEST, 1, LEVELS)
    return highest * np.linspace(0, 1, LEVELS + 1)[1:] ** 2


def values(surface: Surface, *coordinates: NDArray[Any]) -> NDArray[Any]:
    """Return the values of the function at points; NaN for values that are not finite.

    Args:
        surface: the function.
        coordinates: an array for each, all of one shape, which the values have too.
    """
    with torch.no_grad():
        heights = surface.function(*(torch.from_numpy(np.atleast_1d(c)).double() for c in coordinates)).numpy()
    return np.where(np.isfinite(heights), heights, np.nan)
