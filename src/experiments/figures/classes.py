"""Figures of a classification: the confusion matrix and the worst examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from experiments.data.batches import Split

from .canvas import new_figure
from .palette import literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_WORST, COLUMNS = 24, 6
MOST_NUMBERED = 20
"""The largest number of classes for which a confusion matrix shows its counts."""
MOST_NAMED = 40
"""The largest number of classes for which it shows their names."""
LONGEST_NAME = 20
"""Characters of a class's name."""


def drawable(shape: Sequence[int]) -> bool:
    """Whether an example is a picture: one or three channels of at least 2 x 2 pixels."""
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 1


def confusion(scores: Tensor, y: Tensor) -> np.ndarray:
    """Return how often each true class (row) is classified as each class (column).

    Args:
        scores: (examples, classes).
        y: (examples,), class numbers.
    """
    classes = scores.shape[1]
    return torch.bincount(y * classes + scores.argmax(1), minlength=classes**2).reshape(classes, classes).numpy()


def confusion_figure(counts: np.ndarray, classes: Sequence[str], about: str) -> Figure:
    """Draw a confusion matrix, coloured by the share of each true class.

    Args:
        counts: (classes, classes), see `confusion`.
        classes: the names of the classes.
        about: the split and the epoch of the weights, for the title.
    """
    classes = [literal(str(name)[:LONGEST_NAME]) for name in classes]
    size = min(4 + 0.35 * len(classes), 12)
    longest = max(map(len, classes)) if len(classes) <= MOST_NAMED else 3
    margin = 0.7 + 0.08 * longest  # inches
    figure = new_figure(size + 1, size)
    axes = figure.add_axes(
        (margin / (size + 1), margin / size, (size - margin - 0.3) / (size + 1), (size - margin - 0.6) / size)
    )
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    colours = figure.add_axes(((size + 0.05) / (size + 1), margin / size, 0.02, (size - margin - 0.6) / size))
    figure.colorbar(shown, colours, label="share of the true class")
    if len(classes) <= MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    if len(classes) <= MOST_NAMED:
        axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"Confusion matrix: {about}\naccuracy {np.trace(counts) / max(counts.sum(), 1):.4f}", fontsize=10)
    return figure


def worst_figure(split: Split, scores: Tensor, classes: Sequence[str], about: str) -> Figure:
    """Draw the examples whose true class has the smallest probability, the worst first.

    Args:
        split: the examples, which are pictures.
        scores: (examples, classes).
        classes: the names of the classes.
        about: the split and the epoch of the weights, for the title.
    """
    y = split.y.cpu()
    log_probability = scores.log_softmax(1).gather(1, y[:, None]).squeeze(1)
    worst = log_probability.argsort()[:MOST_WORST]
    images = split.raw(worst.to(split.x.device)).cpu().float()
    lines = math.ceil(len(worst) / COLUMNS)
    height, width = images.shape[2:]
    tall, wide = height + 2 * height // 5 + 2, width + 2  # room for two lines of text above each picture
    page = torch.ones(lines * tall, COLUMNS * wide, images.shape[1])
    figure = new_figure(1.4 * COLUMNS, 0.4 + 1.4 * lines * tall / wide)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1 - 0.35 / (0.4 + 1.4 * lines * tall / wide)))
    for number, (image, index) in enumerate(zip(images, worst.tolist(), strict=True)):
        top, left = number // COLUMNS * tall + tall - height - 1, number % COLUMNS * wide + 1
        page[top : top + height, left : left + width] = unit_range(image).permute(1, 2, 0)
        true, predicted = (literal(str(classes[int(n)])[:12]) for n in (y[index], scores[index].argmax()))
        text = f"{true} as {predicted}\n{math.exp(log_probability[index]):.1%} for {true}"
        axes.text(left + width / 2, top - 1, text, ha="center", va="bottom", fontsize=8)
    axes.imshow(page.squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.axis("off")
    figure.suptitle(f"Worst-classified examples: {about}", fontsize=10)
    return figure


def unit_range(image: Tensor) -> Tensor:
    """Scale a picture's values to [0, 1]."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp_min(1e-12)
