"""Sequences of unequal lengths, padded at their ends and put into batches by length; texts that are cut into parts.

A step that is padding is nan in numbers and -1 in tokens, so that a batch needs no further tensor. Parts of texts are
described by `follows`, (examples,): whether each begins where the one before it ends.
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
LEAST_READ = 100
"""Parts of a text that are read in order in evaluation, at least: a longer one is read at several positions at once."""


def padded(sequences: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """Return sequences of numbers as one array in float32, (examples, length, ...), padded with nan.

    Args:
        sequences: (steps, ...) each.
        length: of all; None for that of the longest one.
    """
    length = max(map(len, sequences)) if length is None else length
    found = np.full((len(sequences), length, *sequences[0].shape[1:]), np.nan, np.float32)
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


def in_lanes(follows: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Return an order of examples in which each row of a batch continues the same row of the batch before.

    The texts, in random order, are one long text, which is divided into a lane for each row. So at most `batch` - 1
    texts continue in another row, where they begin without a state.

    Args:
        follows: see the module.
        batch: the rows; those lanes are one part longer that the last batch has an example of.
        generator: draws the order of the texts.
    """
    begins = starts(follows)
    drawn = torch.randperm(len(begins), generator=generator)
    whole = consecutive(begins[drawn], sizes(begins, len(follows))[drawn])
    steps = -(-len(whole) // batch)
    longer = len(whole) - batch * (steps - 1)
    split = longer * steps
    lanes = whole[:split].view(longer, steps)
    others = whole[split:].view(batch - longer, steps - 1)
    full = torch.cat([lanes[:, : steps - 1], others]).t().flatten()
    return torch.cat([full, lanes[:, steps - 1]])


def readable(follows: Tensor) -> Tensor:
    """Return `follows` for an evaluation: a long text is divided into several, of `LEAST_READ` parts or more each.

    A network that reads one text cannot be computed at several positions at once. Where a division begins it has read
    nothing, which at one of `LEAST_READ` parts changes little, and does not depend on the size of a batch.
    """
    begins, found = starts(follows), follows.cpu().clone()
    for begin, size in zip(begins.tolist(), sizes(begins, len(follows)).tolist(), strict=True):
        count = size // LEAST_READ
        found[[begin + size * part // count for part in range(1, count)]] = False
    return found.to(follows.device)


def reading(follows: Tensor, rows: int) -> list[Tensor]:
    """Return batches of examples, (at most `rows`,) each, in which each text is read in order in one row.

    Args:
        follows: see the module.
        rows: the most that are read at once; the longest texts come first.
    """
    begins = starts(follows)
    lengths = sizes(begins, len(follows))
    order = lengths.argsort(descending=True, stable=True)
    found = []
    for group in order.split(rows):
        begin, length = begins[group], lengths[group]
        found += [begin[length > step] + step for step in range(int(length[0]))]
    return [index.to(follows.device) for index in found]


def starts(follows: Tensor) -> Tensor:
    """Return the first example of each text, (texts,), on the CPU."""
    begins = ~follows.cpu()
    begins[0] = True  # of a split that begins within a text
    return begins.nonzero().flatten()


def sizes(begins: Tensor, count: int) -> Tensor:
    """Return the examples of each text, (texts,).

    Args:
        begins: see `starts`.
        count: all examples.
    """
    return torch.cat([begins[1:], torch.tensor([count])]) - begins


def consecutive(begins: Tensor, counts: Tensor) -> Tensor:
    """Return ranges of numbers one after another: `counts` numbers from each of `begins`."""
    offsets = torch.repeat_interleave(begins - (counts.cumsum(0) - counts), counts)
    return offsets + torch.arange(int(counts.sum()))
