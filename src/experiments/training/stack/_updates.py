"""Updating the weights of a stack: each optimizer's rule on its rows."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.optimizers.fused import KERNELS
from experiments.training.single import Single

from ._weights import Weights
from .rules import Rule, Slice, hyperparameter


class Part:
    """Members next to each other that have the same rule.

    Args:
        rule: how they are updated.
        programs: the members.
        rows: theirs in the stack.
        weights: of the whole stack.
    """

    def __init__(self, rule: Rule, programs: Sequence[Single], rows: slice, weights: Weights) -> None:
        self.rule, self.programs, self.rows, self.weights = rule, programs, rows, weights
        self.hyper = {
            name: weights.by_parameter([self._spread(p, self._hyper(p, name)) for p in programs]) for name in rule.hyper
        }
        self.shares = weights.by_parameter([self._spread(p, p.shares) for p in programs])
        self.gather()

    def _hyper(self, program: Single, name: str) -> list[float]:
        """Return a hyperparameter of each group of a program's parameters."""
        return [hyperparameter(group, name) for group in groups(program)]

    def _spread(self, program: Single, values: Sequence[float]) -> list[float]:
        """Return for each trained parameter the value of its group."""
        owner = {id(p): value for group, value in zip(groups(program), values, strict=True) for p in group["params"]}
        return [owner[id(program.named[column.name])] for column in self.weights.columns]

    def gather(self) -> None:
        """Take over the states of the members' optimizers; a new optimizer gets its first state."""
        updates = [self._updates(program) for program in self.programs]
        self.t = max(updates)
        self.counts = self.weights.flat.new_tensor(updates).unsqueeze(1)
        self.state = {name: torch.stack([self._slot(p, name) for p in self.programs]) for name in self.rule.slots}
        self.state |= {name: self._scalars(name, start) for name, start in self.rule.scalars.items()}

    def _had(self, program: Single, name: str) -> list[Tensor | None]:
        """Return a state of each trained parameter, None if its optimizer has none yet."""
        state = self._states(program)
        return [state.get(program.named[c.name], {}).get(name) for c in self.weights.columns]

    def _states(self, program: Single) -> Mapping[Tensor, Any]:
        """Return the state of each parameter in a program's optimizer."""
        return program.optimizer.state

    def _updates(self, program: Single) -> int:
        """Return how many updates a member has had; if torch does not count them, 1 for any."""
        if self.rule.counted:
            return max(int(step) if step is not None else 0 for step in self._had(program, "step"))
        return max((int(had is not None) for name in self.rule.slots for had in self._had(program, name)), default=0)

    def _slot(self, program: Single, name: str) -> Tensor:
        key = self.rule.slots[name]
        start = 0.0 if key is None else hyperparameter(groups(program)[0], key)
        parts = [
            torch.full(c.shape, start).to(self.weights.flat).flatten() if had is None else had.detach().flatten()
            for c, had in zip(self.weights.columns, self._had(program, name), strict=True)
        ]
        return torch.cat(parts)

    def _scalars(self, name: str, start: float) -> Tensor:
        had = [[start if own is None else float(own) for own in self._had(p, name)] for p in self.programs]
        width = self.shares.shape[1]
        numbers = self.weights.by_parameter(had)
        return numbers.expand(-1, max(width, numbers.shape[1])).clone()

    def update(self, lr: Tensor, rates: Sequence[float], skipped: Tensor | None = None) -> None:
        """Update the weights once.

        Args:
            lr: (members of the stack, 1), the scheduled rates.
            rates: the same as numbers.
            skipped: (members of the stack,), whether a member's update is skipped and does not count; None for none.
        """
        self.t += 1
        if skipped is None:
            self._update(lr, rates, self.t)
            return
        own = skipped[self.rows].unsqueeze(1)
        changed = [self.weights.flat[self.rows], *self.state.values(), self.counts]
        before = [tensor.clone() for tensor in changed]
        self.counts += 1
        self._update(lr, rates, self.counts if self.rule.counted else self.t)
        for tensor, old in zip(changed, before, strict=True):
            tensor.copy_(torch.where(own, old, tensor))

    def _update(self, lr: Tensor, _rates: Sequence[float], t: int | Tensor) -> None:
        rows = self.rows
        rates = lr[rows] * self.shares
        self.rule.update(Slice(self.weights.flat[rows], self.weights.gradient[rows], self.state, self.hyper, rates, t))

    def give_back(self, program: Single) -> None:
        """Give a member's own optimizer its state, as views."""
        if self.t == 0 and not self.rule.eager:
            return
        row = self.programs.index(program)
        steps = float(self.t if program.scaler is None else self.counts[row])
        for c in self.weights.columns:
            own: dict[str, Any] = {"step": torch.tensor(steps)} if self.rule.counted else {}
            own |= {name: self._number(name, row, c.span).clone() for name in self.rule.scalars}  # for each parameter
            own |= {name: self.state[name][row, c.span].view(c.shape) for name in self.rule.slots}
            program.optimizer.state[program.named[c.name]] = own

    def _number(self, name: str, row: int, span: slice) -> Tensor:
        """Return a state of one number per parameter."""
        numbers = self.state[name][row]
        return numbers[span.start if len(numbers) > 1 else 0]


class Cell(NamedTuple):
    """A part of a row whose weights have the same settings."""

    rows: slice
    span: slice
    settings: dict[str, Any]
    share: float
    alike: Hashable
    """equal in cells that one call can update if their rates are equal too"""


class Call(NamedTuple):
    """One call of a kernel: the number of its first cell, and the tensors that it changes and reads."""

    cell: int
    weights: list[Tensor]
    gradients: list[Tensor]
    states: dict[str, list[Tensor]]


class FusedPart(Part):
    """Members on a CPU whose rule is a fused kernel of torch: one pass over the weights, as in the lone runs.

    Weights with the same settings and rate are updated by one call. See `Part`.
    """

    def gather(self) -> None:
        """See `Part.gather`."""
        super().gather()
        self.kernel = KERNELS[type(self.programs[0].optimizer)]
        self.cells = [cell for row, program in enumerate(self.programs) for cell in self._cells(row, program)]
        self.alike = numbered([cell.alike for cell in self.cells])
        self.rates: list[float] = []
        self.cell_rates: list[float] = []
        self.pattern: list[int] = []
        self.calls: list[Call] = []

    def _cells(self, row: int, program: Single) -> Iterator[Cell]:
        own = groups(program)
        keys = [
            (share, *(hyperparameter(group, name) for name in self.rule.hyper))
            for group, share in zip(own, program.shares, strict=True)
        ]
        owners = [int(number) for number in self._spread(program, range(len(own)))]
        columns = list(zip(self.weights.columns, owners, strict=True))
        for key, group in groupby(columns, lambda column: keys[column[1]]):
            (first, number), *_, (last, _) = [*(found := list(group)), found[-1]]
            settings = {**own[number], "params": []}
            yield Cell(slice(row, row + 1), slice(first.span.start, last.span.stop), settings, key[0], key)

    def _update(self, lr: Tensor, rates: Sequence[float], t: int | Tensor) -> None:
        if self.t == 1:  # in which a momentum starts
            super()._update(lr, rates, t)
            return
        if (own := list(rates[self.rows])) != self.rates:
            self.rates, self.cell_rates = own, [own[cell.rows.start] * cell.share for cell in self.cells]
            pattern = numbered(list(zip(self.alike, self.cell_rates, strict=True)))
            if pattern != self.pattern:
                self.pattern, self.calls = pattern, self._calls(pattern)
        count = torch.tensor(float(t))
        for call in self.calls:
            states = {**call.states, "step": [count] * len(call.weights)}
            settings = {**self.cells[call.cell].settings, "lr": self.cell_rates[call.cell]}
            self.kernel(settings, call.weights, call.gradients, states)

    def _calls(self, pattern: Sequence[int]) -> list[Call]:
        """Return the call for each number: whole rows next to each other are one tensor."""
        numbers: dict[int, list[int]] = {}
        for cell, number in enumerate(pattern):
            numbers.setdefault(number, []).append(cell)
        whole = slice(0, self.weights.flat.shape[1])
        found = []
        for cells in numbers.values():
            blocks: list[tuple[slice, slice]] = []
            for rows, span, *_ in (self.cells[cell] for cell in cells):
                if blocks and span == whole == blocks[-1][1] and blocks[-1][0].stop == rows.start:
                    blocks[-1] = slice(blocks[-1][0].start, rows.stop), whole
                else:
                    blocks.append((rows, span))
            matrices = self.weights.flat[self.rows], self.weights.gradient[self.rows]
            weights, gradients = ([matrix[block] for block in blocks] for matrix in matrices)
            states = {name: [state[block] for block in blocks] for name, state in self.state.items()}
            found.append(Call(cells[0], weights, gradients, states))
        return found


def numbered(values: Sequence[Hashable]) -> list[int]:
    """Return for each value the number of the distinct value, counted from 0 in their order."""
    known: dict[Hashable, int] = {}
    return [known.setdefault(value, len(known)) for value in values]


def groups(program: Single) -> list[dict[str, Any]]:
    """Return a member's groups of parameters."""
    return program.optimizer.param_groups
