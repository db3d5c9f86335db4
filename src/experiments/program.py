"""What the loop drives: it computes steps for its members and returns what it measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data.batches import Split
from .models.layers import activation_layers

PROBE_SIZE = 256


@dataclass
class Capture:
    """What a model looks like from inside on the probe batch, by the layers' and parameters' names."""

    activations: dict[str, Tensor]
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]


class Program(Protocol):
    """Computes for K members at once. Tensors that hold a value for each member have K on their first axis."""

    members: int
    device: torch.device
    index_device: torch.device
    """Where the examples are, and so where the indices of a batch belong."""

    def step(self, index: Tensor, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Make one update of every member.

        Args:
            index: (K, batch), each member's examples in its training split.
            rates: each member's learning rate.

        Returns:
            The batch's mean loss before the update and the count of right answers, each (K,), on the device.
        """
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


class Single:
    """One run: any `nn.Module` with any `torch.optim.Optimizer`.

    Args:
        model: on the device, in training mode.
        optimizer: of the model's parameters; at each step the first group's rate is set to the scheduled one, and
            the others' in the proportions that they had.
        splits: `train`, `test` and, where there is one, `val`.
        eval_batch_size: examples a forward pass in evaluation.
        clip_norm: largest norm of the whole gradient; None leaves it as it is.
    """

    members = 1

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        splits: Mapping[str, Split],
        *,
        eval_batch_size: int,
        clip_norm: float | None = None,
    ) -> None:
        self.model = model
        self.parameters = list(model.parameters())
        self.optimizer = optimizer
        first = optimizer.param_groups[0]["lr"]
        self.shares = [group["lr"] / first for group in optimizer.param_groups]
        self.splits = splits
        self.eval_batch_size = eval_batch_size
        self.clip_norm = clip_norm
        self.device = splits["train"].device
        self.index_device = splits["train"].x.device

    def step(self, index: Tensor, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """See `Program.step`."""
        x, y = self.splits["train"].batch(index[0])
        scores = self.model(x)
        loss = F.cross_entropy(scores, y)
        for parameter in self.parameters:
            parameter.grad = None  # what zero_grad does, without its label for the profiler (4 % of a small step)
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = rates[0] * share
        self.optimizer.step()
        return loss.detach().reshape(1), (scores.detach().argmax(1) == y).sum().reshape(1)

    @torch.no_grad()
    def evaluate(self, split: str) -> list[tuple[float, float]]:
        """See `Program.evaluate`."""
        examples = self.splits[split]
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.model.eval()
        for x, y in examples.in_order(self.eval_batch_size):
            scores = self.model(x)
            loss += F.cross_entropy(scores, y, reduction="sum")
            correct += (scores.argmax(1) == y).sum()
        self.model.train()
        return [(loss.item() / len(examples), correct.item() / len(examples))]

    def capture(self, member: int) -> Capture:
        """See `Program.capture`.

        Dropout is off. BatchNorm uses the probe's own statistics, since before training there are no running
        ones; the running ones are kept out of it.
        """
        x, y = self.probe(member)
        parameters = dict(self.model.named_parameters())
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        self.model.eval()
        if len(x) > 1:
            for module in batch_norms(self.model):
                module.train()
        scores, activations = with_activations(self.model, {**parameters, **buffers}, x)
        trained = {name: p for name, p in parameters.items() if p.requires_grad}
        loss = F.cross_entropy(scores, y)
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        self.model.train()
        return Capture(
            activations={name: a.detach() for name, a in activations.items()},
            weights={name: p.detach() for name, p in parameters.items()},
            gradients={name: g for name, g in zip(trained, gradients, strict=True) if g is not None},
        )

    def module(self, member: int) -> nn.Module:
        """See `Program.module`."""
        del member
        return self.model

    def probe(self, member: int) -> tuple[Tensor, Tensor]:
        """See `Program.probe`: the first examples of the shuffled training split."""
        del member
        train = self.splits["train"]
        return train.batch(torch.arange(min(PROBE_SIZE, len(train)), device=train.x.device))

    def state_dict(self, member: int) -> dict[str, Any]:
        """See `Program.state_dict`."""
        del member
        prepare = self.splits["train"].prepare
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "preparation": prepare.state_dict() if hasattr(prepare, "state_dict") else {},
            "threads": torch.get_num_threads(),
        }

    def load_state_dict(self, member: int, state: Mapping[str, Any]) -> None:
        """See `Program.load_state_dict`.

        Raises:
            ValueError: the state is of another architecture or optimizer; says what does not fit.
        """
        del member
        own = self.model.state_dict()
        for name in [*own, *state["model"]]:
            theirs, ours = state["model"].get(name), own.get(name)
            if theirs is None or ours is None or theirs.shape != ours.shape:
                raise ValueError(
                    f"it is of another architecture: {name} is {_shape(theirs)} in the checkpoint and "
                    f"{_shape(ours)} in the model"
                )
        fitted = self.splits["train"].prepare
        for name, value in (fitted.state_dict() if hasattr(fitted, "state_dict") else {}).items():
            if not torch.equal(value, state["preparation"].get(name, value)):
                raise ValueError("the data set has changed: its training split has other statistics")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """Return the layers that use statistics of the batch in training mode."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


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


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"of shape {tuple(tensor.shape)}"
