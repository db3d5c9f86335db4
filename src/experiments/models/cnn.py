"""The convolutional network."""

from collections import OrderedDict
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor, nn

from .blocks import Dropout, block, hidden_layers
from .mlp import DropRate, Units

POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class CNN(nn.Module):
    """Stages of convolutions, each followed by pooling; then fully connected layers and the `head`.

    Convolutions keep the picture's size (zero padding); pooling divides it by `pool_size`.

    Args:
        input_shape: (channels, height, width) of one example.
        classes: the number of classes, and of scores.
        stages: for each stage, the channels of its convolutions: `[[16, 16], [32]]` has two stages.
        kernel: the side of every convolution's kernel in pixels, an odd number.
        pool: 'max', 'average' or 'none'.
        pool_size: the side of the pooling's window, and its stride.
        hidden: the size of each fully connected layer after the stages.
        activation: any name in torch.nn, such as relu, sigmoid, tanh, leaky_relu, gelu, identity.
        batch_norm: whether there is BatchNorm after each convolution and hidden linear layer, before the activation.
        dropout: the probability of dropping a unit, after its activation.
        input_dropout: the probability of dropping an input value.

    Raises:
        ValueError: the input is not a picture, the kernel is even, or a picture is too small for the pooling.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        stages: list[list[Units]],
        hidden: list[Units],
        kernel: Annotated[int, Ge(1)] = 3,
        pool: Literal["max", "average", "none"] = "max",
        pool_size: Annotated[int, Ge(2)] = 2,
        activation: str = "relu",
        batch_norm: bool = False,
        dropout: DropRate = 0.0,
        input_dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = picture_shape(input_shape)
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} is even; use an odd number such as {kernel + 1}")
        if pool != "none" and min(height, width) < pool_size ** len(stages):
            raise ValueError(
                f"stages has {len(stages)} pooling layers of size {pool_size}, too many for pictures of "
                f"{height} x {width}; use fewer stages, a smaller pool_size or pool=none"
            )
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if input_dropout > 0:
            parts["input_dropout"] = Dropout(input_dropout)
        for s, widths in enumerate(stages, 1):
            for c, out in enumerate(widths, 1):
                convolution = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=not batch_norm)
                norm = nn.BatchNorm2d(out) if batch_norm else None
                parts[f"stage{s}_{c}"] = block("conv", convolution, activation, norm, dropout)
                channels = out
            if pool != "none":
                parts[f"stage{s}_pool"] = POOLS[pool](pool_size)
                height, width = height // pool_size, width // pool_size
        parts["flatten"] = nn.Flatten()
        layers, size = hidden_layers(channels * height * width, hidden, activation, batch_norm, dropout)
        self.features = nn.Sequential(parts | layers)
        self.head = nn.Linear(size, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures of shape (batch, channels, height, width) to scores of shape (batch, classes)."""
        return self.head(self.features(x))


def picture_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width).

    Raises:
        ValueError: the examples are not pictures.
    """
    if len(input_shape) != 3:
        raise ValueError(f"a CNN needs pictures, but an example has the shape {tuple(input_shape)}; use model=mlp")
    channels, height, width = input_shape
    return channels, height, width
