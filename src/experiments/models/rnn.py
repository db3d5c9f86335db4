"""Recurrent networks."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .blocks import Dropout
from .mlp import DropRate, Units
from .padding import longest, valid

CELLS: Mapping[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RNN(nn.Module):
    """A recurrent network: scores at each position of a text, or of a whole example after its last step.

    An example of numbers is a sequence too: of the rows of a picture, or of single features.

    Args:
        input_shape: (positions,) of tokens; or (channels, rows, columns), (steps, features) or (steps,) of numbers.
        outputs: the number of scores, at each position of a text.
        vocabulary: the number of different tokens; 0 if the inputs are numbers.
        cell: 'rnn' with tanh (Elman 1990), 'gru' (Cho et al. 2014) or 'lstm' (Hochreiter and Schmidhuber 1997).
        hidden: the units of each layer.
        layers: how many.
        embedding: the numbers that stand for a token.
        dropout: the probability of dropping a number of the embedding, or a unit of a layer.
        padded: whether examples are sequences of unequal lengths, see `padding`: padding changes no answer.

    Its `state_shape` is the shape of the state of an example: (layers, hidden), or (2 * layers, hidden) of an LSTM.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int = 0,
        cell: Literal["rnn", "gru", "lstm"] = "lstm",
        hidden: Units = 128,
        layers: Units = 1,
        embedding: Units = 64,
        dropout: DropRate = 0.0,
        padded: bool = False,
    ) -> None:
        super().__init__()
        self.padded = padded
        self.embedding = nn.Embedding(vocabulary, embedding) if vocabulary else None
        self.features = embedding if vocabulary else features(input_shape)
        self.dropout = nn.ModuleList([Dropout(dropout) for _ in range((layers + 1) * (dropout > 0))])
        self.state_shape = (layers * (1 + (cell == "lstm")), hidden)
        sizes = [self.features, *[hidden] * layers]
        self.layers = nn.ModuleList([CELLS[cell](one, other, batch_first=True) for one, other in pairwise(sizes)])
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Any:
        """Map tokens, (batch, positions), to scores, (batch, positions, outputs); numbers to (batch, outputs).

        Args:
            x: the examples.
            state: the state before x, (batch, *state_shape); None for zeros. If it is given, the state after x is
                returned too; that after padding is not meant to be used.
        """
        x = self.steps(x) if self.embedding is None else x
        scores, after = self.of_padded(x, state) if self.padded else self.of_whole(x, state)
        return scores if state is None else (scores, after)

    def of_whole(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the scores of examples of one length, and the state after them."""
        states, after = self.states(x if self.embedding is None else self.embedding(x), state)
        if self.embedding is None:
            states = states[:, -1]
        return self.head(self.dropout[-1](states) if self.dropout else states), after

    def states(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the states of the last layer at each step, (batch, steps, hidden), and the state of all at the end."""
        found, count = [], len(self.layers)
        initial = [None] * count if state is None else state.chunk(count, 1)
        for number, layer in enumerate(self.layers):
            x, after = recurrent(layer, self.dropout[number](x) if self.dropout else x, initial[number])
            found.append(after)
        return x, torch.cat(found, 1)

    def of_padded(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the scores of sequences of unequal lengths, those of numbers after the last step; and the state.

        Args:
            x: tokens, (batch, positions), or numbers, (batch, steps, features). As padding comes last, no state of a
                real step depends on it, and steps that all examples of the batch lack are left out.
            state: see `forward`.
        """
        kept, whole = valid(x), x.shape[1]
        count = longest(kept)
        x, kept = x[:, :count], kept[:, :count]
        inputs = torch.where(kept.unsqueeze(2), x, 0) if self.embedding is None else self.embedding(x.clamp_min(0))
        states, after = self.states(inputs, state)
        if self.embedding is None:
            last = (kept.sum(1) - 1).clamp_min(0)
            states = states[torch.arange(len(x), device=x.device), last]
        scores = self.head(self.dropout[-1](states) if self.dropout else states)
        return scores if self.embedding is None else nn.functional.pad(scores, (0, 0, 0, whole - count)), after

    def steps(self, x: Tensor) -> Tensor:
        """Return examples of numbers as sequences, (batch, steps, features)."""
        if x.ndim == 4:
            x = x.transpose(1, 2).flatten(2)
        return x if x.ndim == 3 else x.unsqueeze(2)


def recurrent(layer: nn.Module, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the states of a layer, (batch, steps, units), and the last one; on a CPU in float32, as it has no kernels
    for 16 bits.

    The kernels of cuDNN give no gradient in evaluation mode, in which the layers are measured.

    Args:
        layer: of torch.
        x: (batch, steps, features).
        state: before x, (batch, 1 or 2, units): of an LSTM the output and the cell; None for zeros.
    """
    if x.device.type == "cuda" and torch.is_grad_enabled() and not layer.training:
        with torch.backends.cudnn.flags(enabled=False):
            return called(layer, x, state)
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return called(layer, x, state)
    with torch.autocast("cpu", enabled=False):
        return called(layer, x.float(), state)


def called(layer: nn.Module, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Call a layer of torch; see `recurrent`."""
    several = isinstance(layer, nn.LSTM)
    initial = None if state is None else state.transpose(0, 1).contiguous()
    states, after = layer(x, initial.split(1) if several and initial is not None else initial)
    return states, (torch.cat(after) if several else after).transpose(0, 1)


def features(input_shape: tuple[int, ...]) -> int:
    """Return the numbers at each step of an example."""
    if len(input_shape) == 3:
        return input_shape[0] * input_shape[2]
    return math.prod(input_shape[1:])
