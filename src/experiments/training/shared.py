"""One run in several processes, as torchrun starts them: each takes its rows of every batch.

All processes do the same in the same order, with the same random draws, and share what they found: sums over the
batch. So each has the same weights and the same metrics, and comes to the same decisions. Process 0 prints and writes
the run folder; the others do so into a temporary one, with their observers turned off.
"""

import io
import math
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from experiments.cli import quoted
from experiments.common.errors import UserError
from experiments.models.blocks import Dropout, Rows
from experiments.resume import folder_to_resume, resumed_command_line

from .averaging import BatchNorm, batch_norms, tensors
from .program import Measured
from .single import Single
from .stop import EXIT_CODES

FAREWELL = 5.0
"""Seconds that a process which fails waits for the others to do the same; some may wait for its part of a sum."""
FOLLOWED = "followed"
"""The end of a process that lost another one."""


@contextmanager
def joined() -> Iterator[Path | None]:
    """Meet the other processes, and end as they do; gives those other than 0 a folder that is removed afterwards.

    The others' output is held back. What they have to say of an error is printed only where process 0 has not failed
    by itself: it would be the same.
    """
    dist.init_process_group()
    if dist.get_rank() == 0:
        with parting(io.StringIO()):
            yield None
        return
    held = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix="experiments-") as folder,
        parting(held),
        redirect_stdout(io.StringIO()),
        redirect_stderr(held),
    ):
        yield Path(folder)


@contextmanager
def parting(held: io.StringIO) -> Iterator[None]:
    """End together, with the exit code of the process that failed first.

    A process whose exchange breaks off because another one has left is not at fault, and says nothing.
    """
    store, me, size = dist.distributed_c10d._get_default_store(), dist.get_rank(), dist.get_world_size()
    code, crash = 0, None
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        code, crash = 130 if isinstance(error, KeyboardInterrupt) else 1, error
    ends = [""] * size
    with suppress(RuntimeError):  # torchrun, which keeps the store, may have ended
        late = code > 0 and store.add("failures", 1) > 1
        store.set(f"end/{me}", FOLLOWED if late and crash is not None else str(code))
        dist.destroy_process_group()
        if code:
            ends = farewell(store, size)
    for number in EXIT_CODES:  # torchrun signals the others when the first has failed
        signal.signal(number, signal.SIG_IGN)
    faults = [int(end) if end not in ("", FOLLOWED) else 0 for end in ends]
    if ends[me] == FOLLOWED and any(faults):
        sys.exit(next(filter(None, faults)))
    if code and (me == 0 or not faults[0]):
        print(held.getvalue(), end="", file=sys.stderr, flush=True)
        if crash is not None:
            raise crash
    if code:
        sys.exit(code)


def farewell(store: dist.Store, size: int) -> list[str]:
    """Wait until every process has come to its end; return how, empty for one that does not come."""
    deadline = time.monotonic() + FAREWELL
    keys = [f"end/{number}" for number in range(size)]
    while not store.check(keys) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [store.get(key).decode() if store.check([key]) else "" for key in keys]


def own_command_line(typed: Sequence[str], folder: Path | None) -> list[str]:
    """Return this process's command line: the others write into a folder of their own.

    That of a run that is gone on with is a copy of it.

    Args:
        typed: the arguments.
        folder: where this process may write; None for process 0.

    Raises:
        UserError: they ask for a sweep, or to go on with what is no run.
    """
    for word in typed:
        if re.fullmatch(r"-m|--multirun|hydra\.mode=\W?multirun\W?", word, re.IGNORECASE):
            raise UserError(
                f"{word} sweeps over many runs, and torchrun trains one in several processes; leave out one of them"
            )
    own = resumed_command_line(typed)
    if folder is not None:
        run = folder_to_resume(typed)
        if run is not None:
            copied(run, folder / "run")
        own.append(f"hydra.run.dir={quoted(folder / 'run')}")
    dist.all_reduce(torch.zeros(1))  # process 0 changes nothing in a folder before it is copied
    return own


def copied(run: Path, place: Path) -> None:
    """Copy what a run goes on from."""
    for part in (".hydra", "checkpoints"):
        if (run / part).is_dir():
            shutil.copytree(run / part, place / part, ignore=shutil.ignore_patterns("*.tmp", "epoch_*.pt"))


class Shared(Single):
    """One run in several processes: a `Single` whose sums over a batch are sums over the processes' rows.

    Each process's loss is the mean over its rows times `rows * processes / batch`, so that the average over the
    processes is the batch's mean, also where it does not divide evenly; a penalty, which each adds, counts once.
    Gradients are averaged when the backward pass is done, all in one exchange. (torch's DistributedDataParallel
    exchanges them while it goes on, and wants to wrap every forward pass, an accumulated batch's too. Measured with
    gloo and two processes it was between an eighth faster, for wide layers, and a tenth slower, for convolutions.)

    Args:
        model, options: see `Single`; the model is changed: its BatchNorms use the whole batch's statistics.

    Raises:
        UserError: the model is to be compiled.
    """

    def __init__(self, model: nn.Module, *args: Any, **options: Any) -> None:
        updating = options.get("updating")
        if updating is not None and updating.compiled is not None:
            raise UserError(f"training.compile={updating.compiled} cannot be used under torchrun; allowed there: false")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.rows = Rows()
        for module in model.modules():
            if isinstance(module, Dropout):
                module.rows = self.rows
        for norm in batch_norms(model):
            norm.__class__ = SharedBatchNorm
            cast(SharedBatchNorm, norm).rows = self.rows
        super().__init__(model, *args, **options)
        for tensor in tensors(model):  # machines of another kind draw other last bits
            dist.broadcast(tensor.detach(), 0)

    def _share(self, count: int) -> slice:
        """Return which of so many examples are this process's."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def _forward(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return this process's part of the mean loss and of the count; without rows it only goes along."""
        own = self._share(len(x))
        count = own.stop - own.start
        with self.rows.of(own, len(x)):
            if count:
                loss, correct = super()._forward(x[own], targets[own])
                return loss * (count * self.size / len(x)), correct
            scores = self._scores(self.forward, x[own])
            return scores.sum() * 0, torch.zeros((), dtype=torch.int64, device=self.device)

    def _backward(self, x: Tensor, targets: Tensor) -> Measured:
        """Leave the gradient of the whole batch in the parameters of every process."""
        measured = super()._backward(x, targets)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        parts = [*gradients, measured.loss, measured.correct.to(measured.loss.dtype)]
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        correct = flat[-1:].round().to(measured.correct.dtype)
        *averages, loss, _ = flat.div_(self.size).split([part.numel() for part in parts])
        torch._foreach_copy_(gradients, [a.view(g.shape) for a, g in zip(averages, gradients, strict=True)])
        return Measured(loss, correct, measured.penalty)

    def _sums(self, split: str) -> tuple[float, float]:
        """Evaluate this process's share of a split, and add up."""
        examples = self.splits[split]
        sums = torch.tensor(self._summed(examples.part(self._share(len(examples)))), dtype=torch.float64)
        dist.all_reduce(sums)
        loss, correct = sums.tolist()
        return loss, correct


class SharedBatchNorm(BatchNorm):
    """BatchNorm with the statistics of the whole batch, of which this process has some rows.

    Outside of an update, as where an observer looks inside, it is as it was. (torch's SyncBatchNorm needs CUDA.)
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

    Returns y, and the moments of shape (channels,). (Ioffe and Szegedy 2015, section 3.)
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
            count: elements of a channel in the whole batch.
            eps: added to the variance.
        """
        axes = [axis for axis in range(x.ndim) if axis != 1]
        moments = x.new_zeros(2, x.shape[1], dtype=torch.float64)  # a difference of squares follows
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
        """Return the gradients with respect to x, weight and bias; the last two of this process's rows."""
        x, mean, scale, weight = ctx.saved_tensors
        grad = grads[0]
        normal = (x - along(mean, x)) * along(scale, x)
        own = torch.stack([grad.sum(ctx.axes), (grad * normal).sum(ctx.axes)])
        whole = own / ctx.count
        dist.all_reduce(whole)
        inner = grad - along(whole[0], x) - normal * along(whole[1], x)
        return inner * along(scale * weight, x), own[1], own[0], None, None


def along(values: Tensor, x: Tensor) -> Tensor:
    """Return values of the channels in a shape that broadcasts over x."""
    return values.view(-1, *(1,) * (x.ndim - 2))
