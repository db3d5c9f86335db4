"""A model of a user's own that draws in evaluation mode too."""

import math
from collections.abc import Sequence

import torch
from torch import nn

RESTLESS = "tests.restless.Restless"


class Restless(nn.Sequential):
    """One hidden layer behind a Dropout that is never off."""

    def __init__(self, input_shape: Sequence[int], classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(input_shape), 9), nn.ReLU(), nn.Linear(9, classes))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(input, 0.2, training=True))
