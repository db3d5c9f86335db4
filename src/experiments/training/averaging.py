"""Averages of the weights over training, which often generalize better than the last weights."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

BatchNorm = nn.modules.batchnorm._BatchNorm


class Average:
    """A model whose weights are the average of another's.

    With a `decay` d the average is exponential: `average = d' average + (1 - d') weights` at every update, where
    `d' = min(d, (1 + n) / (10 + n))` after n updates, so that the first weights are soon forgotten (Polyak and
    Juditsky 1992; the warm-up as in TensorFlow's ExponentialMovingAverage). Without a decay all weights count equally
    (stochastic weight averaging, Izmailov et al. 2018). Buffers, such as BatchNorm's running statistics, are averaged
    too. torch's own `AveragedModel` has no such warm-up, and reads its count from the device at every update.

    Args:
        model: the model to average; its parameters stay the same objects.
        decay: in (0, 1), or None.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.decay = decay
        self.count = 0
        self.module = deepcopy(model).requires_grad_(False).eval()
        self.follow(model)

    def follow(self, model: nn.Module) -> None:
        """Average this model from here on: the same one with other buffers."""
        self._floating, self._whole = [
            [pair for pair in zip(tensors(self.module), tensors(model), strict=True) if wanted(pair[1])]
            for wanted in (torch.is_floating_point, lambda tensor: not torch.is_floating_point(tensor))
        ]

    @property
    def share(self) -> float:
        """The share of the model's present weights in the next average."""
        if self.decay is None:
            return 1 / (self.count + 1)
        return 1 - min(self.decay, (1 + self.count) / (10 + self.count)) if self.count else 1.0

    @torch.no_grad()
    def update(self) -> None:
        """Add the model's present weights to the average."""
        average, model = zip(*self._floating, strict=True)
        torch._foreach_lerp_(average, model, self.share)
        for own, theirs in self._whole:
            own.copy_(theirs)
        self.count += 1

    def load(self, weights: Mapping[str, Any], count: int) -> None:
        """Continue from an average of `count` updates."""
        self.module.load_state_dict(weights)
        self.count = count


def soup(models: Sequence[nn.Module]) -> nn.Module:
    """Return a model whose weights are the mean of those of others (Wortsman et al. 2022, section 2: uniform soup).

    Buffers are averaged too; BatchNorm's statistics have to be measured again afterwards.

    Args:
        models: of one architecture.
    """
    model = deepcopy(models[0])
    average = Average(model, None)
    for each in models:
        model.load_state_dict(each.state_dict())
        average.update()
    return average.module


def tensors(model: nn.Module) -> Iterable[Tensor]:
    """Return the parameters and buffers."""
    return [*model.parameters(), *model.buffers()]


def batch_norms(model: nn.Module) -> list[BatchNorm]:
    """Return the layers that use the batch's statistics in training mode."""
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


@torch.no_grad()
def refresh_statistics(
    model: nn.Module, forward: Callable[[Tensor], Tensor], batches: Iterable[Tensor], frozen: Container[str] = ()
) -> None:
    """Measure BatchNorm's running statistics again, which averaged weights need; Dropout stays off.

    (Izmailov et al. 2018, section 3.2; `torch.optim.swa_utils.update_bn` would leave Dropout on.)

    Args:
        model: in evaluation mode, before and after.
        forward: runs the model.
        batches: of prepared inputs; a batch of one example has no spread and is skipped.
        frozen: the names of the layers that keep their statistics.
    """
    named = {name: module for name, module in model.named_modules() if isinstance(module, BatchNorm)}
    norms = [norm for name, norm in named.items() if norm.track_running_stats and name not in frozen]
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over the batches
        norm.train()
    for x in batches:
        if len(x) > 1:
            forward(x)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()
