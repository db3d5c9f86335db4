"""Muon with AdamW for the weights of a stack: the matrices of all members are orthogonalized at once."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.optimizers import Muon
from experiments.training.single import Single

from ._updates import Part
from ._weights import Slot
from .rules import Slice, adamw, hyperparameter


class MuonPart(Part):
    """Members that are updated by `optimizers.Muon`; see `Part`.

    AdamW updates copies of the other columns; Muon updates each matrix of all members.
    """

    def _hyper(self, program: Single, name: str) -> list[float]:
        """See `Part`: those of one of the two optimizers are given for all groups, so that they are one number."""
        if name == "weight_decay":
            return super()._hyper(program, name)
        groups = program.optimizer.param_groups
        own = [group for group in groups if ("betas" in group) != (name == "momentum")]
        return [hyperparameter(own[0], name) if own else 0.0] * len(groups)

    def gather(self) -> None:
        """See `Part.gather`."""
        super().gather()
        groups = [group for group in self.programs[0].optimizer.param_groups if "betas" not in group]
        names = {id(p): name for name, p in self.programs[0].named.items()}
        own = {names[id(p)] for group in groups for p in group["params"]}
        self.matrices = [column for column in self.weights.columns if column.name in own]
        spans = [torch.arange(c.span.start, c.span.stop) for c in self.weights.columns if c.name not in own]
        self.others = torch.cat([torch.arange(0), *spans]).to(self.weights.flat.device)
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for row, program in enumerate(self.programs):
            for group in program.optimizer.param_groups:
                if "betas" not in group:
                    kind = group["nesterov"], group["ns_steps"], tuple(group["ns_coefficients"]), group["eps"]
                    kinds.setdefault(kind, []).append(row)
                    break
        self.kinds = {kind: torch.tensor(rows, device=self.weights.flat.device) for kind, rows in kinds.items()}

    def _states(self, program: Single) -> dict[Tensor, Any]:
        """See `Part`."""
        assert isinstance(program.optimizer, Muon)
        return {p: state for part in program.optimizer.parts for p, state in part.state.items()}

    def _update(self, lr: Tensor, _rates: Sequence[float], t: int | Tensor) -> None:
        rates = lr[self.rows] * self.shares
        p, g = self.weights.flat[self.rows], self.weights.gradient[self.rows]
        if len(self.others):
            self._update_others(p, g, rates, t)
        for column in self.matrices:
            self._update_matrix(column, rates, p, g)

    def _update_others(self, p: Tensor, g: Tensor, rates: Tensor, t: int | Tensor) -> None:
        """Update everything but the matrices by AdamW."""

        def own(numbers: Tensor) -> Tensor:
            return numbers[:, self.others] if numbers.shape[1] > 1 else numbers

        weights, state = own(p), {name: own(values) for name, values in self.state.items()}
        adamw(Slice(weights, own(g), state, {k: own(numbers) for k, numbers in self.hyper.items()}, own(rates), t))
        p[:, self.others] = weights
        for name in ("exp_avg", "exp_avg_sq"):
            self.state[name][:, self.others] = state[name]

    def _update_matrix(self, column: Slot, rates: Tensor, p: Tensor, g: Tensor) -> None:
        """Update one matrix of all members, as `torch.optim.Muon` does."""
        shape = len(p), *column.shape
        weight, gradient, buffer = (m[:, column.span].view(shape) for m in (p, g, self.state["momentum_buffer"]))
        momentum = self.hyper["momentum"].unsqueeze(2)
        buffer.lerp_(gradient, 1 - momentum)
        direction = torch.empty_like(weight)
        for (nesterov, steps, coefficients, eps), rows in self.kinds.items():
            moved = gradient[rows].lerp(buffer[rows], momentum[rows]) if nesterov else buffer[rows]
            direction[rows] = orthogonalized(moved, steps, coefficients, eps).to(weight.dtype)
        rate, decay = (
            (numbers[:, column.span.start : column.span.start + 1] if numbers.shape[1] > 1 else numbers).unsqueeze(2)
            for numbers in (rates, self.hyper["weight_decay"])
        )
        weight.mul_(1 - rate * decay)
        weight.addcmul_(direction, rate * (0.2 * math.sqrt(max(column.shape))), value=-1)

    def give_back(self, program: Single) -> None:
        """See `Part.give_back`."""
        if self.t == 0:
            return
        assert isinstance(program.optimizer, Muon)
        row, named = self.programs.index(program), {column.name for column in self.matrices}
        steps = float(self.t if program.scaler is None else self.counts[row])
        owner = {p: part for part in program.optimizer.parts for group in part.param_groups for p in group["params"]}
        for column in self.weights.columns:
            slots = ("momentum_buffer",) if column.name in named else ("exp_avg", "exp_avg_sq")
            own: dict[str, Any] = {} if column.name in named else {"step": torch.tensor(steps)}
            own |= {name: self.state[name][row, column.span].view(column.shape) for name in slots}
            parameter = program.named[column.name]
            owner[parameter].state[parameter] = own


def orthogonalized(matrices: Tensor, steps: int, coefficients: tuple[float, float, float], eps: float) -> Tensor:
    """Return the nearest orthogonal matrices, roughly, by Newton-Schulz iterations in bf16, as torch's Muon does.

    Args:
        matrices: (runs, rows, columns).
        steps: the number of iterations.
        coefficients: of the polynomial of degree 5.
        eps: the smallest norm to divide by.
    """
    a, b, c = coefficients
    wide = matrices.to(torch.bfloat16)
    tall = wide.shape[1] > wide.shape[2]
    wide = wide.transpose(1, 2) if tall else wide
    wide = wide / torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.transpose(1, 2)
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.transpose(1, 2) if tall else wide
