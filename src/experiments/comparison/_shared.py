"""What the compared runs have in common, in one line: the data, the model, the length of the training, the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .grouping import ABSENT, Grouping, exactly, value_of

DOT = " · "


def shared_line(grouping: Grouping) -> str:
    """Return what the runs have in common: 'digits · mlp 100-100, relu · 10 epochs · seeds 0 to 4'.

    Only what all runs agree in is named; it is empty if that is nothing.

    Args:
        grouping: of the runs.
    """
    records = [record for group in grouping.groups for record in group.records.values()]

    def common(key: str) -> Any:
        """Return the value of a key that all runs have in common; None without one."""
        values = {exactly(record, key): value_of(record, key) for record in records}
        value = next(iter(values.values()))
        return None if len(values) > 1 or value == ABSENT else value

    def named(group: str) -> str:
        """Return the option of a config group, or the name of the function or class."""
        path = common(f"{group}._target_")
        return str(common(group) or str(path or "").rpartition(".")[2])

    data, limit = named("data"), common("data.limit")
    data += f" (data.limit={limit})" if data and limit is not None else ""
    model, hidden, activation = named("model"), common("model.hidden"), common("model.activation")
    if isinstance(hidden, int) or (isinstance(hidden, list) and hidden):
        model += f" {'-'.join(map(str, hidden if isinstance(hidden, list) else [hidden]))}"
    if model and isinstance(activation, str):
        model += f", {activation}"
    steps, epochs = common("training.steps"), common("training.epochs")
    length = ""
    if all(value_of(record, "training.steps") in (None, ABSENT) for record in records):
        length = amount(epochs, "epoch")
    elif steps is not None:
        length = amount(steps, "step")
    return DOT.join(filter(None, [data, model, length, seeds(grouping)]))


def common_line(grouping: Grouping) -> str:
    """Return the choices of most groups, which their names leave out; empty if the names have everything."""
    return f"common settings: {grouping.common} (names have only what differs)" if grouping.common else ""


def amount(value: Any, unit: str) -> str:
    """Return '10 epochs'; nothing without a number."""
    return f"{value:,} {unit}{'' if value == 1 else 's'}" if isinstance(value, int) else ""


def seeds(grouping: Grouping) -> str:
    """Return the seeds of the groups, 'seeds 0 to 4', if all of them have the same ones; otherwise their number."""
    found = [{value_of(record, "seed") for record in group.records.values()} for group in grouping.groups]
    if any(not isinstance(seed, int) for own in found for seed in own):
        return ""
    if any(own != found[0] for own in found):
        counts = sorted({len(own) for own in found})
        most = amount(counts[-1], "seed")
        return f"{most} per group" if len(counts) == 1 else f"{counts[0]} to {most} per group"
    return written(found[0])


def written(numbers: Iterable[int]) -> str:
    """Return seeds as text: 'seed 3', 'seeds 0 to 4', 'seeds 1, 3', or '12 seeds' for many that are not in a row."""
    ordered: Sequence[int] = sorted(numbers)
    if len(ordered) == 1:
        return f"seed {ordered[0]}"
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"seeds {ordered[0]} to {ordered[-1]}"
    return f"seeds {', '.join(map(str, ordered))}" if len(ordered) <= 5 else f"{len(ordered)} seeds"
