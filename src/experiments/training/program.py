"""The program that the loop drives: it computes the members' steps and returns measurements."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from experiments.data.batches import Split

PROBE_SIZE = 256
BRIEF_SIZE = 48
"""Sizes of the probe batch, and of the part that a brief capture uses."""

Statistics = tuple[Tensor, Tensor]
"""Mean and variance, of shape (channels,) each."""


@dataclass
class Capture:
    """The inside of a model on the probe batch, by names of layers and parameters.

    Args:
        loss: the mean loss, without a penalty, a scalar.
        scores: (examples, classes).
        activations: (examples, ...) each, in the order in which the layers ran.
        signals: the gradients of each example's own loss with respect to its activations, in the same shapes.
        weights: the parameters.
        gradients: of the loss with respect to the parameters that take part in it; empty in a brief capture.
        batch_statistics: BatchNorm's statistics of the batch.
        running_statistics: those that it uses in evaluation.
    """

    loss: Tensor
    scores: Tensor
    activations: dict[str, Tensor]
    signals: dict[str, Tensor]
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    batch_statistics: dict[str, Statistics]
    running_statistics: dict[str, Statistics]


Shared = TypeVar("Shared")
Look = Callable[[Capture], tuple[Sequence[Any], Tensor]]
"""Measures a capture: returns a key for each number, and the numbers, of shape (numbers, ...)."""


@dataclass
class Update:
    """An update of the trained parameters, as norms; a stack has a row per member.

    Args:
        step: its number.
        names: of the parameters.
        sizes: the norms of the parameters before it, (..., parameters).
        changes: the norms of their changes, likewise.
        cosines: of the angles to their changes by the update before it, likewise; None if that one is not known.
        graded: the names of the parameters that have a gradient.
        gradients: the norms of the gradients that it used, (..., graded).
    """

    step: int
    names: Sequence[str]
    sizes: Tensor
    changes: Tensor
    cosines: Tensor | None
    graded: Sequence[str]
    gradients: Tensor


LookAtUpdate = Callable[[Update], tuple[Sequence[Any], Tensor]]
"""Measures an update: returns a key for each number, and the numbers, of shape (..., numbers)."""


class Measurements(NamedTuple):
    """The measurements of a step, each of shape (A,), on the device."""

    loss: Tensor
    """the batch's mean loss before the update, without the penalty, in the user's units"""
    score: Tensor
    """the sum of the examples' running metric, such as the count of right answers"""
    penalty: Tensor | None = None
    """the penalty's term before the update, if there is a penalty"""


class Program(Protocol):
    """Computes for K members at once, of which A are still trained: all of them until `keep` is called.

    Tensors with a value for each of these have A on their first axis.
    """

    members: int
    device: torch.device
    index_device: torch.device
    """The device of the examples, on which the indices of a batch have to be."""
    running: str
    """The name of the metric of training batches."""
    score_type: torch.dtype
    """The type of sums of `Measurements.score`."""
    checkpoint_seconds: float
    """The least time between two checkpoints; 0 saves after each epoch."""

    def step(self, index: Tensor, rates: Sequence[float]) -> Measurements:
        """Update every member once.

        Args:
            index: (A, batch), each member's examples in its training split.
            rates: each member's learning rate.
        """
        ...

    def running_value(self, mean: float) -> float:
        """Return the metric of training batches, of the mean of the examples' parts in `Measurements.score`."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for the updates after `epoch` complete epochs: layers thaw."""
        ...

    def announce(self, batches: Sequence[Tensor], epoch: int) -> None:
        """Learn which batches `step` gets next, after `epoch` complete epochs: data may be read ahead."""
        ...

    def end_epoch(self, epoch: int) -> None:
        """Prepare for the evaluation after `epoch` complete epochs: weights are averaged."""
        ...

    def keep(self, members: Sequence[int]) -> None:
        """Continue with only these members; the others have ended."""
        ...

    def evaluate(self, split: str, members: Sequence[int]) -> list[dict[str, float]]:
        """Return the mean loss and the metrics of these members on a split, by name, in evaluation mode."""
        ...

    def capture(self, member: int, *, brief: bool = False) -> Capture:
        """Look inside a member on its probe batch, changing nothing.

        A brief capture uses the beginning of the probe, and leaves out the gradients of the weights, at a fraction of
        the cost. A capture is kept until the next update, for other observers.
        """
        ...

    def look(self, member: int, key: Any, measure: Look, *, brief: bool = False) -> tuple[Sequence[Any], Tensor]:
        """Measure a capture of a member.

        Args:
            member: whose numbers are wanted.
            key: identifies the measurement, so that a stack measures all members once.
            measure: a pure function of tensors, which may be called under `vmap`.
            brief: see `capture`.
        """
        ...

    def common(self, key: Any, compute: Callable[[], Shared]) -> Shared:
        """Return what is the same for all members with this key; a stack computes it once."""
        ...

    def watch(self, step: int) -> None:
        """Remember the parameters before update `step` + 1, so that it can be looked at; observers share the copy."""
        ...

    def look_at_update(
        self, member: int, step: int, key: Any, measure: LookAtUpdate
    ) -> tuple[Sequence[Any], Tensor] | None:
        """Measure how the last update changed a member's parameters; None if it was not watched.

        Args:
            member: whose numbers are wanted.
            step: the number of the update.
            key: identifies the measurement, so that a stack measures all members once.
            measure: a function of tensors with the parameters on their last axis.
        """
        ...

    def gradients(self, member: int) -> dict[str, Tensor]:
        """Return the gradients that the last update used, penalty and clipping included, by parameter."""
        ...

    def scores(self, member: int, split: str | Split) -> Tensor:
        """Return a member's scores for a split's examples in their order, (examples, classes), in evaluation mode.

        Args:
            member: which one.
            split: a name, or other examples with the member's own preparation.
        """
        ...

    def module(self, member: int) -> nn.Module:
        """Return a member's model."""
        ...

    def probe(self, member: int) -> tuple[Tensor, Tensor]:
        """Return a member's probe batch: fixed, prepared training examples, and their classes."""
        ...

    def state_dict(self, member: int) -> dict[str, Any]:
        """Return what a member needs to continue with the same bits: weights, buffers, optimizer, preparation."""
        ...

    def load_state_dict(self, member: int, state: Mapping[str, Any]) -> None:
        """Restore a member to a state."""
        ...

    def load_model(self, member: int, state: Mapping[str, Any]) -> None:
        """Load the model of a state for evaluation; the member is not trained any more."""
        ...

    def generator(self, member: int) -> dict[str, Any]:
        """Return the state that torch's global generators would have if the member were trained separately."""
        ...
