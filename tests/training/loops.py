"""Members of a loop, plans and stop requests, for the tests of the loop."""

from pathlib import Path
from typing import Any

from experiments.folders.run import RunFolder
from experiments.training.member import Member
from experiments.training.position import Plan
from experiments.training.stop import Stop
from experiments.training.streams import Streams


def member(folder: Path, seed: int, rate: float = 0.1, **more: Any) -> Member:
    """One run inside the loop, with a schedule that falls."""
    return Member(RunFolder(folder), Streams(seed), rate, lambda p, _: 1 - p / 2, "val/accuracy", **more)


def plan(epochs: int = 4, **more: Any) -> Plan:
    """Fifty examples in batches of 16."""
    return Plan(**{"epochs": epochs, "batch_size": 16, "examples": 50, "drop_last": False, "validate": True, **more})


def without_clock(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Rows without seconds."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


class After(Stop):
    """Stops after it was checked a number of times."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.left -= 1
        return self.left < 0
