"""Pictures of a run: first-layer filters, layers over epochs, the confusion matrix, the worst-classified examples."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import Ge

from experiments.data.batches import Split
from experiments.figures.canvas import new_figure
from experiments.figures.classes import confusion, confusion_figure, drawable, worst_figure
from experiments.folders.run import LayerRow
from experiments.initializers import weighted_layers
from experiments.training.observer import every as every_epochs

from ._drawing import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Program

MOST_FILTERS = 100
DIVERGING = "RdBu_r"
SCALE = 0.995
"""The share of weights within the colour scale; the few largest weights would make all others pale."""
HEAT = {"activation_std": "standard deviation of activations", "gradient_norm": "norm of the gradient"}
"""The quantities of the heat maps, and their labels."""


class Pictures(Drawing):
    """Draws pictures in `pictures/` and TensorBoard when training ends, and the filters also at the ends of epochs.

    Args:
        splits: see `Drawing`.
        classes: the names of the classes.
        writer: the run's event file; None for no TensorBoard.
        every: epochs between two images of the filters in TensorBoard, the first before training; 0 for never.
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

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
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
        split, scores, about = self.evaluated()
        self.keep("confusion", confusion_figure(confusion(scores, split.y.cpu()), self.classes, about), epoch)
        if drawable(self.example_shape):
            self.keep("worst", worst_figure(split, scores, self.classes, about), epoch)

    def show_filters(self, epoch: int) -> None:
        """Write the current filters to TensorBoard, pixel by pixel."""
        images = filters(self.program.module(self.number), self.example_shape)
        if images is not None:
            content, (height, width) = encoded(*images), images[0].shape[:2]
            self.show("filters", content, (width, height), epoch)


def filters(model: torch.nn.Module, example_shape: tuple[int, ...]) -> tuple[np.ndarray, float] | None:
    """Return the first layer's weights as pictures in one grid, and the upper end of their common colour scale.

    Args:
        model: its first linear or convolutional layer is assumed to get the examples.
        example_shape: the shape of one example.

    Returns:
        (height, width) or, for weights of three channels, (height, width, 3), with nan between the filters; None if
        the weights are not pictures.
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
    """Arrange images of shape (count, channels, height, width) in a grid, with one pixel of nan between them."""
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    arranged = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.nan, dtype=np.float32)
    for number, image in enumerate(images):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        arranged[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return arranged[..., 0] if channels == 1 else arranged


def encoded(image: np.ndarray, largest: float) -> bytes:
    """Return weights as a PNG, pixel by pixel: the colours span -`largest` to `largest`, and gaps are white."""
    from PIL import Image

    levels = np.nan_to_num(levels_of(image, largest), nan=255).astype(np.uint8)  # 255 for gaps
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
    """Draw the filters with their colour scale.

    Args:
        image: see `filters`.
        largest: the upper end of the colour scale.
    """
    figure = new_figure(6.8, 6)
    axes = figure.add_axes((0.02, 0.04, 0.8, 0.9))
    if image.ndim == 3:
        axes.imshow(np.nan_to_num(levels_of(image, largest) / 254, nan=1.0))
        axes.set_xlabel(f"weights for red, green and blue, from -{largest:.2g} (dark) to {largest:.2g} (bright)")
    else:
        shown = axes.imshow(image, cmap=DIVERGING, vmin=-largest, vmax=largest, interpolation="nearest")
        figure.colorbar(shown, figure.add_axes((0.85, 0.1, 0.03, 0.78)), label="weight", extend="both")
    axes.set_title("First-layer weights, one picture per unit")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure


def layers_figure(rows: Sequence[LayerRow]) -> Figure:
    """Draw a heat map of each quantity in `HEAT`, with one row per layer and one column per epoch."""
    by_quantity = {quantity: [row for row in rows if row.quantity == quantity] for quantity in HEAT}
    deepest = max(len({row.layer for row in own}) for own in by_quantity.values())
    longest = max(len(row.layer) for row in rows)
    left = 0.075 * longest + 0.2  # inches
    figure = new_figure(2 * (left + 4.6), 1.5 + 0.35 * deepest)
    all_axes = figure.subplots(1, len(HEAT))
    figure.subplots_adjust(
        left=left / figure.get_figwidth(), right=0.96, wspace=(left + 0.9) / 3.4,
        bottom=0.6 / figure.get_figheight(), top=1 - 0.4 / figure.get_figheight(),
    )  # fmt: skip
    for axes, (quantity, own) in zip(all_axes, by_quantity.items(), strict=True):
        if own:
            heat_map(figure, axes, own, HEAT[quantity])
    return figure


def heat_map(figure: Figure, axes: Axes, rows: Sequence[LayerRow], label: str) -> None:
    """Draw one quantity, with a logarithmic colour scale if it spans more than a factor of 10."""
    from matplotlib.colors import LogNorm

    layers = list(dict.fromkeys(row.layer for row in rows))
    epochs = sorted({row.epoch for row in rows})
    values = np.full((len(layers), len(epochs)), np.nan)
    for row in rows:  # the last row of an epoch is the measurement at its end
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
