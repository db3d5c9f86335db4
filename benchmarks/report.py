"""The tables: what was measured, beside its target."""

import math
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from rich.console import Console, RenderableType
from rich.text import Text

from experiments.common.screen import table
from experiments.training.device import cores

WIDTH = 150


@dataclass(frozen=True)
class Target:
    """A bound on a figure: at most `bound`, or at least `bound`."""

    bound: float
    least: bool = False
    unit: str = ""

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.bound:g}{self.unit}"

    def met(self, value: float) -> bool:
        """Whether a figure keeps to it."""
        return value >= self.bound if self.least else value <= self.bound


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Args:
        what: what was measured.
        samples: the repeats; a line that only compares has none.
        compared: what is compared with what, such as 'a / b'.
        figures: the outcome of comparing, in each round.
        unit: of the figures.
        target: what their median should be.
    """

    what: str
    samples: Sequence[float] = ()
    compared: str = ""
    figures: Sequence[float] = ()
    unit: str = ""
    target: Target | None = None


def tabulated(unit: str, lines: Sequence[Line]) -> RenderableType:
    """Return a table: each line's median and quartiles in `unit`, what it was compared with, and its target."""
    columns = ("", f"median {unit}", "quartiles", "repeats", "compared", "figure", "95 % interval", "target", "met")
    made = table(*columns, right=tuple(name for name in columns if name not in ("", "compared", "met")))
    for line in lines:
        figure = statistics.median(line.figures) if line.figures else None
        met = figure is not None and line.target is not None and line.target.met(figure)
        made.add_row(
            line.what,
            significant(statistics.median(line.samples)) if line.samples else "",
            quartiles(line.samples),
            str(len(line.samples) or ""),
            line.compared,
            "" if figure is None else f"{significant(figure)}{line.unit}",
            interval(line.figures),
            str(line.target or ""),
            Text("yes" if met else "NO", "green" if met else "bold red") if line.target else "",
        )
    return made


def quartiles(samples: Sequence[float]) -> str:
    """Return the quartiles around a median, which say how restless the machine was."""
    if len(samples) < 2:
        return ""
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return f"{significant(low)} - {significant(high)}"


def interval(figures: Sequence[float]) -> str:
    """Return the bounds within which the true median lies with 95 %; nothing where there are too few figures.

    From the ranks that a binomial with p = 1/2 leaves out with 2.5 % on either side.
    """
    count = len(figures)
    rank = round(count / 2 - 0.98 * math.sqrt(count)) - 1
    if count < 6:
        return ""
    ordered = sorted(figures)
    return f"{significant(ordered[rank])} - {significant(ordered[count - 1 - rank])}"


def significant(value: float) -> str:
    """Return a number to the three or four digits that say something."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3f}"


def console() -> Console:
    """Return where tables go: as wide as they need where there is no terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


def machine() -> str:
    """Return the machine, the versions and the time, which every number depends on."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    lines = [
        f"machine  {processor()}, {cores()} cores{load}",
        f"torch    {torch.__version__}, Python {platform.python_version()}, {platform.system()}",
        f"date     {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    ]
    lines.append("tables   medians of repeats that take turns; figures compare within a round, and their median counts")
    if torch.cuda.is_available():
        lines.insert(1, f"cuda     {torch.cuda.get_device_name(0)}")
    return "\n".join(lines)


def processor() -> str:
    """Return the processor's name."""
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in described.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
