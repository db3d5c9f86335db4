"""Training examples that are changed at random, batch by batch, where the training runs.

An augmentation is called with a batch of prepared inputs, its targets and a generator on their device, and returns
new ones. Each example has a draw of its own. Targets are class numbers of shape (batch,) or probabilities of shape
(batch, classes).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

Augmentation = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CropFlip:
    """Pad with zeros, crop at a random place and mirror half of the examples (He et al. 2016, section 4.2).

    Args:
        padding: pixels that are added at each side; zero is the mean of inputs that are centred.
    """

    padding: Annotated[int, Ge(0)] = 4

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Move and mirror pictures of shape (batch, channels, height, width).

        Raises:
            ValueError: the examples are no pictures.
        """
        height, width = _picture_size(x)
        places = 2 * self.padding + 1
        top, left = (_whole(x, places, generator) for _ in range(2))
        mirrored = _whole(x, 2, generator).bool()
        rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
        columns = torch.where(mirrored, columns.flip(0), columns)
        padded_width = width + 2 * self.padding
        pixels = ((top + rows)[:, :, None] * padded_width + (left + columns)[:, None, :]).flatten(1)
        padded = F.pad(x, (self.padding,) * 4).flatten(2)
        return padded.gather(2, pixels[:, None].expand(-1, x.shape[1], -1)).view(x.shape), targets


@dataclass(frozen=True)
class Cutout:
    """Set a square around a random pixel to 0; at the border it is clipped (DeVries and Taylor 2017).

    Args:
        size: the square's side in pixels; None for half of the picture's shorter side.
    """

    size: Annotated[int, Ge(1)] | None = None

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cut out a square of each picture of shape (batch, channels, height, width), from all channels.

        Raises:
            ValueError: the examples are no pictures.
        """
        sides = _picture_size(x)
        size = min(sides) // 2 if self.size is None else self.size
        rows, columns = (_covered(x, side, size, generator) for side in sides)
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0), targets


@dataclass(frozen=True)
class Mixup:
    """Mix each example with another one of the batch, and their targets likewise (Zhang et al. 2018).

    `x' = l x + (1 - l) x[partner]` with `l` from Beta(alpha, alpha); the partners are a permutation of the batch.

    Args:
        classes: how many there are; class numbers become probabilities of so many.
        alpha: small for mixtures near one of the two examples, 1 for a uniform `l`.
    """

    classes: int
    alpha: Annotated[float, Gt(0)] = 0.2

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix inputs of shape (batch, ...); the targets returned are probabilities of shape (batch, classes)."""
        known = targets if targets.is_floating_point() else F.one_hot(targets, self.classes).to(x.dtype)
        partner = torch.randperm(len(x), generator=generator, device=x.device)
        share = beta(self.alpha, len(x), generator)
        return _mixed(x, partner, share), _mixed(known, partner, share)


AUGMENTS: dict[str, type] = {"crop_flip": CropFlip, "cutout": Cutout, "mixup": Mixup}
"""By name: the augmentations, each called with its settings (and the number of classes, where it asks for it)."""


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw from Beta(alpha, alpha), of shape (count,) in float64 on the generator's device.

    It is G / (G + G') of two Gamma(alpha) draws. For small alpha both underflow, so they are drawn as
    Gamma(alpha + 1) * U^(1 / alpha) (Marsaglia and Tsang 2000, section 6), and divided as logarithms.
    """
    shape = torch.full((2, count), alpha + 1, dtype=torch.float64, device=generator.device)
    gamma = torch._standard_gamma(shape, generator=generator).log()
    uniform = torch.rand((2, count), dtype=torch.float64, device=generator.device, generator=generator)
    power = (-uniform).log1p()  # of 1 - uniform, which is never 0
    return torch.sigmoid(gamma[0] - gamma[1] + (power[0] - power[1]) / alpha)


def _picture_size(x: Tensor) -> tuple[int, int]:
    """Return (height, width), or say that these are no pictures."""
    if x.ndim != 4:
        raise ValueError(f"needs pictures, but an example has the shape {tuple(x.shape[1:])}")
    return x.shape[2], x.shape[3]


def _whole(x: Tensor, below: int, generator: torch.Generator) -> Tensor:
    """Draw a whole number from 0 for each example, of shape (batch, 1)."""
    return torch.randint(below, (len(x), 1), generator=generator, device=x.device)


def _covered(x: Tensor, side: int, size: int, generator: torch.Generator) -> Tensor:
    """Which of `side` pixels the square covers, of shape (batch, side)."""
    first = _whole(x, side, generator) - size // 2
    pixel = torch.arange(side, device=x.device)
    return (pixel >= first) & (pixel < first + size)


def _mixed(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    weight = share.to(values.dtype).view(-1, *(1,) * (values.ndim - 1))
    return values[partner].lerp(values, weight)
