"""The speed of update rules."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, by, epochs_to, last, lead, level, of_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSS = "train/loss"


def slowest(runs: Sequence[Record], optimizer: str = "sgd") -> Measured:
    """Measure by how much the other optimizers are faster than this one.

    Args:
        runs: of several optimizers, with the same seeds.
        optimizer: the one that should be the slowest.
    """
    groups = by(runs, "optimizer")
    losses = {name: of_seeds(group, lambda run: last(run, LOSS)) for name, group in groups.items()}
    own = losses[optimizer]
    leads = {name: lead(own, other) for name, other in losses.items() if name != optimizer}
    times = {
        name: fmean(epochs_to(run, LOSS, own[level(run, "seed")]) / run.epochs for run in groups[name])
        for name in leads
    }

    def draw() -> Figure:
        return curves_of(groups, LOSS, log=True)

    values = {f"last loss, {name}": fmean(seeds.values()) for name, seeds in losses.items()}
    values["least lead of another over it"] = min(leads.values())
    values["longest time of another to its last loss"] = max(times.values())
    closest, longest = min(leads, key=lambda name: leads[name]), max(times, key=lambda name: times[name])
    shown = ", ".join(f"{name} {fmean(seeds.values()):.3g}" for name, seeds in losses.items())
    said = [
        f"The final training losses are {shown}; {closest} has the smallest lead over {optimizer}",
        f"The slowest other, {longest}, reaches {optimizer}'s final loss after {times[longest]:.0%} of the time",
    ]
    return Measured(values, draw, said)
