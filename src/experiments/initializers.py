"""Initial weights.

An initializer fills one weight in place, like those of `torch.nn.init`: `initializer(weight, generator=...)`, or
without the generator if it takes none. The same generator state gives the same draw at every scale, so two runs with
different `init` differ only in scale.

`weight` has the shape (out, in) in a linear layer and (out, in, *kernel) in a convolution; `generator` is on the same
device. `fan_in` and `fan_out` are the numbers of a unit's inputs and outputs; in a convolution both are multiplied by
the kernel's size.

An initializer with the parameter `outputs` uses training examples: it gets a function without arguments that returns
the layer's outputs with the current weights. See `lsuv`.
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
    """Set every weight to `value`; all units of a layer stay equal, whatever the constant.

    Args:
        weight: see above.
        generator: not used.
        value: of every weight.
    """
    del generator
    weight.fill_(value)


def normal(weight: Tensor, generator: torch.Generator, *, std: Annotated[float, Ge(0)] = 0.01) -> None:
    """Draw from a normal distribution with mean 0 and standard deviation `std`.

    Args:
        weight, generator: see above.
        std: the standard deviation of the weights, whatever the size of the layer.
    """
    weight.normal_(generator=generator).mul_(std)


def uniform(weight: Tensor, generator: torch.Generator, *, std: Annotated[float, Ge(0)] = 0.01) -> None:
    """Draw from a uniform distribution with mean 0 and standard deviation `std`: bound `sqrt(3) std`.

    Args:
        weight, generator: see above.
        std: the standard deviation of the weights, whatever the size of the layer.
    """
    weight.uniform_(-1, 1, generator=generator).mul_(math.sqrt(3) * std)


def xavier(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Normal with std `gain * sqrt(2 / (fan_in + fan_out))` (Glorot and Bengio 2010, equation 12).

    Args:
        weight, generator: see above.
        gain: a factor of the standard deviation.
    """
    normal(weight, generator, std=gain * math.sqrt(2 / sum(fans(weight))))


def xavier_uniform(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Uniform with std `gain * sqrt(2 / (fan_in + fan_out))` (Glorot and Bengio 2010, equation 16).

    Args:
        weight, generator: see above.
        gain: a factor of the standard deviation.
    """
    uniform(weight, generator, std=gain * math.sqrt(2 / sum(fans(weight))))


def xavier_or_torch(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Normal with the larger std of Xavier's and torch's: `gain * sqrt(max(2 / (fan_in + fan_out), 1 / (3 fan_in)))`.

    Torch's is the larger one if a layer has over five times as many outputs as inputs. Xavier's weights would be
    smaller than torch's biases there: such units bend far from the inputs, and a third of those of ReLU stay zero.

    Args:
        weight, generator: see above.
        gain: a factor of the standard deviation.
    """
    inputs, outputs = fans(weight)
    normal(weight, generator, std=gain * math.sqrt(max(2 / (inputs + outputs), 1 / (3 * inputs))))


def fan_in(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Normal with std `gain / sqrt(fan_in)` (CS231n; 'Xavier' in 'Deep Learning from Scratch').

    Args:
        weight, generator: see above.
        gain: a factor of the standard deviation.
    """
    normal(weight, generator, std=gain / math.sqrt(fans(weight)[0]))


def he(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Normal with std `gain * sqrt(2 / fan_in)`, for ReLU (He et al. 2015, equation 10).

    Args:
        weight, generator: see above.
        gain: a factor of the standard deviation, in addition to the sqrt(2) for ReLU.
    """
    normal(weight, generator, std=gain * math.sqrt(2 / fans(weight)[0]))


def he_uniform(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Uniform with std `gain * sqrt(2 / fan_in)`, for ReLU (the variance of He et al. 2015, equation 10).

    Args:
        weight, generator: see above.
        gain: a factor of the standard deviation, in addition to the sqrt(2) for ReLU.
    """
    uniform(weight, generator, std=gain * math.sqrt(2 / fans(weight)[0]))


def lecun(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Uniform with std `gain / sqrt(fan_in)` (LeCun et al. 1998, 'Efficient BackProp', section 4.6, equation 16).

    Args:
        weight, generator: see above.
        gain: a factor of the standard deviation.
    """
    uniform(weight, generator, std=gain / math.sqrt(fans(weight)[0]))


def orthogonal(weight: Tensor, generator: torch.Generator, *, gain: Gain = 1.0) -> None:
    """Orthogonal rows (or columns, if there are fewer columns) of length `gain` (Saxe et al. 2014).

    Args:
        weight, generator: see above; a convolution's weight is treated as a matrix of shape (out, in * kernel).
        gain: the length of the rows or columns.
    """
    nn.init.orthogonal_(weight, gain=gain, generator=generator)


def torch_default(weight: Tensor, generator: torch.Generator) -> None:
    """The default of `nn.Linear` and `nn.Conv2d`: uniform within `1 / sqrt(fan_in)`."""
    uniform(weight, generator, std=1 / math.sqrt(3 * fans(weight)[0]))


def own(weight: Tensor, generator: torch.Generator) -> None:
    """Keep the weights that the model's constructor drew, from torch's global generator, which the run seeds."""
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

    The variance is taken over all units, positions and examples at once. If it is 0 or not finite, the weight is kept.

    Args:
        weight: of shape (out, in, *kernel).
        generator: draws the orthogonal weights.
        outputs: returns the layer's outputs on some training examples, before the activation.
        tolerance: the largest allowed distance of the variance from 1.
        rounds: the largest number of divisions; one is enough if all biases are equal.
    """
    orthogonal(weight, generator)
    for _ in range(rounds):
        variance = float(outputs().double().var(correction=0))
        if abs(variance - 1) <= tolerance or variance == 0 or not math.isfinite(variance):
            return
        weight.div_(math.sqrt(variance))


Weighted = nn.Linear | nn.modules.conv._ConvNd


def weighted_layers(model: nn.Module) -> dict[str, Weighted]:
    """Return the linear and convolutional layers, whose weights an initializer fills, by name."""
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

    An initializer with the parameter `outputs` fills the layers one by one, in the order in which they run; a layer
    that does not run keeps its constructor's weights.

    Args:
        model: on the CPU, like `generator`; other kinds of layers keep their constructor's values.
        initializer: fills one weight.
        generator: the run's `init` stream.
        bias: the value of every bias; 'torch' for torch's uniform draw within `1 / sqrt(fan_in)`, 'normal' for a
            normal draw with standard deviation 1 (Nielsen 2015, chapter 1), 'own' for the constructor's biases.
        inputs: prepared training examples of shape (batch, *input_shape), for an initializer with the parameter
            `outputs`.
        only: the names of the weights to fill, without any bias; None for all weights and biases.

    Raises:
        ValueError: the initializer has the parameter `outputs`, but there are no inputs; or it returns new weights
            instead of filling those that it is given.
    """
    arguments = {"generator": generator} if takes_generator(initializer) else {}
    named = weighted_layers(model)
    layers = [layer for name, layer in named.items() if only is None or f"{name}.weight" in only]
    if takes_outputs(initializer):
        if inputs is None:
            raise ValueError("inputs=None gives no training examples, which this initializer needs; pass some inputs")
        with evaluating(model):
            layers = [layer for layer in running_order(model, inputs) if layer in layers]
            if only is None:
                fill_biases(layers, bias, generator)
            for layer in layers:
                initializer(layer.weight, outputs=lambda layer=layer: layer_outputs(model, layer, inputs), **arguments)
        return
    for layer in layers:
        result = initializer(layer.weight, **arguments)
        if isinstance(result, Tensor) and result.data_ptr() != layer.weight.data_ptr():
            raise ValueError("it returns another tensor; expected it to fill the weight in place")
    if only is None:
        fill_biases(layers, bias, generator)  # after all weights, so that the draws of biases do not change weights


def fill_biases(layers: list[Weighted], bias: Bias, generator: torch.Generator) -> None:
    """Set the biases of the layers that have one; see `initialize`.

    Args:
        layers: in the order in which their biases are drawn.
        bias: see `initialize`.
        generator: draws them, if they are random.
    """
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
    """Put every module in evaluation mode, and restore each module's mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def running_order(model: nn.Module, inputs: Tensor) -> list[Weighted]:
    """Return the weighted layers that run in a forward pass, in the order in which they first run.

    Args:
        model: any model.
        inputs: (batch, *input_shape).
    """
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
    """Return a layer's output in a forward pass of the model: the first one if the layer runs more than once.

    Args:
        model: any model.
        layer: one of its layers that runs.
        inputs: (batch, *input_shape).

    Returns:
        A copy of the output, (batch, units) or (batch, channels, *positions).
    """
    outputs: list[Tensor] = []
    # A copy, because an activation may work in place.
    hook = layer.register_forward_hook(lambda _module, _x, output: outputs.append(output.clone()))
    try:
        model(inputs)
    finally:
        hook.remove()
    return outputs[0]


def takes_generator(initializer: Initializer) -> bool:
    """Whether an initializer draws random numbers: `torch.nn.init.zeros_` does not."""
    parameters = inspect.signature(initializer).parameters
    return "generator" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def takes_outputs(initializer: Initializer) -> bool:
    """Whether an initializer uses its layer's outputs on training examples."""
    return "outputs" in inspect.signature(initializer).parameters
