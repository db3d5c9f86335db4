"""Batches of examples that stay on the host, because they are too large for the CUDA device that trains on them."""

import torch
from torch import Tensor

_streams: dict[torch.device, torch.cuda.Stream] = {}
"""The stream of each device on which batches are copied."""


def gathered(x: Tensor, rows: Tensor | slice, device: torch.device) -> Tensor:
    """Return rows of a tensor of the host on another device; on CUDA without a wait.

    The rows are gathered into pinned memory. Since no step waits for the device, the host gathers a batch while the
    device still computes with the one before.

    Args:
        x: (examples, ...), on the host; it may be a file that is mapped into memory.
        rows: indices on the host, or a slice.
        device: the device of the batch.
    """
    count = len(range(*rows.indices(len(x)))) if isinstance(rows, slice) else len(rows)
    if device.type != "cuda":
        return (x[rows] if isinstance(rows, slice) else x.index_select(0, rows)).to(device)
    batch = torch.empty(count, *x.shape[1:], dtype=x.dtype, pin_memory=True)
    if isinstance(rows, slice):
        batch.copy_(x[rows])
    else:
        torch.index_select(x, 0, rows, out=batch)
    return copied(batch, device)


def copied(batch: Tensor, device: torch.device) -> Tensor:
    """Copy pinned memory to a CUDA device, on a stream of its own: next to the computation with the batch before.

    The computation with the batch waits for the copy on the device. torch keeps the pinned memory until the copy is
    done, and, as it is told here, the memory on the device until the computation is done.
    """
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)
    computing = torch.cuda.current_stream(device)
    with torch.cuda.stream(_streams[device]):
        result = batch.to(device, non_blocking=True)
    computing.wait_stream(_streams[device])
    result.record_stream(computing)
    return result
