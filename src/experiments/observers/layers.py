"""Diagnostics of every layer: activations, gradients, updates and BatchNorm, in `layers.csv` and TensorBoard.

The probe is a fixed batch of training examples.

| quantity | of | value |
|---|---|---|
| `activation_mean`, `activation_std` | activation layer | over the probe's examples and the layer's units |
| `dead` | ReLU and similar | fraction of units that are zero for every example of the probe |
| `saturated` | tanh, sigmoid | fraction of outputs with abs(tanh) > 0.99, sigmoid < 0.01 or > 0.99 |
| `correlation` | activation layer | mean absolute correlation of its units; 1 if all units vary in the same way |
| `signal` | activation layer | root mean square of the gradient of each example's loss with respect to the outputs |
| `gradient_norm` | layer | Euclidean norm of the probe's gradient with respect to its parameters |
| `update_gradient_norm` | layer | norm of the gradient that the update used, with penalty and clipping |
| `twins` | layer | fraction of units with the same incoming weights as another unit |
| `update_ratio` | parameter | norm of an update divided by the norm of the parameter before it, for any optimizer |
| `update_cosine` | parameter | cosine of the angle to the previous update; near -1 if weights oscillate |
| `mean_drift`, `spread_drift` | BatchNorm | distance of running statistics from the probe's, see `measures` |
| `loss` | model | loss on the probe, without Dropout, BatchNorm with the probe's statistics |
| `top_class` | model | share of the probe's examples in the class that is predicted most often |
| `signal_ratio` | model | `signal` of the first hidden activation layer divided by that of the last |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from experiments.folders import events
from experiments.folders.run import LAYERS, TableCopy, row_text, table_digest
from experiments.initializers import weighted_layers
from experiments.models import measures
from experiments.models.measures import norms
from experiments.training.observer import Charts, Observer
from experiments.training.observer import every as every_th

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Capture, Program, Update

SHOWN = 50
"""Measurements per epoch that TensorBoard shows, which keeps 1,000 points of a curve; `layers.csv` has all of them."""
MODEL = "model"
"""Used as the layer's name for a number about the whole model."""

CHARTED = ("activation_std", "dead", "saturated", "correlation", "signal", "gradient_norm", "update_ratio")
"""The quantities that have a chart with all layers, or with some that are spread over the network."""
LINES = 5
"""Lines of a run in a chart: TensorBoard gives all of them one color, and has five symbols to tell them apart."""

Reading = tuple[Sequence[str], str, Tensor]
"""Layers, quantity and the values, (..., layers), on the device."""


class Layers(Observer):
    """Writes numbers about every layer, before training, at the ends of epochs, and between them.

    The last update of an epoch is measured, and its angle to the update before it.

    Args:
        writer: the run's event file; None for no TensorBoard.
        every: epochs between two measurements; 0 for never.
        every_steps: updates between two measurements within epochs, which use the first 48 examples of the probe and
            leave out `dead`, `correlation`, `twins`, `gradient_norm` and `top_class`; 0 for never.
    """

    def __init__(
        self,
        writer: SummaryWriter | None = None,
        every: Annotated[int, Ge(0)] = 1,
        every_steps: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.writer = writer
        self.epochs = every_th(every)
        self.steps, self.every_steps = every_th(every_steps), every_steps
        self.watches_updates = every > 0 or every_steps > 0
        self.group = events.LAYERS if every > 0 else events.STEPS
        self.seen: dict[str, dict[str, None]] = {}

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`; a resumed run drops the rows that a killed run wrote after its checkpoint."""
        super().start(member, number, program, position)
        model = program.module(number)
        self.modules = dict(model.named_modules())
        self.weighted = weighted_layers(model)
        self.named = dict(model.named_parameters())
        self.rows: list[str] = []
        self.unwritten = False
        self.digest = (0, 0)
        self.copy = TableCopy()
        self.pending: list[tuple[int, Sequence[tuple[str, str]], Tensor]] = []
        if position.step > 0:
            rows = [row for row in member.folder.read_layers() if row.step <= position.step]
            self.rows = [str(row) for row in rows]
            self.note((row.layer, row.quantity) for row in rows)
        elif self.watches_updates:
            self.look(0)
            self.before_checkpoint()

    def measures_at(self, step: int) -> bool:
        """Whether a measurement is due after update `step`."""
        epoch, whole = self.position.epoch_of(step)
        return self.steps(step) or (whole and self.epochs(epoch))

    def watched(self, first: int, last: int) -> Iterable[int]:
        """See `Observer.watched`: the updates that are measured, and the one before each."""
        position, every = self.position, self.every_steps
        # The end of this epoch and, perhaps, of the next one.
        ends = {position.step - position.batch + position.updates, last + 1}
        steps = range(-(-first // every) * every, last + 2, every) if every else ()
        measured = {step for step in ends if self.measures_at(step)}.union(steps) if self.watches_updates else set()
        return sorted(step for step in measured | {step - 1 for step in measured} if first <= step <= last)

    def before_update(self, step: int) -> None:
        """See `Observer.before_update`."""
        self.program.watch(step)

    def after_update(self, step: int) -> None:
        """Measure the update and the layers if a measurement is due."""
        if self.measures_at(step):
            self.look(step)

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        del row
        self.flush()

    def before_checkpoint(self) -> None:
        """See `Observer.before_checkpoint`; the measurements of an unfinished epoch are written too."""
        self.flush()
        if self.unwritten:
            self.member.folder.write_layers(self.rows)
            self.unwritten = False

    def tables(self) -> dict[str, tuple[int, int]]:
        """See `Observer.tables`."""
        self.digest = table_digest(self.rows[self.digest[0] :], self.digest)
        return {LAYERS: self.digest}

    def copies(self) -> dict[str, Tensor]:
        """See `Observer.copies`."""
        self.copy.add(self.rows)
        copy = self.copy.tensor()
        return {} if copy is None else {LAYERS: copy}

    def close(self) -> None:
        """See `Observer.close`."""
        self.before_checkpoint()

    def look(self, step: int) -> None:
        """Measure the layers and the last update, without waiting for the device."""
        _, whole = self.position.epoch_of(step)
        measure = partial(self.measured, whole=whole)
        keys, values = self.program.look(self.number, ("layers", whole), measure, brief=not whole)
        updated = self.program.look_at_update(self.number, step, "layers", self.updated)
        if updated is not None:
            keys, values = [*keys, *updated[0]], torch.cat([values, updated[1]])
        self.pending.append((step, keys, values))

    def measured(self, capture: Capture, *, whole: bool) -> tuple[Sequence[tuple[str, str]], Tensor]:
        """Return the measurements of a capture; see `joined`."""
        return joined(self.inside(capture, whole=whole))

    def inside(self, capture: Capture, *, whole: bool) -> Iterator[Reading]:
        """Yield the measurements of a capture.

        Args:
            capture: activations, gradients and weights on the probe.
            whole: whether to measure all quantities, as at the end of an epoch.
        """
        by_name = by_units(capture)
        names, activations = list(by_name), list(by_name.values())
        means = torch.stack([a.mean() for a in activations])
        yield names, "activation_mean", means
        # This takes a third of the time of `std` on a CPU.
        yield names, "activation_std", root_mean_square([a - mean for a, mean in zip(activations, means, strict=True)])
        for name, a in by_name.items():
            limits = measures.SATURATION.get(type(self.modules[name]))
            if limits is not None:
                yield [name], "saturated", measures.saturated(a, *limits).reshape(1)
            if whole and isinstance(self.modules[name], measures.CAN_DIE):
                yield [name], "dead", measures.dead(a).reshape(1)
            if whole:
                yield [name], "correlation", measures.correlation(a).reshape(1)
        yield from self.signals(capture)
        if whole:
            yield by_layer(list(capture.gradients), norms(list(capture.gradients.values())), "gradient_norm")
            for name, layer in self.weighted.items():
                yield [name], "twins", measures.twins(measures.incoming(layer, capture.weights, name)).reshape(1)
        for name, running in capture.running_statistics.items():
            if name in capture.batch_statistics:
                batch = capture.batch_statistics[name]
                yield [name], "mean_drift", measures.drift(batch, running).reshape(1)
                yield [name], "spread_drift", measures.spread_drift(batch, running).reshape(1)
        yield [MODEL], "loss", capture.loss.reshape(1)
        if whole:
            answers = capture.scores.argmax(-1).flatten()
            predictions = measures.counts(answers, capture.scores.shape[-1])
            lost = (capture.scores * 0).sum()  # NaN if a score is not finite: then no class is the largest one
            yield [MODEL], "top_class", predictions.max().reshape(1) / len(answers) + lost

    def signals(self, capture: Capture) -> Iterator[Reading]:
        """Yield the size of the gradients with respect to the activations; the last layer's are the scores'."""
        if not capture.signals:
            return
        sizes = root_mean_square(list(capture.signals.values()))
        yield list(capture.signals), "signal", sizes
        if len(sizes) > 2:
            yield [MODEL], "signal_ratio", sizes[:1] / sizes[-2]

    def updated(self, update: Update) -> tuple[Sequence[tuple[str, str]], Tensor]:
        """Return the measurements of an update; see `joined`.

        0 / 0, for example of a zero bias, is later left out as not finite.
        """
        readings = []
        if update.graded:
            readings.append(by_layer(update.graded, update.gradients, "update_gradient_norm"))
        readings.append((update.names, "update_ratio", update.changes / update.sizes))
        if update.cosines is not None:
            readings.append((update.names, "update_cosine", update.cosines))
        return joined(readings)

    def flush(self) -> None:
        """Copy the pending measurements from the device, and write them to TensorBoard."""
        if not self.pending:
            return
        shown = max(1, len(self.pending) // SHOWN)
        for number, (step, keys, values) in enumerate(self.pending):
            epoch, whole = self.position.epoch_of(step)
            measurements = zip(keys, values.tolist(), strict=True)
            finite = {key: value for key, value in measurements if abs(value) < float("inf")}
            self.rows += [row_text(epoch, step, *key, value) for key, value in finite.items()]
            self.note(finite)
            if number % shown == 0 or whole:
                self.show(finite, step, epoch if whole else None)
        self.pending, self.unwritten = [], True

    def show(self, values: dict[tuple[str, str], float], step: int, epoch: int | None) -> None:
        """Write scalars to TensorBoard: over epochs at their ends, and over steps for measurements within epochs."""
        if self.writer is None:
            return
        file = self.writer._get_file_writer()
        x_of_epoch = (epoch or 0) if self.position.plan.validate_steps is None else step
        for wanted, group, x in (
            (epoch is not None and self.epochs(epoch), events.LAYERS, x_of_epoch),
            (self.steps(step), events.STEPS, step),
        ):
            if wanted:  # one event for all scalars; `add_scalar` would write one event for each
                tagged = {f"{group}/{quantity}/{layer}": value for (layer, quantity), value in values.items()}
                file.add_event(events.scalars(tagged, x), x)

    def note(self, keys: Iterable[tuple[str, str]]) -> None:
        """Remember which layers have which quantity, for the charts."""
        for layer, quantity in keys:
            if quantity in CHARTED:
                self.seen.setdefault(quantity, {})[layer] = None

    @property
    def charts(self) -> Charts:
        """See `Observer.charts`; a quantity that no layer has, such as `dead` of a tanh network, has no chart."""
        seen = {quantity: list(layers) for quantity, layers in self.seen.items()}
        weights = [name for name, parameter in self.named.items() if parameter.requires_grad and parameter.ndim > 1]
        if weights and self.watches_updates:  # before the first update there is no ratio
            seen["update_ratio"] = weights
        drawn = [chart(self.group, quantity, seen[quantity]) for quantity in CHARTED if seen.get(quantity)]
        return {"layers": dict(drawn)} if drawn else {}


def by_units(capture: Capture) -> Mapping[str, Tensor]:
    """Return activations by name with units on the second axis, as `measures` needs them.

    If there are scores at each position of a sequence, the units of hidden layers are on the last axis.
    """
    if capture.scores.ndim < 3:
        return capture.activations
    return {name: a.movedim(-1, 1) if a.ndim == 3 else a for name, a in capture.activations.items()}


def chart(group: str, quantity: str, layers: Sequence[str]) -> tuple[str, list[str]]:
    """Return the title of a chart in TensorBoard and regular expressions of its tags: `LINES` layers at most.

    Args:
        group: of the tags.
        quantity: the measurement.
        layers: all layers, or weights, that have it, from the first to the last.
    """
    if len(layers) > LINES:
        chosen = [layers[i * (len(layers) - 1) // (LINES - 1)] for i in range(LINES)]
        return f"{quantity}: {LINES} of {len(layers)} layers", [
            f"^{group}/{quantity}/{re.escape(name)}$" for name in chosen
        ]
    only = ".*weight" if all(name.endswith("weight") for name in layers) else ""  # runs of a sweep share a chart
    return quantity, [f"^{group}/{quantity}/{only}"]


def by_layer(parameters: Sequence[str], sizes: Tensor, quantity: str) -> tuple[Sequence[str], str, Tensor]:
    """Return the norm of each layer's gradient, over all of its parameters.

    Args:
        parameters: the names of the parameters that have a gradient.
        sizes: the norms of their gradients, (..., parameters).
        quantity: the name of the quantity.
    """
    owners = [name.rpartition(".")[0] or name for name in parameters]
    names = list(dict.fromkeys(owners))
    index = torch.tensor([names.index(owner) for owner in owners], device=sizes.device)
    squares = torch.zeros(*sizes.shape[:-1], len(names), device=sizes.device)
    return names, quantity, squares.index_add(-1, index, sizes.float() ** 2).sqrt()


def joined(readings: Iterable[Reading]) -> tuple[list[tuple[str, str]], Tensor]:
    """Return the layer and quantity of each measurement, and the values as one tensor, (..., measurements)."""
    parts = list(readings)
    keys = [(layer, quantity) for layers, quantity, _ in parts for layer in layers]
    return keys, torch.cat([values.detach().float() for *_, values in parts], -1) if parts else torch.empty(0)


def root_mean_square(tensors: list[Tensor]) -> Tensor:
    """Return the root mean square of each tensor, (tensors,)."""
    sizes = torch.tensor([tensor.numel() for tensor in tensors], device=tensors[0].device)
    return norms(tensors) / sizes.sqrt()
