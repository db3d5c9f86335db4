"""One run in several processes, as torchrun starts them: each takes its rows of every batch.

All processes do the same in the same order, with the same random draws, and add up their sums over the batch. So all of
them have the same weights and the same metrics, and decide the same. Process 0 prints and writes the run folder; the
others write to a temporary one, with their observers turned off.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from experiments.common.errors import UserError
from experiments.data.batches import Split

from .averaging import BatchNorm, batch_norms, tensors
from .program import Measurements
from .single import Single


class Rows:
    """The number of rows of a batch that several processes share; `total` is None while a model gets all rows."""

    total: int | None = None

    @contextmanager
    def of(self, total: int) -> Iterator[None]:
        """Set, inside the `with` block, the number of rows of the whole batch."""
        self.total = total
        try:
            yield
        finally:
            self.total = None


class Shared(Single):
    """One run in several processes: a `Single` whose sums over a batch are sums over the processes' rows.

    Each process's loss is the mean over its rows times `rows * processes / batch`, so that the average over the
    processes is the batch's mean, even if the batch does not divide evenly; a penalty, which each process adds, counts
    once. Gradients are averaged after the backward pass, all in one exchange. (torch's DistributedDataParallel
    exchanges them during the backward pass, and has to wrap every forward pass, also of an accumulated batch. With gloo
    and two processes it was between an eighth faster, for wide layers, and a tenth slower, for convolutions.)

    Args:
        model, args, options: see `Single`. The model is changed: its BatchNorms use the whole batch's statistics.

    Raises:
        UserError: the model should be compiled.
    """

    def __init__(self, model: nn.Module, *args: Any, **options: Any) -> None:
        updating = options.get("updating")
        if updating is not None and updating.compiled is not None:
            raise UserError(f"training.compile={updating.compiled} cannot be used under torchrun; allowed there: false")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.rows = Rows()
        for norm in batch_norms(model):
            norm.__class__ = SharedBatchNorm
            cast(SharedBatchNorm, norm).rows = self.rows
        super().__init__(model, *args, **options)
        for tensor in tensors(model):  # other kinds of machines draw other last bits
            dist.broadcast(tensor.detach(), 0)

    def _share(self, count: int) -> slice:
        """Return which of `count` examples are this process's."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def _forward(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return this process's part of the mean loss and of the score; a process without rows contributes 0."""
        own = self._share(len(x))
        count = own.stop - own.start
        self.noise.begin_pass(self.noise.start + own.start)
        with self.rows.of(len(x)):
            if count:
                loss, shown, score = super()._forward(x[own], targets[own])
                share = count * self.size / len(x)
                return loss * share, shown * share, score
            nothing = self._scores(self.forward, x[own]).sum() * 0
            return nothing, nothing.detach(), torch.zeros((), dtype=self.score_type, device=self.device)

    def _backward(self, x: Tensor, targets: Tensor) -> Measurements:
        """Leave the gradient of the whole batch in the parameters of every process."""
        measured = super()._backward(x, targets)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        parts = [*gradients, measured.loss, measured.score.to(measured.loss.dtype)]
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        score = flat[-1:].round() if self.score_type == torch.int64 else flat[-1:].clone()
        *averages, loss, _ = flat.div_(self.size).split([part.numel() for part in parts])
        torch._foreach_copy_(gradients, [a.view(g.shape) for a, g in zip(averages, gradients, strict=True)])
        return Measurements(loss, score.to(self.score_type), measured.penalty)

    def _sums(self, split: str) -> tuple[float, float]:
        """Evaluate this process's share of a split, and add up the shares."""
        examples = self.splits[split]
        sums = torch.tensor(self._summed(examples.part(self._share(len(examples)))), dtype=torch.float64)
        dist.all_reduce(sums)
        loss, score = sums.tolist()
        return loss, score

    def _measured(self, examples: Split) -> dict[str, float]:
        """Evaluate the whole split in every process, since metrics need all scores; all use those of process 0."""
        measured = super()._measured(examples)
        names = sorted(set(self.criterion.metrics) | {"loss", self.running})
        values = torch.tensor([measured.get(name, math.nan) for name in names], dtype=torch.float64)
        dist.broadcast(values, 0)
        return {name: value for name, value in zip(names, values.tolist(), strict=True) if name in measured}


class SharedBatchNorm(BatchNorm):
    """BatchNorm with the statistics of the whole batch, of which this process has some rows.

    Outside an update, for example when an observer looks inside, it is a plain BatchNorm. (torch's SyncBatchNorm needs
    CUDA.)
    """

    rows: Rows

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x of shape (rows, channels, ...)."""
        if not self.training or self.rows.total is None:
            return super().forward(x)
        count = self.rows.total * math.prod(x.shape[2:])
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        weight = self.weight if self.weight is not None else wide.new_ones(self.num_features)
        bias = self.bias if self.bias is not None else wide.new_zeros(self.num_features)
        with torch.autocast(x.device.type, enabled=False):
            y, mean, variance = Normalized.apply(wide, weight, bias, count, self.eps)
            self._follow(mean, variance * (count / (count - 1)))
        return y.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch's BatchNorm does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class Normalized(torch.autograd.Function):
    """`y = (x - mean) / sqrt(variance + eps) * weight + bias` with the moments of all processes' rows.

    Returns y and the two moments, of shape (channels,). (Ioffe and Szegedy 2015, section 3.)
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, count: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See the class.

        Args:
            ctx: torch's.
            x: (rows, channels, ...).
            weight, bias: (channels,).
            count: elements per channel in the whole batch.
            eps: added to the variance.
        """
        axes = [axis for axis in range(x.ndim) if axis != 1]
        moments = x.new_zeros(2, x.shape[1], dtype=torch.float64)  # because a difference of squares follows
        if len(x):
            variance, mean = (moment.double() for moment in torch.var_mean(x, axes, correction=0))
            moments = torch.stack([mean, variance + mean.square()]) * (x.numel() // x.shape[1] / count)
        dist.all_reduce(moments)
        mean, variance = moments[0].to(x.dtype), (moments[1] - moments[0].square()).clamp_min(0).to(x.dtype)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, mean, scale, weight)
        ctx.axes, ctx.count = axes, count
        ctx.mark_non_differentiable(mean, variance)
        return (x - along(mean, x)) * along(scale * weight, x) + along(bias, x), mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients with respect to x, weight and bias; the last two are of this process's rows."""
        x, mean, scale, weight = ctx.saved_tensors
        grad = grads[0]
        normal = (x - along(mean, x)) * along(scale, x)
        own = torch.stack([grad.sum(ctx.axes), (grad * normal).sum(ctx.axes)])
        whole = own / ctx.count
        dist.all_reduce(whole)
        inner = grad - along(whole[0], x) - normal * along(whole[1], x)
        return inner * along(scale * weight, x), own[1], own[0], None, None


def along(values: Tensor, x: Tensor) -> Tensor:
    """Return a value per channel in a shape that broadcasts over x."""
    return values.view(-1, *(1,) * (x.ndim - 2))
