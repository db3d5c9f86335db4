"""One run from its configuration to its summary."""

from __future__ import annotations

import platform
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from . import __version__, build, device
from .averaging import batch_norms
from .checking import check as run_checks
from .checking import chosen, subject
from .cli import flattened, say
from .criterion import chance
from .engine import Member, Plan, Position, Stop, best_row, fit
from .errors import UserError
from .messages import conclude, introduce, shown_path
from .models.layers import Layer
from .resume import check_unchanged
from .run import Row, RunFolder, write_whole
from .screen import Screen, hearing
from .single import Single
from .stop import EXIT_CODES, SignalStop
from .streams import Streams, global_generator, set_global_state
from .verdicts import Story, as_dict, as_text, verdicts


def run(cfg: DictConfig) -> float | None:
    """Train a configuration composed by Hydra in the folder that Hydra made; exits when interrupted."""
    hydra = HydraConfig.get()
    choices = {group: choice for group, choice in hydra.runtime.choices.items() if not group.startswith("hydra/")}
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    folder = RunFolder(Path(hydra.runtime.output_dir))
    stop = SignalStop()
    overrides = list(hydra.overrides.task)
    with stop.listening():
        summary = train(config, folder, choices=choices, overrides=overrides, stop=stop)
    if stop.signal is not None and summary["status"] == "interrupted":
        sys.exit(EXIT_CODES[signal.Signals(stop.signal)])
    return summary["metrics"].get(config["objective"])


def check(cfg: DictConfig) -> None:
    """Make the sanity checks of a configuration composed by Hydra, in the folder that Hydra made."""
    hydra = HydraConfig.get()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    names = chosen(config.pop("only", None))
    folder = RunFolder(Path(hydra.runtime.output_dir))
    general, settings = build.general(config), build.training(config)
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


def check_parts(config: build.Config, parts: Parts, names: Sequence[str], screen: Screen, overrides: list[str]) -> None:
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
        config: the composed configuration.
        folder: where everything is written.
        choices: the file chosen in each config group.
        overrides: what was typed.
        stop: asked after every step.

    Raises:
        UserError: something in the configuration or the folder cannot be used; a run that had not begun
            gets a summary that says so, one that had keeps what it has.
    """
    fresh = not (folder.path / "summary.json").exists() and config.get("resume") is None
    screen = Screen(folder.path / "train.log")
    try:
        with hearing(screen):
            return _train(config, folder, screen, dict(choices or {}), list(overrides), stop or Stop())
    except Exception as error:
        screen.log(f"Error: {error}")
        if fresh:
            try_to_say_failed(folder, config, overrides, error)
        if isinstance(error, OSError):
            raise UserError(disk_problem(error, folder)) from error
        raise
    finally:
        screen.close()


def _train(
    config: dict[str, Any],
    folder: RunFolder,
    screen: Screen,
    choices: dict[str, str],
    overrides: list[str],
    stop: Stop,
) -> dict[str, Any]:
    general, settings = build.general(config), build.training(config)
    resuming = general.resume is not None
    if resuming:
        check_unchanged(folder.path, config)
        folder.clear_unfinished()
    place = chosen_device(settings.device)
    with ExitStack() as stack:
        stack.enter_context(device.kernels(deterministic=settings.deterministic))
        stack.enter_context(global_generator(general.seed, place))
        parts = assembled(config, general, settings, place, folder, screen)
        position = Position(parts.plan)
        state = restored(folder, parts.program, parts.member, position, screen) if resuming else None
        threads = thread_count(settings, parts, place, state)
        stack.enter_context(device.torch_threads(threads))
        writer = opened_writer(config, folder, position)
        if writer is not None:
            stack.enter_context(quiet_writer_thread())
            stack.callback(writer.close)
        parts.member.observers = build.observers(config, offered(config, choices, parts, screen, writer))
        introduce(screen, parts.data, parts.layers, place, threads, settings, choices)
        if resuming:
            note_resume(folder, config, overrides)
        elif general.check:
            check_parts(config, parts, chosen(None), screen, overrides)
        fit(parts.program, [parts.member], position, stop)
        found = verdicts(story(config, parts))
        if writer is not None and found:
            writer.add_text("verdicts", as_text(found), position.epoch)
        summary = {
            "status": parts.member.status,
            **outcome(parts.program, parts.member, position),
            "verdicts": [as_dict(verdict) for verdict in found],
            "parameters": sum(p.numel() for p in parts.program.model.parameters()),
            "device": device.describe(place),
            "threads": threads,
            **identity(config, overrides),
        }
    folder.write_summary(summary)
    conclude(screen, parts.member, summary, found)
    return summary


@dataclass
class Parts:
    """A run's objects, put together and not yet trained."""

    data: build.Data
    layers: list[Layer]
    program: Single
    plan: Plan
    member: Member


def assembled(
    config: build.Config,
    general: build.General,
    settings: build.Training,
    place: torch.device,
    folder: RunFolder,
    screen: Screen,
) -> Parts:
    """Build everything that the configuration names.

    Raises:
        UserError: something in it cannot be used.
    """
    streams = Streams(general.seed, place)
    data = build.data(config, streams, place)
    model, layers = build.model(config, data, streams, place)
    optimizer, rate = build.optimizer(config, model)
    criterion = build.criterion(config, data)
    validate = "val" in data.splits
    program = Single(
        model,
        optimizer,
        data.splits,
        eval_batch_size=settings.eval_batch_size,
        criterion=criterion,
        updating=build.updating(settings, optimizer, criterion.penalty),
        augments=data.augments,
        noise=streams.noise,
    )
    member = Member(
        folder=folder,
        streams=streams,
        rate=rate,
        schedule=build.schedule(config, validate=validate),
        objective=general.objective,
        early_stopping=build.early_stopping(settings, validate=validate),
        pruned=reporter(general),
        penalized=criterion.penalty.adds,
    )
    plan = planned(settings, program, validate, screen)
    return Parts(data, layers, program, plan, member)


def reporter(general: build.General) -> Callable[[Sequence[Row]], bool] | None:
    """Return what tells the run's study of each epoch; None for a run of no study."""
    if general.trial is None:
        return None
    from .search.reporting import reporter

    return reporter(general.trial, general.objective)


def chosen_device(name: str) -> torch.device:
    """Return the device, or a UserError that says which there are."""
    try:
        return device.choose(name)
    except ValueError as error:
        raise UserError(f"training.{error}") from None


def planned(settings: build.Training, program: Single, validate: bool, screen: Screen) -> Plan:
    """Say how long to train, and what had to be changed for it."""
    examples, batch_statistics = len(program.splits["train"]), bool(batch_norms(program.model))
    size, asked = settings.batch_size * settings.accumulate, f"training.batch_size={settings.batch_size}"
    if settings.accumulate > 1:
        asked += f" times training.accumulate={settings.accumulate}"
    if program.needs_closure:
        name = type(program.optimizer).__name__
        screen.print(f"{name} takes all {examples:,} training examples at each update; {asked} is not used")
        size = examples
    elif size > examples:
        screen.print(f"{asked} is more than the {examples} training examples: {examples} is used")
        size = examples
    if batch_statistics and min(settings.batch_size, size) == 1:
        raise UserError("training.batch_size=1 leaves BatchNorm no spread to divide by; use at least 2")
    drop_last = batch_statistics and examples % size == 1
    if drop_last:
        screen.print(
            f"The last batch would hold 1 of {examples} examples, and BatchNorm needs 2: each epoch leaves one out"
        )
    return Plan(settings.epochs, size, examples, drop_last, validate)


def thread_count(settings: build.Training, parts: Parts, place: torch.device, state: Mapping[str, Any] | None) -> int:
    """Return the threads asked for, those the run had before, or those that its model's size calls for."""
    if settings.threads != "auto":
        return settings.threads
    if place.type != "cpu":
        return torch.get_num_threads()
    if state is not None:
        return int(state["program"].get("threads", 1))
    examples = min(parts.plan.batch_size, parts.program.updating.micro_batch or parts.plan.batch_size)
    return device.threads_for(examples * sum(layer.multiply_adds for layer in parts.layers))


def restored(
    folder: RunFolder, program: Single, member: Member, position: Position, screen: Screen
) -> dict[str, Any] | None:
    """Put the run back to its last checkpoint that can be read; None where it had not come to one.

    Raises:
        UserError: there are checkpoints, but none that can be used.
    """
    problems = []
    for path in (folder.last, folder.best):
        try:
            state = folder.load(path)
            apply_state(state, program, member, position)
        except FileNotFoundError:
            continue
        except ValueError as error:
            problems.append(str(error) if str(path) in str(error) else f"{path} cannot be used: {error}")
            continue
        for problem in problems:
            screen.print(f"{problem}; going on from {path.name} instead")
        if path == folder.last and position.batch == 0 and member.improved():
            folder.name_best()  # the process may have been killed between the two names
        if position.epoch > position.plan.epochs:
            asked = position.plan.epochs
            raise UserError(f"training.epochs={asked} is less than the {position.epoch} epochs that the run has had")
        where = f"epoch {position.epoch}" + (f", step {position.step}" if position.batch else "")
        screen.print(f"Going on after {where}")
        return state
    if problems:
        raise UserError("; ".join(problems))
    screen.print("There is no checkpoint yet: starting from the beginning")
    return None


def apply_state(state: Mapping[str, Any], program: Single, member: Member, position: Position) -> None:
    """Load a checkpoint into the objects of a run.

    Raises:
        ValueError: it does not fit them.
    """
    try:
        program.load_state_dict(0, state["program"])
        member.streams.load_state_dict(state["streams"])
        set_global_state(state["generator"], program.device)
        position.load([state["position"]], program)
        member.history = list(state["history"])
    except (KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        raise ValueError(f"it does not fit this run ({build.first_line(error)})") from error


def offered(
    config: dict[str, Any], choices: Mapping[str, str], parts: Parts, screen: Screen, writer: Any
) -> dict[str, Any]:
    """Return what observers may ask for by name."""
    return {
        "screen": screen,
        "writer": writer,
        "configuration": OmegaConf.to_yaml(OmegaConf.create(config)),
        "hyperparameters": hyperparameters(config, choices),
        "splits": parts.data.splits,
        "classes": parts.data.classes,
    }


def opened_writer(config: build.Config, folder: RunFolder, position: Position) -> Any:
    """Open the run's TensorBoard file, or None where it is turned off; what a killed run wrote beyond its
    checkpoint is taken back."""
    if not build.enabled(config, "tensorboard"):
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


def hyperparameters(config: build.Config, choices: Mapping[str, str]) -> dict[str, str | float | bool]:
    """Return the choices and numbers of a run, flat, for TensorBoard."""
    left_out = ("observers", "resume", "trial", "trust", "name", "check")
    flat = flattened({k: v for k, v in config.items() if k not in left_out and k not in choices})
    for group, choice in choices.items():
        flat[group] = choice
        flat |= {k: v for k, v in flattened(config.get(group) or {}, f"{group}.").items() if "_target_" not in k}
    return {
        k: v if isinstance(v, str | float | bool | int) else str(v)
        for k, v in flat.items()
        if v is not None and not isinstance(v, Mapping)
    }


def outcome(program: Single, member: Member, position: Position) -> dict[str, Any]:
    """Return what came of it; the test split is looked at once, here, with the best epoch's weights."""
    best = best_row(member.history, member.objective)
    metrics = {name: value for name, value in (best or {}).items() if "/" in name}
    if member.status in ("finished", "stopped", "pruned") or (member.status == "diverged" and best):
        if (best is not None and best is not member.history[-1]) or member.status == "diverged":
            program.load_state_dict(0, member.folder.load(member.folder.best)["program"])
        loss, accuracy = program.evaluate("test")[0]
        metrics |= {"test/loss": loss, "test/accuracy": accuracy}
    result: dict[str, Any] = {
        "epochs": position.epoch if member.status != "diverged" else len(member.history),
        "steps": position.step,
        "best_epoch": int(best["epoch"]) if best else None,
        "metrics": metrics,
        "seconds": position.seconds,
        "examples_per_second": position.trained_examples / max(position.training_seconds, 1e-9),
    }
    if member.diverged_at is not None:
        result["diverged_at_step"] = member.diverged_at
    return result


def story(config: build.Config, parts: Parts) -> Story:
    """Collect what the verdicts are given on."""
    member, program, train = parts.member, parts.program, parts.data.splits["train"]
    classes = len(parts.data.classes)
    return Story(
        history=member.history,
        layers=member.folder.read_layers() if build.enabled(config, "layers") else [],
        status=member.status or "",
        chance=chance(program.criterion.loss, classes),
        class_counts=torch.bincount(train.y.cpu(), minlength=classes).tolist(),
        batch_size=parts.plan.batch_size,
        parameters=sum(p.numel() for p in program.parameters if p.requires_grad),
        rate=member.rate,
        val_examples=len(parts.data.splits["val"]) if "val" in parts.data.splits else 0,
        regularization=regularization(config, program),
        whole_batch=program.needs_closure,
        weighted=program.criterion.class_weights is not None,
        diverged_at=member.diverged_at,
    )


REGULARIZING = (
    "model.dropout",
    "model.input_dropout",
    "optimizer.weight_decay",
    "loss.label_smoothing",
    "data.augment",
)


def regularization(config: build.Config, program: Single) -> list[str]:
    """Return what holds the network back from learning the training examples by heart, as it would be typed."""
    flat = flattened(config)
    held = [f"{key}={flat[key]}" for key in REGULARIZING if flat.get(key) not in (None, 0, "none", [])]
    penalty = program.criterion.penalty
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(penalty).__name__).lower()
    return [*held, f"penalty={name}"] if penalty.adds or penalty.bounds else held


def identity(config: build.Config, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what says which run this is, and under which versions it ran."""
    return {
        "seed": config.get("seed"),
        "overrides": list(overrides),
        "versions": {
            "experiments": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "git_commit": git_commit(),
    }


def git_commit() -> str | None:
    """Return the commit of the folder that the command was typed in, if it is a checkout."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def note_resume(folder: RunFolder, config: build.Config, overrides: Sequence[str]) -> None:
    """Write down what a resume changed, such as more epochs, so that the folder describes the run as it went on."""
    kept = [o for o in overrides if not o.startswith(("resume=", "trust="))]
    own = {**config, "resume": None}
    for name, content in (("config.yaml", own), ("overrides.yaml", kept)):
        text = OmegaConf.to_yaml(OmegaConf.create(content))
        write_whole(folder.path / ".hydra" / name, text.encode())


def try_to_say_failed(folder: RunFolder, config: build.Config, overrides: Sequence[str], error: Exception) -> None:
    """Leave a summary that says why there is nothing else; on a full disk there may be none."""
    summary = {"status": "failed", "error": build.first_line(error), "epochs": 0, "steps": 0, "metrics": {}}
    summary["verdicts"] = []
    try:
        folder.write_summary({**summary, **identity(config, overrides)})
    except OSError:
        say("the summary could not be written either")


def disk_problem(error: OSError, folder: RunFolder) -> str:
    """Say in one sentence what could not be written, and how to go on."""
    path = shown_path(folder.path)
    return (
        f"cannot write {error.filename or path}: {error.strerror or error}; what was complete is as it was, "
        f"and 'resume={path}' goes on from the last checkpoint"
    )
