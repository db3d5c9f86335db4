"""Making the jobs of a sweep: planned into stacks, trained here or by workers, and written down as they end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from .composing import Composer, plain, task_part, write_composed
from .planning import Planned, counted, described, plan
from .settings import checked
from .sweep import Entry, Sweep, own_overrides

if TYPE_CHECKING:
    from annotated_types import Ge

    from .engine import Position
    from .job import Job, Run

EXECUTORS = ("inline", "ray")
SHOWN_SECONDS = 5.0
"""How often at most the progress of a stack is said."""


@dataclass(frozen=True)
class Launching:
    """How a sweep's jobs are made.

    Args:
        max_stack: how many runs are trained as one program at most; auto by the free memory.
        executor: inline for this process, or ray for workers, one process a stack.
        ray: `address`, `num_cpus` and `num_gpus` of each stack, `max_retries`.
        without: observers that are left out unless an override names them: pictures take longer than a small run.
    """

    max_stack: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    executor: Literal["inline", "ray"] = "inline"
    ray: dict[str, Any] | None = None
    without: tuple[str, ...] = ("pictures",)


@dataclass
class Composed:
    """A job of the sweep.

    Args:
        number: in the sweep.
        overrides: all of them.
        whole: the configuration with Hydra's part.
        config: the task's part, plain.
        entry: its place in the sweep's table.
    """

    number: int
    overrides: Sequence[str]
    whole: DictConfig
    config: dict[str, Any]
    entry: Entry


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
        for line in described(stacks, [job.config for job in jobs]):
            print(line)
        if skipped:
            print(f"  {counted(skipped, 'run')} of these came to an end before")
        self.sweep.write_table()
        self.make([[jobs[place] for place in planned.jobs if jobs[place].number in todo] for planned in stacks])
        self.sweep.write_table()
        return [self.returned(job) for job in jobs]

    def composed(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Composed]:
        """Compose every job, and leave the configuration of those that are new in their folders."""
        composer = Composer(self.loader, self.master)
        typed = list(self.master.hydra.overrides.task)
        jobs = []
        for number, overrides in enumerate(job_overrides, first):
            whole = composer.compose(overrides, number)
            for name in self.settings.without:
                self.leave_out(whole, name, overrides)
            config = plain(whole)
            folder = Path(whole.hydra.runtime.output_dir)
            entry = self.sweep.add(number, folder, own_overrides(overrides, typed))
            jobs.append(Composed(number, overrides, whole, config, entry))
        for job in jobs:
            if not (job.entry.folder / ".hydra" / "overrides.yaml").exists():
                write_composed(task_part(job.whole), job.whole.hydra, job.entry.folder)
        return jobs

    @staticmethod
    def leave_out(config: DictConfig, observer: str, overrides: Sequence[str]) -> None:
        """Turn an observer off that no override names."""
        section = config.observers.get(observer)
        named = re.compile(rf"[+~]*observers(\.{re.escape(observer)}\b|=)")
        if section is not None and not any(named.match(line) for line in overrides):
            section["enabled"] = False

    def planned(self, jobs: Sequence[Composed]) -> list[Planned]:
        """Plan the stacks; a resumed sweep has the same ones as before, so that it computes with the same bits."""
        largest: Any = self.settings.max_stack
        if largest == "auto":
            largest = self.sweep.asked().get("max_stack") or self.fitting(jobs)
            self.sweep.note(max_stack=largest)
        return plan([job.config for job in jobs], largest)

    def fitting(self, jobs: Sequence[Composed]) -> int:
        """Return how many runs fit into memory side by side, by the first job that can be put together."""
        from .job import fitting

        for job in jobs:
            found = fitting(self.job(job))
            if found is not None:
                return found
        return 1

    def job(self, composed: Composed) -> Job:
        """Return the run of a job: the one that was begun before, where there is one."""
        from .job import Job
        from .run import RunFolder

        choices = {k: v for k, v in composed.whole.hydra.runtime.choices.items() if not k.startswith("hydra/")}
        begun = composed.entry.status in ("interrupted", "failed") and (
            composed.entry.folder / "checkpoints" / "last.pt"
        )
        resume = str(composed.entry.folder) if begun and begun.exists() else None
        overrides = [o for o in composed.overrides if not o.startswith(("resume=", "retry_failed="))]
        return Job({**composed.config, "resume": resume}, RunFolder(composed.entry.folder), choices, overrides)

    def make(self, stacks: Sequence[Sequence[Composed]]) -> None:
        """Train what is left to train, stack by stack."""
        made = [[self.job(job) for job in stack] for stack in stacks if stack]
        if self.settings.executor == "ray":
            from .workers import train_on_ray

            train_on_ray(made, self.settings.ray or {}, self.progress)
        else:
            self.make_here(made)

    def make_here(self, stacks: Sequence[Sequence[Job]]) -> None:
        """Train in this process."""
        from .job import train_together
        from .stop import SignalStop

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
        said_of(run)
        self.sweep.write_table()

    def progress(self, lines: Sequence[str]) -> None:
        """Say what workers report, and write the table anew."""
        for line in lines:
            print(line)
        self.sweep.write_table()

    def returned(self, job: Composed) -> JobReturn:
        """Return what Hydra's sweepers expect to be told."""
        HydraConfig.instance().set_config(job.whole)
        metrics = job.entry.summary.get("metrics") or {}
        value = metrics.get(job.config["objective"])
        return JobReturn(
            overrides=job.overrides,
            cfg=job.whole,
            hydra_cfg=job.whole,
            working_dir=str(job.entry.folder),
            task_name="train",
            status=JobStatus.COMPLETED,
            _return_value=value,
        )


def said_of(run: Run) -> None:
    """Print a line about a run that has come to its end."""
    print(line_of(run), flush=True)


def line_of(run: Run) -> str:
    """Return a line about a run that has come to its end."""
    if run.summary is None:
        return f"{run.name}  failed: {run.error}"
    metrics = run.summary["metrics"]
    numbers = [f"{name} {metrics[name]:.4f}" for name in ("val/accuracy", "test/accuracy") if name in metrics]
    ended = f"{run.summary['status']} after {run.summary['epochs']} epochs"
    return "  ".join([run.name, ended, *numbers])


class Progress:
    """Says how far a stack is, every few seconds.

    Args:
        label: what it is called.
        out: where to.
    """

    def __init__(self, label: str, out: Callable[[str], object] = print) -> None:
        self.label, self.out = label, out
        self.shown = time.monotonic()

    def __call__(self, runs: Sequence[Run], position: Position) -> None:
        """Say it, unless that was done just now."""
        if time.monotonic() - self.shown < SHOWN_SECONDS:
            return
        self.shown = time.monotonic()
        active = [run.parts.member for run in runs if run.parts.member.status is None]
        if not active:
            return
        objective = active[0].objective
        values = [m.history[-1][objective] for m in active if m.history and objective in m.history[-1]]
        best = f", best {objective} now {(min if objective.endswith('loss') else max)(values):.4f}" if values else ""
        place = f"epoch {position.epoch}/{position.plan.epochs}"
        self.out("  ".join(filter(None, [self.label, f"{place}, {counted(len(active), 'run')}{best}"])))
