"""What the loop drives: it computes steps for its members and returns what it measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from experiments.data.batches import Split

PROBE_SIZE = 256
BRIEF_SIZE = 48
"""How much of the probe a brief look takes."""

Statistics = tuple[Tensor, Tensor]
"""Mean and variance, of shape (channels,) each."""


@dataclass
class Capture:
    """What a model looks like from inside on the probe batch, by the layers' and parameters' names.

    Args:
        loss: the mean loss, without a penalty, a scalar.
        scores: (examples, classes).
        activations: (examples, ...) each, in the order in which the layers ran.
        signals: each example's gradient of its own loss with respect to these, in their shapes.
        weights: the parameters.
        gradients: of the loss with respect to these, where they take part in it; none in a brief look.
        batch_statistics: what BatchNorm found in the batch.
        running_statistics: what it would use in evaluation.
    """

    loss: Tensor
    scores: Tensor
    activations: dict[str, Tensor]
    signals: dict[str, Tensor]
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    batch_statistics: dict[str, Statistics]
    running_statistics: dict[str, Statistics]


Look = Callable[[Capture], tuple[Sequence[Any], Tensor]]
"""Measures a capture: what each of the numbers is, and the numbers, of shape (numbers, ...)."""


class Measurements(NamedTuple):
    """What a step measured, each of shape (A,), on the device."""

    loss: Tensor
    """the batch's mean loss before the update, without the penalty"""
    correct: Tensor
    """the count of right answers"""
    penalty: Tensor | None = None
    """the penalty's term before the update, where there is one"""


class Program(Protocol):
    """Computes for K members at once, of which A are still trained: all of them until `keep` says otherwise.

    Tensors that hold a value for each of these have A on their first axis.
    """

    members: int
    device: torch.device
    index_device: torch.device
    """Where the examples are, and so where the indices of a batch belong."""
    checkpoint_seconds: float
    """How long the members may train before they are saved again: at the end of each epoch for 0."""

    def step(self, index: Tensor, rates: Sequence[float]) -> Measurements:
        """Make one update of every member.

        Args:
            index: (A, batch), each member's examples in its training split.
            rates: each member's learning rate.
        """
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Note that so many epochs are complete, and that updates of the next one follow: layers thaw."""
        ...

    def end_epoch(self, epoch: int) -> None:
        """Note that so many epochs are complete, before they are evaluated: averages of the weights are taken."""
        ...

    def keep(self, members: Sequence[int]) -> None:
        """Go on with these members alone; the others have come to their end."""
        ...

    def evaluate(self, split: str, members: Sequence[int]) -> list[tuple[float, float]]:
        """Return the mean loss and accuracy of these members over a split, in evaluation mode."""
        ...

    def capture(self, member: int, *, brief: bool = False) -> Capture:
        """Look inside a member on its probe batch, changing nothing.

        A brief look takes the beginning of the probe, and leaves out the gradients of the weights: a fraction of the
        cost. What was found is kept until the next update, for whoever else looks.
        """
        ...

    def look(self, member: int, key: Any, measure: Look, *, brief: bool = False) -> tuple[Sequence[Any], Tensor]:
        """Measure what `capture` shows of a member.

        Args:
            member: whose numbers are wanted.
            key: says which measurement it is: what was measured of all members at once is given to each that asks.
            measure: a pure function of tensors, which may be called under `vmap`.
            brief: see `capture`.
        """
        ...

    def gradients(self, member: int) -> dict[str, Tensor]:
        """Return the gradients that the last update used, penalty and clipping included, by parameter."""
        ...

    def scores(self, member: int, split: str | Split) -> Tensor:
        """Return a member's scores for a split's examples in their order, (examples, classes), in evaluation mode.

        Args:
            member: whose.
            split: its name, or any other examples, with the member's own preparation.
        """
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

    def load_model(self, member: int, state: Mapping[str, Any]) -> None:
        """Let a member be evaluated as it was in a state; it is not trained any more."""
        ...

    def generator(self, member: int) -> dict[str, Any]:
        """Return the state of torch's global generators as a member on its own would find them."""
        ...
