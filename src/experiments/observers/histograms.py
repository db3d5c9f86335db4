"""Histograms of activations, weights and gradients on the probe batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from experiments.folders import events
from experiments.models.measures import counts
from experiments.training.observer import Observer
from experiments.training.observer import every as every_epochs

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Capture, Program

BINS = 30
"""The number of bins that TensorBoard draws (the default of TensorFlow's own histograms)."""
SUMS = 5
"""The numbers of a histogram besides its bins: see `histograms`."""


class Histograms(Observer):
    """Writes a histogram of each activation layer's outputs, each parameter and each gradient.

    The first histograms are written before training, as epoch 0.

    Args:
        writer: the run's event file.
        every: epochs between two histograms; 0 for never.
    """

    def __init__(self, writer: SummaryWriter, every: Annotated[int, Ge(0)] = 1) -> None:
        self.writer = writer
        self.when = every_epochs(every)
        self.enabled = every > 0

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`."""
        super().start(member, number, program, position)
        if position.step == 0 and self.enabled:
            self.write(0)

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        del row
        self.write(self.position.mark)

    def write(self, epoch: int) -> None:
        """Measure and write the histograms; a tensor with a value that is not finite has none."""
        tags, rows = self.program.look(self.number, "histograms", measured)
        numbers = rows.cpu().numpy()
        finite = numbers[:, 0] < numbers[:, 1]
        if finite.any():  # one event for all; `add_histogram_raw` would write one event for each
            numbers, shown = numbers[finite], list(itertools.compress(tags, finite))
            event = events.histograms(shown, numbers[:, :SUMS], numbers[:, SUMS:], epoch)
            self.writer._get_file_writer().add_event(event, epoch)


def measured(capture: Capture) -> tuple[Sequence[str], Tensor]:
    """Return the tags of all histograms, and the histograms; see `histograms`."""
    tensors = {
        f"{events.HISTOGRAMS}/{kind}/{name}": tensor
        for kind in ("activations", "weights", "gradients")
        for name, tensor in getattr(capture, kind).items()
        if tensor.numel()
    }
    return list(tensors), histograms(list(tensors.values()))


def histograms(tensors: list[Tensor]) -> Tensor:
    """Reduce tensors to histograms on their device.

    Args:
        tensors: of any shape.

    Returns:
        (len(tensors), SUMS + BINS) in float64: the lowest and the highest edge, the number of values, their sum and sum
        of squares, and the counts of equally wide bins. If all values are equal, the bins span a range of width 1
        around them; if a value is not finite, both edges are nan.
    """
    return torch.stack([_histogram(tensor.detach().flatten().float()) for tensor in tensors])


def _histogram(values: Tensor) -> Tensor:
    low, high = values.amin(), values.amax()
    low, high = low.double(), high.double()
    flat = low == high
    low, high = torch.where(flat, low - 0.5, low), torch.where(flat, high + 0.5, high)
    broken = ~(low.isfinite() & high.isfinite())
    scale = torch.where(broken, 0.0, BINS / (high - low))
    position = (values - low.float()).mul_(scale.float()).nan_to_num_(0.0, 0.0, 0.0).clamp(0.0, BINS - 1)
    bin_counts = counts(position.to(torch.int64), BINS)  # under `vmap`, integers take long to clamp
    nan = torch.full_like(low, torch.nan)
    edges = torch.stack([torch.where(broken, nan, low), torch.where(broken, nan, high)])
    sums = torch.stack([torch.full_like(low, values.numel()), values.sum().double(), values.square().sum().double()])
    return torch.cat([edges, sums, bin_counts])
