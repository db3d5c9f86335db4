"""The command line of `reproduce`: names of recipes, its own options, and what every run is made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from experiments.cli import arguments
from experiments.common.errors import UserError
from experiments.common.signatures import checked

MEANINGS = {
    "tier": "fast (seconds each, needs no data), mnist (minutes each), long, or all; fast where no recipe is named",
    "jobs": "how many recipes are made at once; auto for one a core",
    "out": "the folder of the gallery",
    "sabotage": "true plants each recipe's wrong result instead, which its band has to reject; writes no gallery",
    "config_dir": "a folder with recipes of your own, in experiment/<name>.yaml",
}
TEXTS = {"tier", "out", "config_dir"}
GALLERY = Path("outputs", "gallery")


@dataclass(frozen=True)
class ReproduceOptions:
    """What is asked for; see `MEANINGS`."""

    tier: Literal["fast", "mnist", "long", "all"] | None = None
    jobs: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    out: str = str(GALLERY)
    sabotage: bool = False
    config_dir: str | None = None


@dataclass(frozen=True)
class CommandLine:
    """A command line.

    Args:
        names: of recipes.
        options: see `ReproduceOptions`.
        overrides: of every run, such as `data.root=data`.
    """

    names: Sequence[str] = ()
    options: ReproduceOptions = field(default_factory=ReproduceOptions)
    overrides: Sequence[str] = ()

    @property
    def tier(self) -> str | None:
        """The tier that is asked for; None for all."""
        asked = self.options.tier or (None if self.names else "fast")
        return None if asked == "all" else asked


def parsed(words: Sequence[str]) -> CommandLine:
    """Read the command line.

    Raises:
        UserError: an option's value is none of its, or what begins with a dash.
    """
    names: list[str] = []
    overrides: list[str] = []
    given: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in MEANINGS:
            if name in given:
                raise UserError(f"{name} is given twice; give it once")
            given[name] = value if name in TEXTS else arguments.read(value)
        elif word.startswith("-"):
            options = ", ".join(f"{name}=" for name in MEANINGS)
            raise UserError(f"{word} is no option of reproduce; allowed: {options} and overrides of its runs")
        else:
            (overrides if equals else names).append(word)
    return CommandLine(names, ReproduceOptions(**checked(ReproduceOptions, given, "")), overrides)
