"""The program of one run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.data.augment import Augmentation, drawing_device
from experiments.data.batches import Split
from experiments.models.draws import Draws
from experiments.optimizers import begin_momentum, count_on_host, needs_closure, update

from .averaging import Average, refresh_statistics
from .carried import Carried, scored_batches
from .criterion import Criterion, penalized_weights
from .freezing import frozen_norms, to_training_mode
from .inspection import Inspector
from .program import Capture, Look, LookAtUpdate, Measurements, Shared
from .scaling import Scaler
from .streams import global_state
from .transfer import to_host


@dataclass(frozen=True)
class Updating:
    """How an update is computed from the examples.

    Args:
        micro_batch: examples per forward and backward pass; a larger batch adds up the gradients. None for all.
        clip_norm: largest norm of the whole gradient; None for no limit.
        clip_value: largest absolute value of a gradient's element; None for no limit.
        precision: of the forward and backward pass: 'fp32', 'tf32' (on a CUDA device, see `device.kernels`; fp32
            elsewhere), 'fp64', 'bf16', or 'fp16' with the loss scaled so that small gradients do not vanish
            (Micikevicius et al. 2018). Weights, updates and losses stay in fp32. With
            'fp64' everything is in fp64; the model and the inputs have to be already.
        compiled: the mode of `torch.compile`, or None.
        channels_last: whether pictures are stored with the channels of a pixel next to each other.
        ema: decay of the exponential average of the weights.
        swa: the first epoch whose weights count in the plain average.
    """

    micro_batch: int | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    precision: Literal["fp32", "tf32", "fp64", "bf16", "fp16"] = "fp32"
    compiled: str | None = None
    channels_last: bool = False
    ema: float | None = None
    swa: int | None = None


MOVED_TOLERANCE = 1e-5
"""The relative difference by rounding that is allowed between statistics of the data on two devices."""
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Single:
    """One run: any `nn.Module` with any `torch.optim.Optimizer`.

    Args:
        model: on the device, in training mode.
        optimizer: of the model's parameters; at each step the first group's rate is set to the scheduled one, and the
            other groups keep their proportion to it; a group's `lr_scale` multiplies its rate.
        splits: `train`, `test` and, if there is one, `val`.
        eval_batch_size: examples per forward pass in evaluation.
        criterion: the objective.
        updating: how updates are computed.
        augments: applied to training inputs, one after another.
        noise: the draws of these and of the model's Dropout; the loop sets how many updates are done.
        thaws: the parameters that are frozen at first, with the number of epochs.
    """

    members = 1
    checkpoint_seconds = 0.0
    note = ""
    """A sentence for the log about how steps are computed, if it is not the ordinary way."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        splits: Mapping[str, Split],
        *,
        eval_batch_size: int,
        criterion: Criterion | None = None,
        updating: Updating | None = None,
        augments: Sequence[Augmentation] = (),
        noise: Draws | None = None,
        thaws: Mapping[str, int] | None = None,
    ) -> None:
        self.model = model
        self.named = dict(model.named_parameters())
        self.parameters = list(self.named.values())
        self.optimizer = optimizer
        first = optimizer.param_groups[0]["lr"]
        self.shares = [group["lr"] / first * group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        self.needs_closure = needs_closure(optimizer)
        self.advance: Callable[[], object] = partial(update, optimizer)
        self.splits = splits
        self.eval_batch_size = eval_batch_size
        self.criterion = criterion or Criterion()
        self.running, self.score_type = self.criterion.task.metrics[0], self.criterion.task.score_type
        self.inspector = Inspector(model, self.criterion, splits["train"])
        self.thaws = thaws or {}
        self.carried: Carried | None = None
        self.begin_epoch(0)
        self.updating = updating or Updating()
        self.augments = augments
        self.noise = noise or Draws(0)
        self.device = splits["train"].device
        self.index_device = splits["train"].x.device
        scaled = self.updating.precision == "fp16"
        self.scaler: torch.amp.GradScaler | None = Scaler(self.device.type) if scaled else None
        if scaled:
            begin_momentum(optimizer)
        if self.updating.channels_last:
            model.to(memory_format=torch.channels_last)
        self.forward: Callable[[Tensor], Tensor] = model
        if self.updating.compiled is not None:
            # One program for each batch size: shapes that came before must not change the numbers.
            self.forward = torch.compile(model, mode=self.updating.compiled, dynamic=False)
            self.noise.uncompiled()
        if splits["train"].follows is not None:
            self.forward = self.carried = Carried(self.forward, model, splits["train"].follows)
        averaged = self.updating.ema is not None or self.updating.swa is not None
        self.average = Average(model, self.updating.ema) if averaged else None

    def running_value(self, mean: float) -> float:
        """See `Program.running_value`."""
        return self.criterion.task.running(mean)

    def begin_epoch(self, epoch: int) -> None:
        """See `Program.begin_epoch`: the epoch alone decides what is frozen, so there is nothing to save."""
        for name, epochs in self.thaws.items():
            self.named[name].requires_grad_(epoch >= epochs)
        if self.thaws and epoch:
            begin_momentum(self.optimizer)
        if self.thaws or epoch == 0:
            self.weights = penalized_weights(self.model)
            self.inspector.forget()
            to_training_mode(self.model)
        if self.carried is not None:
            self.carried.begin_epoch(epoch)

    def announce(self, batches: Sequence[Tensor], epoch: int) -> None:
        """See `Program.announce`."""
        self.splits["train"].announce(batches, epoch)

    def step(self, index: Tensor, rates: Sequence[float]) -> Measurements:
        """See `Program.step`."""
        self.inspector.forget()
        x, targets = self.splits["train"].batch(index[0])
        if self.carried is not None:
            self.carried.begin(index[0])
        x, targets = self.augmented(x, targets)
        self.noise.begin(len(x))
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = rates[0] * share
        measured = self._update_by_closure(x, targets) if self.needs_closure else self._update(x, targets)
        if self.criterion.penalty.bounds:
            self.criterion.penalty.bound(self.weights)
        if self.average is not None and self.updating.ema is not None:
            self.average.update()
        self.noise.update += 1
        return measured

    def augmented(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return training inputs and their targets as the present update sees them."""
        for number, augment in enumerate(self.augments):
            generator = self.noise.generator(f"augment/{number}", drawing_device(augment, x.device))
            x, targets = augment(x, targets, generator)
        return x, targets

    def _update(self, x: Tensor, targets: Tensor) -> Measurements:
        """Compute the gradient once, and update with it."""
        measured = self._backward(x, targets)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.updating.clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters, self.updating.clip_value)
        if self.updating.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.updating.clip_norm)
        if self.scaler is None:
            self.advance()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return measured

    def _update_by_closure(self, x: Tensor, targets: Tensor) -> Measurements:
        """Let the optimizer compute the gradient as often as it needs, each time with the same noise."""
        measurements: list[Measurements] = []

        def closure() -> Tensor:
            self.noise.begin(len(x))
            measured = self._backward(x, targets)
            measurements.append(measured)
            return (measured.loss if measured.penalty is None else measured.loss + measured.penalty).squeeze()

        self.optimizer.step(closure)  # type: ignore[arg-type]
        return measurements[0]

    def _backward(self, x: Tensor, targets: Tensor) -> Measurements:
        """Store the gradient of the whole batch in the parameters."""
        for parameter in self.parameters:
            parameter.grad = None  # what zero_grad does, without its label for the profiler (4 % of a small step)
        term = self.criterion.penalty.term(self.weights) if self.criterion.penalty.adds and self.weights else None
        micro = self.updating.micro_batch
        if micro is None or len(x) <= micro:
            loss, shown, score = self._forward(x, targets)
            self._scaled(loss if term is None else loss + term).backward()
        else:
            shown, score = self._in_parts(x, targets, micro)
            if term is not None:
                self._scaled(term).backward()
        penalty = term.detach().reshape(1) if term is not None else None
        return Measurements(shown.reshape(1), score.reshape(1), penalty)

    def _in_parts(self, x: Tensor, targets: Tensor, micro: int) -> tuple[Tensor, Tensor]:
        """Add up the gradients of parts of the batch."""
        sizes = part_sizes(len(x), micro)
        total = torch.zeros((), dtype=self.parameters[0].dtype, device=self.device)
        score = torch.zeros((), dtype=self.score_type, device=self.device)
        start = 0
        for number, (part, wanted) in enumerate(zip(x.split(sizes), targets.split(sizes), strict=True)):
            self.noise.begin_pass(start)
            start += len(part)
            mean, shown, own = self._forward(part, wanted)
            self._scaled(mean * (len(part) / len(x))).backward()
            if self.updating.compiled is not None and number == 0:
                self._own_gradients()
            total += shown * (len(part) / len(x))
            score += own
        return total, score

    def _own_gradients(self) -> None:
        """Copy the gradients of a first part out of the memory of a CUDA graph, which the next part overwrites.

        The gradients of the next parts are added to the copies.
        """
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()

    def _forward(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean loss, the same in the user's units, and the sum of the examples' running metric."""
        if self.updating.compiled is not None:
            torch.compiler.cudagraph_mark_step_begin()  # the results of the last pass may be overwritten
        scores = self._scores(self.forward, x)
        loss = self.criterion.mean(scores, targets)
        score = self.criterion.task.score(scores.detach(), targets).sum()
        return loss, self.criterion.shown(loss, scores, targets), score

    def _scores(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return a model's scores in the run's precision and memory layout; see `scores_of`."""
        return scores_of(model, x, self.updating.precision, channels_last=self.updating.channels_last)

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)

    def end_epoch(self, epoch: int) -> None:
        """See `Program.end_epoch`."""
        if self.average is None or self.updating.swa is None or epoch < self.updating.swa:
            return
        self.average.update()
        batches = (x for x, _ in self.splits["train"].in_order(self.eval_batch_size))
        frozen = frozen_norms(self.model)
        refresh_statistics(self.average.module, partial(self._scores, self.average.module), batches, frozen)

    @property
    def evaluated(self) -> nn.Module:
        """The model to evaluate: the one with averaged weights, once there is one."""
        return self.average.module if self.average is not None and self.average.count else self.model

    def keep(self, members: Sequence[int]) -> None:
        """See `Program.keep`: there are no other members."""

    @torch.no_grad()
    def evaluate(self, split: str, members: Sequence[int] = (0,)) -> list[dict[str, float]]:
        """See `Program.evaluate`."""
        del members
        examples = self.splits[split]
        if not self.criterion.counts_only:
            return [self._measured(examples)]
        loss, score = self._sums(split)
        return [{"loss": loss / len(examples), self.running: score / len(examples)}]

    def _sums(self, split: str) -> tuple[float, float]:
        """Return the sums of the examples' losses and of their running metric."""
        return self._summed(self.splits[split])

    def _summed(self, examples: Split) -> tuple[float, float]:
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        score = torch.zeros((), dtype=self.score_type, device=self.device)
        model = self.evaluated
        model.eval()
        for scores, y in scored_batches(self._scores, model, examples, self.eval_batch_size):
            loss += self.criterion.total(scores, y)
            score += self.criterion.task.score(scores, y).sum()
        to_training_mode(self.model)
        total, right = to_host(loss, score)
        return total.item(), right.item()

    def _measured(self, examples: Split) -> dict[str, float]:
        """Return the mean loss and all metrics of some examples."""
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        parts, targets = [], []
        model = self.evaluated
        model.eval()
        for scores, y in scored_batches(self._scores, model, examples, self.eval_batch_size):
            loss += self.criterion.total(scores, y)
            parts.append(scores)
            targets.append(y)
        to_training_mode(self.model)
        total, scores, wanted = to_host(loss, torch.cat(parts), torch.cat(targets))
        return {"loss": total.item() / len(examples), **self.criterion.measured(scores, wanted)}

    @torch.no_grad()
    def scores(self, member: int, split: str | Split) -> Tensor:
        """See `Program.scores`."""
        del member
        examples = self.splits[split] if isinstance(split, str) else split
        model = self.evaluated
        model.eval()
        scores = [part for part, _ in scored_batches(self._scores, model, examples, self.eval_batch_size)]
        to_training_mode(self.model)
        return torch.cat(scores)

    def capture(self, member: int, *, brief: bool = False) -> Capture:
        """See `Program.capture`."""
        del member
        return self.inspector.capture(brief=brief)

    def look(self, member: int, key: Any, measure: Look, *, brief: bool = False) -> tuple[Sequence[Any], Tensor]:
        """See `Program.look`."""
        del key
        return measure(self.capture(member, brief=brief))

    def common(self, key: Any, compute: Callable[[], Shared]) -> Shared:
        """See `Program.common`."""
        del key
        return compute()

    def watch(self, step: int) -> None:
        """See `Program.watch`."""
        self.inspector.updates.watch(step, self.inspector.trained())

    def look_at_update(
        self, member: int, step: int, key: Any, measure: LookAtUpdate
    ) -> tuple[Sequence[Any], Tensor] | None:
        """See `Program.look_at_update`."""
        del member, key
        update = self.inspector.update(step)
        return None if update is None else measure(update)

    def in_evaluation(self, x: Tensor) -> Tensor:
        """Return the scores in evaluation mode, in the precision of the weights."""
        self.model.eval()
        scores = self.model(x)
        to_training_mode(self.model)
        return scores

    def gradients(self, member: int) -> dict[str, Tensor]:
        """See `Program.gradients`."""
        del member
        return self.inspector.gradients()

    def module(self, member: int) -> nn.Module:
        """See `Program.module`."""
        del member
        return self.model

    def probe(self, member: int) -> tuple[Tensor, Tensor]:
        """See `Program.probe`."""
        del member
        return self.inspector.probe

    @cached_property
    def preparation(self) -> dict[str, Tensor]:
        """The numbers of the fitted preparation, on the host; they do not change."""
        prepare = self.splits["train"].prepare
        return prepare.state_dict() if hasattr(prepare, "state_dict") else {}

    def state_dict(self, member: int) -> dict[str, Any]:
        """See `Program.state_dict`. `model` is the evaluated model; `trained` is the trained one if it differs."""
        del member
        state = {
            "model": self.evaluated.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "preparation": self.preparation,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
        }
        if self.average is not None and self.average.count:
            state |= {"trained": self.model.state_dict(), "averaged": self.average.count}
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        if self.carried is not None:
            state["carried"] = self.carried.state_dict()
        return state

    def load_state_dict(self, member: int, state: Mapping[str, Any]) -> None:
        """See `Program.load_state_dict`.

        Raises:
            ValueError: the state is of another architecture or another data set.
        """
        del member
        own = self.model.state_dict()
        for name in [*own, *state["model"]]:
            theirs, ours = state["model"].get(name), own.get(name)
            if theirs is None or ours is None or theirs.shape != ours.shape:
                raise ValueError(
                    f"it has another architecture: {name} is {_shape(theirs)} in the checkpoint and "
                    f"{_shape(ours)} in the model"
                )
        self.inspector.forget()
        moved = state.get("device", self.device.type) != self.device.type
        for name, value in self.preparation.items():
            # The last bits of a whitening matrix depend on the number of threads; its shift is compared instead.
            if name != "matrix" and not _same(value, state["preparation"].get(name, value), moved=moved):
                raise ValueError("the data set has changed: the statistics of its training split are different")
        self.model.load_state_dict(state.get("trained", state["model"]))
        self.optimizer.load_state_dict(state["optimizer"])
        count_on_host(self.optimizer)
        if self.average is not None:
            self.average.load(state["model"], state.get("averaged", 0))
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        if self.carried is not None:
            self.carried.load_state_dict(state["carried"])

    def load_model(self, member: int, state: Mapping[str, Any]) -> None:
        """See `Program.load_model`."""
        del member
        self.inspector.forget()
        if self.average is not None and state.get("averaged", 0):
            self.average.load(state["model"], state["averaged"])
        else:
            self.average = None
            self.model.load_state_dict(state["model"])

    def generator(self, member: int) -> dict[str, Any]:
        """See `Program.generator`."""
        del member
        return global_state(self.device)


def scores_of(model: Callable[[Tensor], Tensor], x: Tensor, precision: str, *, channels_last: bool) -> Tensor:
    """Return a model's scores in a precision and memory layout, see `Updating`; those of 16 bits are cast to fp32."""
    if channels_last and x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    if precision not in PRECISIONS:
        return model(x)
    with torch.autocast(x.device.type, PRECISIONS[precision]):
        scores = model(x)
    return scores.float()


def part_sizes(examples: int, size: int) -> list[int]:
    """Divide a batch into parts of a size; a single last example, which BatchNorm cannot use, joins the part before."""
    sizes = [size] * (examples // size) + [examples % size] * (examples % size > 0)
    return sizes if sizes[-1] > 1 or len(sizes) == 1 else [*sizes[:-2], sizes[-2] + 1]


def _same(value: Tensor, saved: Tensor, *, moved: bool) -> bool:
    """Whether two statistics are equal, up to rounding if the saved one is of another device."""
    if not moved or value.shape != saved.shape:
        return torch.equal(value, saved)
    return torch.allclose(value.double(), saved.double(), rtol=MOVED_TOLERANCE, atol=0, equal_nan=True)


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"of shape {tuple(tensor.shape)}"
