"""The command line of `reproduce`: names of recipes, options, and overrides of every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from experiments.cli import arguments
from experiments.cli.project import with_options
from experiments.common.signatures import checked

from .courses import CourseName

MEANINGS = {
    "tier": "fast (seconds each, needs no data), mnist (minutes each), long, or all; fast if no recipe is named",
    "course": "only the lessons of a course, in its order: cs231n, scratch or specialization",
    "jobs": "how many recipes run at once; auto for one per core",
    "out": "the folder of the gallery",
    "sabotage": "true plants each recipe's wrong result, which its band must reject; writes no gallery",
    "config_dir": "a folder with your own recipes, as experiment/<name>.yaml",
}
TEXTS = {"tier", "course", "out", "config_dir"}
GALLERY = Path("outputs", "gallery")


@dataclass(frozen=True)
class ReproduceOptions:
    """The options; see `MEANINGS`."""

    tier: Literal["fast", "mnist", "long", "all"] | None = None
    course: CourseName | None = None
    jobs: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    out: str = str(GALLERY)
    sabotage: bool = False
    config_dir: str | None = None


@dataclass(frozen=True)
class CommandLine:
    """A command line.

    Args:
        names: of the recipes.
        options: see `ReproduceOptions`.
        overrides: of every run, such as `data.root=data`.
    """

    names: Sequence[str] = ()
    options: ReproduceOptions = field(default_factory=ReproduceOptions)
    overrides: Sequence[str] = ()

    @property
    def tier(self) -> str | None:
        """The tier to run; None for all."""
        tier = self.options.tier or (None if self.names else "fast")
        return None if tier == "all" else tier


def parsed(words: Sequence[str]) -> CommandLine:
    """Read the command line.

    Raises:
        UserError: an option's value is not allowed or given twice, or a word begins with a dash.
    """
    names: list[str] = []
    overrides: list[str] = []
    given: dict[str, Any] = {}
    for word in with_options(words, MEANINGS):
        if arguments.is_option(word, MEANINGS):
            arguments.read_option(word, given, TEXTS)
        elif word.startswith("-"):
            raise arguments.unknown_option(word, "reproduce", MEANINGS)
        else:
            (overrides if "=" in word else names).append(word)
    return CommandLine(names, ReproduceOptions(**checked(ReproduceOptions, given, "")), overrides)
