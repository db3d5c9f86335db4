"""The program of one run whose layers form a chain: its gradients are computed without autograd."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments import losses
from experiments.models.blocks import Dropout
from experiments.models.cnn import CNN
from experiments.models.mlp import MLP
from experiments.optimizers.fused import FusedUpdate

from ._backward import RULES, cross_entropy
from .criterion import Criterion
from .program import Measurements
from .single import Single, Updating

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class Explicit(Single):
    """One run of an MLP or a CNN on a CPU, with the same bits as `Single`, in less time for each small step.

    The layers are computed one after another, and back, by the kernels that autograd would call, and the update by the
    optimizer's fused kernel. Weights, gradients and the optimizer's state are where `Single` has them, so checkpoints
    are the same. `Single` computes the steps whose batch is divided, and all while a layer has a hook.

    Args:
        args, options: see `Single`; those that `suits` accepts.
    """

    note = "steps    layer by layer without autograd, with the same numbers"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.chain = [(layer, RULES[type(layer)]) for layer in layers_of(self.model)]
        self.hooks = [getattr(layer, name) for layer in self.model.modules() for name in HOOKS]
        self.first = next(n for n, (layer, _) in enumerate(self.chain) if list(layer.parameters()))
        self.plain = is_cross_entropy(self.criterion)
        self.fused = FusedUpdate(self.optimizer)
        self.advance = self.fused

    @torch.no_grad()
    def _backward(self, x: Tensor, targets: Tensor) -> Measurements:
        """Store the gradient of the whole batch in the parameters."""
        micro = self.updating.micro_batch
        if any(self.hooks) or (micro is not None and len(x) > micro):
            with torch.enable_grad():
                return super()._backward(x, targets)
        kept = []
        for layer, rule in self.chain:
            x, needed = rule.forward(layer, x)
            kept.append(needed)
        loss, g = self._loss(x, targets)
        for number in range(len(self.chain) - 1, self.first - 1, -1):
            layer, rule = self.chain[number]
            g = rule.backward(layer, kept.pop(), g, number > self.first)
        score = self.criterion.task.score(x, targets).sum()
        return Measurements(self.criterion.shown(loss, x, targets).reshape(1), score.reshape(1))

    def _loss(self, scores: Tensor, targets: Tensor) -> tuple[Tensor, Any]:
        """Return the mean loss and its gradient with respect to the scores."""
        if self.plain and targets.ndim == 1:
            return cross_entropy(scores, targets)
        with torch.enable_grad():
            loss = self.criterion.mean(scores.requires_grad_(), targets)
            (g,) = torch.autograd.grad(loss, scores)
        scores.requires_grad_(False)
        return loss.detach(), g

    def load_state_dict(self, member: int, state: Mapping[str, Any]) -> None:
        """See `Program.load_state_dict`."""
        super().load_state_dict(member, state)
        self.fused.forget()


def suits(model: nn.Module, criterion: Criterion, updating: Updating, device: torch.device, *, thaws: bool) -> bool:
    """Whether `Explicit` can train a model.

    Args:
        model: as it will be trained.
        criterion, updating: see `Single`; a loss of the user may change scores in place, which needs autograd.
        device: of the training.
        thaws: whether parameters are frozen at first.
    """
    return (
        device.type == "cpu"
        and type(model) in (MLP, CNN)
        and not thaws
        and all(parameter.requires_grad for parameter in model.parameters())
        and updating.precision in ("fp32", "tf32", "fp64")
        and updating.compiled is None
        and not updating.channels_last
        and not criterion.penalty.adds
        and plainly(criterion.loss).__module__ in (losses.__name__, "torch.nn.functional")
        and all(type(layer) in RULES for layer in layers_of(model))
        and all(layer.draws is not None for layer in layers_of(model) if isinstance(layer, Dropout))
        and not any(getattr(module, name) for module in model.modules() for name in HOOKS)
    )


def layers_of(module: nn.Module) -> Iterator[nn.Module]:
    """Iterate over the layers of an MLP or a CNN in the order in which they run; a block of another kind is a layer."""
    if type(module) in (MLP, CNN, nn.Sequential):
        for child in module.children():
            yield from layers_of(child)
    else:
        yield module


def plainly(loss: losses.Loss) -> Any:
    """Return the function of a loss without its settings."""
    return loss.func if isinstance(loss, partial) else loss


def is_cross_entropy(criterion: Criterion) -> bool:
    """Whether the loss of classes is nothing but their cross-entropy."""
    settings = getattr(criterion.loss, "keywords", {})
    if plainly(criterion.loss) is not losses.cross_entropy or settings not in ({}, {"label_smoothing": 0.0}):
        return False
    return criterion.class_weights is None and not criterion.task.of_inputs
