"""The search: ask for a batch of trials, train their runs in one launch, tell the study the results."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from optuna.samplers import QMCSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from experiments.cli.entry import print_traceback
from experiments.cli.launch import FROM_TASK
from experiments.common.errors import UserError, nearest
from experiments.common.metrics import Metric, is_open, objective_of
from experiments.common.ranking import different_losses, is_loss, usual_score
from experiments.folders.hparams import Domain, common_settings, hparams_config, metrics_of
from experiments.folders.hydra import is_built, plain_value
from experiments.folders.summary import readable_summary

from . import _rounds, _storage, reporting
from ._study import LOSS, counted, leave, left_running, opened_study, owner
from .sampling import ExhaustedError, SamplePoint, Unrepeated, exhausted, sampler, tried
from .space import Dimension, Space, space_of, typed

DIRECTIONS = ("minimize", "maximize")
NO_RESULT = ("diverged", "failed")
INTERRUPTED = 130
OF_LOSSES = ("loss.", "model.beta")
"""The starts of keys with numbers that change what a loss measures, see `ranking.loss_settings`."""


@dataclass
class Settings:
    """The sweeper's configuration: see the comments in `hydra_plugins.experiments_search`."""

    sampler: Any
    pruner: Any
    direction: Any
    storage: Any
    study_name: str | None
    n_trials: int
    n_jobs: int
    seeds_per_trial: int
    rounds: int
    max_failure_rate: float
    params: Mapping[str, Any] | None
    custom_search_space: str | None
    compare: str | None = None
    fresh_seeds: Any = None
    spaces: Any = None

    def check(self) -> None:
        """Refuse impossible settings.

        Raises:
            UserError: with the setting.
        """
        for name in ("n_trials", "n_jobs", "seeds_per_trial", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"hydra.sweeper.{name}={getattr(self, name)} should be at least 1")
        if not 0 <= self.max_failure_rate <= 1:
            raise UserError(f"hydra.sweeper.max_failure_rate={self.max_failure_rate} should be between 0 and 1")
        if isinstance(self.direction, list | tuple):
            raise UserError(
                f"hydra.sweeper.direction={list(self.direction)} has several objectives, but a search has one; "
                "choose minimize or maximize"
            )
        if self.direction is not None and self.direction not in DIRECTIONS:
            raise UserError(
                f"hydra.sweeper.direction={self.direction!r} should be minimize, maximize or null"
                + nearest(str(self.direction), DIRECTIONS, "hydra.sweeper.direction")
            )
        if (self.compare is None) != (self.fresh_seeds is None):
            raise UserError(
                "a fair comparison needs a choice and fresh seeds, as in: -m search=fair for=optimizer "
                "optimizer=sgd,adam 'optimizer.lr=tag(log,interval(1e-4,1))'"
            )
        if self.rounds > self.n_trials:
            raise UserError(f"hydra.sweeper.rounds={self.rounds} should be at most n_trials={self.n_trials}")


@dataclass(frozen=True)
class SearchCommand:
    """The command of a search, as Hydra hands it to a sweeper.

    Args:
        settings: the sweeper's configuration.
        arguments: the command line's overrides.
        config: the sweep's composed configuration.
        context: Hydra's.
        launcher: trains a batch of runs.
    """

    settings: Settings
    arguments: Sequence[str]
    config: DictConfig
    context: HydraContext
    launcher: Launcher

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return Path(self.config.hydra.sweep.dir)

    def overrides(self) -> list[str]:
        """Return `hydra.sweeper.params` as overrides, and then those of the command line, which take precedence."""
        given = [f"{key}={yaml_text(value)}" for key, value in (self.settings.params or {}).items()]
        return [*given, *self.arguments]

    def parsed(self) -> list[Override]:
        """Return `overrides()`, parsed by Hydra."""
        return OverridesParser.create(config_loader=self.context.config_loader).parse_overrides(self.overrides())


@dataclass
class PlannedTrial:
    """A trial to train: its number and the overrides of its runs."""

    number: int
    overrides: list[list[str]]


class Search:
    """One search, or one process's part in it.

    Args:
        command: the command that asked for it.
    """

    def __init__(self, command: SearchCommand) -> None:
        settings = command.settings
        self.command = command
        self.settings, self.config, self.folder = settings, command.config, command.folder
        self.custom = custom_space(settings.custom_search_space)
        settings.check()
        self.space = space_of(command.parsed(), custom=self.custom is not None)
        check_seeds(self.space, settings.seeds_per_trial)
        choices = self.composed_choices()
        self.composed = choices[0]
        self.objective = objective_of(self.composed) if "objective" in self.composed else "objective"
        check_measured(self.composed, self.objective)
        self.objective = self.check_trials() or self.objective
        self.differing = self.different_losses(choices)
        refuse_different_losses(self.objective, self.differing, self.composed)
        if settings.pruner is not None and "trial" not in self.composed:
            raise UserError(
                f"hydra.sweeper.pruner={settings.pruner!r} needs runs that report every epoch, unlike this command's"
            )
        self.study = self.opened()
        self.owner = owner()

    def run(self) -> None:
        """Search until there are `n_trials` trials, the space is exhausted, or the user interrupts.

        Raises:
            UserError: no trial has a result; see also `tell`.
            SystemExit: the user interrupts.
            Exception: that of a run, if the code has a defect and no trial of a batch has a result.
        """
        self.close_left()
        hparams_config(self.folder, self.domains(), common_settings(self.config), self.metrics())
        asked: list[PlannedTrial] = []
        try:
            while asked := self.ask():
                if not self.tell(asked, self.launched(asked)):
                    sys.exit(INTERRUPTED)
        except BaseException:
            self.save_finished(asked)
            self.conclude()
            raise
        self.conclude()
        if not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise UserError(
                f"none of the {len(counted(self.study))} trials has a result; their folders show the reasons"
            )

    def close_left(self) -> None:
        """Close the trials whose process has ended: those with a result count, the others are tried again."""
        left = left_running(self.study)
        self.save_finished([PlannedTrial(number, []) for number in left])
        for number in left:
            if self.study.get_trials(deepcopy=False)[number].state == TrialState.FAIL:
                print(f"trial {number} was left unfinished; its parameters are tried again")

    def next_job(self) -> int:
        """Return the first job number that is free."""
        return next_job(self.folder, self.study)

    def conclude(self) -> None:
        """Print and write the findings, if there are any trials."""
        from ._findings import conclude  # slow to import: an error in the command line should come first

        if counted(self.study):
            conclude(self.study, self.space, self.folder)

    def composed_choices(self) -> list[DictConfig]:
        """Compose a run for every choice, so that errors come before anything is trained."""
        return [self.composed_at(point) for point in self.first_points()]

    def composed_at(self, point: Mapping[str, Any]) -> DictConfig:
        """Compose a run at a point of the space."""
        loader = self.command.context.config_loader
        return loader.load_sweep_config(self.config, self.space.overrides(point))

    def different_losses(self, choices: Sequence[DictConfig]) -> str:
        """Return what gives the losses of the trials different meanings, as it was typed; empty if nothing does.

        Args:
            choices: a composed run for every choice.
        """
        first = self.first_points()[0]
        ends = [
            self.composed_at({**first, name: end})
            for name, dimension in self.space.dimensions.items()
            if dimension.numeric and name.startswith(OF_LOSSES)
            for end in dimension.bounds
        ]
        differing = different_losses(map(plain_config, [*choices, *ends]), self.objective)
        key = differing.partition("=")[0]
        return f"{key}={self.space.dimensions[key].asked}" if key in self.space.dimensions else differing

    def first_points(self) -> list[dict[str, Any]]:
        """Return a point for every choice of every dimension."""
        first = {name: first_of(dimension) for name, dimension in self.space.dimensions.items()}
        points = [first]
        for name, dimension in self.space.dimensions.items():
            if not dimension.numeric:
                points += [{**first, name: value} for value in (dimension.values() or [])[1:]]
        return points

    def metrics(self) -> list[str]:
        """Return the metrics that TensorBoard's HParams tab shows."""
        return metrics_of({**self.config, "objective": self.objective})

    def check_trials(self) -> str | None:
        """Refuse a new search of which no run can be built, whatever its trials choose.

        Returns:
            The objective of its runs, if their data decide it; None if the configuration shows it.

        Raises:
            UserError: with the reason, if it is not about a key that is searched.
        """
        check = getattr(self.command.launcher, "check", None)
        new = self.config.get("resume") is None and self.custom is None
        if check is None or not (new or is_open(self.composed)):
            return None
        objective, problems = check([self.space.overrides(point) for point in self.first_points()])
        if objective is not None or not new:
            return str(objective) if objective is not None and is_open(self.composed) else None
        keys = {str(problem).partition("=")[0] for problem in problems}
        searched = any(key == name or key.startswith(f"{name}.") for key in keys for name in self.space.dimensions)
        if problems and not searched and all(type(problem) is UserError for problem in problems):
            raise problems[0]
        return None

    def opened(self) -> optuna.Study:
        """Open the study with its sampler and pruner.

        Raises:
            UserError: one of them is not possible.
        """
        settings, space = self.settings, self.space
        training = self.composed.get("training") or {}
        self.epochs = reporting.epochs_of(training, space.dimensions)
        pruner = reporting.pruner(settings.pruner, self.epochs)
        seed = int(self.composed.get("seed", 0))
        check_rounds(settings.rounds, sampler(settings.sampler, seed, 0, space))
        direction = settings.direction or ("maximize" if Metric(self.objective).larger_is_better else "minimize")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.at = _storage.location(settings.storage, self.folder)
        existing = _storage.only_study(self.at) if settings.storage is None else None  # the folder may have been moved
        name = settings.study_name or existing or "/".join(self.folder.absolute().parts[-2:])
        self.check_journal(name)
        study = opened_study(self.at, name, direction, pruner, space, self.objective)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        self.sampler = sampler(settings.sampler, seed, len(study.get_trials(deepcopy=False)), space)
        study.sampler = self.sampler
        return study

    def check_journal(self, name: str) -> None:
        """Refuse to begin a search anew in the folder of one whose study has been lost.

        Raises:
            UserError: the folder has runs that ended, but the storage has no trial.
        """
        ended = [path for path in self.folder.glob("*/summary.json") if re.match(r"\d", path.parent.name)]
        if ended and not _storage.trials(self.at, name):
            raise UserError(
                f"{self.at} has no trial of the search, but {str(self.folder)!r} has {len(ended)} of its runs; "
                "restore the file from a copy, or start a new search in a new folder, without resume="
            )

    def domains(self) -> dict[str, Domain]:
        """Return the ranges and choices for TensorBoard's HParams tab."""
        return {
            name: dimension.bounds if dimension.numeric else shown_choices(dimension)
            for name, dimension in self.space.dimensions.items()
        }

    def ask(self) -> list[PlannedTrial]:
        """Ask for a batch of trials; an empty one ends the search."""
        study, settings = self.study, self.settings
        sizes = _rounds.quotas(settings.n_trials, settings.rounds)
        number, space, lacking = _rounds.current(study, self.space, sizes)
        self.sampler.space = space
        left = settings.n_trials - len(counted(study))
        asked: list[PlannedTrial] = []
        job = self.next_job()
        try:
            while len(asked) < min(settings.n_jobs, lacking, left):
                waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
                if not waiting and exhausted(study, space):
                    print(f"the search space is exhausted: all of its {space.count()} points have been tried")
                    break
                trial = self.new_trial(space, number)
                if trial is not None:
                    first = job + len(asked) * settings.seeds_per_trial
                    asked.append(PlannedTrial(trial.number, self.overrides(trial, space)))
                    trial.set_user_attr("jobs", [str(self.folder), first, settings.seeds_per_trial])
        except BaseException:
            self.save_finished(asked)
            raise
        return asked

    def new_trial(self, space: Space, number: int) -> optuna.Trial | None:
        """Ask for one trial; None if another process has just tried the same point."""
        study = self.study
        try:
            trial = study.ask(space.distributions)
        except ExhaustedError as error:
            study._storage.set_trial_user_attr(study.get_trials()[error.number]._trial_id, "left", True)
            study.tell(error.number, state=TrialState.FAIL)
            return None
        trial.set_user_attr("owner", self.owner)
        trial.set_user_attr("round", number)
        if "again" not in trial.user_attrs and space.whole and taken(study, space, trial):
            trial.set_user_attr("left", True)
            study.tell(trial, state=TrialState.FAIL)
            return None
        if self.custom is not None:
            for key, text in space.fixed.items():
                trial.set_user_attr(key, text.partition("=")[2])
            self.custom(self.config, trial)
        return trial

    def overrides(self, trial: optuna.Trial, space: Space) -> list[list[str]]:
        """Return the overrides of a trial's runs, one for each seed."""
        count = self.settings.seeds_per_trial
        own = space.overrides(trial.params)
        if "trial" in self.composed:
            own.append(f"trial={typed(self.described(trial))}")
        if count == 1:
            return [own]
        start = int(self.composed.get("seed", 0))
        without = [override for override in own if not re.match(r"\+{0,2}seed=", override)]
        return [[*without, f"seed={start + seed}"] for seed in range(count)]

    def described(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return what the configuration of a trial's runs says about it."""
        return {
            "storage": self.at,
            "study": self.study.study_name,
            "number": trial.number,
            "seeds": self.settings.seeds_per_trial,
            "pruner": self.settings.pruner,
            "epochs": self.epochs,
        }

    def line(self, trial: FrozenTrial, status: str, value: float | None) -> str:
        """Return a finished trial as a line."""
        return line_of(trial, status, value)

    def launched(self, asked: Sequence[PlannedTrial]) -> Sequence[JobReturn]:
        """Train a batch in one launch."""
        batch = [overrides for trial in asked for overrides in trial.overrides]
        first = self.study.get_trials(deepcopy=False)[asked[0].number].user_attrs["jobs"][1]
        returns: Sequence[JobReturn] = self.command.launcher.launch(batch, initial_job_idx=first)
        return returns

    def tell(self, asked: Sequence[PlannedTrial], returns: Sequence[JobReturn]) -> bool:
        """Tell the study the results of a batch; return False if the user interrupted it.

        Raises:
            UserError: more trials failed than `max_failure_rate` allows, or the runs return no objective.
        """
        count, failed, interrupted = self.settings.seeds_per_trial, 0, False
        unexpected: BaseException | None = None
        stopped = getattr(self.command.launcher, "signal", None) is not None
        for index, trial in enumerate(asked):
            results = [result_of(ret, stopped, self.objective) for ret in returns[index * count : (index + 1) * count]]
            status = status_of(results)
            unexpected = unexpected or next((r.error for r in results if r.defect), None)
            self.finish(trial.number, status, results)
            interrupted |= status == "interrupted"
            failed += status in NO_RESULT
        unmeasured = [
            r
            for ret in returns
            if (r := result_of(ret, stopped, self.objective)).status == "finished" and r.value is None
        ]
        if len(unmeasured) == len(returns):
            raise UserError(
                f"the runs of the first trials return no finite {self.objective}; set objective= to a metric that they "
                "measure, or task=regression if their targets are numbers"
            )
        if unexpected is not None and failed == len(asked):
            raise unexpected
        if failed > self.settings.max_failure_rate * len(asked):
            raise UserError(
                f"{failed} of {len(asked)} trials have no result, more than "
                f"hydra.sweeper.max_failure_rate={self.settings.max_failure_rate} allows"
            )
        return not interrupted

    def finish(self, number: int, status: str, results: Sequence[RunResult]) -> None:
        """Tell the study the result of one trial."""
        study = self.study
        trial_id = study.get_trials(deepcopy=False)[number]._trial_id
        if study.get_trials(deepcopy=False)[number].state.is_finished():
            return  # another process has closed it, as if this one had ended
        storage = study._storage
        storage.set_trial_user_attr(trial_id, "status", status)
        storage.set_trial_user_attr(trial_id, "folders", [result.folder for result in results if result.folder])
        values = [result.value for result in results if result.value is not None]
        if len(results) > 1:
            storage.set_trial_user_attr(trial_id, "seeds", values)
        value = sum(values) / len(values) if values else None
        losses = [result.loss for result in results if result.loss is not None]
        if losses and len(losses) == len(results) and not self.differing:
            storage.set_trial_user_attr(trial_id, LOSS, sum(losses) / len(losses))
        if status == "interrupted":
            leave(study, number)
        elif status in NO_RESULT:
            study.tell(number, state=TrialState.FAIL)
        elif status == "pruned":
            study.tell(number, state=TrialState.PRUNED)
        else:
            study.tell(number, value)
        print(self.line(study.get_trials(deepcopy=False)[number], status, value), flush=True)

    def save_finished(self, asked: Sequence[PlannedTrial]) -> None:
        """Tell the study the results of the finished trials of a batch that was cut short; queue the others again."""
        for trial in asked:
            frozen = self.study.get_trials(deepcopy=False)[trial.number]
            if frozen.state.is_finished():
                continue
            folder, first, count = frozen.user_attrs.get("jobs", (str(self.folder), -1, 0))
            results = [read(job_folder(Path(folder), first + seed), self.objective) for seed in range(count)]
            known = [result for result in results if result is not None]
            complete = count > 0 and len(known) == count and status_of(known) != "interrupted"
            if complete:
                self.finish(trial.number, status_of(known), known)
            else:
                leave(self.study, trial.number)


@dataclass
class RunResult:
    """The result of one run.

    Args:
        status: as in its summary.
        value: its objective.
        folder: its path.
        loss: the validation loss of its best epoch, which decides between trials with the same value.
        error: the exception that ended it, if there was one.
    """

    status: str
    value: float | None
    folder: str
    loss: float | None = None
    error: BaseException | None = None

    @property
    def defect(self) -> bool:
        """Whether it ended with an error that is not the user's."""
        return self.error is not None and getattr(self.error, FROM_TASK, None) == "a defect"


def result_of(ret: JobReturn, stopped: bool, objective: str) -> RunResult:
    """Return a run's result from the launcher's return value and the run's folder.

    Args:
        ret: the launcher's return value.
        stopped: whether the launcher was asked to stop: then a run without a summary has not started.
        objective: of the study; a run with another one, which its data have decided, has no result.
    """
    folder = Path(ret.hydra_cfg.hydra.runtime.output_dir) if ret.hydra_cfg is not None else None
    summary = readable_summary(folder) if folder is not None else {}
    try:
        value = ret.return_value
    except Exception as error:
        if getattr(error, FROM_TASK, None) == "a defect":
            print_traceback(type(error), error, error.__traceback__)
        return RunResult("failed", None, str(folder or ""), error=error)
    finite = isinstance(value, int | float) and math.isfinite(value)
    finite = finite and summary.get("objective", objective) == objective
    status = str(summary.get("status", "interrupted" if stopped else "finished"))
    return RunResult(status, float(value) if finite else None, str(folder or ""), loss_of(summary))


def read(folder: Path | None, objective: str) -> RunResult | None:
    """Return a run's result from its folder only; None if the run has not ended."""
    summary = readable_summary(folder) if folder is not None else {}
    if not summary:
        return None
    value = summary.get("metrics", {}).get(objective)
    return RunResult(str(summary.get("status")), value, str(folder), loss_of(summary))


def loss_of(summary: Mapping[str, Any]) -> float | None:
    """Return the validation loss of a run's best epoch; None if it was not measured."""
    loss = (summary.get("metrics") or {}).get(LOSS)
    return float(loss) if isinstance(loss, int | float) and math.isfinite(loss) else None


def status_of(results: Sequence[RunResult]) -> str:
    """Return the status of a trial: the worst of its runs' statuses."""
    statuses = [result.status for result in results]
    for status in ("interrupted", "failed", "diverged", "pruned"):
        if status in statuses:
            return status
    return "failed" if any(result.value is None for result in results) else "finished"


def line_of(trial: FrozenTrial, status: str, value: float | None) -> str:
    """Return a finished trial as a line."""
    params = " ".join(f"{name}={param}" for name, param in trial.params.items())
    return f"trial {trial.number:<4} {'-' if value is None else f'{value:.4g}':<8} {status:<11} {params}"


def taken(study: optuna.Study, space: Space, trial: optuna.Trial) -> bool:
    """Whether an earlier trial has the same point."""
    point: SamplePoint = tuple(trial.params[name] for name in space.dimensions)
    earlier = {
        tuple(other.params.get(name) for name in space.dimensions)
        for other in study.get_trials(deepcopy=False)[: trial.number]
        if not other.user_attrs.get("left")
    }
    return point in earlier & tried(study, space, but=trial.number)


def next_job(folder: Path, study: optuna.Study) -> int:
    """Return the first job number that is free, in the sweep's folder and in the study."""
    taken = [int(match[0]) for path in folder.iterdir() if path.is_dir() and (match := re.match(r"\d+", path.name))]
    jobs = [t.user_attrs["jobs"] for t in study.get_trials(deepcopy=False) if "jobs" in t.user_attrs]
    taken += [first + count - 1 for at, first, count in jobs if at == str(folder)]
    return max(taken, default=-1) + 1


def job_folder(sweep: Path, number: int) -> Path | None:
    """Return the folder of a job, by its number."""
    return next((path for path in sweep.glob(f"*{number}*") if re.match(rf"0*{number}(\D|$)", path.name)), None)


def first_of(dimension: Dimension) -> Any:
    """Return some value of a dimension."""
    return dimension.bounds[0] if dimension.numeric else (dimension.values() or [None])[0]


def shown_choices(dimension: Dimension) -> list[Any]:
    """Return a choice's values as its runs get them; none if they are merged with what a file gives."""
    parser = OverridesParser.create()
    values = [
        plain_value(parser.parse_override(dimension.override(value)).value()) for value in dimension.values() or []
    ]
    return [] if any(is_built(value) for value in values) else values


def yaml_text(value: Any) -> str:
    """Return a value of the configuration in Hydra's grammar, in which text is already."""
    return value if isinstance(value, str) else typed(value)


def check_seeds(space: Space, count: int) -> None:
    """Refuse both to search the seed and to average over it.

    Raises:
        UserError: there are several seeds per trial, and the seed is searched.
    """
    if count > 1 and "seed" in space.dimensions:
        raise UserError(
            f"hydra.sweeper.seeds_per_trial={count} contradicts a search over seed; "
            "give seed one value, the first seed of each trial"
        )


def check_rounds(count: int, drawing: Unrepeated) -> None:
    """Refuse to narrow ranges unless the points are random and at least one setting has a range.

    Raises:
        UserError: several rounds are asked for, but the points are not random, or no setting has a range.
    """
    if count > 1 and (drawing.lists or not isinstance(drawing.inner, RandomSampler | QMCSampler)):
        raise UserError(f"hydra.sweeper.rounds={count} needs random points; choose hydra.sweeper.sampler=random or qmc")
    if count > 1 and not any(dimension.numeric for dimension in drawing.space.dimensions.values()):
        raise UserError(f"hydra.sweeper.rounds={count} needs a range to narrow; add one, or set rounds=1")


def check_measured(composed: DictConfig, objective: str) -> None:
    """Refuse an objective that is measured on a validation split which the run does not have.

    Raises:
        UserError: the objective is measured on the validation split, which `data.val_fraction=0` leaves out.
    """
    data = composed.get("data") or {}
    absent = data.get("val_fraction") == 0 and data.get("folds") is None
    if objective.startswith("val/") and absent:
        raise UserError(
            f"objective={objective} is never measured with data.val_fraction=0; keep a validation split, "
            "as the search is decided by it"
        )


def refuse_different_losses(objective: str, differing: str, composed: DictConfig) -> None:
    """Refuse to rank trials by their losses if these are different ones.

    Args:
        objective: of the search.
        differing: what the losses differ in; empty if they are the same.
        composed: the configuration of a run.

    Raises:
        UserError: the objective is a loss, and they differ.
    """
    if not differing or not is_loss(objective):
        return
    score = usual_score(plain_config(composed))
    remedy = f"objective={score}" if score else "objective=val/r2 for numbers, or objective=val/accuracy"
    raise UserError(
        f"objective={objective} cannot rank the trials: {differing} changes what it measures; choose {remedy}"
    )


def plain_config(composed: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as a dictionary; values that refer to others stay texts."""
    plain: Any = OmegaConf.to_container(composed, resolve=False)
    return plain if isinstance(plain, dict) else {}


def custom_space(path: str | None) -> Callable[[DictConfig, optuna.Trial], None] | None:
    """Import the function that adds to the search space.

    Raises:
        UserError: there is no function at this path.
    """
    if path is None:
        return None
    module, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"hydra.sweeper.custom_search_space={path!r} cannot be imported: {error}") from None
    if not callable(target):
        raise UserError(f"hydra.sweeper.custom_search_space={path!r} should be a function of (cfg, trial)")
    function: Callable[[DictConfig, optuna.Trial], None] = target
    return function
