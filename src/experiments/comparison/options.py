"""The options of `compare`, and how they are read from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import yaml
from annotated_types import Ge, Gt, Le, MinLen

from experiments.errors import UserError, nearest
from experiments.settings import checked

LARGEST, DAY = 1e300, 86_400.0
MEANINGS = {
    "by": "config groups and keys that make the groups: by=optimizer,init; otherwise all that differ but the seed",
    "where": "only runs that fulfil this: where=model.dropout=0.5, or several: where=optimizer=adam,init=he",
    "metric": "what is compared; otherwise the runs' objective",
    "baseline": "what the others are held against: baseline=optimizer=sgd; otherwise the best is held against all",
    "target": "epochs and seconds until the metric reaches this are in the table: target=0.97",
    "mixed": "true compares runs of different data sets",
    "watch": "true refreshes while runs go on; Ctrl-C ends it",
    "every": "seconds between two refreshes",
    "out": "the folder to write; otherwise comparison/ in the folder, or in the one that holds all of them",
}


@dataclass(frozen=True)
class Options:
    """What is asked for; see `MEANINGS`."""

    by: str | None = None
    where: str | None = None
    metric: str | None = None
    baseline: str | None = None
    target: Annotated[float, Ge(-LARGEST), Le(LARGEST)] | None = None
    mixed: bool = False
    watch: bool = False
    every: Annotated[float, Gt(0), Le(DAY)] = 10.0
    out: Annotated[str, MinLen(1)] | None = None

    @property
    def keys(self) -> list[str] | None:
        """The keys of `by`."""
        if self.by is None:
            return None
        return list(dict.fromkeys(key.strip() for key in self.by.split(",") if key.strip()))


TEXTS = {"by", "where", "metric", "baseline", "out"}


def described() -> str:
    """Return the options, a line each."""
    return "\n".join(f"  {field.name + '=':<10} {MEANINGS[field.name]}" for field in fields(Options))


def parsed(arguments: Sequence[str]) -> tuple[list[Path], Options]:
    """Read the command line: what names an option is one, the rest are folders.

    Raises:
        UserError: no folder, an unknown option, or a value that is none of its.
    """
    names = [field.name for field in fields(Options)]
    folders: list[Path] = []
    given: dict[str, object] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in names:
            if name in given:
                raise UserError(f"{name} is given twice; give it once, its conditions with commas between")
            given[name] = value if name in TEXTS else read(value)
        elif Path(argument).exists():
            folders.append(Path(argument))
        elif equals and "/" not in name and name.isidentifier():
            raise UserError(f"{name} is no option of compare; allowed: {', '.join(names)}" + nearest(name, names))
        elif argument.startswith("-"):
            raise UserError(f"{argument} is no option of compare; allowed: {', '.join(f'{name}=' for name in names)}")
        else:
            raise UserError(f"{argument!r} is no folder; give the folders of runs or sweeps, or one above them")
    if not folders:
        raise UserError("no folder is given; give the folders of runs or sweeps, or one above them, such as outputs")
    return folders, Options(**checked(Options, given, ""))


def read(value: str) -> object:
    """Return a value as YAML has it; text where it is none."""
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    if isinstance(found, str):
        try:
            return float(found)  # 1e-3, which YAML takes for text
        except ValueError:
            return found
    return found
