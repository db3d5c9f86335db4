"""Which steps of a batch of sequences are padding: nan in numbers, -1 in tokens, as `data.sequences` writes it."""

import torch
from torch import Tensor


def valid(x: Tensor) -> Tensor:
    """Return which steps of a batch are no padding, (batch, steps).

    Args:
        x: tokens, (batch, steps); or numbers, (batch, steps, features).
    """
    return ~x[..., 0].isnan() if x.is_floating_point() else x >= 0


def longest(kept: Tensor) -> int:
    """Return the steps of the longest example of a batch; all steps while a program is traced or compiled.

    Args:
        kept: see `valid`.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return kept.shape[1]
    return max(1, int(kept.sum(1).max()))
