"""The picture of paths on a surface: contours and paths, or the curve of a function of one number."""

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
"""Places along each axis at which the function is looked at."""
LEVELS = 14
STEEP = 6.0
"""Times the median of the heights that the highest is, from which on the levels are logarithmic."""
LOWEST = 1e-4
"""The lowest logarithmic level, as a share of the highest."""
MARGIN = 0.1
MARKERS = "osD^vPX*"
MOST_MARKED = 60
"""Marks on a path: one for each update, where there are no more."""


@dataclass(frozen=True)
class NamedPath:
    """A path and what it is called."""

    name: str
    path: DescentPath


def draw(surface: Surface, coordinates: Sequence[str], lines: Sequence[NamedPath], title: str) -> bytes:
    """Draw paths with their start, their ends and the minima; return the picture as PNG.

    A path that leaves what is drawn is cut off there.
    """
    with drawing():
        content = io.BytesIO()
        figure_of(surface, coordinates, lines, title).savefig(content, format="png")
    return content.getvalue()


def figure_of(surface: Surface, coordinates: Sequence[str], lines: Sequence[NamedPath], title: str) -> Figure:
    """Return the picture that `draw` makes, to be drawn inside `palette.drawing()`."""
    from matplotlib.figure import Figure

    across = len(coordinates) == 2
    height = (4.9 if across else 4.2) + 0.24 * -(-(len(lines) + 2) // 3)
    figure = Figure(figsize=(8.5, height), layout="constrained")
    ranges = seen(surface, lines)
    if across:
        contours(figure, surface, coordinates, lines, ranges)
    else:
        curve(figure, surface, coordinates[0], lines, ranges[0])
    figure.suptitle(literal(title), fontweight="bold", fontsize=12)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def seen(surface: Surface, lines: Sequence[NamedPath]) -> list[tuple[float, float]]:
    """Return the range of each coordinate that is drawn: what the surface asks for, the starts, and else the paths."""
    places = [line.path.points[:1] for line in lines]
    if surface.view is not None:
        places.append(np.array(surface.view).T)
        margin = 0.0
    else:
        places += [line.path.points for line in lines if not line.path.diverged]
        places += [np.array(surface.minima)] if surface.minima else []
        margin = MARGIN
    every = np.concatenate(places)
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
    """Draw the paths from above, on the lines of equal height."""
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

    axes = figure.subplots()
    x, y = np.meshgrid(*(np.linspace(low, high, GRID) for low, high in ranges))
    heights = values(surface, x, y)
    lowest = min([np.nanmin(heights), *(values(surface, *np.array(place)).item() for place in surface.minima)])
    levels = lowest + spaced(heights - lowest)
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
    """Draw the paths on the function's curve, and beside it over the updates."""
    below, over = figure.subplots(1, 2)
    w = np.linspace(*seen_range, GRID)
    heights = values(surface, w)
    below.plot(w, heights, color=INK, alpha=0.4, linewidth=1.2, linestyle="-")
    for number, line in enumerate(lines):
        trail(below, line.path.points[:, 0], line.path.values, number, line.name)
        trail(over, np.arange(len(line.path.points)), line.path.points[:, 0], number, line.name)
    starts = [np.array([line.path.points[0, 0], line.path.values[0]]) for line in lines]
    mark(below, starts, [(place[0], values(surface, np.array(place[0])).item()) for place in surface.minima])
    room = MARGIN * (np.nanmax(heights) - np.nanmin(heights))
    below.set(xlim=seen_range, ylim=(np.nanmin(heights) - room, np.nanmax(heights) + room))
    below.set(xlabel=literal(coordinate), ylabel="value")
    for place in surface.minima:
        over.axhline(place[0], color=INK, alpha=0.4, linewidth=1.2, linestyle="--")
    over.set(ylim=seen_range, xlabel="updates", ylabel=literal(coordinate))


def trail(axes: Axes, x: NDArray[Any], y: NDArray[Any], number: int, name: str) -> None:
    """Draw one path, with marks at its updates and a large one at its end."""
    look: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
    every = -(-len(x) // MOST_MARKED)
    edge: dict[str, Any] = {"markeredgecolor": PAPER, "markeredgewidth": 0.4}
    axes.plot(x, y, markersize=4.5, linewidth=1.4, linestyle="-", label=literal(name), markevery=every, **edge, **look)
    axes.plot(x[-1:], y[-1:], markersize=10, linestyle="", zorder=4, **{**edge, "markeredgewidth": 1.2}, **look)


def mark(axes: Axes, starts: Sequence[Any], minima: Sequence[Any]) -> None:
    """Mark where the paths begin, and where the function is lowest."""
    for places, shape, size, color, name in ((starts, "o", 9, PAPER, "start"), (minima, "*", 14, INK, "minimum")):
        if len(places):
            x, y = np.unique(np.array(places), axis=0).T
            look: dict[str, Any] = {"markersize": size, "markerfacecolor": color, "markeredgecolor": INK, "zorder": 5}
            axes.plot(x, y, shape, linestyle="", label=name, **look)


def spaced(heights: NDArray[Any]) -> NDArray[Any]:
    """Return levels above the lowest place: as those of a bowl with even rings, or logarithmic where it is steep."""
    highest = float(np.nanmax(heights)) or 1.0
    if highest > STEEP * float(np.nanmedian(heights)):
        return highest * np.geomspace(LOWEST, 1, LEVELS)
    return highest * np.linspace(0, 1, LEVELS + 1)[1:] ** 2


def values(surface: Surface, *coordinates: NDArray[Any]) -> NDArray[Any]:
    """Return the function at places; NaN where it is not finite."""
    with torch.no_grad():
        found = surface.function(*(torch.from_numpy(np.atleast_1d(c)).double() for c in coordinates)).numpy()
    return np.where(np.isfinite(found), found, np.nan)
