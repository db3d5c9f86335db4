"""Forward and backward passes of the layers of many runs at once, without autograd.

The mathematics is that of the layers of one run; products are of a matrix for each member.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiments.training._backward import POINTWISE, Rule
from experiments.training.explicit import layers_of

from ._forward import Masked
from ._objective import as_pixels, is_narrow

aten = torch.ops.aten


@dataclass(frozen=True)
class Together:
    """A layer of all members.

    Args:
        one: the layer of one of them, with the settings of all.
        own: its parameters and buffers by their names in the layer, with a row per member.
        gradients: where those of its parameters are stored, likewise.
    """

    one: Any
    own: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]


class Chain:
    """The layers of a model in their order, with every member's weights.

    Args:
        model: of one member; its layers are of kinds in `RULES`.
        own: parameters and buffers by name, with a row per member.
        gradients: where those of the parameters are stored.
    """

    def __init__(self, model: nn.Module, own: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        names = {id(layer): name for name, layer in model.named_modules()}
        layers = list(layers_of(model))
        self.names = [names[id(layer)] for layer in layers]
        self.rules = [RULES[type(layer)] for layer in layers]
        self.layers = [together(name, layer, own, gradients) for name, layer in zip(self.names, layers, strict=True)]
        self.first = next(n for n, layer in enumerate(layers) if list(layer.parameters()))
        self.kept: list[Any] = []
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores in training mode, and keep what `backward` needs."""
        self.kept.clear()
        self.outputs.clear()
        for layer, rule in zip(self.layers, self.rules, strict=True):
            x, needed = rule.forward(layer, x)
            self.kept.append(needed)
            self.outputs.append(x)
        return x

    def backward(self, g: Tensor) -> list[Tensor]:
        """Store the gradients of the parameters.

        Args:
            g: the gradient with respect to the scores.

        Returns:
            The gradients with respect to the outputs of the layers, from the last one to the first one with weights.
        """
        signals = []
        for number in range(len(self.layers) - 1, self.first - 1, -1):
            signals.append(g)
            wanted = number > self.first
            g = self.rules[number].backward(self.layers[number], self.kept[number], g, wanted)  # type: ignore[assignment]
        self.kept, self.outputs = [], []
        return signals

    def evaluate(self, x: Tensor) -> Tensor:
        """Return the scores in evaluation mode."""
        for layer, rule in zip(self.layers, self.rules, strict=True):
            if isinstance(layer, Together) and isinstance(layer.one, nn.BatchNorm1d):
                x = _running_norm(layer, x)
            elif not isinstance(layer, Masked):
                x, _ = rule.forward(layer, x)
        return x


def together(name: str, one: nn.Module, own: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Any:
    """Return a layer of all members.

    Args:
        name: of the layer in the model.
        one: the layer of one member.
        own, gradients: see `Chain`.
    """
    if type(one) in POINTWISE or isinstance(one, Masked | nn.Flatten):
        return one
    names = [short for short, _ in [*one.named_parameters(), *one.named_buffers()]]
    full = {short: f"{name}.{short}" for short in names}
    return Together(
        one,
        {short: own[key].detach() for short, key in full.items()},
        {short: gradients[key] for short, key in full.items() if key in gradients},
    )


def _linear(layer: Together, x: Tensor) -> tuple[Tensor, Tensor]:
    weight = layer.own["weight"].transpose(1, 2)
    bias = layer.own.get("bias")
    return (x.bmm(weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight)), x


def _linear_back(layer: Together, x: Tensor, g: Tensor, wanted: bool) -> Tensor | None:
    torch.bmm(g.transpose(1, 2), x, out=layer.gradients["weight"])
    if "bias" in layer.gradients:
        torch.sum(g, 1, out=layer.gradients["bias"])
    return g.bmm(layer.own["weight"]) if wanted else None


def _batch_norm(layer: Together, x: Tensor) -> tuple[Tensor, Any]:
    """Normalize the members' units as those of one wide layer."""
    layer.own["num_batches_tracked"].add_(1)
    wide = x.transpose(0, 1).flatten(1)
    weight, bias = (layer.own[name].flatten() for name in ("weight", "bias"))
    y, *batch = torch.native_batch_norm(wide, weight, bias, *_running(layer), True, layer.one.momentum, layer.one.eps)
    return y.view(x.shape[1], x.shape[0], -1).transpose(0, 1), (wide, weight, *batch)


def _batch_norm_back(layer: Together, kept: Any, g: Tensor, wanted: bool) -> Tensor | None:
    wide, weight, *batch = kept
    rest = (*_running(layer), *batch, True, layer.one.eps, [wanted, True, True])
    own = aten.native_batch_norm_backward.default(g.transpose(0, 1).flatten(1), wide, weight, *rest)
    _store(layer, *own[1:])
    return own[0].view(g.shape[1], g.shape[0], -1).transpose(0, 1) if wanted else None


def _running(layer: Together) -> tuple[Tensor, Tensor]:
    return layer.own["running_mean"].view(-1), layer.own["running_var"].view(-1)


def _running_norm(layer: Together, x: Tensor) -> Tensor:
    """Normalize by the running statistics."""
    mean, variance, weight, bias = (
        layer.own[name].unsqueeze(1) for name in ("running_mean", "running_var", "weight", "bias")
    )
    return torch.addcmul(bias, x - mean, weight * (variance + layer.one.eps).rsqrt())


def _layer_norm(layer: Together, x: Tensor) -> tuple[Tensor, Any]:
    """Normalize, then scale and shift by each member's own weights."""
    y, *moments = torch.native_layer_norm(x, layer.one.normalized_shape, None, None, layer.one.eps)
    return torch.addcmul(layer.own["bias"].unsqueeze(1), y, layer.own["weight"].unsqueeze(1)), (x, y, *moments)


def _layer_norm_back(layer: Together, kept: Any, g: Tensor, wanted: bool) -> Tensor | None:
    x, y, *moments = kept
    _store(layer, (g * y).sum(1), g.sum(1))
    if not wanted:
        return None
    inner = g * layer.own["weight"].unsqueeze(1)
    rest = (layer.one.normalized_shape, *moments, None, None, [True, False, False])
    return aten.native_layer_norm_backward.default(inner, x, *rest)[0]


def _store(layer: Together, weight: Tensor, bias: Tensor) -> None:
    """Store the gradients of a layer's weights and biases."""
    for name, gradient in (("weight", weight), ("bias", bias)):
        own = layer.gradients[name]
        own.copy_(gradient.view(own.shape))


RULES: Mapping[type[nn.Module], Rule] = {
    nn.Linear: Rule(_linear, _linear_back),
    nn.BatchNorm1d: Rule(_batch_norm, _batch_norm_back),
    nn.LayerNorm: Rule(_layer_norm, _layer_norm_back),
    nn.Flatten: Rule(lambda _layer, x: (x.flatten(2), x.shape), lambda _layer, shape, g, _wanted: g.view(shape)),
    Masked: Rule(lambda layer, x: (x * layer.mask, layer.mask), lambda _layer, mask, g, _wanted: g * mask),
    **POINTWISE,
}
"""Kind of layer -> its rule for many members."""


def cross_entropies(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return each member's mean cross-entropy, and the gradient of it with respect to its scores.

    Args:
        scores: (members, batch, classes).
        targets: (members, batch).
    """
    members, batch = targets.shape
    flat, wanted, share = scores.flatten(0, 1), targets.flatten(), 1 / batch
    losses, g = _few_classes(flat, wanted, share) if is_narrow(scores) else _many_classes(flat, wanted, share)
    return losses.view(members, batch).mean(1), g.view(scores.shape)


def _many_classes(scores: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each example, and the gradient of their weighted sum, by the kernels of one run."""
    logs = scores.log_softmax(1)
    losses, total = aten.nll_loss_forward.default(logs, targets, None, 0, -100)
    each = losses.new_full(losses.shape, share)
    g = aten.nll_loss_backward.default(each, logs, targets, None, 0, -100, total)
    return losses, aten._log_softmax_backward_data.default(g, logs, 1, scores.dtype)


def _few_classes(scores: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return the same as `_many_classes`, by kernels for the pixels of one picture: each example is a pixel."""
    logs, wanted = as_pixels(scores).contiguous().log_softmax(1).unsqueeze(3), targets.view(1, -1, 1)
    losses, total = aten.nll_loss2d_forward.default(logs, wanted, None, 0, -100)
    each = losses.new_full(losses.shape, share)
    g = aten.nll_loss2d_backward.default(each, logs, wanted, None, 0, -100, total)
    inner = aten._log_softmax_backward_data.default(g, logs, 1, scores.dtype)
    return losses, inner.view(-1, len(scores)).t().contiguous()
