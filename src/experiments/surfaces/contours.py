"""The picture of paths on a surface: contours with paths, or the curve of a function of one number."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.figures.canvas import legend_shape, wrapped
from experiments.figures.palette import COLORS, DASHES, INK, LINESTYLES, PAPER, drawing, literal

from .descent import DescentPath, Surface, measured

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
"""The largest number of marks on a path; a path with more updates has small marks, and none at some updates."""
ROOM_AFTER = 1.25
"""How many times the updates until all paths have settled are drawn."""
FEWEST_UPDATES = 10
WIDTH = 8.5
"""Inches."""
Box = Sequence[tuple[float, float]]
"""The lowest and highest number that is drawn, of each axis."""


@dataclass(frozen=True)
class NamedPath:
    """A path and its name."""

    name: str
    path: DescentPath


def draw(surface: Surface, coordinates: Sequence[str], lines: Sequence[NamedPath], title: str) -> bytes:
    """Draw paths with their start, their ends and the minima; return the picture as PNG.

    A path that leaves the drawn range for good ends there, with a hollow mark.

    Args:
        surface: the function.
        coordinates: the names of one or two.
        lines: the paths with their names, all on this surface.
        title: above the picture, of one or more lines.
    """
    with drawing():
        content = io.BytesIO()
        figure_of(surface, coordinates, lines, title).savefig(content, format="png")
    return content.getvalue()


def figure_of(surface: Surface, coordinates: Sequence[str], lines: Sequence[NamedPath], title: str) -> Figure:
    """Return the figure of `draw`; call it inside `palette.drawing()`."""
    from matplotlib.figure import Figure

    two = len(coordinates) == 2
    figure = Figure(layout="constrained")
    ranges = drawn_ranges(surface, lines)
    if two:
        contours(figure, surface, coordinates, lines, ranges)
    else:
        curve(figure, surface, coordinates[0], lines, ranges[0])
    figure.suptitle("\n".join(map(literal, title.split("\n"))), fontweight="bold", fontsize=12)
    handles, names = figure.axes[0].get_legend_handles_labels()
    columns, rows = legend_shape(names, WIDTH)
    columns = -(-len(names) // -(-len(names) // columns))  # rows of about the same length
    figure.legend(handles, names, loc="outside lower center", ncols=columns)
    figure.set_size_inches(WIDTH, (4.9 if two else 4.2) + 0.24 * (rows + title.count("\n")))
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
        trail(axes, line.path.points[:, 0], line.path.points[:, 1], number, line, ranges)
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
    from matplotlib.ticker import MaxNLocator

    below, over = figure.subplots(1, 2)
    w = np.linspace(*seen_range, GRID)
    heights = values(surface, w)
    below.plot(w, heights, color=INK, alpha=0.4, linewidth=1.2, linestyle="-")
    room = MARGIN * (np.nanmax(heights) - np.nanmin(heights))
    box = [seen_range, (float(np.nanmin(heights) - room), float(np.nanmax(heights) + room))]
    last, most = last_update(surface, lines, box), max(len(line.path.rates) for line in lines)
    for number, line in enumerate(lines):
        updates, numbers = np.arange(len(line.path.points)), line.path.points[:, 0]
        kept = updates[(updates <= last) | (updates == updates[-1])]
        trail(below, numbers[kept], line.path.values[kept], number, line, box)
        joined = last <= 2 * MOST_MARKED or not turns_back(line)
        shown = updates[: last + last // 10 + 2]  # an end mark that is not shown
        trail(over, shown, numbers[shown], number, line, [(0, np.inf), seen_range], joined=joined)
    starts = [np.array([line.path.points[0, 0], line.path.values[0]]) for line in lines]
    mark(below, starts, [(minimum[0], values(surface, np.array(minimum[0])).item()) for minimum in surface.minima])
    below.set(xlim=box[0], ylim=box[1], xlabel=literal(coordinate), ylabel="value")
    for minimum in surface.minima:
        over.axhline(minimum[0], color=INK, alpha=0.4, linewidth=1.2, linestyle="--")
    label = "updates" if last >= most else f"updates (the first {last:,} of {most:,})"
    right = last * 31 / 30 if last >= most else last
    over.set(xlim=(-last / 30, right), ylim=seen_range, xlabel=label, ylabel=literal(coordinate))
    over.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def last_update(surface: Surface, lines: Sequence[NamedPath], box: Box) -> int:
    """Return the last update to draw over the updates: a few after all paths have settled or left the picture.

    Of a path that jumps from side to side, some updates are enough.

    Args:
        surface, lines: see `draw`.
        box: of the curve.
    """
    needed, most = FEWEST_UPDATES, max(len(line.path.rates) for line in lines)
    for line in lines:
        inside = within(box, line.path.points[:, 0], line.path.values)
        settled = measured(line.path, surface.minima, surface.tolerance)["settled"]
        if not inside[-1]:
            settled = int(np.flatnonzero(inside)[-1]) + 1
        own = most if settled is None else settled
        needed = max(needed, min(own, MOST_MARKED) if turns_back(line) else own)
    return min(most, int(ROOM_AFTER * needed))


def turns_back(line: NamedPath) -> bool:
    """Whether most updates of a path turn back."""
    return bool(measured(line.path, (), 1.0)["zigzag"] > 0.5)


def trail(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], number: int, line: NamedPath, box: Box, *, joined: bool = True
) -> None:
    """Draw one path, with marks at its updates and a large mark at its end, hollow if the path leaves the picture.

    Args:
        axes: to draw on.
        x, y: (points,).
        number: of the path, which decides its colour, its dashes and its marks.
        line: the path, with its name in the legend.
        box: that is drawn; the first point is within it.
        joined: whether lines connect the points; many jumps from side to side would fill the picture with colour.
    """
    turn, color = divmod(number, len(COLORS))
    look: dict[str, Any] = {"color": COLORS[color], "marker": MARKERS[(number + turn) % len(MARKERS)]}
    inside = within(box, x, y)
    leaves = not inside[-1]
    if leaves:
        last = int(np.flatnonzero(inside)[-1])
        exit_x, exit_y = crossing(box, (x[last], y[last]), (x[last + 1], y[last + 1]))
        x, y = np.append(x[: last + 1], exit_x), np.append(y[: last + 1], exit_y)
    name = f"{line.name}, leaves the picture" if leaves and not line.path.diverged else line.name
    every = -(-len(x) // MOST_MARKED) | 1  # odd, for marks on both sides of a path that jumps
    size, width = (4.5, 1.4) if every == 1 else (3, 1)
    dash = LINESTYLES[DASHES[turn % len(DASHES)]] if joined else ""
    edge: dict[str, Any] = {"markeredgecolor": PAPER, "markeredgewidth": 0.4}
    axes.plot(
        x, y, linestyle=dash, markersize=size, linewidth=width, label=wrapped(name), markevery=every, **edge, **look
    )
    end = {"markerfacecolor": PAPER, "clip_on": False} if leaves else {"markeredgecolor": PAPER}
    axes.plot(x[-1:], y[-1:], markersize=10, linestyle="", zorder=4, markeredgewidth=1.2, **end, **look)


def within(box: Box, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which points are in the picture.

    Args:
        box: that is drawn.
        x, y: (points,).
    """
    (left, right), (low, high) = box
    return (left <= x) & (x <= right) & (low <= y) & (y <= high)


def crossing(box: Box, inner: tuple[float, float], outer: tuple[float, float]) -> tuple[float, float]:
    """Return the point of the edge where a line leaves the picture; the inner point if the outer one is not finite.

    Args:
        box: that is drawn.
        inner, outer: the ends of the line, in and outside the picture.
    """
    if not np.isfinite(outer).all():
        return inner
    share = 1.0
    for (low, high), a, b in zip(box, inner, outer, strict=True):
        if not low <= b <= high:
            share = min(share, ((high if b > high else low) - a) / (b - a))
    x, y = (a + share * (b - a) for a, b in zip(inner, outer, strict=True))
    return x, y


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
