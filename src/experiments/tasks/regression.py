"""One or several numbers per example."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from experiments import losses
from experiments.losses import Loss

from .base import Task
from .metrics import OF_NUMBERS


def function_of(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a loss without its settings."""
    return loss.func if isinstance(loss, partial) else loss


class Regression(Task):
    """One or several numbers per example.

    Inside, each target has mean 0 and standard deviation 1 in the training split; counts, for the Poisson likelihood,
    are divided by their mean. What a user reads is in the units of the data.
    """

    name = "regression"
    form = "numbers"
    loss = "experiments.losses.mse"
    losses = ("mse", "mae", "huber", "gaussian", "poisson")
    metrics = ("r2", "rmse")
    measures = OF_NUMBERS
    objective = "loss"

    def __init__(self) -> None:
        self.shift: Tensor = torch.zeros(0, dtype=torch.float64)
        self.unit: Tensor = torch.zeros(0, dtype=torch.float64)
        self.spread = torch.zeros(0, dtype=torch.float64)
        self.counts = False

    def use(self, loss: Loss) -> None:
        """See `Task.use`."""
        self.counts = function_of(loss) is losses.poisson
        self.per_target = 2 if function_of(loss) is losses.gaussian else 1

    def fit(self, names: Sequence[str], y: Tensor) -> None:
        """See `Task.fit`.

        Raises:
            ValueError: a target is constant, or is no count although the loss is for counts.
        """
        super().fit(names, y)
        wide = y.double()
        self.shift, self.unit = wide.mean(0), wide.std(0, correction=0)
        self.spread = self.unit
        for name, low, high in zip(self.names, wide.amin(0).tolist(), wide.amax(0).tolist(), strict=True):
            if low == high:
                raise ValueError(
                    f"the target {name!r} is {low:g} in every training example, so there is nothing to learn"
                )
            if self.counts and low < 0:
                raise ValueError(
                    f"loss=poisson is for counts, but the target {name!r} has the value {low:g}; choose loss=mse"
                )
        if self.counts:
            self.shift, self.unit = torch.zeros_like(self.shift), wide.mean(0)

    def state_dict(self) -> dict[str, list[float]]:
        """See `Task.state_dict`."""
        return {"shift": self.shift.tolist(), "unit": self.unit.tolist(), "spread": self.spread.tolist()}

    def load(self, names: Sequence[str], state: Mapping[str, Sequence[float]]) -> None:
        """See `Task.load`."""
        super().load(names, state)
        tensors = {key: torch.tensor(values, dtype=torch.float64) for key, values in state.items()}
        self.shift, self.unit, self.spread = tensors["shift"], tensors["unit"], tensors["spread"]

    def encode(self, y: Tensor) -> Tensor:
        """See `Task.encode`."""
        return ((y.double() - self.shift) / self.unit).float()

    def decode(self, y: Tensor) -> Tensor:
        """See `Task.decode`."""
        return y.double() * self.unit.to(y.device) + self.shift.to(y.device)

    def answer(self, scores: Tensor) -> Tensor:
        """See `Task.answer`: the numbers in the user's units."""
        means = self._means(scores.double())
        return self.decode(means.exp() if self.counts else means)

    def _means(self, scores: Tensor) -> Tensor:
        """Return the scores without those of the variances."""
        return scores[..., : len(self.names)]

    def score(self, scores: Tensor, targets: Tensor) -> Tensor:
        """See `Task.score`: the squared error as a share of the variance, averaged over the targets."""
        means = self._means(scores)
        if not self.counts:
            return (means - targets).square().mean(-1)
        errors = (means.exp() - targets) * (self.unit / self.spread).to(means)
        return errors.square().mean(-1)

    def running(self, mean: float) -> float:
        """See `Task.running`: the explained share of the variance, R^2."""
        return 1 - mean
