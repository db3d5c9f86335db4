"""Runs from their configuration to their summaries, one at a time or many as one program."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from . import assembly
from .assembly.run import Parts, assembled, chosen_device, restored, thread_count
from .checking import chosen, run_checks, subject
from .common.errors import UserError
from .common.files import write_whole
from .common.keys import flattened
from .common.screen import Screen, hearing
from .common.text import counted, first_line, shown_path
from .folders.hydra import as_yaml, write_composed
from .folders.identity import identity
from .folders.run import Row, RunFolder, settle
from .folders.sweep import Entry
from .messages import begun_with, conclude, introduce
from .results import disk_problem, outcomes, story, try_to_say_failed
from .resume import check_unchanged
from .training import device, processes
from .training.engine import fit
from .training.position import Position
from .training.program import Program
from .training.stack import Stack, reason_apart, rule_for, signature
from .training.stack.rules import RULES
from .training.stop import EXIT_CODES, Stop
from .training.streams import global_generator, global_state, set_global_state
from .verdicts.judges import as_dict, as_text, verdicts


@dataclass
class Job:
    """One run as it was asked for.

    Args:
        config: the composed configuration; its `resume` names the folder where the run is gone on with.
        folder: where everything is written.
        choices: the file chosen in each config group.
        overrides: what was typed.
    """

    config: dict[str, Any]
    folder: RunFolder
    choices: Mapping[str, str] = field(default_factory=dict)
    overrides: Sequence[str] = ()

    @property
    def resuming(self) -> bool:
        """Whether the run had begun before."""
        return self.config.get("resume") is not None


def run(cfg: DictConfig) -> float | None:
    """Train a configuration composed by Hydra in the folder that Hydra made; exits when interrupted."""
    stop = processes.stop()
    job = composed(cfg)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        entry = Entry(HydraConfig.get().job.num, job.folder.path)
        if job.resuming and entry.is_over(retry=job.config["retry_failed"]):
            return entry.summary.get("metrics", {}).get(job.config["objective"])
        begun = job.resuming and job.folder.last.exists()
        job.config["resume"] = str(job.folder.path) if begun else None
        if not (job.folder.path / ".hydra" / "overrides.yaml").exists():
            own: Any = OmegaConf.to_container(HydraConfig.get(), resolve=False)
            write_composed(job.config, own, job.folder.path)
    with stop.listening():
        summary = train(job.config, job.folder, choices=job.choices, overrides=job.overrides, stop=stop)
    if stop.signal is not None and summary["status"] == "interrupted":
        sys.exit(EXIT_CODES[signal.Signals(stop.signal)])
    return summary["metrics"].get(job.config["objective"])


def composed(cfg: DictConfig) -> Job:
    """Return the job that Hydra has composed."""
    hydra = HydraConfig.get()
    choices = {group: choice for group, choice in hydra.runtime.choices.items() if not group.startswith("hydra/")}
    config = processes.own_config(cast(Any, OmegaConf.to_container(cfg, resolve=True)))
    return Job(config, RunFolder(Path(hydra.runtime.output_dir)), choices, list(hydra.overrides.task))


def check(cfg: DictConfig) -> None:
    """Make the sanity checks of a configuration composed by Hydra, in the folder that Hydra made."""
    hydra = HydraConfig.get()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    names = chosen(config.pop("only", None))
    folder = RunFolder(Path(hydra.runtime.output_dir))
    general, settings = assembly.general(config), assembly.training(config)
    place = chosen_device(settings.device)
    screen = Screen(folder.path / "check.log")
    with ExitStack() as stack:
        stack.callback(screen.close)
        stack.enter_context(hearing(screen))
        stack.enter_context(device.kernels(deterministic=settings.deterministic))
        stack.enter_context(global_generator(general.seed, place))
        parts = assembled(config, general, settings, place, folder, screen)
        stack.enter_context(device.torch_threads(thread_count(settings, parts, place, None)))
        try:
            check_parts(config, parts, names, screen, list(hydra.overrides.task))
        finally:
            screen.print(f"checks   {shown_path(folder.path / 'checks.json')}")


def check_parts(
    config: assembly.Config, parts: Parts, names: Sequence[str], screen: Screen, overrides: list[str]
) -> None:
    """Make checks of a run that was put together and not trained; it is as before afterwards."""
    member = parts.member
    made = subject(config, parts.data, parts.program, member.rate, parts.plan.batch_size, member.folder)
    run_checks(made, names, member.folder, screen, identity(config, overrides))


def train(
    config: dict[str, Any],
    folder: RunFolder,
    *,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Train one run, or go on with it, and return its summary.

    Args:
        config, folder, choices, overrides: see `Job`.
        stop: asked after every step.

    Raises:
        UserError: something in the configuration or the folder cannot be used; a run that had not begun
            gets a summary that says so, one that had keeps what it has.
    """
    with Run(Job(config, folder, choices or {}, overrides)) as run:
        run.prepare(None)
        train_apart(run, stop or Stop())
    assert run.summary is not None
    return run.summary


WEIGHT_COPIES, ACTIVATION_COPIES = 10, 4
"""How often a member's weights are there at once (models, gradients, averages, checkpoints, what observers keep), and
the values that a batch leaves in its layers."""
LARGEST_STACK = {"cpu": 64, "cuda": 256}
"""Beyond this nothing is gained: see `benchmarks stacks`."""

Told = Callable[["Run"], None]
Watched = Callable[[Sequence["Run"], Position], None]


def nobody(_runs: Sequence[Run], _position: Position) -> None:
    """Watch nothing."""


def train_together(
    jobs: Sequence[Job], stop: Stop, ended: Told, say: Callable[[str], None], watched: Watched = nobody
) -> None:
    """Train runs, as many of them at once as can be; one that fails does not keep the others from their end.

    Args:
        jobs: what to train.
        stop: asked after every step.
        ended: told of each run when it has a summary.
        say: told what became of the plan.
        watched: told of the runs of a stack and where they are, after each epoch.
    """
    settle([job.folder for job in jobs])
    sources = assembly.Sources()
    prepared = []
    for job in jobs:
        if stop.requested:
            break
        run = Run(job, quiet=True)
        if run.attempt(lambda run=run: run.prepare(sources)):  # type: ignore[misc]
            prepared.append(run)
        else:
            ended(run)
    for group in stacks(prepared, say):
        if stop.requested:
            for run in group:
                run.close()
        else:
            train_group(group, stop, ended, say, watched)


def fitting(job: Job) -> int | None:
    """Return how many runs like this one fit into half of the memory that is free; None where it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            replace(job, folder=RunFolder(Path(folder)), config={**job.config, "resume": None, "trial": None}),
            quiet=True,
        )
        if not run.attempt(lambda: run.prepare(assembly.Sources())):
            return None
        program, layers = run.parts.program, run.parts.layers
        run.close()
    weights = sum(p.numel() for p in program.parameters)
    batch = program.updating.micro_batch or run.parts.plan.batch_size
    values = batch * (math.prod(run.parts.data.input_shape) + sum(math.prod(layer.output_shape) for layer in layers))
    free = device.free_memory(run.place)
    needed = 4 * (WEIGHT_COPIES * weights + ACTIVATION_COPIES * values)
    return max(1, min(LARGEST_STACK[run.place.type], int(free / 2 // needed)))


def stacks(runs: Sequence[Run], say: Callable[[str], None]) -> list[list[Run]]:
    """Divide runs into those that can share a program; those with one rule stand next to each other."""
    groups: list[tuple[dict[str, object], list[Run]]] = []
    for run in runs:
        reason = reason_apart(run.parts.program)
        own = {**signature(run.parts.program), "place": run.place_in_training(), "reason": reason and id(run)}
        if reason and len(runs) > 1:
            say(f"{run.name} on its own: {reason}")
        for known, group in groups:
            if own == known:
                group.append(run)
                break
        else:
            groups.append((own, [run]))
    if len(groups) > 1:
        first = groups[0][0]
        differing = {key for own, _ in groups[1:] for key in own if own[key] != first[key]} - {"reason"}
        if differing:
            say(f"{len(groups)} stacks in place of one, since they differ in {', '.join(sorted(differing))}")
    return [sorted(group, key=in_order) for _, group in groups]


def in_order(run: Run) -> int:
    """Where a run stands in a stack: always the same, so that a resumed one computes with the same bits."""
    rule = rule_for(run.parts.program)
    return RULES.index(rule) if rule is not None else len(RULES)


def train_group(
    runs: Sequence[Run], stop: Stop, told: Told, say: Callable[[str], None], watched: Watched = nobody
) -> None:
    """Train runs that agree in all that a stack has to; one after another where they cannot be called as one."""
    position, threads = begun_at(runs), threads_of(runs)
    ready = []
    for run in runs:
        with run.surroundings(threads):
            if run.attempt(lambda run=run: run.begin(position, threads)):  # type: ignore[misc]
                ready.append(run)
            else:
                told(run)
    program = stacked(ready, say)
    if program is not None:
        try:
            train_stack(program, ready, position, threads, stop, told, watched)
        except Exception as error:
            ready = [run.begun_anew() for run in ready if run.summary is None]
            say(f"{counted(len(ready), 'run')} one after another, to find which cannot go on: {first_line(error)}")
        else:
            return
    for run in ready:
        run.attempt(lambda run=run: train_apart(run, stop, watched))  # type: ignore[misc]
        run.close()
        told(run)


def begun_at(runs: Sequence[Run]) -> Position:
    """Return where runs are, all at the same place."""
    position = Position(runs[0].parts.plan)
    states = [run.state["position"] for run in runs if run.state is not None]
    if states:
        position.load(states, runs[0].parts.program)
    return position


def threads_of(runs: Sequence[Run]) -> int:
    """Return how many threads runs are trained with."""
    first = runs[0]
    return thread_count(first.settings, first.parts, first.place, first.state, len(runs))


def stacked(runs: Sequence[Run], say: Callable[[str], None]) -> Stack | None:
    """Return the program of runs; None where each has to go on its own.

    The last one of a stack that was killed goes on in a stack: with the same arithmetic, to the same bits.
    """
    if not runs or (len(runs) == 1 and not (runs[0].state or {}).get("program", {}).get("stacked")):
        return None
    try:
        return Stack([run.parts.program for run in runs], [run.generator for run in runs])
    except ValueError as error:
        say(f"{len(runs)} runs one after another: {error}")
        return None


def train_apart(run: Run, stop: Stop, watched: Watched = nobody) -> None:
    """Train a run by a program of its own."""
    if not run.prepared:
        run.prepare(None)
    position, threads = begun_at([run]), threads_of([run])
    with run.surroundings(threads):
        set_global_state(run.generator, run.place)
        if not run.begun:
            run.begin(position, threads)

        def ended(over: list[int]) -> None:
            watched([run], position)
            if over:
                finish(run.parts.program, {0: run}, position)

        fit(run.parts.program, [run.parts.member], position, stop, ended)


def train_stack(
    program: Stack, runs: Sequence[Run], position: Position, threads: int, stop: Stop, told: Told, watched: Watched
) -> None:
    """Train runs as one program.

    Raises:
        Exception: what any of them cannot do, such as writing; those without a summary have not come to their end.
    """

    def ended(over: list[int]) -> None:
        watched(runs, position)
        finish(program, {k: runs[k] for k in over}, position)
        for k in over:
            runs[k].attempt(runs[k].close)
            told(runs[k])

    with runs[0].surroundings(threads):
        fit(program, [run.parts.member for run in runs], position, stop, ended)


def finish(program: Program, runs: Mapping[int, Run], position: Position) -> None:
    """Write and say what came of runs that have come to their end."""
    found = {k: run.judged(position) for k, run in runs.items()}
    results = outcomes(program, {k: run.parts.member for k, run in runs.items()}, position)
    for k, run in runs.items():
        run.conclude(results[k], found[k], program.members)


def reporter(general: assembly.General) -> Callable[[Sequence[Row]], bool] | None:
    """Return what tells the run's study of each epoch; None for a run of no study."""
    if general.trial is None:
        return None
    from .search.reporting import reporter

    return reporter(general.trial, general.objective)


class Run:
    """A job on its way: its objects, its log and its TensorBoard file.

    Args:
        job: what was asked for.
        quiet: whether to leave the terminal alone.
    """

    def __init__(self, job: Job, *, quiet: bool = False) -> None:
        self.job = job
        self.fresh = not (job.folder.path / "summary.json").exists() and not job.resuming
        self.summary: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.prepared = self.begun = False
        self.quiet = quiet
        self.open = ExitStack()
        job.folder.path.mkdir(parents=True, exist_ok=True)
        self.screen = Screen(job.folder.path / "train.log", quiet=quiet)
        self.open.callback(self.screen.close)

    @property
    def name(self) -> str:
        """What it is called in print."""
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
        self.fail(error)
        if isinstance(error, OSError):
            raise UserError(disk_problem(error, self.job.folder)) from error

    def close(self) -> None:
        """Close its files."""
        self.open.close()

    def attempt(self, work: Callable[[], None]) -> bool:
        """Do something; False where that failed, which is then said in the run's folder."""
        try:
            work()
        except Exception as error:
            self.fail(error)
            return False
        return True

    def begun_anew(self) -> Run:
        """Return the same run, to go on from its checkpoint."""
        with suppress(OSError):
            self.close()
        folder = self.job.folder
        going_on = folder.last.exists() and (folder.path / ".hydra" / "config.yaml").exists()
        config = {**self.job.config, "resume": str(folder.path) if going_on else None}
        return Run(replace(self.job, config=config), quiet=self.quiet)

    def fail(self, error: Exception) -> None:
        """Say in the run's folder what went wrong."""
        self.error = error
        self.screen.log(f"Error: {error}")
        if not isinstance(error, UserError | OSError):
            self.screen.log("".join(traceback.format_exception(error)))
        if self.summary is None and (self.fresh or self.quiet):
            try_to_say_failed(self.job.folder, self.job.config, self.job.overrides, error)
        with suppress(OSError):  # what is left to be written meets the same disk
            self.close()

    @contextmanager
    def surroundings(self, threads: int | None = None) -> Iterator[None]:
        """What the whole process is put to while the run uses it."""
        with ExitStack() as stack:
            stack.enter_context(hearing(self.screen))
            stack.enter_context(device.kernels(deterministic=self.settings.deterministic))
            stack.enter_context(global_generator(self.general.seed, self.place))
            if threads is not None:
                stack.enter_context(device.torch_threads(threads))
            yield

    def prepare(self, sources: assembly.Sources | None) -> None:
        """Build everything that the configuration names, and put it back to where it was."""
        job = self.job
        with hearing(self.screen):
            self.general, self.settings = assembly.general(job.config), assembly.training(job.config)
            if job.resuming:
                check_unchanged(job.folder.path, job.config)
                job.folder.clear_unfinished()
            self.place = chosen_device(self.settings.device)
        with self.surroundings():
            begun = job.resuming and (job.folder.last.exists() or job.folder.best.exists())
            config = {**job.config, "init_from": None} if begun else job.config  # which may be gone
            self.parts: Parts = assembled(
                config,
                self.general,
                self.settings,
                self.place,
                job.folder,
                self.screen,
                sources,
                reporter(self.general),
            )
            self.state = restored(job.folder, self.parts, self.screen) if job.resuming else None
            self.generator = global_state(self.place)
        self.prepared = True

    def place_in_training(self) -> tuple[int, int, int]:
        """How many epochs it is to have and has had, and how many updates of the next."""
        place = self.state["position"] if self.state is not None else {"epoch": 0, "batch": 0}
        return self.parts.plan.epochs, place["epoch"], place["batch"]

    def begin(self, position: Position, threads: int) -> None:
        """Open what is written into, build what watches, and say what is going to be trained."""
        job, parts = self.job, self.parts
        self.begun, self.threads = True, threads
        job.folder.write_description(parts.data.description)
        self.writer = opened_writer(job.config, job.folder, position)
        if self.writer is not None:
            self.open.enter_context(quiet_writer_thread())
            self.open.callback(self.writer.close)
        parts.member.observers = assembly.observers(
            job.config, offered(job.config, job.choices, parts, self.screen, self.writer)
        )
        introduce(self.screen, parts.data, parts.layers, self.place, threads, self.settings, job.choices)
        if parts.member.origin is not None and not job.resuming:
            self.screen.print(begun_with(parts.member.origin))
        if processes.active():
            self.screen.print(f"torchrun {processes.described()['processes']} processes share every batch\n")
        if job.resuming:
            note_resume(job.folder, job.config, job.overrides)
        elif self.general.check:
            check_parts(job.config, parts, chosen(None), self.screen, list(job.overrides))

    def judged(self, position: Position) -> list[Any]:
        """Give the verdicts."""
        parts = self.parts
        found = verdicts(story(self.job.config, parts.data, parts.program, parts.member, parts.plan.batch_size))
        if self.writer is not None and found:
            self.writer.add_text("verdicts", as_text(found), position.epoch)
        return found

    def conclude(self, outcome: Mapping[str, Any], found: Sequence[Any], members: int) -> None:
        """Write the summary, and print it."""
        parts, job = self.parts, self.job
        self.summary = {
            "status": parts.member.status,
            **outcome,
            "verdicts": [as_dict(verdict) for verdict in found],
            "parameters": sum(p.numel() for p in parts.program.model.parameters()),
            "device": device.describe(self.place),
            "threads": self.threads,
            **processes.described(),
            **({"trained_together": members} if members > 1 else {}),
            **({"init_from": parts.member.origin} if parts.member.origin is not None else {}),
            **identity(job.config, job.overrides),
        }
        job.folder.write_summary(self.summary)
        conclude(self.screen, parts.member, self.summary, found)


def offered(
    config: dict[str, Any], choices: Mapping[str, str], parts: Parts, screen: Screen, writer: Any
) -> dict[str, Any]:
    """Return what observers may ask for by name."""
    return {
        "screen": screen,
        "writer": writer,
        "configuration": as_yaml(config),
        "hyperparameters": hyperparameters(config, choices),
        "splits": parts.data.splits,
        "classes": parts.data.classes,
    }


def opened_writer(config: assembly.Config, folder: RunFolder, position: Position) -> Any:
    """Open the run's TensorBoard file, or None where it is turned off; what a killed run wrote beyond its
    checkpoint is taken back."""
    if not assembly.enabled(config, "tensorboard"):
        return None
    from torch.utils.tensorboard import SummaryWriter

    purge = position.epoch + 1 if position.step else None
    return SummaryWriter(str(folder.path), purge_step=purge, max_queue=1000)  # 10 would make the loop wait


@contextmanager
def quiet_writer_thread() -> Iterator[None]:
    """Keep the event writer's thread from printing a traceback on a full disk.

    Its next write raises the error again in the main thread, where it is said in a sentence.
    """
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def hyperparameters(config: assembly.Config, choices: Mapping[str, str]) -> dict[str, str | float | bool]:
    """Return the choices and numbers of a run, flat, for TensorBoard."""
    left_out = ("observers", "resume", "retry_failed", "sweep", "trial", "trust", "name", "check", "recipe")
    flat = flattened({k: v for k, v in config.items() if k not in left_out and k not in choices})
    for group, choice in choices.items():
        flat[group] = choice
        flat |= {k: v for k, v in flattened(config.get(group) or {}, f"{group}.").items() if "_target_" not in k}
    return {
        k: v if isinstance(v, str | float | bool | int) else str(v)
        for k, v in flat.items()
        if v is not None and not isinstance(v, Mapping)
    }


def note_resume(folder: RunFolder, config: assembly.Config, overrides: Sequence[str]) -> None:
    """Write down what a resume changed, such as more epochs, so that the folder describes the run as it went on."""
    kept = [o for o in overrides if not o.startswith(("resume=", "trust="))]
    own = {**config, "resume": None}
    for name, content in (("config.yaml", own), ("overrides.yaml", kept)):
        write_whole(folder.path / ".hydra" / name, as_yaml(content).encode())
