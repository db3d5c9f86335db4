"""Cutting a data set so that every part has the classes in the same proportions."""

import torch
from torch import Tensor


def stratified(labels: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `size` examples with the classes in proportion, and return (drawn, rest), both shuffled.

    Each class gives its exact share rounded down; the places left over go to the largest remainders.

    Args:
        labels: class numbers of shape (examples,).
        size: how many to draw, at most all.
        generator: draws the shuffle.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    mixed = labels[shuffled]
    counts = torch.bincount(mixed)
    shares = counts.double() * size / max(len(labels), 1)
    quotas = shares.floor().long()
    left_over = size - int(quotas.sum())
    quotas[(shares - quotas).argsort(descending=True, stable=True)[:left_over]] += 1

    by_class = mixed.argsort(stable=True)
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[mixed[by_class]]
    drawn = rank < quotas[mixed]
    return shuffled[drawn], shuffled[~drawn]
