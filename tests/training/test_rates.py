"""The rates of many members: those of each on its own, from as few calls of schedules as possible."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from experiments import schedules
from experiments.folders.run import RunFolder
from experiments.schedules import OfProgress, Schedule, warmed_up
from experiments.training.member import Member, Rates
from experiments.training.position import Plan
from experiments.training.streams import Streams

PLAN = Plan(examples=40, batch_size=10, epochs=5, drop_last=False, validate=True)
SCHEDULES: Mapping[str, Schedule] = {
    "cosine": OfProgress(schedules.cosine),
    "linear": OfProgress(partial(schedules.linear, final=0.1)),
    "steps": warmed_up(OfProgress(partial(schedules.multistep, milestones=[0.2, 0.6])), 0.1),
    "plateau": schedules.plateau,
    "plateau, warmed up": warmed_up(schedules.plateau, 0.3),
}


def member(schedule: Schedule, rate: float = 0.1, horizon: int | None = None, loss: float = 1.0) -> Member:
    """A member with a history."""
    own = Member(RunFolder(Path()), Streams(0), rate, schedule, "val/loss", horizon=horizon)
    own.history = [{"val/loss": loss * 0.5**epoch} for epoch in range(6)]
    return own


def test_each_member_has_its_own_rate() -> None:
    members = [member(schedule, 0.1 + k) for k, schedule in enumerate([*SCHEDULES.values(), *SCHEDULES.values()])]
    members += [member(SCHEDULES["cosine"], horizon=30), member(SCHEDULES["plateau"], loss=float("nan"))]
    rates = Rates(members, PLAN)
    for step in range(25):
        assert rates(step) == [own.learning_rate(step, PLAN, own.val_losses()) for own in members]


def test_the_same_schedule_is_called_once_for_all() -> None:
    calls: list[float] = []

    def own(progress: float, *, final: float) -> float:
        calls.append(progress)
        return 1 - (1 - final) * progress

    def schedule(final: float) -> Schedule:
        return warmed_up(OfProgress(partial(own, final=final)), 0.1)

    rates = Rates([member(schedule(0.5), rate) for rate in (0.1, 0.2, 0.3)], PLAN)
    assert rates(10) == [rate * schedule(0.5)(0.5, []) for rate in (0.1, 0.2, 0.3)]
    assert len(calls) == 4
    rates = Rates([member(schedule(0.5)), member(schedule(0.4)), member(schedule(0.5), horizon=7)], PLAN)
    calls.clear()
    rates(10)
    assert len(calls) == 3
