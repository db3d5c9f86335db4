"""The inputs themselves, as an autoencoder learns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments import losses
from experiments.data.batches import Split
from experiments.losses import Loss

from .base import Task
from .metrics import OF_INPUTS
from .regression import function_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_PROBABILITY = 1e-6


class Reconstruction(Task):
    """The input is the target: the numbers of an example as the model gets them, after `data.preprocess`.

    A model may also return a dictionary with `output` and further terms of the loss, one number for each example or one
    for the batch, such as the KL divergence of a variational autoencoder. The terms follow the numbers in the scores.
    """

    name = "reconstruction"
    form = "inputs"
    loss = "experiments.losses.mse"
    losses = ("mse", "mae", "huber", "binary_cross_entropy")
    metrics = ("r2", "mse")
    measures = OF_INPUTS
    objective = "loss"
    answers = "reconstructions"
    about_answers = "the inputs after data.preprocess, flattened, as the model reconstructs them"
    of_inputs = True
    ignorance = "by predicting the mean"
    memorized = 0.5  # a narrow code cannot hold all of them

    def __init__(self) -> None:
        self.mean: Tensor = torch.zeros(0)
        self.variance = 1.0
        self.shares = False

    def use(self, loss: Loss) -> None:
        """See `Task.use`: scores are logits if the loss is a cross-entropy."""
        self.shares = function_of(loss) is losses.binary_cross_entropy

    def fit(self, names: Sequence[str], y: Tensor) -> None:
        """See `Task.fit`.

        Raises:
            ValueError: the inputs never change, or are no shares although the loss is a cross-entropy.
        """
        super().fit(names, y)
        low, high = y.min().item(), y.max().item()
        if self.shares and not 0 <= low <= high <= 1:
            raise ValueError(
                f"loss=binary_cross_entropy needs inputs from 0 to 1, but these are from {low:.3g} to {high:.3g}; add "
                "data.preprocess=scale"
            )
        wide = y.double()
        self.mean = wide.mean(0)
        self.variance = wide.var(0, correction=0).mean().item()
        if self.variance == 0:
            raise ValueError("the inputs are the same in every training example, so there is nothing to learn")

    def state_dict(self) -> dict[str, list[float]]:
        """See `Task.state_dict`."""
        return {"mean": self.mean.tolist(), "variance": [self.variance]}

    def load(self, names: Sequence[str], state: Mapping[str, Sequence[float]]) -> None:
        """See `Task.load`."""
        super().load(names, state)
        self.mean = torch.tensor(state["mean"], dtype=torch.float64)
        (self.variance,) = state["variance"]

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return f"{self.name} of {len(self.names)} inputs"

    def separated(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `Task.separated`."""
        return scores[..., : self.outputs], scores[..., self.outputs :]

    def _values(self, scores: Tensor) -> Tensor:
        """Return the reconstructed inputs."""
        values = self.separated(scores)[0]
        return values.sigmoid() if self.shares else values

    def decode(self, y: Tensor) -> Tensor:
        """See `Task.decode`."""
        return y.double()

    def answer(self, scores: Tensor) -> Tensor:
        """See `Task.answer`: the reconstructed inputs."""
        return self._values(scores.double())

    def exported(self, scores: Tensor) -> Tensor:
        """See `Task.exported`."""
        return self._values(scores)

    @property
    def answer_size(self) -> float:
        """See `Task.answer_size`: the standard deviation of the inputs."""
        return self.variance**0.5

    def score(self, scores: Tensor, targets: Tensor) -> Tensor:
        """See `Task.score`: the squared error as a share of the inputs' variance, averaged over the inputs."""
        return (self._values(scores) - targets).square().mean(-1) / self.variance

    def running(self, mean: float) -> float:
        """See `Task.running`: the explained share of the variance, R^2."""
        return 1 - mean

    def chance(self, loss: Loss, targets: Tensor) -> float:
        """See `Task.chance`: the loss of the mean example."""
        return loss(self._scores_of(self.mean.to(targets).expand_as(targets)), targets, reduction="mean").item()

    def lowest(self, loss: Loss, targets: Tensor) -> float:
        """See `Task.lowest`: above 0 for a cross-entropy."""
        return loss(self._scores_of(targets), targets, reduction="mean").item()

    def _scores_of(self, values: Tensor) -> Tensor:
        """Return the scores that stand for values of the inputs."""
        return values.logit(LEAST_PROBABILITY) if self.shares else values

    def rows(self, answers: Tensor, true: Tensor) -> dict[str, Tensor]:
        """See `Task.rows`: the error of each example, which is large for an example of another kind."""
        return {"mse": (answers - true).square().mean(1)}

    def figures(self, split: Split, scores: Tensor, about: str) -> dict[str, Figure]:
        """See `Task.figures`: inputs and their reconstructions, pictures below pictures."""
        from experiments.figures.classes import drawable
        from experiments.figures.numbers import predicted_figure
        from experiments.figures.reconstructions import reconstructions_figure

        answers, true = self.answer(scores), self.decode(split.y.cpu())
        shape = split.x.shape[1:]
        if drawable(shape) and shape.numel() == true.shape[1]:
            pictures = (answers.reshape(-1, *shape).numpy(), true.reshape(-1, *shape).numpy())
            return {"reconstructions": reconstructions_figure(*pictures, about)}
        return {"reconstructions": predicted_figure(answers.numpy(), true.numpy(), self.names, about)}
