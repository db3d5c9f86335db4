"""The size of mini-batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

from experiments.figures.canvas import canvas, legend, legend_height, logarithmic
from experiments.figures.palette import styles
from experiments.folders.reading import Record
from experiments.folders.run import RunFolder
from experiments.recipes.measured import Measured, by, curve, last

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 32
"""Updates in the right-hand figure."""


def sizes(runs: Sequence[Record], full: int) -> Measured:
    """Measure by batch size: how often an update raises the loss, the final loss, and the time per epoch.

    Args:
        runs: with several batch sizes.
        full: the size of the training split.
    """
    groups = {int(size): group for size, group in by(runs, "training.batch_size").items()}
    rising = {size: fmean(map(rises, group)) for size, group in groups.items()}
    rising[full] = fmean(share_of_rises(curve(run, "train/loss")) for run in groups[full])
    final = {size: fmean(last(run, "train/loss") for run in group) for size, group in groups.items()}
    seconds = {size: fmean(curve(run, "seconds")[-1] for run in group) for size, group in groups.items()}
    values = {
        "share of updates that raise the loss, full": rising[full],
        "share of updates that raise the loss, 1": rising[1],
        "share of updates that raise the loss, 1 less 32": rising[1] - rising[32],
        "loss after all epochs, full over 32": final[full] / final[32],
        "seconds an epoch, 1 over 32": seconds[1] / seconds[32],
    }
    names = {size: "the whole split" if size == full else f"batches of {size}" for size in groups}
    said = [
        f"With {names[size]}, {100 * share:.0f} % of the updates raise the loss; the loss is {final[size]:.3g} in the "
        f"last epoch, and training takes {seconds[size] / seconds[full]:.1f} times as long as with the whole split"
        for size, share in rising.items()
    ]

    def draw() -> Figure:
        figure = canvas(10, 3.6 + legend_height(names.values(), 10))
        left, right = figure.subplots(1, 2, sharey=True)
        looks = dict(zip(names.values(), styles(len(names)), strict=True))
        for size, group in groups.items():
            losses = probe_losses(group[0])
            look = {"color": looks[names[size]].color, "linewidth": 0.7 if size == 1 else 1.6}
            left.plot([n / math.ceil(full / size) for n in range(len(losses))], losses, **look)
            right.plot(losses[: SHOWN + 1], **look)
        left.set_xlabel("epochs")
        right.set_xlabel(f"the first {SHOWN} updates")
        left.set_ylabel("loss on 48 training examples")
        logarithmic(left.yaxis)
        legend(figure, list(names.values()), looks)
        return figure

    return Measured(values, draw, said)


def probe_losses(run: Record) -> list[float]:
    """Return the loss on the first examples of the probe, before training and after each update."""
    rows = RunFolder(run.folder).read_layers()
    return [row.value for row in rows if (row.layer, row.quantity) == ("model", "loss")]


def rises(run: Record) -> float:
    """Return the share of updates that raise the loss on the probe."""
    return share_of_rises(probe_losses(run))


def share_of_rises(losses: Sequence[float]) -> float:
    """Return the share of losses that are larger than the loss before them."""
    rising = [after > before for before, after in pairwise(losses)]
    return sum(rising) / len(rising)
