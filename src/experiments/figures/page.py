"""The page of a comparison: one HTML file that needs no network, light or dark, on a screen or on paper."""

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
    """Runs that differ only in their seeds.

    Args:
        name: as shown.
        style: how it is drawn everywhere on the page.
    """

    name: str
    style: palette.Style


@dataclass(frozen=True)
class PageColumn:
    """A column of a table.

    Args:
        title: the button that sorts by it.
        kind: numbers are set to the right.
        note: small print below the title.
    """

    title: str
    kind: Literal["text", "number"] = "text"
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: as shown.
        sort: what it is sorted by; without one, a text by itself and a number last.
        group: index of a group whose swatch stands before the text.
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
        group: index of the group.
        metric: its name.
        x: name of an axis -> (points,); an axis that is missing cannot be chosen for this line.
        mean: (points,); what is not finite leaves a gap.
        low, high: (points,), the ends of the interval; None where there is none.
        n: (points,), the runs behind each.
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
    """The plot in which the reader chooses what to see.

    Args:
        metrics: to choose from, the first is shown first.
        lines: of all groups and metrics.
        axes: what a metric can be drawn over.
        labels: of metrics and axes with their units; a name without one stands for itself.
        note: what line and band are.
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
        title: above it.
        caption: below it.
        svg: of `svg_of`; it is put into the page as it is.
        said: statements between title and drawing, the first one stands out.
        table: the numbers to it, below.
    """

    title: str
    caption: str
    svg: str
    said: Sequence[str] = ()
    table: PageTable | None = None


@dataclass(frozen=True)
class Page:
    """All that the page says.

    Args:
        title: of the page.
        said: statements, the answer first.
        notes: what the reader must know besides: runs that diverged, folders that were left out.
        groups: what is compared.
        tables, curves, figures: the evidence.
        refresh: seconds after which the page loads itself again, while runs go on.
        made: when, and by which command.
    """

    title: str
    said: Sequence[str] = ()
    notes: Sequence[str] = ()
    groups: Sequence[GroupStyle] = ()
    tables: Sequence[PageTable] = ()
    curves: Curves | None = None
    figures: Sequence[Figure] = ()
    refresh: int | None = None
    made: str = ""


def render(page: Page) -> str:
    """Return the page as one HTML document; names are shown as they are, whatever they look like."""
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
    """Return a file that lies beside this one."""
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def plotly() -> Markup:
    """Return the library that draws the curves, such that nothing in it ends the script."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs().replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def swatch(style: palette.Style) -> Markup:
    """Return a short piece of a group's line."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 30 10" width="30" height="10" aria-hidden="true">'
        '<line x1="1" x2="29" y1="5" y2="5" stroke="{}" stroke-width="3" stroke-dasharray="{}"/></svg>'
    ).format(style.color, DASHARRAYS[style.dash])


def key(cell: Cell, kind: str) -> dict[str, str]:
    """Return what a cell is sorted by, as attributes; none where the value is missing."""
    if isinstance(cell.sort, str) or (cell.sort is None and kind == "text"):
        return {"data-text": cell.text if cell.sort is None else cell.sort}
    if cell.sort is None or math.isnan(cell.sort):
        return {}
    return {"data-number": f"{'-' * (cell.sort < 0)}Infinity" if math.isinf(cell.sort) else repr(float(cell.sort))}


def data_of(page: Page) -> Markup:
    """Return what the script needs, as JSON that can stand inside a script element."""
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
    """Return a line for the script; its gaps are null."""
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
    """Return numbers to six digits; None where there is none, or none that is finite."""
    return [float(f"{value:.6g}") if value is not None and math.isfinite(value) else None for value in values]
