"""Wrong parts, which a recipe's sabotage uses instead of the right ones."""

from typing import Any

import torch
from torch import Tensor

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


class Unnormalized(MLP):
    """The multi-layer perceptron, always without BatchNorm."""

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, batch_norm: bool = False, **settings: Any
    ) -> None:
        del batch_norm
        super().__init__(input_shape, classes, **settings)
