"""Groups: runs with equal configuration but for the seed, under the shortest names that tell them apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from experiments.cli.arguments import as_yaml_has_it
from experiments.common.errors import UserError, nearest
from experiments.common.keys import meaning
from experiments.common.text import visible
from experiments.folders.reading import Record, number

ENDED_WELL = ("finished", "stopped")
"""The statuses of runs whose numbers count: each has trained as long as it was asked to."""
ABSENT = "-"
"""Stands for the value of a key that a run does not have, as sgd has no beta."""
EXACT = 2**53
"""Below it a float that is a whole number is that number."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but what repeats them.

    Args:
        name: what tells it from the others, as it is typed.
        levels: the value of each key that the groups differ in.
        records: its runs, one for each repetition.
        metric: what is compared.
    """

    name: str
    levels: Mapping[str, str]
    records: Mapping[Hashable, Record]
    metric: str

    @cached_property
    def values(self) -> dict[Hashable, float]:
        """The metric of each run that ended well, by what repeats the group: the seed, as a rule."""
        return {
            block: record.metrics[self.metric]
            for block, record in self.records.items()
            if record.status in ENDED_WELL and self.metric in record.metrics
        }

    @property
    def statuses(self) -> Counter[str]:
        """How many of its runs ended in which way."""
        return Counter(record.status for record in self.records.values())


@dataclass(frozen=True)
class Grouping:
    """How runs are grouped.

    Args:
        groups: in the order in which their first runs were found.
        keys: what the groups differ in: config groups and keys.
        differing: all that runs differ in, see `varying`.
        repeated: what repeats a group: the seed, and with `by` whatever else differs.
        repeats: runs left out, because a newer one has the same configuration and seed.
    """

    groups: Sequence[Group]
    keys: Sequence[str]
    differing: Sequence[str]
    repeated: Sequence[str]
    repeats: Sequence[Record] = field(default_factory=list)


def grouped(records: Sequence[Record], metric: str, by: Sequence[str] | None = None) -> Grouping:
    """Put runs into groups.

    Args:
        records: the runs; at least one.
        metric: what is compared.
        by: the config groups and keys that make the groups; None for all that differ.

    Raises:
        UserError: no run has such a key.
    """
    for key in by or ():
        known(key, records)
    differing = varying(records)
    telling = list(by) if by is not None else shortest(differing, records)
    repeated = [key for key in ("seed", *differing) if not determined(key, by, records)] if by is not None else ["seed"]
    identity = list(by) if by is not None else differing
    members: dict[tuple[str, ...], dict[Hashable, Record]] = {}
    repeats = []
    for record in records:
        runs = members.setdefault(tuple(exactly(record, key) for key in identity), {})
        block = tuple(exactly(record, key) for key in repeated)
        other = runs.get(block)
        if other is not None:
            older, record = sorted((other, record), key=worth)
            repeats.append(older)
        runs[block] = record
    firsts = [next(iter(runs.values())) for runs in members.values()]
    text = {key: telling_text(key, firsts) for key in telling}
    groups = [
        Group(name, {key: text[key](first, key) for key in telling}, runs, metric)
        for name, first, runs in zip(names(firsts, telling), firsts, members.values(), strict=True)
    ]
    return Grouping(groups, telling, differing, repeated, repeats)


def worth(record: Record) -> tuple[bool, float]:
    """Return what says which of two runs of one configuration and seed counts: one that ended well, then the newer."""
    try:
        written = (record.folder / "summary.json").stat().st_mtime
    except OSError:
        written = 0.0
    return record.status in ENDED_WELL, written


def varying(records: Sequence[Record]) -> list[str]:
    """Return what runs differ in: config groups first, then keys that no choice of a group determines.

    Of the keys, those that were typed go before others.
    """
    groups = [key for key in every(records, lambda r: r.choices) if differs(key, records)]
    groups = [key for key in groups if all(key in record.choices for record in records)]
    combinations = [tuple(exactly(record, key) for key in groups) for record in records]
    keys = []
    for key in every(records, lambda r: r.config):
        values = [exactly(record, key) for record in records]
        if len(set(values)) > 1 and len(set(zip(combinations, values, strict=True))) > len(set(combinations)):
            keys.append(key)
    words = {word for record in records for word in record.typed}
    return [*groups, *sorted(keys, key=lambda key: key not in words)]


def every(records: Sequence[Record], mapping: Callable[[Record], Mapping[str, Any]]) -> list[str]:
    """Return the keys of all runs, but for those that change nothing, in the order of the first run."""
    found = dict.fromkeys(key for record in records for key in mapping(record))
    return [key for key in found if meaning(key).group]


def determined(key: str, by: Sequence[str], records: Sequence[Record]) -> bool:
    """Whether a key says nothing beside the keys of the groups: it is one of them, or follows from them.

    The seed never follows: that runs of different groups have different seeds does not make them pairs.
    """
    if key in by or key == "seed":
        return key in by
    combinations = [tuple(exactly(record, other) for other in by) for record in records]
    values = [exactly(record, key) for record in records]
    return len(set(zip(combinations, values, strict=True))) == len(set(combinations))


def differs(key: str, records: Sequence[Record]) -> bool:
    """Whether runs have different values of a key."""
    return len({exactly(record, key) for record in records}) > 1


def shortest(keys: Sequence[str], records: Sequence[Record]) -> list[str]:
    """Return keys without those that the others make superfluous: their values tell as many runs apart.

    Every run keeps a key that it has, so that none is named by what it lacks.
    """
    columns = {key: [exactly(record, key) for record in records] for key in keys}
    left = list(keys)

    def told(keys: Sequence[str]) -> int:
        return len(set(zip(*(columns[key] for key in keys), strict=True))) if keys else 1

    whole = told(left)
    for key in reversed(keys):
        without = [other for other in left if other != key]
        named = all(any(columns[other][at] != ABSENT for other in without) for at in range(len(records)))
        if told(without) == whole and (named or not without):
            left = without
    return left


def names(firsts: Sequence[Record], keys: Sequence[str]) -> list[str]:
    """Return the groups' names: their values, as they are typed; with one group, what was typed for it."""
    if not keys:
        return ["all runs" for _ in firsts]
    text = {key: telling_text(key, firsts) for key in keys}
    made = [
        " ".join(f"{key}={value}" for key in keys if (value := text[key](record, key)) != ABSENT) or "the others"
        for record in firsts
    ]
    if len(set(made)) == len(made):
        return made
    return [" ".join(f"{key}={exactly(record, key)}" for key in keys) for record in firsts]


def telling_text(key: str, records: Sequence[Record]) -> Callable[[Record, str], str]:
    """Return what makes a key's values texts: as they are typed, or exactly where values would look alike."""
    alike = len({shown(record, key) for record in records}) < len({exactly(record, key) for record in records})
    return exactly if alike else shown


def value_of(record: Record, key: str) -> Any:
    """Return a run's value of a config group or key; `ABSENT` where it has none."""
    return record.choices.get(key, record.config.get(key, ABSENT))


def exactly(record: Record, key: str) -> str:
    """Return a value as text that differs where values differ; 0 and 0.0 are one."""
    value = value_of(record, key)
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        value = int(value)
    return as_text(value)


def shown(record: Record, key: str) -> str:
    """Return a value as it is typed, numbers to four digits."""
    value = value_of(record, key)
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else as_text(value)
        if isinstance(value, str)
        else as_text(value).replace(" ", "")
    )


def as_text(value: Any) -> str:
    """Return a value as JSON where it can be."""
    if isinstance(value, str):
        return visible(value)
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        return repr(value)  # a list that holds itself, or a mapping with dates for keys


def number_of(record: Record, key: str) -> float | None:
    """Return a run's value of a key where it is a number."""
    value = value_of(record, key)
    return float(value) if number(value) else None


def known(key: str, records: Sequence[Record]) -> None:
    """Refuse a key that no run has.

    Raises:
        UserError: with the nearest match.
    """
    keys = {key for record in records for key in (*record.choices, *record.config)}
    if key not in keys:
        differing = ", ".join([*varying(records), "seed"])
        raise UserError(f"{key} is no key of these runs; they differ in: {differing}" + nearest(key, keys))


def conditions(text: Sequence[str], option: str) -> list[tuple[str, Any]]:
    """Read conditions such as `model.dropout=0.5`.

    Raises:
        UserError: one is none.
    """
    read = []
    for line in text:
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise UserError(f"{option}={line!r} should be <key>=<value>, such as {option}=optimizer=adam")
        read.append((key.strip(), as_yaml_has_it(value)))
    return read


def satisfies(record: Record, wanted: Sequence[tuple[str, Any]]) -> bool:
    """Whether a run fulfils all conditions: its choice or value is the wanted one."""
    return all(fits(value_of(record, key), value) for key, value in wanted)


def fits(value: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one, as typed: 1e-3 is 0.001."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, int | float) and isinstance(wanted, str):
        try:
            return float(wanted) == value  # yaml reads 1e-3 as text
        except ValueError:
            return False
    return bool(value == wanted) or str(value) == str(wanted)
