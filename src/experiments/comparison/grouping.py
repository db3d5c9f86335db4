"""Groups: runs whose configurations differ only in the seed, with the shortest names that tell them apart.

A comparison by some keys takes every other key that varies, except seeds and folds, for a nuisance: a setting that is
tuned for each group and that is not a repetition. Each group then consists of the runs of its best setting.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from experiments.cli.arguments import as_yaml_has_it
from experiments.common.errors import UserError, nearest
from experiments.common.keys import ADDED, AUTOMATIC, meaning
from experiments.common.metrics import Metric
from experiments.common.statuses import COMPLETED
from experiments.common.text import visible
from experiments.folders.reading import Record, number

REPETITIONS = ("seed", "data.fold")
"""The keys that repeat a run with other random numbers or another split, and are never tuned."""
ABSENT = "-"
"""The value of a key that a run does not have, as sgd has no beta."""
OPEN = ("objective", "task._target_", "loss._target_")
"""The keys whose automatic values a run replaces, when it starts, by what the data show."""
FEWEST_KEYS = 3
"""With at least this many keys, the names of groups leave out what most groups have."""
COMMON = "common settings"
"""The name of the group that has all of it."""
EXACT = 2**53
"""Below it, every float that is a whole number is exactly that number."""


@dataclass(frozen=True)
class Setting:
    """The runs of a group with the same values of the nuisance keys.

    Args:
        name: the nuisance keys with their values, as they are typed.
        records: its runs, one for each repetition.
        score: the mean of the metric that chooses the best setting; None if no run has completed.
    """

    name: str
    records: Mapping[Hashable, Record]
    score: float | None


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed, or in the other keys that repeat a group.

    Args:
        name: the keys that tell it apart from the others, with their values, as they are typed.
        levels: the value of each key that the groups differ in.
        records: its runs, one for each repetition.
        metric: the metric to compare.
        settings: what was tried for the nuisance keys, the best first; empty without such keys.
        luck: the standard deviation of its mean by the choice of its setting, of runs on fresh seeds.
    """

    name: str
    levels: Mapping[str, str]
    records: Mapping[Hashable, Record]
    metric: str
    settings: Sequence[Setting] = ()
    luck: float = 0.0

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

    @property
    def outcome(self) -> str | None:
        """What happened to its runs, such as '5 diverged', if none of them has the metric; None if one has it."""
        if self.values:
            return None
        return ", ".join(
            f"{number} {status}" + (f" without {self.metric}" if status in COMPLETED else "")
            for status, number in self.statuses.items()
        )


@dataclass(frozen=True)
class Grouping:
    """Runs in groups.

    Args:
        groups: in the order in which their first runs were found.
        keys: the config groups and keys that the groups differ in.
        differing: all config groups and keys that runs differ in; see `varying`.
        repeated: the keys that repeat a group: the seed, a fold, and the keys of `pool`.
        repeats: runs left out because a newer one has the same configuration and seed.
        nuisance: the keys whose values are tuned for each group.
        chooser: the metric that chooses the best setting of each group; None without nuisance keys.
        fresh: whether the runs of the groups are others than those that chose the settings.
        common: the choices that most groups have, which their names leave out; empty if the names have everything.
    """

    groups: Sequence[Group]
    keys: Sequence[str]
    differing: Sequence[str]
    repeated: Sequence[str]
    repeats: Sequence[Record] = field(default_factory=list)
    nuisance: Sequence[str] = ()
    chooser: Metric | None = None
    fresh: bool = False
    common: str = ""

    @property
    def pooled(self) -> list[str]:
        """The keys over which a group's runs are averaged on purpose."""
        return [key for key in self.repeated if key not in REPETITIONS]

    def untuned(self) -> Grouping:
        """Return all runs, with a group for each setting that was tried."""
        groups = [
            Group(f"{group.name} {setting.name}", group.levels, setting.records, group.metric)
            for group in self.groups
            for setting in group.settings
        ]
        return replace(self, groups=groups) if groups else self


@dataclass(frozen=True)
class Keys:
    """The keys that runs differ in, by what they are for.

    Args:
        differing: all of them, see `varying`.
        identity: those that define the groups.
        telling: those of the groups' names.
        nuisance: those that are tuned for each group.
        repeated: those that repeat a group.
    """

    differing: Sequence[str]
    identity: Sequence[str]
    telling: Sequence[str]
    nuisance: Sequence[str]
    repeated: Sequence[str]


def keys_of(
    records: Sequence[Record],
    by: Sequence[str] | None = None,
    best: Sequence[str] | None = None,
    pool: Sequence[str] | None = None,
) -> Keys:
    """Return what each key that runs differ in is for; the arguments are those of `grouped`.

    Args:
        records, by, best, pool: see `grouped`.

    Raises:
        UserError: no run has such a key, or the lists contradict each other.
    """
    for key in (*(by or ()), *(best or ()), *(pool or ())):
        known(key, records)
    refuse_contradictions({"by": by, "best": best, "pool": pool})
    differing = varying(records)
    if by is None and best is None and pool is None:
        return Keys(differing, differing, shortest(differing, records), [], ["seed"])
    listed = {*(best or ()), *(pool or ())}
    identity = list(by) if by is not None else [key for key in differing if key not in (*listed, *REPETITIONS)]
    telling = list(by) if by is not None else shortest(identity, records)
    free = [key for key in ("seed", *differing) if not determined(key, identity, records)]
    nuisance = [key for key in free if key not in REPETITIONS and key not in (pool or ())]
    if best is not None:
        unlisted = [key for key in nuisance if key not in best and not determined(key, [*identity, *best], records)]
        if unlisted:
            raise UserError(
                f"{unlisted[0]} differs within the groups and is not in best={','.join(best)}; add it to best to tune "
                "it for each group, to by for a group for each value, or to pool to average over it"
            )
    return Keys(differing, identity, telling, nuisance, [key for key in free if key not in nuisance])


def refuse_unlisted(nuisance: Sequence[str], records: Sequence[Record]) -> None:
    """Refuse to tune a key that is not a number if it is not listed: it may be a question of its own.

    Args:
        nuisance: the keys that would be tuned.
        records: the runs.

    Raises:
        UserError: with the key.
    """
    for key, record in not_numbers(nuisance, records).items():
        raise UserError(
            f"{key} differs within the groups and is not a number ({shown(record, key)}); give "
            f"best={','.join(nuisance)} to tune it for each group, add it to by for a group for each value, or "
            f"average over it with pool={key}"
        )


def not_numbers(keys: Sequence[str], records: Sequence[Record]) -> dict[str, Record]:
    """Return those of some keys that are not numbers, each with the first run in which it is something else."""
    found: dict[str, Record] = {}
    for key in keys:
        odd = (r for r in records if number_of(r, key) is None and value_of(r, key) not in (ABSENT, None))
        if (first := next(odd, None)) is not None:
            found[key] = first
    return found


def refuse_contradictions(given: Mapping[str, Sequence[str] | None]) -> None:
    """Refuse a key in two of the lists `by`, `best` and `pool`, and a seed that is tuned.

    Raises:
        UserError: with the key.
    """
    for one, other in combinations([(option, keys) for option, keys in given.items() if keys], 2):
        twice = [key for key in one[1] if key in other[1]]
        if twice:
            raise UserError(f"{twice[0]} is in both {one[0]}= and {other[0]}=; leave it out of one of them")
    for key in given.get("best") or ():
        if key in REPETITIONS:
            raise UserError(f"best={key} would choose the luckiest runs; {key} repeats a setting and is not tuned")


def grouped(
    records: Sequence[Record],
    metric: str,
    by: Sequence[str] | None = None,
    best: Sequence[str] | None = None,
    pool: Sequence[str] | None = None,
    chooser: Metric | None = None,
) -> Grouping:
    """Put runs into groups.

    Args:
        records: the runs; at least one.
        metric: the metric to compare.
        by: the config groups and keys that define the groups; None for all that differ.
        best: the keys that are tuned for each group; None for all that differ and are in neither `by` nor `pool`.
        pool: the keys over which a group's runs are averaged.
        chooser: the metric that chooses the best setting of each group; None if there is none.

    Raises:
        UserError: no run has such a key, the lists contradict each other, or nothing can choose the settings.
    """
    keys = keys_of(records, by, best, pool)
    if keys.nuisance and chooser is None:
        raise UserError(
            f"the best {keys.nuisance[0]} of each group cannot be chosen, as these runs have no validation split; add "
            f"it to by for a group for each value, or average over it with pool={keys.nuisance[0]}"
        )
    members: dict[tuple[str, ...], dict[tuple[str, ...], dict[Hashable, Record]]] = {}
    repeats = []
    for record in records:
        settings = members.setdefault(tuple(exactly(record, key) for key in keys.identity), {})
        runs = settings.setdefault(tuple(exactly(record, key) for key in keys.nuisance), {})
        block = tuple(exactly(record, key) for key in keys.repeated)
        other = runs.get(block)
        if other is not None:
            older, record = sorted((other, record), key=worth)
            repeats.append(older)
        runs[block] = record
    firsts = [next(iter(next(iter(settings.values())).values())) for settings in members.values()]
    text = {key: telling_text(key, firsts) for key in keys.telling}
    tried = settings_of(list(members.values()), keys.nuisance, chooser) if keys.nuisance and chooser else []
    groups = []
    usual = usual_values(firsts, keys.telling) if by is None else {}
    named = names(firsts, keys.telling, usual)
    common = []
    for key, value in usual.items() if named != names(firsts, keys.telling) else ():
        first = next(record for record in firsts if exactly(record, key) == value)
        common.append(f"{key}={text[key](first, key)}")
    for index, (name, first, settings) in enumerate(zip(named, firsts, members.values(), strict=True)):
        levels = {key: text[key](first, key) for key in keys.telling}
        ranked = tried[index] if tried else ()
        groups.append(
            Group(name, levels, ranked[0].records if ranked else next(iter(settings.values())), metric, ranked)
        )
    return Grouping(
        groups,
        keys.telling,
        keys.differing,
        keys.repeated,
        repeats,
        keys.nuisance,
        chooser if tried else None,
        common=" ".join(common),
    )


def settled(records: Sequence[Record]) -> list[Record]:
    """Return the runs with values for what their configurations leave open, if other runs show it.

    A run that has not started has `objective=auto` where the others have `val/accuracy`, and a run of an earlier
    version lacks settings that came later. Neither makes a group.
    """
    trained = [record for record in records if record.epochs]
    settled_values = {key: {record.config.get(key) for record in trained} for key in OPEN}
    settled_values = {key: values for key, values in settled_values.items() if len(values) == 1}
    having: dict[str, set[Any]] = {key: {model_of(r) for r in records if key in r.config} for key in ADDED}

    def missing(record: Record) -> dict[str, Any]:
        added = {k: v for k, v in ADDED.items() if k not in record.config and model_of(record) in having[k]}
        if record.epochs:
            return added
        return added | {k: next(iter(v)) for k, v in settled_values.items() if record.config.get(k) in AUTOMATIC}

    found = [(record, missing(record)) for record in records]
    return [replace(record, config={**record.config, **more}) if more else record for record, more in found]


def model_of(record: Record) -> str:
    """Return the path of a run's model."""
    return str(record.config.get("model._target_"))


def settings_of(
    members: Sequence[Mapping[tuple[str, ...], Mapping[Hashable, Record]]], nuisance: Sequence[str], chooser: Metric
) -> list[list[Setting]]:
    """Return the settings of each group, the best first.

    The best one has the best mean of `chooser`. A setting of which fewer runs have completed than of others comes
    after these: the mean of those that did not diverge is not comparable.

    Args:
        members: the runs of each group, by the values of the nuisance keys and by repetition.
        nuisance: the keys that are tuned.
        chooser: the metric that chooses.
    """
    everything = [record for settings in members for runs in settings.values() for record in runs.values()]
    text = {key: telling_text(key, everything) for key in nuisance}

    def rank(runs: Mapping[Hashable, Record]) -> tuple[int, tuple[float, float]]:
        completed = measured(runs, chooser.name)
        if not completed:
            return 0, (0.0, 0.0)
        losses = [record.metrics["val/loss"] for record in completed if "val/loss" in record.metrics]
        loss = {"val/loss": sum(losses) / len(losses)} if losses else {}
        return len(completed), chooser.merit({**loss, chooser.name: mean(completed)})

    def mean(completed: Sequence[Record]) -> float:
        return sum(record.metrics[chooser.name] for record in completed) / len(completed)

    ranked: list[list[Setting]] = []
    for settings in members:
        best_first = sorted(settings.values(), key=rank, reverse=True)
        ranked.append([])
        for runs in best_first:
            first, completed = next(iter(runs.values())), measured(runs, chooser.name)
            shown = [f"{key}={value}" for key in nuisance if (value := text[key](first, key)) != ABSENT]
            name = " ".join(shown) or "no such key"
            ranked[-1].append(Setting(name, runs, mean(completed) if completed else None))
    return ranked


def measured(runs: Mapping[Hashable, Record], metric: str) -> list[Record]:
    """Return the completed runs that have a metric."""
    return [record for record in runs.values() if record.status in COMPLETED and metric in record.metrics]


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

    Config groups are never superfluous: a reader looks for `optimizer=adam`, even if the rate alone tells the runs
    apart. Every run keeps a key that it has, so that no run is named only by keys that it does not have.
    """
    columns = {key: [exactly(record, key) for record in records] for key in keys}
    left = list(keys)

    def distinct(keys: Sequence[str]) -> int:
        return len(set(zip(*(columns[key] for key in keys), strict=True))) if keys else 1

    whole = distinct(left)
    for key in reversed(keys):
        if any(key in record.choices for record in records):
            continue
        without = [other for other in left if other != key]
        named = all(any(columns[other][index] != ABSENT for other in without) for index in range(len(records)))
        if distinct(without) == whole and (named or not without):
            left = without
    return left


def usual_values(firsts: Sequence[Record], keys: Sequence[str]) -> dict[str, str]:
    """Return the values that more than half of the groups have, exactly, by key; empty if names are short without it.

    In a sweep over all combinations no value is so frequent; among runs that were typed one after another, most are.

    Args:
        firsts: a run of each group.
        keys: of the groups' names.
    """
    if len(keys) < FEWEST_KEYS:
        return {}
    found = {}
    for key in keys:
        (value, count), *_ = Counter(exactly(record, key) for record in firsts).most_common(1)
        if 2 * count > len(firsts) and value != ABSENT:
            found[key] = value
    return found


def names(firsts: Sequence[Record], keys: Sequence[str], usual: Mapping[str, str] | None = None) -> list[str]:
    """Return the groups' names: their keys and values, as they are typed.

    Args:
        firsts: a run of each group.
        keys: of the names.
        usual: the values that are left out, by key; see `usual_values`.
    """
    if not keys:
        return ["all runs" for _ in firsts]
    text = {key: telling_text(key, firsts) for key in keys}
    left_out = usual or {}

    def name(record: Record) -> str:
        own = [key for key in keys if exactly(record, key) != left_out.get(key)]
        if not own:
            return COMMON
        values = {key: text[key](record, key) for key in own}
        return " ".join(f"{key}={value}" for key, value in values.items() if value != ABSENT) or (
            f"without {', '.join(own)}"
        )

    short = [name(record) for record in firsts]
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
