"""The program of K MLPs: their gradients are computed without autograd, by products of all members at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.models.blocks import Dropout
from experiments.models.mlp import MLP
from experiments.training.explicit import Explicit, layers_of
from experiments.training.program import Capture, Measurements
from experiments.training.single import Single

from ._forward import Masked
from ._inspection import StackInspector
from ._layers import RULES, Chain, cross_entropies
from ._objective import Objective
from ._program import Stack


class ExplicitInspector(StackInspector):
    """Looks inside the members without autograd; see `StackInspector`."""

    @torch.no_grad()
    def _capture(self, part: slice, *, brief: bool) -> Capture:
        assert self.shapes is not None
        x, y = self.x[:, part], self.y[:, part]
        if x.shape[1] < 2 and self.recorder.norms:  # which then use the running statistics
            with torch.enable_grad():
                return super()._capture(part, brief=brief)
        flat = torch.empty_like(self.weights.flat)
        gradients = {c.name: flat[:, c.span].view(-1, *c.shape) for c in self.weights.columns}
        buffers = {name: buffer.clone() for name, buffer in self.weights.buffers.items()}
        chain = Chain(self.model, {**self.weights.all(), **buffers}, gradients)
        scores = chain.forward(x)
        losses, g = losses_of(self.objective, scores, y)
        outputs = dict(zip(chain.names, chain.outputs, strict=True))
        inputs = dict(zip(chain.names, [x, *chain.outputs], strict=False))
        found = dict(zip(reversed(chain.names), chain.backward(g), strict=False))
        statistics = {name: torch.var_mean(inputs[name], 1) for name in self.recorder.norms}
        return Capture(
            loss=self.objective.shown(losses, scores, y, 1.0),
            scores=scores,
            activations={name: outputs[name] for name in self.shapes},
            signals={name: found[name] * x.shape[1] for name in self.shapes},
            weights=self._weights(),
            gradients={} if brief else gradients,
            batch_statistics={name: (mean, variance) for name, (variance, mean) in statistics.items()},
            running_statistics=self._running(),
        )


class ExplicitStack(Stack):
    """K runs of MLPs on a CPU, with the numbers of `Stack` up to rounding, in less than half the time.

    Only the passes through the layers differ: weights, gradients, states and random draws are where `Stack` has them,
    so checkpoints are the same. `Stack` computes the steps whose batch is divided.

    Args:
        programs, generators: see `Stack`; those that `suits` accepts.
    """

    note = "steps    layer by layer for all runs at once, without autograd"
    inspects = ExplicitInspector

    def _gather(self, active: Sequence[int]) -> None:
        """See `Stack`."""
        super()._gather(active)
        model = self.forward.model
        own = self.weights.gradient
        gradients = {c.name: own[:, c.span].view(-1, *c.shape) for c in self.weights.columns}
        self.chain = Chain(model, self.weights.all(), gradients)
        self.masked = {f"{name}.mask": layer for name, layer in model.named_modules() if isinstance(layer, Masked)}

    def _check(self) -> None:
        """See `Stack`: an MLP is the chain of its layers."""

    def _try(self) -> None:
        """See `Stack`: what a chain consists of can be trained."""

    @torch.no_grad()
    def _backward(self, x: Tensor, targets: Tensor, masks: Mapping[str, Tensor]) -> Measurements:
        """Store the members' gradients in the matrix."""
        if x.shape[1] > (self.micro_batch or x.shape[1]):
            with torch.enable_grad():
                return super()._backward(x, targets, masks)
        for name, mask in masks.items():
            self.masked[name].mask = mask
        scores = self.chain.forward(x)
        losses, g = losses_of(self.objective, scores, targets)
        self.chain.backward(g)
        return Measurements(self.objective.shown(losses, scores, targets, 1.0), self.objective.score(scores, targets))

    def _evaluated(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """See `Stack`."""
        return Chain(self.forward.model, weights, {}).evaluate(x)


def losses_of(objective: Objective, scores: Tensor, targets: Tensor) -> tuple[Tensor, Any]:
    """Return the members' mean losses, and their gradient with respect to the scores."""
    if objective.plain and targets.ndim == 2:
        return cross_entropies(scores, targets)
    with torch.enable_grad():
        losses = objective.losses(scores.requires_grad_(), targets)
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
