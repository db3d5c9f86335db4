"""Any number of labels per example."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Task
from .metrics import OF_LABELS


class Multilabel(Task):
    """Any number of labels per example: scores of the labels, whose sigmoid is their probabilities."""

    name = "multilabel"
    form = "labels"
    loss = "experiments.losses.binary_cross_entropy"
    losses = ("binary_cross_entropy", "mse")
    metrics = ("accuracy", "f1")
    measures = OF_LABELS
    objective = "loss"
    answers = "probabilities"
    about_answers = "probabilities of the labels, in the order of `targets`: the sigmoid of the model's scores"

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return super().summary.replace(" of ", f" of {len(self.names)} labels: ", 1)

    def encode(self, y: Tensor) -> Tensor:
        """See `Task.encode`."""
        return y.float()

    def decode(self, y: Tensor) -> Tensor:
        """See `Task.decode`."""
        return y.double()

    def answer(self, scores: Tensor) -> Tensor:
        """See `Task.answer`: the probabilities of the labels."""
        return scores.double().sigmoid()

    def baseline(self, targets: Tensor) -> float:
        """See `Task.baseline`: the accuracy of each label's most common value."""
        share = targets.double().mean(0)
        return torch.maximum(share, 1 - share).mean().item()

    def exported(self, scores: Tensor) -> Tensor:
        """See `Task.exported`."""
        return scores.sigmoid()

    def score(self, scores: Tensor, targets: Tensor) -> Tensor:
        """See `Task.score`: the share of right labels."""
        return ((scores > 0) == (targets > 0.5)).to(scores.dtype).mean(-1)
