"""Figures of a comparison, for the page and for print: one style per group everywhere, axes with units."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.common.metrics import AXES, Metric
from experiments.common.statuses import COMPLETED
from experiments.figures.canvas import (
    canvas,
    decades,
    integers,
    layer_name,
    legend,
    legend_height,
    logarithmic,
    wrapped,
)
from experiments.figures.palette import INK, Style, literal
from experiments.folders.reading import LayerCurves

from ._answers import Answer, GroupRow, possible
from .curves import Curve
from .grouping import Group, Grouping, number_of, shown
from .histograms import Histogram
from .statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUANTITIES = {
    "activation_std": "spread of activations (standard deviation)",
    "dead": "dead units (share of the layer)",
    "saturated": "saturated outputs (share of the layer)",
    "gradient_norm": "norm of the gradient",
    "update_ratio": "update : weight (norms)",
}
"""The quantities that are drawn layer by layer."""
UNDRAWN = re.compile(r"(?:norm|bn\d*)(?:\.weight)?$")
"""BatchNorm's own parameters, which are not drawn: between the weights of the other layers they make curves zigzag."""
LOGARITHMIC = {"activation_std", "gradient_norm", "update_ratio", "signal"}
COLUMNS = 4
CUT = 3
LONGEST = 40
"""Characters of a text in a figure."""
FAR = 100
"""The largest ratio of two ranges whose histograms share an axis."""
NARROW = 4.0
"""The width of a figure for a phone, in inches."""
NARROW_NAME = 44
"""Characters of a group's name that fit into its width."""
MOST_NAMED_LAYERS = 24
"""The most layers whose names fit side by side, or one above the other in a panel; of more, every few are named."""
MOST_HISTOGRAMS, MOST_NARROW_HISTOGRAMS = 12, 3
"""The most layers with histograms side by side; of more, some are chosen, from the first to the last."""
PANEL = 38
"""Characters that fit above a panel."""
MOST_TALL = 16
"""The most rows that are drawn far apart."""
POSSIBLE = (-2.0, 102.0)
"""The range of an axis in per cent that is shown; the interval of two runs reaches further."""
SHORT_TICKS = 36
"""Characters of all names that fit below a panel."""
MARKERS = "osD^vPX*"
LINES = ("-", "--", ":", "-.")
CROSS = "\u00d7"
"""The mark of a group without a completed run."""
MOST_LINES = 8
DECADE = 10.0
PALER = 0.3
"""How much paler every second line of ink is; it keeps a contrast of 4.5 to both pages."""


@dataclass(frozen=True)
class DrawnFigure:
    """A figure with its title and caption.

    Args:
        name: of its file.
        title, caption: above and below it.
        figure: Matplotlib's.
        narrow: draws it for a phone, `NARROW` inches wide; None if the page does not need it.
        inline: whether it is also in the page; the curves are not, as the page has a plot of its own for them.
        first: whether it is on the page directly after the curves.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    narrow: Callable[[], Figure] | None = None
    inline: bool = True
    first: bool = False


def with_outcomes(groups: Iterable[Group], styles: Mapping[str, Style]) -> dict[str, Style]:
    """Return the entries of a legend: the groups' names, with what happened if no run completed, and their styles."""
    return {labelled(group): styles[group.name] for group in groups}


def labelled(group: Group) -> str:
    """Return a group's name and, if none of its runs has the metric, what happened to them: 'init=he (5 diverged)'."""
    return group.name if group.outcome is None else f"{group.name} ({group.outcome})"


def left_out(groups: Sequence[Group], shown: Collection[str]) -> str:
    """Return a sentence for a caption on the groups that are not shown as none of their runs completed.

    Args:
        groups: all that would be drawn.
        shown: the names of those that are.
    """
    completed = {group.name for group in groups if any(r.status in COMPLETED for r in group.records.values())}
    lost = [labelled(group) for group in groups if group.name not in shown and group.name not in completed]
    return f" Not shown, as no run completed: {', '.join(lost)}." if lost else ""


def values_figure(answer: Answer, styles: Mapping[str, Style], rows: Sequence[GroupRow]) -> DrawnFigure:
    """Draw every run, and each group's mean with its interval.

    Args:
        answer: to the question.
        styles: of the groups, by name.
        rows: the groups, from top to bottom.
    """
    names = [wrapped(row.group.name, 44) for row in rows]
    inch = 0.42 if len(rows) <= MOST_TALL else 0.3
    inch = max(inch, 0.17 * max(name.count("\n") + 1 for name in names))
    figure = canvas(8.5, 1.2 + inch * len(rows))
    axes = figure.subplots()
    draw_values(axes, answer, styles, rows)
    axes.set_yticks(range(len(rows)), names)
    return DrawnFigure(
        "values",
        f"Every run: {answer.question.metric.name}",
        "Circles are runs, diamonds the groups' means, bars their 95 % intervals (Student's t).",
        figure,
        partial(narrow_values, answer, styles, rows),
    )


def narrow_values(answer: Answer, styles: Mapping[str, Style], rows: Sequence[GroupRow]) -> Figure:
    """Draw the figure of `values_figure` for a phone, with the groups' names above their rows.

    Args:
        answer, styles, rows: see `values_figure`.
    """
    names = [wrapped(row.group.name, NARROW_NAME, 3) for row in rows]
    inch = 0.3 + 0.17 * max(name.count("\n") + 1 for name in names)
    figure = canvas(NARROW, 0.9 + inch * len(rows))
    axes = figure.subplots()
    draw_values(axes, answer, styles, rows)
    axes.set_yticks([])
    axes.set_ylim(len(rows) - 1 + 0.15 / inch, 0.15 / inch - 1)
    for y, name in enumerate(names):
        position: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "bottom", "fontsize": 9}
        axes.text(0.01, y - 0.12 / inch, name, **position)
    return figure


def draw_values(axes: Axes, answer: Answer, styles: Mapping[str, Style], rows: Sequence[GroupRow]) -> None:
    """Draw the runs of each group, their mean and its interval, in a row for each group.

    Args:
        axes: to draw on.
        answer, styles, rows: see `values_figure`.
    """
    metric = answer.question.metric
    colors = [styles[row.group.name].color for row in rows]
    dots = [
        (value * metric.scale, y, color)
        for y, (row, color) in enumerate(zip(rows, colors, strict=True))
        for value in row.group.values.values()
    ]
    values, heights, shades = zip(*dots, strict=True)
    axes.scatter(values, heights, facecolors="none", edgecolors=shades, linewidths=1.1, s=25)
    means = [(row.estimate, y, colors[y]) for y, row in enumerate(rows) if row.estimate is not None]
    bars = [
        (y, mean.low * metric.scale, mean.high * metric.scale, color)
        for mean, y, color in means
        if mean.low is not None and mean.high is not None
    ]
    if bars:
        heights, lows, highs, shades = zip(*bars, strict=True)
        axes.hlines(heights, lows, highs, colors=shades, linewidth=2.4)
    axes.scatter(
        [mean.mean * metric.scale for mean, *_ in means],
        [y for _, y, _ in means],
        c=[color for *_, color in means],
        marker="D", s=49, edgecolors=INK, linewidths=0.8, zorder=3,
    )  # fmt: skip
    for y, row in enumerate(rows):
        if row.group.outcome:
            position: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 9}
            axes.text(0.01, y, f"{CROSS} {row.group.outcome}", **position)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if metric.is_share:
        axes.set_xlim(*np.clip(axes.get_xlim(), *POSSIBLE))
    axes.set_xlabel(literal(metric.label))
    axes.grid(axis="y", visible=False)


def curves_figure(
    drawn: Sequence[Curve], groups: Sequence[Group], styles: Mapping[str, Style], axis: str, names: Sequence[str]
) -> DrawnFigure:
    """Draw the curves of all metrics over one axis.

    Args:
        drawn: the curves of all groups and metrics.
        groups: of the legend; those without a curve are in it if none of their runs completed.
        styles: of the groups, by name.
        axis: epoch, step or seconds.
        names: of the metrics, a panel for each.
    """
    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    lined = {curve.group.name for curve in drawn}
    entries = with_outcomes([group for group in groups if group.name in lined or group.outcome], styles)
    figure = canvas(5.2 * columns, 3.5 * rows + legend_height(entries, 5.2 * columns))
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for name, axes in zip(names, grid, strict=False):
        metric = Metric(name)
        panel_curves = [curve for curve in drawn if curve.metric == name and axis in curve.x]
        means = np.concatenate([curve.mean for curve in panel_curves]) if panel_curves else np.ones(1)
        log = name.endswith("loss") and means.min() > 0 and means.max() / means.min() >= DECADE
        for curve in panel_curves:
            draw_curve(axes, curve, styles[curve.group.name], axis, metric.scale, log=log)
        if log:
            logarithmic(axes.yaxis)
        if metric.is_share:
            axes.set_ylim(*np.clip(axes.get_ylim(), *POSSIBLE))
        begin_with_data(axes, [curve.x[axis] for curve in panel_curves])
        if axis != "seconds":
            integers(axes)
        axes.set_xlabel(AXES[axis])
        axes.set_ylabel(literal(metric.label))
    for axes in list(figure.axes)[len(names) :]:
        axes.remove()
    legend(figure, entries, entries)
    return DrawnFigure(
        f"curves_{axis}",
        f"Curves over {AXES[axis]}",
        "Lines are means over the runs of a group, bands their 95 % intervals (Student's t).",
        figure,
        inline=False,
    )


def begin_with_data(axes: Axes, positions: Sequence[NDArray[np.float64]]) -> None:
    """Let the horizontal axis begin and end where the data do, if they have several points.

    Args:
        axes: to draw on.
        positions: of the points of each curve, (points,).
    """
    every = np.concatenate(positions) if positions else np.zeros(0)
    if len(every) and every.min() < every.max():
        axes.set_xlim(every.min(), every.max())


def draw_curve(axes: Axes, curve: Curve, style: Style, axis: str, scale: float, *, log: bool = True) -> None:
    """Draw one group's curve with its band.

    Args:
        axes: to draw on.
        curve: of a group.
        style: of the group.
        axis: epoch, step or seconds.
        scale: a factor of the values, such as 100 for per cent.
        log: whether the vertical axis may be logarithmic, where the band cannot reach 0.
    """
    x = curve.x[axis]
    look: dict[str, Any] = {"color": style.color, "linestyle": style.linestyle, "marker": "o" if len(x) == 1 else ""}
    axes.plot(x, curve.mean * scale, linewidth=1.8, **look)
    if np.isfinite(curve.low).any():
        low = np.where(curve.low > 0, curve.low, curve.mean) if log and (curve.mean > 0).all() else curve.low
        axes.fill_between(x, low * scale, curve.high * scale, color=style.color, alpha=0.15, linewidth=0)


def interaction_figure(answer: Answer, first: str, second: str) -> DrawnFigure:
    """Draw the means over one factor, a line for each level of another: parallel if they do not interact.

    Args:
        answer: to the question.
        first: the key of the factor on the horizontal axis.
        second: the key of the other factor.
    """
    partly = any(
        group.values and group.outcome is None and len(group.values) < len(group.records)
        for group in answer.grouping.groups
    )
    lost = any(group.outcome for group in answer.grouping.groups)
    return DrawnFigure(
        "interaction",
        f"{first} and {second} together",
        f"Means with 95 % intervals. If the lines are parallel, {first} has the same effect at every {second}."
        + (f" {CROSS}: no run has a result, so the line is broken." if lost else "")
        + (" Runs that did not complete are not in the means." if partly else ""),
        interaction(answer, first, second, narrow=False),
        partial(interaction, answer, first, second, narrow=True),
    )


def interaction(answer: Answer, first: str, second: str, *, narrow: bool) -> Figure:
    """Draw the figure of `interaction_figure`, with the legend beside it or, on a phone, below it.

    Args:
        answer, first, second: see `interaction_figure`.
        narrow: whether it is for a phone.
    """
    metric = answer.question.metric
    levels = {key: list(dict.fromkeys(g.levels[key] for g in answer.grouping.groups)) for key in (first, second)}
    labels = [wrapped(level, NARROW_NAME if narrow else 24) for level in levels[second]]
    figure = canvas(*((NARROW, 3.6 + 0.2 * (2 + len("\n".join(labels).split("\n")))) if narrow else (8.5, 4.2)))
    axes = figure.subplots()
    spread = min(0.06, 0.6 / len(levels[second]))
    lost: dict[str, dict[int, str]] = {}
    for number, level in enumerate(levels[second]):
        positions, means, below, above = [], [], [], []
        for position, other in enumerate(levels[first]):
            members = [g for g in answer.grouping.groups if g.levels[first] == other and g.levels[second] == level]
            values = [value for group in members for value in group.values.values()]
            cell = possible(estimate(values), metric) if values else None
            mean = cell.mean if cell else math.nan  # which breaks the line
            positions.append(position + spread * (number - (len(levels[second]) - 1) / 2))
            means.append(mean * metric.scale)
            below.append((mean - cell.low) * metric.scale if cell and cell.low is not None else 0.0)
            above.append((cell.high - mean) * metric.scale if cell and cell.high is not None else 0.0)
            if members and not values:
                outcomes = dict.fromkeys(group.outcome for group in members if group.outcome)
                lost.setdefault(level, {})[position] = ", ".join(outcomes)
        look: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "linestyle": LINES[number % len(LINES)]}
        axes.errorbar(
            positions,
            means,
            (below, above),
            color=INK,
            alpha=1 - PALER * (number % 2),
            capsize=3,
            label=labels[number],
            **look,
        )
    mark_lost(axes, lost, len(levels[first]))
    width = max(8, (28 if narrow else 60) // len(levels[first]))
    turned: dict[str, Any] = {}
    if any(len(word) > width for level in levels[first] for word in level.split()):
        turned, width = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}, 24
    if narrow and len(levels[first]) > 4:
        turned, width = {"rotation": 90}, 24
    axes.set_xticks(range(len(levels[first])), [wrapped(level, width) for level in levels[first]], **turned)
    axes.set_xlabel(literal(first))
    axes.set_ylabel(literal(metric.label))
    place_legend(figure, narrow=narrow, title=wrapped(second, 24))
    return figure


def mark_lost(axes: Axes, lost: Mapping[str, Mapping[int, str]], count: int) -> None:
    """Mark below the means where a level has no result, with what happened to its runs.

    Args:
        axes: whose means are drawn.
        lost: by level and position on the horizontal axis: what happened.
        count: the number of positions.
    """
    if not lost:
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    places = {position for outcomes in lost.values() for position in outcomes}
    lines = len(lost) if len(places) == 1 else 2 * len(lost)
    line = 0.18 / (figure.get_figheight() - 1.2)  # its height, as a share of the axes
    room = min(0.6, (lines + 0.7) * line)
    low, high = axes.get_ylim()
    axes.set_ylim(low - (high - low) * room / (1 - room), high)
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])  # below the means there are no values
    axes.set_xlim(-0.4, count - 0.6)
    look: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "bottom", "fontsize": 9}
    for number, (level, outcomes) in enumerate(reversed([*lost.items()])):
        text = wrapped(f"{level}: {', '.join(dict.fromkeys(outcomes.values()))}", LONGEST, 1)
        if len(places) == 1:
            (position,) = outcomes
            side = "left" if position == 0 else "right" if position == count - 1 else "center"
            x = {"left": -0.35, "right": count - 0.65}.get(side, position)
            axes.text(x, (number + 0.2) * line, f"{CROSS} {text}", ha=side, **look)
        else:
            axes.text(-0.35, (2 * number + 1.2) * line, text, ha="left", **look)
            for position in outcomes:
                axes.text(position, (2 * number + 0.2) * line, CROSS, ha="center", **look)


def place_legend(figure: Figure, *, narrow: bool, **more: Any) -> None:
    """Put a legend beside the axes or, on a phone, below them."""
    figure.legend(loc="outside lower left" if narrow else "outside right upper", **more)


def sensitivity_figures(grouping: Grouping, metric: Metric) -> Iterator[DrawnFigure]:
    """Draw the metric over each number of the configuration that has three or more values among the runs.

    There is a line for each setting of the other keys that differ, if there are few.
    """
    for key in grouping.differing:
        others = [other for other in grouping.differing if other != key]
        if (found := sensitivity_figure(grouping, key, others, metric)) is not None:
            yield found


def sensitivity_figure(grouping: Grouping, key: str, others: Sequence[str], metric: Metric) -> DrawnFigure | None:
    """Draw the metric over one number; None for fewer than three values.

    The scale is logarithmic if the values are positive and span a decade.

    Args:
        grouping: the runs in groups.
        key: of the number.
        others: the other keys that differ; there is a line for each of their settings.
        metric: to draw.
    """
    points = [
        (number_of(record, key), record, g.values.get(b)) for g in grouping.groups for b, record in g.records.items()
    ]
    numbers = {x for x, _, value in points if x is not None and value is not None}
    if len(numbers) < 3:
        return None
    settings: dict[str, dict[float, list[float]]] = {}
    for x, record, value in points:
        if x is not None:
            name = " ".join(f"{other}={shown(record, other)}" for other in others)
            settings.setdefault(name, {}).setdefault(x, []).extend([] if value is None else [value * metric.scale])
    settings = {name: found for name, found in settings.items() if any(found.values())}
    lined = len(settings) <= MOST_LINES and all(sum(map(bool, found.values())) > 1 for found in settings.values())
    text = (
        f"Circles are runs; each line joins the means of runs that differ only in {key} and the seed."
        if lined
        else "Circles are runs."
    )
    if not all(values for found in settings.values() for values in found.values()):
        broken = ", and the line is broken" if lined else ""
        text += f" {CROSS} at the bottom: no run of a setting has a result there{broken}."
    return DrawnFigure(
        f"sensitivity_{re.sub(r'[^0-9A-Za-z]+', '_', key)[:60]}",
        f"{metric.name} over {key}",
        text,
        sensitivity(settings, key, metric, lined=lined, narrow=False),
        partial(sensitivity, settings, key, metric, lined=lined, narrow=True),
    )


def sensitivity(
    settings: Mapping[str, Mapping[float, Sequence[float]]], key: str, metric: Metric, *, lined: bool, narrow: bool
) -> Figure:
    """Draw the figure of `sensitivity_figure`, with the legend beside it or, on a phone, below it.

    Args:
        settings: the values of the metric by the names of the other choices and by the number; empty without a result.
        key: of the number.
        metric: to draw.
        lined: whether the means are joined.
        narrow: whether it is for a phone.
    """
    several = lined and len(settings) > 1
    labels = {name: wrapped(name, *((NARROW_NAME, 3) if narrow else (26, 4))) for name in settings}
    below = 0.2 * len("\n".join(labels.values()).split("\n")) if several else 0.0
    figure = canvas(*((NARROW, 3.6 + below) if narrow else (8.5 if several else 7, 4.2)))
    axes = figure.subplots()
    points = [(x, value) for found in settings.values() for x, values in found.items() for value in values]
    circles: dict[str, Any] = {"markerfacecolor": "none", "alpha": 1 - PALER, "markersize": 5, "linestyle": "none"}
    axes.plot(*zip(*points, strict=True), "o", color=INK, **circles)
    for number, (name, found) in enumerate(settings.items() if lined else ()):
        positions = sorted(found)
        look: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "linestyle": LINES[number % len(LINES)]}
        means = [float(np.mean(found[x])) if found[x] else math.nan for x in positions]  # nan breaks the line
        axes.plot(positions, means, color=INK, markersize=6, label=labels[name], **look)
    lost = sorted({x for found in settings.values() for x, values in found.items() if not values})
    if lost:
        axes.plot(lost, [0.02] * len(lost), "x", color=INK, transform=axes.get_xaxis_transform(), clip_on=False)
    if several:
        place_legend(figure, narrow=narrow)
    numbers = sorted([*(x for x, _ in points), *lost])
    if numbers[0] > 0 and numbers[-1] / numbers[0] >= DECADE:
        logarithmic(axes.xaxis)
    axes.set_xlabel(literal(key))
    axes.set_ylabel(literal(metric.label))
    return figure


def layers_of(group: Group, *, by_step: bool = False) -> dict[str, LayerCurves]:
    """Return the means over a group's runs of the drawn quantities, by layer and epoch; by step if this is wanted."""
    sums: dict[str, dict[str, dict[int, list[float]]]] = {}
    for record in group.records.values():
        if record.status not in COMPLETED:
            continue
        for quantity, layers in record.layers(QUANTITIES, by_step=by_step).items():
            for layer, values in layers.items():
                if UNDRAWN.search(layer) or (quantity == "update_ratio" and not layer.endswith("weight")):
                    continue
                collected = sums.setdefault(quantity, {}).setdefault(layer, {})
                for epoch, value in values.items():
                    collected.setdefault(epoch, []).append(value)
    return {
        quantity: {
            layer: {epoch: sum(values) / len(values) for epoch, values in sorted(epochs.items())}
            for layer, epochs in layers.items()
        }
        for quantity, layers in sums.items()
    }


def merged(orders: Iterable[Iterable[str]]) -> list[str]:
    """Return the layers of several models in one order: a layer that others lack comes after the one before it."""
    union: list[str] = []
    for order in orders:
        index = 0
        for layer in order:
            if layer in union:
                index = union.index(layer) + 1
            else:
                union.insert(index, layer)
                index += 1
    return union


def last_layers_figure(
    found: Mapping[str, Mapping[str, LayerCurves]], styles: Mapping[str, Style], note: str = ""
) -> DrawnFigure | None:
    """Draw each quantity from the first layer to the last, at the end of training, a line for each group.

    Args:
        found: by group, quantity and layer: the value by epoch or step.
        styles: of the groups, by name.
        note: the end of the caption.
    """
    present = [quantity for quantity in QUANTITIES if any(quantity in quantities for quantities in found.values())]
    if not present:
        return None
    return DrawnFigure(
        "layers_last",
        "Layer by layer, at the end",
        f"Means over the runs of a group, measured on the probe: a fixed batch of training examples.{note}",
        last_layers(found, styles, present, narrow=False),
        partial(last_layers, found, styles, present, narrow=True),
    )


def last_layers(
    found: Mapping[str, Mapping[str, LayerCurves]], styles: Mapping[str, Style], present: Sequence[str], *, narrow: bool
) -> Figure:
    """Draw the figure of `last_layers_figure`, two panels side by side or, on a phone, one below the other.

    Args:
        found: by group, quantity and layer: the value by epoch or step.
        styles: of the groups, by name.
        present: the quantities, a panel for each.
        narrow: whether it is for a phone.
    """
    columns = 1 if narrow else min(2, len(present))
    width, rows = NARROW if narrow else 5.4 * columns, math.ceil(len(present) / columns)
    figure = canvas(width, (3.2 if narrow else 3.6) * rows + legend_height(found, width))
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for quantity, axes in zip(present, grid, strict=False):
        order = merged(quantities.get(quantity, {}) for quantities in found.values())
        for name, quantities in found.items():
            layers = quantities.get(quantity, {})
            epoch = max((max(values) for values in layers.values()), default=0)
            last = {order.index(layer): values[epoch] for layer, values in layers.items() if epoch in values}
            positions = sorted(last)
            style = styles[name]
            look: dict[str, Any] = {"color": style.color, "linestyle": style.linestyle, "markersize": 4}
            marker = "o" if len(order) <= MOST_NAMED_LAYERS else ""
            axes.plot(positions, [last[position] for position in positions], marker=marker, **look)
        ticks = named_layers(order, 6 if narrow else MOST_NAMED_LAYERS)
        crowded = len("".join(ticks.values())) > SHORT_TICKS * width / columns / 5.4
        turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if crowded else {}
        axes.set_xticks(list(ticks), list(ticks.values()), **turned)
        axes.set_xlabel("layer")
        axes.set_ylabel(QUANTITIES[quantity].replace(" (", "\n("))
        if quantity in LOGARITHMIC and axes.dataLim.minposy < math.inf:
            logarithmic(axes.yaxis)
    for axes in list(figure.axes)[len(present) :]:
        axes.remove()
    legend(figure, found, styles)
    return figure


def named_layers(order: Sequence[str], most: int = MOST_NAMED_LAYERS) -> dict[int, str]:
    """Return the layers that are named beside an axis, by position: all, or every few from the first on."""
    return {index: layer_name(order[index]) for index in range(0, len(order), math.ceil(len(order) / most))}


def layer_figures(
    found: Mapping[str, Mapping[str, LayerCurves]], *, by_step: bool = False, note: str = ""
) -> Iterator[DrawnFigure]:
    """Draw each quantity layer by layer and epoch by epoch: a panel for each group, one scale for all.

    Args:
        found: by group, quantity and layer: the value by epoch or step.
        by_step: whether the values are by step.
        note: the end of the captions.
    """
    unit = "step" if by_step else "epoch"
    for quantity, title in QUANTITIES.items():
        tables = {name: quantities[quantity] for name, quantities in found.items() if quantity in quantities}
        log = quantity in LOGARITHMIC
        if (figure := panels(tables, title, unit, log=log)) is not None:
            yield DrawnFigure(
                f"layers_{quantity}",
                f"{title.partition(' (')[0].capitalize()}, layer by layer and {unit} by {unit}",
                f"A panel for each group, the first layer at the top; means over runs, one scale for all.{note}",
                figure,
                partial(narrow_panels, tables, title, unit, log=log),
            )


def narrow_panels(tables: Mapping[str, LayerCurves], title: str, unit: str, *, log: bool) -> Figure:
    """Draw the panels one below the other, for a phone.

    Args:
        tables, title, unit, log: see `panels`.
    """
    figure = panels(tables, title, unit, log=log, narrow=True)
    assert figure is not None  # as the wide one has something to draw
    return figure


def panels(
    tables: Mapping[str, LayerCurves], title: str, unit: str = "epoch", *, log: bool, narrow: bool = False
) -> Figure | None:
    """Draw tables of layers by epochs, or by steps, as colours; None if there is nothing to draw.

    The panels of a column share one pair of axes: the layout of a pair for each takes longer than the drawing.

    Args:
        tables: by group and layer: the value by epoch or step.
        title: of the scale.
        unit: epoch or step.
        log: whether the scale is logarithmic.
        narrow: whether it is for a phone.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import MaxNLocator

    every = [v for layers in tables.values() for values in layers.values() for v in values.values() if v > 0 or not log]
    if not every:
        return None
    low, high = min(every), max(every)
    if low == high:  # one colour, in the middle of a scale
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    scale: Normalize = (LogNorm if log else Normalize)(low, high)
    order = merged(tables.values())
    columns = 1 if narrow else min(COLUMNS, len(tables))
    rows = math.ceil(len(tables) / columns)
    names = {name: wrapped(name, PANEL) for name in tables}
    inch = 0.2 if len(order) <= MOST_NAMED_LAYERS else 0.2 * MOST_NAMED_LAYERS / len(order)
    inch = max(inch, 0.75 / len(order), 1.7 / len(order) / rows)  # the height of a layer
    gap = (0.12 + 0.16 * max(name.count("\n") + 1 for name in names.values())) / inch
    below = 1.0 if narrow else 0.0  # the scale
    figure = canvas(NARROW if narrow else 1.9 + 2.9 * columns, rows * (len(order) + gap) * inch + 0.7 + below)
    grid = figure.subplots(1, columns, squeeze=False)[0]
    for index, (name, layers) in enumerate(tables.items()):
        row, column = divmod(index, columns)
        axes, top = grid[column], row * (len(order) + gap)
        epochs = sorted({epoch for values in layers.values() for epoch in values})
        values = [[layers.get(layer, {}).get(epoch, np.nan) for epoch in epochs] for layer in order]
        shown = axes.pcolormesh(
            edges(epochs), top + np.arange(len(order) + 1), np.ma.masked_invalid(values), norm=scale, cmap="viridis",
            rasterized=True,
        )  # fmt: skip
        axes.text(
            0, top - 0.04 / inch, names[name], fontsize=9, va="bottom", transform=axes.get_yaxis_transform(which="grid")
        )
    named = named_layers(order)
    ticks = [row * (len(order) + gap) + index + 0.5 for row in range(rows) for index in named]
    for column, axes in enumerate(grid):
        axes.set_ylim(rows * (len(order) + gap) - gap, -gap)
        filled = math.ceil(
            (len(tables) - column) / columns
        )  # an empty cell has no axis: that of the last panel is above
        axes.spines["bottom"].set_position(("data", filled * (len(order) + gap) - gap))
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.set_yticks([])
        axes.set_xlabel(f"{unit}s")
        integers(axes)
    grid[0].set_yticks(ticks, list(named.values()) * rows)
    marks: dict[str, Any] = {"ticks": decades(low, high), "format": "{x:g}"} if log else {}
    if narrow:
        marks |= {"ticks": few_decades(low, high)} if log and high / low > DECADE else {"ticks": MaxNLocator(4)}
        marks |= {"location": "bottom", "aspect": 25, "pad": 0.02}
    else:
        marks |= {"aspect": 20 + 10 * (rows > 1)}
    bar = figure.colorbar(shown, ax=list(grid), label=title.replace(" (", "\n("), **marks)
    bar.minorticks_off()
    return figure


def few_decades(low: float, high: float) -> list[float]:
    """Return a few powers of ten in a range for a scale on a phone, at least its ends if there is only one."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first) / 3))
    powers = [10.0**power for power in range(first, last + 1, step)]
    return powers if len(powers) > 1 else [float(f"{low:.2g}"), float(f"{high:.2g}")]


def edges(centers: Sequence[float]) -> NDArray[np.float64]:
    """Return the borders of cells, (cells + 1,), from their centers."""
    x = np.array(centers, np.float64)
    if len(x) == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    between = (x[:-1] + x[1:]) / 2
    return np.array([2 * x[0] - between[0], *between, 2 * x[-1] - between[-1]])


def histograms_figure(
    found: Mapping[str, Mapping[str, Histogram]],
    styles: Mapping[str, Style],
    name: str,
    when: str,
    *,
    note: str = "",
    first: bool = False,
) -> DrawnFigure | None:
    """Draw histograms of activations: a row for each group, a column for each layer, as in the textbooks.

    Args:
        found: histograms by group and layer.
        styles: of the groups, by name.
        name: of the file.
        when: the time of the histograms, for the title.
        note: the end of the caption.
        first: whether it is on the page directly after the curves.
    """
    layers = merged(found.values())
    if not layers:
        return None
    chosen, few = spaced(layers, MOST_HISTOGRAMS), spaced(layers, MOST_NARROW_HISTOGRAMS)
    few_layers = f" Of {len(layers)} layers, {len(chosen)} are shown." if len(chosen) < len(layers) else ""
    scales = ""
    if own_scales(found):
        scales = (
            f" The ranges of the groups differ more than {FAR} times, so each histogram has an axis of its own: the "
            "numbers above it are the ends of its range."
        )
    return DrawnFigure(
        name,
        f"Histograms of activations, {when}",
        "Counts of the activations on the probe in bins of equal width, each histogram as high as its row; a bar more "
        f"than {CUT} times as high as all others is cut off there. One run of each group (its first seed); a row for "
        f"each group, a column for each layer.{few_layers}{scales}{note}",
        histograms(found, styles, chosen, narrow=False),
        partial(histograms, found, styles, few, narrow=True, every=len(layers)),
        first=first,
    )


def own_scales(found: Mapping[str, Mapping[str, Histogram]]) -> bool:
    """Whether the ranges of a layer's histograms differ so much that the narrow ones would be vertical lines."""
    for layer in merged(found.values()):
        reaches = [reach for own in found.values() if layer in own and (reach := reach_of(own[layer])) > 0]
        if reaches and max(reaches) > FAR * min(reaches):
            return True
    return False


def short(value: float) -> str:
    """Return a number with two digits: 230, 0.023, 4e-07."""
    return f"{float(f'{value:.2g}'):g}"


def reach_of(histogram: Histogram) -> float:
    """Return the largest magnitude in a histogram."""
    return float(np.abs(histogram.edges).max())


def spaced(layers: Sequence[str], most: int) -> list[str]:
    """Return all layers, or `most` of them at even distances, the first and the last among them."""
    if len(layers) <= most:
        return list(layers)
    return [layers[round(index)] for index in np.linspace(0, len(layers) - 1, most)]


def histograms(
    found: Mapping[str, Mapping[str, Histogram]],
    styles: Mapping[str, Style],
    layers: Sequence[str],
    *,
    narrow: bool,
    every: int = 0,
) -> Figure:
    """Draw the figure of `histograms_figure`, the groups' names beside their rows or, on a phone, above them.

    Args:
        found: histograms by group and layer.
        styles: of the groups.
        layers: to draw.
        narrow: whether it is for a phone.
        every: the number of all layers, which is written above the figure if it is larger than that of the drawn ones.
    """
    width, height = (1.9, 0.75) if len(layers) <= COLUMNS else (1.35, 0.6)
    names = [wrapped(group, *((NARROW_NAME, 2) if narrow else (28, 3))) for group in reversed(list(found))]
    room = 0.17 * max(name.count("\n") + 1 for name in names) + 0.1 if narrow else 0.0  # for the names, in inches
    height = max(height, 0.55 + room) if narrow else height
    own_axes = own_scales(found)
    ranges = 0.16 if own_axes else 0.0  # inches for the ends of each histogram's range
    height += ranges
    figure = canvas(NARROW if narrow else 2.8 + width * len(layers), 0.9 + height * len(found))
    grid = figure.subplots(1, len(layers), squeeze=False)[0]
    tall = 0.85 - (room + ranges) / height
    for layer, axes in zip(layers, grid, strict=True):
        for row, (group, own) in enumerate(reversed(list(found.items()))):
            histogram = own.get(layer)
            if histogram is not None:
                heights = row + tall * (histogram.counts / tallest(histogram)).clip(max=1.0)
                color = styles[group].color
                look = {"facecolor": color, "edgecolor": color, "linewidth": 0.8, "snap": False}
                low, high = float(histogram.edges[0]), float(histogram.edges[-1])
                if own_axes and high > low:
                    axes.stairs(heights, (histogram.edges - low) / (high - low), baseline=row, fill=True, **look)
                    axes.text(
                        0.5, row + tall + 0.02, f"{short(low)} to {short(high)}", fontsize=7, ha="center", va="bottom"
                    )
                else:
                    axes.stairs(heights, histogram.edges, baseline=row, fill=True, **look)
        axes.hlines(range(len(found)), 0, 1, color=INK, linewidth=0.6, transform=axes.get_yaxis_transform())
        axes.set_ylim(-0.05, len(found))
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.grid(visible=False)
        if own_axes:
            axes.set_xlim(-0.05, 1.05)
            axes.set_xticks([])
        else:
            axes.locator_params(axis="x", nbins=3 if narrow else 4)
        axes.tick_params(labelsize=8)
        axes.set_title(layer_name(layer), fontsize=9, fontweight="normal")
        axes.set_xlabel("activation", fontsize=9)
    if every > len(layers):
        figure.suptitle(f"{len(layers)} of {every} layers; a wider screen shows more", fontsize=9, fontweight="normal")
    if narrow:
        for row, text in enumerate(names):
            position: dict[str, Any] = {"transform": grid[0].get_yaxis_transform(), "va": "top", "fontsize": 8}
            grid[0].text(0, row + 0.97, text, **position).set_in_layout(False)  # it may reach over the other columns
    else:
        grid[0].set_yticks([row + 0.4 for row in range(len(found))], names, fontsize=9)
        grid[0].tick_params(axis="y", length=0)
    return figure


def tallest(histogram: Histogram) -> float:
    """Return the count that is as high as the row: ReLU's zeros would make all other bars look flat."""
    *_, second, first = sorted([0.0, *histogram.counts])
    return max(min(first, CUT * second) if second else first, 1.0)


def undrawn_note(shown: Sequence[Group], every: Sequence[Group], metric: Metric) -> str | None:
    """Return a note on the groups that are drawn, if they are not all."""
    if len(shown) == len(every):
        return None
    return f"Curves and layers are drawn only for the best {len(shown)} of {len(every)} groups by {metric.name}"
