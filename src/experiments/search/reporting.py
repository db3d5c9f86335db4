"""What a run tells its study after each epoch, and whether the study has seen enough of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner

from experiments.common.errors import UserError

from ._storage import opened
from .sampling import built, named

PRUNERS = {
    "median": "MedianPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
}
PRUNED = "pruned_after"
"""A trial's attribute: the epoch after which it was given up, for its other seeds to see."""

MetricRow = Mapping[str, float]


def pruner(given: Any, epochs: int | None) -> BasePruner | None:
    """Return the pruner that the configuration names; None for none.

    Args:
        given: a name, or a mapping with a name and options.
        epochs: of a whole run, where it is known: the most that hyperband can spend on one.

    Raises:
        UserError: it is unknown, or an option is.
    """
    if given is None:
        return None
    key = "hydra.sweeper.pruner"
    name, options = named(given, list(PRUNERS), key, optuna.pruners)
    if name == "successive_halving":
        options = {"min_resource": 1, **options}
    if name == "hyperband" and epochs:
        options = {"max_resource": epochs, **options}
    made: BasePruner = built(getattr(optuna.pruners, PRUNERS.get(name) or name), options, key)
    return made


def reporter(trial: Mapping[str, Any], objective: str) -> Callable[[Sequence[MetricRow]], bool]:
    """Return what a run asks after each complete epoch: it reports the objective, and says whether to stop.

    Only the storage is shared with the search, which may be another process. A trial of several seeds is
    reported once an epoch, with the mean over those of its seeds that this process trains side by side, and when
    it is given up all of them are. Where its seeds are trained one after another, or in several processes, the
    first to reach an epoch speaks for all; the others follow when it is given up.

    Args:
        trial: the `trial` of the run's configuration: storage, study, number, pruner and epochs.
        objective: the column of the history that is reported.

    Raises:
        UserError: the study is not there.
    """
    key = (os.getpid(), trial.get("storage"), trial.get("study"), trial.get("number"))
    if key not in _REPORTS:
        _REPORTS[key] = TrialReport(trial)
    report = _REPORTS[key]
    member = report.joined()

    def ask(history: Sequence[MetricRow]) -> bool:
        if not history or objective not in history[-1]:
            return report.pruned
        return report.after(member, int(history[-1]["epoch"]), history[-1][objective])

    return ask


_REPORTS: dict[tuple[Any, ...], TrialReport] = {}
"""The trials that this process trains."""


class TrialReport:
    """One trial as this process sees it: its seeds share it.

    Args:
        trial: see `reporter`.
    """

    def __init__(self, trial: Mapping[str, Any]) -> None:
        self.storage = opened(str(trial.get("storage")))
        try:
            self.study = optuna.load_study(
                study_name=str(trial.get("study")),
                storage=self.storage,
                sampler=optuna.samplers.RandomSampler(),
                pruner=pruner(trial.get("pruner"), trial.get("epochs")) or optuna.pruners.NopPruner(),
            )
            self.trial = self.storage.get_trial_id_from_study_id_trial_number(
                self.study._study_id, int(trial["number"])
            )
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"trial={dict(trial)!r} is no trial of a study ({error}); leave it null") from None
        self.latest: list[int] = []  # of each seed here, the newest epoch
        self.values: dict[int, list[float]] = {}
        self.settled: set[int] = set()
        self.pruned = False

    def joined(self) -> int:
        """Take in one more seed of the trial; returns its place."""
        self.latest.append(0)
        return len(self.latest) - 1

    def after(self, member: int, epoch: int, value: float) -> bool:
        """Note a seed's epoch; once it is the last of those that train with it, tell the study.

        A seed that has fallen behind an epoch has ended and is waited for no longer. Asked again for the same
        epoch, it answers again.
        """
        if self.latest[member] < epoch:
            self.latest[member] = epoch
            self.values.setdefault(epoch, []).append(value)
        waiting = any(newest == epoch - 1 for newest in self.latest)
        if epoch not in self.settled and not waiting:
            self.settled.add(epoch)
            values = self.values.pop(epoch)
            self.pruned = self.pruned or self.judged(epoch, sum(values) / len(values))
        return self.pruned

    def judged(self, epoch: int, value: float) -> bool:
        """Report a value, and return whether the trial is given up."""
        trial = self.storage.get_trial(self.trial)
        if trial.state.is_finished():  # the run is gone on with on its own
            return False
        if epoch not in trial.intermediate_values:
            self.storage.set_trial_intermediate_value(self.trial, epoch, value)
            trial = self.storage.get_trial(self.trial)
        if PRUNED in trial.user_attrs:
            return True
        if not self.study.pruner.prune(self.study, trial):
            return False
        self.storage.set_trial_user_attr(self.trial, PRUNED, epoch)
        return True
