"""Losses, called like those of `torch.nn.functional`: `loss(scores, targets, reduction=...)`.

Scores have the shape (batch, classes). Targets are class numbers of shape (batch,), or probabilities of shape
(batch, classes), for which the loss is the expectation over the classes. `reduction` is 'mean' or 'sum' over the
batch, or 'none' for the loss of each example.
"""

from collections.abc import Callable
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

Loss = Callable[..., Tensor]


def cross_entropy(
    scores: Tensor,
    targets: Tensor,
    reduction: str = "mean",
    *,
    label_smoothing: Annotated[float, Ge(0), Lt(1)] | Tensor = 0.0,
) -> Tensor:
    """Softmax and the negative log-likelihood; ln C if all scores are equal.

    Args:
        scores, targets, reduction: see above.
        label_smoothing: the share of the target that is spread over all classes (Szegedy et al. 2016, section 7); a
            scalar tensor in a stack, which torch's own function does not take.
    """
    if isinstance(label_smoothing, Tensor):
        true = F.cross_entropy(scores, targets, reduction=reduction)
        uniform = reduced(-scores.log_softmax(1).mean(1), reduction)
        return (1 - label_smoothing) * true + label_smoothing * uniform
    return F.cross_entropy(scores, targets, reduction=reduction, label_smoothing=label_smoothing)


def hinge(scores: Tensor, targets: Tensor, reduction: str = "mean", *, margin: Annotated[float, Gt(0)] = 1.0) -> Tensor:
    """The multi-class SVM: `sum over j != y of max(0, s_j - s_y + margin)` (Weston and Watkins 1999; CS231n).

    The loss is (C - 1) margin if all scores are equal.

    Args:
        scores, targets, reduction: see above.
        margin: the score of the correct class should exceed every other score by this much.
    """
    if targets.ndim == 1:
        correct = scores.gather(1, targets.unsqueeze(1))
        return reduced((scores - correct + margin).clamp_min(0).sum(1) - margin, reduction)  # j = y gives margin
    of_each_class = (scores.unsqueeze(1) - scores.unsqueeze(2) + margin).clamp_min(0).sum(2) - margin
    return reduced((targets * of_each_class).sum(1), reduction)


def mse(scores: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """The squared distance to the one-hot target, averaged over the classes."""
    probabilities = targets if targets.ndim == 2 else F.one_hot(targets, scores.shape[1])
    return reduced((scores - probabilities.to(scores.dtype)).square().mean(1), reduction)


def quadratic(scores: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Half the squared distance of sigmoid outputs to the one-hot target, summed over the classes.

    `1/2 sum over j of (sigmoid(s_j) - y_j)^2` (Nielsen 2015, equation 6); C / 8 if all scores are 0.
    """
    probabilities = targets if targets.ndim == 2 else F.one_hot(targets, scores.shape[1])
    return reduced((scores.sigmoid() - probabilities.to(scores.dtype)).square().sum(1) / 2, reduction)


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Reduce the examples' losses, of shape (batch,), by 'mean', 'sum' or 'none'."""
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean()
