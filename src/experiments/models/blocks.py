"""Parts that the models share: activations by name, Dropout with draws of the run, and hidden layers."""

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from . import norms
from .draws import Draws
from .norms import NormName


def _normalized(name: str) -> str:
    return name.replace("_", "").lower()


def _activations() -> dict[str, type[nn.Module]]:
    modules = {name: getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__}
    modules["Identity"] = nn.Identity
    # In this order: changes the shape, needs another shape, draws from the global generator.
    unsuitable = {"GLU", "Softmax2d", "RReLU"}
    return {
        _normalized(name): module
        for name, module in modules.items()
        if name not in unsuitable
        and all(
            p.default is not p.empty or p.kind is p.VAR_KEYWORD or p.kind is p.VAR_POSITIONAL
            for p in inspect.signature(module).parameters.values()
        )
    }


ACTIVATIONS = _activations()
"""Every activation of torch.nn that keeps the shape and needs no argument, by its name in lower case."""

UNDERSCORED = {"leakyrelu": "leaky_relu", "logsoftmax": "log_softmax"}
"""The activations whose names in torch.nn.functional have an underscore."""

OTHER_NAMES = {"swish": "silu", "linear": "identity", "none": "identity"}
"""Other names of activations, without case and underscores."""


def spelling(name: str) -> str | None:
    """Return the name of an activation as it is typed, as in torch.nn.functional; None if it is unknown."""
    plain = _normalized(name)
    return UNDERSCORED.get(plain, plain) if plain in ACTIVATIONS else None


def spellings() -> list[str]:
    """Return the names of all activations."""
    return sorted(UNDERSCORED.get(name, name) for name in ACTIVATIONS)


def activation(name: str) -> nn.Module:
    """Build an activation from its name in torch.nn, in any spelling: leaky_relu, LeakyReLU, ...

    A new run takes only the first one, see `assembly.check_spelling`.

    Raises:
        ValueError: there is no such activation.
    """
    try:
        cls = ACTIVATIONS[_normalized(name)]
    except KeyError:
        names = ", ".join(spellings())
        close = get_close_matches(_normalized(name), [*ACTIVATIONS, *OTHER_NAMES], n=1, cutoff=0.5)
        meant = f"; did you mean 'activation={OTHER_NAMES.get(close[0], close[0])}'?" if close else ""
        message = f"activation={name!r} is not an activation of torch.nn; choose from {names}{meant}"
        raise ValueError(message) from None
    if cls in (nn.Softmax, nn.LogSoftmax, nn.Softmin):
        return cls(dim=1)
    return cls()


class Dropout(nn.Dropout):
    """Inverted dropout whose mask is a function of the run and the update, not of torch's global generator.

    In training, each element is zeroed with probability `p` and the others are divided by `1 - p` (Srivastava et al.
    2014, section 10); in evaluation, the input is returned unchanged. Without `draws` it is torch's own Dropout.
    """

    draws: Draws | None = None
    name = ""

    def forward(self, x: Tensor) -> Tensor:
        """Return x, of the same shape, with dropout applied in training mode."""
        factors = self.factors(x)
        return super().forward(x) if factors is None else x * factors

    def factors(self, x: Tensor) -> Tensor | None:
        """Draw the factor of each element of x, 0 or `1 / (1 - p)`, of the same shape; None if they do not change x."""
        if self.draws is None or not self.training or self.p in (0, 1):
            return None
        return self.draws.factors(self.name, self.p, x)


class Noise(nn.Module):
    """Standard normal noise of the run's draws, not of torch's global generator."""

    draws: Draws | None = None
    name = ""

    def forward(self, x: Tensor) -> Tensor:
        """Return noise of the shape of x."""
        return torch.randn_like(x) if self.draws is None else self.draws.normal(self.name, x)


def use_noise(model: nn.Module, draws: Draws) -> None:
    """Let every Dropout and all noise in the model draw from the run's `noise` stream, each by its name."""
    for name, module in model.named_modules():
        if isinstance(module, Dropout | Noise):
            module.draws, module.name = draws, name


def is_noisy(model: nn.Module) -> bool:
    """Whether a model draws in training from the run's `noise` stream."""
    return any(isinstance(m, Noise) or (isinstance(m, Dropout) and m.p > 0) for m in model.modules())


class Residual(nn.Sequential):
    """A hidden layer that is added to its input (He et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the layer's output, of the same shape."""
        return x + super().forward(x)


def block(
    layers: Mapping[str, nn.Module],
    activation_name: str,
    norm: nn.Module | None,
    dropout: float,
    *,
    residual: bool = False,
) -> nn.Sequential:
    """Build a hidden layer: linear or convolution, normalization before the activation, Dropout after it.

    Args:
        layers: the linear or convolutional layers by their names inside the block; without a bias if BatchNorm follows,
            because its shift replaces the bias.
        activation_name: see `activation`.
        norm: see `norms.build`.
        dropout: the probability of dropping a unit, in [0, 1).
        residual: whether the block is added to its input.
    """
    parts = OrderedDict(layers)
    if norm is not None:
        parts["batch_norm" if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) else "norm"] = norm
    parts["activation"] = activation(activation_name)
    if dropout > 0:
        parts["dropout"] = Dropout(dropout)
    return (Residual if residual else nn.Sequential)(parts)


def hidden_layers(
    inputs: int,
    sizes: Sequence[int],
    activation_name: str,
    norm: NormName,
    dropout: float,
    *,
    groups: int = 1,
    residual: bool = False,
) -> tuple["OrderedDict[str, nn.Module]", int]:
    """Return fully connected blocks `hidden1`, `hidden2`, ... and the output size of the last one.

    Args:
        inputs: the number of inputs.
        sizes: of the blocks.
        activation_name, dropout: see `block`.
        norm, groups: see `norms.build`.
        residual: whether blocks with as many inputs as outputs are added to their inputs.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, size in enumerate(sizes, 1):
        linear = nn.Linear(inputs, size, bias=norm != "batch")
        own = norms.build(norm, size, groups, pictures=False)
        added = residual and size == inputs
        layers[f"hidden{number}"] = block({"linear": linear}, activation_name, own, dropout, residual=added)
        inputs = size
    return layers, inputs


def check_residual(model: nn.Module) -> None:
    """Refuse `residual=true` if no layer can be added to its input.

    Raises:
        ValueError: no layer has as many inputs as outputs.
    """
    if not any(isinstance(module, Residual) for module in model.modules()):
        raise ValueError("residual=true adds nothing: no layer has outputs of the same shape as its inputs")
