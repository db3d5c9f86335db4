"""What training minimises: the examples' loss and the penalty on the weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from experiments import losses
from experiments.initializers import weighted_layers
from experiments.penalties import Penalty


@dataclass
class Criterion:
    """The mean loss of a batch, each example weighed by its class, and the penalty beside it.

    Args:
        loss: see `losses`.
        penalty: see `penalties`.
        class_weights: (classes,), what an example's loss is multiplied by in training; None for 1.
    """

    loss: losses.Loss = losses.cross_entropy
    penalty: Penalty = field(default_factory=Penalty)
    class_weights: Tensor | None = None

    def mean(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a training batch.

        The weights average 1 over the training split and are not divided by their sum in the batch, as torch's
        `weight` is: so a batch's gradient is the mean of its parts'.
        """
        if self.class_weights is None:
            return self.loss(scores, targets, reduction="mean")
        weights = self.class_weights[targets] if targets.ndim == 1 else targets @ self.class_weights
        return (self.loss(scores, targets, reduction="none") * weights).mean()

    def total(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the examples' losses for evaluation, where every example counts alike."""
        return self.loss(scores, targets, reduction="sum")


def chance(loss: losses.Loss, classes: int) -> float:
    """Return the loss of equal scores: ln C for softmax, C - 1 for the SVM."""
    return loss(torch.zeros(classes, classes), torch.arange(classes), reduction="mean").item()


def penalized_weights(model: nn.Module) -> Sequence[Tensor]:
    """Return the weights that a penalty sees: those that are trained of the linear and convolutional layers."""
    return [layer.weight for layer in weighted_layers(model).values() if layer.weight.requires_grad]
