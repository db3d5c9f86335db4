"""A decoder-only transformer, as small as it can be."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from .blocks import Dropout, activation
from .mlp import DropRate, Units


class Attention(nn.Module):
    """Causal self-attention with several heads (Vaswani et al. 2017, section 3.2).

    Args:
        width: the numbers at each position.
        heads: a divisor of `width`.
        positions: the most that a sequence may have.
    """

    mask: Tensor

    def __init__(self, width: int, heads: int, positions: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.merge = nn.Linear(width, width, bias=False)
        mask = torch.full((positions, positions), -math.inf).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the values at earlier positions, weighted by attention, (batch, positions, width)."""
        count = x.shape[1]
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        weights = (scores + self.mask[:count, :count]).softmax(-1)
        return self.merge((weights @ value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a feed-forward network, each added to its input, with LayerNorm before (Radford et al. 2019).

    Args:
        width, heads, positions: see `Attention`.
        activation_name: see `blocks.activation`.
        dropout: the probability of dropping a number of what is added.
    """

    def __init__(self, width: int, heads: int, positions: int, activation_name: str, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads, positions)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.activation = activation(activation_name)
        self.dropout = nn.ModuleList([Dropout(dropout), Dropout(dropout)] if dropout > 0 else [])

    def forward(self, x: Tensor) -> Tensor:
        """Return numbers of the same shape, (batch, positions, width)."""
        added = self.attention(self.attention_norm(x))
        x = x + (self.dropout[0](added) if self.dropout else added)
        added = self.narrow(self.activation(self.wide(self.norm(x))))
        return x + (self.dropout[1](added) if self.dropout else added)


class Transformer(nn.Module):
    """A decoder: embeddings of tokens and positions, blocks of attention, and scores of the next token.

    Args:
        input_shape: (positions,) of one example.
        outputs: the number of scores at each position.
        vocabulary: the number of different tokens.
        width: the numbers at each position.
        layers: the number of blocks.
        heads: of attention, a divisor of `width`.
        activation: any name in torch.nn, such as relu, gelu.
        dropout: the probability of dropping a number after the embedding and of what a block adds.
        padded: whether examples are sequences of unequal lengths, see `padding`: as padding comes last, no score of a
            real position depends on it.

    Raises:
        ValueError: the inputs are no tokens, or `heads` does not divide `width`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int = 0,
        width: Units = 128,
        layers: Units = 2,
        heads: Units = 4,
        activation: str = "gelu",
        dropout: DropRate = 0.0,
        padded: bool = False,
    ) -> None:
        super().__init__()
        self.padded = padded
        if not vocabulary:
            raise ValueError("a transformer needs tokens, but an example holds numbers; use model=mlp, or data=text")
        if width % heads:
            raise ValueError(f"heads={heads} does not divide width={width}; use one of {divisors(width)}")
        (positions,) = input_shape
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)
        self.dropout = nn.ModuleList([Dropout(dropout)] if dropout > 0 else [])
        self.blocks = nn.ModuleList([Block(width, heads, positions, activation, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens, (batch, positions), to scores, (batch, positions, outputs)."""
        x = x.clamp_min(0) if self.padded else x
        states = self.tokens(x) + self.positions.weight[: x.shape[1]]
        for part in (*self.dropout, *self.blocks):
            states = cast("nn.Module", part)(states)
        return self.head(self.norm(states))


def divisors(number: int) -> str:
    """Return the divisors of a number up to 16."""
    return ", ".join(str(one) for one in range(1, 17) if number % one == 0)
