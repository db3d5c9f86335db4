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
    """Fill with He initialization, and ignore the gain.

    Args:
        weight, generator: see `initializers`.
        gain: not used.
    """
    del gain
    he(weight, generator)


def random_classes(draw: int = 0, random: bool = True) -> Source:
    """Return the digits with classes that are drawn at random, in all parts: there is nothing to learn.

    Args:
        draw: the seed of the classes.
        random: false for the digits' own classes.
    """
    source = digits()
    if not random:
        return source
    generator = torch.Generator().manual_seed(draw)
    train, test = (torch.randint(10, y.shape, generator=generator) for y in (source.y_train, source.y_test))
    return replace(source, y_train=train, y_test=test)


VALIDATION = 287


def right_slice() -> Source:
    """Return the shuffled digits: the first 287 of the training part validate, the others train."""
    return _divided(slice(VALIDATION, None))


def wrong_slice() -> Source:
    """Return the shuffled digits: the first 287 of the training part validate, and train as well."""
    return _divided(slice(VALIDATION))


def _divided(train: slice) -> Source:
    source = digits()
    order = torch.randperm(len(source.y_train), generator=torch.Generator().manual_seed(0))
    x, y = source.x_train[order], source.y_train[order]
    return replace(source, x_train=x[train], y_train=y[train], x_val=x[:VALIDATION], y_val=y[:VALIDATION])


class Unnormalized(MLP):
    """The multi-layer perceptron, always without BatchNorm."""

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, batch_norm: bool = False, **settings: Any
    ) -> None:
        del batch_norm
        super().__init__(input_shape, classes, **settings)
