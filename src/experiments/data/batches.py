"""Splits live as tensors on the training device; a batch is an index into them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

RESIDENT_SHARE = 0.5

Preparation = Callable[[Tensor], Tensor]


@dataclass
class Split:
    """The examples of one split, as they came, and how a batch of them is prepared.

    Args:
        x: (examples, *input_shape), uint8 or float32, on the device or, where they are too many, on the host.
        y: (examples,), class numbers, beside x.
        prepare: turns gathered inputs into the model's, on the device.
        device: where batches are wanted.
    """

    x: Tensor
    y: Tensor
    prepare: Preparation
    device: torch.device

    def __len__(self) -> int:
        return len(self.y)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.x.shape[1:])

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Gather and prepare the examples at `index`, a tensor of shape (batch,) beside x."""
        return self._prepared(self.x.index_select(0, index), self.y.index_select(0, index))

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go once through all examples, `size` at a time."""
        for start in range(0, len(self), size):
            yield self._prepared(self.x[start : start + size], self.y[start : start + size])

    def _prepared(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if x.device != self.device:
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
        return self.prepare(x), y


def placed(x: Tensor, y: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Move examples to the device, unless they would take more than half of its free memory."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        if x.nbytes > RESIDENT_SHARE * free:
            return x, y
    return x.to(device), y.to(device)
