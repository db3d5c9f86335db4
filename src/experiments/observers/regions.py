"""Which class a model takes each point of a plane for, where examples have two features."""

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
    """Draws decision regions: as an image in TensorBoard while the model learns, as a figure when it has.

    Does nothing where an example has not two features.

    Args:
        splits: dots are examples of the training split; see `Drawing` for the one that the model is judged on.
        classes: names.
        writer: the run's event file; None for none.
        every: show them in TensorBoard at the end of every so many epochs, and before training; 0 for never.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        classes: Sequence[str],
        writer: SummaryWriter | None = None,
        every: Annotated[int, Ge(0)] = 1,
    ) -> None:
        super().__init__(splits, classes, writer)
        self.shown = every > 0 and writer is not None and planar(splits["train"])
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
        self.show_regions(int(row["epoch"]))

    def draw(self, epoch: int) -> None:
        """See `Drawing.draw`."""
        train = self.splits["train"]
        if planar(train):
            found = plane(train, FINE)
            judged = self.judged()
            self.keep("regions", regions_figure(found, self.scores(found), train, *judged, self.classes), epoch)

    def show_regions(self, epoch: int) -> None:
        """Show the regions as they are now, point by point."""
        image = shaded(self.scores(self.plane)).repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)
        rows, columns, colours = self.dots
        image[rows, columns] = colours
        self.show("regions", encoded(image[::-1]), (image.shape[1], image.shape[0]), epoch)

    def scores(self, plane: Plane) -> NDArray[np.float64]:
        """Return the model's scores all over a plane, (rows, columns, classes)."""
        with undrawn(self.program.device):  # a user's model may draw, and training goes on
            return plane.laid_out(self.program.scores(self.number, plane.points))


def encoded(image: NDArray[np.uint8]) -> bytes:
    """Return an image of shape (height, width, 3) as a PNG."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, "PNG", compress_level=1)
    return content.getvalue()
