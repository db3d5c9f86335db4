"""Splits as tensors on the training device; a batch is an index into them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .host import gathered

RESIDENT_SHARE = 0.5
"""The share of a device's free memory that a split may take."""
GATHERED = 1024
"""Examples of a memory-mapped file that are copied to the device at a time."""

Preparation = Callable[[Tensor], Tensor]


@dataclass
class Split:
    """The raw examples of one split, and how a batch of them is prepared.

    Args:
        x: (examples, *input_shape), uint8 or float32, on the device, or on the host if it is too large for the device.
        y: (examples,), class numbers, where x is.
        prepare: turns a batch of raw inputs into the model's inputs, on the device.
        device: the device of the batches.
        rows: the rows of x that belong to this split if several splits share x, where x is; None for all.
        follows: (examples,), where x is: whether each example begins where the one before it ends, so that a recurrent
            network carries its state from one to the next (`data.stateful`); None if no state is carried.
    """

    x: Tensor
    y: Tensor
    prepare: Preparation
    device: torch.device
    rows: Tensor | None = None
    follows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def raw(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Return the raw examples at `index`, or all of them, where x is."""
        return self.x[index if self.rows is None else self.rows[index]]

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Gather and prepare the examples at `index`, a tensor of shape (batch,) on the device of x."""
        rows = index if self.rows is None else self.rows.index_select(0, index)
        return self.prepare(self._on_device(self.x, rows)), self._on_device(self.y, index)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first `count` examples, prepared; all of them if there are fewer."""
        return self.batch(torch.arange(min(count, len(self)), device=self.x.device))

    def part(self, rows: slice) -> "Split":
        """Return a split that consists of these rows."""
        follows = None if self.follows is None else self.follows[rows]
        if self.rows is None:
            return replace(self, x=self.x[rows], y=self.y[rows], follows=follows)
        return replace(self, y=self.y[rows], rows=self.rows[rows], follows=follows)

    def announce(self, batches: Sequence[Tensor], epoch: int) -> None:
        """Tell the split which batches follow; one whose examples are in memory has nothing to do.

        Args:
            batches: (1, batch) each, in the order in which `batch` is called with them.
            epoch: how many epochs are complete.
        """

    def close(self) -> None:
        """End what the split has started, such as workers."""

    def sample(self, most: int) -> "Split":
        """Return a split of at most `most` of the examples; the same split if there are no more.

        They are evenly spaced, or the first ones if examples continue each other.
        """
        step = -(-len(self) // most)
        if step <= 1:
            return self
        if self.follows is not None:
            return self.part(slice(most))
        chosen = torch.arange(0, len(self), step, device=self.y.device)
        return replace(self, y=self.y[chosen], rows=chosen if self.rows is None else self.rows[chosen])

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate once over all examples, `size` at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            x = self._on_device(self.x, part if self.rows is None else self.rows[part])
            yield self.prepare(x), self._on_device(self.y, part)

    def _on_device(self, tensor: Tensor, rows: Tensor | slice) -> Tensor:
        """Return rows of x or y on the device of the batches."""
        if tensor.device != self.device:
            return gathered(tensor, rows, self.device)
        return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)


def resident(x: Tensor, y: Tensor, rows: Tensor | None, prepare: Preparation, device: torch.device) -> Split:
    """Build a split whose examples are on the device, unless they would take more than half of its free memory.

    Args:
        x, y: as in `Split`, on the host.
        rows: see `Split`; only these rows are copied to the device.
        prepare, device: see `Split`.
    """
    if device.type != "cuda":
        return Split(x, y, prepare, device, rows)
    free, _total = torch.cuda.mem_get_info(device)
    if x[0].nbytes * len(y) > RESIDENT_SHARE * free:
        return Split(x, y, prepare, device, rows)
    if rows is None:
        return Split(x.to(device), y.to(device), prepare, device)
    copied = torch.empty(len(rows), *x.shape[1:], dtype=x.dtype, device=device)
    for start in range(0, len(rows), GATHERED):
        part = rows[start : start + GATHERED]
        copied[start : start + GATHERED] = x.index_select(0, part).to(device)
    return Split(copied, y.to(device), prepare, device)
