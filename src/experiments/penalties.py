"""What keeps weights small, besides the optimizer's own decay.

A penalty sees the weights of the linear and convolutional layers: not biases, and not the norms' scales. It adds a
term to the loss, or holds the weights within bounds after each update, or both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor


class Penalty:
    """None: what the others are made from."""

    adds = False
    """Whether there is a term in the loss."""
    bounds = False
    """Whether weights are changed after an update."""

    def term(self, weights: Sequence[Tensor]) -> Tensor:
        """Return the term, a scalar."""
        raise NotImplementedError

    def bound(self, weights: Sequence[Tensor]) -> None:
        """Bring the weights within bounds, in place."""
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

    Its gradient is `strength * W`. With SGD, with momentum or without, that is the same as `optimizer.weight_decay`;
    with Adam and its kin it is not the same as AdamW's, because the gradient is divided by its own size: large
    gradients are decayed less (Loshchilov and Hutter 2019).

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
    """Each unit's incoming weights have a Euclidean norm of at most `limit` (Srivastava et al. 2014, section 5.1).

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
