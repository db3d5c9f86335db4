"""The figure of an autoencoder: pictures above their reconstructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.common.arrays import Array

from .canvas import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TYPICAL, WORST = 8, 4


def reconstructions_figure(answers: Array, true: Array, about: str) -> Figure:
    """Draw pictures above their reconstructions: the first ones of a split, and those with the largest errors.

    Args:
        answers, true: (examples, channels, height, width), in the same units.
        about: the split and the epoch of the weights, for the title.
    """
    errors = np.square(answers - true).mean((1, 2, 3))
    worst = np.argsort(-errors, kind="stable")[: min(WORST, len(true))].tolist()
    chosen = [*range(min(TYPICAL, len(true))), *worst]
    low, high = float(true.min()), float(true.max())
    figure = canvas(0.95 * len(chosen) + 0.4, 2.6)
    figure.suptitle(f"Inputs above their reconstructions: {about}", fontsize=10)
    for column, row in enumerate(chosen):
        for line, pictures in enumerate((true, answers)):
            axes = figure.add_subplot(2, len(chosen), line * len(chosen) + column + 1)
            picture = ((pictures[row] - low) / max(high - low, 1e-12)).clip(0, 1)
            shown = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if line == 0:
                axes.set_title(f"{'worst ' if column >= len(chosen) - len(worst) else ''}{row}", fontsize=8)
            else:
                axes.set_xlabel(f"{errors[row]:.2g}", fontsize=8)
    return figure
