"""Random changes of training examples, batch by batch, on the training device.

An augmentation is called with a batch of prepared inputs, its targets and a generator on their device, and returns
new inputs and targets. Each example gets its own draw. Those here take a generator on the CPU, so that they draw the
same on every device. Targets are class numbers of shape (batch,) or probabilities
of shape (batch, classes).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from .transforms import TRANSFORMS

Augmentation = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


class Drawn:
    """An augmentation that draws first and then changes the batches of any number of runs by the same operations."""

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change a batch of one run.

        Raises:
            ValueError: the augmentation cannot be applied to such examples.
        """
        x, targets = self.together(x[None], targets[None], [generator])
        return x[0], targets[0]

    def together(self, x: Tensor, targets: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Change the batches of several runs, each as it would be changed separately.

        Args:
            x: (runs, batch, ...).
            targets: (runs, batch, ...).
            generators: of the runs.
        """
        draws = zip(*(self.drawn(x.shape[1:], generator) for generator in generators), strict=True)
        return self.applied(x, targets, *(_moved(torch.stack(own), x) for own in draws))

    def drawn(self, shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw for a batch of a shape, of one run, on the generator's device: tensors of shape (batch,) each."""
        raise NotImplementedError

    def applied(self, x: Tensor, targets: Tensor, *draws: Tensor) -> tuple[Tensor, Tensor]:
        """Return changed inputs and targets; the draws are of shape (runs, batch) each."""
        raise NotImplementedError


@dataclass(frozen=True)
class CropFlip(Drawn):
    """Pad with zeros, crop at a random position and mirror half of the examples (He et al. 2016, section 4.2).

    Args:
        padding: pixels added on each side; zero is the mean of centred inputs.
    """

    padding: Annotated[int, Ge(0)] = 4

    def drawn(self, shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the offsets, and whether examples are mirrored.

        Raises:
            ValueError: the examples are not pictures.
        """
        _picture_size(shape)
        offsets = 2 * self.padding + 1
        return tuple(_integers(shape[0], below, generator) for below in (offsets, offsets, 2))

    def applied(self, x: Tensor, targets: Tensor, *draws: Tensor) -> tuple[Tensor, Tensor]:
        """Crop and mirror pictures of shape (runs, batch, channels, height, width)."""
        top, left, mirrored = (draw.view(-1, 1) for draw in draws)
        height, width = x.shape[3:]
        rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
        columns = torch.where(mirrored.bool(), columns.flip(0), columns)
        padded_width = width + 2 * self.padding
        pixels = ((top + rows)[:, :, None] * padded_width + (left + columns)[:, None, :]).flatten(1)
        padded = F.pad(x.flatten(0, 1), (self.padding,) * 4).flatten(2)
        return padded.gather(2, pixels[:, None].expand(-1, x.shape[2], -1)).view(x.shape), targets


@dataclass(frozen=True)
class Cutout(Drawn):
    """Set a square around a random pixel to 0; the square is clipped at the border (DeVries and Taylor 2017).

    Args:
        size: the square's side in pixels; None for half of the picture's shorter side.
    """

    size: Annotated[int, Ge(1)] | None = None

    def drawn(self, shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the row and the column of a pixel.

        Raises:
            ValueError: the examples are not pictures.
        """
        return tuple(_integers(shape[0], side, generator) for side in _picture_size(shape))

    def applied(self, x: Tensor, targets: Tensor, *draws: Tensor) -> tuple[Tensor, Tensor]:
        """Set a square of each picture of shape (runs, batch, channels, height, width) to 0 in all channels."""
        size = min(x.shape[3:]) // 2 if self.size is None else self.size
        rows, columns = (_covered(draw, side, size) for draw, side in zip(draws, x.shape[3:], strict=True))
        return x.masked_fill((rows[..., :, None] & columns[..., None, :])[:, :, None], 0), targets


@dataclass(frozen=True)
class Mixup(Drawn):
    """Mix each example, and its target, with another example of the batch (Zhang et al. 2018).

    `x' = l x + (1 - l) x[partner]` with `l` from Beta(alpha, alpha); the partners are a permutation of the batch.

    Args:
        classes: the number of classes; class numbers become probabilities of these classes.
        alpha: a small value keeps the mixture close to one of the two examples; 1 draws `l` uniformly.
    """

    classes: int
    alpha: Annotated[float, Gt(0)] = 0.2

    def drawn(self, shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the partners and the shares."""
        partner = torch.randperm(shape[0], generator=generator, device=generator.device)
        return partner, beta(self.alpha, shape[0], generator)

    def applied(self, x: Tensor, targets: Tensor, *draws: Tensor) -> tuple[Tensor, Tensor]:
        """Mix inputs of shape (runs, batch, ...); the targets returned are probabilities, (runs, batch, classes)."""
        partner, share = draws
        runs, batch = partner.shape
        probabilities = targets if targets.is_floating_point() else F.one_hot(targets, self.classes).to(x.dtype)
        rows = (partner + torch.arange(runs, device=x.device).unsqueeze(1) * batch).flatten()
        return _mixed(x, rows, share), _mixed(probabilities, rows, share)


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
        _picture_size(x.shape)
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


AUGMENTS: dict[str, type[Drawn]] = {"crop_flip": CropFlip, "cutout": Cutout, "mixup": Mixup}
"""Name -> augmentation, which is built from its settings, and from the number of classes if it takes `classes`."""

DRAWN_ON_HOST = (*AUGMENTS.values(), Transformed)
"""The augmentations that take a generator on the CPU; those of the user take one on the device of the inputs."""


def drawing_device(augment: object, device: torch.device) -> torch.device:
    """Return the device of the generator that an augmentation takes for inputs on a device."""
    return torch.device("cpu") if isinstance(augment, DRAWN_ON_HOST) else device


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


def _picture_size(shape: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a batch; a ValueError if the examples are not pictures."""
    if len(shape) != 4:
        raise ValueError(f"needs pictures, but an example has the shape {tuple(shape[1:])}")
    return shape[2], shape[3]


def _integers(count: int, below: int, generator: torch.Generator) -> Tensor:
    """Draw an integer from 0 to `below` - 1 for each example."""
    return torch.randint(below, (count,), generator=generator, device=generator.device)


def _moved(drawn: Tensor, x: Tensor) -> Tensor:
    """Return draws on the device of x, without waiting for it."""
    if x.device.type == "cuda" and drawn.device.type == "cpu":
        drawn = drawn.pin_memory()
    return drawn.to(x.device, non_blocking=True)


def _covered(pixel: Tensor, side: int, size: int) -> Tensor:
    """Return which of `side` pixels a square around a pixel covers, of shape (runs, batch, side)."""
    first = (pixel - size // 2).unsqueeze(-1)
    each = torch.arange(side, device=pixel.device)
    return (each >= first) & (each < first + size)


def _mixed(values: Tensor, rows: Tensor, share: Tensor) -> Tensor:
    """Mix values of shape (runs, batch, ...) with those of other rows of (runs * batch, ...)."""
    weight = share.to(values.dtype).view(*share.shape, *(1,) * (values.ndim - 2))
    return values.flatten(0, 1)[rows].view(values.shape).lerp(values, weight)
