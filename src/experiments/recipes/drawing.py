"""Figures and parts of figures that several lessons use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.common.metrics import AXES, Metric
from experiments.comparison.curves import curve_of
from experiments.comparison.drawing import begin_with_data, draw_curve
from experiments.comparison.grouping import Group
from experiments.figures.canvas import canvas, integers, legend, legend_height, logarithmic
from experiments.figures.palette import INK, literal, styles
from experiments.folders.reading import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 5.0, 3.4
"""Of one pair of axes, in inches."""


def curves_of(groups: Mapping[str, Sequence[Record]], *metrics: str, axis: str = "epoch", log: bool = False) -> Figure:
    """Draw metrics over training, side by side: the mean of each group's runs with its 95 % interval.

    Args:
        groups: runs by the name of their group in the legend.
        metrics: to draw, each in its own axes.
        axis: epoch, step or seconds.
        log: whether losses have a logarithmic axis.
    """
    width = WIDTH * max(len(metrics), 1)
    figure = canvas(width, HEIGHT + legend_height(groups, width))
    looks = dict(zip(groups, styles(len(groups)), strict=True))
    for name, axes in zip(metrics, figure.subplots(1, len(metrics), squeeze=False).flat, strict=True):
        metric = Metric(name)
        drawn = []
        for group, runs in groups.items():
            curve = curve_of(Group(group, {}, dict(enumerate(runs)), name), name)
            if curve is not None and axis in curve.x:
                draw_curve(axes, curve, looks[group], axis, metric.scale)
                drawn.append(curve.x[axis])
        begin_with_data(axes, drawn)
        if log and name.endswith("loss"):
            logarithmic(axes.yaxis)
        if axis == "epoch":
            integers(axes)
        axes.set_xlabel(AXES[axis])
        axes.set_ylabel(literal(metric.label))
    legend(figure, groups, looks)
    return figure


def dots(measured: Mapping[str, Sequence[float]], label: str, expected: Mapping[str, float] | None = None) -> Figure:
    """Draw every value, in a row for each name, with a mark at the expected value.

    Args:
        measured: values by name.
        label: of the axis, with its unit.
        expected: values by name.
    """
    figure = canvas(6.5, 1.2 + 0.5 * len(measured))
    axes = figure.subplots()
    for row, ((name, values), style) in enumerate(zip(measured.items(), styles(len(measured)), strict=True)):
        axes.plot(values, [row] * len(values), "o", color=style.color, alpha=0.7)
        if expected and name in expected:
            axes.plot([expected[name]], [row], "|", color=INK, markersize=22)
    axes.set_yticks(range(len(measured)), [literal(name) for name in measured])
    axes.set_ylim(len(measured) - 0.5, -0.5)
    axes.set_xlabel(literal(label) + (" (bars: expected)" if expected else ""))
    return figure


def bars(axes: Axes, heights: Mapping[str, Sequence[float]], names: Sequence[str]) -> None:
    """Draw bars: for each name, the bars of all groups side by side.

    Args:
        axes: to draw on.
        heights: one height per name, by the group's name in the legend.
        names: the labels of the horizontal axis.
    """
    width = 0.8 / len(heights)
    middle = (len(heights) - 1) / 2
    for index, ((group, own), look) in enumerate(zip(heights.items(), styles(len(heights)), strict=True)):
        axes.bar(np.arange(len(names)) + (index - middle) * width, own, 0.9 * width, color=look.color, label=group)
    axes.set_xticks(range(len(names)), list(names))
