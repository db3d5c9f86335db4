"""Looking inside one model on its probe batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments.data.batches import Split
from experiments.models.layers import activation_layers
from experiments.models.measures import norms

from .averaging import BatchNorm
from .criterion import Criterion
from .program import BRIEF_SIZE, PROBE_SIZE, Capture, Statistics, Update
from .streams import undrawn


@dataclass
class Recorded:
    """The records of a forward pass and of the backward pass after it: see `Capture`."""

    outputs: list[Tensor] = field(default_factory=list)
    activations: dict[str, Tensor] = field(default_factory=dict)
    signals: dict[str, Tensor] = field(default_factory=dict)
    batch_statistics: dict[str, Statistics] = field(default_factory=dict)


class Recorder:
    """Records the output of every activation and the statistics of every BatchNorm of a model, by name.

    Args:
        model: left as it is outside `recording`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = list(model.modules())
        self.layers = activation_layers(model)
        self.norms = {name: module for name, module in model.named_modules() if isinstance(module, BatchNorm)}

    @contextmanager
    def recording(self) -> Iterator[Recorded]:
        """Record what runs inside the block."""
        recorded = Recorded()

        def output(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            recorded.activations[name] = output.detach().clone()  # a later layer may overwrite it in place
            if output.requires_grad:
                recorded.outputs.append(output)
                output.register_hook(partial(recorded.signals.__setitem__, name))

        def statistics(name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach()
            variance, mean = torch.var_mean(x, [axis for axis in range(x.ndim) if axis != 1])
            recorded.batch_statistics[name] = mean, variance

        hooks = [layer.register_forward_hook(partial(output, name)) for name, layer in self.layers.items()]
        hooks += [norm.register_forward_pre_hook(partial(statistics, name)) for name, norm in self.norms.items()]
        try:
            yield recorded
        finally:
            for hook in hooks:
                hook.remove()

    def running_statistics(self) -> dict[str, Statistics]:
        """Return the running mean and variance of each BatchNorm that has them."""
        return {
            name: (norm.running_mean, norm.running_var)
            for name, norm in self.norms.items()
            if norm.running_mean is not None and norm.running_var is not None
        }


@dataclass
class Change:
    """The change of each parameter by an update: old minus new parameters, and the norms of these."""

    step: int
    values: list[Tensor]
    norms: Tensor


class Updates:
    """The last updates of parameters, for observers; memory is reused, because allocating it takes longer than filling.

    Args:
        norms: returns the Euclidean norm of each tensor, (..., tensors).
    """

    def __init__(self, norms: Callable[[Sequence[Tensor]], Tensor]) -> None:
        self.norms = norms
        self.names: list[str] = []
        self.spare: list[list[Tensor]] = []
        self.before: list[Tensor] | None = None
        self.watched: int | None = None
        self.change: Change | None = None
        self.sizes: Tensor | None = None
        self.cosines: Tensor | None = None

    def watch(self, step: int, parameters: Mapping[str, Tensor]) -> None:
        """Copy the parameters before update `step` + 1, unless that was done.

        Args:
            step: how many updates are done.
            parameters: the trained ones by name; if they are others than before, the earlier updates are forgotten.
        """
        if self.watched == step:
            return
        if list(parameters) != self.names:  # some have thawed
            self.names, self.spare, self.before, self.change = list(parameters), [], None, None
        now = list(parameters.values())
        if self.watched == step - 1:
            self._compare(now)
        if self.before is None:
            self.before = self.spare.pop() if self.spare else [torch.empty_like(p) for p in now]
        self.watched = step
        torch._foreach_copy_(self.before, now)

    def update(self, step: int, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Update | None:
        """Return update `step`, which was the last one; None if it was not watched.

        Args:
            step: how many updates are done.
            parameters: as they are now.
            gradients: those that it used, by name.
        """
        if self.watched == step - 1:
            self._compare(list(parameters.values()))
        if self.change is None or self.change.step != step or self.sizes is None:
            return None
        norms = self.norms(list(gradients.values())) if gradients else self.sizes[..., :0]
        return Update(step, self.names, self.sizes, self.change.norms, self.cosines, list(gradients), norms)

    def _compare(self, now: list[Tensor]) -> None:
        """Compare the parameters with those before the watched update, unless that was done."""
        if self.before is None or self.watched is None:
            return
        last, values, self.before = self.change, self.before, None
        self.sizes = self.norms(values)
        torch._foreach_sub_(values, now)
        self.change = Change(self.watched + 1, values, self.norms(values))
        consecutive = last is not None and last.step == self.watched
        self.cosines = self._cosines(self.change, last) if last is not None and consecutive else None
        if last is not None:
            self.spare.append(last.values)

    def _cosines(self, change: Change, last: Change) -> Tensor:
        """Return the cosine of the angle between two updates, by the law of cosines; the earlier one is overwritten.

        On a CPU this takes half the time of one dot product per parameter.
        """
        torch._foreach_sub_(last.values, change.values)
        squares = change.norms**2 + last.norms**2 - self.norms(last.values) ** 2
        return (squares / (2 * change.norms * last.norms)).clamp(-1, 1)

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with some members of a stack."""
        self.spare, self.before, self.sizes = [], None, None
        if self.change is not None:
            index = torch.tensor(rows, device=self.change.norms.device)
            values = [value.index_select(0, index) for value in self.change.values]
            self.change = Change(self.change.step, values, self.change.norms.index_select(0, index))


class Inspector:
    """Looks inside one run's model, changing nothing.

    Args:
        model: as it is trained, on the device of `train`.
        criterion: gives the loss.
        train: the training split; the probe is its beginning.
    """

    def __init__(self, model: nn.Module, criterion: Criterion, train: Split) -> None:
        self.model, self.criterion, self.train = model, criterion, train
        self.parameters = dict(model.named_parameters())
        self.recorder = Recorder(model)
        self.captured: Capture | None = None
        self.updates = Updates(norms)

    @cached_property
    def probe(self) -> tuple[Tensor, Tensor]:
        """The first examples of the shuffled training split, and their classes."""
        return self.train.first(PROBE_SIZE)

    def forget(self) -> None:
        """Drop the last capture, since the weights have changed."""
        self.captured = None

    def capture(self, *, brief: bool) -> Capture:
        """Return a capture of the model: see `Program.capture`.

        Dropout is off. BatchNorm uses the probe's own statistics, since there are no running statistics before
        training; the running statistics do not change.
        """
        if self.captured is None or (not brief and not self.captured.gradients):
            x, y = self.probe
            self.captured = self._capture(*(x[:BRIEF_SIZE], y[:BRIEF_SIZE]) if brief else (x, y), brief=brief)
        return self.captured

    def _capture(self, x: Tensor, y: Tensor, *, brief: bool) -> Capture:
        trained = {name: p for name, p in self.parameters.items() if p.requires_grad}
        frozen = len(trained) < len(self.parameters) and x.is_floating_point()
        x = x.detach().requires_grad_(frozen)  # otherwise no signal comes back through frozen layers
        with undrawn(self.train.device), self.recorder.recording() as recorded:
            scores = self.as_in_training(x)
            loss = self.criterion.mean(scores, y)
            wanted = recorded.outputs if brief else [*trained.values(), *([x] if frozen else [])]
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
        signals = recorded.signals
        return Capture(
            loss=self.criterion.shown(loss, scores, y),
            scores=scores.detach(),
            activations=recorded.activations,
            signals={name: signals[name] * len(x) for name in recorded.activations if name in signals},
            weights={name: p.detach() for name, p in self.parameters.items()},
            gradients={} if brief else {n: g for n, g in zip(trained, gradients, strict=False) if g is not None},
            batch_statistics=recorded.batch_statistics,
            running_statistics=self.recorder.running_statistics(),
        )

    def as_in_training(self, x: Tensor) -> Tensor:
        """Return the scores with the batch's own statistics in BatchNorm, without Dropout; buffers do not change."""
        modes = [module for module in self.recorder.modules if module.training]
        for module in modes:  # `eval` and `train` take as long as a small model's forward pass
            object.__setattr__(module, "training", len(x) > 1 and isinstance(module, BatchNorm))
        try:
            buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            if not buffers:
                return self.model(x)
            return torch.func.functional_call(self.model, buffers, (x,))
        finally:
            for module in modes:
                object.__setattr__(module, "training", True)

    def trained(self) -> dict[str, Tensor]:
        """Return the parameters that are not frozen."""
        return {name: p.detach() for name, p in self.parameters.items() if p.requires_grad}

    def update(self, step: int) -> Update | None:
        """Return the last update; None if it was not watched."""
        return self.updates.update(step, self.trained(), self.gradients())

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients that the last update used: see `Program.gradients`."""
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
