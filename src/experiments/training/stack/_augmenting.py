"""Augmentation of the members' batches: of all at once, if they have the same augmentations."""

from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.data.augment import Augmentation, Drawn
from experiments.training.single import Single


class Augmenting:
    """Changes the training batches of a stack as each member's own program would.

    Args:
        programs: the members.
    """

    def __init__(self, programs: Sequence[Single]) -> None:
        self.programs = programs
        first = list(programs[0].augments)
        same = all(list(program.augments) == first for program in programs)
        self.shared: list[Drawn] | None = alike(first) if same else None

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs of shape (members, batch, ...) and their targets as the present update sees them."""
        if self.shared is None:
            pairs = [p.augmented(*own) for p, *own in zip(self.programs, x, targets, strict=True)]
            return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])
        for number, augment in enumerate(self.shared):
            x, targets = augment.together(x, targets, [p.noise.generator(f"augment/{number}") for p in self.programs])
        return x, targets


def alike(augments: Sequence[Augmentation]) -> list[Drawn] | None:
    """Return augmentations if all of them can change the batches of several runs at once."""
    found = [augment for augment in augments if isinstance(augment, Drawn)]
    return found if len(found) == len(augments) else None
