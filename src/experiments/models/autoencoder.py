"""The autoencoder, also a variational one."""

import math
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from . import norms
from .blocks import Noise, hidden_layers
from .mlp import DropRate, Units


class Autoencoder(nn.Module):
    """An encoder down to a few code units, and a mirrored decoder back to the inputs.

    Args:
        input_shape: the shape of one example, which is flattened.
        outputs: the number of values to reconstruct.
        hidden: the size of each hidden layer of the encoder; the decoder has them in reverse order.
        code: the number of code units, which have no activation.
        activation: any name in torch.nn, such as relu, sigmoid, tanh, leaky_relu, gelu, identity.
        batch_norm: whether there is BatchNorm after each hidden linear layer, before the activation.
        dropout: the probability of dropping a hidden unit, after its activation.
        variational: whether the code is drawn from a Gaussian whose mean and variance the encoder gives, which is close
            to N(0, 1) (Kingma and Welling 2014); in evaluation it is the mean.
        beta: the weight of the distance from N(0, 1), the Kullback-Leibler divergence, in the loss (Higgins et al.
            2017). Like the loss, it is divided by the number of values.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        hidden: list[Units],
        code: Units = 8,
        activation: str = "relu",
        batch_norm: bool = False,
        dropout: DropRate = 0.0,
        variational: bool = False,
        beta: Annotated[float, Ge(0)] = 1.0,
    ) -> None:
        super().__init__()
        norm = norms.chosen("none", batch_norm)
        layers, size = hidden_layers(math.prod(input_shape), hidden, activation, norm, dropout)
        self.encoder = nn.Sequential(layers)
        self.code = nn.Linear(size, code)
        self.log_variance = nn.Linear(size, code) if variational else None
        self.noise = Noise() if variational else None
        layers, size = hidden_layers(code, hidden[::-1], activation, norm, dropout)
        self.decoder = nn.Sequential(layers)
        self.head = nn.Linear(size, outputs)
        self.beta = beta / outputs

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Map inputs of shape (batch, *input_shape) to their reconstructions, (batch, outputs).

        A variational one returns a dictionary with `output` and the term `divergence`, (batch,).
        """
        found = self.encoder(x.flatten(1))
        code = self.code(found)
        if self.log_variance is None or self.noise is None:
            return self.head(self.decoder(code))
        spread = self.log_variance(found)
        divergence = (code.square() + spread.exp() - 1 - spread).sum(1) / 2
        drawn = code + (spread / 2).exp() * self.noise(code) if self.training else code
        return {"output": self.head(self.decoder(drawn)), "divergence": self.beta * divergence}
