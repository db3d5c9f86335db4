"""Sequences of unequal lengths: padded at their ends, and put into batches by length.

A step that is padding is nan in numbers and -1 in tokens, so that a batch needs no further tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PADDING = -1
"""The token of a step that is padding."""
POOL = 32
"""Batches whose examples are sorted by length together: the order of the examples stays random beyond them."""


def padded(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Return sequences of numbers as one array in float32, (examples, steps, ...), padded with nan.

    Args:
        sequences: (steps, ...) each.
    """
    found = np.full((len(sequences), max(map(len, sequences)), *sequences[0].shape[1:]), np.nan, np.float32)
    for row, one in zip(found, sequences, strict=True):
        row[: len(one)] = one
    return found


def lengthened(x: np.ndarray, length: int) -> np.ndarray:
    """Return padded sequences with further steps of padding."""
    more = [(0, 0), (0, length - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]
    return np.pad(x, more, constant_values=np.nan)


def valid(x: Tensor) -> Tensor:
    """Return which steps of a batch are no padding, (batch, steps).

    Args:
        x: tokens, (batch, steps); or numbers, (batch, steps) or (batch, steps, features).
    """
    if not x.is_floating_point():
        return x != PADDING
    return ~(x if x.ndim == 2 else x[..., 0]).isnan()


def lengths(x: Tensor) -> Tensor:
    """Return the number of steps of each example, (examples,), on the CPU.

    Args:
        x: as in `Split`: (examples, steps), or (examples, 1, steps, features) of numbers.
    """
    return valid(x[:, 0] if x.ndim == 4 else x).sum(1).cpu()


def by_length(order: Tensor, steps: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Return an order of examples in which a batch has similar lengths, and batches are in random order.

    Args:
        order: a random order, (examples,).
        steps: the length of each example, (examples,).
        batch: the examples of a batch; those that do not fill the last batch stay at the end.
        generator: draws the order of the batches.
    """
    parts = [part[steps[part].argsort(stable=True)] for part in order.split(POOL * batch)]
    whole = torch.cat(parts)
    count = len(whole) // batch
    batches = whole[: count * batch].view(count, batch)
    return torch.cat([batches[torch.randperm(count, generator=generator)].flatten(), whole[count * batch :]])
