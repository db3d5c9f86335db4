"""Diagnostics of every layer: activations, gradients, updates and BatchNorm, in `layers.csv` and TensorBoard.

| quantity | of | what |
|---|---|---|
| `activation_mean`, `activation_std` | activation layer | over the probe's examples and the layer's units |
| `dead` | ReLU and its kin | fraction of units that are zero for every example of the probe |
| `saturated` | tanh, sigmoid | fraction of outputs with abs(tanh) > 0.99, sigmoid < 0.01 or > 0.99 |
| `correlation` | activation layer | mean absolute correlation of its units, 1 where all do the same |
| `signal` | activation layer | root mean square of each example's gradient of its loss with respect to the outputs |
| `gradient_norm` | layer | Euclidean norm of the probe's gradient with respect to its parameters |
| `update_gradient_norm` | layer | the same of the gradient that the update used, penalty and clipping included |
| `twins` | layer | fraction of units whose incoming weights another unit has too |
| `update_ratio` | parameter | norm of an update's change by the norm before it, whatever the optimizer does |
| `update_cosine` | parameter | cosine of the angle to the update before: near -1 where weights swing to and fro |
| `mean_drift`, `spread_drift` | BatchNorm | how far running statistics lie from the probe's, see `measures` |
| `loss` | model | on the probe, Dropout off, BatchNorm with the probe's statistics |
| `top_class` | model | share of the probe's examples that are given the commonest answer |
| `signal_ratio` | model | `signal` of the first hidden activation layer by that of the last |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from experiments import measures
from experiments.initializers import weighted_layers
from experiments.run import LayerRow

from .base import Charts, Observer
from .base import every as every_th

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from experiments.engine import Member, Position
    from experiments.program import Capture, Program

MODEL = "model"
"""What stands in place of a layer's name for a number about all of them."""

CHARTED = ("activation_std", "dead", "saturated", "correlation", "signal", "gradient_norm", "update_ratio")
"""What is drawn with all layers in one chart."""

Measured = Iterator[tuple[str, str, Tensor]]
"""Layer, quantity and value, a scalar on the device."""


@dataclass
class Update:
    """What an update changed, parameter by parameter."""

    step: int
    change: tuple[Tensor, ...]
    before: tuple[Tensor, ...]
    cosines: list[Tensor] | None = None


class Layers(Observer):
    """Writes numbers about every layer, before training and then at the ends of epochs and between.

    Of the updates, the last one of an epoch is measured, and its angle to the one before it.

    Args:
        writer: the run's event file; None for none.
        every: look at the end of every so many epochs; 0 for never.
        every_steps: look after every so many updates too, at all but `correlation`, `twins` and
            `gradient_norm`; 0 for never.
    """

    charts: ClassVar[Charts] = {"layers": {title: [f"^{title}/"] for title in CHARTED}}

    def __init__(
        self,
        writer: SummaryWriter | None = None,
        every: Annotated[int, Ge(0)] = 1,
        every_steps: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.writer = writer
        self.epochs = every_th(every)
        self.steps = every_th(every_steps)
        self.watches_updates = every > 0 or every_steps > 0

    def start(self, member: Member, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`; the rows of a killed run that lie beyond its checkpoint are taken back."""
        super().start(member, number, program, position)
        model = program.module(number)
        self.modules = dict(model.named_modules())
        self.weighted = weighted_layers(model)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(trained), [p.detach() for p in trained.values()]
        self.before: tuple[Tensor, ...] | None = None
        self.update: Update | None = None
        self.rows: list[str] = []
        self.pending: list[tuple[int, list[tuple[str, str]], Tensor]] = []
        if position.step > 0:
            self.rows = [str(row) for row in member.folder.read_layers() if row.step <= position.step]
        elif self.watches_updates:
            self.look(0)
            self.flush()

    def looks_at(self, step: int) -> bool:
        """Whether a look is due after so many updates."""
        epoch, rest = divmod(step, self.position.plan.steps_per_epoch)
        return self.steps(step) or (rest == 0 and self.epochs(epoch))

    def before_update(self, step: int) -> None:
        """Keep the parameters where the update is to be measured, or the one after it."""
        if self.looks_at(step + 1) or self.looks_at(step + 2):
            self.before = torch._foreach_mul(self.parameters, 1)  # copies, all at once

    def after_update(self, step: int) -> None:
        """Look, if it is time."""
        if self.before is None:
            return
        last, self.update = self.update, Update(step, torch._foreach_sub(self.parameters, self.before), self.before)
        self.before = None
        if not self.looks_at(step):
            return
        if last is not None and last.step == step - 1:
            self.update.cosines = cosines(self.update.change, last.change)
        self.look(step)

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        del row
        self.flush()

    def close(self) -> None:
        """See `Observer.close`: what a half-done epoch showed is written too."""
        self.flush()

    def look(self, step: int) -> None:
        """Measure now; nothing waits for the device."""
        whole = step % self.position.plan.steps_per_epoch == 0
        seen = self.program.capture(self.number, brief=not whole)
        found = [*self.inside(seen, whole=whole), *self.updated(step)]
        keys = [(layer, quantity) for layer, quantity, _ in found]
        self.pending.append((step, keys, torch.stack([value.detach().float() for *_, value in found])))

    def inside(self, seen: Capture, *, whole: bool) -> Measured:
        """Measure what a capture shows."""
        for name, a in seen.activations.items():
            mean = a.mean()
            yield name, "activation_mean", mean
            # A third of what `std` costs on a CPU.
            yield name, "activation_std", (a - mean).norm() / a.numel() ** 0.5
            module = self.modules[name]
            if isinstance(module, measures.CAN_DIE):
                yield name, "dead", measures.dead(a)
            limits = measures.SATURATION.get(type(module))
            if limits is not None:
                yield name, "saturated", measures.saturated(a, *limits)
            if whole:
                yield name, "correlation", measures.correlation(a)
        signals = {name: signal.norm() / signal.numel() ** 0.5 for name, signal in seen.signals.items()}
        for name, size in signals.items():
            yield name, "signal", size
        hidden = list(signals.values())[:-1]  # the last one is the scores'
        if len(hidden) > 1:
            yield MODEL, "signal_ratio", hidden[0] / hidden[-1]
        if whole:
            yield from gradient_norms(seen.gradients, "gradient_norm")
            for name, layer in self.weighted.items():
                yield name, "twins", measures.twins(measures.incoming(layer))
        for name, running in seen.running_statistics.items():
            if name in seen.batch_statistics:
                yield name, "mean_drift", measures.drift(seen.batch_statistics[name], running)
                yield name, "spread_drift", measures.spread_drift(seen.batch_statistics[name], running)
        yield MODEL, "loss", seen.loss
        answers = torch.bincount(seen.scores.argmax(1), minlength=seen.scores.shape[1])
        yield MODEL, "top_class", answers.max() / len(seen.scores)

    def updated(self, step: int) -> Measured:
        """Measure what the update did; 0 by 0, such as of a bias that begins at 0, is left out as not finite."""
        if self.update is None or self.update.step != step:
            return
        yield from gradient_norms(self.program.gradients(self.number), "update_gradient_norm")
        changes, sizes = torch._foreach_norm(self.update.change), torch._foreach_norm(self.update.before)
        for name, change, size in zip(self.names, changes, sizes, strict=True):
            yield name, "update_ratio", change / size
        for name, cosine in zip(self.names, self.update.cosines or (), strict=False):
            yield name, "update_cosine", cosine

    def flush(self) -> None:
        """Read what was measured, and write it."""
        if not self.pending:
            return
        per_epoch = self.position.plan.steps_per_epoch
        for step, keys, values in self.pending:
            epoch = -(-step // per_epoch)
            found = dict(zip(keys, values.tolist(), strict=True))
            finite = {key: value for key, value in found.items() if abs(value) < float("inf")}
            self.rows += [str(LayerRow(epoch, step, *key, value)) for key, value in finite.items()]
            self.show(finite, step, epoch if step % per_epoch == 0 else None)
        self.pending = []
        self.member.folder.write_layers(self.rows)

    def show(self, values: dict[tuple[str, str], float], step: int, epoch: int | None) -> None:
        """Write scalars to TensorBoard: over epochs, and what was seen within them over steps."""
        if self.writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        file = self.writer._get_file_writer()
        for wanted, prefix, place in (
            (epoch is not None and self.epochs(epoch), "", epoch),
            (self.steps(step), "steps/", step),
        ):
            if wanted:  # one event for all: `add_scalar` writes one for each
                scalars = [
                    Summary.Value(tag=f"{prefix}{quantity}/{layer}", simple_value=value)
                    for (layer, quantity), value in values.items()
                ]
                file.add_summary(Summary(value=scalars), place)


def cosines(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the cosine of the angle between two lists of tensors, pair by pair."""
    return [
        torch.dot(a.flatten(), b.flatten()) / (length * size)
        for a, b, length, size in zip(one, other, torch._foreach_norm(one), torch._foreach_norm(other), strict=True)
    ]


def gradient_norms(gradients: dict[str, Tensor], quantity: str) -> Measured:
    """Measure the gradients, those of a layer's parameters together."""
    layers: dict[str, list[Tensor]] = {}
    for name, norm in zip(gradients, torch._foreach_norm(list(gradients.values())), strict=True):
        layers.setdefault(name.rpartition(".")[0] or name, []).append(norm)
    for name, norms in layers.items():
        yield name, quantity, torch.stack(norms).norm()
