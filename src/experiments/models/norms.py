"""Normalizations of hidden layers, by name."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

NormName = Literal["none", "batch", "layer", "group", "rms"]
Groups = Annotated[int, Ge(1)]


class RMSNorm(nn.RMSNorm):
    """RMSNorm whose scale follows the precision of the inputs, which torch's own does not under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x of shape (batch, units)."""
        return nn.functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class ChannelRMSNorm(nn.Module):
    """RMSNorm of pictures: each example is divided by its root mean square over channels and positions.

    Args:
        channels: each has a scale of its own.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = torch.finfo(torch.float32).eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x of shape (batch, channels, height, width)."""
        size = (x.square().mean((1, 2, 3), keepdim=True) + self.eps).rsqrt()
        return x * size * self.weight[:, None, None]

    def extra_repr(self) -> str:
        """Return the number of channels."""
        return str(len(self.weight))


def chosen(norm: NormName, batch_norm: bool) -> NormName:
    """Return the normalization that two settings choose; `batch_norm=true` is short for `norm=batch`.

    Raises:
        ValueError: they contradict each other.
    """
    if batch_norm and norm not in ("none", "batch"):
        raise ValueError(f"norm={norm} cannot be combined with batch_norm=true; leave one of them out")
    return "batch" if batch_norm else norm


def build(norm: NormName, size: int, groups: int, *, pictures: bool) -> nn.Module | None:
    """Build a normalization of a layer's outputs; None for no normalization.

    Args:
        norm: 'batch' over the examples (Ioffe and Szegedy 2015); the others within each example: 'layer' over all units
            (Ba et al. 2016), 'group' over groups of units (Wu and He 2018), 'rms' without subtracting the mean (Zhang
            and Sennrich 2019).
        size: units or channels.
        groups: of 'group'.
        pictures: whether outputs are (batch, channels, height, width), over whose positions is normalized too.

    Raises:
        ValueError: the groups do not divide the size.
    """
    if norm == "none":
        return None
    if norm == "batch":
        return nn.BatchNorm2d(size) if pictures else nn.BatchNorm1d(size)
    if norm == "layer":
        return nn.GroupNorm(1, size) if pictures else nn.LayerNorm(size)
    if norm == "rms":
        return ChannelRMSNorm(size) if pictures else RMSNorm(size)
    if size % groups:
        raise ValueError(f"groups={groups} does not divide a layer of {size}; choose a divisor of every layer's size")
    return nn.GroupNorm(groups, size)


def numbers(norm: NormName, units: int) -> int:
    """Return the numbers of a layer besides its weights: biases, scales, shifts and running statistics."""
    return {"none": units, "batch": 4 * units + 1, "layer": 3 * units, "group": 3 * units, "rms": 2 * units}[norm]
