"""The program of K runs of one architecture: one forward and backward pass for all, then each optimizer's rule."""

import math
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.common.metrics import TRAIN_EVAL
from experiments.models.layers import describe
from experiments.training.device import tolerance
from experiments.training.program import Capture, Look, LookAtUpdate, Measurements
from experiments.training.separate import OwnPrograms
from experiments.training.single import Single, part_sizes
from experiments.training.streams import undrawn
from experiments.training.transfer import to_device, to_host

from ._augmenting import Augmenting
from ._averaging import Averages
from ._batches import Batches
from ._forward import Forward, called
from ._inspection import StackInspector
from ._objective import Objective
from ._parts import parts
from ._scaling import Scales
from ._updates import Part
from ._weights import Weights

EVALUATED_BYTES = 2**27
"""Bytes of inputs and activations of a pass in evaluation; if all members need more, they take turns."""

TOLERANCE = 1e-3
"""The relative difference by rounding that is allowed between a model's scores in a stack and its own."""


class Stack(OwnPrograms):
    """K runs at once, each of which agrees with the same run trained separately, up to rounding.

    Args:
        programs: of one signature, and without a reason to be trained separately; the stack owns them from here on.
            Those with the same rule should be next to each other.
        generators: the state of torch's global generators after each was built.

    Raises:
        ValueError: they cannot be one program, with the reason.
    """

    note = ""
    inspects = StackInspector
    checkpoint_seconds = 3.0  # writing those of all members takes as long as a short epoch

    def __init__(self, programs: Sequence[Single], generators: Sequence[dict[str, Any]]) -> None:
        super().__init__(programs)
        self.generators = list(generators)
        first = self.programs[0]
        self.device, self.index_device = first.device, first.index_device
        self.running, self.score_type = first.running, first.score_type
        self.eval_batch_size, self.micro_batch = first.eval_batch_size, first.updating.micro_batch
        layers, _ = describe(first.model, first.splits["train"].first(1)[0])
        values = math.prod(first.splits["train"].x.shape[1:]) + sum(math.prod(layer.output_shape) for layer in layers)
        self.evaluated_at_once = max(1, EVALUATED_BYTES // (4 * values * self.eval_batch_size))
        self._gather(range(self.members))
        with warnings.catch_warnings(action="ignore"):
            self._check()
            self._try()

    def _gather(self, active: Sequence[int]) -> None:
        """Stack these members."""
        self.active = list(active)
        programs = [self.programs[k] for k in self.active]
        self.weights = Weights(programs)
        self.parts: list[Part] = parts(programs, self.weights)
        self.forward = Forward(programs)
        self.objective = Objective(programs, self.weights)
        self.scales = Scales(programs, self.weights.flat) if programs[0].scaler is not None else None
        self.inspector = self.inspects(programs, self.forward.evaluating, self.weights, self.objective)
        self.batches = {name: Batches([p.splits[name] for p in programs]) for name in programs[0].splits}
        self.augmenting = Augmenting(programs)
        self.averages = Averages(programs, self.weights)
        self.rates: Sequence[float] = [0.0] * len(programs)
        self.lr = self._column(self.rates)

    @torch.no_grad()
    def _check(self) -> None:
        """Compare both modes on two examples each with the members' own models."""
        first = [program.splits["train"].first(2) for program in self.programs]
        x, y = torch.stack([x for x, _ in first]), torch.stack([y for _, y in first])
        buffers = {name: tensor.clone() for name, tensor in self.weights.buffers.items()}
        masks = {f"{name}.mask": x.new_ones(self.members, len(x[0]), *s) for name, s in self.forward.masks.items()}
        try:
            with undrawn(self.device):
                trained = called(self.forward.model, {**self.weights.all(), **buffers, **masks}, x)
                evaluated = called(self.forward.evaluating, self.weights.all(), x)
                own = torch.stack([p.inspector.as_in_training(x[k]) for k, p in enumerate(self.programs)])
                alone = torch.stack([p.in_evaluation(x[k]) for k, p in enumerate(self.programs)])
                losses = self.objective.losses(own, y)
                wanted = torch.stack([p.criterion.mean(own[k], y[k]) for k, p in enumerate(self.programs)])
        except Exception as error:  # a user's model may do anything that vmap does not support
            raise ValueError(f"the model cannot be called for many runs at once ({str(error)[:120]})") from error
        allowed = tolerance(TOLERANCE, self.device)
        for one, other in ((trained, own), (evaluated, alone), (losses, wanted)):
            size = float(other.abs().max())
            if not torch.allclose(one, other, rtol=allowed, atol=allowed * size, equal_nan=True):
                raise ValueError("the model gives different results when it is called for many runs at once")

    def _try(self) -> None:
        """Try a backward pass and a capture, and restore everything afterwards."""
        first = [program.splits["train"].first(2) for program in self.programs]
        x, y = torch.stack([x for x, _ in first]), torch.stack([y for _, y in first])
        masks = {f"{name}.mask": x.new_ones(self.members, len(x[0]), *s) for name, s in self.forward.masks.items()}
        before = {name: buffer.clone() for name, buffer in self.weights.buffers.items()}
        try:
            with undrawn(self.device):
                self._backward(x, y, masks)
                if self.inspector.shapes is not None:
                    self.inspector.all(brief=False)
        except Exception as error:  # as above; also if a parameter takes no part in the loss
            raise ValueError(f"the model cannot be trained for many runs at once ({str(error)[:120]})") from error
        finally:
            self.weights.gradient.zero_()
            self.inspector.forget()
            for name, buffer in before.items():
                self.weights.buffers[name].copy_(buffer)

    def step(self, index: Tensor, rates: Sequence[float]) -> Measurements:
        """See `Program.step`."""
        self.inspector.forget()
        x, targets = self.augmenting(*self.batches["train"].batch(index))
        update = self.programs[self.active[0]].noise.update
        measured = self._backward(x, targets, self.forward.drawn(update, x.shape[1], self.weights.gradient.dtype))
        skipped = None if self.scales is None else self.scales.unscale(self.weights.gradient)
        self.objective.clip()
        if rates != self.rates:
            self.rates, self.lr = rates, self._column(rates)
        with torch.no_grad():
            for part in self.parts:
                part.update(self.lr, self.rates, skipped)
        self.objective.bound()
        self.averages.update()
        for k in self.active:
            self.programs[k].noise.update += 1
        return measured

    def _column(self, numbers: Sequence[float]) -> Tensor:
        """Copy a number for each member to the device, without waiting for it."""
        return to_device(torch.tensor(numbers, dtype=self.weights.flat.dtype).unsqueeze(1), self.device)

    def _backward(self, x: Tensor, targets: Tensor, masks: Mapping[str, Tensor]) -> Measurements:
        """Store the members' gradients in the matrix, by one backward pass of the summed losses."""
        terms = self.objective.terms()
        sizes = part_sizes(x.shape[1], self.micro_batch or x.shape[1])
        loss, score = torch.zeros((), device=self.device), torch.zeros((), dtype=self.score_type, device=self.device)
        start = 0
        for size in sizes:
            part = slice(start, start + size)
            start += size
            own = {name: mask[:, part] for name, mask in masks.items()} if len(sizes) > 1 else masks
            scores = self.forward.train({**self.weights.all(), **own}, x[:, part] if len(sizes) > 1 else x)
            wanted = targets[:, part] if len(sizes) > 1 else targets
            losses = self.objective.losses(scores, wanted) * (size / x.shape[1])
            whole = losses if terms is None or start > size else losses + terms
            whole = whole if self.scales is None else whole * self.scales.scale
            self._store(torch.autograd.grad(whole.sum(), list(self.weights.leaves.values())), add=start > size)
            loss = loss + self.objective.shown(losses.detach(), scores.detach(), wanted, size / x.shape[1])
            score = score + self.objective.score(scores.detach(), wanted)
        return Measurements(loss, score, None if terms is None else terms.detach())

    def _store(self, gradients: Sequence[Tensor], *, add: bool) -> None:
        """Copy or add gradients to the matrix."""
        rows = [gradient.reshape(len(self.active), -1) for gradient in gradients]
        if add:
            self.weights.gradient.add_(torch.cat(rows, 1))
        else:
            torch.cat(rows, 1, out=self.weights.gradient)

    def begin_epoch(self, epoch: int) -> None:
        """See `Program.begin_epoch`: no layer thaws."""

    def end_epoch(self, epoch: int) -> None:
        """See `Program.end_epoch`."""
        for k in self.active:
            self.programs[k].end_epoch(epoch)

    def keep(self, members: Sequence[int]) -> None:
        """See `Program.keep`."""
        for k in members:
            self._give_back(k)
        updates, rows = self.inspector.updates, [self.active.index(k) for k in members]
        self._gather(members)
        updates.keep(rows)
        self.inspector.updates = updates

    def _give_back(self, member: int) -> None:
        """Give a member's own optimizer its state and its last rates."""
        row, program = self.active.index(member), self.programs[member]
        part = next(part for part in self.parts if part.rows.start <= row < part.rows.stop)
        part.give_back(program)
        if self.scales is not None:
            self.scales.give_back(row, program)
        if part.t:
            for group, share in zip(program.optimizer.param_groups, program.shares, strict=True):
                group["lr"] = self.rates[row] * share

    @torch.no_grad()
    def evaluate(self, split: str, members: Sequence[int]) -> list[dict[str, float]]:
        """See `Program.evaluate`. One member's final scores are measured by its own model, for the same bits."""
        if len(members) == 1 and split in ("test", TRAIN_EVAL):
            return self.programs[members[0]].evaluate(split)
        results: list[dict[str, float]] = []
        for start in range(0, len(members), self.evaluated_at_once):
            rows = [self.active.index(k) for k in members[start : start + self.evaluated_at_once]]
            results += self._evaluate(self.batches[split], rows)
        return results

    def _evaluate(self, batches: Batches, rows: Sequence[int]) -> list[dict[str, float]]:
        weights, count = self.averages.of(rows), len(batches)
        loss = torch.zeros(len(rows), dtype=torch.float64, device=self.device)
        score = torch.zeros(len(rows), dtype=self.score_type, device=self.device)
        counts_only = self.programs[0].criterion.counts_only
        kept: list[tuple[Tensor, Tensor]] = []
        for start in range(0, count, self.eval_batch_size):
            index = torch.arange(start, min(start + self.eval_batch_size, count), device=self.index_device)
            x, y = batches.batch(index.expand(len(rows), -1), rows)
            scores = self._evaluated(weights, x)
            loss += self.objective.totals(scores, y, rows)
            if counts_only:
                score += self.objective.score(scores, y, rows)
            else:
                kept.append((scores, y))
        if counts_only:
            losses, shares = (sums.tolist() for sums in to_host(loss / count, score.double() / count))
            return [{"loss": loss, self.running: share} for loss, share in zip(losses, shares, strict=True)]
        means, scores, targets = to_host(loss / count, *(torch.cat(parts, 1) for parts in zip(*kept, strict=True)))
        members = [self.programs[self.active[row]].criterion for row in rows]
        measured = [own.measured(*both) for own, *both in zip(members, scores, targets, strict=True)]
        return [{"loss": loss, **metrics} for loss, metrics in zip(means.tolist(), measured, strict=True)]

    def _evaluated(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return the members' scores in evaluation mode."""
        return self.forward.evaluate(weights, x)

    def capture(self, member: int, *, brief: bool = False) -> Capture:
        """See `Program.capture`."""
        return self.inspector.capture(self.active.index(member), brief=brief)

    def look(self, member: int, key: Any, measure: Look, *, brief: bool = False) -> tuple[Sequence[Any], Tensor]:
        """See `Program.look`."""
        return self.inspector.look(self.active.index(member), key, measure, brief=brief)

    def watch(self, step: int) -> None:
        """See `Program.watch`."""
        self.inspector.watch(step)

    def look_at_update(
        self, member: int, step: int, key: Any, measure: LookAtUpdate
    ) -> tuple[Sequence[Any], Tensor] | None:
        """See `Program.look_at_update`."""
        return self.inspector.look_at_update(self.active.index(member), step, key, measure)

    def state_dict(self, member: int) -> dict[str, Any]:
        """See `Program.state_dict`: it is that of the same run trained separately."""
        self._give_back(member)
        return owned(super().state_dict(member)) | {"stacked": True}

    def load_state_dict(self, member: int, state: Mapping[str, Any]) -> None:
        """See `Program.load_state_dict`."""
        super().load_state_dict(member, state)
        self.inspector.forget()
        for part in self.parts:
            part.gather()
        if self.scales is not None:
            self.scales = Scales([self.programs[k] for k in self.active], self.weights.flat)

    def load_model(self, member: int, state: Mapping[str, Any]) -> None:
        """See `Program.load_model`."""
        super().load_model(member, state)
        self.inspector.forget()

    def generator(self, member: int) -> dict[str, Any]:
        """See `Program.generator`: no member of a stack draws from them."""
        return self.generators[member]


def owned(state: Any) -> Any:
    """Return a state whose tensors are not views of a stack: those of a row share one copy of the row.

    A view would be saved with its whole stack, and many small copies take long to write.
    """
    rows: dict[tuple[int, int], Tensor] = {}

    def own(value: Any) -> Any:
        if isinstance(value, dict):
            return (OrderedDict if isinstance(value, OrderedDict) else dict)((k, own(v)) for k, v in value.items())
        if isinstance(value, list | tuple):
            return type(value)(map(own, value))
        if not isinstance(value, Tensor):
            return value
        base = value._base
        if base is None or base.ndim != 2 or value.storage_offset() // base.stride(0) >= len(base):
            return value.detach().clone()
        row, start = divmod(int(value.storage_offset()), int(base.stride(0)))
        key = (base.data_ptr(), row)
        if key not in rows:
            rows[key] = base.detach()[row].clone()
        return rows[key][start : start + value.numel()].view(value.shape)

    return own(state)
