"""Stratified splits: every part of a data set has the classes in the same proportions."""

import torch
from torch import Tensor


def stratified(labels: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `size` examples with the classes in proportion, and return (drawn, rest), both shuffled.

    Each class gets its exact share, rounded down; the classes with the largest remainders get one more.

    Args:
        labels: class numbers of shape (examples,).
        size: the number of examples to draw, at most all.
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


def folds(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return each example's fold, a number from 0 to `count` - 1, with the classes in proportion in every fold.

    The examples are dealt like cards, one class after another. So neither the counts of a class in two folds nor the
    sizes of two folds differ by more than 1.

    Args:
        labels: class numbers of shape (examples,).
        count: the number of folds; some are empty if there are fewer examples.
        generator: draws the shuffle within each class.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    numbers = torch.empty(len(labels), dtype=torch.int64)
    numbers[by_class] = torch.arange(len(labels)) % count
    return numbers


def with_label_noise(labels: Tensor, share: float, classes: int, generator: torch.Generator) -> Tensor:
    """Return the labels with `round(share * examples)` of them replaced by another class, drawn uniformly.

    (Zhang et al. 2017, section 2, but the correct class is never drawn.)

    Args:
        labels: class numbers of shape (examples,), which are not changed.
        share: from 0 to 1.
        classes: the number of classes.
        generator: draws the examples and their classes.

    Raises:
        ValueError: there is no other class.
    """
    chosen = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    if len(chosen) and classes < 2:
        raise ValueError(f"share={share} needs a second class to replace labels with; use 0 or data of more classes")
    noisy = labels.clone()
    if len(chosen):
        noisy[chosen] = (labels[chosen] + torch.randint(1, classes, chosen.shape, generator=generator)) % classes
    return noisy
