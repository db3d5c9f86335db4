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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from experiments.folders.run import row_text
from experiments.initializers import weighted_layers
from experiments.models import measures
from experiments.models.measures import norms
from experiments.training.observer import Charts, Observer
from experiments.training.observer import every as every_th

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Capture, Program

SHOWN = 50
"""Looks within an epoch that TensorBoard gets, which keeps 1,000 points of a curve; `layers.csv` holds all of them."""
MODEL = "model"
"""What stands in place of a layer's name for a number about all of them."""

CHARTED = ("activation_std", "dead", "saturated", "correlation", "signal", "gradient_norm", "update_ratio")
"""What is drawn with all layers in one chart."""

Readings = Iterator[tuple[Sequence[str], str, Tensor]]
"""Layers, quantity and the values, (layers,), on the device."""


@dataclass
class UpdateChange:
    """What an update changed, parameter by parameter.

    Args:
        step: its number.
        change: old parameters minus new ones.
        ratios, cosines: of each parameter, (parameters,); None where nobody looks.
    """

    step: int
    change: list[Tensor]
    ratios: Tensor | None = None
    cosines: Tensor | None = None


class Layers(Observer):
    """Writes numbers about every layer, before training and then at the ends of epochs and between.

    Of the updates, the last one of an epoch is measured, and its angle to the one before it.

    Args:
        writer: the run's event file; None for none.
        every: look at the end of every so many epochs; 0 for never.
        every_steps: look after every so many updates too, at the beginning of the probe (48 examples), without
            `dead`, `correlation`, `twins`, `gradient_norm` and `top_class`; 0 for never.
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

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`; the rows of a killed run that lie beyond its checkpoint are taken back."""
        super().start(member, number, program, position)
        model = program.module(number)
        self.modules = dict(model.named_modules())
        self.weighted = weighted_layers(model)
        self.named = dict(model.named_parameters())
        self.trained: dict[str, nn.Parameter] = {}
        self.before: list[Tensor] | None = None
        self.spare: list[list[Tensor]] = []
        self.update: UpdateChange | None = None
        self.rows: list[str] = []
        self.unwritten = False
        self.pending: list[tuple[int, list[tuple[str, str]], Tensor]] = []
        if position.step > 0:
            self.rows = [str(row) for row in member.folder.read_layers() if row.step <= position.step]
        elif self.watches_updates:
            self.look(0)
            self.before_checkpoint()

    @property
    def parameters(self) -> list[Tensor]:
        """The trained parameters, where they are now: a stack that shrinks moves them."""
        return [parameter.detach() for parameter in self.trained.values()]

    def looks_at(self, step: int) -> bool:
        """Whether a look is due after so many updates."""
        epoch, rest = divmod(step, self.position.plan.steps_per_epoch)
        return self.steps(step) or (rest == 0 and self.epochs(epoch))

    def before_update(self, step: int) -> None:
        """Keep the parameters where the update is to be measured, or the one after it."""
        if self.looks_at(step + 1) or self.looks_at(step + 2):
            trained = {name: p for name, p in self.named.items() if p.requires_grad}
            if trained.keys() != self.trained.keys():  # some have thawed
                self.trained, self.update, self.spare = trained, None, []
            parameters = self.parameters
            # Memory that is used again: to allocate it anew takes longer than to fill it.
            self.before = self.spare.pop() if self.spare else [torch.empty_like(p) for p in parameters]
            torch._foreach_copy_(self.before, parameters)

    def after_update(self, step: int) -> None:
        """Look, if it is time."""
        if self.before is None:
            return
        last, self.update = self.update, UpdateChange(step, self.before)
        self.before = None
        looking = self.looks_at(step)
        sizes = norms(self.update.change) if looking else None
        torch._foreach_sub_(self.update.change, self.parameters)
        if sizes is not None:
            changed = norms(self.update.change)
            self.update.ratios = changed / sizes
            if last is not None and last.step == step - 1:
                self.update.cosines = cosines(self.update.change, changed, last.change)
        if last is not None:
            self.spare.append(last.change)
        if looking:
            self.look(step)

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        del row
        self.flush()

    def before_checkpoint(self) -> None:
        """See `Observer.before_checkpoint`: what a half-done epoch showed is written too."""
        self.flush()
        if self.unwritten:
            self.member.folder.write_layers(self.rows)
            self.unwritten = False

    def close(self) -> None:
        """See `Observer.close`."""
        self.before_checkpoint()

    def look(self, step: int) -> None:
        """Measure now; nothing waits for the device."""
        whole = step % self.position.plan.steps_per_epoch == 0
        measure = partial(self.measured, whole=whole)
        keys, values = self.program.look(self.number, ("layers", whole), measure, brief=not whole)
        more, others = listed(self.updated(step))
        self.pending.append((step, [*keys, *more], torch.cat([values, others]) if more else values))

    def measured(self, seen: Capture, *, whole: bool) -> tuple[Sequence[tuple[str, str]], Tensor]:
        """Measure what a capture shows, as one list."""
        return listed(self.inside(seen, whole=whole))

    def inside(self, seen: Capture, *, whole: bool) -> Readings:
        """Measure what a capture shows."""
        names, activations = list(seen.activations), list(seen.activations.values())
        means = torch.stack([a.mean() for a in activations])
        yield names, "activation_mean", means
        # A third of what `std` costs on a CPU.
        yield names, "activation_std", root_mean_square([a - mean for a, mean in zip(activations, means, strict=True)])
        for name, a in seen.activations.items():
            limits = measures.SATURATION.get(type(self.modules[name]))
            if limits is not None:
                yield [name], "saturated", measures.saturated(a, *limits).reshape(1)
            if whole and isinstance(self.modules[name], measures.CAN_DIE):
                yield [name], "dead", measures.dead(a).reshape(1)
            if whole:
                yield [name], "correlation", measures.correlation(a).reshape(1)
        yield from self.signals(seen)
        if whole:
            yield self.layers(seen.gradients, "gradient_norm")
            for name, layer in self.weighted.items():
                yield [name], "twins", measures.twins(measures.incoming(layer, seen.weights, name)).reshape(1)
        for name, running in seen.running_statistics.items():
            if name in seen.batch_statistics:
                yield [name], "mean_drift", measures.drift(seen.batch_statistics[name], running).reshape(1)
                yield [name], "spread_drift", measures.spread_drift(seen.batch_statistics[name], running).reshape(1)
        yield [MODEL], "loss", seen.loss.reshape(1)
        if whole:
            answers = measures.counts(seen.scores.argmax(1), seen.scores.shape[1])
            yield [MODEL], "top_class", answers.max().reshape(1) / len(seen.scores)

    def signals(self, seen: Capture) -> Readings:
        """Measure the gradients that come back to the activations; the last ones are the scores'."""
        if not seen.signals:
            return
        sizes = root_mean_square(list(seen.signals.values()))
        yield list(seen.signals), "signal", sizes
        if len(sizes) > 2:
            yield [MODEL], "signal_ratio", sizes[:1] / sizes[-2]

    def updated(self, step: int) -> Readings:
        """Measure what the update did; 0 by 0, such as of a bias that begins at 0, is left out as not finite."""
        update = self.update
        if update is None or update.step != step:
            return
        gradients = self.program.gradients(self.number)
        if gradients:
            yield self.layers(gradients, "update_gradient_norm")
        if update.ratios is not None:
            yield list(self.trained), "update_ratio", update.ratios
        if update.cosines is not None:
            yield list(self.trained), "update_cosine", update.cosines

    def layers(self, gradients: Mapping[str, Tensor], quantity: str) -> tuple[Sequence[str], str, Tensor]:
        """Measure gradients, those of a layer's parameters together."""
        owners = [name.rpartition(".")[0] or name for name in gradients]
        names = list(dict.fromkeys(owners))
        sizes = norms(list(gradients.values()))
        place = torch.tensor([names.index(owner) for owner in owners], device=sizes.device)
        return (
            names,
            quantity,
            torch.zeros(len(names), device=sizes.device).index_add(0, place, sizes.float() ** 2).sqrt(),
        )

    def flush(self) -> None:
        """Read what was measured, and show it."""
        if not self.pending:
            return
        per_epoch = self.position.plan.steps_per_epoch
        shown = max(1, len(self.pending) // SHOWN)
        for number, (step, keys, values) in enumerate(self.pending):
            epoch = -(-step // per_epoch)
            found = dict(zip(keys, values.tolist(), strict=True))
            finite = {key: value for key, value in found.items() if abs(value) < float("inf")}
            self.rows += [row_text(epoch, step, *key, value) for key, value in finite.items()]
            if number % shown == 0 or step % per_epoch == 0:
                self.show(finite, step, epoch if step % per_epoch == 0 else None)
        self.pending, self.unwritten = [], True

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


def listed(found: Readings) -> tuple[list[tuple[str, str]], Tensor]:
    """Return the layers and quantities of what was measured, and the numbers in one row."""
    parts = list(found)
    keys = [(layer, quantity) for layers, quantity, _ in parts for layer in layers]
    return keys, torch.cat([values.detach().float() for *_, values in parts]) if parts else torch.empty(0)


def root_mean_square(tensors: list[Tensor]) -> Tensor:
    """Return the root mean square of each tensor, (tensors,)."""
    sizes = torch.tensor([tensor.numel() for tensor in tensors], device=tensors[0].device)
    return norms(tensors) / sizes.sqrt()


def cosines(change: list[Tensor], changed: Tensor, last: list[Tensor]) -> Tensor:
    """Return the cosine of the angle between two updates, (parameters,), by the law of cosines.

    On a CPU that is half as dear as dot products, one by one.

    Args:
        change, last: the updates; `last` is used up.
        changed: the norms of `change`.
    """
    before = norms(last)
    torch._foreach_sub_(last, change)
    return ((changed**2 + before**2 - norms(last) ** 2) / (2 * changed * before)).clamp(-1, 1)
