"""The sizes of our own models, from their settings: a setting can ask for more than a machine has."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Size:
    """The size of a part of a model.

    Args:
        layers: linear and convolutional layers.
        numbers: weights, biases and running statistics.
        outputs: values for one example that these layers compute.
    """

    layers: int = 0
    numbers: int = 0
    outputs: int = 0

    def add(self, numbers: int, outputs: int) -> None:
        """Add a layer."""
        self.layers += 1
        self.numbers += numbers
        self.outputs += outputs


def mlp(
    input_shape: Sequence[int], classes: int, *, hidden: Sequence[int], batch_norm: bool = False, **_others: Any
) -> Mapping[str, Size]:
    """Return the sizes of an `MLP` by the setting that decides them; the head is part of `hidden`."""
    return {"hidden": fully_connected(math.prod(input_shape), classes, hidden, batch_norm)}


def cnn(
    input_shape: Sequence[int],
    classes: int,
    *,
    stages: Sequence[Sequence[int]],
    hidden: Sequence[int],
    kernel: int = 3,
    pool: str = "max",
    pool_size: int = 2,
    batch_norm: bool = False,
    **_others: Any,
) -> Mapping[str, Size]:
    """Return the sizes of a `CNN` by the setting that decides them; the head is part of `hidden`."""
    channels, height, width = input_shape
    size = Size()
    for widths in stages:
        for out in widths:
            size.add(out * channels * kernel**2 + normalized(out, batch_norm), out * height * width)
            channels = out
        if pool != "none":
            height, width = height // pool_size, width // pool_size
    return {"stages": size, "hidden": fully_connected(channels * height * width, classes, hidden, batch_norm)}


def fully_connected(inputs: int, classes: int, hidden: Sequence[int], batch_norm: bool) -> Size:
    """Return the size of hidden layers and the head."""
    size = Size()
    for units in hidden:
        size.add(inputs * units + normalized(units, batch_norm), units)
        inputs = units
    size.add(inputs * classes + classes, classes)
    return size


def normalized(units: int, batch_norm: bool) -> int:
    """Return the numbers of a layer besides its weights: biases, or scale, shift, two statistics and a count."""
    return 4 * units + 1 if batch_norm else units
