"""The convolutional network."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor, nn

from . import norms
from .blocks import Dropout, block, check_residual, hidden_layers
from .mlp import DropRate, Units
from .norms import Groups, NormName

POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d, "mean": nn.AvgPool2d}
"""Poolings after each stage, by name."""
Pool = Literal["max", "average", "mean", "global", "none"]
Side = Annotated[int, Ge(1)]


class CNN(nn.Module):
    """Stages of convolutions, each followed by pooling; then fully connected layers and the `head`.

    Convolutions keep the picture's size (zero padding), except for the first one of a stage with a stride; pooling
    divides it by `pool_size`.

    Args:
        input_shape: (channels, height, width) of one example.
        classes: the number of classes, and of scores.
        stages: for each stage, the channels of its convolutions: `[[16, 16], [32]]` has two stages.
        kernel: the side of every convolution's kernel in pixels, an odd number; or one for each stage: `[5, 3]`.
        strides: the stride of the first convolution of each stage: `[1, 2]`; or one number for all.
        depthwise: whether each convolution is one per channel, and then one of 1 x 1 pixels that mixes the channels
            (Howard et al. 2017).
        pool: after each stage 'max', 'average' or 'mean' (the same), or 'none'; 'global' averages all positions
            after the last stage only.
        pool_size: the side of the pooling's window, and its stride.
        hidden: the size of each fully connected layer after the stages.
        activation: any name in torch.nn, such as relu, sigmoid, tanh, leaky_relu, gelu, identity.
        batch_norm: short for `norm='batch'`.
        norm: the normalization after each convolution and hidden layer, before the activation, see `norms.build`.
        groups: of `norm='group'`, a divisor of every layer's size.
        residual: whether each convolution or hidden layer with inputs and outputs of the same shape is added to its
            input.
        dropout: the probability of dropping a unit, after its activation.
        input_dropout: the probability of dropping an input value.

    Raises:
        ValueError: the input is not a picture, a kernel is even, a picture is too small for the pooling, there are more
            or fewer kernels or strides than stages, or another setting does not fit.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        stages: list[list[Units]],
        hidden: list[Units],
        kernel: Side | list[Side] = 3,
        strides: Side | list[Side] = 1,
        depthwise: bool = False,
        pool: Pool = "max",
        pool_size: Annotated[int, Ge(2)] = 2,
        activation: str = "relu",
        batch_norm: bool = False,
        norm: NormName = "none",
        groups: Groups = 4,
        residual: bool = False,
        dropout: DropRate = 0.0,
        input_dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = picture_shape(input_shape)
        norm = norms.chosen(norm, batch_norm)
        kernels, steps = of_each(kernel, len(stages), "kernel"), of_each(strides, len(stages), "strides")
        for side in kernels:
            if side % 2 == 0:
                raise ValueError(f"kernel={side} is even; use an odd number such as {side + 1}")
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if input_dropout > 0:
            parts["input_dropout"] = Dropout(input_dropout)
        for s, (widths, side, first) in enumerate(zip(stages, kernels, steps, strict=True), 1):
            for c, out in enumerate(widths, 1):
                step = first if c == 1 else 1
                layers = convolutions(channels, out, side, step, bias=norm != "batch", depthwise=depthwise)
                own = norms.build(norm, out, groups, pictures=True)
                added = residual and channels == out and step == 1
                parts[f"stage{s}_{c}"] = block(layers, activation, own, dropout, residual=added)
                channels, height, width = out, strided(height, step), strided(width, step)
            if pool in POOLS:
                if min(height, width) < pool_size:
                    _, *given = input_shape
                    raise ValueError(
                        f"stages has {len(stages)} pooling layers of size {pool_size}, too many for pictures of "
                        f"{given[0]} x {given[1]}; use fewer stages, a smaller pool_size or pool=none"
                    )
                parts[f"stage{s}_pool"] = POOLS[pool](pool_size)
                height, width = height // pool_size, width // pool_size
        if pool == "global":
            parts["pool"] = nn.AdaptiveAvgPool2d(1)
            height = width = 1
        parts["flatten"] = nn.Flatten()
        size = channels * height * width
        dense, size = hidden_layers(size, hidden, activation, norm, dropout, groups=groups, residual=residual)
        self.features = nn.Sequential(parts | dense)
        self.head = nn.Linear(size, classes)
        if residual:
            check_residual(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures of shape (batch, channels, height, width) to scores of shape (batch, classes)."""
        return self.head(self.features(x))


def convolutions(
    channels: int, out: int, side: int, step: int, *, bias: bool, depthwise: bool
) -> "OrderedDict[str, nn.Module]":
    """Return the convolution of a block, or one per channel and one that mixes the channels.

    Args:
        channels, out: of the inputs and of the outputs.
        side: of the kernel.
        step: the stride.
        bias: whether the last one has a bias.
        depthwise: whether there are two.
    """
    padding = side // 2
    if not depthwise:
        return OrderedDict(conv=nn.Conv2d(channels, out, side, stride=step, padding=padding, bias=bias))
    each = nn.Conv2d(channels, channels, side, stride=step, padding=padding, groups=channels, bias=False)
    return OrderedDict(depthwise=each, conv=nn.Conv2d(channels, out, 1, bias=bias))


def strided(side: int, step: int) -> int:
    """Return the side of a picture after a convolution with a stride."""
    return (side - 1) // step + 1


def of_each(value: int | Sequence[int], stages: int, name: str) -> list[int]:
    """Return the value of each stage.

    Args:
        value: one for all stages, or one for each.
        stages: how many.
        name: of the setting, for the message.

    Raises:
        ValueError: there are more or fewer values than stages.
    """
    if isinstance(value, int):
        return [value] * stages
    if len(value) != stages:
        raise ValueError(f"{name}={list(value)} has {len(value)} numbers for {stages} stages; give one for each")
    return list(value)


def picture_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width).

    Raises:
        ValueError: the examples are not pictures.
    """
    if len(input_shape) != 3:
        raise ValueError(f"a CNN needs pictures, but an example has the shape {tuple(input_shape)}; use model=mlp")
    channels, height, width = input_shape
    return channels, height, width
