"""Measures of a layer: numbers about activations, weights and updates.

Activations have the shape (examples, units) or (examples, channels, *positions); a channel counts as one unit, and
each of its positions as one more example.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

CAN_DIE = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Threshold)
"""Activations that are zero and have zero gradient on a whole half-line."""

SATURATION: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-0.99, 0.99),
    nn.Hardtanh: (-0.99, 0.99),
    nn.Sigmoid: (0.01, 0.99),
    nn.Hardsigmoid: (0.01, 0.99),
}
"""Outputs outside this range hardly let a gradient through: tanh' < 0.02, sigmoid' < 0.01."""

CORRELATED_EXAMPLES = 4096
"""The largest number of examples times positions from which correlations are computed."""
TWIN_TOLERANCE = 1e-4
"""The largest distance of equal units' weights, relative to their length: rounding can make them differ."""
FEW_MULTIPLICATIONS = 2e9
"""The largest cost of a layer's singular values; above it they are not computed."""


def under_vmap(tensor: Tensor) -> bool:
    """Whether a tensor is batched by `torch.func.vmap`, which does not support every function of torch."""
    return torch._C._functorch.is_batchedtensor(tensor)


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of each tensor, (tensors,)."""
    if under_vmap(tensors[0]):
        return torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors])
    return torch.stack(torch._foreach_norm(list(tensors)))


def counts(numbers: Tensor, size: int) -> Tensor:
    """Return how often each of 0, 1, ..., size - 1 occurs, (size,) in float64.

    Args:
        numbers: (count,), integers in that range.
        size: the number of counts.
    """
    if not under_vmap(numbers):
        return torch.bincount(numbers, minlength=size).double()
    one = torch.ones(len(numbers), dtype=torch.float64, device=numbers.device)
    return torch.zeros(size, dtype=torch.float64, device=numbers.device).scatter_add(0, numbers, one)


def by_unit(activations: Tensor) -> Tensor:
    """Return activations as (examples and positions, units)."""
    return activations.flatten(2).transpose(1, 2).flatten(0, 1) if activations.ndim > 2 else activations


def dead(activations: Tensor) -> Tensor:
    """Return the fraction of units that are zero for every example, a scalar."""
    return (by_unit(activations).abs().amax(0) == 0).float().mean()


def saturated(activations: Tensor, low: float, high: float) -> Tensor:
    """Return the fraction of activations below `low` or above `high`, a scalar.

    Args:
        activations: of any shape.
        low, high: the ends of the range in which the activation lets a gradient through.
    """
    return ((activations < low) | (activations > high)).float().mean()


def correlation(activations: Tensor) -> Tensor:
    """Return the mean absolute correlation of all pairs of units, a scalar in [0, 1].

    It is 1 if all units vary in the same way. Constant units have no correlation and are left out; the result is nan
    if fewer than two units are left. At most 4,096 examples and positions, evenly spaced, are used.
    """
    units = by_unit(activations)
    centred = units[:: -(-len(units) // CORRELATED_EXAMPLES)]
    centred = centred - centred.mean(0)
    lengths = centred.norm(dim=0)
    varying = lengths > 1e-6 * units.abs().amax(0).clamp_min(1e-30) * math.sqrt(len(centred))
    normed = torch.where(varying, centred / lengths.clamp_min(1e-30), 0.0)
    count = varying.sum()
    total = (normed.T @ normed).abs().sum() - count
    return torch.where(count > 1, total / (count * (count - 1)).clamp_min(1), torch.nan).clamp_max(1.0)


def by_row(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return a layer's weight, or another tensor of its shape such as the gradient, as (units, ...)."""
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    return (weight.transpose(0, 1) if transposed else weight).flatten(1)


def incoming(layer: nn.Module, weights: Mapping[str, Tensor] | None = None, name: str = "") -> Tensor:
    """Return the incoming weights and the bias of each unit of a linear or convolutional layer, (units, ...).

    Args:
        layer: the layer.
        weights: the whole model's parameters by name, to use instead of the layer's own.
        name: the name of the layer in `weights`.
    """
    if weights is None or f"{name}.weight" not in weights:
        weights, name = dict(layer.named_parameters()), ""
    prefix = f"{name}." if name else ""
    rows, bias = by_row(layer, weights[f"{prefix}weight"].detach()), weights.get(f"{prefix}bias")
    return rows if bias is None or len(bias) != len(rows) else torch.cat([rows, bias.detach()[:, None]], 1)


def twins(rows: Tensor) -> Tensor:
    """Return the fraction of units that equal another unit, a scalar; nan for a single unit.

    Two units are equal if their rows differ by less than 1e-4 of their length. The rows are compared by four fixed
    random projections, sorted by the first one.

    Args:
        rows: (units, ...), each unit's incoming weights and its other parameters.
    """
    rows = rows.detach().flatten(1).float()
    if len(rows) < 2:
        return rows.new_full((), torch.nan)
    draw = torch.Generator().manual_seed(0)
    directions = torch.randn(rows.shape[1], 4, generator=draw).to(rows.device)
    projections = rows @ directions
    order = projections[:, 0].argsort()
    projections, lengths = projections[order], rows.norm(dim=1)[order]
    scale = torch.maximum(lengths[1:], lengths[:-1])
    equal = ((projections[1:] - projections[:-1]).abs() <= TWIN_TOLERANCE * scale[:, None]).all(1)
    end = torch.zeros(1, dtype=torch.bool, device=rows.device)
    return (torch.cat([equal, end]) | torch.cat([end, equal])).float().mean()


def drift(batch: tuple[Tensor, Tensor], running: tuple[Tensor, Tensor]) -> Tensor:
    """Return the distance of BatchNorm's running mean from a batch's mean, in running standard deviations.

    Args:
        batch, running: mean and variance, of shape (channels,) each.

    Returns:
        The root mean square over the channels, a scalar.
    """
    return ((batch[0] - running[0]) / (running[1] + 1e-5).sqrt()).square().mean().sqrt()


def spread_drift(batch: tuple[Tensor, Tensor], running: tuple[Tensor, Tensor]) -> Tensor:
    """Return the root mean square over the channels of `ln(batch deviation / running deviation)`, a scalar.

    Args:
        batch, running: see `drift`.
    """
    return (0.5 * ((batch[1] + 1e-5) / (running[1] + 1e-5)).log()).square().mean().sqrt()


def mean_singular_value(layer: nn.Module, input_shape: tuple[int, ...]) -> float | None:
    """Return the mean singular value of a linear or convolutional layer's Jacobian; None if it is not known.

    The Jacobian of a linear layer is its weight. With independent weights of standard deviation s, the singular values
    of a square layer of n units follow the quarter-circle law, with mean 8 / (3 pi) s sqrt(n): 0.85 with Xavier's
    initialization, 0.49 with the uniform draw within 1 / sqrt(n) (Saxe et al. 2014, section 3, explains their effect in
    deep networks). A convolution of stride 1 is treated as circular; it decomposes into one small matrix per frequency
    (Sedghi, Gupta and Long 2019, theorem 6).

    Args:
        layer: any module.
        input_shape: the shape of one example of its input.
    """
    if isinstance(layer, nn.Linear):
        if layer.weight.numel() * min(layer.weight.shape) > FEW_MULTIPLICATIONS:
            return None
        return torch.linalg.svdvals(layer.weight.detach().float()).mean().item()
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or {*layer.stride, *layer.dilation} != {1}:
        return None
    height, width = input_shape[-2:]
    small, large = sorted(layer.weight.shape[:2])
    if height * width * small**2 * large > FEW_MULTIPLICATIONS or min(height, width) < max(layer.kernel_size):
        return None
    frequencies = torch.fft.fft2(layer.weight.detach().float(), (height, width)).permute(2, 3, 0, 1)
    return torch.linalg.svdvals(frequencies).mean().item()
