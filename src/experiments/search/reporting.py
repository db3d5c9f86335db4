"""Report a run's objective to its study after each epoch, and prune it if the study decides so.

With `training.validate` a run reports after each of its periods instead: what is called an epoch here is a row of its
`metrics.csv`. A pruner counts these reports, whatever their length.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
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
"""A trial's attribute: the epoch after which it was pruned, for its other seeds to see."""

MetricRow = Mapping[str, float]


def pruner(given: Any, epochs: int | None) -> BasePruner | None:
    """Return the pruner that the configuration names; None for none.

    Args:
        given: a name, or a mapping with a name and options.
        epochs: see `epochs_of`: the most that hyperband can spend on a run. Without it, hyperband takes the reports of
            the first trial that is complete, before which it prunes nothing.

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
    instance: BasePruner = built(getattr(optuna.pruners, PRUNERS.get(name) or name), options, key)
    return instance


def epochs_of(training: Mapping[str, Any], searched: Collection[str]) -> int | None:
    """Return how often each run of a search reports, if these are its epochs; None if that depends on the data.

    Args:
        training: the settings of `training` of all runs.
        searched: the keys that differ between trials.
    """
    lengths = ("epochs", "steps", "validate")
    if training.get("steps") is not None or training.get("validate") is not None:
        return None
    if any(f"training.{name}" in searched for name in lengths):
        return None
    return training.get("epochs")


def reporter(trial: Mapping[str, Any], objective: str) -> Callable[[Sequence[MetricRow]], bool]:
    """Return a function to call after each complete epoch: it reports the objective, and returns whether to stop.

    Only the storage is shared with the search, which may be another process. A trial of several seeds reports once
    per epoch: the mean over those of its seeds that this process trains side by side, which are pruned together. If
    its seeds are trained one after another, or in several processes, the first one to reach an epoch reports for
    all; if it is pruned, the others are too.

    Args:
        trial: the `trial` of the run's configuration: storage, study, number, pruner and epochs.
        objective: the column of the history to report.

    Raises:
        UserError: there is no such study.
    """
    key = (os.getpid(), trial.get("storage"), trial.get("study"), trial.get("number"))
    if key not in _REPORTS:
        _REPORTS[key] = TrialReport(trial)
    report = _REPORTS[key]
    member = report.join()

    def ask(history: Sequence[MetricRow]) -> bool:
        if not history or objective not in history[-1]:
            return report.pruned
        return report.after(member, int(history[-1]["epoch"]), history[-1][objective])

    return ask


_REPORTS: dict[tuple[Any, ...], TrialReport] = {}
"""The trials that this process is training."""


class TrialReport:
    """One trial in this process, shared by its seeds.

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
            raise UserError(f"trial={dict(trial)!r} is not a trial of a study ({error}); leave it null") from None
        self.latest: list[int] = []  # the newest epoch of each seed in this process
        self.values: dict[int, list[float]] = {}
        self.settled: set[int] = set()
        self.pruned = False

    def join(self) -> int:
        """Add one more seed of the trial, and return its index."""
        self.latest.append(0)
        return len(self.latest) - 1

    def after(self, member: int, epoch: int, value: float) -> bool:
        """Note a seed's epoch, report the mean once all seeds have it, and return whether the trial is pruned.

        A seed that is more than one epoch behind has ended and is not waited for. A second call for the same epoch
        returns the same.
        """
        if self.latest[member] < epoch:
            self.latest[member] = epoch
            self.values.setdefault(epoch, []).append(value)
        waiting = any(newest == epoch - 1 for newest in self.latest)
        if epoch not in self.settled and not waiting:
            self.settled.add(epoch)
            values = self.values.pop(epoch)
            self.pruned = self.pruned or self.report(epoch, sum(values) / len(values))
        return self.pruned

    def report(self, epoch: int, value: float) -> bool:
        """Report a value, and return whether the trial is pruned."""
        trial = self.storage.get_trial(self.trial)
        if trial.state.is_finished():  # the run was resumed without the search
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
