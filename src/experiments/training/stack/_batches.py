"""The members' batches, gathered and prepared at once if possible."""

from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.data import host
from experiments.data.batches import Split
from experiments.data.preprocess import Affine, Double
from experiments.training.transfer import to_device


class Batches:
    """One split of each member.

    Args:
        splits: of the same length; if all share their inputs, batches are gathered in one operation.
    """

    def __init__(self, splits: Sequence[Split]) -> None:
        self.splits = list(splits)
        first = self.splits[0]
        self.device, self.x = first.device, first.x
        self.shared = all(split.x is self.x for split in self.splits)
        self.y = torch.stack([split.y for split in self.splits])
        whole = torch.arange(len(first), device=self.x.device)
        self.rows = torch.stack([whole if split.rows is None else split.rows for split in self.splits])
        inner = [split.prepare.inner if isinstance(split.prepare, Double) else split.prepare for split in self.splits]
        self.affine = [prepare for prepare in inner if isinstance(prepare, Affine)]
        self.together = self.shared and len(self.affine) == len(self.splits)
        self.doubled = isinstance(first.prepare, Double)
        if self.together:
            self.shift = alongside([prepare.shift for prepare in self.affine], self.x.ndim)
            self.scale = alongside([prepare.scale for prepare in self.affine], self.x.ndim)

    def __len__(self) -> int:
        return len(self.splits[0])

    def batch(self, index: Tensor, members: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Gather and prepare.

        Args:
            index: (members, batch), on the device of the inputs.
            members: their numbers; None for all.

        Returns:
            Inputs of shape (members, batch, ...), and targets of shape (members, batch) or (members, batch, targets).
        """
        if not self.together:
            chosen = self.splits if members is None else [self.splits[k] for k in members]
            pairs = [split.batch(own) for split, own in zip(chosen, index, strict=True)]
            return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])
        whole = slice(None) if members is None else selected(members)
        y = gathered(self.y[whole], index)
        rows = self.rows[whole].gather(1, index).flatten()
        if self.x.device != self.device:
            x, y = host.gathered(self.x, rows, self.device), to_device(y, self.device)
        else:
            x = self.x.index_select(0, rows)
        x = x.view(*index.shape, *self.x.shape[1:])
        if torch.float64 in (x.dtype, self.shift.dtype):
            x = ((x.double() - self.shift[whole]) * self.scale[whole]).float()
        else:
            x = (x.float() if x.dtype != torch.float32 else x).sub_(self.shift[whole]).mul_(self.scale[whole])
        return (x.double() if self.doubled else x), y


def selected(rows: Sequence[int]) -> slice | list[int]:
    """Return an index of these rows: a slice if they are consecutive, since a list would be copied to the device."""
    consecutive = len(rows) > 0 and list(rows) == list(range(rows[0], rows[0] + len(rows)))
    return slice(rows[0], rows[0] + len(rows)) if consecutive else list(rows)


def gathered(y: Tensor, index: Tensor) -> Tensor:
    """Return each member's targets at its own indices.

    Args:
        y: (members, examples) or (members, examples, targets).
        index: (members, batch).
    """
    return y.gather(1, index if y.ndim == 2 else index.unsqueeze(2).expand(-1, -1, y.shape[2]))


def alongside(numbers: Sequence[Tensor], axes: int) -> Tensor:
    """Return numbers of each member with axes for members and examples, to broadcast against batches.

    Args:
        numbers: of each member, which broadcast against an example.
        axes: of a member's batch.
    """
    wide = torch.broadcast_tensors(*(n.reshape(*[1] * (axes - 1 - n.ndim), *n.shape) for n in numbers))
    return torch.stack(wide).unsqueeze(1)
