"""The configurations of the run and of each remedy, from the overrides in the run's folder."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.assembly.trust import advice, untrusted
from experiments.checks import CHECKS
from experiments.checks.running import subject_of
from experiments.cli.composing import composed_whole, isolated_hydra, own_folder
from experiments.cli.launch import explained
from experiments.cli.resuming import saved_overrides, without_writing
from experiments.common.errors import UserError
from experiments.common.foreign import read_yaml
from experiments.common.keys import key_of
from experiments.common.metrics import AUTO
from experiments.common.ranking import LOSS, is_loss
from experiments.folders.hydra import task_part, write_composed
from experiments.folders.reading import Record, record
from experiments.folders.run import RunFolder
from experiments.folders.sweep import FILE, Entry
from experiments.runs.job import Job
from experiments.runs.run import Run
from experiments.verdicts.remedies import Facts, Remedy, merged

from .options import RemedyOptions

ORIGINAL = "the run"
UNSEEN = ("progress", "tensorboard", "histograms", "layers", "pictures", "regions")
"""Observers that are turned off: only the metrics are compared."""
OF_THE_RUN = ("seed", "name", "check", "remedy", "observers", "resume", "trial", "trust")
"""Sections of saved overrides that the trials set themselves, or do not need."""


@dataclass(frozen=True)
class Treatment:
    """A configuration to train: the run's own, or with a remedy.

    Args:
        name: of the remedy.
        overrides: that it adds to those of the run.
        verdicts: the names of those that it is for.
        words: all overrides, without the seed.
    """

    name: str
    overrides: tuple[str, ...]
    verdicts: tuple[str, ...]
    words: tuple[str, ...]

    def folder(self, out: Path, seed: int) -> Path:
        """Return the folder of its run with a seed."""
        return out / f"{re.sub(r'[^a-z0-9.]+', '_', self.name.lower()).strip('_')}_seed={seed}"


@dataclass(frozen=True)
class Patient:
    """A run whose remedies are tried.

    Args:
        folder: of the run.
        record: its configuration and summary, read as data.
        words: the overrides that it was started with, without those that the trials set.
        options: of the command.
        compared: the metric that is compared; None for the run's objective.
    """

    folder: Path
    record: Record
    words: tuple[str, ...]
    options: RemedyOptions
    compared: str | None = None

    @property
    def verdicts(self) -> list[str]:
        """The names of its verdicts."""
        return [str(verdict.get("name")) for verdict in self.record.summary["verdicts"]]

    @property
    def own_folder(self) -> Path | None:
        """The folder with the user's own choices."""
        folders = own_folder(self.options.config_dir)
        return folders[0] if folders else None

    @property
    def metric(self) -> str:
        """The metric that is compared."""
        return self.compared or str(self.record.summary.get("objective") or self.record.objective)

    @property
    def seeds(self) -> list[int]:
        """The seeds: that of the run, and the next ones."""
        first = self.record.config.get("seed", 0)
        return list(range(int(first), int(first) + self.options.seeds))

    def treatment(self, name: str = ORIGINAL, overrides: Sequence[str] = (), verdicts: Sequence[str] = ()) -> Treatment:
        """Return the run with more overrides."""
        return Treatment(name, tuple(overrides), tuple(verdicts), tuple(merged(self.words, overrides)))


def patient(folder: Path, options: RemedyOptions) -> Patient:
    """Read a run's folder, as data.

    Raises:
        UserError: it is not the folder of a run, it has no verdicts, or its overrides cannot be used.
    """
    shown = f"run={str(folder)!r}"
    if (folder / FILE).exists():
        raise UserError(f"{shown} is the folder of a sweep; give the folder of one of its runs")
    try:
        found = record(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{shown} is not a run folder: {error}") from None
    given = found.summary.get("verdicts")
    if not isinstance(given, list) or not given or not all(isinstance(verdict, Mapping) for verdict in given):
        reason = {
            "interrupted": f"it was interrupted; finish it with experiments.train resume={folder}",
            "failed": "it failed",
        }.get(found.status, "it has not ended" if not found.summary else "it trained no epoch")
        raise UserError(f"{shown} has no verdicts: {reason}")
    if not str(found.summary.get("objective", "")).startswith("val/"):
        raise UserError(
            f"{shown} has no validation split to compare remedies on; train it with data.val_fraction above 0"
        )
    saved = without_writing(saved_overrides(folder, OF_THE_RUN), [], folder)
    words = [word for word in saved if key_of(word).partition(".")[0] not in OF_THE_RUN]
    return Patient(folder, found, tuple(words), options)


def comparable(run: Patient, chosen: Sequence[Remedy]) -> tuple[Patient, list[Remedy]]:
    """Return the run with a metric that all remedies share, and the remedies that it can compare.

    The values of two losses have different units, so a remedy that changes the loss cannot be compared by the loss.
    Then it is the mean absolute error of numbers, and the accuracy of classes.

    Args:
        run: whose objective may be a loss.
        chosen: its remedies.
    """
    of_loss = [one for one in chosen if any(key_of(word).partition(".")[0] == LOSS for word in one.overrides)]
    if not of_loss or not is_loss(run.metric):
        return run, list(chosen)
    measured, metrics = run.record.metrics, run.record.config.get("metrics", AUTO)
    for name in ("val/mae", "val/accuracy"):
        if name in measured:
            return replace(run, compared=name), list(chosen)
    if "val/r2" in measured and metrics == AUTO:
        words = merged(run.words, ["metrics=[r2,rmse,mae]"])
        return replace(run, compared="val/mae", words=tuple(words)), list(chosen)
    return run, [one for one in chosen if one not in of_loss]


def facts(run: Patient, rate: float | None = None) -> Facts:
    """Return what remedies are based on.

    Args:
        run: the run.
        rate: the one that the range test suggests.
    """
    steps, done = run.record.summary.get("steps") or 0, run.record.summary.get("epochs") or 0
    planned = run.record.config.get("training.epochs") or done
    return Facts(run.record.config, int(steps * planned / done) if done else 0, rate)


def composed(run: Patient, treatment: Treatment) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Return a treatment's configuration, Hydra's part of it, and the file chosen in each group.

    Raises:
        UserError: an override does not fit, or the configuration names code that is not trusted.
    """
    words = [*treatment.words, *(f"observers.{name}.enabled=false" for name in UNSEEN)]
    own = own_folder(run.options.config_dir)
    with isolated_hydra():
        try:
            whole = composed_whole("train", words, own)
            HydraConfig.instance().set_config(whole)
            task: Any = OmegaConf.to_container(task_part(whole), resolve=True)
        except (HydraException, OmegaConfBaseException, UserError) as error:
            raise UserError(f"{treatment.name}: {explained(error, 'train', words)}") from None
        hydra: Any = OmegaConf.to_container(whole.hydra, resolve=False)
        choices = {str(group): choice for group, choice in whole.hydra.runtime.choices.items()}
    for key, value in untrusted(task, run.options.trusted):
        raise UserError(
            f"{key}={value!r} of {str(run.folder)!r} names code from outside this package; "
            + advice(str(value), "trust={}")
        )
    task["trust"] = list(run.options.trusted)
    return task, hydra, {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}


def jobs(run: Patient, treatment: Treatment, out: Path) -> list[Job]:
    """Return the runs of a treatment, one for each seed, that have not ended; their folders are written.

    Raises:
        UserError: see `composed`; or a folder has other overrides.
    """
    task, hydra, choices = composed(run, treatment)
    found = []
    for seed in run.seeds:
        config, own, folder = copy.deepcopy(task), copy.deepcopy(hydra), treatment.folder(out, seed)
        words = [*own["overrides"]["task"], f"seed={seed}"]
        config["seed"] = seed
        own["overrides"]["task"] = words
        path = folder / ".hydra" / "overrides.yaml"
        if path.exists() and read_yaml(path) != words:
            raise UserError(
                f"{str(folder)!r} is of another remedy ({' '.join(treatment.overrides) or 'none'} is tried now); "
                "remove the folder, or give another one with out="
            )
        entry = Entry(seed, folder)
        if path.exists() and entry.is_over(retry=False):
            continue
        if not path.exists():
            write_composed(config, own, folder)
        resumable = entry.status == "interrupted" and RunFolder(folder).last.exists()
        config["resume"] = str(folder) if resumable else None
        found.append(Job(config, RunFolder(folder), choices, words, borrowed=True, config_dir=run.own_folder))
    return found


def suggested_rate(run: Patient) -> float | None:
    """Return the rate that the range test suggests for the run; None if the test gives none.

    Raises:
        UserError: the run cannot be composed or built.
    """
    task, _, choices = composed(run, run.treatment())
    with tempfile.TemporaryDirectory() as folder:
        config = {**task, "seed": run.seeds[0], "resume": None}
        own = Run(Job(config, RunFolder(Path(folder)), choices, borrowed=True), quiet=True)
        prepared = own.attempt(own.prepare)
        if prepared is None:
            raise UserError(str(own.error))
        parts = prepared.parts
        with own:
            subject = subject_of(
                config, parts.data, parts.program, parts.member.rate, parts.plan.batch_size, RunFolder(Path(folder))
            )
            with prepared.surroundings(1):
                numbers = CHECKS["lr_range"](subject).numbers
    suggestions = [numbers[name] for name in ("steepest", "tenth_of_minimum") if name in numbers]
    return float(min(suggestions)) if suggestions else None
