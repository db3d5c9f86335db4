"""Forward and backward passes of layers without autograd, by the kernels that autograd calls: the same bits."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.models.blocks import Dropout

aten = torch.ops.aten


class Rule(NamedTuple):
    """How outputs and gradients of a kind of layer are computed."""

    forward: Callable[[Any, Tensor], tuple[Tensor, Any]]
    """layer, inputs -> outputs, and what `backward` needs"""
    backward: Callable[[Any, Any, Tensor, bool], Tensor | None]
    """layer, what it needs, the outputs' gradient, whether the inputs' is wanted -> this one

    It stores the gradients of the layer's parameters in them.
    """


def store(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Store the gradients of a layer's weight and bias."""
    layer.weight.grad = weight
    if layer.bias is not None:
        layer.bias.grad = bias


def _linear(layer: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
    return F.linear(x, layer.weight, layer.bias), x


def _linear_back(layer: nn.Linear, x: Tensor, g: Tensor, wanted: bool) -> Tensor | None:
    store(layer, g.t().mm(x), None if layer.bias is None else g.sum(0))
    return g.mm(layer.weight) if wanted else None


def _convolution(layer: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups), x


def _convolution_back(layer: nn.Conv2d, x: Tensor, g: Tensor, wanted: bool) -> Tensor | None:
    biased = layer.bias is not None
    sizes, none = [len(g[0])] if biased else None, [0, 0]
    shape = (layer.stride, layer.padding, layer.dilation, False, none, layer.groups)
    inputs, *own = aten.convolution_backward.default(g, x, layer.weight, sizes, *shape, [wanted, True, biased])
    store(layer, *own)
    return inputs


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Any]:
    assert layer.num_batches_tracked is not None
    assert layer.momentum is not None
    layer.num_batches_tracked.add_(1)
    running = (layer.running_mean, layer.running_var)
    y, *batch = torch.native_batch_norm(x, layer.weight, layer.bias, *running, True, layer.momentum, layer.eps)
    return y, (x, *batch)


def _batch_norm_back(layer: nn.BatchNorm1d, kept: Any, g: Tensor, wanted: bool) -> Tensor:
    x, *batch = kept
    running = (layer.running_mean, layer.running_var)
    rest = (*running, *batch, True, layer.eps, [wanted, True, True])
    inputs, *own = aten.native_batch_norm_backward.default(g, x, layer.weight, *rest)
    store(layer, *own)
    return inputs


def _layer_norm(layer: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Any]:
    y, *moments = torch.native_layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)
    return y, (x, *moments)


def _layer_norm_back(layer: nn.LayerNorm, kept: Any, g: Tensor, wanted: bool) -> Tensor:
    x, *moments = kept
    rest = (layer.normalized_shape, *moments, layer.weight, layer.bias, [wanted, True, True])
    inputs, *own = aten.native_layer_norm_backward.default(g, x, *rest)
    store(layer, *own)
    return inputs


def _max_pool(layer: nn.MaxPool2d, x: Tensor) -> tuple[Tensor, Any]:
    y, index = aten.max_pool2d_with_indices.default(x, *_pairs(layer.kernel_size, layer.stride))
    return y, (x, index)


def _max_pool_back(layer: nn.MaxPool2d, kept: Any, g: Tensor, _wanted: bool) -> Tensor:
    x, index = kept
    sides = _pairs(layer.kernel_size, layer.stride)
    return aten.max_pool2d_with_indices_backward.default(g, x, *sides, [0, 0], [1, 1], False, index)


def _average_pool_back(layer: nn.AvgPool2d, x: Tensor, g: Tensor, _wanted: bool) -> Tensor:
    return aten.avg_pool2d_backward.default(g, x, *_pairs(layer.kernel_size, layer.stride), [0, 0], False, True, None)


def _pairs(*sides: Any) -> list[list[int]]:
    return [[side, side] if isinstance(side, int) else list(side) for side in sides]


def _dropout(layer: Dropout, x: Tensor) -> tuple[Tensor, Tensor | None]:
    factors = layer.factors(x)
    return (x, None) if factors is None else (x * factors, factors)


def _dropout_back(_layer: Dropout, factors: Tensor | None, g: Tensor, _wanted: bool) -> Tensor:
    return g if factors is None else g * factors


def _of_outputs(backward: Callable[[Any, Tensor, Tensor], Tensor]) -> Rule:
    """Return the rule of an activation whose gradient is a function of its outputs."""

    def forward(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        y = layer.forward(x)
        return y, y

    return Rule(forward, lambda layer, y, g, _wanted: backward(layer, y, g))


def _of_inputs(backward: Callable[[Any, Tensor, Tensor], Tensor]) -> Rule:
    """Return the rule of a layer whose gradient is a function of its inputs."""
    return Rule(lambda layer, x: (layer.forward(x), x), lambda layer, x, g, _wanted: backward(layer, x, g))


POINTWISE: Mapping[type[nn.Module], Rule] = {
    nn.Identity: _of_inputs(lambda _layer, _x, g: g),
    nn.ReLU: _of_outputs(lambda _layer, y, g: aten.threshold_backward.default(g, y, 0)),
    nn.Sigmoid: _of_outputs(lambda _layer, y, g: aten.sigmoid_backward.default(g, y)),
    nn.Tanh: _of_outputs(lambda _layer, y, g: aten.tanh_backward.default(g, y)),
    nn.LeakyReLU: _of_inputs(lambda layer, x, g: aten.leaky_relu_backward.default(g, x, layer.negative_slope, False)),
    nn.ELU: _of_inputs(lambda layer, x, g: aten.elu_backward.default(g, layer.alpha, 1, 1, False, x)),
    nn.SiLU: _of_inputs(lambda _layer, x, g: aten.silu_backward.default(g, x)),
    nn.GELU: _of_inputs(lambda layer, x, g: aten.gelu_backward.default(g, x, approximate=layer.approximate)),
    nn.Softplus: _of_inputs(lambda own, x, g: aten.softplus_backward.default(g, x, own.beta, own.threshold)),
}
"""The layers that compute each element by itself, of one run or of many: kind -> rule."""

RULES: Mapping[type[nn.Module], Rule] = {
    nn.Linear: Rule(_linear, _linear_back),
    nn.Conv2d: Rule(_convolution, _convolution_back),
    nn.BatchNorm1d: Rule(_batch_norm, _batch_norm_back),
    nn.BatchNorm2d: Rule(_batch_norm, _batch_norm_back),
    nn.LayerNorm: Rule(_layer_norm, _layer_norm_back),
    nn.MaxPool2d: Rule(_max_pool, _max_pool_back),
    nn.AvgPool2d: Rule(lambda layer, x: (layer.forward(x), x), _average_pool_back),
    Dropout: Rule(_dropout, _dropout_back),
    nn.Flatten: _of_inputs(lambda _layer, x, g: g.view(x.shape)),
    **POINTWISE,
}
"""Kind of layer -> its rule, with the settings that the models of this package give it."""


def cross_entropy(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of scores of shape (batch, classes), and its gradient with respect to them."""
    logs = scores.log_softmax(1)
    loss, total = aten.nll_loss_forward.default(logs, targets, None, 1, -100)
    g = aten.nll_loss_backward.default(loss.new_ones(()), logs, targets, None, 1, -100, total)
    return loss, aten._log_softmax_backward_data.default(g, logs, 1, scores.dtype)
