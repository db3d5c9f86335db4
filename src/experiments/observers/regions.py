"""Decision regions: the class that a model predicts at each point of a plane, if examples have two features."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from experiments.data.batches import Split
from experiments.figures.regions import COARSE, FINE, PIXELS, Plane, dots, planar, plane, regions_figure, shaded
from experiments.training.observer import every as every_epochs
from experiments.training.streams import undrawn

from ._drawing import Drawing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Program


class Regions(Drawing):
    """Draws decision regions: as an image in TensorBoard during training, and as a figure at its end.

    Nothing is drawn unless the targets are classes and an example has two features.

    Args:
        splits: see `Drawing`; the dots are examples of the training split.
        classes: the names of the classes.
        writer: the run's event file; None for no TensorBoard.
        every: epochs between two images in TensorBoard, the first before training; 0 for never.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        classes: Sequence[str],
        writer: SummaryWriter | None = None,
        every: Annotated[int, Ge(0)] = 1,
    ) -> None:
        super().__init__(splits, classes, writer)
        self.drawn = bool(classes) and planar(splits["train"])
        self.shown = every > 0 and writer is not None and self.drawn
        self.when = every_epochs(every if self.shown else 0)

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`."""
        super().start(member, number, program, position)
        if not self.shown:
            return
        self.plane = plane(self.splits["train"], COARSE)
        self.dots = dots(self.splits["train"], self.plane)
        if position.step == 0:
            self.show_regions(0)

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        del row
        self.show_regions(self.position.mark)

    def draw(self, epoch: int) -> None:
        """See `Drawing.draw`."""
        train = self.splits["train"]
        if self.drawn:
            grid = plane(train, FINE)
            figure = regions_figure(grid, self.scores(grid), train, *self.evaluated(epoch), self.classes)
            self.keep("regions", figure, epoch)

    def show_regions(self, epoch: int) -> None:
        """Write the current regions to TensorBoard, point by point."""
        image = shaded(self.scores(self.plane)).repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)
        rows, columns, colours = self.dots
        image[rows, columns] = colours
        self.show("regions", encoded(image[::-1]), (image.shape[1], image.shape[0]), epoch)

    def scores(self, plane: Plane) -> NDArray[np.float64]:
        """Return the model's scores at the points of a plane, (rows, columns, classes)."""
        with undrawn(self.program.device):  # a user's model may draw random numbers, and training must not notice
            return plane.laid_out(self.program.scores(self.number, plane.points))


def encoded(image: NDArray[np.uint8]) -> bytes:
    """Return an image of shape (height, width, 3) as a PNG."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, "PNG", compress_level=1)
    return content.getvalue()
