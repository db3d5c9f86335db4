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
from .svg import prefixed

DASHARRAYS = {"solid": "none", "dash": "7 4", "dot": "2 3", "dashdot": "8 3 2 3"}


@dataclass(frozen=True)
class GroupStyle:
    """A group of runs that differ only in their seeds.

    Args:
        name: the name on the page.
        style: the style of its lines everywhere on the page.
    """

    name: str
    style: palette.Style


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
    """A table whose rows can be sorted by any column."""

    title: str
    columns: Sequence[PageColumn]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


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
        note: the meaning of line and band.
    """

    metrics: Sequence[str]
    lines: Sequence[MeanCurve]
    axes: Sequence[str] = ("epoch", "step", "seconds")
    labels: Mapping[str, str] = field(default_factory=dict)
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
    """

    title: str
    caption: str
    svg: str
    statements: Sequence[str] = ()
    table: PageTable | None = None


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
        plotly=plotly() if page.curves else "",
        data=data_of(page),
        figures=[Markup(prefixed(figure.svg, f"f{number}-")) for number, figure in enumerate(page.figures, 1)],
    )
    return document.encode("utf-8", "replace").decode("utf-8")


def asset(name: str) -> str:
    """Return the content of a file in the folder `assets`."""
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def plotly() -> Markup:
    """Return the library that draws the curves, escaped so that nothing in it ends the script element."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs().replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def swatch(style: palette.Style) -> Markup:
    """Return a short sample of a group's line."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 30 10" width="30" height="10" aria-hidden="true">'
        '<line x1="1" x2="29" y1="5" y2="5" stroke="{}" stroke-width="3" stroke-dasharray="{}"/></svg>'
    ).format(style.color, DASHARRAYS[style.dash])


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
        "groups": [{"name": group.name, "color": group.style.color, "dash": group.style.dash} for group in page.groups],
        "lines": [line_data(line) for line in page.curves.lines] if page.curves else [],
        "labels": dict(page.curves.labels) if page.curves else {},
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
