"""Random changes of training examples, batch by batch, on the training device.

An augmentation is called with a batch of prepared inputs, its targets and a generator on their device, and returns
new inputs and targets. Each example gets its own draw. Those here take a generator on the CPU, so that they draw the
same on every device. Targets are class numbers of shape (batch,) or probabilities
of shape (batch, classes).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from .transforms import TRANSFORMS

Augmentation = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CropFlip:
    """Pad with zeros, crop at a random position and mirror half of the examples (He et al. 2016, section 4.2).

    Args:
        padding: pixels added on each side; zero is the mean of centred inputs.
    """

    padding: Annotated[int, Ge(0)] = 4

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crop and mirror pictures of shape (batch, channels, height, width).

        Raises:
            ValueError: the examples are not pictures.
        """
        height, width = _picture_size(x)
        offsets = 2 * self.padding + 1
        top, left = (_integers(x, offsets, generator) for _ in range(2))
        mirrored = _integers(x, 2, generator).bool()
        rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
        columns = torch.where(mirrored, columns.flip(0), columns)
        padded_width = width + 2 * self.padding
        pixels = ((top + rows)[:, :, None] * padded_width + (left + columns)[:, None, :]).flatten(1)
        padded = F.pad(x, (self.padding,) * 4).flatten(2)
        return padded.gather(2, pixels[:, None].expand(-1, x.shape[1], -1)).view(x.shape), targets


@dataclass(frozen=True)
class Cutout:
    """Set a square around a random pixel to 0; the square is clipped at the border (DeVries and Taylor 2017).

    Args:
        size: the square's side in pixels; None for half of the picture's shorter side.
    """

    size: Annotated[int, Ge(1)] | None = None

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Set a square of each picture of shape (batch, channels, height, width) to 0 in all channels.

        Raises:
            ValueError: the examples are not pictures.
        """
        sides = _picture_size(x)
        size = min(sides) // 2 if self.size is None else self.size
        rows, columns = (_covered(x, side, size, generator) for side in sides)
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0), targets


@dataclass(frozen=True)
class Mixup:
    """Mix each example, and its target, with another example of the batch (Zhang et al. 2018).

    `x' = l x + (1 - l) x[partner]` with `l` from Beta(alpha, alpha); the partners are a permutation of the batch.

    Args:
        classes: the number of classes; class numbers become probabilities of these classes.
        alpha: a small value keeps the mixture close to one of the two examples; 1 draws `l` uniformly.
    """

    classes: int
    alpha: Annotated[float, Gt(0)] = 0.2

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix inputs of shape (batch, ...); the targets returned are probabilities of shape (batch, classes)."""
        probabilities = targets if targets.is_floating_point() else F.one_hot(targets, self.classes).to(x.dtype)
        partner = _moved(torch.randperm(len(x), generator=generator, device=generator.device), x)
        share = _moved(beta(self.alpha, len(x), generator), x)
        return _mixed(x, partner, share), _mixed(probabilities, partner, share)


@dataclass(frozen=True)
class Transformed:
    """A transform of torchvision, applied to each example with a draw of its own.

    Args:
        transform: of one picture, (channels, height, width).
    """

    transform: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Transform pictures of shape (batch, channels, height, width).

        Raises:
            ValueError: the examples are not pictures, or get another size.
        """
        _picture_size(x)
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
            torch.random.default_generator.manual_seed(seed)
            examples = [self.transform(example) for example in x]
        if examples and examples[0].shape != x.shape[1:]:
            raise ValueError(
                f"changes pictures of shape {tuple(x.shape[1:])} to {tuple(examples[0].shape)}; the size has to stay"
            )
        return torch.stack(examples), targets


def is_transform(found: object) -> bool:
    """Whether a class is a transform of torchvision that can follow the preparation."""
    return isinstance(found, type) and found.__name__ in TRANSFORMS


AUGMENTS: dict[str, type] = {"crop_flip": CropFlip, "cutout": Cutout, "mixup": Mixup}
"""Name -> augmentation, which is built from its settings, and from the number of classes if it takes `classes`."""

DRAWN_ON_HOST = (*AUGMENTS.values(), Transformed)
"""The augmentations that take a generator on the CPU; those of the user take one on the device of the inputs."""


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw from Beta(alpha, alpha), of shape (count,) in float64 on the generator's device.

    The draw is G / (G + G') for two Gamma(alpha) draws G and G'. Both underflow for a small alpha, so they are drawn
    as Gamma(alpha + 1) * U^(1 / alpha) (Marsaglia and Tsang 2000, section 6), and their logarithms are subtracted.
    """
    shape = torch.full((2, count), alpha + 1, dtype=torch.float64, device=generator.device)
    gamma = torch._standard_gamma(shape, generator=generator).log()
    uniform = torch.rand((2, count), dtype=torch.float64, device=generator.device, generator=generator)
    power = (-uniform).log1p()  # of 1 - uniform, which is never 0
    return torch.sigmoid(gamma[0] - gamma[1] + (power[0] - power[1]) / alpha)


def _picture_size(x: Tensor) -> tuple[int, int]:
    """Return (height, width); a ValueError if the examples are not pictures."""
    if x.ndim != 4:
        raise ValueError(f"needs pictures, but an example has the shape {tuple(x.shape[1:])}")
    return x.shape[2], x.shape[3]


def _integers(x: Tensor, below: int, generator: torch.Generator) -> Tensor:
    """Draw an integer from 0 to `below` - 1 for each example, of shape (batch, 1)."""
    return _moved(torch.randint(below, (len(x), 1), generator=generator, device=generator.device), x)


def _moved(drawn: Tensor, x: Tensor) -> Tensor:
    """Return draws on the device of x, without waiting for it."""
    if x.device.type == "cuda" and drawn.device.type == "cpu":
        drawn = drawn.pin_memory()
    return drawn.to(x.device, non_blocking=True)


def _covered(x: Tensor, side: int, size: int, generator: torch.Generator) -> Tensor:
    """Return which of `side` pixels a random square covers, of shape (batch, side)."""
    first = _integers(x, side, generator) - size // 2
    pixel = torch.arange(side, device=x.device)
    return (pixel >= first) & (pixel < first + size)


def _mixed(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    weight = share.to(values.dtype).view(-1, *(1,) * (values.ndim - 1))
    return values[partner].lerp(values, weight)
