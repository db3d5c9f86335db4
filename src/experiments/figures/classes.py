"""Figures of a classification: the confusion matrix and the worst examples."""

from __future__ import annotations

import math
import textwrap
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
CELL, EDGE, GAP, TEXT = 1.75, 1.45, 0.14, 0.145
"""Inches: the width of an example's column and of its picture, the gap below it, the height of a line of text."""
WRAP, SHORT_NAME = 26, 16
"""Characters of a line above an example, and of a class's name there."""
WRONG_MARK, RIGHT_MARK = "\u2717", "\u2713"
WRONG, RIGHT = "#b3261e", "#1a5fb4"
"""The colours of frames and texts; the mark and the dash tell the same to those who see no colours."""
MOST_NUMBERED = 20
"""The largest number of classes for which a confusion matrix shows its counts."""
MOST_NAMED = 40
"""The largest number of classes for which it shows their names."""
MOST_CELLS = 100
"""The largest number of rows of cells: a cell of more would be smaller than a few pixels."""
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
    names = [literal(str(name)[:LONGEST_NAME]) for name in classes]
    size = min(4 + 0.35 * len(names), 12)
    longest = max(map(len, names)) if len(names) <= MOST_NAMED else 3
    margin = 0.7 + 0.08 * longest  # inches
    figure = new_figure(size + 1, size)
    axes = figure.add_axes(
        (margin / (size + 1), margin / size, (size - margin - 0.3) / (size + 1), (size - margin - 0.6) / size)
    )
    block = math.ceil(len(names) / MOST_CELLS)
    cells = blocks(counts, block)
    shares = cells / np.maximum(cells.sum(1, keepdims=True), 1)
    edge = -0.5, block * len(cells) - 0.5
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, extent=(*edge, *edge[::-1]))
    colours = figure.add_axes(((size + 0.05) / (size + 1), margin / size, 0.02, (size - margin - 0.6) / size))
    figure.colorbar(shown, colours, label="share of the true class")
    if len(names) <= MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    if len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(len(names)), names)
    left_out = "" if len(names) <= MOST_NAMED else f" ({len(names):,} classes, names left out)"
    if block > 1:
        left_out = f" ({len(names):,} classes in blocks of {block}, names left out)"
    axes.set_xlabel(f"predicted class{left_out}")
    axes.set_ylabel("true class")
    axes.set_title(f"Confusion matrix: {about}\naccuracy {np.trace(counts) / max(counts.sum(), 1):.4f}", fontsize=10)
    return figure


def blocks(counts: np.ndarray, size: int) -> np.ndarray:
    """Return the sums of a matrix over square blocks; the last ones may be smaller.

    Args:
        counts: (classes, classes).
        size: the side of a block.
    """
    starts = np.arange(0, len(counts), size)
    return np.add.reduceat(np.add.reduceat(counts, starts, 0), starts, 1)


def worst_figure(split: Split, scores: Tensor, classes: Sequence[str], about: str) -> Figure:
    """Draw the examples whose true class has the smallest probability, the wrongly classified ones first.

    Args:
        split: the examples, which are pictures.
        scores: (examples, classes).
        classes: the names of the classes.
        about: the split and the epoch of the weights, for the title.
    """
    from matplotlib.patches import Rectangle

    y, predicted = split.y.cpu(), scores.argmax(1)
    probabilities = scores.double().log_softmax(1)
    worst = worst_first(y, scores)
    images = split.raw(worst.to(split.x.device)).cpu().float()
    texts = [
        answer(
            str(classes[int(y[index])]),
            str(classes[int(predicted[index])]),
            math.exp(probabilities[index, predicted[index]]),
            wrong=bool(predicted[index] != y[index]),
        )
        for index in worst.tolist()
    ]
    height, width = images.shape[2:]
    room = TEXT * (1 + max(text.count("\n") for text in texts)) + 0.06  # above each picture
    tall = min(EDGE * height / width, 2 * EDGE)
    lines, title = math.ceil(len(worst) / COLUMNS), 0.62
    figure = new_figure(COLUMNS * CELL, title + lines * (tall + room + GAP))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    for number, (image, index, text) in enumerate(zip(images, worst.tolist(), texts, strict=True)):
        row, column = divmod(number, COLUMNS)
        left = column * CELL + (CELL - EDGE) / 2
        bottom = figure.get_figheight() - title - row * (tall + room + GAP) - room - tall
        box = (left, left + EDGE, bottom, bottom + tall)
        drawn = unit_range(image).permute(1, 2, 0).squeeze(2).numpy()
        axes.imshow(drawn, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=box, aspect="auto")
        colour, dash = (WRONG, "-") if predicted[index] != y[index] else (RIGHT, "--")
        frame = Rectangle((left, bottom), EDGE, tall, fill=False, edgecolor=colour, linestyle=dash, linewidth=2)
        axes.add_patch(frame)
        axes.text(left + EDGE / 2, bottom + tall + 0.05, text, ha="center", va="bottom", fontsize=8, color=colour)
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(0, figure.get_figheight()))
    axes.axis("off")
    wrong = int((predicted != y).sum())
    marks = f"{WRONG_MARK} wrong, {RIGHT_MARK} right; in brackets the probability of the predicted class"
    title_text = f"Worst-classified examples: {about}\n{wrong:,} of {len(y):,} are wrong. {marks}"
    figure.suptitle(title_text, fontsize=10, y=1 - 0.12 / figure.get_figheight(), va="top")
    return figure


def worst_first(y: Tensor, scores: Tensor) -> Tensor:
    """Return the examples that the figure shows: the wrong ones before the right ones, the least probable class first.

    Args:
        y: (examples,), class numbers.
        scores: (examples, classes).
    """
    probability = scores.double().log_softmax(1).gather(1, y[:, None]).squeeze(1).nan_to_num(-math.inf)
    order = probability.argsort(stable=True)
    right = (scores.argmax(1) == y)[order]
    return order[right.int().argsort(stable=True)][:MOST_WORST]


def answer(true: str, predicted: str, probability: float, *, wrong: bool) -> str:
    """Return the text above an example, such as 'is 5, taken for 9 (92 %)', wrapped to the width of a picture.

    Args:
        true, predicted: the names of the classes.
        probability: of the predicted class, in [0, 1]; may be nan.
        wrong: whether the classes differ, which their names may not.
    """
    short = shortened(true), shortened(predicted)
    if not wrong or short[0] != short[1]:
        true, predicted = short
    sure = f"({probability:.0%})".replace("%", " %") if math.isfinite(probability) else "(not finite)"
    whole = [part.replace(" ", "\u00a0") for part in (true, predicted, sure)]  # not broken in themselves
    text = f"{WRONG_MARK} is {{}}, taken for {{}} {{}}" if wrong else f"{RIGHT_MARK} is {{0}} {{2}}"
    lines = textwrap.wrap(text.format(*whole), WRAP, break_long_words=False, break_on_hyphens=False)
    return "\n".join(literal(line.replace("\u00a0", " ")) for line in lines)


def shortened(name: str) -> str:
    """Return a class's name without the middle of a long one."""
    return name if len(name) <= SHORT_NAME else f"{name[: SHORT_NAME - 6]}...{name[-3:]}"


def unit_range(image: Tensor) -> Tensor:
    """Scale a picture's values, of any shape, to [0, 1]."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp_min(1e-12)
