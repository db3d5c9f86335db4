"""The layers of a model, recorded in one forward pass."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """One leaf module: its name and kind, its output's shape without the batch, and its size and cost."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    """Multiplications of one example's forward pass (of linear and convolutional layers)."""


@torch.enable_grad()
def describe(model: nn.Module, example: Tensor) -> tuple[list[Layer], Any]:
    """Run one batch in evaluation mode; return the leaf modules in the order in which they ran, and the output.

    Args:
        model: its modules keep their modes.
        example: inputs of shape (batch, *input_shape).
    """
    layers: list[Layer] = []

    def record(name: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(module, nn.RNNBase):
            output = output[0]
        if isinstance(output, Tensor):
            parameters = sum(p.numel() for p in module.parameters())
            cost = multiply_adds(module, output)
            layers.append(Layer(name, type(module).__name__, tuple(output.shape[1:]), parameters, cost))

    leaves = {name: m for name, m in model.named_modules() if not any(m.children())}
    hooks = [module.register_forward_hook(partial(record, name)) for name, module in leaves.items()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        output = model.eval()(example)
    finally:
        for module, mode in modes:
            module.training = mode
        for hook in hooks:
            hook.remove()
    return layers, output


def multiply_adds(module: nn.Module, output: Tensor) -> int:
    """Return the multiplications for one example: each weight counts once per output position.

    Args:
        module: a leaf module; those without weights count 0.
        output: (batch, ...), of the module.
    """
    if isinstance(module, nn.RNNBase):
        return output[0].numel() // output.shape[-1] * sum(p.numel() for p in module.parameters() if p.ndim > 1)
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return 0
    return output[0].numel() * module.weight[0].numel()


def activation_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return, by name, the layers whose outputs are measured: every activation, and the last weighted layer.

    An activation is a module called `activation` (as in our models) or of a class of torch.nn's activations. The last
    weighted layer gives the class scores. If a model's activations are not modules (`torch.relu(self.linear(x))`), all
    weighted layers are measured instead.
    """
    kinds = tuple(getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__)
    activations: dict[str, nn.Module] = {}
    weighted: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if any(module.children()):
            continue
        if name.rpartition(".")[2] == "activation" or isinstance(module, kinds):
            activations[name] = module
        elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            weighted[name] = module
    if not activations:
        return weighted
    return activations | dict(list(weighted.items())[-1:])
