"""Calling the hooks of observers: an error of a user's observer costs its own run only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from experiments.common.errors import OwnCodeError, UserError, is_own, raised
from experiments.folders.run import Row

from .member import Member
from .observer import Observer

LOG = logging.getLogger("experiments")
Watching = list[tuple[int, Observer]]
"""Observers that are called around an update, each with the number of its member."""


def note_failure(members: Sequence[Member], k: int, observer: Observer, hook: str, error: Exception) -> None:
    """Keep the error of a user's observer in its member, which ends after the epoch.

    Args:
        members: of the program.
        k: the member's number.
        observer: the one that failed.
        hook: the method that failed.
        error: its error.

    Raises:
        UserError: the run is on its own, or the hook is `start`, which may fail because there are several runs.
        Exception: the observer is one of ours, which fail if a file cannot be written.
    """
    if is_own(type(observer)):
        raise error
    problem = error if isinstance(error, UserError) else failed_observer(observer, hook, error)
    if len(members) == 1 or hook == "start":
        raise problem
    members[k].error = members[k].error or problem


def failed_observer(observer: Observer, hook: str, error: Exception) -> OwnCodeError:
    """Return the sentence about a user's observer that has failed in a method.

    Args:
        observer: of the user.
        hook: the method.
        error: its error.
    """
    reason = raised(error)
    problem = OwnCodeError(f"the observer {title(observer)} {reason}{'' if f'({hook} in' in reason else f' in {hook}'}")
    problem.__cause__ = error
    return problem


def title(observer: Observer) -> str:
    """Return the name of an observer's class, as a configuration writes it."""
    return f"{type(observer).__module__}.{type(observer).__qualname__}"


def heeded(member: Member) -> list[Observer]:
    """Return the observers of a member that are called: after an error of a user's one, only ours."""
    return member.observers if member.error is None else [o for o in member.observers if is_own(type(o))]


def watching_of(members: Sequence[Member], active: Sequence[int], first: int, last: int) -> dict[int, Watching]:
    """Return the observers that are called around updates, by the number of the update.

    Args:
        members: of the program.
        active: the numbers of those that are trained.
        first, last: the first and the last of the updates.
    """
    watching: dict[int, Watching] = {}
    for k in active:
        for observer in members[k].observers:
            try:
                steps = list(observer.watched(first, last))
            except Exception as error:
                note_failure(members, k, observer, "watched", error)
                continue
            for step in steps:
                watching.setdefault(step, []).append((k, observer))
    return watching


def called(members: Sequence[Member], watching: Watching, hook: str, step: int) -> None:
    """Call a hook of observers.

    Args:
        members: of the program.
        watching: the observers.
        hook: the method, `before_update` or `after_update`.
        step: its argument.
    """
    for k, observer in watching:
        if members[k].error is not None and observer not in heeded(members[k]):
            continue
        try:
            getattr(observer, hook)(step)
        except Exception as error:
            note_failure(members, k, observer, hook, error)


def end_of_epoch(members: Sequence[Member], k: int, row: Row, epoch: int) -> None:
    """Call `epoch_end`; the numbers that a user's observer adds to the row are kept.

    Args:
        members: of the program.
        k: the member's number.
        row: its metrics, which no observer changes.
        epoch: its number.
    """
    member, measured = members[k], dict(row)
    for observer in heeded(member):
        try:
            if observer.when(epoch):
                observer.epoch_end(row)
        except Exception as error:
            note_failure(members, k, observer, "epoch_end", error)
        if is_own(type(observer)):
            continue
        added = {str(name): number(value) for name, value in row.items() if name not in measured}
        measured |= {name: value for name, value in added.items() if value is not None}
        row.clear()
        row.update(measured)
        for name in sorted({name for name, value in added.items() if value is None} - member.refused):
            member.refused.add(name)
            LOG.info(f"The observer {title(observer)} adds {name!r} to a row, which is not a number; it is left out.")


def number(value: Any) -> float | None:
    """Return a value as a number; None if it is not a single number."""
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def close(members: Sequence[Member], k: int, observers: Sequence[Observer]) -> None:
    """Close observers of a member: each of them, even if another one fails.

    Raises:
        Exception: the first error that `note_failure` raises.
    """
    problem: Exception | None = None
    for observer in observers:
        try:
            observer.close()
        except Exception as error:
            try:
                note_failure(members, k, observer, "close", error)
            except Exception as raised_again:
                problem = problem or raised_again
    if problem is not None:
        raise problem
