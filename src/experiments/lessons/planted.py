"""Wrong parts, which a recipe's sabotage uses instead of the right ones."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from experiments.data.sources import Source, digits
from experiments.initializers import he
from experiments.models.mlp import MLP


def unchanging(progress: float, **_settings: Any) -> float:
    """Return 1 at any progress, instead of a falling rate."""
    del progress
    return 1.0


def ungained(weight: Tensor, generator: torch.Generator, *, gain: float = 1.0) -> None:
    """Fill with He initialization, and ignore the gain."""
    del gain
    he(weight, generator)


def random_classes() -> Source:
    """Return the digits with classes that are drawn at random, in all parts: there is nothing to learn."""
    source = digits()
    draw = torch.Generator().manual_seed(0)
    train, test = (torch.randint(10, y.shape, generator=draw) for y in (source.y_train, source.y_test))
    return replace(source, y_train=train, y_test=test)


class Unnormalized(MLP):
    """The multi-layer perceptron, always without BatchNorm."""

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, batch_norm: bool = False, **settings: Any
    ) -> None:
        del batch_norm
        super().__init__(input_shape, classes, **settings)
