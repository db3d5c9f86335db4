"""Pictures of a run: first-layer filters, layers over epochs, the confusion matrix, the worst-classified examples."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import Ge

from experiments.data.batches import Split
from experiments.figures.canvas import decades, layer_name, new_figure
from experiments.figures.classes import drawable
from experiments.figures.palette import literal
from experiments.folders.run import LayerRow
from experiments.initializers import weighted_layers
from experiments.tasks.base import Task
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
ROW, LOWEST, HIGHEST, BREADTH, MARGINS = 0.33, 0.7, 6.0, 5.4, 0.95
"""Inches: the height of a row; of the lowest and the highest heat map; its width; the margins above and below it."""
LINE, LONGEST_LINE = 0.145, 44
"""The height of a line of a layer's name, in inches, and its characters."""
NUMBER = 0.4
"""Inches of a column with room for a number."""
CONSTANT = 1.02
"""The least factor between the largest and the smallest value for a colour scale from one to the other."""
ABSENT = "#bbbbbb"


class Pictures(Drawing):
    """Draws pictures in `pictures/` and TensorBoard when training ends, and the filters also at the ends of epochs.

    Args:
        splits: see `Drawing`.
        classes: the names of the classes.
        task: draws examples with their answers.
        writer: the run's event file; None for no TensorBoard.
        every: epochs between two images of the filters in TensorBoard, the first before training; 0 for never.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        classes: Sequence[str],
        task: Task,
        writer: SummaryWriter | None = None,
        every: Annotated[int, Ge(0)] = 5,
    ) -> None:
        super().__init__(splits, classes, writer)
        self.task = task
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
        del row
        self.show_filters(self.position.mark)

    def draw(self, epoch: int) -> None:
        """See `Drawing.draw`."""
        images = filters(self.program.module(self.number), self.example_shape)
        if images is not None:
            self.keep("filters", filters_figure(*images), epoch)
        rows = [row for row in self.member.folder.read_layers() if row.quantity in HEAT]
        if rows:
            by_step = self.position.plan.validate_steps is not None
            self.keep("layers", layers_figure(rows, by_step=by_step), epoch)
        split, scores, about = self.evaluated(epoch)
        for name, figure in self.task.figures(split, scores, about).items():
            self.keep(name, figure, epoch)

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


def layers_figure(rows: Sequence[LayerRow], *, by_step: bool = False) -> Figure:
    """Draw a heat map of each quantity in `HEAT`, one above the other: a row per layer, a column per epoch.

    Args:
        rows: of `layers.csv`.
        by_step: whether epochs are called by their last steps, since they are periods of steps.
    """
    quantities = {name: own for name in HEAT if (own := [row for row in rows if row.quantity == name])}
    layers = {name: list(dict.fromkeys(row.layer for row in own)) for name, own in quantities.items()}
    heights = {name: min(max(ROW * len(names), LOWEST), HIGHEST) for name, names in layers.items()}
    ticks = {name: layer_ticks(names, heights[name]) for name, names in layers.items()}
    longest = max(len(line) for labels in ticks.values() for label in labels.values() for line in label.split("\n"))
    left = 0.075 * longest + 0.25  # inches
    width, height = left + BREADTH + 1.0, sum(heights.values()) + MARGINS * len(heights)
    figure = new_figure(width, height)
    bottom = height
    for name, own in quantities.items():
        bottom -= heights[name] + MARGINS
        box = (bottom + 0.6) / height, heights[name] / height
        axes = figure.add_axes((left / width, box[0], BREADTH / width, box[1]))
        colours = figure.add_axes(((left + BREADTH + 0.15) / width, box[0], 0.15 / width, box[1]))
        heat_map(figure, axes, colours, own, HEAT[name], by_step=by_step)
        axes.set_yticks(list(ticks[name]), list(ticks[name].values()), fontsize=8)
    return figure


def layer_ticks(layers: Sequence[str], height: float) -> dict[int, str]:
    """Return the names beside a heat map: row -> name.

    The names lose the parts that all have in common, are wrapped, and leave rows out if there is no room for all.

    Args:
        layers: the names of the layers.
        height: of the heat map, in inches.
    """
    short = [layer_name(name, None) for name in layers]
    names = short if len(set(short)) == len(short) else [literal(name) for name in layers]
    step = max(1, math.ceil(len(layers) * LINE / height))
    lines = max(1, int(height / len(layers) * step / LINE))
    return {
        number: "\n".join(textwrap.wrap(names[number], LONGEST_LINE, max_lines=lines, placeholder="...")) or "..."
        for number in range(0, len(layers), step)
    }


def heat_map(figure: Figure, axes: Axes, colours: Axes, rows: Sequence[LayerRow], label: str, *, by_step: bool) -> None:
    """Draw one quantity with a logarithmic colour scale, and its numbers if there is room; zeros are grey.

    Args:
        figure: of the axes.
        axes: for the map.
        colours: for its scale.
        rows: the values of the quantity.
        label: its name.
        by_step: see `layers_figure`.
    """
    from matplotlib.colors import LogNorm

    layers = list(dict.fromkeys(row.layer for row in rows))
    epochs = sorted({row.epoch for row in rows})
    at = {layer: number for number, layer in enumerate(layers)}, {epoch: number for number, epoch in enumerate(epochs)}
    values = np.full((len(layers), len(epochs)), np.nan)
    for row in rows:  # the last row of an epoch is the measurement at its end
        values[at[0][row.layer], at[1][row.epoch]] = row.value
    drawn = np.ma.masked_array(values, ~(np.isfinite(values) & (values > 0)))
    low, high = (float(drawn.min()), float(drawn.max())) if drawn.count() else (1.0, 1.0)
    if high < CONSTANT * low:  # one colour, in the middle of a scale
        low, high = low / 2, high * 2
    norm = LogNorm(low, high)
    axes.set_facecolor(ABSENT)
    shown = axes.imshow(drawn, aspect="auto", cmap="viridis", norm=norm, interpolation="nearest")
    figure.colorbar(shown, colours, ticks=decades(low, high), format="{x:g}").minorticks_off()
    if len(epochs) * NUMBER <= BREADTH and len(layers) * ROW <= HIGHEST:
        for (row_number, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                ink = "black" if value <= 0 or norm(value) > 0.6 else "white"
                axes.text(column, row_number, f"{value:.2g}", ha="center", va="center", color=ink, fontsize=8)
    steps = range(0, len(epochs), max(1, math.ceil(len(epochs) / 10)))
    marks = {row.epoch: row.step if by_step else row.epoch for row in rows}  # of the last row
    axes.set_xticks(steps, [str(marks[epochs[step]]) for step in steps])
    axes.set_xlabel(f"{'step' if by_step else 'epoch'} (0 is before training)")
    axes.set_title(label + ("; grey: zero or missing" if drawn.count() < drawn.size else ""), fontsize=10, loc="left")
