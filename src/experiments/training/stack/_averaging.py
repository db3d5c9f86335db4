"""Averages of the members' weights: exponential ones by one operation for all members."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from experiments.training.single import Single
from experiments.training.transfer import to_device

from ._weights import Weights


class Averages:
    """The averages of those members that have one; each member's own average still shows its numbers.

    Args:
        programs: the members.
        weights: of the stack.
    """

    def __init__(self, programs: Sequence[Single], weights: Weights) -> None:
        self.programs, self.weights = programs, weights
        found = [(row, p.average) for row, p in enumerate(programs) if p.average is not None]
        for row, average in found:
            average.follow(programs[row].model)
        found = [(row, average) for row, average in found if average.decay is not None]
        self.averages = [average for _, average in found]
        rows = [row for row, _ in found]
        whole = rows == list(range(len(programs)))
        device = weights.flat.device
        self.rows = slice(None) if whole else to_device(torch.tensor(rows, dtype=torch.int64), device)
        self.shares: list[float] = []
        if found:
            self._gather()

    def _gather(self) -> None:
        """Stack the averages, and turn those of the members into views of the rows."""
        named = [dict(average.module.named_parameters()) for average in self.averages]
        self.flat = torch.stack([torch.cat([own[c.name].flatten() for c in self.weights.columns]) for own in named])
        buffers = [dict(average.module.named_buffers()) for average in self.averages]
        self.buffers = {name: torch.stack([own[name] for own in buffers]) for name in self.weights.buffers}
        for row, (average, own) in enumerate(zip(self.averages, named, strict=True)):
            for column in self.weights.columns:
                own[column.name].data = self.flat[row, column.span].view(column.shape)
            for name, stacked in self.buffers.items():
                owner, _, short = name.rpartition(".")
                average.module.get_submodule(owner)._buffers[short] = stacked[row]

    @torch.no_grad()
    def update(self) -> None:
        """Add the present weights to the exponential averages."""
        if not self.averages:
            return
        shares = [average.share for average in self.averages]
        if shares != self.shares:
            self.shares = shares
            self.column = to_device(torch.tensor(shares, dtype=self.flat.dtype), self.flat.device).unsqueeze(1)
        self.flat.lerp_(self.weights.flat[self.rows], self.column)
        for name, own in self.buffers.items():
            theirs = self.weights.buffers[name][self.rows]
            if own.is_floating_point():
                own.lerp_(theirs, self.column.to(own.dtype).view(-1, *(1,) * (own.ndim - 1)))
            else:
                own.copy_(theirs)
        for average in self.averages:
            average.count += 1

    def of(self, rows: Sequence[int]) -> Mapping[str, Tensor]:
        """Return the weights and buffers of the models that are evaluated, by name, with a row per member in `rows`."""
        chosen = [self.programs[row] for row in rows]
        if all(program.evaluated is program.model for program in chosen):
            return self.weights.of(rows)
        own = [{**dict(p.evaluated.named_parameters()), **dict(p.evaluated.named_buffers())} for p in chosen]
        return {name: torch.stack([tensors[name].detach() for tensors in own]) for name in own[0]}
