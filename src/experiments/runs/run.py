"""A run from its configuration to its summary: open, prepared, started, concluded."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from experiments import assembly
from experiments.assembly.run import Parts, assembled, chosen_device, restored
from experiments.checks.running import check_parts, chosen
from experiments.cli.entry import cannot_write
from experiments.common.errors import OwnCodeError, UserError, location, raised
from experiments.common.files import write_whole
from experiments.common.foreign import read_yaml
from experiments.common.isolation import isolated
from experiments.common.keys import EARLIER_RATES
from experiments.common.metrics import TRAIN_EVAL
from experiments.common.recorded import recorded
from experiments.common.screen import Screen, printing_log
from experiments.common.text import counted
from experiments.data.memory import exceeds_memory
from experiments.folders.events import VERDICTS
from experiments.folders.hydra import as_yaml
from experiments.folders.identity import identity
from experiments.folders.lock import is_locked
from experiments.folders.run import Row, RunFolder
from experiments.training import processes
from experiments.training.device import describe, kernels, torch_threads
from experiments.training.doubts import doubts_about
from experiments.training.position import Position
from experiments.training.streams import global_generator, global_state
from experiments.verdicts.judges import Verdict, as_dict, as_text, verdicts

from ._horizon import check_rate, length, longer, set_horizon
from ._memory import memory_problem
from ._messages import conclude, initial_weights, introduce, training_choices
from ._tensorboard import hyperparameters, opened_writer
from .job import Job
from .resuming import Rates, check_unchanged, rates_of
from .summary import disk_problem, story, was_removed, write_failure

Result = TypeVar("Result")
RESOLVED = ("task", "loss", "objective", "metrics")
"""The parts of a configuration in which `auto` is replaced by what it stands for."""


def of_own_code(error: Exception) -> OwnCodeError | None:
    """Return the sentence about an error that code of the user has raised; None for any other error."""
    if isinstance(error, UserError) or location(error) is None:
        return None
    problem = OwnCodeError(f"code from outside this package {raised(error)}")
    problem.__cause__ = error
    return problem


def is_of_own_file(error: BaseException | None, folder: RunFolder) -> bool:
    """Whether code of the user could not open a file of its own: one that is outside the run's folder."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str) or location(error) is None:
        return False
    return not Path(error.filename).absolute().is_relative_to(folder.path.absolute())


def reporter(general: assembly.General) -> Callable[[Sequence[Row]], bool] | None:
    """Return the function that reports each epoch to the run's study; None if the run belongs to no study."""
    if general.trial is None:
        return None
    from experiments.search.reporting import reporter

    return reporter(general.trial, general.objective)


class Run:
    """A run whose log is open: what its later states write to, and how it ended.

    Args:
        job: what was asked for.
        quiet: whether it prints nothing on the terminal.
    """

    def __init__(self, job: Job, *, quiet: bool = False) -> None:
        self.job = job
        self.fresh = not (job.folder.path / "summary.json").exists() and not job.resuming
        self.summary: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.quiet = quiet
        self.files = ExitStack()
        try:
            job.folder.path.mkdir(parents=True, exist_ok=True)
            self.screen = Screen(job.folder.path / "train.log", quiet=quiet)
        except OSError as error:
            raise UserError(cannot_write(error)) from error
        self.files.callback(self.screen.close)

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.job.folder.path.name

    def __enter__(self) -> Run:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        try:
            if not isinstance(error, Exception):
                self.close()
                return
        except OSError as late:
            error = late
        if exceeds_memory(error):
            self.fail(problem := UserError(memory_problem(error, self.job.config, self.job.folder)))
            raise problem from error
        if is_of_own_file(error, self.job.folder) and (problem_of_own := of_own_code(error)) is not None:
            self.fail(problem_of_own)
            raise problem_of_own from error
        self.fail(error)
        if isinstance(error, OSError):
            raise UserError(disk_problem(error, self.job.folder)) from error

    def close(self) -> None:
        """Close its files."""
        self.files.close()

    def attempt(self, work: Callable[[], Result]) -> Result | None:
        """Call a function and return its result; None if it failed: the error is then in the run's log and summary."""
        try:
            return work()
        except Exception as error:
            if exceeds_memory(error):
                self.fail(UserError(memory_problem(error, self.job.config, self.job.folder)))
            elif isinstance(error, OSError) and not is_of_own_file(error, self.job.folder):
                self.fail(UserError(disk_problem(error, self.job.folder)))
            else:
                self.fail(of_own_code(error) or error)
            return None

    def restart(self) -> Run:
        """Return the same run, to be continued from its checkpoint."""
        with suppress(OSError):
            self.close()
        folder = self.job.folder
        resumable = folder.last.exists() and (folder.path / ".hydra" / "config.yaml").exists()
        config = {**self.job.config, "resume": str(folder.path) if resumable else None}
        return Run(replace(self.job, config=config), quiet=self.quiet)

    def fail(self, error: Exception) -> None:
        """Write the error to the run's log and, if it has no other summary, to its summary."""
        self.error = error
        self.screen.log(f"Error: {error}")
        if isinstance(error, OwnCodeError) or not isinstance(error, UserError | OSError):
            self.screen.log("".join(traceback.format_exception(error)))
        if self.summary is None and (self.fresh or self.quiet) and not was_removed(self.job.folder):
            write_failure(self.job.folder, self.job.config, self.job.overrides, error)
        with suppress(OSError):  # writing the rest may fail in the same way
            self.close()

    def prepare(self, sources: assembly.Sources | None = None) -> PreparedRun:
        """Build everything that the configuration names, and restore a resumed run to its checkpoint.

        Args:
            sources: data sets that several runs share; None loads them for this run.

        Raises:
            UserError: something in the configuration or the folder cannot be used.
        """
        job, folder = self.job, self.job.folder
        with printing_log(self.screen):
            general, settings = assembly.general(job.config), assembly.training(job.config)
            check_threads(settings.threads)
            if not (job.resuming or job.borrowed):
                assembly.check_spelling(job.config)
            if self.quiet and is_locked(folder.path):
                raise UserError(f"another process is running the run {str(folder.path)!r}; wait until it ends")
            if job.resuming:
                check_unchanged(folder.path, job.config, job.overrides, own=job.own)
                folder.clear_unfinished()
            device = chosen_device(settings.device)
        fetching = bool(job.config["data"].get("download"))  # typed: `cli.resuming` leaves out a saved one
        foreign = (job.resuming or job.borrowed) and not (job.own or job.config.get("trust") or fetching)
        source = "run" if job.borrowed else "resume"
        guard = isolated(f"{source}={str(folder.path)!r}") if foreign else nullcontext()
        with surroundings(self.screen, general, settings, device), guard:
            has_checkpoint = job.resuming and (folder.last.exists() or folder.best.exists())
            config = {**job.config, "init_from": None} if has_checkpoint else job.config  # that file may be gone
            assembly.check_observers(config)
            parts = assembled(config, general, settings, device, folder, self.screen, sources)
            explicit = {name: parts.config[name] for name in RESOLVED}
            self.job = replace(job, config={**job.config, **explicit})
            general = assembly.general(self.job.config)
            parts.member.pruned = reporter(general)
            state = restored(folder, parts, self.screen) if job.resuming else None
            note = set_horizon(job.config, folder, state, parts) if state is not None else None
            if note is not None:
                self.screen.print(note)
            return PreparedRun(self, general, settings, device, parts, state, global_state(device))


def check_threads(threads: int | str) -> None:
    """Refuse more threads than the machine has cores: they only wait for each other.

    Raises:
        UserError: there are too many.
    """
    cores = os.cpu_count() or 1
    if isinstance(threads, int) and threads > cores:
        raise UserError(
            f"training.threads={threads} is more than the {counted(cores, 'core')} of this machine; "
            "use at most as many, or 'auto'"
        )


@dataclass(frozen=True, eq=False)
class PreparedRun:
    """A run whose objects are built and, if it is resumed, restored to its checkpoint.

    Args:
        run: its log and how it ended.
        general, settings: its configuration apart from the parts.
        device: where it trains.
        parts: its objects.
        state: the checkpoint that it continues from, if any.
        generator: the state of torch's global generators after the build.
    """

    run: Run
    general: assembly.General
    settings: assembly.Training
    device: torch.device
    parts: Parts
    state: Mapping[str, Any] | None
    generator: dict[str, Any]

    @property
    def progress(self) -> tuple[Any, ...]:
        """How long the whole run is, the complete epochs and steps, and the updates done in the next epoch."""
        position = self.state["position"] if self.state is not None else {"epoch": 0, "batch": 0}
        plan, skipped = self.parts.plan, position.get("skipped", 0)
        done = position["epoch"], skipped, position["batch"]
        return plan.epochs, plan.steps, plan.seconds, plan.period, plan.keep_every, plan.keep_steps, *done

    def surroundings(self, threads: int) -> AbstractContextManager[None]:
        """Return the settings of the process for the time that the run trains."""
        return surroundings(self.run.screen, self.general, self.settings, self.device, threads)

    def start(self, position: Position, threads: int) -> StartedRun:
        """Open its TensorBoard file, build its observers, and print the model, the data and the choices."""
        job, screen, parts = self.run.job, self.run.screen, self.parts
        rates = rates_of(job.folder.path, job.config, position.epoch) if job.resuming else None
        if rates is not None:
            check_rate(rates, position)
        job.folder.write_description(parts.data.description)
        if not job.resuming:
            write_explicit(job.folder, job.config)
        writer = opened_writer(job.config, job.folder, position)
        if writer is not None:
            self.run.files.callback(writer.close)
        parts.member.observers = assembly.observers(job.config, offered(job, parts, screen, writer))
        learning = training_choices(job.config, job.choices, parts.member.rate, parts.plan.batch_size)
        introduce(screen, parts.data, parts.layers, self.device, threads, self.settings, job.choices, learning)
        found = doubts_about(parts.program, probed=assembly.enabled(job.config, "layers"))
        parts.member.doubts, parts.member.unused = found.sentences, found.unused
        for doubt in found.sentences:
            screen.print(f"warning: {doubt}")
        if found.sentences:
            screen.print("")
        if parts.member.origin is not None and not job.resuming:
            screen.print(initial_weights(parts.member.origin))
        if processes.active():
            screen.print(f"torchrun {processes.described()['processes']} processes share every batch\n")
        if rates is not None:
            note_resume(job, rates, position, screen)
        elif self.general.check:
            check_parts(job.config, parts, chosen(None), screen, list(job.overrides))
        return StartedRun(self, threads, writer)


@dataclass(frozen=True, eq=False)
class StartedRun:
    """A run in training: its observers are built and its files are open.

    Args:
        prepared: its objects.
        threads: their number when it was started.
        writer: of its TensorBoard file, if it has one.
    """

    prepared: PreparedRun
    threads: int
    writer: Any

    @property
    def run(self) -> Run:
        """Its log and how it ended."""
        return self.prepared.run

    @property
    def parts(self) -> Parts:
        """Its objects."""
        return self.prepared.parts

    def judge(self, position: Position) -> list[Verdict]:
        """Return the verdicts."""
        parts = self.parts
        judgement = verdicts(story(self.run.job, parts.data, parts.program, parts.member, parts.plan))
        if parts.plan.validate_steps is not None:
            judgement = [in_validations(verdict) for verdict in judgement]
        if self.writer is not None and judgement:
            self.writer.add_text(VERDICTS, as_text(judgement), position.epoch)
        return judgement

    def conclude(self, outcome: Mapping[str, Any], judgement: Sequence[Verdict], members: int) -> None:
        """Write the summary and print it.

        Raises:
            UserError: the folder of the run was removed.
        """
        job, member = self.run.job, self.parts.member
        if was_removed(job.folder):
            raise UserError(disk_problem(OSError(), job.folder))
        summary = {
            "status": member.status,
            **outcome,
            "verdicts": [as_dict(verdict) for verdict in judgement],
            "parameters": sum(p.numel() for p in self.parts.program.model.parameters()),
            "device": describe(self.prepared.device),
            "threads": self.threads,
            **processes.described(),
            **({"trained_together": members} if members > 1 else {}),
            **({"init_from": member.origin} if member.origin is not None else {}),
            **identity(job.config, job.overrides),
        }
        self.run.summary = summary
        job.folder.write_summary(summary)
        splits = self.parts.program.splits
        sample = None if splits[TRAIN_EVAL] is splits["train"] else (len(splits[TRAIN_EVAL]), len(splits["train"]))
        resuming, validates = [*job.flags, *job.resuming_words], "val" in splits
        conclude(self.run.screen, member, summary, judgement, resuming, sample, validates=validates)


@contextmanager
def surroundings(
    screen: Screen,
    general: assembly.General,
    settings: assembly.Training,
    device: torch.device,
    threads: int | None = None,
) -> Iterator[None]:
    """Use a run's settings of the process inside the block: messages, kernels, global generators and threads."""
    with ExitStack() as stack:
        stack.enter_context(printing_log(screen))
        stack.enter_context(kernels(deterministic=settings.deterministic, precision=settings.precision))
        stack.enter_context(global_generator(general.seed, device))
        if threads is not None:
            stack.enter_context(torch_threads(threads))
        yield


def in_validations(verdict: Verdict) -> Verdict:
    """Return a verdict whose evidence counts validations instead of epochs."""
    words = {name: re.sub(r"\bepoch(s?)\b", r"validation\1", getattr(verdict, name)) for name in ("evidence", "where")}
    return replace(verdict, **words)


def offered(job: Job, parts: Parts, screen: Screen, writer: Any) -> dict[str, Any]:
    """Return the objects that observers may ask for by name."""
    return {
        "screen": screen,
        "writer": writer,
        "configuration": as_yaml(job.config),
        "overrides": job.overrides,
        "hyperparameters": hyperparameters(
            job.config, job.choices, job.overrides, validated="val" in parts.data.splits
        ),
        "splits": parts.data.splits,
        "classes": parts.data.classes,
        "task": parts.data.task,
    }


def write_explicit(folder: RunFolder, config: assembly.Config) -> None:
    """Save the configuration in which the task and what follows from it are explicit, as every later verb reads it."""
    path = folder.path / ".hydra" / "config.yaml"
    with suppress(OSError, ValueError):  # a run without Hydra has no such file
        saved = read_yaml(path)
        if isinstance(saved, dict):
            explicit = {name: config[name] for name in RESOLVED}
            write_whole(path, as_yaml({**saved, **explicit}).encode(), flushed=True)


def note_resume(job: Job, rates: Rates, position: Position, screen: Screen) -> None:
    """Save what a resume changed, such as more epochs, so that the folder describes the run as it continues.

    Args:
        job: the run.
        rates: its learning rates.
        position: where it continues.
        screen: for sentences about a rate that was changed by hand, and about a run with nothing left to train.
    """
    if rates.changed and position.epoch:
        screen.print(
            f"The learning rate was {rates.before:g} until {position.name} and is {rates.now:g} from here on; "
            f"{EARLIER_RATES} in .hydra/config.yaml shows it"
        )
    if position.is_over:
        done = length(position.step, position.plan)
        screen.print(f"Nothing is left to train: the run has its {done}; {longer(position)} adds some")
    own = {**job.config, "resume": None, **({EARLIER_RATES: rates.earlier} if rates.earlier else {})}
    for name, content in (("overrides.yaml", recorded(job.overrides, job.config)), ("config.yaml", own)):
        write_whole(job.folder.path / ".hydra" / name, as_yaml(content).encode(), flushed=True)
