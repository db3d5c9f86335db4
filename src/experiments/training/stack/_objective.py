"""The objective of a stack: each member's own loss and penalty, and limits on gradients and weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from experiments.penalties import Penalty
from experiments.training.criterion import Criterion, in_units, with_terms
from experiments.training.explicit import is_cross_entropy
from experiments.training.single import Single

from ._batches import selected
from ._weights import Weights

NORM_EPS, RENORM_EPS = 1e-6, 1e-7
"""The numbers that torch adds to a norm before dividing by it, in `clip_grad_norm_` and in `renorm`."""

NARROW = 16
"""The least number of adjacent numbers that torch computes a softmax of by vectors."""


class Objective:
    """The members' losses and penalties; each of their settings is one tensor.

    Args:
        programs: of one signature.
        weights: of the stack.
    """

    def __init__(self, programs: Sequence[Single], weights: Weights) -> None:
        self.weights, self.programs = weights, programs
        criteria = [program.criterion for program in programs]
        self.loss, self.numbers = shared(criteria, weights.flat)
        self.class_weights = class_weights(criteria)
        self.tasks = [criterion.task for criterion in criteria]
        self.units = units(criteria, weights.flat)
        self.terms_of = by_penalty(criteria, weights.flat, lambda penalty: penalty.adds)
        self.bounds_of = by_penalty(criteria, weights.flat, lambda penalty: penalty.bounds)
        self.plain = self.units is None and all(is_cross_entropy(criterion) for criterion in criteria)
        first = programs[0]
        self.penalized = [name for name, p in first.named.items() if any(p is weight for weight in first.weights)]
        names = {id(p): name for name, p in first.named.items()}
        self.in_order = [names[id(weight)] for weight in first.weights]
        self.own = {row: criterion.penalty for row, criterion in enumerate(criteria) if is_own(criterion.penalty)}
        self.clip_value = limits([program.updating.clip_value for program in programs], weights.flat)
        self.clip_norm = limits([program.updating.clip_norm for program in programs], weights.flat)

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the members' mean losses of a training batch, (members,)."""
        if self.plain and targets.ndim == 2:
            return each_cross_entropy(scores, targets).mean(1)

        def mean(own: Tensor, wanted: Tensor, numbers: Mapping[str, Tensor], weights: Tensor | None) -> Tensor:
            loss = partial(self.loss, **numbers)
            return Criterion(loss, class_weights=weights, task=self.tasks[0]).mean(own, wanted)

        dims = (0, 0, 0, None if self.class_weights is None else 0)
        return vmap(mean, in_dims=dims)(scores, targets, self.numbers, self.class_weights)

    def totals(self, scores: Tensor, targets: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the sums of the examples' losses in evaluation of the members in `rows`, (rows,)."""
        if self.plain and targets.ndim == 2:
            return each_cross_entropy(scores, targets).sum(1)
        numbers = {name: values[selected(rows)] for name, values in self.numbers.items()}
        return self._in_units(scores, targets, numbers, rows, "sum")

    def shown(self, losses: Tensor, scores: Tensor, targets: Tensor, share: float) -> Tensor:
        """Return the members' mean losses of a training batch in the user's units, (members,).

        Args:
            losses: as they are minimized, times `share`.
            scores, targets: of the batch or a part of it.
            share: of the part in the batch.
        """
        if self.units is None:
            return losses
        return self._in_units(scores, targets, self.numbers, range(len(self.tasks)), "mean") * share

    def _in_units(
        self, scores: Tensor, targets: Tensor, numbers: Mapping[str, Tensor], rows: Sequence[int], reduction: str
    ) -> Tensor:
        """Return the members' losses in the user's units."""

        def own(scores: Tensor, wanted: Tensor, numbers: Mapping[str, Tensor], units: Tensor | None) -> Tensor:
            unit, shift = (None, None) if units is None else units.unbind(0)
            loss = with_terms(partial(self.loss, **numbers), self.tasks[0])
            return in_units(loss, unit, shift)(scores, wanted, reduction=reduction)

        units = None if self.units is None else self.units[selected(rows)]
        return vmap(own, in_dims=(0, 0, 0, None if units is None else 0))(scores, targets, numbers, units)

    def score(self, scores: Tensor, targets: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Return the sums of the running metric of the examples of members, (rows,).

        Args:
            scores, targets: (rows, batch, ...).
            rows: of the members; None for all.
        """
        tasks = self.tasks if rows is None else [self.tasks[row] for row in rows]
        if self.units is None and not tasks[0].of_inputs:
            return tasks[0].score(scores, targets).sum(1)
        each = [task.score(*own).sum() for task, *own in zip(tasks, scores, targets, strict=True)]
        return torch.stack(each)

    def terms(self) -> Tensor | None:
        """Return the penalties' terms, (members,), 0 for a member without one; None if no member has one."""
        own = {row: penalty for row, penalty in self.own.items() if penalty.adds}
        if not (self.terms_of or own) or not self.penalized:
            return None
        terms = self.weights.flat.new_zeros(len(self.weights.flat))
        for kind, rows, numbers in self.terms_of:
            weights = [self.weights.leaves[name][rows] for name in self.penalized]
            terms = terms.index_add(0, rows, vmap(partial(term, kind))(numbers, weights))
        if not own:
            return terms
        each = list(terms)
        for row, penalty in own.items():
            each[row] = penalty.term([self.weights.leaves[name][row] for name in self.in_order]).to(terms.dtype)
        return torch.stack(each)

    def clip(self) -> None:
        """Clip the gradients, as torch's `clip_grad_value_` and `clip_grad_norm_` do."""
        gradient = self.weights.gradient
        if self.clip_value is not None:
            gradient.clamp_(-self.clip_value, self.clip_value)
        if self.clip_norm is not None:
            norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient.mul_((self.clip_norm / (norms + NORM_EPS)).clamp(max=1.0))

    @torch.no_grad()
    def bound(self) -> None:
        """Limit the weights' norms, as `penalties.MaxNorm` does, or as a penalty of the user does."""
        for row, penalty in self.own.items():
            if penalty.bounds:
                penalty.bound(self.programs[row].weights)
        for _kind, rows, numbers in self.bounds_of:
            for name in self.penalized:
                weight = self.weights.leaves[name].detach()
                own = weight[rows]
                norms = own.flatten(2).norm(dim=2)
                factor = torch.where(norms > numbers[:, None], numbers[:, None] / (norms + RENORM_EPS), 1.0)
                weight[rows] = own * factor.view(*factor.shape, *[1] * (own.ndim - 2))


def each_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each example of each member.

    Args:
        scores: (members, batch, classes).
        targets: (members, batch).
    """
    flat, wanted = scores.flatten(0, 1), targets.flatten()
    if is_narrow(scores):
        flat, wanted = as_pixels(flat), wanted.unsqueeze(0)
    return F.cross_entropy(flat, wanted, reduction="none").view(targets.shape)


def is_narrow(scores: Tensor) -> bool:
    """Whether the classes are so few that a CPU does not compute their softmax by vectors.

    Over examples it does, and takes a tenth of the time.
    """
    return scores.device.type == "cpu" and scores.shape[-1] < NARROW


def as_pixels(scores: Tensor) -> Tensor:
    """Return the scores of examples, (examples, classes), as those of the pixels of one picture."""
    return scores.t().unsqueeze(0)


def shared(criteria: Sequence[Criterion], like: Tensor) -> tuple[Callable[..., Tensor], dict[str, Tensor]]:
    """Return the loss without the settings that differ between the members, and these settings, (members,) each."""
    first = criteria[0].loss
    if not isinstance(first, partial):
        return first, {}
    given: list[dict[str, Any]] = [c.loss.keywords for c in criteria if isinstance(c.loss, partial)]
    differing = [name for name in first.keywords if any(own[name] != first.keywords[name] for own in given)]
    numbers = {name: like.new_tensor([own[name] for own in given]) for name in differing}
    return partial(first.func, **{k: v for k, v in first.keywords.items() if k not in differing}), numbers


def units(criteria: Sequence[Criterion], like: Tensor) -> Tensor | None:
    """Return the unit and shift of the members' targets, (members, 2, targets); None if targets are not scaled."""
    tasks = [criterion.task for criterion in criteria]
    found = [torch.stack([t.unit, t.shift]) for t in tasks if t.unit is not None and t.shift is not None]
    return torch.stack(found).to(like) if found else None


def class_weights(criteria: Sequence[Criterion]) -> Tensor | None:
    """Return the members' class weights, (members, classes); None if no member has any."""
    given = [criterion.class_weights for criterion in criteria]
    present = [weights for weights in given if weights is not None]
    if not present:
        return None
    return torch.stack([torch.ones_like(present[0]) if weights is None else weights for weights in given])


def is_own(penalty: Penalty) -> bool:
    """Whether a penalty is one of the user."""
    return type(penalty).__module__ != Penalty.__module__


def by_penalty(
    criteria: Sequence[Criterion], like: Tensor, wanted: Callable[[Penalty], bool]
) -> list[tuple[Callable[[Any], Penalty], Tensor, Tensor]]:
    """Return each kind of penalty of ours, the rows of the members that have it, and its setting for each of them."""
    found: dict[type[Penalty], dict[int, float]] = {}
    for row, criterion in enumerate(criteria):
        penalty = criterion.penalty
        if wanted(penalty) and not is_own(penalty):
            (number,) = (getattr(penalty, field.name) for field in fields(penalty))  # type: ignore[arg-type]
            found.setdefault(type(penalty), {})[row] = number
    return [
        (kind, torch.tensor(list(rows), device=like.device), like.new_tensor(list(rows.values())))
        for kind, rows in found.items()
    ]


def term(kind: Callable[[Any], Penalty], number: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Return a penalty's term, a scalar."""
    return kind(number).term(weights)


def limits(values: Sequence[float | None], like: Tensor) -> Tensor | None:
    """Return limits, (members, 1), infinite for a member without one; None if no member has one."""
    if all(value is None for value in values):
        return None
    return like.new_tensor([[float("inf") if value is None else value] for value in values])
