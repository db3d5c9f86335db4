"""Learning-rate schedules: pure functions of progress, so they have no state to save.

Progress is the share of training that is done, `step / total_steps`, in [0, 1); after the planned end of a run that was
resumed with more epochs it is 1. A schedule returns the factor of the learning rate. Every duration is a share of
training too, so a schedule keeps its shape when the number of epochs changes.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Share = Annotated[float, Gt(0), Le(1)]
Factor = Annotated[float, Gt(0), Le(1)]
Floor = Annotated[float, Ge(0), Le(1)]

Schedule = Callable[[float, Sequence[float]], float]
"""`(progress, validation losses so far, one per epoch) -> factor of the learning rate`"""

WARMUP_START = 0.01
END = 1 - 1e-8
"""The progress after which there is no further step: a run that is longer than planned keeps its last rate."""


def constant(_progress: float) -> float:
    """Keep the learning rate constant."""
    return 1.0


def step(progress: float, *, every: Annotated[float, Ge(1e-6), Le(1)] = 1 / 3, factor: Factor = 0.1) -> float:
    """Multiply by `factor` after every `every` of training (CS231n: step decay).

    Args:
        progress: see above.
        every: the share of training between two steps.
        factor: the multiplier at each step.
    """
    return factor ** math.floor(min(progress, END) / every + 1e-9)


def multistep(progress: float, *, milestones: Sequence[Share] = (0.5, 0.75), factor: Factor = 0.1) -> float:
    """Multiply by `factor` at each milestone (He et al. 2016: at 50 % and 75 %).

    Args:
        progress: see above.
        milestones: the progress at each of them, in any order.
        factor: the multiplier at each milestone.
    """
    return factor ** bisect_right(sorted(milestones), min(progress, END) + 1e-9)


def exponential(progress: float, *, final: Factor = 0.01) -> float:
    """Fall by the same factor in every step, to `final` at the end: `final ** progress`."""
    return final**progress


def inverse_time(progress: float, *, decay: Annotated[float, Ge(0)] = 10.0) -> float:
    """Fall as 1/t: `1 / (1 + decay * progress)` (CS231n: 1/t decay)."""
    return 1 / (1 + decay * progress)


def inverse_sqrt(progress: float, *, decay: Annotated[float, Ge(0)] = 100.0) -> float:
    """Fall as 1/sqrt(t): `1 / sqrt(1 + decay * progress)` (Kingma and Ba 2015, section 6.1).

    If `decay` is the number of updates, the factor is 1/sqrt(t) at the t-th update.
    """
    return 1 / math.sqrt(1 + decay * progress)


def polynomial(progress: float, *, power: Annotated[float, Gt(0)] = 2.0, final: Floor = 0.0) -> float:
    """Fall as `(1 - progress) ** power`, from 1 to `final` (the 'poly' policy of Caffe).

    Args:
        progress: see above.
        power: 1 falls in a straight line; more falls faster at first.
        final: the factor at the end.
    """
    return final + (1 - final) * (1 - progress) ** power


def linear(progress: float, *, final: Floor = 0.0) -> float:
    """Fall in a straight line from 1 to `final`."""
    return polynomial(progress, power=1.0, final=final)


def cosine(progress: float, *, final: Floor = 0.0) -> float:
    """Fall along half a cosine from 1 to `final` (Loshchilov and Hutter 2017, equation 5)."""
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def cosine_restarts(
    progress: float,
    *,
    cycles: Annotated[int, Ge(1), Le(100)] = 3,
    growth: Annotated[float, Ge(1), Le(10)] = 1.0,
    final: Floor = 0.0,
) -> float:
    """Repeat the cosine in cycles, each `growth` times as long as the one before.

    This is SGDR with equal peaks (Loshchilov and Hutter 2017, equation 5).

    Args:
        progress: see above.
        cycles: how many.
        growth: the length of a cycle divided by that of the one before, `T_mult` in the paper.
        final: the factor at the end of each cycle.
    """
    lengths = [growth**i for i in range(cycles)]
    position = (progress + 1e-9) * sum(lengths)
    for length in lengths:
        if position < length:
            return cosine(position / length, final=final)
        position -= length
    return final


def one_cycle(
    progress: float,
    *,
    peak: Annotated[float, Gt(0), Lt(1)] = 0.3,
    start: Factor = 0.04,
    final: Floor = 0.0001,
) -> float:
    """Rise along a cosine from `start` to 1 at `peak`, then fall to `final` (Smith and Topin 2018).

    The paper's policy is linear; the cosine is that of fastai and of torch's `OneCycleLR`.

    Args:
        progress: see above.
        peak: the progress at which the factor is 1.
        start: the factor at the beginning.
        final: the factor at the end.
    """
    if progress < peak:
        return start + (1 - start) * (1 - math.cos(math.pi * progress / peak)) / 2
    return cosine((progress - peak) / (1 - peak), final=final)


def plateau(
    _progress: float,
    val_losses: Sequence[float],
    *,
    factor: Annotated[float, Gt(0), Lt(1)] = 0.1,
    patience: Annotated[int, Ge(0)] = 3,
    threshold: Annotated[float, Ge(0)] = 1e-4,
    final: Floor = 0.0,
) -> float:
    """Multiply by `factor`, down to `final`, when the validation loss has not improved for more than `patience` epochs.

    An improvement is a fall by more than the share `threshold` of the best loss (as in torch's `ReduceLROnPlateau`).
    The schedule replays the losses so far, so it has no state either.

    Args:
        _progress: not used.
        val_losses: one per epoch so far.
        factor: the multiplier at each reduction.
        patience: the largest number of epochs without an improvement that are tolerated.
        threshold: the smallest improvement that counts, as a share of the best loss.
        final: the smallest factor.
    """
    best, waited, multiplier = math.inf, 0, 1.0
    for loss in val_losses:
        if loss < best * (1 - threshold):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > patience:
            multiplier, waited = max(multiplier * factor, final), 0
    return multiplier


@dataclass(frozen=True)
class OfProgress:
    """A schedule that needs nothing but the progress.

    Args:
        curve: a function of progress.
    """

    curve: Callable[[float], float]

    def __call__(self, progress: float, _losses: Sequence[float]) -> float:
        """See `Schedule`."""
        return self.curve(progress)

    @property
    def key(self) -> Hashable:
        """Equal for schedules that are the same function with the same settings."""
        own = self.curve
        return (id(own.func), repr(own.args), repr(own.keywords)) if isinstance(own, partial) else id(own)


@dataclass(frozen=True)
class WarmedUp:
    """A schedule after a warm-up; see `warmed_up`."""

    schedule: Schedule
    share: float

    def __call__(self, progress: float, val_losses: Sequence[float]) -> float:
        """See `Schedule`."""
        if progress < self.share:
            rise = WARMUP_START + (1 - WARMUP_START) * progress / self.share
            return rise * self.schedule(0.0, val_losses)
        return self.schedule((progress - self.share) / (1 - self.share), val_losses)

    @property
    def key(self) -> Hashable:
        """See `OfProgress`; None for a schedule that may depend on more than progress."""
        own = key_of(self.schedule)
        return None if own is None else (self.share, own)


def key_of(schedule: Schedule) -> Hashable:
    """Return what is equal for schedules that give the same factors; None if it is not known."""
    return schedule.key if isinstance(schedule, OfProgress | WarmedUp) else None


def warmed_up(schedule: Schedule, share: float) -> Schedule:
    """Rise in a straight line from 1 % to the full rate over `share` of training, then follow `schedule`.

    The whole schedule runs over the rest of training (Goyal et al. 2017, section 2.2). `share` = 0 returns the schedule
    unchanged.
    """
    return schedule if share == 0 else WarmedUp(schedule, share)
