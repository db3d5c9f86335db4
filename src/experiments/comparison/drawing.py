"""Figures of a comparison, for the page and for print: one style a group everywhere, axes with their units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .answers import Answer, Line
from .curves import Curve
from .grouping import ENDED_WELL, Group, Grouping, number_of, shown, varying
from .histograms import Histogram
from .palette import INK, Style, literal
from .statistics import estimate
from .words import AXES, Metric

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
"""What is drawn layer by layer."""
LOGARITHMIC = {"gradient_norm", "update_ratio", "signal"}
COLUMNS = 4
LONGEST = 34
MARKERS = "osD^vPX*"
LINES = ("-", "--", ":", "-.")
MOST_LINES = 8
DECADE = 10.0


@dataclass(frozen=True)
class Drawn:
    """A figure and what is said of it.

    Args:
        name: of its file.
        title, caption: above and below it.
        figure: Matplotlib's.
        inline: whether it is in the page too, where the curves are drawn for themselves.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    inline: bool = True


def values_figure(answer: Answer, styles: Mapping[str, Style], lines: Sequence[Line]) -> Drawn:
    """Draw every run, and each group's mean with its interval."""
    from matplotlib.figure import Figure

    metric = answer.question.metric
    figure = Figure(figsize=(8.5, 1.2 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for row, line in enumerate(lines):
        style, values = styles[line.group.name], np.array(list(line.group.values.values())) * metric.scale
        axes.plot(values, np.full(len(values), row), "o", color=style.color, alpha=0.45, markersize=5, linestyle="none")
        if line.estimate is None:
            continue
        mean = line.estimate.mean * metric.scale
        if line.estimate.low is not None and line.estimate.high is not None:
            ends = line.estimate.low * metric.scale, line.estimate.high * metric.scale
            axes.plot(ends, (row, row), color=style.color, linewidth=2.4, linestyle="-")
        axes.plot([mean], [row], "D", color=style.color, markersize=7, markeredgecolor=INK, markeredgewidth=0.8)
    axes.set_yticks(range(len(lines)), [clipped(line.group.name) for line in lines])
    axes.invert_yaxis()
    axes.set_xlabel(literal(metric.label))
    axes.grid(axis="y", visible=False)
    return Drawn(
        "values",
        f"Every run: {metric.name}",
        "Dots are runs, diamonds the groups' means, bars their 95 % intervals (Student's t).",
        figure,
    )


def curves_figure(drawn: Sequence[Curve], styles: Mapping[str, Style], axis: str, names: Sequence[str]) -> Drawn:
    """Draw the curves of all metrics over one axis."""
    from matplotlib.figure import Figure

    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    groups = list(dict.fromkeys(curve.group.name for curve in drawn))
    figure = Figure(figsize=(5.2 * columns, 3.5 * rows + 0.3 * math.ceil(len(groups) / 2)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for name, axes in zip(names, grid, strict=False):
        metric = Metric(name)
        for curve in drawn:
            if curve.metric == name and axis in curve.x:
                draw_curve(axes, curve, styles[curve.group.name], axis, metric.scale)
        if name.endswith("loss") and axes.get_ylim()[0] > 0:
            with suppress(ValueError):
                axes.set_yscale("log")
        axes.set_xlabel(AXES[axis])
        axes.set_ylabel(literal(metric.label))
    for axes in list(figure.axes)[len(names) :]:
        axes.remove()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(handles) > 4 else len(handles))
    return Drawn(
        f"curves_{axis}",
        f"Curves over {AXES[axis]}",
        "Lines are means over the runs of a group, bands their 95 % intervals (Student's t).",
        figure,
        inline=False,
    )


def draw_curve(axes: Axes, curve: Curve, style: Style, axis: str, scale: float) -> None:
    """Draw one group's curve with its band."""
    x = curve.x[axis]
    label = clipped(curve.group.name)
    axes.plot(x, curve.mean * scale, color=style.color, linestyle=style.linestyle, linewidth=1.8, label=label)
    if np.isfinite(curve.low).any():
        low = np.where(curve.low > 0, curve.low, curve.mean) if (curve.mean > 0).all() else curve.low
        axes.fill_between(x, low * scale, curve.high * scale, color=style.color, alpha=0.15, linewidth=0)


def interaction_figure(answer: Answer, first: str, second: str) -> Drawn:
    """Draw the means over one factor, a line for each level of another: parallel where they do not interact."""
    from matplotlib.figure import Figure

    metric = answer.question.metric
    levels = {key: list(dict.fromkeys(g.levels[key] for g in answer.grouping.groups)) for key in (first, second)}
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, level in enumerate(levels[second]):
        places, means, reaches = [], [], []
        for place, other in enumerate(levels[first]):
            values = [
                value
                for group in answer.grouping.groups
                if group.levels[first] == other and group.levels[second] == level
                for value in group.values.values()
            ]
            if values:
                found = estimate(values)
                places.append(place + 0.06 * (number - (len(levels[second]) - 1) / 2))
                means.append(found.mean * metric.scale)
                reaches.append((found.high - found.mean) * metric.scale if found.high is not None else 0.0)
        look: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "linestyle": LINES[number % len(LINES)]}
        label = clipped(f"{second}={level}")
        axes.errorbar(places, means, reaches, color=INK, alpha=1 - 0.5 * (number % 2), capsize=3, label=label, **look)
    axes.set_xticks(range(len(levels[first])), [clipped(level, 14) for level in levels[first]])
    axes.set_xlabel(literal(first))
    axes.set_ylabel(literal(metric.label))
    axes.legend(ncols=1 if len(levels[second]) < 5 else 2)
    return Drawn(
        "interaction",
        f"{first} and {second} together",
        f"Means with 95 % intervals. Where the lines are parallel, {first} does the same at every {second}.",
        figure,
    )


def sensitivity_figure(grouping: Grouping, key: str, metric: Metric) -> Drawn | None:
    """Draw the metric against a number of the configuration, a line for each setting of the rest.

    On a logarithmic scale where the values are positive and span a decade. None for fewer than three values.
    """
    from matplotlib.figure import Figure

    records = [
        (g, record, value)
        for g in grouping.groups
        for b, record in g.records.items()
        if (value := g.values.get(b)) is not None
    ]
    points = [(number_of(record, key), record, value) for _, record, value in records]
    numbers = sorted({x for x, _, _ in points if x is not None})
    if len(numbers) < 3:
        return None
    others = [other for other in grouping.keys if other != key]
    settings: dict[str, dict[float, list[float]]] = {}
    for x, record, value in points:
        if x is not None:
            name = " ".join(f"{other}={shown(record, other)}" for other in others)
            settings.setdefault(name, {}).setdefault(x, []).append(value * metric.scale)
    lined = len(settings) <= MOST_LINES and all(len(found) > 1 for found in settings.values())
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [x for x, _, _ in points if x is not None],
        [value * metric.scale for x, _, value in points if x is not None],
        "o", color=INK, alpha=0.3, markersize=4, linestyle="none",
    )  # fmt: skip
    for number, (name, found) in enumerate(settings.items() if lined else ()):
        places = sorted(found)
        look: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "linestyle": LINES[number % len(LINES)]}
        axes.plot(
            places,
            [float(np.mean(found[x])) for x in places],
            color=INK,
            markersize=6,
            label=clipped(name, 50) or None,
            **look,
        )
    if lined and len(settings) > 1:
        axes.legend()
    if numbers[0] > 0 and numbers[-1] / numbers[0] >= DECADE:
        axes.set_xscale("log")
    axes.set_xlabel(literal(key))
    axes.set_ylabel(literal(metric.label))
    text = "Dots are runs; lines join the means of runs that differ in nothing else." if lined else "Dots are runs."
    return Drawn(f"sensitivity_{re.sub(r'[^0-9A-Za-z]+', '_', key)[:60]}", f"{metric.name} over {key}", text, figure)


def numeric_keys(grouping: Grouping) -> list[str]:
    """Return the keys that runs differ in and that are numbers, of which there are three or more."""
    records = [record for group in grouping.groups for record in group.records.values()]
    found = []
    for key in varying(records):
        numbers = {number for record in records if (number := number_of(record, key)) is not None}
        if len(numbers) > 2:
            found.append(key)
    return found


def layers_of(group: Group) -> pd.DataFrame:
    """Return the mean over a group's runs of what their layers showed at the end of each epoch.

    Returns:
        Columns epoch, layer, quantity, value; layers in the model's order.
    """
    frames = [record.layers() for record in group.records.values() if record.status in ENDED_WELL]
    frames = [frame[frame["quantity"].isin(list(QUANTITIES))] for frame in frames if len(frame)]
    frames = [frame.drop_duplicates(["epoch", "layer", "quantity"], keep="last") for frame in frames]
    if not frames:
        return pd.DataFrame({name: [] for name in ("epoch", "layer", "quantity", "value")})
    every = pd.concat(frames)
    every[["epoch", "value"]] = every[["epoch", "value"]].apply(pd.to_numeric, errors="coerce")
    every = every[np.isfinite(every["value"]) & np.isfinite(every["epoch"])]
    return every.groupby(["epoch", "layer", "quantity"], sort=False)["value"].mean().reset_index()


def last_layers_figure(found: Mapping[str, pd.DataFrame], styles: Mapping[str, Style]) -> Drawn | None:
    """Draw each quantity from the first layer to the last, at the end of training, a line for each group."""
    from matplotlib.figure import Figure

    present = [q for q in QUANTITIES if any((frame["quantity"] == q).any() for frame in found.values())]
    if not present:
        return None
    columns = min(2, len(present))
    rows = math.ceil(len(present) / columns)
    figure = Figure(figsize=(5.4 * columns, 3.6 * rows + 0.3 * math.ceil(len(found) / 2)), layout="constrained")
    for quantity, axes in zip(present, figure.subplots(rows, columns, squeeze=False).flat, strict=False):
        order = list(
            dict.fromkeys(layer for frame in found.values() for layer in quantity_of(frame, quantity)["layer"])
        )
        for name, frame in found.items():
            part = quantity_of(frame, quantity)
            part = part[part["epoch"] == part["epoch"].max()].set_index("layer")["value"]
            x = [place for place, layer in enumerate(order) if layer in part.index]
            y = [float(part[order[place]]) for place in x]
            axes.plot(
                x,
                y,
                color=styles[name].color,
                linestyle=styles[name].linestyle,
                marker="o",
                markersize=4,
                label=clipped(name),
            )
        axes.set_xticks(range(len(order)), [layer_name(layer) for layer in order], rotation=30, ha="right")
        axes.set_ylabel(QUANTITIES[quantity])
        if quantity in LOGARITHMIC and any((quantity_of(f, quantity)["value"] > 0).any() for f in found.values()):
            axes.set_yscale("log")
    for axes in list(figure.axes)[len(present) :]:
        axes.remove()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(handles) > 4 else len(handles))
    return Drawn(
        "layers_last",
        "Layer by layer, at the end",
        "Means over the runs of a group, measured on the probe: a fixed batch of training examples.",
        figure,
    )


def layer_figures(found: Mapping[str, pd.DataFrame]) -> Iterator[Drawn]:
    """Draw each quantity layer by layer and epoch by epoch: a panel for each group, one scale for all."""
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure

    for quantity, title in QUANTITIES.items():
        tables = {name: pivoted(frame, quantity) for name, frame in found.items()}
        tables = {name: table for name, table in tables.items() if table.size}
        values = np.concatenate([table.to_numpy().ravel() for table in tables.values()]) if tables else np.array([])
        values = values[np.isfinite(values)]
        if quantity in LOGARITHMIC:
            values = values[values > 0]
        if not len(values):
            continue
        scale: Normalize = (LogNorm if quantity in LOGARITHMIC else Normalize)(
            values.min(), max(values.max(), values.min() * 1.001 + 1e-12)
        )
        columns = min(COLUMNS, len(tables))
        rows = math.ceil(len(tables) / columns)
        layers = max(len(table) for table in tables.values())
        figure = Figure(figsize=(1.6 + 2.9 * columns, rows * (1.1 + 0.28 * layers) + 0.5), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, (name, table) in enumerate(tables.items()):
            axes = grid.flat[place]
            epochs = table.columns.to_numpy(dtype=float)
            shown = axes.pcolormesh(
                epochs, np.arange(len(table)), np.ma.masked_invalid(table.to_numpy()), norm=scale, cmap="viridis",
                shading="nearest", rasterized=True,
            )  # fmt: skip
            axes.invert_yaxis()
            axes.grid(visible=False)
            axes.set_title(clipped(name, 30), fontsize=9, fontweight="normal")
            first = place % columns == 0
            axes.set_yticks(
                range(len(table)), [layer_name(layer) for layer in table.index] if first else [""] * len(table)
            )
            axes.set_xlabel("epochs" if place + columns >= len(tables) else "")
        for axes in list(grid.flat)[len(tables) :]:
            axes.remove()
        figure.colorbar(shown, ax=[axes for axes in grid.flat if axes.figure is not None], label=title)
        yield Drawn(
            f"layers_{quantity}",
            f"{title.partition(' (')[0].capitalize()}, layer by layer and epoch by epoch",
            "A panel for each group, the first layer at the top; means over runs, one scale for all.",
            figure,
        )


def quantity_of(frame: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return the rows of one quantity; of parameters, those of weights."""
    part = frame[frame["quantity"] == quantity]
    if quantity == "update_ratio":
        part = part[part["layer"].astype(str).str.endswith("weight")]
    return part


def pivoted(frame: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return a quantity as a table, layers by epochs, layers in their order."""
    part = quantity_of(frame, quantity)
    order = list(dict.fromkeys(part["layer"]))
    return part.pivot(index="layer", columns="epoch", values="value").reindex(order)


def histograms_figure(
    found: Mapping[str, Mapping[str, Histogram]], styles: Mapping[str, Style], name: str, when: str
) -> Drawn | None:
    """Draw histograms of activations: a row for each group, a column for each layer, as in the textbooks."""
    from matplotlib.figure import Figure

    layers = list(dict.fromkeys(layer for row in found.values() for layer in row))
    if not layers:
        return None
    figure = Figure(figsize=(2.6 + 1.9 * len(layers), 0.9 + 1.25 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), len(layers), squeeze=False, sharex="col")
    for row, (group, histograms) in enumerate(found.items()):
        for column, layer in enumerate(layers):
            axes = grid[row, column]
            histogram = histograms.get(layer)
            if histogram is not None:
                share = histogram.counts / max(histogram.counts.sum(), 1)
                axes.stairs(share, histogram.edges, fill=True, color=styles[group].color, linewidth=0)
            axes.set_yticks([])
            axes.grid(visible=False)
            axes.tick_params(labelsize=8)
            if row == 0:
                axes.set_title(layer_name(layer), fontsize=9, fontweight="normal")
            if row == len(found) - 1:
                axes.set_xlabel("activation", fontsize=9)
            if column == 0:
                axes.set_ylabel(clipped(group, 40).replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
    return Drawn(
        name,
        f"Histograms of activations, {when}",
        "Share of the activations on the probe, one run of each group (its first seed); a row for each group, "
        "a column for each layer.",
        figure,
    )


def layer_name(name: str) -> str:
    """Return a layer's name without what all have: features.hidden1.activation -> hidden1."""
    words = [word for word in str(name).split(".") if word not in ("features", "activation", "linear", "weight")]
    return clipped(".".join(words) or str(name), 18)


def clipped(text: str, longest: int = LONGEST) -> str:
    """Return a name for a figure."""
    return literal(text if len(text) <= longest else f"{text[: longest - 3]}...")


def of_many(shown: Sequence[Group], every: Sequence[Group], metric: Metric) -> str | None:
    """Say which groups are drawn, where they are not all."""
    if len(shown) == len(every):
        return None
    return f"Curves and layers are drawn of {len(shown)} of {len(every)} groups, the best by {metric.name}"
