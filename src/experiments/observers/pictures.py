"""Pictures of a run: first-layer filters, layers over epochs, the confusion matrix, the worst-classified examples."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from experiments.data.batches import Split
from experiments.initializers import weighted_layers
from experiments.run import LayerRow

from .base import every as every_epochs
from .drawing import Drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

    from experiments.engine import Member, Position
    from experiments.program import Program

MOST_FILTERS = 100
MOST_WORST, COLUMNS = 24, 6
MOST_NUMBERED = 20
"""Classes up to which a confusion matrix shows its counts."""
MOST_NAMED = 40
LONGEST_NAME = 20
DIVERGING = "RdBu_r"
SCALE = 0.995
"""The share of weights that the colour scale covers: a few large ones would make all others pale."""
HEAT = {"activation_std": "spread of activations", "gradient_norm": "norm of the gradient"}


class Pictures(Drawing):
    """Draws pictures when training ends, into `pictures/` and TensorBoard; the filters at ends of epochs too.

    Args:
        splits: the confusion matrix and the worst examples are of the validation split, or else of the training split.
        classes: names.
        writer: the run's event file; None for none.
        every: show the filters in TensorBoard at the end of every so many epochs, and before training; 0 for never.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        classes: Sequence[str],
        writer: SummaryWriter | None = None,
        every: Annotated[int, Ge(0)] = 5,
    ) -> None:
        super().__init__(splits, classes, writer)
        self.when = every_epochs(every if writer is not None else 0)
        self.at_start = every > 0 and writer is not None

    def start(self, member: Member, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`."""
        super().start(member, number, program, position)
        self.example_shape = tuple(self.splits["train"].x.shape[1:])
        if position.step == 0 and self.at_start:
            self.show_filters(0)

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        self.show_filters(int(row["epoch"]))

    def draw(self, epoch: int) -> None:
        """See `Drawing.draw`."""
        images = filters(self.program.module(self.number), self.example_shape)
        if images is not None:
            self.keep("filters", filters_figure(*images), epoch)
        rows = [row for row in self.member.folder.read_layers() if row.quantity in HEAT]
        if rows:
            self.keep("layers", layers_figure(rows), epoch)
        split, scores, about = self.judged()
        self.keep("confusion", confusion_figure(confusion(scores, split.y.cpu()), self.classes, about), epoch)
        if drawable(self.example_shape):
            self.keep("worst", worst_figure(split, scores, self.classes, about), epoch)

    def show_filters(self, epoch: int) -> None:
        """Show the filters as they are now, pixel by pixel."""
        images = filters(self.program.module(self.number), self.example_shape)
        if images is not None:
            content, (height, width) = encoded(*images), images[0].shape[:2]
            self.show("filters", content, (width, height), epoch)


def drawable(shape: Sequence[int]) -> bool:
    """Whether an example is a picture: one or three channels of at least 2 x 2 pixels."""
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 1


def filters(model: torch.nn.Module, example_shape: tuple[int, ...]) -> tuple[np.ndarray, float] | None:
    """Return the first layer's weights as pictures in one grid, with the end of the colour scale they share.

    Args:
        model: its first linear or convolutional layer is taken to see the examples.
        example_shape: of one example.

    Returns:
        (height, width) or, for weights of three channels, (height, width, 3), with nan between the filters; None
        where the weights are no pictures.
    """
    layer = next(iter(weighted_layers(model).values()), None)
    if layer is None:
        return None
    weight = layer.weight.detach().float().cpu()[:MOST_FILTERS]
    if weight.ndim == 2 and drawable(example_shape) and weight.shape[1] == math.prod(example_shape):
        weight = weight.reshape(-1, *example_shape)
    if weight.ndim != 4 or not drawable(tuple(weight.shape[1:])) or not bool(weight.isfinite().all()):
        return None
    return grid(weight.numpy()), float(np.quantile(weight.abs().numpy(), SCALE))


def grid(images: np.ndarray) -> np.ndarray:
    """Lay images of shape (count, channels, height, width) side by side, with one pixel of nan between them."""
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    made = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.nan, dtype=np.float32)
    for number, image in enumerate(images):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        made[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return made[..., 0] if channels == 1 else made


def encoded(image: np.ndarray, largest: float) -> bytes:
    """Return weights as a PNG, pixel by pixel: 0 in the middle of the scale and `largest` at both ends, gaps white."""
    from PIL import Image

    levels = np.nan_to_num(levels_of(image, largest), nan=255).astype(np.uint8)  # 255: the gaps
    picture = Image.fromarray(levels)
    if image.ndim == 2:
        from matplotlib import colormaps

        colours = (255 * colormaps[DIVERGING](np.linspace(0, 1, 255))[:, :3]).astype(np.uint8)
        picture.putpalette([*colours.flatten().tolist(), 255, 255, 255])
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=1)
    return content.getvalue()


def levels_of(image: np.ndarray, largest: float) -> np.ndarray:
    """Return weights on a scale of 0 to 254, with 127 for 0."""
    return np.clip(127 * (1 + image / max(largest, 1e-30)), 0, 254)


def filters_figure(image: np.ndarray, largest: float) -> Figure:
    """Draw the filters with their colour scale."""
    figure = new_figure(6.8, 6)
    axes = figure.add_axes((0.02, 0.04, 0.8, 0.9))
    if image.ndim == 3:
        axes.imshow(np.nan_to_num(levels_of(image, largest) / 254, nan=1.0))
        axes.set_xlabel(f"weights of red, green and blue, from -{largest:.2g} (dark) to {largest:.2g} (bright)")
    else:
        shown = axes.imshow(image, cmap=DIVERGING, vmin=-largest, vmax=largest, interpolation="nearest")
        figure.colorbar(shown, figure.add_axes((0.85, 0.1, 0.03, 0.78)), label="weight", extend="both")
    axes.set_title("What each unit of the first layer looks for")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure


def layers_figure(rows: Sequence[LayerRow]) -> Figure:
    """Draw heat maps, a row a layer and a column an epoch: the spread of activations and the gradients' norm."""
    drawn = {quantity: [row for row in rows if row.quantity == quantity] for quantity in HEAT}
    deepest = max(len({row.layer for row in found}) for found in drawn.values())
    longest = max(len(row.layer) for row in rows)
    left = 0.075 * longest + 0.2  # inches
    figure = new_figure(2 * (left + 4.6), 1.5 + 0.35 * deepest)
    all_axes = figure.subplots(1, len(HEAT))
    figure.subplots_adjust(
        left=left / figure.get_figwidth(), right=0.96, wspace=(left + 0.9) / 3.4,
        bottom=0.6 / figure.get_figheight(), top=1 - 0.4 / figure.get_figheight(),
    )  # fmt: skip
    for axes, (quantity, found) in zip(all_axes, drawn.items(), strict=True):
        if found:
            heat_map(figure, axes, found, HEAT[quantity])
    return figure


def heat_map(figure: Figure, axes: Axes, rows: Sequence[LayerRow], label: str) -> None:
    """Draw one quantity, on a logarithmic scale where it spans more than a factor of 10."""
    from matplotlib.colors import LogNorm

    layers = list(dict.fromkeys(row.layer for row in rows))
    epochs = sorted({row.epoch for row in rows})
    values = np.full((len(layers), len(epochs)), np.nan)
    for row in rows:  # the last row of an epoch is its end
        values[layers.index(row.layer), epochs.index(row.epoch)] = row.value
    low, high = np.nanmin(values), np.nanmax(values)
    norm = LogNorm(max(low, high * 1e-8), high) if high > 10 * low and high > 0 else None
    shown = axes.imshow(values, aspect="auto", cmap="viridis", norm=norm, interpolation="nearest")
    figure.colorbar(shown, label=label)
    axes.set_yticks(range(len(layers)), layers, fontsize=8)
    steps = range(0, len(epochs), max(1, math.ceil(len(epochs) / 10)))
    axes.set_xticks(steps, [str(epochs[step]) for step in steps])
    axes.set_xlabel("epoch (0 is before training)")
    axes.set_title(label)


def confusion(scores: Tensor, y: Tensor) -> np.ndarray:
    """Count how often each class (row) is taken for each class (column)."""
    classes = scores.shape[1]
    return torch.bincount(y * classes + scores.argmax(1), minlength=classes**2).reshape(classes, classes).numpy()


def confusion_figure(counts: np.ndarray, classes: Sequence[str], about: str) -> Figure:
    """Draw a confusion matrix, coloured by the share of each true class."""
    classes = [str(name)[:LONGEST_NAME] for name in classes]
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
    """Draw the examples whose true class was given the smallest share of the probability, the worst first."""
    y = split.y.cpu()
    right = scores.log_softmax(1).gather(1, y[:, None]).squeeze(1)
    places = right.argsort()[:MOST_WORST]
    images = split.raw(places.to(split.x.device)).cpu().float()
    lines = math.ceil(len(places) / COLUMNS)
    height, width = images.shape[2:]
    tall, wide = height + 2 * height // 5 + 2, width + 2  # room for two lines of text above each
    page = torch.ones(lines * tall, COLUMNS * wide, images.shape[1])
    figure = new_figure(1.4 * COLUMNS, 0.4 + 1.4 * lines * tall / wide)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1 - 0.35 / (0.4 + 1.4 * lines * tall / wide)))
    for number, (image, place) in enumerate(zip(images, places.tolist(), strict=True)):
        top, left = number // COLUMNS * tall + tall - height - 1, number % COLUMNS * wide + 1
        page[top : top + height, left : left + width] = unit_range(image).permute(1, 2, 0)
        true, taken = (str(classes[int(n)])[:12] for n in (y[place], scores[place].argmax()))
        text = f"{true} as {taken}\n{math.exp(right[place]):.1%} for {true}"
        axes.text(left + width / 2, top - 1, text, ha="center", va="bottom", fontsize=8)
    axes.imshow(page.squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.axis("off")
    figure.suptitle(f"Worst-classified examples: {about}", fontsize=10)
    return figure


def unit_range(image: Tensor) -> Tensor:
    """Bring a picture's values to [0, 1]."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp_min(1e-12)
