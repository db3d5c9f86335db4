"""Parts that the models share: activations by name, Dropout with a given generator, and hidden layers."""

import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from . import norms
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

OTHER_NAMES = {"swish": "silu", "linear": "identity", "none": "identity"}
"""Other names of activations, without case and underscores."""


def activation(name: str) -> nn.Module:
    """Build an activation from its name in torch.nn, in any spelling: relu, leaky_relu, LeakyReLU, ...

    Raises:
        ValueError: there is no such activation.
    """
    try:
        cls = ACTIVATIONS[_normalized(name)]
    except KeyError:
        names = ", ".join(sorted(module.__name__ for module in ACTIVATIONS.values()))
        close = get_close_matches(_normalized(name), [*ACTIVATIONS, *OTHER_NAMES], n=1, cutoff=0.5)
        meant = f"; did you mean 'activation={OTHER_NAMES.get(close[0], close[0])}'?" if close else ""
        message = f"activation={name!r} is not an activation of torch.nn; choose from {names}{meant}"
        raise ValueError(message) from None
    if cls in (nn.Softmax, nn.LogSoftmax, nn.Softmin):
        return cls(dim=1)
    return cls()


class Rows:
    """The rows of a batch that this process's model gets if several processes share the batch.

    `own` and `total` are None while the model gets all rows.
    """

    own: slice | None = None
    total: int | None = None

    @contextmanager
    def of(self, own: slice, total: int) -> Iterator[None]:
        """Set, inside the `with` block, the rows that the model gets, and the number of rows of the whole batch."""
        self.own, self.total = own, total
        try:
            yield
        finally:
            self.own = self.total = None


class Dropout(nn.Dropout):
    """Inverted dropout whose mask is drawn from a given generator, not from torch's global one.

    In training, each element is zeroed with probability `p` and the others are divided by `1 - p` (Srivastava et al.
    2014, section 10); in evaluation, the input is returned unchanged. Without a `generator` it is torch's own Dropout.
    """

    generator: torch.Generator | None = None
    rows: Rows | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x, of the same shape, with dropout applied in training mode."""
        factors = self.factors(x)
        return super().forward(x) if factors is None else x * factors

    def factors(self, x: Tensor) -> Tensor | None:
        """Draw the factor of each element of x, 0 or `1 / (1 - p)`, of the same shape; None if they do not change x."""
        if self.generator is None or not self.training or self.p in (0, 1):
            return None
        keep = 1 - self.p
        if self.rows is None or self.rows.total is None:
            return dropout_mask(x.shape, keep, self.generator).to(x.dtype) / keep
        mask = dropout_mask(torch.Size((self.rows.total, *x.shape[1:])), keep, self.generator)[self.rows.own]
        return mask.to(x.dtype) / keep


class Noise(nn.Module):
    """Standard normal noise that is drawn from a given generator, not from torch's global one."""

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return noise of the shape of x."""
        return torch.randn(x.shape, generator=self.generator, device=x.device, dtype=x.dtype)


def dropout_mask(shape: torch.Size, keep: float, generator: torch.Generator) -> Tensor:
    """Draw a mask on the generator's device whose elements are true with probability `keep`, to a resolution of 2^-32.

    Each 64-bit draw gives two elements, which is three times as fast on a CPU as torch's own dropout.

    Args:
        shape: of the mask.
        keep: the probability that an element is true, in [0, 1].
        generator: draws the mask.
    """
    count = shape.numel()
    draws = torch.empty((count + 1) // 2, dtype=torch.int64, device=generator.device)
    bits = draws.random_(-(2**63), None, generator=generator).view(torch.int32)[:count]
    return (bits < min(round(keep * 2**32) - 2**31, 2**31 - 1)).view(shape)


def use_noise(model: nn.Module, generator: torch.Generator) -> None:
    """Set the generator of every Dropout and of all noise in the model: the run's `noise` stream."""
    for module in model.modules():
        if isinstance(module, Dropout | Noise):
            module.generator = generator


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
