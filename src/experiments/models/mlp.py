"""The multi-layer perceptron."""

import math
from collections import OrderedDict
from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor, nn

from . import norms
from .blocks import Dropout, check_residual, hidden_layers
from .norms import Groups, NormName

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
        batch_norm: short for `norm='batch'`.
        norm: the normalization after each hidden linear layer, before the activation, see `norms.build`.
        groups: of `norm='group'`, a divisor of every layer's size.
        residual: whether each hidden layer with as many inputs as outputs is added to its input.
        dropout: the probability of dropping a hidden unit, after its activation.
        input_dropout: the probability of dropping an input.

    Raises:
        ValueError: the settings of the normalization contradict each other, or `residual` adds nothing.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        hidden: list[Units],
        activation: str = "relu",
        batch_norm: bool = False,
        norm: NormName = "none",
        groups: Groups = 4,
        residual: bool = False,
        dropout: DropRate = 0.0,
        input_dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        if input_dropout > 0:
            parts["input_dropout"] = Dropout(input_dropout)
        norm = norms.chosen(norm, batch_norm)
        layers, size = hidden_layers(
            math.prod(input_shape), hidden, activation, norm, dropout, groups=groups, residual=residual
        )
        self.features = nn.Sequential(parts | layers)
        self.head = nn.Linear(size, classes)
        if residual:
            check_residual(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs of shape (batch, *input_shape) to scores of shape (batch, classes)."""
        return self.head(self.features(x))
