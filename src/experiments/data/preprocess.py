"""Preparing inputs. Every statistic is fitted on the training split alone."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 2048


@dataclass
class Affine:
    """`(x - shift) * scale` in float32; both broadcast against one example."""

    shift: Tensor
    scale: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Prepare inputs of shape (batch, *input_shape) and any number type; returns float32."""
        return (x.float() if x.dtype != torch.float32 else x.clone()).sub_(self.shift).mul_(self.scale)

    def to(self, device: torch.device) -> "Affine":
        """Return the same preparation on a device."""
        return Affine(self.shift.to(device), self.scale.to(device))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the fitted numbers, for a checkpoint."""
        return {"shift": self.shift.cpu(), "scale": self.scale.cpu()}


def none(_x: Tensor) -> Affine:
    """Leave the inputs as they came: a picture's bytes stay 0 to 255."""
    return _affine(torch.zeros(()), torch.ones(()))


def scale(x: Tensor) -> Affine:
    """Map the smallest training value to 0 and the largest to 1: of all pixels, or of each feature of a table."""
    dims = _statistic_dims(x)
    low, high = x.amin(dims, keepdim=True)[0].double(), x.amax(dims, keepdim=True)[0].double()
    return _affine(low, _reciprocal(high - low, high.abs().maximum(low.abs())))


def pixel_mean(x: Tensor) -> Affine:
    """Subtract the mean training picture, pixel by pixel (AlexNet, Krizhevsky et al. 2012); the scale stays."""
    return _affine(_mean(x, (0,)), torch.ones(()))


def channel_mean(x: Tensor) -> Affine:
    """Subtract the mean of each channel or feature (VGG, Simonyan and Zisserman 2015); the scale stays."""
    return _affine(_mean(x, _channel_dims(x)), torch.ones(()))


def standardize(x: Tensor) -> Affine:
    """Give each channel or feature mean 0 and variance 1; one that is constant is only centred."""
    dims = _channel_dims(x)
    mean = _mean(x, dims)
    squares = torch.stack([((part.double() - mean) ** 2).sum(dims, keepdim=True)[0] for part in _parts(x)]).sum(0)
    return _affine(mean, _reciprocal((squares / _count(x, dims)).sqrt(), mean.abs()))


PREPROCESSES: dict[str, Callable[[Tensor], Affine]] = {
    f.__name__: f for f in (none, scale, pixel_mean, channel_mean, standardize)
}
"""By name: fits on training inputs of shape (examples, features) or (examples, channels, height, width)."""


def _affine(shift: Tensor, factor: Tensor) -> Affine:
    return Affine(shift.float(), factor.float())


def _channel_dims(x: Tensor) -> tuple[int, ...]:
    """Everything but the channels of pictures, or but the features of a table."""
    return (0, 2, 3) if x.ndim == 4 else (0,)


def _statistic_dims(x: Tensor) -> tuple[int, ...]:
    return tuple(range(4)) if x.ndim == 4 else (0,)


def _count(x: Tensor, dims: tuple[int, ...]) -> int:
    return math.prod(x.shape[d] for d in dims)


def _parts(x: Tensor) -> Iterator[Tensor]:
    """Some rows at a time, so that float64 sums need little memory."""
    yield from x.split(ROWS)


def _mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return torch.stack([part.double().sum(dims, keepdim=True)[0] for part in _parts(x)]).sum(0) / _count(x, dims)


def _reciprocal(spread: Tensor, size: Tensor) -> Tensor:
    """1 / spread, and 1 where there is none.

    There is none below what rounding leaves of values of that size, or what float32 can invert.
    """
    real = (spread > 1e-12 * size) & (spread > 1e-37)
    return torch.where(real, 1 / spread.where(real, 1.0), 1.0)
