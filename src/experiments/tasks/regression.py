"""One or several numbers per example."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments import losses
from experiments.data.batches import Split
from experiments.losses import Loss

from .base import Task
from .metrics import OF_NUMBERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FEWEST_ERRORS = 20
FAR = 6.0
"""Times the median error, beyond which an error is an outlier, as in `verdicts`."""


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
    ignorance = "by predicting the mean"
    answers = "predictions"
    about_answers = "predictions of the targets, in the order of `targets` and in the units of the data"

    def __init__(self) -> None:
        self.shift: Tensor = torch.zeros(0, dtype=torch.float64)
        self.unit: Tensor = torch.zeros(0, dtype=torch.float64)
        self.spread = torch.zeros(0, dtype=torch.float64)
        self.counts = False

    def use(self, loss: Loss) -> None:
        """See `Task.use`."""
        self.counts = function_of(loss) is losses.poisson
        self.ratios = function_of(loss) not in (losses.poisson, losses.gaussian)
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

    def exported(self, scores: Tensor) -> Tensor:
        """See `Task.exported`: in float32, without a copy of the scale on another device."""
        means = self._means(scores)
        return (means.exp() if self.counts else means) * self.unit.to(means) + self.shift.to(means)

    @property
    def answer_size(self) -> float:
        """See `Task.answer_size`: the largest standard deviation of a target."""
        return self.spread.max().item()

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

    def residuals(self, scores: Tensor, targets: Tensor) -> dict[str, float]:
        """See `Task.residuals`: of all targets in units of each one's median error."""
        answers, true = self.answer(scores), self.decode(targets)
        errors = (true - answers).abs()
        usual = errors.median(0).values
        if len(errors) < FEWEST_ERRORS or not bool((usual > 0).all()):
            return {}
        relative = errors / usual
        ranks = [
            (column.argsort().argsort().double() for column in pair) for pair in zip(answers.T, errors.T, strict=True)
        ]
        trends = [torch.corrcoef(torch.stack(list(pair)))[0, 1].item() for pair in ranks]
        return {
            "examples": float(len(errors)),
            "outliers": (relative > FAR).double().mean().item(),
            "largest": relative.max().item(),
            "trend": max(trends, key=abs),
        }

    def figures(self, split: Split, scores: Tensor, about: str) -> dict[str, Figure]:
        """See `Task.figures`: predictions against true values, residuals and, with one feature, the fitted curve."""
        from experiments.figures.numbers import fit_figure, predicted_figure, residuals_figure

        answers, true = self.answer(scores).numpy(), self.decode(split.y.cpu()).numpy()
        found = {
            "predicted": predicted_figure(answers, true, self.names, about),
            "residuals": residuals_figure(answers, true, self.names, about),
        }
        if split.x[0].numel() == 1:
            x = split.raw().reshape(-1).cpu().double().numpy()
            found["fit"] = fit_figure(x, answers, true, self.names, about)
        return found

    def running(self, mean: float) -> float:
        """See `Task.running`: the explained share of the variance, R^2."""
        return 1 - mean
