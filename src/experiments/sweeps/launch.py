"""Launching the jobs of a sweep: planned as stacks, trained here or by workers, and listed in a table as they end."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Ge
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from experiments.common.errors import UserError
from experiments.common.files import flush_all, flushing
from experiments.common.metrics import Metric, objective_of
from experiments.common.ranking import different_losses, is_loss
from experiments.common.signatures import checked
from experiments.common.statuses import WITH_RESULT
from experiments.common.text import counted, on_terminal, visible
from experiments.folders.hydra import OF_THE_SWEEP, write_composed
from experiments.folders.sweep import Entry, Sweep, own_overrides, removed

from ._composer import Composed, Composer
from ._devices import Sharing, devices_of, sharing
from ._paying import smallest_stacks
from ._plan import Planned, described, labels_of, plan

if TYPE_CHECKING:
    from experiments.runs.job import Job
    from experiments.runs.run import Run
    from experiments.training.member import Member
    from experiments.training.position import Position
    from experiments.training.stop import SignalStop

Result = TypeVar("Result")
SHOWN_SECONDS = 5.0
"""The least time between two messages about the progress of a stack."""
MOST_REPORTED = 20
"""The runs whose end is always reported."""
TABLE_SECONDS, TABLE_SHARE = 1.0, 0.05
"""The least time between two tables while runs end, and the share of the time that writing them takes at most: the
table of thousands of runs is long, and each run's own folder has its result at once."""
SHORTEST_NAME = 9
"""The characters of a run's name that a narrow terminal shows."""


@dataclass(frozen=True)
class LaunchSettings:
    """How a sweep's jobs are trained; the defaults are those of the plugin's `StackedConfig`.

    Args:
        max_stack: the largest number of runs in a stack; auto chooses it from the free memory.
        executor: inline trains in this process, local in processes of this machine, ray in workers of Ray.
        local: how many `workers`, and `max_retries`.
        ray: `address`, `num_cpus` and `num_gpus` of each stack, `max_retries`.
        without: observers that are turned off unless an override names them: pictures take longer than a small run.
    """

    max_stack: Annotated[int, Ge(1)] | Literal["auto"]
    executor: Literal["inline", "local", "ray"]
    local: dict[str, Any]
    ray: dict[str, Any]
    without: tuple[str, ...]


@dataclass
class SweepJob:
    """A job of the sweep.

    Args:
        number: in the sweep.
        composed: its configuration.
        entry: its entry in the sweep's table.
    """

    number: int
    composed: Composed
    entry: Entry

    @property
    def config(self) -> dict[str, Any]:
        """The task's configuration."""
        return self.composed.task


class EndedJob(JobReturn):
    """The result of a job, whose configuration is built when it is read: for 500 jobs that would take 8 seconds."""

    @property
    def cfg(self) -> DictConfig:
        """The job's configuration."""
        return OmegaConf.create(self._plain)

    @cfg.setter
    def cfg(self, plain: Any) -> None:
        self._plain = plain


class Launch:
    """The jobs of one sweep, or of a batch of it.

    Args:
        loader: Hydra's.
        master: the sweep's configuration.
        settings: see `LaunchSettings`.
    """

    def __init__(self, loader: Any, master: DictConfig, settings: Any) -> None:
        self.loader, self.master = loader, master
        self.settings = LaunchSettings(**checked(LaunchSettings, settings, "hydra.launcher"))
        self.sweep = Sweep(Path(master.hydra.sweep.dir).absolute())
        self.signal: int | None = None
        self.reported, self.reported_at = 0, 0.0
        self.next_table = 0.0

    def __call__(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Train the jobs and return their results.

        Raises:
            UserError: one of them cannot be composed; then none is trained.
        """
        from experiments.training.stop import SignalStop

        stop = SignalStop()
        with stop.listening():  # from the start: importing torch and planning take seconds
            returned = self.launched(job_overrides, first, stop)
        self.signal = self.signal or stop.signal
        return returned

    def launched(self, job_overrides: Sequence[Sequence[str]], first: int, stop: SignalStop) -> list[JobReturn]:
        """Train the jobs unless a stop is requested before, and return their results."""
        self.sweep.find()
        jobs = self.composed(job_overrides, first)
        stacks = self.planned(jobs)
        self.write(jobs)
        todo = {job.number for job in jobs if not job.entry.is_over(retry=bool(job.config["retry_failed"]))}
        skipped = len(jobs) - len(todo)
        for line in described(stacks, [job.config for job in jobs], first):
            print(line)
        if skipped:
            print(f"  {skipped} of these ended before")
        self.sweep.write_table()
        if not stop.requested:
            parts = [[jobs[i] for i in planned.jobs if jobs[i].number in todo] for planned in stacks]
            self.train(parts, stop, labels_of(stacks))
        self.check_folder()
        self.sweep.write_table()
        return [self.returned(job) for job in jobs]

    def check_folder(self) -> None:
        """Check that the sweep's folder still exists.

        Raises:
            UserError: somebody has removed it.
        """
        if not self.sweep.was_begun():
            raise UserError(removed(self.sweep.folder))

    def composed(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[SweepJob]:
        """Compose every job; nothing is written, as the sweep may be refused.

        Raises:
            UserError: a job cannot be composed, or several jobs have the same folder.
        """
        composer = Composer(self.loader, self.master)
        typed = list(self.master.hydra.overrides.task)
        composed = {n: composer.compose(overrides, n) for n, overrides in enumerate(job_overrides, first)}
        own = {number: own_overrides(job_overrides[number - first], typed) for number in composed}
        given = {number: job.folder for number, job in composed.items()}
        folders = given | self.sweep.expect(own, given)
        twice = [folder for folder, count in Counter(folders.values()).items() if count > 1]
        if twice:
            raise UserError(
                f"hydra.sweep.subdir gives several jobs the folder {twice[0].name!r}; name them by their numbers"
            )
        jobs = []
        for number, job in composed.items():
            for name in self.settings.without:
                self.leave_out(job.task, name, job_overrides[number - first])
            jobs.append(SweepJob(number, job, self.sweep.add(number, folders[number], own[number])))
        return jobs

    def write(self, jobs: Sequence[SweepJob]) -> None:
        """Write the configurations of new jobs to their folders, and note them in the sweep's."""
        new = [job for job in jobs if not (job.entry.folder / ".hydra" / "overrides.yaml").exists()]
        with flushing(len(new) == 1):
            for asked in new:
                write_composed(asked.config, asked.composed.hydra, asked.entry.folder)
        if len(new) > 1:
            flush_all()
        self.sweep.note_runs([asked.entry for asked in jobs])

    @staticmethod
    def leave_out(config: dict[str, Any], observer: str, overrides: Sequence[str]) -> None:
        """Turn off an observer unless an override names it."""
        section = config["observers"].get(observer)
        named = re.compile(rf"[+~]*observers(\.{re.escape(observer)}\b|=)")
        if isinstance(section, dict) and not any(named.match(line) for line in overrides):
            section["enabled"] = False

    def planned(self, jobs: Sequence[SweepJob]) -> list[Planned]:
        """Plan the stacks; a resumed sweep has the same stacks as before, so that it computes the same bits."""
        asked = self.sweep.asked()
        noted, smallest = asked.get("max_stack"), asked.get("min_stack")
        largest: Any = self.settings.max_stack
        if self.master.get("resume") is None and not isinstance(smallest, dict):
            smallest = self.smallest_stacks(jobs) if largest == "auto" else {}
        if isinstance(noted, int) and noted > 0 and (largest == "auto" or self.master.get("resume") is not None):
            largest = noted
        else:
            shared = self.sharing(jobs)
            fitting = self.largest_stack(jobs, shared.share)
            largest = shared.largest(fitting if largest == "auto" else largest, len(jobs))
        smallest = smallest if isinstance(smallest, dict) else {}
        self.sweep.note(max_stack=largest, min_stack=smallest)
        return plan([job.config for job in jobs], largest, smallest)

    def smallest_stacks(self, jobs: Sequence[SweepJob]) -> dict[str, int]:
        """Return the smallest stacks, by the kind of the network.

        Ray starts a process for each run that is not in a stack, which takes longer. The seeds of a trial that may be
        pruned report together.
        """
        import torch

        if self.settings.executor == "ray" or any(job.config.get("trial") for job in jobs):
            return {}
        return smallest_stacks(devices_of([job.config for job in jobs]), cuda=torch.cuda.is_available())

    def sharing(self, jobs: Sequence[SweepJob]) -> Sharing:
        """Return how the stacks share the GPUs of this machine."""
        import torch

        devices = devices_of([job.config for job in jobs])
        executor = self.settings.executor
        present = torch.cuda.device_count() if executor != "inline" else 0
        if executor == "local":
            from ._processes import local_settings

            return sharing(executor, vars(local_settings(self.settings.local)), devices, present)
        return sharing(executor, self.settings.ray, devices, present)

    def largest_stack(self, jobs: Sequence[SweepJob], share: float) -> int:
        """Return how many runs fit into a share of the memory, measured with the first job that can be built.

        Raises:
            UserError: this is a new sweep, and no job can be built; nothing is written then.
        """
        from experiments.runs.together import largest_stack

        fitting, problems = self.first_built(jobs, lambda job: largest_stack(job, share))
        if fitting is not None:
            return fitting
        new = self.master.get("resume") is None and not any(job.config.get("trial") for job in jobs)
        if new and problems and all(type(problem) is UserError for problem in problems):
            raise problems[0]
        return 1

    def check(self, job_overrides: Sequence[Sequence[str]]) -> tuple[str | None, list[Exception]]:
        """Return the objective of the first job that can be built, and why those before it cannot be built."""
        from experiments.runs.together import built

        composer = Composer(self.loader, self.master)
        composed = (composer.compose(overrides, number) for number, overrides in enumerate(job_overrides))
        jobs = (SweepJob(number, job, Entry(number, job.folder)) for number, job in enumerate(composed))
        return self.first_built(jobs, lambda job: built(job).general.objective)

    def first_built(
        self, jobs: Iterable[SweepJob], build: Callable[[Job], Result]
    ) -> tuple[Result | None, list[Exception]]:
        """Return what a function finds out about the first job that can be built, and why those before it cannot be."""
        problems: list[Exception] = []
        for job in jobs:
            try:
                return build(self.job(job)), problems
            except Exception as error:
                problems.append(error)
        return None, problems

    def job(self, asked: SweepJob) -> Job:
        """Return the run of a job; it continues if it was interrupted or failed after a checkpoint."""
        from experiments.folders.run import RunFolder
        from experiments.runs.job import Job

        resumable = asked.entry.status in ("interrupted", "failed") and RunFolder(asked.entry.folder).last.exists()
        resume = str(asked.entry.folder) if resumable else None
        overrides = [o for o in asked.composed.overrides if not OF_THE_SWEEP.match(o)]
        folder = RunFolder(asked.entry.folder)
        return Job({**asked.config, "resume": resume}, folder, asked.composed.choices, overrides, own=True)

    def train(self, stacks: Sequence[Sequence[SweepJob]], stop: SignalStop, labels: Sequence[str]) -> None:
        """Train the jobs, stack by stack; each has a label."""
        runs = [[self.job(job) for job in stack] for stack in stacks if stack]
        if self.settings.executor == "ray":
            from ._workers import train_on_ray

            self.signal = train_on_ray(runs, self.settings.ray, self.on_jobs_finished)
        elif self.settings.executor == "local":
            from ._processes import train_in_processes

            self.signal = train_in_processes(runs, self.settings.local, self.on_jobs_finished)
        else:
            self.train_here(runs, stop, [label for label, stack in zip(labels, stacks, strict=True) if stack])

    def train_here(self, stacks: Sequence[Sequence[Job]], stop: SignalStop, labels: Sequence[str]) -> None:
        """Train in this process."""
        from experiments.runs.together import train_together

        for jobs, label in zip(stacks, labels, strict=True):
            name = label or jobs[0].folder.path.name
            progress = Progress(name if len(stacks) > 1 else "", print, [job.config for job in jobs])
            train_together(jobs, stop, self.on_finish, print, progress)
            if stop.requested or not self.sweep.was_begun():
                break

    def on_finish(self, run: Run) -> None:
        """Print how a run ended, and write it to the table."""
        failed = {"status": "failed", "error": run.error}
        self.report(run.name, run.summary or failed)
        self.refresh_table()

    def report(self, name: str, summary: Mapping[str, Any]) -> None:
        """Print how a run ended; of many runs on a terminal, those without a result, and one every few seconds."""
        self.reported += 1
        recently = time.monotonic() - self.reported_at < SHOWN_SECONDS
        if on_terminal() and self.reported > MOST_REPORTED and recently and summary.get("status") in WITH_RESULT:
            return
        self.reported_at = time.monotonic()
        print(summary_line(name, summary), flush=True)

    def refresh_table(self) -> None:
        """Write the table, unless it was written just now, or somebody has removed the sweep's folder."""
        started = time.monotonic()
        if started < self.next_table or not self.sweep.was_begun():
            return
        self.sweep.write_table()
        ended = time.monotonic()
        self.next_table = ended + max(TABLE_SECONDS, (ended - started) / TABLE_SHARE)

    def on_jobs_finished(self, jobs: Sequence[Job]) -> None:
        """Print how runs in workers ended, and write it to the table."""
        for job in jobs:
            self.report(job.folder.path.name, Entry(0, job.folder.path).summary)
        self.refresh_table()

    def returned(self, job: SweepJob) -> JobReturn:
        """Return the result of a job for Hydra's sweepers."""
        metrics = job.entry.summary.get("metrics") or {}
        hydra = {"runtime": {"output_dir": str(job.entry.folder)}, "job": {"num": job.number}}
        return EndedJob(
            overrides=job.composed.overrides,
            cfg=job.config,  # type: ignore[arg-type]
            hydra_cfg=OmegaConf.create({"hydra": hydra}),
            working_dir=str(job.entry.folder),
            task_name="train",
            status=JobStatus.COMPLETED,
            _return_value=metrics.get(job.entry.summary.get("objective") or objective_of(job.config)),
        )


def summary_line(name: str, summary: Mapping[str, Any]) -> str:
    """Return a line about a run that has ended; its folder may be from somebody else.

    On a terminal it is one line: less is told about the run, and then its name is shortened.
    """
    metrics = summary.get("metrics") or {}
    if summary.get("status") == "failed":
        return visible(f"{name}  failed: {summary.get('error')}")
    objective = str(summary.get("objective") or objective_of({}))
    names = dict.fromkeys([objective, f"test/{objective.partition('/')[2]}"])
    numbers = [f"{name} {metrics[name]:.4f}" for name in names if name in metrics]
    unit = "step" if "validated_every" in summary else "epoch"
    status, epochs = summary.get("status"), counted(summary.get(f"{unit}s") or 0, unit)
    rest = [f"{status} after {epochs}", *numbers]
    if on_terminal():
        columns = shutil.get_terminal_size().columns
        shorter = (rest, rest[:2], [str(status), *rest[1:2]])
        rest = next((parts for parts in shorter if len("  ".join([name, *parts])) <= columns), shorter[-1])
        left = max(columns - len("  ".join(["", *rest])), SHORTEST_NAME)
        name = name if len(name) <= left else f"{name[: left - 3]}..."
    return visible("  ".join([name, *rest]))


class Progress:
    """Prints the progress of a stack every few seconds.

    Args:
        label: the name of the stack.
        log: called with each message.
        configs: of its runs.
    """

    def __init__(
        self, label: str, log: Callable[[str], object] = print, configs: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.label, self.log, self.configs = label, log, configs
        self.shown = time.monotonic()

    def __call__(self, members: Sequence[Member], position: Position) -> None:
        """Print the progress, unless that was just done."""
        if position.epoch == 0 or time.monotonic() - self.shown < SHOWN_SECONDS:
            return
        self.shown = time.monotonic()
        active = [member for member in members if member.status is None]
        if not active:
            return
        objective = active[0].objective
        values = [m.history[-1][objective] for m in active if m.history and objective in m.history[-1]]
        if is_loss(objective) and different_losses(self.configs, objective):
            values = []  # of different losses none is the best
        best = f", best {objective} now {max(values, key=Metric(objective).score):.4f}" if values else ""
        epoch = f"{position.name}/{position.plan.epochs if position.plan.validate_steps is None else position.marks}"
        self.log("  ".join(filter(None, [self.label, f"{epoch}, {counted(len(active), 'run')}{best}"])))
