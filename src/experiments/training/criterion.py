"""The objective of training: the loss of the examples and the penalty on the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from experiments import losses
from experiments.common.signatures import parameters_of
from experiments.initializers import weighted_layers
from experiments.penalties import Penalty
from experiments.tasks.base import Task
from experiments.tasks.classification import Classification
from experiments.tasks.metrics import Measure


@dataclass
class Criterion:
    """The mean loss of a batch, each example weighted by its class, and the penalty on the weights.

    Args:
        loss: see `losses`.
        penalty: see `penalties`.
        class_weights: (classes,), factors of the examples' losses in training; None for 1.
        task: what is learnt.
        metrics: measured in addition to the task's running metric, by name.
    """

    loss: losses.Loss = losses.cross_entropy
    penalty: Penalty = field(default_factory=Penalty)
    class_weights: Tensor | None = None
    task: Task = field(default_factory=Classification)
    metrics: Mapping[str, Measure] = field(default_factory=dict)

    def mean(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a training batch.

        The weights average 1 over the training split. They are not divided by their sum in the batch, as torch's
        `weight` is, so the gradient of a batch is the mean of the gradients of its parts.
        """
        if self.class_weights is None:
            return with_terms(self.loss, self.task)(scores, targets, reduction="mean")
        weights = self.class_weights[targets] if targets.ndim == 1 else targets @ self.class_weights
        return (self.loss(scores, targets, reduction="none") * weights).mean()

    def shown(self, loss: Tensor, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a training batch in the user's units.

        Args:
            loss: of `mean`.
            scores, targets: of the batch.
        """
        loss = loss.detach()
        return loss if self.task.unit is None else self.in_units(scores.detach(), targets, reduction="mean")

    @cached_property
    def in_units(self) -> losses.Loss:
        """The loss in the user's units."""
        return in_units(with_terms(self.loss, self.task), self.task.unit, self.task.shift)

    def total(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the examples' losses for evaluation, in the user's units; all examples count equally."""
        return self.in_units(scores, targets, reduction="sum")

    def chance(self, targets: Tensor) -> float:
        """Return the loss of a model that knows nothing; see `Task.chance`."""
        return self.task.chance(self.in_units, targets)

    @property
    def counts_only(self) -> bool:
        """Whether sums over the batches are all that is measured: nothing needs all scores at once."""
        return not self.metrics and self.task.counts_only

    def measured(self, scores: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the metrics of a whole split by name, without those that these examples do not define.

        Args:
            scores: (examples, outputs).
            targets: encoded.
        """
        return self.task.measured(scores.cpu(), targets.cpu(), self.metrics)


def with_terms(loss: losses.Loss, task: Task) -> losses.Loss:
    """Return a loss that adds the further terms of a model's scores; see `Task.separated`.

    Args:
        loss: of scores and targets.
        task: what is learnt.
    """
    if not task.of_inputs:
        return loss

    def added(scores: Tensor, targets: Tensor, reduction: str) -> Tensor:
        own, terms = task.separated(scores)
        value = loss(own, targets, reduction=reduction)
        return value if terms is None else value + losses.reduced(terms.sum(-1), reduction)

    return added


def in_units(loss: losses.Loss, unit: Tensor | None, shift: Tensor | None) -> losses.Loss:
    """Return a loss in the user's units.

    Args:
        loss: of scores and encoded targets.
        unit, shift: see `Task`.
    """
    if unit is None:
        return loss
    moved: dict[tuple[torch.device, torch.dtype, int], Tensor] = {}

    def like(scores: Tensor, number: Tensor) -> Tensor:
        """Return one of the two numbers on the device of the scores, where it is copied only once."""
        key = (scores.device, scores.dtype, id(number))
        if key not in moved:
            moved[key] = number.to(scores)
        return moved[key]

    if "unit" in (parameters_of(loss) or {}):
        return lambda scores, targets, reduction: loss(scores, targets, reduction=reduction, unit=like(scores, unit))
    assert shift is not None

    def scaled(scores: Tensor, targets: Tensor, reduction: str) -> Tensor:
        if scores.shape != targets.shape:
            return loss(scores, targets, reduction=reduction)
        own, added = like(scores, unit), like(scores, shift)
        return loss(scores * own + added, targets * own + added, reduction=reduction)

    return scaled


def penalized_weights(model: nn.Module) -> Sequence[Tensor]:
    """Return the weights that a penalty applies to: the trained ones of linear and convolutional layers."""
    return [layer.weight for layer in weighted_layers(model).values() if layer.weight.requires_grad]
