"""Searching hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from experiments.comparison.drawing import canvas, logarithmic
from experiments.comparison.palette import styles
from experiments.comparison.reading import Record
from experiments.recipes.measured import Measured, best, level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE, DECAY = "optimizer.lr", "optimizer.weight_decay"


def narrowed(runs: Sequence[Record], first: Annotated[int, Ge(1)], looked_at: Annotated[int, Ge(1)] = 5) -> Measured:
    """Where the best trials of a search at random lie, and what it gains by a second round around them.

    Args:
        runs: of a search in two rounds.
        first: how many trials the first round has.
        looked_at: how many of its best are looked at.
    """
    ordered = sorted(runs, key=lambda run: int(level(run, "trial.number")))
    coarse, fine = ordered[:first], ordered[first:]
    top = sorted(coarse, key=value, reverse=True)[:looked_at]
    rates = [float(level(run, RATE)) for run in top]
    ends = [float(level(run, RATE)) for run in fine]
    values = {
        f"rates of the best {looked_at} from 0.001 to 0.01": sum(1e-3 <= rate <= 1e-2 for rate in rates),
        "decades of rates in the second round": math.log10(max(ends) / min(ends)),
        "median accuracy gained by the second round": median(map(value, fine)) - median(map(value, coarse)),
    }
    found = ", ".join(f"{rate:.2g}" for rate in rates)
    decays = [float(level(run, DECAY)) for run in top]
    said = [
        f"The best {looked_at} trials have learning rates of {found}, and weight decays from {min(decays):.1g} to "
        f"{max(decays):.1g}",
        f"The second round looks at rates from {min(ends):.2g} to {max(ends):.2g}: its median trial reaches "
        f"{median(map(value, fine)):.1%}, that of the first {median(map(value, coarse)):.1%}",
    ]
    return Measured(values, lambda: trials_figure(coarse, fine), said)


def value(run: Record) -> float:
    """Return the validation accuracy of a trial; 0 for one that diverged at once."""
    found = best(run, "val/accuracy")
    return found if math.isfinite(found) else 0.0


def trials_figure(coarse: Sequence[Record], fine: Sequence[Record]) -> Figure:
    """Draw every trial's accuracy over each of its hyperparameters."""
    figure = canvas(9.0, 3.8)
    names = {RATE: "learning rate", DECAY: "weight decay"}
    for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), names.items(), strict=True):
        for style, marker, (name, runs) in zip(
            styles(2), "os", {"first round": coarse, "second round": fine}.items(), strict=True
        ):
            axes.scatter(
                [float(level(run, key)) for run in runs],
                [100 * value(run) for run in runs],
                color=style.color,
                marker=marker,
                s=22,
                alpha=0.7,
                label=name if key == RATE else None,
            )
        logarithmic(axes.xaxis)
        axes.set_xlabel(label)
        if key == RATE:
            axes.set_ylabel("validation accuracy (%)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
