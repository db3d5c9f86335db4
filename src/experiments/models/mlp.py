"""The multi-layer perceptron."""

import math
from collections import OrderedDict
from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor, nn

from .blocks import Dropout, hidden_layers

Units = Annotated[int, Ge(1)]
DropRate = Annotated[float, Ge(0), Lt(1)]


class MLP(nn.Module):
    """Fully connected hidden layers, then the `head`, which gives the class scores.

    Without hidden layers it is softmax regression.

    Args:
        input_shape: the shape of one example, which is flattened.
        classes: the number of classes, and of scores.
        hidden: the size of each hidden layer.
        activation: any name in torch.nn, such as relu, sigmoid, tanh, leaky_relu, gelu, identity.
        batch_norm: whether there is BatchNorm after each hidden linear layer, before the activation (Ioffe and Szegedy
            2015).
        dropout: the probability of dropping a hidden unit, after its activation.
        input_dropout: the probability of dropping an input.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        hidden: list[Units],
        activation: str = "relu",
        batch_norm: bool = False,
        dropout: DropRate = 0.0,
        input_dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        if input_dropout > 0:
            parts["input_dropout"] = Dropout(input_dropout)
        layers, size = hidden_layers(math.prod(input_shape), hidden, activation, batch_norm, dropout)
        self.features = nn.Sequential(parts | layers)
        self.head = nn.Linear(size, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs of shape (batch, *input_shape) to scores of shape (batch, classes)."""
        return self.head(self.features(x))
