"""What the models share: activations by name, Dropout from a stream, and the block."""

import inspect
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import torch
from torch import Tensor, nn


def _snake_free(name: str) -> str:
    return name.replace("_", "").lower()


def _activations() -> dict[str, type[nn.Module]]:
    modules = {name: getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__}
    modules["Identity"] = nn.Identity
    unsuitable = {"GLU", "Softmax2d", "RReLU"}  # change the shape, want another one, draw from the global generator
    return {
        _snake_free(name): module
        for name, module in modules.items()
        if name not in unsuitable
        and all(
            p.default is not p.empty or p.kind is p.VAR_KEYWORD or p.kind is p.VAR_POSITIONAL
            for p in inspect.signature(module).parameters.values()
        )
    }


ACTIVATIONS = _activations()
"""Every activation in torch.nn that keeps the shape and needs no argument, by name without underscores."""


def activation(name: str) -> nn.Module:
    """Build an activation from its name in torch.nn, in any spelling: relu, leaky_relu, LeakyReLU, ...

    Raises:
        ValueError: there is none of that name.
    """
    try:
        found = ACTIVATIONS[_snake_free(name)]
    except KeyError:
        names = ", ".join(sorted(module.__name__ for module in ACTIVATIONS.values()))
        close = get_close_matches(_snake_free(name), list(ACTIVATIONS), n=1, cutoff=0.5)
        meant = f"; did you mean {ACTIVATIONS[close[0]].__name__!r}?" if close else ""
        raise ValueError(f"activation={name!r} is no activation of torch.nn; allowed: {names}{meant}") from None
    if found in (nn.Softmax, nn.LogSoftmax, nn.Softmin):
        return found(dim=1)
    return found()


class Rows:
    """Which rows of a whole batch a model is given, where the others are another process's; None for all of them."""

    own: slice | None = None
    total: int | None = None

    @contextmanager
    def of(self, own: slice, total: int) -> Iterator[None]:
        """Say, inside the block, that the model is given these of so many rows."""
        self.own, self.total = own, total
        try:
            yield
        finally:
            self.own = self.total = None


class Dropout(nn.Dropout):
    """Inverted dropout whose mask comes from a given stream, not from torch's global generator.

    In training each element is zeroed with probability `p` and the others are divided by `1 - p`
    (Srivastava et al. 2014, section 10); in evaluation nothing happens. Without a `generator` it is torch's own.
    """

    generator: torch.Generator | None = None
    rows: Rows | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x of the same shape, dropped out in training mode."""
        if self.generator is None or not self.training or self.p in (0, 1):
            return super().forward(x)
        keep = 1 - self.p
        if self.rows is None or self.rows.total is None:
            return x * (kept(x.shape, keep, self.generator).to(x.dtype) / keep)
        mask = kept(torch.Size((self.rows.total, *x.shape[1:])), keep, self.generator)[self.rows.own]
        return x * (mask.to(x.dtype) / keep)


def kept(shape: torch.Size, keep: float, generator: torch.Generator) -> Tensor:
    """Draw a mask on the generator's device whose elements are true with probability `keep`, to a resolution of 2^-32.

    Each 64-bit draw serves two elements: three times as fast on CPU as torch's own dropout.
    """
    count = shape.numel()
    draws = torch.empty((count + 1) // 2, dtype=torch.int64, device=generator.device)
    bits = draws.random_(-(2**63), None, generator=generator).view(torch.int32)[:count]
    return (bits < min(round(keep * 2**32) - 2**31, 2**31 - 1)).view(shape)


def use_noise(model: nn.Module, generator: torch.Generator) -> None:
    """Let every Dropout of the model draw from the run's `noise` stream."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.generator = generator


def block(name: str, layer: nn.Module, activation_name: str, norm: nn.Module | None, dropout: float) -> nn.Sequential:
    """One hidden layer: linear or convolution, BatchNorm before the activation, Dropout after it.

    Args:
        name: what the linear or convolutional layer is called inside the block.
        layer: the layer itself; without a bias where a norm follows, whose shift takes its place.
        activation_name: see `activation`.
        norm: BatchNorm, or None.
        dropout: the probability of dropping a unit, in [0, 1).
    """
    parts = OrderedDict([(name, layer)])
    if norm is not None:
        parts["batch_norm"] = norm
    parts["activation"] = activation(activation_name)
    if dropout > 0:
        parts["dropout"] = Dropout(dropout)
    return nn.Sequential(parts)


def hidden_layers(
    inputs: int, sizes: list[int], activation_name: str, batch_norm: bool, dropout: float
) -> tuple["OrderedDict[str, nn.Module]", int]:
    """Return fully connected blocks `hidden1`, `hidden2`, ... and the size of the last one's output."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, size in enumerate(sizes, 1):
        linear = nn.Linear(inputs, size, bias=not batch_norm)
        norm = nn.BatchNorm1d(size) if batch_norm else None
        layers[f"hidden{number}"] = block("linear", linear, activation_name, norm, dropout)
        inputs = size
    return layers, inputs
