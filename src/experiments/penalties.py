"""Penalties that keep weights small, in addition to the optimizer's weight decay.

A penalty applies to the weights of linear and convolutional layers, not to biases or to the scales of norms. It adds a
term to the loss, or bounds the weights after each update, or both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor


class Penalty:
    """No penalty; the base class of the others."""

    adds = False
    """Whether the penalty adds a term to the loss."""
    bounds = False
    """Whether the penalty changes weights after an update."""

    def term(self, weights: Sequence[Tensor]) -> Tensor:
        """Return the term, a scalar.

        Raises:
            NotImplementedError: the penalty adds no term.
        """
        raise NotImplementedError

    def bound(self, weights: Sequence[Tensor]) -> None:
        """Bound the weights in place.

        Raises:
            NotImplementedError: the penalty bounds no weights.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class L1(Penalty):
    """`strength * sum |W|`, which drives weights to exactly zero (Tibshirani 1996).

    Args:
        strength: lambda.
    """

    strength: Annotated[float, Ge(0)] = 1e-5
    adds = True

    def term(self, weights: Sequence[Tensor]) -> Tensor:
        """See `Penalty.term`."""
        return self.strength * torch.stack([weight.abs().sum() for weight in weights]).sum()


@dataclass(frozen=True)
class L2(Penalty):
    """`strength / 2 * sum W^2`, the textbooks' weight decay (CS231n; 'Deep Learning from Scratch', section 6.4).

    Its gradient is `strength * W`. With SGD, with or without momentum, this equals `optimizer.weight_decay`. With Adam
    and similar optimizers it differs from the weight decay of AdamW, because the gradient is divided by its own size:
    weights with large gradients decay less (Loshchilov and Hutter 2019).

    Args:
        strength: lambda.
    """

    strength: Annotated[float, Ge(0)] = 1e-4
    adds = True

    def term(self, weights: Sequence[Tensor]) -> Tensor:
        """See `Penalty.term`."""
        return self.strength / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()


@dataclass(frozen=True)
class MaxNorm(Penalty):
    """Limit the Euclidean norm of each unit's incoming weights to `limit` (Srivastava et al. 2014, section 5.1).

    Args:
        limit: c.
    """

    limit: Annotated[float, Gt(0)] = 3.0
    bounds = True

    @torch.no_grad()
    def bound(self, weights: Sequence[Tensor]) -> None:
        """See `Penalty.bound`."""
        for weight in weights:
            weight.copy_(weight.renorm(2, 0, self.limit))
