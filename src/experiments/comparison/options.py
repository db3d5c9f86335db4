"""The options of `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

from experiments.cli import arguments

LARGEST, DAY = 1e300, 86_400.0
MEANINGS = {
    "by": "config groups and keys that define the groups: by=optimizer,init; default: all that differ, except the seed",
    "best": "keys that are tuned for each group: best=optimizer.lr; default: all other numbers that differ but seeds",
    "pool": "keys to average over on purpose, instead of tuning them: pool=init",
    "where": "a condition that leaves other runs out: where=model.dropout=0.5; several: where=optimizer=adam,init=he",
    "metric": "the metric to compare; default: the runs' objective",
    "baseline": "the group to compare the others with: baseline=optimizer=sgd; default: the best group",
    "target": "adds the epochs and seconds until the metric reaches this value to the table: target=0.97",
    "axis": "axis of curves, unit of target: epoch, step or seconds; default: epoch, or step if runs validate by steps",
    "mixed": "true compares runs of different data sets",
    "watch": "true refreshes while runs are in progress; Ctrl-C stops it",
    "every": "seconds between two refreshes",
    "out": "the folder for the results; default: comparison/ in the given folder, or in the one above several",
}
TEXTS = {"by", "best", "pool", "where", "metric", "baseline", "axis", "out"}


@dataclass(frozen=True)
class CompareOptions:
    """The options of one comparison; see `MEANINGS`."""

    by: str | None = None
    best: str | None = None
    pool: str | None = None
    where: str | None = None
    metric: str | None = None
    baseline: str | None = None
    target: Annotated[float, Ge(-LARGEST), Le(LARGEST)] | None = None
    axis: Literal["epoch", "step", "seconds"] | None = None
    mixed: bool = False
    watch: bool = False
    every: Annotated[float, Gt(0), Le(DAY)] = 10.0
    out: Annotated[str, MinLen(1)] | None = None

    @property
    def keys(self) -> list[str] | None:
        """The keys of `by`."""
        return split_keys(self.by)

    @property
    def tuned_keys(self) -> list[str] | None:
        """The keys of `best`."""
        return split_keys(self.best)

    @property
    def pooled_keys(self) -> list[str] | None:
        """The keys of `pool`."""
        return split_keys(self.pool)


def split_keys(text: str | None) -> list[str] | None:
    """Return the keys in an option's value, each once; None if it is not given."""
    return None if text is None else list(dict.fromkeys(key.strip() for key in text.split(",") if key.strip()))


def parsed(words: Sequence[str]) -> tuple[list[Path], CompareOptions]:
    """Read the command line; see `arguments.parsed`."""
    folders, given = arguments.parsed(words, CompareOptions, "compare", MEANINGS, TEXTS)
    return folders, CompareOptions(**given)
