"""Schedules: written-out values, torch's own schedulers, the warm-up, and what conf/scheduler gives."""

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from experiments import assembly, schedules
from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from tests.helpers import composed

Curve = Callable[[float], float]

CONFIGURED = sorted(path.stem for path in (conf_folder() / "scheduler").glob("*.yaml"))

CURVES: list[Curve] = [
    schedules.constant,
    schedules.step,
    partial(schedules.step, every=0.1, factor=1.0),
    schedules.multistep,
    schedules.exponential,
    schedules.inverse_time,
    partial(schedules.inverse_time, decay=0.0),
    schedules.inverse_sqrt,
    partial(schedules.inverse_sqrt, decay=0.0),
    schedules.polynomial,
    partial(schedules.polynomial, power=0.5, final=0.3),
    schedules.linear,
    schedules.cosine,
    partial(schedules.cosine, final=1.0),
    schedules.cosine_restarts,
    partial(schedules.cosine_restarts, cycles=5, growth=1.7, final=0.1),
    schedules.one_cycle,
    partial(schedules.one_cycle, peak=0.9, start=1.0, final=0.0),
]


def multipliers(curve: Curve, steps: int) -> list[float]:
    return [curve(step / steps) for step in range(steps)]


def one_weight(lr: float = 1.0) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (schedules.constant, [1, 1, 1, 1]),
        (schedules.step, [1, 1, 0.1, 0.1, 0.01, 0.01]),  # thirds of 6 steps
        (partial(schedules.step, every=0.25, factor=0.5), [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        (partial(schedules.step, every=1.0), [1, 1, 1]),  # falls only at the end, which no step reaches
        (schedules.multistep, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]),  # at 50 % and at 75 %
        (partial(schedules.multistep, milestones=[0.6, 0.2], factor=0.5), [1, 0.5, 0.5, 0.25, 0.25]),  # in any order
        (partial(schedules.multistep, milestones=[]), [1, 1, 1]),
        (partial(schedules.exponential, final=0.0001), [1, 0.1, 0.01, 0.001]),  # 0.0001 would come next
        (schedules.inverse_time, [1, 1 / 3, 1 / 5, 1 / 7, 1 / 9]),  # 10 * progress is 0, 2, 4, 6, 8
        (partial(schedules.inverse_sqrt, decay=4.0), [1, 0.707107, 0.577350, 0.5]),  # 1 / sqrt(t) at t = 1, 2, 3, 4
        (schedules.polynomial, [1, 0.5625, 0.25, 0.0625]),  # squares of 1, 3/4, 1/2, 1/4
        (partial(schedules.polynomial, power=3.0, final=0.2), [1, 0.3]),  # 0.2 + 0.8 / 8
        (schedules.linear, [1, 0.75, 0.5, 0.25]),
        (partial(schedules.linear, final=0.5), [1, 0.875, 0.75, 0.625]),
        (schedules.cosine, [1, 0.853553, 0.5, 0.146447]),
        (partial(schedules.cosine, final=0.2), [1, 0.882843, 0.6, 0.317157]),
        (schedules.cosine_restarts, [1, 0.5, 1, 0.5, 1, 0.5]),  # three cycles of two steps
        (partial(schedules.cosine_restarts, cycles=2, growth=2.0), [1, 0.5, 1, 0.853553, 0.5, 0.146447]),  # 2 + 4 steps
        (partial(schedules.one_cycle, peak=0.5, start=0.2, final=0.0), [0.2, 0.6, 1, 0.5]),
        (partial(schedules.one_cycle, peak=0.25, start=0.04, final=0.1), [0.04, 1, 0.775, 0.325]),
    ],
)
def test_written_out(curve: Curve, expected: list[float]) -> None:
    assert multipliers(curve, len(expected)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], 1),
        ([3, 2, 1], 1),
        ([1, 1, 1, 1], 1),  # three epochs without improvement are within the patience
        ([1, 1, 1, 1, 1], 0.1),  # the fourth is not
        ([1, 1, 1, 1, 1, 1, 1, 1], 0.1),  # the wait begins anew
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], 0.01),
        ([1, 2, 2, 2, 0.9, 2, 2, 2], 1),  # an improvement in between
        ([1, 0.99995, 0.9999, 0.9999, 0.9999], 0.1),  # falls by no more than the threshold
        ([1, math.nan, math.nan, math.nan, math.nan], 0.1),
    ],
)
def test_plateau_written_out(losses: list[float], expected: float) -> None:
    assert schedules.plateau(0.0, losses) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [10, 60, 97])
@pytest.mark.parametrize(
    ("curve", "reference"),
    [
        (schedules.cosine, lambda o, n: lr_scheduler.CosineAnnealingLR(o, n)),
        (partial(schedules.cosine, final=0.1), lambda o, n: lr_scheduler.CosineAnnealingLR(o, n, eta_min=0.1)),
        (schedules.linear, lambda o, n: lr_scheduler.PolynomialLR(o, n)),
        (partial(schedules.linear, final=0.3), lambda o, n: lr_scheduler.LinearLR(o, 1.0, 0.3, total_iters=n)),
        (schedules.polynomial, lambda o, n: lr_scheduler.PolynomialLR(o, n, power=2.0)),
        (schedules.exponential, lambda o, n: lr_scheduler.ExponentialLR(o, 0.01 ** (1 / n))),
    ],
)
def test_smooth_curves_agree_with_torch(curve: Curve, reference: Callable[..., Any], steps: int) -> None:
    assert multipliers(curve, steps) == pytest.approx(rates_of_torch(reference, steps), abs=1e-6)


@pytest.mark.parametrize("part", [1, 7, 100])
@pytest.mark.parametrize(
    ("curve", "parts", "reference"),
    [
        (schedules.step, 3, lambda o, n: lr_scheduler.StepLR(o, n // 3)),
        (partial(schedules.step, every=0.1, factor=0.7), 10, lambda o, n: lr_scheduler.StepLR(o, n // 10, 0.7)),
        (schedules.multistep, 4, lambda o, n: lr_scheduler.MultiStepLR(o, [n // 2, 3 * n // 4])),
        (
            partial(schedules.multistep, milestones=[0.3, 0.6, 0.7], factor=0.5),
            10,
            lambda o, n: lr_scheduler.MultiStepLR(o, [3 * n // 10, 6 * n // 10, 7 * n // 10], 0.5),
        ),
        (
            partial(schedules.cosine_restarts, cycles=4, growth=2.0, final=0.1),
            15,
            lambda o, n: lr_scheduler.CosineAnnealingWarmRestarts(o, n // 15, 2, eta_min=0.1),
        ),
        (schedules.cosine_restarts, 3, lambda o, n: lr_scheduler.CosineAnnealingWarmRestarts(o, n // 3)),
    ],
)
def test_jumps_are_in_the_same_step_as_torchs(
    curve: Curve, parts: int, reference: Callable[..., Any], part: int
) -> None:
    """The milestones are whole steps: `parts` of `part` steps each."""
    steps = parts * part
    assert multipliers(curve, steps) == pytest.approx(rates_of_torch(reference, steps), abs=1e-6)


def rates_of_torch(reference: Callable[..., Any], steps: int) -> list[float]:
    optimizer = one_weight()
    scheduler = reference(optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def loss_sequences() -> list[list[float]]:
    """Falling, flat, noisy, just above and just below the threshold, rising, and broken ones."""
    noise = random.Random(0)
    sequences = [
        [0.9**epoch for epoch in range(40)],
        [1.0] * 40,
        [1 - 0.9e-4 * epoch for epoch in range(40)],
        [(1 - 1.1e-4) ** epoch for epoch in range(40)],
        [1.0 + epoch for epoch in range(40)],
        [1.0, 0.5, math.nan, math.nan, 0.4, math.inf, *[0.45] * 30],
        [0.0] * 20,
    ]
    return sequences + [[noise.gauss(1, 0.3) ** 2 for _ in range(60)] for _ in range(5)]


@pytest.mark.parametrize("options", [{}, {"factor": 0.5, "patience": 0}, {"patience": 1, "threshold": 0.05}])
@pytest.mark.parametrize("final", [0.0, 0.03])
def test_plateau_agrees_with_torch(options: dict[str, Any], final: float) -> None:
    ours = {"factor": 0.1, "patience": 3, "threshold": 1e-4, **options}
    for losses in loss_sequences():
        optimizer = one_weight()
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, threshold_mode="rel", min_lr=final, eps=0, **ours)
        for epoch, loss in enumerate(losses, 1):
            scheduler.step(loss)
            expected = optimizer.param_groups[0]["lr"]
            assert schedules.plateau(0.5, losses[:epoch], final=final, **ours) == pytest.approx(expected, abs=0)


@pytest.mark.parametrize("curve", CURVES)
def test_multipliers_are_shares_of_the_full_rate(curve: Curve) -> None:
    values = multipliers(curve, 1000)
    assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize("curve", CURVES)
def test_schedules_have_no_state(curve: Curve) -> None:
    forward = multipliers(curve, 50)
    assert [curve(step / 50) for step in reversed(range(50))] == forward[::-1]


@pytest.mark.parametrize(
    ("share", "curve", "expected"),
    [
        (0.5, schedules.linear, [0.01, 0.505, 1, 0.5]),
        (0.2, schedules.constant, [0.01, 0.505, 1, 1, 1, 1, 1, 1, 1, 1]),
        (0.6, schedules.multistep, [0.01, 0.34, 0.67, 1, 0.1]),  # the remaining two steps are halves
    ],
)
def test_warm_up_written_out(share: float, curve: Curve, expected: list[float]) -> None:
    warmed = schedules.warmed_up(lambda progress, _losses: curve(progress), share)
    assert multipliers(lambda progress: warmed(progress, []), len(expected)) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("curve", CURVES)
def test_warm_up_rises_to_the_schedule_and_leaves_it_its_shape(curve: Curve, share: float) -> None:
    warmed = schedules.warmed_up(lambda progress, _losses: curve(progress), share)
    assert warmed(0.0, []) == pytest.approx(0.01 * curve(0.0))
    assert warmed(share / 2, []) == pytest.approx(0.505 * curve(0.0))
    assert warmed(share * (1 - 1e-9), []) == pytest.approx(curve(0.0))
    assert warmed(share, []) == pytest.approx(curve(0.0))
    for progress in (0.0, 0.11, 0.27, 0.41, 0.62, 0.83, 0.99):
        assert warmed(share + progress * (1 - share), []) == pytest.approx(curve(progress))


def test_no_warm_up_is_the_schedule_itself() -> None:
    def falling(progress: float, _losses: Sequence[float]) -> float:
        return 1 - progress

    assert schedules.warmed_up(falling, 0) is falling


def test_warm_up_passes_the_losses_on() -> None:
    warmed = schedules.warmed_up(schedules.plateau, 0.5)
    stale = [1.0] * 5
    assert [warmed(0.0, stale), warmed(0.5, stale), warmed(0.5, [1.0])] == pytest.approx([0.001, 0.1, 1])


@pytest.mark.parametrize("name", CONFIGURED)
def test_the_configuration_has_the_defaults_of_the_function(name: str) -> None:
    """Every number in the file is accepted, and it is the function's own default."""
    config = composed(f"scheduler={name}")
    built = assembly.schedule(config, validate=True)
    function = getattr(schedules, config["scheduler"]["_target_"].rpartition(".")[2])
    losses = [1.0] * 6
    extra = (losses,) if name == "plateau" else ()
    whole_steps = [step / steps for steps in (12, 60, 365) for step in range(steps)]
    just_before = [jump - 1e-6 for jump in (1 / 3, 1 / 2, 2 / 3, 3 / 4, 1)]
    for progress in whole_steps + just_before:
        assert built(progress, losses) == pytest.approx(function(progress, *extra), abs=1e-7)


def test_the_configuration_can_warm_up() -> None:
    config = composed("scheduler=linear")
    warm = {**config, "scheduler": {**config["scheduler"], "warmup": 0.5}}
    built = assembly.schedule(warm, validate=True)
    assert multipliers(lambda progress: built(progress, []), 4) == pytest.approx([0.01, 0.505, 1, 0.5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup": 1}, r"scheduler\.warmup=1 should be less than 1"),
        ({"factor": 0}, r"scheduler\.factor=0 should be greater than 0"),
        ({"factor": 1.5}, r"scheduler\.factor=1\.5 should be less than or equal to 1"),
        ({"milestones": [0.5, 2]}, r"scheduler\.milestones\[1\]=2 should be less than or equal to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    config = composed("scheduler=multistep")
    with pytest.raises(UserError, match=message):
        assembly.schedule({**config, "scheduler": {**config["scheduler"], **settings}}, validate=True)


def test_plateau_needs_a_validation_split() -> None:
    with pytest.raises(UserError, match="plateau needs the validation loss"):
        assembly.schedule(composed("scheduler=plateau"), validate=False)
