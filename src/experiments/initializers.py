"""Initial weights.

An initializer fills one weight in place, as those of `torch.nn.init` do: `initializer(weight, generator=...)`,
without the generator where it takes none.
The same generator state gives the same underlying draw whatever the scale, so two runs that differ in
`init` differ in scale alone. `fan_in` and `fan_out` count a unit's inputs and outputs; for a convolution of
shape (out, in, *kernel) both are multiplied by the kernel's size.

An initializer that asks for `outputs` looks at training examples: it is given a function without arguments that
returns the layer's outputs with the weights as they are now. See `lsuv`.
"""

import inspect
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

Initializer = Callable[..., object]
Outputs = Callable[[], Tensor]
Gain = Annotated[float, Gt(0)]
Bias = float | Literal["torch", "normal", "own"]


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


def own(weight: Tensor, generator: torch.Generator) -> None:
    """Leave what the model's constructor drew, from torch's global generator, which the run seeds."""
    del weight, generator


def lsuv(
    weight: Tensor,
    generator: torch.Generator,
    outputs: Outputs,
    *,
    tolerance: Annotated[float, Gt(0)] = 0.05,
    rounds: Annotated[int, Ge(0)] = 10,
) -> None:
    """Start orthogonal, then divide until the layer's outputs have variance 1 (Mishkin and Matas 2016, algorithm 1).

    The variance is over all units, places and examples at once. Where it is 0 or not finite the weight stays.

    Args:
        weight: of shape (out, in, *kernel).
        generator: draws the orthogonal weights.
        outputs: returns the layer's outputs on some training examples, before the activation.
        tolerance: how far from 1 the variance may be.
        rounds: divisions at most; one is enough where the biases are all equal.
    """
    orthogonal(weight, generator)
    for _ in range(rounds):
        variance = float(outputs().double().var(correction=0))
        if abs(variance - 1) <= tolerance or variance == 0 or not math.isfinite(variance):
            return
        weight.div_(math.sqrt(variance))


Weighted = nn.Linear | nn.modules.conv._ConvNd


def weighted_layers(model: nn.Module) -> dict[str, Weighted]:
    """Return, by name, the linear and convolutional layers: those that an initializer fills."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Weighted)}


@torch.no_grad()
def initialize(
    model: nn.Module,
    initializer: Initializer,
    generator: torch.Generator,
    bias: Bias = 0.0,
    inputs: Tensor | None = None,
    only: Collection[str] | None = None,
) -> None:
    """Fill the weights and biases of every linear and convolutional layer in place.

    An initializer that asks for `outputs` fills one layer after another, in the order in which they run; a layer
    that does not run keeps what its constructor gave.

    Args:
        model: on the CPU, where `generator` draws; other layers keep what their constructor gave them.
        initializer: fills one weight.
        generator: the run's `init` stream.
        bias: the value of every bias; 'torch' for the library's uniform draw within `1 / sqrt(fan_in)`, 'normal' for a
            normal one with standard deviation 1 (Nielsen 2015, chapter 1), 'own' for what the constructor gave.
        inputs: prepared training examples of shape (batch, *input_shape), for an initializer that asks for `outputs`.
        only: the names of the weights to fill, and no bias; None for all.

    Raises:
        ValueError: the initializer asks for `outputs`, and there are no inputs.
    """
    drawing = {"generator": generator} if takes_generator(initializer) else {}
    named = weighted_layers(model)
    layers = [layer for name, layer in named.items() if only is None or f"{name}.weight" in only]
    if takes_outputs(initializer):
        if inputs is None:
            raise ValueError("inputs=None leaves out the training examples on which it looks at the outputs; give some")
        with evaluating(model):
            layers = [layer for layer in running_order(model, inputs) if layer in layers]
            if only is None:
                fill_biases(layers, bias, generator)
            for layer in layers:
                initializer(layer.weight, outputs=lambda layer=layer: layer_outputs(model, layer, inputs), **drawing)
        return
    for layer in layers:
        initializer(layer.weight, **drawing)
    if only is None:
        fill_biases(layers, bias, generator)  # after all weights, so that the biases' draws move none of them


def fill_biases(layers: list[Weighted], bias: Bias, generator: torch.Generator) -> None:
    """Set the biases of those layers that have them; see `initialize`."""
    if bias == "own":
        return
    for layer in layers:
        own: Tensor | None = layer.bias
        if own is None:
            continue
        if bias == "torch":
            own.uniform_(-1, 1, generator=generator).mul_(1 / math.sqrt(fans(layer.weight)[0]))
        elif bias == "normal":
            own.normal_(generator=generator)
        else:
            own.fill_(bias)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, and each back in its own afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def running_order(model: nn.Module, inputs: Tensor) -> list[Weighted]:
    """Return the weighted layers that take part in a forward pass, in the order in which they first run."""
    order: dict[nn.Module, None] = {}
    layers = weighted_layers(model).values()
    hooks = [layer.register_forward_hook(lambda module, _x, _y: order.setdefault(module)) for layer in layers]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [layer for layer in order if isinstance(layer, Weighted)]


def layer_outputs(model: nn.Module, layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return what a layer gives in a forward pass of the model, the first time where it runs more than once."""
    seen: list[Tensor] = []
    # a copy, since an activation may work in place
    hook = layer.register_forward_hook(lambda _module, _x, output: seen.append(output.clone()))
    try:
        model(inputs)
    finally:
        hook.remove()
    return seen[0]


def takes_generator(initializer: Initializer) -> bool:
    """Whether an initializer draws: `torch.nn.init.zeros_` does not."""
    parameters = inspect.signature(initializer).parameters
    return "generator" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def takes_outputs(initializer: Initializer) -> bool:
    """Whether an initializer looks at what its layer gives for training examples."""
    return "outputs" in inspect.signature(initializer).parameters
