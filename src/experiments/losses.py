"""Losses, called like those of `torch.nn.functional`: `loss(scores, targets, reduction=...)`.

Scores have the shape (batch, classes). Targets are class numbers of shape (batch,), or probabilities of shape
(batch, classes), for which the loss is the expectation over the classes. In a sequence both have positions after the
batch, over which the loss of an example is averaged; a target of -1 is padding, and does not count. `reduction` is
'mean' or 'sum' over the batch, or 'none' for the loss of each example.

In a regression scores and targets are numbers of shape (batch, targets). Training sees targets of mean 0 and standard
deviation 1; `unit`, of shape (targets,), is the size of 1 in the user's units, and gives the loss in these units.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

Loss = Callable[..., Tensor]
Smoothing = Annotated[float, Ge(0), Lt(1)] | Tensor
LEAST_LOG_VARIANCE = math.log(1e-6)
"""A Gaussian's variance, in squared standard deviations of the target, is at least 1e-6."""


def cross_entropy(
    scores: Tensor, targets: Tensor, reduction: str = "mean", *, label_smoothing: Smoothing = 0.0
) -> Tensor:
    """Softmax and the negative log-likelihood; ln C if all scores are equal.

    Args:
        scores, targets, reduction: see above.
        label_smoothing: the share of the target that is spread over all classes (Szegedy et al. 2016, section 7); a
            scalar tensor in a stack, which torch's own function does not take.
    """
    if scores.ndim == 3:  # a class at each position
        kept = targets >= 0
        wanted = targets.flatten().clamp_min(0)
        flat = cross_entropy(scores.flatten(0, 1), wanted, "none", label_smoothing=label_smoothing)
        return reduced((flat.view(targets.shape) * kept).sum(1) / kept.sum(1), reduction)
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


def mse(scores: Tensor, targets: Tensor, reduction: str = "mean", *, unit: Tensor | None = None) -> Tensor:
    """The squared distance to the target, a number or one-hot, averaged over the targets or classes.

    Args:
        scores, targets, reduction, unit: see above.
    """
    wanted = targets if targets.ndim == 2 else F.one_hot(targets, scores.shape[1])
    losses = (scores - wanted.to(scores.dtype)).square()
    return reduced(_in_units(losses, None if unit is None else unit.square()).mean(1), reduction)


def quadratic(scores: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Half the squared distance of sigmoid outputs to the one-hot target, summed over the classes.

    `1/2 sum over j of (sigmoid(s_j) - y_j)^2` (Nielsen 2015, equation 6); C / 8 if all scores are 0.

    Args:
        scores, targets, reduction: see above.
    """
    probabilities = targets if targets.ndim == 2 else F.one_hot(targets, scores.shape[1])
    return reduced((scores.sigmoid() - probabilities.to(scores.dtype)).square().sum(1) / 2, reduction)


def mae(scores: Tensor, targets: Tensor, reduction: str = "mean", *, unit: Tensor | None = None) -> Tensor:
    """The absolute error, averaged over the targets; its best constant answer is the median.

    Args:
        scores, targets, reduction, unit: see above; targets are numbers.
    """
    return reduced(_in_units((scores - targets).abs(), unit).mean(1), reduction)


def huber(
    scores: Tensor,
    targets: Tensor,
    reduction: str = "mean",
    *,
    delta: Annotated[float, Gt(0)] | Tensor = 1.0,
    unit: Tensor | None = None,
) -> Tensor:
    """Half the squared error up to `delta`, and `delta * (error - delta / 2)` beyond it (Huber 1964), averaged.

    Args:
        scores, targets, reduction, unit: see above; targets are numbers.
        delta: the error, in standard deviations of the target, from which outliers count less.
    """
    error = (scores - targets).abs()
    near = error.clamp(max=delta)
    losses = near * (error - near / 2)
    return reduced(_in_units(losses, None if unit is None else unit.square()).mean(1), reduction)


def gaussian(scores: Tensor, targets: Tensor, reduction: str = "mean", *, unit: Tensor | None = None) -> Tensor:
    """The negative log-likelihood of a Gaussian whose mean and variance are learnt (Nix and Weigend 1994), averaged.

    `1/2 (log variance + error^2 / variance + log 2 pi)` for each target.

    Args:
        scores: (batch, 2 targets), first the means, then the logarithms of the variances.
        targets, reduction, unit: see above; targets are numbers.
    """
    means, spreads = scores.chunk(2, 1)
    spreads = spreads.clamp(min=LEAST_LOG_VARIANCE)
    losses = (spreads + (targets - means).square() * (-spreads).exp() + math.log(2 * math.pi)) / 2
    return reduced((losses if unit is None else losses + unit.log()).mean(1), reduction)


def poisson(scores: Tensor, targets: Tensor, reduction: str = "mean", *, unit: Tensor | None = None) -> Tensor:
    """The negative log-likelihood of counts: `rate - count * log rate` for each target, averaged.

    The term `log count!`, which does not depend on the scores, is left out, as in `torch.nn.PoissonNLLLoss`.

    Args:
        scores: (batch, targets), the logarithms of the rates.
        targets, reduction, unit: see above; targets are counts, divided by their mean if `unit` is that mean.
    """
    if unit is None:
        return reduced((scores.exp() - targets * scores).mean(1), reduction)
    return reduced((unit * (scores.exp() - targets * (scores + unit.log()))).mean(1), reduction)


def binary_cross_entropy(
    scores: Tensor, targets: Tensor, reduction: str = "mean", *, positive_weight: Annotated[float, Gt(0)] | Tensor = 1.0
) -> Tensor:
    """Sigmoid and the negative log-likelihood of each label, averaged over the labels; ln 2 if all scores are 0.

    Args:
        scores: (batch, labels).
        targets: (batch, labels), 0 or 1.
        reduction: see above.
        positive_weight: the factor of the loss of a label that is present; more than 1 finds more of rare labels.
    """
    weight = torch.as_tensor(positive_weight, dtype=scores.dtype, device=scores.device)
    losses = F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), pos_weight=weight, reduction="none")
    return reduced(losses.flatten(1).mean(1), reduction)


def auto(scores: Tensor, targets: Tensor, reduction: str = "mean", *, label_smoothing: Smoothing = 0.0) -> Tensor:
    """The loss of the run's task, which replaces this function: cross-entropy for classes, `mse` for numbers.

    Args:
        scores, targets, reduction: see above.
        label_smoothing: of the cross-entropy.
    """
    return cross_entropy(scores, targets, reduction, label_smoothing=label_smoothing)


def _in_units(losses: Tensor, unit: Tensor | None) -> Tensor:
    """Return losses of shape (batch, targets), each times the size of its target's unit."""
    return losses if unit is None else losses * unit


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Reduce the examples' losses, of shape (batch,), by 'mean', 'sum' or 'none'."""
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean()
