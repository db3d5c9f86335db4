"""The study: create or resume it, and close the trials that a crash left behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from experiments.common.errors import UserError
from experiments.common.keys import is_found_again, meaning
from experiments.common.metrics import merit
from experiments.folders.lock import started_at

from ._storage import first_line, opened
from .space import Space

LOSS = "val/loss"
"""The attribute of a trial with the mean validation loss of its runs."""
STATED = ("task", "objective")
"""What a command may state although it was left to the data before; the objective shows whether they said the same."""
JUST_BEGUN = timedelta(seconds=60)


def opened_study(
    at: str, name: str, direction: str, pruner: optuna.pruners.BasePruner | None, space: Space, objective: str
) -> optuna.Study:
    """Open the study, or create it if it does not exist.

    Args:
        at: the storage, from `_storage.location`.
        name: of the study.
        direction: minimize or maximize.
        pruner: of the study, which its sampler may need.
        space: the search space.
        objective: the metric.

    Raises:
        UserError: the storage holds the study of another search under this name.
    """
    storage = opened(at)
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            load_if_exists=True,
            direction=StudyDirection[direction.upper()],
            pruner=pruner,
        )
    except Exception as error:  # whatever the storage's own library raises
        raise UserError(f"hydra.sweeper.storage={at!r} cannot be used: {first_line(error)}") from None
    identity = {
        "space": space.described(),
        "fixed": {key: text for key, text in space.fixed.items() if not meaning(key).study},
        "objective": objective,
        "direction": direction,
    }
    if "space" in study.user_attrs or study.get_trials(deepcopy=False):
        check_same(study, identity)
    else:
        for key, value in identity.items():
            study.set_user_attr(key, value)
    return study


def check_same(study: optuna.Study, identity: Mapping[str, Any]) -> None:
    """Refuse to resume the study of another search.

    Raises:
        UserError: with the differences.
    """
    saved = {"direction": study.direction.name.lower(), **study.user_attrs}
    differing = []
    for part in ("space", "fixed"):
        before, now = saved.get(part, {}), identity[part]
        differing += [
            f"{key} ({before.get(key, 'absent')} -> {now.get(key, 'absent')})"
            for key in dict.fromkeys([*before, *now])
            if before.get(key) != now.get(key)
            and not (part == "fixed" and key in STATED and key not in before)
            and not (part == "fixed" and (meaning(key).study or (before and is_found_again(key, before, now))))
        ]
    differing += [
        f"{part} ({saved.get(part, 'absent')} -> {identity[part]})"
        for part in ("objective", "direction")
        if saved.get(part) != identity[part]
    ]
    if differing:
        raise UserError(
            f"hydra.sweeper.study_name={study.study_name!r} is the study of another search: {'; '.join(differing)}; "
            "choose another name or storage, or repeat the command of that search"
        )


def left_running(study: optuna.Study) -> list[int]:
    """Return the running trials whose processes have ended."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial.number for trial in running if not alive(trial)]


def leave(study: optuna.Study, number: int) -> None:
    """Close a trial that has no result, and queue its parameters for another trial."""
    trial = study.get_trials(deepcopy=False)[number]
    with suppress(RuntimeError, ValueError):  # another process was faster
        study._storage.set_trial_user_attr(trial._trial_id, "left", True)
        study.tell(number, state=TrialState.FAIL)
        if trial.params:
            kept = {"again": number, **{key: trial.user_attrs[key] for key in ("round",) if key in trial.user_attrs}}
            study.enqueue_trial(trial.params, user_attrs=kept)


def alive(trial: FrozenTrial) -> bool:
    """Whether the process that asked for a trial may still be running it; always true for another machine."""
    owner = trial.user_attrs.get("owner")
    if owner is None:  # it has just been created
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start < JUST_BEGUN
    host, process, started = owner
    if host != socket.gethostname():
        return True
    return process != os.getpid() and started == started_at(process) is not None


def owner() -> tuple[str, int, str | None]:
    """Return the host, number and start of this process, which no other process shares."""
    return socket.gethostname(), os.getpid(), started_at(os.getpid())


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count towards the total: those with a result, and those that are running."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.WAITING and not trial.user_attrs.get("left")
    ]


def better_first(study: optuna.Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the complete trials, the best first, see `metrics.merit`."""
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return sorted(complete, key=lambda trial: merit(sign * (trial.value or 0.0), measured(trial)), reverse=True)


def measured(trial: FrozenTrial) -> dict[str, float]:
    """Return the mean validation loss of a trial's runs, if it is known, under its name."""
    return {LOSS: trial.user_attrs[LOSS]} if isinstance(trial.user_attrs.get(LOSS), int | float) else {}
