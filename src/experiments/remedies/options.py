"""The options of `remedy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, MinLen

from experiments.cli import arguments
from experiments.common.errors import UserError

MEANINGS = {
    "seeds": "the number of seeds that the run and each remedy are trained with",
    "most": "the largest number of remedies to try",
    "out": "the folder for the results; default: remedy/ in the folder of the run",
    "config_dir": "the folder with your own choices, as in --config-dir of train",
    "trust": "packages whose code the run may use: trust=[mypackage]",
}
TEXTS = {"out", "config_dir", "trust"}


@dataclass(frozen=True)
class RemedyOptions:
    """The options; see `MEANINGS`."""

    seeds: Annotated[int, Ge(2)] = 10
    most: Annotated[int, Ge(1)] = 8
    out: Annotated[str, MinLen(1)] | None = None
    config_dir: str | None = None
    trust: str | None = None

    @property
    def trusted(self) -> list[str]:
        """The packages of `trust`."""
        return arguments.listed((self.trust or "").strip("[]"))


def parsed(words: Sequence[str]) -> tuple[Path, RemedyOptions]:
    """Read the command line; see `arguments.parsed`.

    Raises:
        UserError: see there; or several folders are given.
    """
    folders, given = arguments.parsed(words, RemedyOptions, "remedy", MEANINGS, TEXTS)
    if len(folders) > 1:
        raise UserError(f"remedy takes one run at a time, but {len(folders)} folders are given; give run=<folder> once")
    return folders[0], RemedyOptions(**given)
