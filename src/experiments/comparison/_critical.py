"""The critical difference diagram: groups by their mean ranks, with bars over those that cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from experiments.figures.canvas import canvas, wrapped
from experiments.figures.palette import INK, Style

from ._ranks import Ranks
from ._words import signed
from .drawing import NARROW, NARROW_NAME, DrawnFigure
from .statistics import chance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = 44
"""Characters of a group's name next to the diagram."""


def critical_figure(
    names: Sequence[str], ranks: Ranks, styles: Mapping[str, Style], *, tuned: bool = False
) -> DrawnFigure:
    """Draw the mean ranks of some groups (Demšar 2006, figure 1), a row for each group.

    Args:
        names: of the groups, in the order of their ranks' list.
        ranks: of the groups.
        styles: of the groups, by name.
        tuned: whether the groups are runs of chosen settings on fresh seeds.
    """
    p = signed(chance(ranks.p))
    if ranks.p < 0.05:
        shown = (
            f"Friedman's test shows that the groups differ (p {p}). A bar on the right joins groups "
            f"whose mean ranks differ by less than the critical difference of {ranks.critical:.2g} (CD, Nemenyi's test "
            "at 5 %)."
        )
    else:
        shown = f"Friedman's test shows no difference (p {p}), so the bar on the right joins all groups."
    caption = (
        f"Mean ranks over {ranks.blocks} seeds; 1 is the best. {shown} Ranks ignore how large a difference is, so this "
        "diagram shows less than the paired t-tests of the table."
    )
    if tuned:
        caption += " It compares the chosen settings, without the luck of the choice."
    return DrawnFigure(
        "critical_difference",
        "Critical difference diagram",
        caption,
        diagram(names, ranks, styles, narrow=False),
        partial(diagram, names, ranks, styles, narrow=True),
    )


def diagram(names: Sequence[str], ranks: Ranks, styles: Mapping[str, Style], *, narrow: bool) -> Figure:
    """Draw the diagram; the arguments are those of `critical_figure`."""
    order = sorted(range(len(names)), key=lambda index: ranks.mean[index])
    labels = [wrapped(names[index], NARROW_NAME if narrow else NAME, 3) for index in order]
    lines = max(label.count("\n") + 1 for label in labels)
    inch = (0.3 if narrow else 0.14) + 0.17 * lines
    figure = canvas(NARROW if narrow else 8.5, 1.3 + inch * len(order))
    axes = figure.subplots()
    k, bars = len(order), ranks.bars()
    rows = {index: row for row, index in enumerate(order)}
    for row, index in enumerate(order):
        axes.hlines(row, 1, ranks.mean[index], color=INK, alpha=0.15, linewidth=0.8)  # as the grid
        axes.scatter([ranks.mean[index]], [row], color=styles[names[index]].color, edgecolors=INK, s=45, zorder=3)
    for column, bar in enumerate(bars):
        ends = rows[bar[0]] - 0.2, rows[bar[-1]] + 0.2
        axes.vlines(k + 0.3 + column * 0.05 * k, *ends, color=INK, linewidth=3)
    if ranks.p < 0.05:
        wide = min(ranks.critical, k - 1)
        axes.hlines(-0.8, 1, 1 + wide, color=INK, linewidth=2)
        axes.text(1 + wide / 2, -0.95, f"CD {ranks.critical:.2g}", ha="center", va="bottom", fontsize=9)
    axes.set_ylim(k - 0.5, -1.7 if ranks.p < 0.05 else -0.6)
    axes.set_xlim(0.9, k + 0.3 + 0.05 * k * max(len(bars), 1))
    axes.set_xticks(range(1, k + 1, max(1, k // 8)))
    axes.set_xlabel("mean rank (1 is the best)")
    axes.grid(axis="y", visible=False)
    if narrow:
        axes.set_yticks([])
        for row, label in enumerate(labels):
            axes.text(0.01, row - 0.13 / inch, label, transform=axes.get_yaxis_transform(), va="bottom", fontsize=9)
    else:
        axes.set_yticks(range(k), labels)
    return figure
