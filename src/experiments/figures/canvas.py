"""Empty figures, and legends, axes and names in the common style."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from experiments.common.scoped import holding

from .palette import Style, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator


LONGEST = 60
"""Characters per line in a legend."""
LONGEST_LAYER = 18
"""Characters of a layer's name."""
PHONE, TALL = 4.0, 3.4
"""Inches: the width of a figure for a phone, and the largest height of a pair of axes in it."""
_narrow: ContextVar[bool] = ContextVar("narrow", default=False)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, whose axes are positioned by hand."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100)


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, whose layout is automatic; see also `for_a_phone`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if _narrow.get():
        restack(figure)
    return figure


def on_axes(width: float, height: float) -> Callable[[Callable[[Axes], None]], Callable[[], Figure]]:
    """Decorate a function that draws on axes, so that it draws a figure of a size in inches with one pair of axes."""

    def decorated(draw: Callable[[Axes], None]) -> Callable[[], Figure]:
        @wraps(draw)
        def drawn() -> Figure:
            figure = canvas(width, height)
            draw(figure.subplots())
            return figure

        return drawn

    return decorated


def for_a_phone() -> AbstractContextManager[None]:
    """Draw figures of `canvas`, inside the `with` block, for a phone: axes side by side become one above the other."""
    return holding(_narrow, True)


def restack(figure: Figure) -> None:
    """Let a figure put a row of axes one above the other; a grid of axes keeps its size, and is shown smaller."""
    usual, (width, height) = figure.subplots, figure.get_size_inches()

    def subplots(rows: int = 1, columns: int = 1, **more: Any) -> Any:
        if rows > 1:
            return usual(rows, columns, **more)
        figure.set_size_inches(min(width, PHONE), columns * min(height, TALL))
        grid = usual(columns, 1, **{name: value for name, value in more.items() if name != "width_ratios"})
        return grid.T if columns > 1 else grid

    figure.subplots = subplots  # type: ignore[method-assign, assignment]


def widened(figure: Figure) -> Figure:
    """Give a figure of `for_a_phone` the width that its longest label needs; a page shows it smaller."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    beyond = max(-box.x0, box.x1 - figure.get_figwidth())
    if beyond > 0:  # a label is in the middle of its axes, so that both sides need room
        figure.set_figwidth(figure.get_figwidth() + 2 * beyond + 0.1)
    return figure


def legend(figure: Figure, names: Collection[str], styles: Mapping[str, Style]) -> None:
    """Put the groups' names below a figure if there is more than one.

    Args:
        figure: of `canvas`; on a phone it becomes higher.
        names: of the groups.
        styles: of the groups, by name.
    """
    from matplotlib.lines import Line2D

    if len(names) < 2:
        return
    lines: list[dict[str, Any]] = [{"color": styles[name].color, "linestyle": styles[name].linestyle} for name in names]
    handles = [Line2D([], [], **line) for line in lines]
    if _narrow.get():
        figure.set_figheight(figure.get_figheight() + legend_height(names, figure.get_figwidth()))
    columns, _ = legend_shape(names, figure.get_figwidth())
    figure.legend(handles, [wrapped(name) for name in names], loc="outside lower center", ncols=columns)


def legend_height(names: Collection[str], width: float) -> float:
    """Return the height of a legend, in inches."""
    return 0.22 * legend_shape(names, width)[1] + 0.15 if len(names) > 1 else 0.0


def legend_shape(names: Collection[str], width: float) -> tuple[int, int]:
    """Return the number of columns of names that fit into a figure, and their height in lines of text."""
    labels = [wrapped(name).split("\n") for name in names]
    longest = max(len(line) for lines in labels for line in lines)
    columns = max(1, min(len(names), int(width / (0.087 * longest + 0.65))))
    return columns, math.ceil(len(names) / columns) * max(map(len, labels))


def logarithmic(axis: XAxis | YAxis) -> None:
    """Make an axis logarithmic, with tick labels such as 0.01 instead of powers of ten."""
    from matplotlib.ticker import NullFormatter

    (axis.axes.set_yscale if axis.axis_name == "y" else axis.axes.set_xscale)("log")
    axis.set_major_locator(decades(*axis.get_view_interval()))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def decades(low: float, high: float) -> LogLocator:
    """Return the ticks of a logarithmic axis: the fewer decades it spans, the more ticks in each decade."""
    from matplotlib.ticker import LogLocator

    size = math.log10(high / low)
    if size < 0.15:  # one tick would be left
        return LogLocator(subs=[number / 20 for number in range(20, 200)])
    return LogLocator(subs=(1,) if size > 3 else (1, 2, 5) if size > 0.8 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))


def integers(axes: Axes) -> None:
    """Put the ticks of an axis of epochs or steps at integers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def layer_name(name: str, longest: int | None = LONGEST_LAYER) -> str:
    """Return a layer's name without the parts that all names share: features.hidden1.activation -> hidden1.

    Args:
        name: of the layer.
        longest: characters; the middle of a longer name is left out. None for the whole name.
    """
    words = [word for word in name.split(".") if word not in ("features", "activation", "linear", "weight")]
    kept = ".".join(words) or name
    if longest is not None and len(kept) > longest:
        kept = f"{kept[: (longest - 2) // 2]}...{kept[-((longest - 3) // 2) :]}"
    return literal(kept)


def wrapped(text: str, width: int = LONGEST, lines: int = 2) -> str:
    """Return a name for a figure, wrapped between words and cut after a few lines.

    Args:
        text: the name.
        width: of a line, in characters.
        lines: the largest number of lines.
    """
    parts = textwrap.wrap(
        text, width, max_lines=lines, placeholder=" ...", break_on_hyphens=False, break_long_words=True
    )
    return "\n".join(map(literal, parts))
