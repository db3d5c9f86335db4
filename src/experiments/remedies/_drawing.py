"""The figure of the remedies: each one's difference from the run, with its interval."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from experiments.common.files import write_whole
from experiments.common.metrics import Metric
from experiments.figures import palette
from experiments.figures.canvas import canvas
from experiments.figures.svg import saved

from ._effects import Effect, Tried

MARKERS: dict[Effect, str] = {"helps": "^", "harms": "v"}
"""Effects are told apart by shape too; all others are circles."""
COLORS: dict[Effect, str] = {"helps": "#0072B2", "harms": "#D55E00"}
OTHER = "#777777"
LONGEST = 34


def draw(path: Path, tried: Sequence[Tried], metric: Metric, run: str) -> None:
    """Write the figure.

    Args:
        path: of the file.
        tried: the remedies, in the order from top to bottom.
        metric: that is compared.
        run: the name of the run.
    """
    shown = [one for one in tried if one.found is not None]
    with palette.drawing():
        figure = canvas(7.5, 1.4 + 0.42 * len(shown))
        axes = figure.subplots()
        for row, one in enumerate(shown):
            assert one.found is not None
            color, marker = COLORS.get(one.effect, OTHER), MARKERS.get(one.effect, "o")
            low = one.found.mean if one.found.low is None else one.found.low
            high = one.found.mean if one.found.high is None else one.found.high
            axes.plot([low, high], [row, row], color=color, linewidth=2, linestyle="-")
            axes.plot(one.found.mean, row, marker, color=color, markersize=7)
        axes.axvline(0, color=palette.INK, linewidth=1)
        names = [textwrap.shorten(f"{one.treatment.name}: {one.effect}", LONGEST, placeholder="...") for one in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        better = "right" if metric.larger_is_better else "left"
        axes.set_xlabel(f"difference in {metric.name}, with 95 % intervals (better to the {better})", fontsize=9)
        axes.set_title(f"Remedies of {palette.literal(run)}", loc="left")
        write_whole(path, saved(figure, "png"))
