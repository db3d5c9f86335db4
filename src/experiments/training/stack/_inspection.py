"""Looking inside all members of a stack in one pass."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from experiments.training.freezing import frozen_norms
from experiments.training.inspection import Recorder, Updates
from experiments.training.program import BRIEF_SIZE, PROBE_SIZE, Capture, Look, LookAtUpdate
from experiments.training.single import Single

from ._objective import Objective
from ._weights import Weights


class StackInspector:
    """Looks inside the members of a stack on their probes, in one pass.

    What hooks store under `vmap` cannot be read afterwards. So activations are returned from it, and their signals are
    the gradients with respect to zeros that are added to them.

    Args:
        programs: of one signature.
        model: is called with every member's weights.
        weights, objective: those of the stack.
    """

    def __init__(self, programs: Sequence[Single], model: nn.Module, weights: Weights, objective: Objective) -> None:
        self.programs, self.weights, self.objective = programs, weights, objective
        self.model = deepcopy(model).eval()
        self.recorder = Recorder(self.model)
        probes = [program.splits["train"].first(PROBE_SIZE) for program in programs]
        self.x, self.y = torch.stack([x for x, _ in probes]), torch.stack([y for _, y in probes])
        frozen = frozen_norms(self.model)
        for name, norm in self.recorder.norms.items():
            norm.train(self.x.shape[1] > 1 and name not in frozen)
        self.shapes = self._shapes()
        self.captured: dict[bool, Capture] = {}
        self.measured: dict[Any, tuple[Sequence[Any], Tensor]] = {}
        self.updates = Updates(row_norms)

    @torch.no_grad()
    def _shapes(self) -> dict[str, tuple[int, ...]] | None:
        """Return the shape of each activation; None if a layer is used more than once, which only hooks can record."""
        seen: list[tuple[str, tuple[int, ...]]] = []

        def note(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen.append((name, tuple(output.shape[1:])))

        hooks = [layer.register_forward_hook(partial(note, name)) for name, layer in self.recorder.layers.items()]
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        functional_call(self.model, buffers, (self.x[0, : min(2, self.x.shape[1])],))
        for hook in hooks:
            hook.remove()
        return dict(seen) if len(dict(seen)) == len(seen) else None

    def forget(self) -> None:
        """Drop what was captured and measured, since the weights have changed."""
        self.captured, self.measured = {}, {}
        if self.shapes is None:
            for program in self.programs:
                program.inspector.forget()

    def capture(self, row: int, *, brief: bool) -> Capture:
        """Return a capture of one member; see `Program.capture`."""
        if self.shapes is None:
            return self.programs[row].capture(0, brief=brief)
        return Capture(**at(vars(self.all(brief=brief)), row))

    def look(self, row: int, key: Any, measure: Look, *, brief: bool) -> tuple[Sequence[Any], Tensor]:
        """Return a measurement of one member; see `Program.look`."""
        if self.shapes is None:
            return self.programs[row].look(0, key, measure, brief=brief)
        if (key, brief) not in self.measured:
            names: list[Sequence[Any]] = []

            def call(parts: Mapping[str, Any]) -> Tensor:
                keys, values = measure(Capture(**parts))
                names.append(keys)
                return values

            values = vmap(call, randomness="same")(vars(self.all(brief=brief)))
            self.measured[key, brief] = names[0], values
        keys, values = self.measured[key, brief]
        return keys, values[row]

    def watch(self, step: int) -> None:
        """See `Program.watch`."""
        self.updates.watch(step, self._trained())

    def look_at_update(
        self, row: int, step: int, key: Any, measure: LookAtUpdate
    ) -> tuple[Sequence[Any], Tensor] | None:
        """Return a measurement of one member; see `Program.look_at_update`."""
        if (key, "update") not in self.measured:
            gradients = {c.name: self.weights.gradient[:, c.span] for c in self.weights.columns}
            update = self.updates.update(step, self._trained(), gradients)
            if update is None:
                return None
            self.measured[key, "update"] = measure(update)
        keys, values = self.measured[key, "update"]
        return keys, values[row]

    def _trained(self) -> dict[str, Tensor]:
        """Return the trained parameters, with a row per member."""
        return {name: leaf.detach() for name, leaf in self.weights.leaves.items()}

    def all(self, *, brief: bool) -> Capture:
        """Return a capture of all members, with a row for each in every tensor."""
        if brief and False in self.captured:
            return self.captured[False]
        if brief not in self.captured:
            self.captured[brief] = self._capture(slice(0, BRIEF_SIZE) if brief else slice(None), brief=brief)
        return self.captured[brief]

    def _capture(self, part: slice, *, brief: bool) -> Capture:
        assert self.shapes is not None
        x, y = self.x[:, part], self.y[:, part]
        like = self.weights.flat  # inputs may be tokens
        taps = {name: like.new_zeros(*x.shape[:2], *shape).requires_grad_() for name, shape in self.shapes.items()}
        buffers = {name: buffer.clone() for name, buffer in self.weights.buffers.items()}
        scores, activations, statistics = vmap(self._called)({**self.weights.all(), **buffers}, x, taps)
        losses = self.objective.losses(scores, y)
        leaves = {} if brief else self.weights.leaves
        wanted = [*taps.values(), *leaves.values()]
        gradients = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)
        signals = {n: g * x.shape[1] for n, g in zip(taps, gradients, strict=False) if g is not None}
        own = {n: g for n, g in zip(leaves, gradients[len(taps) :], strict=True) if g is not None}
        return Capture(
            loss=self.objective.shown(losses.detach(), scores.detach(), y, 1.0),
            scores=scores.detach(),
            activations={name: a.detach() for name, a in activations.items()},
            signals=signals,
            weights=self._weights(),
            gradients=own,
            batch_statistics={name: (m.detach(), v.detach()) for name, (m, v) in statistics.items()},
            running_statistics=self._running(),
        )

    def _weights(self) -> dict[str, Tensor]:
        """Return all parameters by name."""
        everything = self.weights.all()
        return {name: everything[name].detach() for name in self.programs[0].named}

    def _running(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the running mean and variance of each BatchNorm that has them."""
        own = self.weights.buffers
        return {
            name: (own[f"{name}.running_mean"], own[f"{name}.running_var"])
            for name in self.recorder.norms
            if f"{name}.running_mean" in own
        }

    def _called(
        self, own: dict[str, Tensor], inputs: Tensor, taps: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
        """Call the model as one member; return its scores, activations and BatchNorm statistics."""
        activations: dict[str, Tensor] = {}
        statistics: dict[str, tuple[Tensor, Tensor]] = {}

        def output(name: str, _module: nn.Module, _inputs: Any, output: Any) -> Any:
            if name not in taps:
                return output
            activations[name] = output.clone()
            return output + taps[name]

        def normed(name: str, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
            variance, mean = torch.var_mean(given[0], [axis for axis in range(given[0].ndim) if axis != 1])
            statistics[name] = mean, variance

        hooks = [layer.register_forward_hook(partial(output, name)) for name, layer in self.recorder.layers.items()]
        hooks += [norm.register_forward_pre_hook(partial(normed, name)) for name, norm in self.recorder.norms.items()]
        try:
            return functional_call(self.model, own, (inputs,)), activations, statistics
        finally:
            for hook in hooks:
                hook.remove()


def row_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of each member's row of each tensor, (members, tensors)."""
    return torch.stack([torch.linalg.vector_norm(tensor.flatten(1), dim=1) for tensor in tensors], 1)


def at(value: Any, row: int) -> Any:
    """Return one row of nested tensors."""
    if isinstance(value, Tensor):
        return value[row]
    if isinstance(value, Mapping):
        return {name: at(item, row) for name, item in value.items()}
    return tuple(at(item, row) for item in value)
