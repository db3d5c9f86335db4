"""What the loop drives: it computes steps for its members and returns what it measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .models.layers import activation_layers

PROBE_SIZE = 256


@dataclass
class Capture:
    """What a model looks like from inside on the probe batch, by the layers' and parameters' names."""

    activations: dict[str, Tensor]
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]


class Measured(NamedTuple):
    """What a step measured, each of shape (K,), on the device."""

    loss: Tensor
    """the batch's mean loss before the update, without the penalty"""
    correct: Tensor
    """the count of right answers"""
    penalty: Tensor | None = None
    """the penalty's term before the update, where there is one"""


class Program(Protocol):
    """Computes for K members at once. Tensors that hold a value for each member have K on their first axis."""

    members: int
    device: torch.device
    index_device: torch.device
    """Where the examples are, and so where the indices of a batch belong."""

    def step(self, index: Tensor, rates: Sequence[float]) -> Measured:
        """Make one update of every member.

        Args:
            index: (K, batch), each member's examples in its training split.
            rates: each member's learning rate.
        """
        ...

    def end_epoch(self, epoch: int) -> None:
        """Note that so many epochs are complete, before they are evaluated: averages of the weights are taken."""
        ...

    def evaluate(self, split: str) -> list[tuple[float, float]]:
        """Return each member's mean loss and accuracy over a split, in evaluation mode."""
        ...

    def capture(self, member: int) -> Capture:
        """Look inside a member on its probe batch, changing nothing."""
        ...

    def module(self, member: int) -> nn.Module:
        """Return a member's model."""
        ...

    def probe(self, member: int) -> tuple[Tensor, Tensor]:
        """Return a member's probe batch: fixed, prepared training examples and their classes."""
        ...

    def state_dict(self, member: int) -> dict[str, Any]:
        """Return what a member needs to go on to the bit: weights, buffers, optimizer, preparation."""
        ...

    def load_state_dict(self, member: int, state: Mapping[str, Any]) -> None:
        """Put a member back to a state."""
        ...


def with_activations(model: nn.Module, state: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the model with the given parameters and buffers; return its scores and every activation by name."""
    activations: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            activations[name] = output.clone()  # what follows may overwrite it in place

    layers = activation_layers(model).items()
    hooks = [layer.register_forward_hook(partial(keep, name)) for name, layer in layers]
    try:
        scores = torch.func.functional_call(model, dict(state), (x,))
    finally:
        for hook in hooks:
            hook.remove()
    return scores, activations
