"""The objective of training: the loss of the examples and the penalty on the weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from experiments import losses
from experiments.initializers import weighted_layers
from experiments.penalties import Penalty


@dataclass
class Criterion:
    """The mean loss of a batch, each example weighted by its class, and the penalty on the weights.

    Args:
        loss: see `losses`.
        penalty: see `penalties`.
        class_weights: (classes,), factors of the examples' losses in training; None for 1.
    """

    loss: losses.Loss = losses.cross_entropy
    penalty: Penalty = field(default_factory=Penalty)
    class_weights: Tensor | None = None

    def mean(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a training batch.

        The weights average 1 over the training split. They are not divided by their sum in the batch, as torch's
        `weight` is, so the gradient of a batch is the mean of the gradients of its parts.
        """
        if self.class_weights is None:
            return self.loss(scores, targets, reduction="mean")
        weights = self.class_weights[targets] if targets.ndim == 1 else targets @ self.class_weights
        return (self.loss(scores, targets, reduction="none") * weights).mean()

    def total(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the examples' losses for evaluation, in which all examples count equally."""
        return self.loss(scores, targets, reduction="sum")


def chance(loss: losses.Loss, classes: int) -> float:
    """Return the loss of equal scores: ln C for softmax, C - 1 for the SVM."""
    return loss(torch.zeros(classes, classes), torch.arange(classes), reduction="mean").item()


def penalized_weights(model: nn.Module) -> Sequence[Tensor]:
    """Return the weights that a penalty applies to: the trained ones of linear and convolutional layers."""
    return [layer.weight for layer in weighted_layers(model).values() if layer.weight.requires_grad]
