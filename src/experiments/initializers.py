"""Initial weights.

An initializer fills one weight in place, as those of `torch.nn.init` do: `initializer(weight, generator=...)`,
without the generator where it takes none.
The same generator state gives the same underlying draw whatever the scale, so two runs that differ in
`init` differ in scale alone. `fan_in` and `fan_out` count a unit's inputs and outputs; for a convolution of
shape (out, in, *kernel) both are multiplied by the kernel's size.
"""

import inspect
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

Initializer = Callable[..., object]
Gain = Annotated[float, Gt(0)]


def fans(weight: Tensor) -> tuple[int, int]:
    """Return `(fan_in, fan_out)` of a weight of shape (out, in, *kernel)."""
    receptive = weight[0, 0].numel()
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def constant(weight: Tensor, generator: torch.Generator, *, value: float = 0.0) -> None:
    """Set every weight to `value`; with any constant all units of a layer stay equal."""
    del generator
    weight.fill_(value)


def normal(weight: Tensor, generator: torch.Generator, *, std: Annotated[float, Ge(0)] = 0.01) -> None:
    """Draw from a normal distribution with mean 0 and standard deviation `std`."""
    weight.normal_(generator=generator).mul_(std)


def uniform(weight: Tensor, generator: torch.Generator, *, std: Annotated[float, Ge(0)] = 0.01) -> None:
    """Draw from a uniform distribution with mean 0 and standard deviation `std`: bound `sqrt(3) std`."""
    weight.uniform_(-1, 1, generator=generator).mul_(math.sqrt(3) * std)


def xavier(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Normal with std `gain * sqrt(2 / (fan_in + fan_out))` (Glorot and Bengio 2010, equation 12)."""
    normal(weight, generator, std=gain * math.sqrt(2 / sum(fans(weight))))


def xavier_uniform(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Uniform with std `gain * sqrt(2 / (fan_in + fan_out))` (Glorot and Bengio 2010, equation 16)."""
    uniform(weight, generator, std=gain * math.sqrt(2 / sum(fans(weight))))


def fan_in(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Normal with std `gain / sqrt(fan_in)` (CS231n; 'Xavier' in 'Deep Learning from Scratch')."""
    normal(weight, generator, std=gain / math.sqrt(fans(weight)[0]))


def he(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Normal with std `gain * sqrt(2 / fan_in)`, for ReLU (He et al. 2015, equation 10)."""
    normal(weight, generator, std=gain * math.sqrt(2 / fans(weight)[0]))


def he_uniform(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Uniform with std `gain * sqrt(2 / fan_in)`, for ReLU (He et al. 2015)."""
    uniform(weight, generator, std=gain * math.sqrt(2 / fans(weight)[0]))


def lecun(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Uniform with std `gain / sqrt(fan_in)` (LeCun et al. 1998, 'Efficient BackProp', equation 16)."""
    uniform(weight, generator, std=gain / math.sqrt(fans(weight)[0]))


def orthogonal(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Rows (or columns, where there are fewer) orthogonal and of length `gain` (Saxe et al. 2014)."""
    nn.init.orthogonal_(weight, gain=gain, generator=generator)


def torch_default(weight: Tensor, generator: torch.Generator) -> None:
    """What `nn.Linear` and `nn.Conv2d` do themselves: uniform within `1 / sqrt(fan_in)`."""
    uniform(weight, generator, std=1 / math.sqrt(3 * fans(weight)[0]))


Weighted = nn.Linear | nn.modules.conv._ConvNd


def weighted_layers(model: nn.Module) -> dict[str, Weighted]:
    """Return, by name, the linear and convolutional layers: those that an initializer fills."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Weighted)}


@torch.no_grad()
def initialize(
    model: nn.Module,
    initializer: Initializer,
    generator: torch.Generator,
    bias: float | Literal["torch"] = 0.0,
) -> None:
    """Fill the weights and biases of every linear and convolutional layer in place.

    Args:
        model: on the CPU, where `generator` draws; other layers keep what their constructor gave them.
        initializer: fills one weight.
        generator: the run's `init` stream.
        bias: the value of every bias, or 'torch' for the library's uniform draw within `1 / sqrt(fan_in)`.
    """
    layers = weighted_layers(model).values()
    drawing = {"generator": generator} if takes_generator(initializer) else {}
    for layer in layers:
        initializer(layer.weight, **drawing)
    for layer in layers:  # after all weights, so that the biases' draws move none of them
        own: Tensor | None = layer.bias
        if own is None:
            continue
        if bias == "torch":
            own.uniform_(-1, 1, generator=generator).mul_(1 / math.sqrt(fans(layer.weight)[0]))
        else:
            own.fill_(bias)


def takes_generator(initializer: Initializer) -> bool:
    """Whether an initializer draws: `torch.nn.init.zeros_` does not."""
    parameters = inspect.signature(initializer).parameters
    return "generator" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
