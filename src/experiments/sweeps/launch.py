"""Making the jobs of a sweep: planned into stacks, trained here or by workers, and written down as they end."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from experiments.common.errors import UserError
from experiments.common.signatures import checked
from experiments.common.text import counted
from experiments.folders.hydra import OF_THE_SWEEP, write_composed
from experiments.folders.sweep import Entry, Sweep, own_overrides

from ._composer import Composed, Composer
from ._plan import Planned, described, plan

if TYPE_CHECKING:
    from experiments.runs.job import Job
    from experiments.runs.run import Run
    from experiments.training.member import Member
    from experiments.training.position import Position

SHOWN_SECONDS = 5.0
"""How often at most the progress of a stack is said."""


@dataclass(frozen=True)
class Launching:
    """How a sweep's jobs are made.

    Args:
        max_stack: how many runs are trained as one program at most; auto by the free memory.
        executor: inline for this process, or ray for workers, one process a stack.
        ray: `address`, `num_cpus` and `num_gpus` of each stack, `max_retries`.
        without: observers that are left out unless an override names them: pictures take longer than a small
            run.
    """

    max_stack: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    executor: Literal["inline", "ray"] = "inline"
    ray: dict[str, Any] | None = None
    without: tuple[str, ...] = ("pictures", "regions")


@dataclass
class SweepJob:
    """A job of the sweep.

    Args:
        number: in the sweep.
        composed: its configuration.
        entry: its place in the sweep's table.
    """

    number: int
    composed: Composed
    entry: Entry

    @property
    def config(self) -> dict[str, Any]:
        """The task's configuration."""
        return self.composed.task


class Launch:
    """The jobs of one sweep, or of a batch of it.

    Args:
        loader: Hydra's.
        master: the sweep's configuration.
        settings: how.
    """

    def __init__(self, loader: Any, master: DictConfig, settings: Any) -> None:
        self.loader, self.master = loader, master
        self.settings = Launching(**checked(Launching, settings, "hydra.launcher"))
        self.sweep = Sweep(Path(master.hydra.sweep.dir).absolute())
        self.signal: int | None = None

    def __call__(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Make the jobs and return what came of each.

        Raises:
            UserError: one of them cannot be composed: then none is made.
        """
        self.sweep.find()
        jobs = self.composed(job_overrides, first)
        stacks = self.planned(jobs)
        todo = {job.number for job in jobs if not job.entry.is_over(retry=bool(job.config["retry_failed"]))}
        skipped = len(jobs) - len(todo)
        for line in described(stacks, [job.config for job in jobs], first):
            print(line)
        if skipped:
            print(f"  {skipped} of these came to an end before")
        self.sweep.write_table()
        self.make([[jobs[place] for place in planned.jobs if jobs[place].number in todo] for planned in stacks])
        self.sweep.write_table()
        return [self.returned(job) for job in jobs]

    def composed(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[SweepJob]:
        """Compose every job, and leave the configuration of those that are new in their folders."""
        composer = Composer(self.loader, self.master)
        typed = list(self.master.hydra.overrides.task)
        composed = {n: composer.compose(overrides, n) for n, overrides in enumerate(job_overrides, first)}
        own = {number: own_overrides(job_overrides[number - first], typed) for number in composed}
        folders = {n: job.folder for n, job in composed.items()} | self.sweep.expect(own)
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
        for asked in jobs:
            if not (asked.entry.folder / ".hydra" / "overrides.yaml").exists():
                write_composed(asked.config, asked.composed.hydra, asked.entry.folder)
        self.sweep.note_runs([asked.entry for asked in jobs])
        return jobs

    @staticmethod
    def leave_out(config: dict[str, Any], observer: str, overrides: Sequence[str]) -> None:
        """Turn an observer off that no override names."""
        section = config["observers"].get(observer)
        named = re.compile(rf"[+~]*observers(\.{re.escape(observer)}\b|=)")
        if isinstance(section, dict) and not any(named.match(line) for line in overrides):
            section["enabled"] = False

    def planned(self, jobs: Sequence[SweepJob]) -> list[Planned]:
        """Plan the stacks; a resumed sweep has the same ones as before, so that it computes with the same bits."""
        noted = self.sweep.asked().get("max_stack")
        largest: Any = self.settings.max_stack
        if noted and (largest == "auto" or self.master.get("resume") is not None):
            largest = noted
        if largest == "auto":
            largest = self.fitting(jobs)
        self.sweep.note(max_stack=largest)
        return plan([job.config for job in jobs], largest)

    def fitting(self, jobs: Sequence[SweepJob]) -> int:
        """Return how many runs fit into memory side by side, by the first job that can be put together."""
        from experiments.runs.together import fitting

        for job in jobs:
            found = fitting(self.job(job))
            if found is not None:
                return found
        return 1

    def job(self, asked: SweepJob) -> Job:
        """Return the run of a job: the one that was begun before, where there is one."""
        from experiments.folders.run import RunFolder
        from experiments.runs.job import Job

        begun = asked.entry.status in ("interrupted", "failed") and RunFolder(asked.entry.folder).last.exists()
        resume = str(asked.entry.folder) if begun else None
        overrides = [o for o in asked.composed.overrides if not OF_THE_SWEEP.match(o)]
        folder = RunFolder(asked.entry.folder)
        return Job({**asked.config, "resume": resume}, folder, asked.composed.choices, overrides)

    def make(self, stacks: Sequence[Sequence[SweepJob]]) -> None:
        """Train what is left to train, stack by stack."""
        made = [[self.job(job) for job in stack] for stack in stacks if stack]
        if self.settings.executor == "ray":
            from ._workers import train_on_ray

            self.signal = train_on_ray(made, self.settings.ray or {}, self.worked)
        else:
            self.make_here(made)

    def make_here(self, stacks: Sequence[Sequence[Job]]) -> None:
        """Train in this process."""
        from experiments.runs.together import train_together
        from experiments.training.stop import SignalStop

        stop = SignalStop()
        with stop.listening():
            for number, jobs in enumerate(stacks, 1):
                label = f"stack {number}/{len(stacks)}" if len(stacks) > 1 else ""
                train_together(jobs, stop, self.ended, print, Progress(label))
                if stop.requested:
                    break
        self.signal = stop.signal

    def ended(self, run: Run) -> None:
        """Say what came of a run, and write it down."""
        failed = {"status": "failed", "error": run.error}
        print(line_of(run.name, run.summary or failed), flush=True)
        self.sweep.write_table()

    def worked(self, jobs: Sequence[Job]) -> None:
        """Say what came of runs that workers had, and write it down."""
        for job in jobs:
            print(line_of(job.folder.path.name, Entry(0, job.folder.path).summary), flush=True)
        self.sweep.write_table()

    def returned(self, job: SweepJob) -> JobReturn:
        """Return what Hydra's sweepers expect to be told."""
        metrics = job.entry.summary.get("metrics") or {}
        hydra = {"runtime": {"output_dir": str(job.entry.folder)}, "job": {"num": job.number}}
        return JobReturn(
            overrides=job.composed.overrides,
            cfg=OmegaConf.create(job.config),
            hydra_cfg=OmegaConf.create({"hydra": hydra}),
            working_dir=str(job.entry.folder),
            task_name="train",
            status=JobStatus.COMPLETED,
            _return_value=metrics.get(job.config["objective"]),
        )


def line_of(name: str, summary: Mapping[str, Any]) -> str:
    """Return a line about a run that has come to its end."""
    metrics = summary.get("metrics") or {}
    if summary.get("status") == "failed":
        return f"{name}  failed: {summary.get('error')}"
    numbers = [f"{split} {metrics[split]:.4f}" for split in ("val/accuracy", "test/accuracy") if split in metrics]
    return "  ".join([name, f"{summary.get('status')} after {counted(summary.get('epochs') or 0, 'epoch')}", *numbers])


class Progress:
    """Says how far a stack is, every few seconds.

    Args:
        label: what it is called.
        out: where to.
    """

    def __init__(self, label: str, out: Callable[[str], object] = print) -> None:
        self.label, self.out = label, out
        self.shown = time.monotonic()

    def __call__(self, members: Sequence[Member], position: Position) -> None:
        """Say it, unless that was done just now."""
        if position.epoch == 0 or time.monotonic() - self.shown < SHOWN_SECONDS:
            return
        self.shown = time.monotonic()
        active = [member for member in members if member.status is None]
        if not active:
            return
        objective = active[0].objective
        values = [m.history[-1][objective] for m in active if m.history and objective in m.history[-1]]
        best = f", best {objective} now {(min if objective.endswith('loss') else max)(values):.4f}" if values else ""
        place = f"epoch {position.epoch}/{position.plan.epochs}"
        self.out("  ".join(filter(None, [self.label, f"{place}, {counted(len(active), 'run')}{best}"])))
