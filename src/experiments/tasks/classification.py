"""One class per example."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments.data.batches import Split
from experiments.losses import Loss

from .base import Task
from .metrics import OF_CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Classification(Task):
    """One class per example: scores of the classes, whose softmax is their probabilities."""

    name = "classification"
    form = "classes"
    loss = "experiments.losses.cross_entropy"
    losses = ("cross_entropy", "hinge", "mse", "quadratic")
    metrics = ("accuracy",)
    measures = OF_CLASSES
    objective = "accuracy"
    answers = "probabilities"
    about_answers = "probabilities of the classes, in the order of `classes`: the softmax of the model's scores"
    stratified = True
    score_type = torch.int64

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return f"{len(self.names)} classes"

    def strata(self, y: Tensor) -> Tensor:
        """See `Task.strata`: the classes."""
        return y

    def answer(self, scores: Tensor) -> Tensor:
        """See `Task.answer`: the probabilities of the classes."""
        return scores.double().softmax(-1)

    def exported(self, scores: Tensor) -> Tensor:
        """See `Task.exported`."""
        return scores.softmax(1)

    def score(self, scores: Tensor, targets: Tensor) -> Tensor:
        """See `Task.score`: whether an answer is right; of mixed examples, the larger part counts."""
        wanted = targets.argmax(-1) if targets.ndim == scores.ndim else targets
        return scores.argmax(-1) == wanted

    def baseline(self, targets: Tensor) -> float | None:
        """See `Task.baseline`."""
        del targets
        return None

    def figures(self, split: Split, scores: Tensor, about: str) -> dict[str, Figure]:
        """See `Task.figures`: the confusion matrix and, of pictures, those that are classified worst."""
        from experiments.figures.classes import confusion, confusion_figure, drawable, worst_figure

        found = {"confusion": confusion_figure(confusion(scores, split.y.cpu()), self.names, about)}
        if drawable(split.x.shape[1:]):
            found["worst"] = worst_figure(split, scores, self.names, about)
        return found

    @property
    def counts_only(self) -> bool:
        """See `Task.counts_only`."""
        return True

    def examples_of_targets(self, count: int) -> Tensor:
        """See `Task.examples_of_targets`."""
        return torch.zeros(count, dtype=torch.int64)

    def chance(self, loss: Loss, targets: Tensor) -> float:
        """See `Task.chance`: the loss of equal scores, ln C for softmax, C - 1 for the SVM."""
        del targets
        count = len(self.names)
        return loss(torch.zeros(count, count), torch.arange(count), reduction="mean").item()

    def lowest(self, loss: Loss, targets: Tensor) -> float:
        """See `Task.lowest`: of scores that favour only the right class; above 0 with label smoothing."""
        del targets
        count = len(self.names)
        right, sizes = torch.eye(count), torch.logspace(-1, 3, 200)
        return min(loss(size * right, torch.arange(count), reduction="mean").item() for size in sizes)
