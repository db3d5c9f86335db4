"""The program of K MLPs: their gradients are computed without autograd, by products of all members at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.models.blocks import Dropout
from experiments.models.mlp import MLP
from experiments.training.explicit import Explicit, is_cross_entropy, layers_of
from experiments.training.program import Measurements
from experiments.training.single import Single

from ._forward import Masked
from ._layers import RULES, cross_entropies, together
from ._program import Stack


class ExplicitStack(Stack):
    """K runs of MLPs on a CPU, with the numbers of `Stack` up to rounding, in less than half the time.

    Only the step differs: weights, gradients, states and random draws are where `Stack` has them, so checkpoints are
    the same. `Stack` computes the steps whose batch is divided.

    Args:
        programs, generators: see `Stack`; those that `suits` accepts.
    """

    note = "steps    layer by layer for all runs at once, without autograd"

    def _gather(self, active: Sequence[int]) -> None:
        """See `Stack`."""
        super()._gather(active)
        model = self.forward.model
        names = {id(layer): name for name, layer in model.named_modules()}
        layers = list(layers_of(model))
        self.chain = [together(names[id(layer)], layer, self.weights) for layer in layers]
        self.first = next(n for n, layer in enumerate(layers) if list(layer.parameters()))
        self.masked = {f"{names[id(layer)]}.mask": layer for layer in layers if isinstance(layer, Masked)}
        self.plain = all(is_cross_entropy(self.programs[k].criterion) for k in self.active)

    @torch.no_grad()
    def _backward(self, x: Tensor, targets: Tensor, masks: Mapping[str, Tensor]) -> Measurements:
        """Store the members' gradients in the matrix."""
        if x.shape[1] > (self.micro_batch or x.shape[1]):
            with torch.enable_grad():
                return super()._backward(x, targets, masks)
        for name, mask in masks.items():
            self.masked[name].mask = mask
        kept = []
        for layer, rule in self.chain:
            x, needed = rule.forward(layer, x)
            kept.append(needed)
        losses, g = self._losses(x, targets)
        for number in range(len(self.chain) - 1, self.first - 1, -1):
            layer, rule = self.chain[number]
            g = rule.backward(layer, kept.pop(), g, number > self.first)
        return Measurements(self.objective.shown(losses, x, targets, 1.0), self.objective.score(x, targets))

    def _losses(self, scores: Tensor, targets: Tensor) -> tuple[Tensor, Any]:
        """Return the members' mean losses, and their gradient with respect to the scores."""
        if self.plain:
            return cross_entropies(scores, targets)
        with torch.enable_grad():
            losses = self.objective.losses(scores.requires_grad_(), targets)
            (g,) = torch.autograd.grad(losses.sum(), scores)
        scores.requires_grad_(False)
        return losses.detach(), g


def stack_of(programs: Sequence[Single], generators: Sequence[dict[str, Any]]) -> Stack:
    """Return the fastest program that can train these runs; see `Stack`."""
    return (ExplicitStack if suits(programs) else Stack)(programs, generators)


def suits(programs: Sequence[Single]) -> bool:
    """Whether `ExplicitStack` can train runs: MLPs whose lone runs are trained without autograd.

    Args:
        programs: of one signature.
    """
    kinds = {type(layer) for program in programs for layer in layers_of(program.model)}
    return all(isinstance(program, Explicit) and type(program.model) is MLP for program in programs) and kinds <= {
        *RULES,
        Dropout,
    }
