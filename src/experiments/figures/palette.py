"""How a group is drawn: its colour and its dash; and how figures are drawn for the screen and for print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from experiments.common.text import visible

from ._colors import COLORS

DASHES = ("solid", "dash", "dot", "dashdot")
DISTINCT = len(COLORS) * len(DASHES)
"""How many groups can be told apart."""
LINESTYLES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
LIGHT, DARK = "#ffffff", "#14171c"
"""The backgrounds of the page."""
INK = "#010203"
"""Of what is drawn in the page's own text colour; in a saved file it is black."""
PAPER = "#fefdfe"
"""Of what is drawn in the page's background; in a saved file it is white."""


@dataclass(frozen=True)
class Style:
    """How a group is drawn.

    Args:
        color: as `#rrggbb`.
        dash: one of `DASHES`; Plotly's name.
    """

    color: str
    dash: str

    @property
    def linestyle(self) -> str:
        """The dash, as Matplotlib calls it."""
        return LINESTYLES[self.dash]


def styles(count: int) -> list[Style]:
    """Return a style for each group; neighbours differ in both, and after 32 they begin again."""
    return [styled(number) for number in range(count)]


def styled(number: int) -> Style:
    """Return the style of one group; the dash moves on by one more each time that the colours begin again."""
    turn, color = divmod(number, len(COLORS))
    return Style(COLORS[color], DASHES[(number + turn) % len(DASHES)])


def literal(text: str) -> str:
    """Return a text that Matplotlib shows as it is: a dollar begins no formula, and SVG has no control characters."""
    return visible(text).replace("$", r"\$")


@contextmanager
def drawing() -> Iterator[None]:
    """Draw figures that `page.svg_of` can put into the page, and that `savefig` writes in black on white."""
    import matplotlib as mpl

    with mpl.rc_context(drawn_in()):
        yield


def drawn_in() -> Any:
    """Return Matplotlib's settings: ink, paper, sizes that can be read in print, the palette."""
    from cycler import cycler

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    more = ("grid.color", "hatch.color", "patch.edgecolor", "boxplot.boxprops.color", "boxplot.whiskerprops.color")
    rest = ("boxplot.capprops.color", "boxplot.flierprops.color", "boxplot.flierprops.markeredgecolor")
    papered = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    shapes = cycler(color=[style.color for style in styles(DISTINCT)]) + cycler(
        linestyle=[style.linestyle for style in styles(DISTINCT)]
    )
    return {
        **dict.fromkeys((*inked, *more, *rest), INK),
        **dict.fromkeys(papered, PAPER),
        "axes.prop_cycle": shapes,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.linewidth": 0.8,
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.labelsize": 11,
        "font.size": 11,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "legend.fontsize": 10,
        "legend.frameon": False,
        "grid.alpha": 0.15,
        "grid.linewidth": 0.8,
        "lines.linewidth": 1.8,
        "figure.constrained_layout.w_pad": 0.08,
        "figure.constrained_layout.h_pad": 0.08,
        "figure.dpi": 96,
        "savefig.dpi": 150,
    }
