"""The sizes of our own models, from their settings: a setting can ask for more than a machine has."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import norms
from .cnn import POOLS, of_each, strided
from .norms import NormName


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
    input_shape: Sequence[int],
    classes: int,
    *,
    hidden: Sequence[int],
    batch_norm: bool = False,
    norm: NormName = "none",
    **_others: Any,
) -> Mapping[str, Size]:
    """Return the sizes of an `MLP` by the setting that decides them; the head is part of `hidden`.

    Args:
        input_shape: of one example.
        classes: the number of scores.
        hidden, batch_norm, norm: see `MLP`.

    Returns:
        The size for the key `hidden`.

    Raises:
        ValueError: `batch_norm` contradicts `norm`.
    """
    return {"hidden": fully_connected(math.prod(input_shape), classes, hidden, norms.chosen(norm, batch_norm))}


def cnn(
    input_shape: Sequence[int],
    classes: int,
    *,
    stages: Sequence[Sequence[int]],
    hidden: Sequence[int],
    kernel: int | Sequence[int] = 3,
    strides: int | Sequence[int] = 1,
    depthwise: bool = False,
    pool: str = "max",
    pool_size: int = 2,
    batch_norm: bool = False,
    norm: NormName = "none",
    **_others: Any,
) -> Mapping[str, Size]:
    """Return the sizes of a `CNN` by the setting that decides them; the head is part of `hidden`.

    Args:
        input_shape: (channels, height, width) of one example.
        classes: the number of scores.
        stages, hidden, kernel, strides, depthwise, pool, pool_size, batch_norm, norm: see `CNN`.

    Returns:
        The sizes for the keys `stages` and `hidden`.

    Raises:
        ValueError: there are more or fewer kernels or strides than stages, or `batch_norm` contradicts `norm`.
    """
    channels, height, width = input_shape
    norm = norms.chosen(norm, batch_norm)
    size = Size()
    sides, steps = of_each(kernel, len(stages), "kernel"), of_each(strides, len(stages), "strides")
    for widths, side, first in zip(stages, sides, steps, strict=True):
        for number, out in enumerate(widths):
            step = first if number == 0 else 1
            height, width = strided(height, step), strided(width, step)
            if depthwise:
                size.add(channels * side**2, channels * height * width)
                side_of_last = 1
            else:
                side_of_last = side
            size.add(out * channels * side_of_last**2 + norms.numbers(norm, out), out * height * width)
            channels = out
        if pool in POOLS:
            height, width = height // pool_size, width // pool_size
    if pool == "global":
        height = width = 1
    return {"stages": size, "hidden": fully_connected(channels * height * width, classes, hidden, norm)}


def fully_connected(inputs: int, classes: int, hidden: Sequence[int], norm: NormName) -> Size:
    """Return the size of hidden layers and the head.

    Args:
        inputs: the number of inputs of the first layer.
        classes: the number of scores.
        hidden: the size of each hidden layer.
        norm: of the hidden layers.
    """
    size = Size()
    for units in hidden:
        size.add(inputs * units + norms.numbers(norm, units), units)
        inputs = units
    size.add(inputs * classes + classes, classes)
    return size
