"""The options of `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from experiments import arguments

MEANINGS = {
    "split": "test, val or train",
    "best": "of a sweep or several runs only so many, the best by their objective",
    "ensemble": "runs, or the kept checkpoints of one, together too: mean of probabilities, soup of weights",
    "device": "auto takes CUDA where there is one; cpu, cuda, cuda:1",
    "trust": "modules that a run's configuration may take code from, besides torch and this package: trust=my_package",
}
TEXTS = {"split", "ensemble", "device", "trust"}


@dataclass(frozen=True)
class Options:
    """What is asked for; see `MEANINGS`."""

    split: Literal["train", "val", "test"] = "test"
    best: Annotated[int, Ge(1)] | None = None
    ensemble: Literal["mean", "soup"] | None = None
    device: str = "auto"
    trust: str | None = None

    @property
    def trusted(self) -> list[str]:
        """The modules of `trust`."""
        return [name.strip() for name in (self.trust or "").split(",") if name.strip()]


def described() -> str:
    """Return the options, a line each."""
    return arguments.described(MEANINGS)


def parsed(words: Sequence[str]) -> tuple[list[Path], Options]:
    """Read the command line; see `arguments.parsed`."""
    folders, given = arguments.parsed(words, Options, "evaluate", MEANINGS, TEXTS)
    return folders, Options(**given)
