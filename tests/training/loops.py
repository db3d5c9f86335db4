"""Members of a loop, plans and stop requests, for the tests of the loop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.folders.run import RunFolder
from experiments.training.engine import fit
from experiments.training.member import Member
from experiments.training.position import Plan, Position
from experiments.training.single import Single
from experiments.training.stop import Stop
from experiments.training.streams import Streams
from tests.programs import single


def member(folder: Path, seed: int, rate: float = 0.1, **more: Any) -> Member:
    """One run inside the loop, with a schedule that falls."""
    return Member(RunFolder(folder), Streams(seed), rate, lambda p, _: 1 - p / 2, "val/accuracy", **more)


def plan(epochs: int = 4, **more: Any) -> Plan:
    """Fifty examples in batches of 16."""
    return Plan(**{"epochs": epochs, "batch_size": 16, "examples": 50, "drop_last": False, "validate": True, **more})


def without_clock(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Rows without seconds."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def one_program() -> Single:
    """A program with the first seed."""
    return single(1)


def assert_resumes_to_the_same_bits(
    folder: Path, looks: int, own: Plan, build: Callable[[], Single] = one_program, **more: Any
) -> Member:
    """Compare a run with one that is interrupted after a number of looks at the stop request; return the first.

    Args:
        folder: for the runs.
        looks: at the stop request.
        own: the plan.
        build: returns a program; the same one each time.
        more: of the members.
    """
    whole, program = member(folder / "whole", 1, **more), build()
    fit(program, [whole], Position(own))
    first = member(folder / "first", 1, **more)
    fit(build(), [first], Position(own), After(looks))
    state = first.folder.load(first.folder.last)
    resumed, continued, position = member(folder / "resumed", 1, **more), build(), Position(own)
    continued.load_state_dict(0, state["program"])
    resumed.streams.load_state_dict(state["streams"])
    resumed.history += json.loads(state["history"])
    position.load([state["position"]], continued)
    fit(continued, [resumed], position)
    assert without_clock(resumed.history) == without_clock(whole.history)
    for name, value in program.model.state_dict().items():
        assert torch.equal(continued.model.state_dict()[name], value), name
    return whole


class After(Stop):
    """Stops after it was checked a number of times."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.left -= 1
        return self.left < 0
