"""The base class of observers that draw files in `pictures/` and images in TensorBoard."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from experiments.common.files import write_whole
from experiments.data.batches import Split
from experiments.training.observer import Observer

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


class Drawing(Observer):
    """Draws pictures of a run, at the latest after training, with the weights that are tested.

    Args:
        splits: the splits; the model is evaluated on the validation split, or on the training split if there is none.
        classes: the names of the classes.
        writer: the run's event file; None for no TensorBoard.
    """

    def __init__(self, splits: Mapping[str, Split], classes: Sequence[str], writer: SummaryWriter | None) -> None:
        self.splits = splits
        self.classes = classes
        self.writer = writer

    def scored(self, epoch: int) -> None:
        """See `Observer.scored`; nothing is drawn for a run that was not trained."""
        if epoch > 0:
            self.draw(epoch)

    def draw(self, epoch: int) -> None:
        """Draw the final pictures, with the weights after `epoch` epochs; see `Position.mark`."""

    def evaluated(self, epoch: int) -> tuple[Split, Tensor, str]:
        """Return the split that the model is evaluated on, its scores, and the name of both in a title."""
        name = "val" if "val" in self.splits else "train"
        unit = "epoch" if self.position.plan.validate_steps is None else "step"
        about = f"{'validation' if name == 'val' else 'training'} split, after {unit} {epoch}"
        return self.splits[name], self.program.scores(self.number, name).float().cpu(), about

    def keep(self, name: str, figure: Figure, epoch: int) -> None:
        """Write a figure to the run folder and to TensorBoard."""
        content = io.BytesIO()
        figure.savefig(content, format="png", pil_kwargs={"compress_level": 1})
        write_whole(self.member.folder.path / "pictures" / f"{name}.png", content.getvalue())
        self.show(f"pictures/{name}", content.getvalue(), figure.canvas.get_width_height(), epoch)

    def show(self, tag: str, png: bytes, size: tuple[int, int], epoch: int) -> None:
        """Write a PNG of this width and height to TensorBoard; `add_image` would take ten times as long."""
        if self.writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        width, height = size
        image = Summary.Image(width=width, height=height, encoded_image_string=png)
        self.writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), epoch)
