"""The weights of many models in one matrix."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.training.single import Single


class Slot(NamedTuple):
    """The columns of a trained parameter in the matrix."""

    name: str
    shape: torch.Size
    span: slice


class Weights:
    """A matrix with the members' trained parameters as rows; the parameters of their models become views of it.

    So each model still shows its own weights, gradients and buffers.

    Args:
        programs: of one signature.
    """

    def __init__(self, programs: Sequence[Single]) -> None:
        self.columns = list(columns(programs[0]))
        rows = [torch.cat([p.named[c.name].detach().flatten() for c in self.columns]) for p in programs]
        self.flat = torch.stack(rows)
        self.gradient = torch.zeros_like(self.flat)
        self.leaves = {
            c.name: self.flat[:, c.span].view(len(programs), *c.shape).requires_grad_() for c in self.columns
        }
        names = programs[0].named
        self.frozen = {n: torch.stack([p.named[n].detach() for p in programs]) for n in names if n not in self.leaves}
        buffers = [dict(program.model.named_buffers()) for program in programs]
        self.buffers = {name: torch.stack([own[name] for own in buffers]) for name in buffers[0]}
        for row, program in enumerate(programs):
            self._lend(program, row)

    def _lend(self, program: Single, row: int) -> None:
        """Turn a model's parameters, gradients and buffers into views of a row."""
        for c in self.columns:
            program.named[c.name].data = self.flat[row, c.span].view(c.shape)
            program.named[c.name].grad = self.gradient[row, c.span].view(c.shape)
        for name, stacked in self.frozen.items():
            program.named[name].data = stacked[row]
        for name, stacked in self.buffers.items():
            owner, _, own = name.rpartition(".")
            program.model.get_submodule(owner)._buffers[own] = stacked[row]

    def all(self) -> dict[str, Tensor]:
        """Return all parameters and buffers by name, with a row per member."""
        return {**self.leaves, **self.frozen, **self.buffers}

    def of(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the same for some rows."""
        if len(rows) == len(self.flat):
            return self.all()
        chosen = torch.tensor(rows, device=self.flat.device)
        return {name: tensor.detach().index_select(0, chosen) for name, tensor in self.all().items()}

    def by_parameter(self, values: Sequence[Sequence[float]]) -> Tensor:
        """Return numbers as columns that broadcast against the matrix.

        Args:
            values: of each member, one for each trained parameter.

        Returns:
            (members, 1), or (members, weights) if they differ within a member.
        """
        if all(len(set(own)) == 1 for own in values):
            return self.flat.new_tensor([[own[0]] for own in values])
        sizes = torch.tensor([c.shape.numel() for c in self.columns], device=self.flat.device)
        return self.flat.new_tensor([list(own) for own in values]).repeat_interleave(sizes, dim=1)


def columns(program: Single) -> Iterator[Slot]:
    """Yield the columns of each trained parameter."""
    start = 0
    for name, parameter in program.named.items():
        if parameter.requires_grad:
            yield Slot(name, parameter.shape, slice(start, start + parameter.numel()))
            start += parameter.numel()
