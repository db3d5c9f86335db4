"""A fair comparison: tune every value of a choice with the same budget, and run its best setting on fresh seeds.

The runs that choose a setting say too much good of it (the best of several noisy values is partly luck), so other runs
judge it (DeepOBS, Schneider et al. 2019; Choi et al. 2019; Dahl et al. 2023).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from optuna.trial import FrozenTrial

from experiments.common.budget import expected_best
from experiments.common.errors import UserError, nearest
from experiments.common.files import write_json
from experiments.common.metrics import Metric
from experiments.common.ranking import different_losses
from experiments.common.text import counted as counted_noun
from experiments.common.text import shown_path, visible
from experiments.folders.hparams import Domain, common_settings, hparams_config
from experiments.folders.sweep import Sweep

from . import _storage
from ._findings import about, border_lines, positions, states
from ._study import better_first, counted
from .loop import (
    INTERRUPTED,
    PlannedTrial,
    Search,
    SearchCommand,
    Settings,
    line_of,
    next_job,
    plain_config,
    refuse_different_losses,
    result_of,
    yaml_text,
)

NOTE = "fair"
"""The entry of `sweep.yaml` that holds the question and, once they are planned, the runs on fresh seeds."""
FILE = "fair.json"
FEWEST_SEEDS = 2
INDEPENDENT = ("random", "qmc", "RandomSampler", "QMCSampler")
"""The samplers whose trials do not depend on earlier results."""


def run_search(command: SearchCommand) -> None:
    """Search as the command asks, for the best settings or for a fair comparison, and close the study's storage."""
    search = Search if command.settings.compare is None else FairSearch
    try:
        search(command).run()
    finally:
        _storage.close_all()


class Arm(Search):
    """The search of one value of the choice.

    Args:
        value: as typed.
        whole: the fair search that it belongs to.
        arguments: the overrides, with this value and its space.
    """

    def __init__(self, value: str, whole: FairSearch, settings: Settings, arguments: Sequence[str]) -> None:
        self.value = value
        self.whole = whole
        self.label = f"{whole.key.lstrip('+')}={value}"
        own = replace(settings, study_name=self.label)
        super().__init__(replace(whole.command, settings=own, arguments=arguments))

    def next_job(self) -> int:
        """Return the first job number that is free in all searches."""
        return self.whole.next_job()

    def described(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return what the configuration of a trial's runs says about it."""
        whole = self.whole
        return {**super().described(trial), "compare": whole.question.key, "independent": whole.independent}

    def line(self, trial: FrozenTrial, status: str, value: float | None) -> str:
        """Return a finished trial as a line."""
        return f"{self.label}  {line_of(trial, status, value)}"

    def best(self) -> FrozenTrial | None:
        """Return its best trial; None if no trial has a result."""
        return next(iter(better_first(self.study, counted(self.study))), None)

    def fresh_overrides(self, trial: FrozenTrial, seeds: Sequence[int]) -> list[list[str]]:
        """Return the overrides of a trial's setting with other seeds."""
        own = [line for line in self.space.overrides(trial.params) if line.partition("=")[0].lstrip("+") != "seed"]
        return [[*own, f"seed={seed}"] for seed in seeds]


@dataclass(frozen=True)
class Question:
    """What a fair search asks.

    Args:
        key: of the choice.
        values: of the choice.
        trials: for each value.
        seeds: the fresh seeds.
    """

    key: str
    values: tuple[str, ...]
    trials: int
    seeds: tuple[int, ...]

    def noted(self) -> dict[str, Any]:
        """Return the question for `sweep.yaml`."""
        return {"for": self.key, "values": list(self.values), "trials": self.trials, "seeds": list(self.seeds)}


class FairSearch:
    """A search for each value of a choice, and then the runs of the best settings.

    Args:
        command: the command that asked for it.

    Raises:
        UserError: the command does not ask for a fair comparison, or compares different losses by their values.
    """

    def __init__(self, command: SearchCommand) -> None:
        settings = command.settings
        self.command = command
        self.settings, self.config, self.folder = settings, command.config, command.folder
        self.arms: list[Arm] = []
        if settings.storage is not None:
            raise UserError(
                "hydra.sweeper.storage should be null with search=fair, which keeps its studies in its folder"
            )
        lines, parsed = command.overrides(), command.parsed()
        self.key, values = choice_of(str(settings.compare), parsed, command.context)
        spaces = spaces_of(settings.spaces, values, self.key)
        rest = [line for line, override in zip(lines, parsed, strict=True) if key_of(override) != key_name(self.key)]
        shared = replace(settings, params=None)
        self.question = Question(key_name(self.key), tuple(values), settings.n_trials, ())
        self.check_noted()
        for value in values:
            self.arms.append(Arm(value, self, shared, [*rest, f"{self.key}={value}", *spaces.get(value, [])]))
        for arm in self.arms:
            check_space(arm)
        differing = different_losses([plain_config(arm.composed) for arm in self.arms], self.arms[0].objective)
        refuse_different_losses(self.arms[0].objective, differing, self.arms[0].composed)
        first = int(self.arms[0].composed.get("seed", 0))
        tuning = range(first, first + settings.seeds_per_trial)
        self.question = replace(self.question, seeds=fresh_seeds(settings.fresh_seeds, tuning))
        self.check_noted()

    def check_noted(self) -> None:
        """Refuse to resume the fair search of another question.

        Raises:
            UserError: with the difference.
        """
        noted = self.noted()
        now = self.question.noted()
        names = ("for", "values") if not self.question.seeds else ("for", "values", "seeds")
        fixed = (*names, "trials") if noted.get("fresh") else names
        differing = [
            f"{name} ({as_text(noted[name])} -> {as_text(now[name])})"
            for name in fixed
            if name in noted and noted[name] != now[name]
        ]
        if not differing:
            return
        after = " after its best settings were chosen" if noted.get("fresh") and names == fixed[:-1] else ""
        raise UserError(
            f"{str(self.folder)!r} is the fair search of another question: {'; '.join(differing)}{after}; repeat the "
            "command of that search, or start a new one"
        )

    def noted(self) -> dict[str, Any]:
        """Return the entry of `sweep.yaml`; empty if there is none."""
        noted = Sweep(self.folder).asked().get(NOTE)
        return noted if isinstance(noted, dict) else {}

    def next_job(self) -> int:
        """Return the first job number that is free in all searches."""
        return max(next_job(self.folder, arm.study) for arm in self.arms)

    def run(self) -> None:
        """Tune every value, then run the best settings on fresh seeds.

        Raises:
            UserError: a value has no trial with a result.
        """
        sweep = Sweep(self.folder)
        sweep.note(**{NOTE: {**self.noted(), **self.question.noted()}})
        for arm in self.arms:
            arm.close_left()
        domains: dict[str, Domain] = {self.question.key: list(self.question.values)}
        for arm in self.arms:
            domains |= arm.domains()
        hparams_config(self.folder, domains, common_settings(self.config), self.arms[0].metrics())
        self.tune()
        self.write()
        self.refuse_without_result()
        self.rerun()
        self.write()

    def tune(self) -> None:
        """Ask every search for trials and train them together, until each has its number of trials."""
        asked: list[tuple[Arm, list[PlannedTrial]]] = []
        try:
            while True:
                asked = []
                for arm in self.arms:
                    asked.append((arm, arm.ask()))
                if not any(trials for _, trials in asked):
                    return
                if not self.tell(asked, self.launched(asked)):
                    sys.exit(INTERRUPTED)
        except BaseException:
            for arm, trials in asked:
                arm.save_finished(trials)
            self.write()
            raise

    def launched(self, asked: Sequence[tuple[Arm, Sequence[PlannedTrial]]]) -> Sequence[JobReturn]:
        """Train the trials of all searches in one launch."""
        batch = [overrides for _, trials in asked for trial in trials for overrides in trial.overrides]
        arm, trials = next((arm, trials) for arm, trials in asked if trials)
        first = arm.study.get_trials(deepcopy=False)[trials[0].number].user_attrs["jobs"][1]
        returns: Sequence[JobReturn] = self.command.launcher.launch(batch, initial_job_idx=first)
        return returns

    def tell(self, asked: Sequence[tuple[Arm, Sequence[PlannedTrial]]], returns: Sequence[JobReturn]) -> bool:
        """Tell every search the results of its trials; return False if the user interrupted one."""
        start, whole = 0, True
        for arm, trials in asked:
            count = sum(len(trial.overrides) for trial in trials)
            if trials:
                whole = arm.tell(trials, returns[start : start + count]) and whole
            start += count
        return whole

    def refuse_without_result(self) -> None:
        """Refuse to compare if a value has no setting to compare.

        Raises:
            UserError: with the value.
        """
        for arm in self.arms:
            if arm.best() is None:
                counts = ", ".join(f"{count} {state}" for state, count in states(arm.study).items())
                raise UserError(
                    f"{arm.label} has no trial with a result ({counts}), so nothing is compared; the folders of its "
                    "trials show the reasons; leave it out, or give it another space"
                )

    def rerun(self) -> None:
        """Run the best setting of every value on the fresh seeds, in one launch; a resumed search has the same runs.

        Raises:
            UserError: the note of an earlier launch in `sweep.yaml` is damaged.
            SystemExit: the user interrupts.
            Exception: that of a run, if the code has a defect.
        """
        seeds = self.question.seeds
        fresh = self.noted().get("fresh")
        if not isinstance(fresh, dict):
            first = self.next_job()
            fresh = {}
            for index, arm in enumerate(self.arms):
                best = arm.best()
                assert best is not None
                fresh[arm.value] = {"trial": best.number, "job": first + index * len(seeds)}
            Sweep(self.folder).note(**{NOTE: {**self.noted(), "fresh": fresh}})
        batch = []
        for arm in self.arms:
            trials = arm.study.get_trials(deepcopy=False)
            number = fresh.get(arm.value, {}).get("trial") if isinstance(fresh.get(arm.value), dict) else None
            if not isinstance(number, int) or not 0 <= number < len(trials):
                raise UserError(
                    f"{NOTE}.fresh in {str(self.folder / 'sweep.yaml')!r} is damaged; restore it from a copy"
                )
            batch += arm.fresh_overrides(trials[number], seeds)
        first = min(int(entry["job"]) for entry in fresh.values())
        print(f"fresh    {counted_noun(len(self.arms), 'best setting')} x {len(seeds)} seeds: {as_text(list(seeds))}")
        returns = self.command.launcher.launch(batch, initial_job_idx=first)
        stopped = getattr(self.command.launcher, "signal", None) is not None
        results = [result_of(ret, stopped, self.arms[0].objective) for ret in returns]
        if any(result.status == "interrupted" for result in results):
            sys.exit(INTERRUPTED)
        defect = next((result.error for result in results if result.defect), None)
        if defect is not None:
            raise defect

    def write(self) -> None:
        """Print the best setting of every value, and write `fair.json`."""
        found = {arm.value: self.findings(arm) for arm in self.arms}
        content = {**self.question.noted(), "objective": self.arms[0].objective, "found": found}
        write_json(self.folder / FILE, content)
        if self.noted().get("fresh"):
            return
        for arm in self.arms:
            for line in lines_of(arm, found[arm.value]):
                print(visible(line))
        print(f"search   {shown_path(self.folder / FILE)}", flush=True)

    def findings(self, arm: Arm) -> dict[str, Any]:
        """Return the best trial of a value, the position of its numbers, and performance against budget."""
        best = arm.best()
        trials = [trial for trial in counted(arm.study) if trial.state.is_finished()]
        rising = Metric(arm.objective).larger_is_better
        curve = expected_best([trial.value for trial in trials], rising) if self.independent else []
        return {
            "best": None if best is None else about(best),
            "position": {} if best is None else positions(best, arm.space),
            "states": states(arm.study),
            "expected_best": curve,
        }

    @property
    def independent(self) -> bool:
        """Whether the trials do not depend on earlier results."""
        given = self.settings.sampler
        name = (
            given.get("name") or str(given.get("_target_")).rpartition(".")[2] if isinstance(given, Mapping) else given
        )
        return name in INDEPENDENT and self.settings.rounds == 1


def lines_of(arm: Arm, found: Mapping[str, Any]) -> list[str]:
    """Return the best setting of a value as lines, with the numbers that are at a border of their ranges."""
    counts = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    best = found["best"]
    if best is None:
        return [f"tuned    {arm.label}: no trial has a result ({counts})"]
    params = " ".join(f"{name}={value}" for name, value in best["params"].items())
    lines = [f"tuned    {arm.label}: {arm.objective} {best['value']:.4g} with {params} ({counts})"]
    return [*lines, *border_lines(found, f"{arm.label}: ")]


def choice_of(wanted: str, overrides: Sequence[Override], context: HydraContext) -> tuple[str, list[str]]:
    """Return the key of the choice, as typed, and its values: those of the command, or all of a config group.

    Raises:
        UserError: it has no values to compare.
    """
    given = [override for override in overrides if key_of(override) == wanted]
    groups = context.config_loader
    if not given:
        values = sorted(groups.get_group_options(wanted)) if "." not in wanted else []
        if len(values) < 2:
            known = [key_of(override) for override in overrides if override.is_sweep_override()]
            raise UserError(
                f"for={wanted} has no values to compare; add them, such as {wanted}=<value>,<value>"
                + nearest(wanted, known)
            )
        return wanted, values
    override = given[-1]
    if not override.is_discrete_sweep():
        raise UserError(
            f"for={wanted} needs two or more values to compare, such as {wanted}=<value>,<value>; "
            f"{override.input_line} is not a list of them"
        )
    values = list(override.sweep_string_iterator())
    if len(set(values)) < len(values) or len(values) < 2:
        raise UserError(f"{override.input_line} should have two or more values, each once")
    return override.get_key_element(), values


def spaces_of(given: Any, values: Sequence[str], key: str) -> dict[str, list[str]]:
    """Return the ranges that belong to one value of the choice, as overrides.

    Args:
        given: `hydra.sweeper.spaces`: value -> key -> range.
        values: of the choice.
        key: of the choice.

    Raises:
        UserError: a value is unknown, or its space is not a mapping.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UserError(f"hydra.sweeper.spaces={given!r} should be a mapping from values of {key} to their ranges")
    spaces = {}
    for value, space in given.items():
        if str(value) not in values:
            raise UserError(
                f"hydra.sweeper.spaces.{value} is not a value of {key}, which has {', '.join(values)}"
                + nearest(str(value), values)
            )
        if not isinstance(space, Mapping):
            raise UserError(f"hydra.sweeper.spaces.{value}={space!r} should be a mapping from keys to ranges")
        spaces[str(value)] = [f"{name}={yaml_text(text)}" for name, text in flattened(space).items()]
    return spaces


def flattened(space: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a space with dotted keys."""
    found: dict[str, Any] = {}
    for name, value in space.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def check_space(arm: Arm) -> None:
    """Refuse a space that searches the seed, or that has fewer points than the budget.

    Raises:
        UserError: with the value of the choice.
    """
    if "seed" in arm.space.dimensions:
        raise UserError(
            "seed is not tuned by search=fair; give it one value, and the number of hydra.sweeper.fresh_seeds"
        )
    points, trials = arm.space.count(), arm.settings.n_trials
    if points is not None and points < trials:
        raise UserError(
            f"{arm.label} has only {counted_noun(points, 'setting')} to try, fewer than the budget of "
            f"hydra.sweeper.n_trials={trials}, and budgets should be the same; set hydra.sweeper.n_trials={points}, or "
            "give it a range"
        )


def fresh_seeds(given: Any, tuning: range) -> tuple[int, ...]:
    """Return the fresh seeds.

    Args:
        given: `hydra.sweeper.fresh_seeds`: how many, or a list.
        tuning: the seeds of the trials.

    Raises:
        UserError: there are too few, or some were used in tuning.
    """
    key = "hydra.sweeper.fresh_seeds"
    if isinstance(given, int) and not isinstance(given, bool):
        if given < FEWEST_SEEDS:
            raise UserError(f"{key}={given} should be at least {FEWEST_SEEDS}: one run has no interval")
        return tuple(range(tuning.stop, tuning.stop + given))
    whole = isinstance(given, list | tuple) and all(
        isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in given
    )
    if not whole or len(set(given)) < len(given) or len(given) < FEWEST_SEEDS:
        raise UserError(
            f"{key}={given!r} should be a number of seeds, at least {FEWEST_SEEDS}, or a list of different seeds"
        )
    used = [seed for seed in given if seed in tuning]
    if used:
        raise UserError(
            f"{key} has {as_text(used)}, which the trials use too; the runs that choose a setting cannot judge it, so "
            f"give seeds from {tuning.stop} on"
        )
    return tuple(given)


def key_of(override: Override) -> str:
    """Return the key of an override without a plus."""
    return key_name(override.get_key_element())


def key_name(key: str) -> str:
    """Return a key without a plus."""
    return key.lstrip("+")


def as_text(value: Any) -> str:
    """Return a list without brackets."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
