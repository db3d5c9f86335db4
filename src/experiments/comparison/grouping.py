"""Groups: runs whose configurations differ only in the seed, with the shortest names that tell them apart."""

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

COMPLETED = ("finished", "stopped")
"""The statuses of runs whose numbers count: they have trained to the end, or stopped early as configured."""
ABSENT = "-"
"""The value of a key that a run does not have, as sgd has no beta."""
EXACT = 2**53
"""Below it, every float that is a whole number is exactly that number."""


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed, or in the other keys that repeat a group.

    Args:
        name: the keys that tell it apart from the others, with their values, as they are typed.
        levels: the value of each key that the groups differ in.
        records: its runs, one for each repetition.
        metric: the metric to compare.
    """

    name: str
    levels: Mapping[str, str]
    records: Mapping[Hashable, Record]
    metric: str

    @cached_property
    def values(self) -> dict[Hashable, float]:
        """The metric of each completed run, by the values of the keys that repeat the group: usually the seed."""
        return {
            block: record.metrics[self.metric]
            for block, record in self.records.items()
            if record.status in COMPLETED and self.metric in record.metrics
        }

    @property
    def statuses(self) -> Counter[str]:
        """The number of runs with each status."""
        return Counter(record.status for record in self.records.values())


@dataclass(frozen=True)
class Grouping:
    """Runs in groups.

    Args:
        groups: in the order in which their first runs were found.
        keys: the config groups and keys that the groups differ in.
        differing: all config groups and keys that runs differ in; see `varying`.
        repeated: the keys that repeat a group: the seed, and with `by` all others that differ.
        repeats: runs left out because a newer one has the same configuration and seed.
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
        metric: the metric to compare.
        by: the config groups and keys that define the groups; None for all that differ.

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
    """Return the sort key that decides which of two equal runs counts: a completed one first, then the newer one."""
    try:
        written = (record.folder / "summary.json").stat().st_mtime
    except OSError:
        written = 0.0
    return record.status in COMPLETED, written


def varying(records: Sequence[Record]) -> list[str]:
    """Return the config groups that runs differ in, then the keys that no choice of a group determines.

    Among the keys, those that were typed come first.
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
    """Return the keys of all runs, in the order of the first run, except those that make no group."""
    found = dict.fromkeys(key for record in records for key in mapping(record))
    return [key for key in found if meaning(key).group]


def determined(key: str, by: Sequence[str], records: Sequence[Record]) -> bool:
    """Whether a key is one of the keys of the groups, or follows from them.

    The seed never follows from them: groups with different seeds have no pairs.
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
    """Return the keys without the superfluous ones: the values of the others tell as many runs apart.

    Every run keeps a key that it has, so that no run is named only by keys that it does not have.
    """
    columns = {key: [exactly(record, key) for record in records] for key in keys}
    left = list(keys)

    def distinct(keys: Sequence[str]) -> int:
        return len(set(zip(*(columns[key] for key in keys), strict=True))) if keys else 1

    whole = distinct(left)
    for key in reversed(keys):
        without = [other for other in left if other != key]
        named = all(any(columns[other][index] != ABSENT for other in without) for index in range(len(records)))
        if distinct(without) == whole and (named or not without):
            left = without
    return left


def names(firsts: Sequence[Record], keys: Sequence[str]) -> list[str]:
    """Return the groups' names: their keys and values, as they are typed."""
    if not keys:
        return ["all runs" for _ in firsts]
    text = {key: telling_text(key, firsts) for key in keys}
    short = [
        " ".join(f"{key}={value}" for key in keys if (value := text[key](record, key)) != ABSENT) or "the others"
        for record in firsts
    ]
    if len(set(short)) == len(short):
        return short
    return [" ".join(f"{key}={exactly(record, key)}" for key in keys) for record in firsts]


def telling_text(key: str, records: Sequence[Record]) -> Callable[[Record, str], str]:
    """Return the function that shows a key's values: as they are typed, or exactly if they would look alike."""
    alike = len({shown(record, key) for record in records}) < len({exactly(record, key) for record in records})
    return exactly if alike else shown


def value_of(record: Record, key: str) -> Any:
    """Return a run's value of a config group or key; `ABSENT` if it has none."""
    return record.choices.get(key, record.config.get(key, ABSENT))


def exactly(record: Record, key: str) -> str:
    """Return a value as text that is different for different values; 0 and 0.0 are equal."""
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
    """Return a value as JSON if possible."""
    if isinstance(value, str):
        return visible(value)
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        return repr(value)  # a list that contains itself, or a mapping with dates as keys


def number_of(record: Record, key: str) -> float | None:
    """Return a run's value of a key if it is a number."""
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
        raise UserError(f"{key} is not a key of these runs; they differ in: {differing}" + nearest(key, keys))


def conditions(text: Sequence[str], option: str) -> list[tuple[str, Any]]:
    """Read conditions such as `model.dropout=0.5`.

    Raises:
        UserError: one is not a condition.
    """
    read = []
    for line in text:
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise UserError(f"{option}={line!r} should be <key>=<value>, such as {option}=optimizer=adam")
        read.append((key.strip(), as_yaml_has_it(value)))
    return read


def satisfies(record: Record, wanted: Sequence[tuple[str, Any]]) -> bool:
    """Whether a run matches all conditions: its choice or value is the wanted one."""
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
