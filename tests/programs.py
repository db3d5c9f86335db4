"""Small programs, built by hand."""

import torch

from experiments import initializers
from experiments.data.batches import Split
from experiments.models.mlp import MLP
from experiments.training.single import Single
from experiments.training.streams import Streams

CPU = torch.device("cpu")


def split(examples: int, seed: int) -> Split:
    """Examples of three classes that can be separated."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(examples) % 3
    x = torch.randn(examples, 6, generator=draw) + 2 * torch.eye(6)[y]
    return Split(x, y, lambda batch: batch, CPU)


def single(seed: int, examples: int = 50, rate: float = 0.1) -> Single:
    """The program of one run."""
    model = MLP((6,), 3, hidden=[5], batch_norm=True)
    initializers.initialize(model, initializers.he, Streams(seed).init)
    splits = {"train": split(examples, seed), "val": split(21, seed + 100), "test": split(21, seed + 200)}
    return Single(model, torch.optim.SGD(model.parameters(), rate, momentum=0.9), splits, eval_batch_size=8)
