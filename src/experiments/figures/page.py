"""A page of results: one HTML file that needs no network, light or dark, for screen and paper."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from markupsafe import Markup

from . import palette
from ._colors import COLORS, DARK_COLORS
from .svg import prefixed

DASHARRAYS = {"solid": (), "dash": (7, 4), "dot": (2, 3), "dashdot": (8, 3, 2, 3)}
"""The lengths of dashes and gaps, in pixels."""


@dataclass(frozen=True)
class GroupStyle:
    """A group of runs that differ only in their seeds.

    Args:
        name: the name on the page.
        style: the style of its lines everywhere on the page.
        note: in the legend after the name, such as what happened to runs that have no line.
    """

    name: str
    style: palette.Style
    note: str = ""


@dataclass(frozen=True)
class PageColumn:
    """A column of a table.

    Args:
        title: the label of the button that sorts by the column.
        kind: 'number' aligns the cells to the right.
        note: small print below the title.
    """

    title: str
    kind: Literal["text", "number"] = "text"
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: the text on the page.
        sort: the value to sort by; without one, a text is sorted by itself and a number comes last.
        group: the index of a group whose line sample is shown before the text.
    """

    text: str
    sort: float | str | None = None
    group: int | None = None


@dataclass(frozen=True)
class PageTable:
    """A table whose rows can be sorted by any column.

    Args:
        title: above the table.
        columns, rows: its content.
        note: below it.
        stacked: whether a phone shows each row as a list instead of scrolling sideways.
    """

    title: str
    columns: Sequence[PageColumn]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    stacked: bool = False


@dataclass(frozen=True)
class MeanCurve:
    """A metric of a group over training: the mean of the runs and an interval.

    Args:
        group: the index of the group.
        metric: the name of the metric.
        x: name of an axis -> (points,); this line is not shown over any other axis.
        mean: (points,); values that are not finite leave a gap.
        low, high: (points,), the ends of the interval; None at points without an interval.
        n: (points,), the number of runs at each point.
    """

    group: int
    metric: str
    x: Mapping[str, Sequence[float]]
    mean: Sequence[float | None]
    low: Sequence[float | None]
    high: Sequence[float | None]
    n: Sequence[int]


@dataclass(frozen=True)
class Curves:
    """The plot whose metric, axis and groups the reader chooses.

    Args:
        metrics: the metrics to choose from; the first one is shown first.
        lines: the lines of all groups and metrics.
        axes: the horizontal axes to choose from.
        labels: name of a metric or axis -> its label with the unit; a name without a label is its own label.
        ends: name of a metric -> its largest possible value, beyond which its axis does not go.
        note: the meaning of line and band.
    """

    metrics: Sequence[str]
    lines: Sequence[MeanCurve]
    axes: Sequence[str] = ("epoch", "step", "seconds")
    labels: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Args:
        title: above the drawing.
        caption: below the drawing.
        svg: the result of `svg_of`, which is inserted unchanged.
        statements: between title and drawing; the first one is emphasized.
        table: the numbers of the drawing, below it.
        narrow: the drawing for a phone, in the same form; empty if it is the same one, shown smaller.
        facts: below the caption: name, text, and whether the text is a command.
    """

    title: str
    caption: str
    svg: str
    statements: Sequence[str] = ()
    table: PageTable | None = None
    narrow: str = ""
    facts: Sequence[tuple[str, str, bool]] = ()


@dataclass(frozen=True)
class Page:
    """The content of a page.

    Args:
        title: the title of the page.
        statements: the results in words, the answer first.
        notes: further facts that the reader must know: runs that diverged, folders that were left out.
        groups: the groups that are compared.
        tables, curves, figures: the evidence.
        refresh: seconds after which the page reloads itself while runs are in progress; None for never.
        footer: when, and by which command, the page was written.
        about: a line below the title: what the page is about.
        further: the other results in words, below the curves.
        first: the number of figures that come before the tables, directly after the curves.
    """

    title: str
    statements: Sequence[str] = ()
    notes: Sequence[str] = ()
    groups: Sequence[GroupStyle] = ()
    tables: Sequence[PageTable] = ()
    curves: Curves | None = None
    figures: Sequence[Figure] = ()
    refresh: int | None = None
    footer: str = ""
    about: str = ""
    further: Sequence[str] = ()
    first: int = 0


def render(page: Page) -> str:
    """Return the page as one HTML document; names are escaped, so any name is shown literally."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["swatch"] = swatch
    environment.filters["key"] = key
    document = environment.from_string(asset("page.html")).render(
        page=page,
        css=Markup(asset("page.css")),
        js=Markup(asset("page.js")),
        colors=Markup(colors()),
        chart_css=Markup(asset("uPlot.min.css")),
        uplot=uplot() if page.curves else "",
        data=data_of(page),
        figures=[
            [Markup(prefixed(svg, f"{form}{number}-")) if svg else "" for form, svg in drawings(figure)]
            for number, figure in enumerate(page.figures, 1)
        ],
    )
    return document.encode("utf-8", "replace").decode("utf-8")


def asset(name: str) -> str:
    """Return the content of a file in the folder `assets`."""
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def drawings(figure: Figure) -> Iterable[tuple[str, str]]:
    """Return a figure's drawings, the wide and the narrow one, each with the letter that begins its ids."""
    return ("f", figure.svg), ("n", figure.narrow)


def uplot() -> Markup:
    """Return the library that draws the curves' axes, escaped so that nothing in it ends the script element."""
    return Markup(asset("uPlot.iife.min.js").replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def colors() -> str:
    """Return the colours of lines in both themes, as a rule of a style sheet."""
    light = " ".join(f"{palette.variable(color)}: {color};" for color in COLORS)
    both = " ".join(
        f"{palette.variable(color)}: light-dark({color}, {dark});"
        for color, dark in zip(COLORS, DARK_COLORS, strict=True)
    )
    return f":root {{ {light} }}\n@supports (color: light-dark(#000, #fff)) {{ :root {{ {both} }} }}"


def swatch(style: palette.Style) -> Markup:
    """Return a short sample of a group's line."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 30 10" width="30" height="10" aria-hidden="true">'
        '<line x1="1" x2="29" y1="5" y2="5" stroke="var({})" stroke-width="3" stroke-dasharray="{}"/></svg>'
    ).format(palette.variable(style.color), " ".join(map(str, DASHARRAYS[style.dash])) or "none")


def key(cell: Cell, kind: str) -> dict[str, str]:
    """Return the value by which a cell is sorted, as HTML attributes; no attribute if the value is missing."""
    if isinstance(cell.sort, str) or (cell.sort is None and kind == "text"):
        return {"data-text": cell.text if cell.sort is None else cell.sort}
    if cell.sort is None or math.isnan(cell.sort):
        return {}
    return {"data-number": f"{'-' * (cell.sort < 0)}Infinity" if math.isinf(cell.sort) else repr(float(cell.sort))}


def data_of(page: Page) -> Markup:
    """Return the data of the script, as JSON escaped for a script element."""
    content = {
        "groups": [{"name": group.name, "dash": DASHARRAYS[group.style.dash]} for group in page.groups],
        "lines": [line_data(line) for line in page.curves.lines] if page.curves else [],
        "labels": dict(page.curves.labels) if page.curves else {},
        "ends": dict(page.curves.ends) if page.curves else {},
        "refresh": page.refresh,
    }
    escaped = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        escaped = escaped.replace(character, f"\\u{ord(character):04x}")
    return Markup(escaped)


def line_data(line: MeanCurve) -> dict[str, Any]:
    """Return a line in the form of the script's data, with null for gaps."""
    return {
        "group": line.group,
        "metric": line.metric,
        "x": {axis: finite(values) for axis, values in line.x.items()},
        "mean": finite(line.mean),
        "low": finite(line.low),
        "high": finite(line.high),
        "n": [int(number) for number in line.n],
    }


def finite(values: Iterable[float | None]) -> list[float | None]:
    """Return numbers rounded to six digits; None for those that are missing or not finite."""
    return [float(f"{value:.6g}") if value is not None and math.isfinite(value) else None for value in values]
