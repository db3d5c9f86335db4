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
"""The number of groups that can be told apart."""
LINESTYLES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
LIGHT, DARK = "#ffffff", "#14171c"
"""The backgrounds of the page."""
INK = "#010203"
"""Drawn in the page's text colour; black in a saved file."""
PAPER = "#fefdfe"
"""Drawn in the page's background colour; white in a saved file."""


@dataclass(frozen=True)
class Style:
    """The style of a group's lines.

    Args:
        color: as `#rrggbb`.
        dash: one of `DASHES`.
    """

    color: str
    dash: str

    @property
    def linestyle(self) -> str:
        """Matplotlib's name of the dash."""
        return LINESTYLES[self.dash]


def styles(count: int) -> list[Style]:
    """Return a style for each group; neighbours differ in colour and dash, and after 32 groups the styles repeat."""
    return [styled(number) for number in range(count)]


def styled(number: int) -> Style:
    """Return the style of one group; each time the colours repeat, the dashes are shifted by one."""
    turn, color = divmod(number, len(COLORS))
    return Style(COLORS[color], DASHES[(number + turn) % len(DASHES)])


def variable(color: str) -> str:
    """Return the name of the page's variable for one of `COLORS`, which has another value on a dark page."""
    return f"--line-{COLORS.index(color) + 1}"


def literal(text: str) -> str:
    """Return a text that Matplotlib shows literally: dollars start no formula, and control characters are replaced."""
    return visible(text).replace("$", r"\$")


@contextmanager
def drawing() -> Iterator[None]:
    """Draw figures, inside the `with` block, that fit the page through `svg.svg_of` and are black on white in files."""
    import matplotlib as mpl

    with mpl.rc_context(matplotlib_settings()):
        yield


def matplotlib_settings() -> Any:
    """Return Matplotlib's settings: ink, paper, sizes that are legible in print, the palette."""
    from cycler import cycler

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    more = ("grid.color", "hatch.color", "patch.edgecolor", "boxplot.boxprops.color", "boxplot.whiskerprops.color")
    rest = ("boxplot.capprops.color", "boxplot.flierprops.color", "boxplot.flierprops.markeredgecolor")
    papered = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    cycle = cycler(color=[style.color for style in styles(DISTINCT)]) + cycler(
        linestyle=[style.linestyle for style in styles(DISTINCT)]
    )
    return {
        **dict.fromkeys((*inked, *more, *rest), INK),
        **dict.fromkeys(papered, PAPER),
        "axes.prop_cycle": cycle,
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
