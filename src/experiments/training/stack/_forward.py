"""One forward pass for all members: the model is called with every member's weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from experiments.models.blocks import Dropout
from experiments.models.draws import Masks
from experiments.training.freezing import to_training_mode
from experiments.training.single import PRECISIONS, Single


class Masked(nn.Module):
    """Replaces a Dropout in a stack: multiplies by a mask that is drawn for each member."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the mask in training mode, of the same shape."""
        return x * self.mask if self.training else x


class Forward:
    """The forward pass of a stack: `model` and `evaluating` compute in the precision of the weights, `train` and
    `evaluate` in that of the runs.

    Args:
        programs: of one signature; the rates of their Dropout may differ, and some may have none.

    Raises:
        ValueError: their Dropout layers do not match.
    """

    def __init__(self, programs: Sequence[Single]) -> None:
        self.programs = programs
        self.drops = [dropouts(program.model) for program in programs]
        most = max(self.drops, key=len)
        if not all(own.keys() <= most.keys() for own in self.drops):
            raise ValueError("their Dropout layers are in different positions")
        model = deepcopy(programs[self.drops.index(most)].model)
        to_training_mode(model)
        for name in most:
            owner, _, own = name.rpartition(".")
            masked = Masked()
            masked.register_buffer("mask", torch.ones(()), persistent=False)
            setattr(model.get_submodule(owner), own, masked)
        self.model, self.evaluating = model, deepcopy(model).eval()
        self.in_precision = [self.model, self.evaluating]
        if (dtype := PRECISIONS.get(programs[0].updating.precision)) is not None:
            self.in_precision = [deepcopy(self.model), deepcopy(self.evaluating)]
            for layer in (layer for copy in self.in_precision for layer in copy.modules()):
                multiply_in(layer, dtype)
        self.masks = self._shapes(programs[0].splits["train"].first(1)[0]) if most else {}
        self.draws = {name: self._drawn_by(name) for name in self.masks}

    @torch.no_grad()
    def _shapes(self, example: Tensor) -> dict[str, tuple[int, ...]]:
        """Return the input shape of each Dropout, in the order in which they run and draw."""
        seen: list[tuple[str, tuple[int, ...]]] = []

        def note(name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append((name, tuple(inputs[0].shape[1:])))

        masked = [(name, module) for name, module in self.evaluating.named_modules() if isinstance(module, Masked)]
        hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in masked]
        self.evaluating(example)
        for hook in hooks:
            hook.remove()
        if len(dict(seen)) < len(seen):
            raise ValueError("a Dropout is used twice")
        return dict(seen)

    def _drawn_by(self, name: str) -> Masks:
        """Return what draws the masks of a Dropout, each member's as it would be separately."""
        rates = [own[name].p if name in own else 0.0 for own in self.drops]
        return Masks([program.noise.key(name) for program in self.programs], rates, self.programs[0].device)

    def drawn(self, update: int, batch: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Draw the members' masks of an update: (members, batch, ...) by buffer."""
        return {
            f"{name}.mask": self.draws[name].of(update, batch * math.prod(shape), dtype).unflatten(1, (batch, *shape))
            for name, shape in self.masks.items()
        }

    def train(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return the scores in training mode, with Dropout and the batch's statistics.

        Args:
            weights: parameters, buffers and masks, with a row per member.
            x: (members, batch, ...).

        Returns:
            (members, batch, classes).
        """
        return called(self.in_precision[0], weights, x)

    def evaluate(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return the scores in evaluation mode; see `train`."""
        return called(self.in_precision[1], weights, x)


def called(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor, *, shared: bool = False) -> Tensor:
    """Call a model once with every member's weights, and with their own inputs or shared ones."""

    def call(own: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return functional_call(model, own, (inputs,))

    return vmap(call, in_dims=(0, None if shared else 0))(dict(weights), x)


def multiply_in(layer: nn.Module, dtype: torch.dtype) -> None:
    """Let a layer compute its products in 16 bits, as `torch.autocast` does, which does not reach into `vmap`.

    Everything else, which autocast computes partly in 16 bits, stays in fp32.

    Args:
        layer: changed if it is one of torch's fully connected or convolutional layers.
        dtype: of the factors.
    """
    own: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    if type(layer) is nn.Linear:
        own = F.linear
    elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and type(layer).__module__ == nn.Conv2d.__module__:
        own = layer._conv_forward
    else:
        return

    def forward(x: Tensor) -> Tensor:
        bias = None if layer.bias is None else layer.bias.to(dtype)
        return own(x.to(dtype), layer.weight.to(dtype), bias).to(x.dtype)

    layer.forward = forward  # type: ignore[method-assign, assignment]


def dropouts(model: nn.Module) -> dict[str, Dropout]:
    """Return a model's Dropout layers, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Dropout)}
