"""Assembles the objects of a run from its configuration, and restores them from a checkpoint."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from experiments import assembly
from experiments.common.errors import UserError
from experiments.common.meant import pasted
from experiments.common.metrics import TRAIN_EVAL, declare
from experiments.common.screen import Screen
from experiments.common.signatures import shown
from experiments.common.text import counted, one_line
from experiments.data import memory
from experiments.data.sequences import lengths
from experiments.data.streamed import Streamed
from experiments.folders.run import LAYERS, METRICS, RunFolder
from experiments.models.blocks import is_noisy
from experiments.models.draws import WAY
from experiments.models.layers import Layer
from experiments.tasks.base import Task
from experiments.training import device, explicit, processes, shared
from experiments.training.averaging import batch_norms
from experiments.training.engine import checkpoint_paths
from experiments.training.member import Member, best_row
from experiments.training.position import Plan, Position, epoch_of
from experiments.training.single import Single
from experiments.training.streams import Streams, set_global_state

TRAIN_EVAL_MOST = 10_000
"""The training examples that are measured in evaluation mode at most, evenly spaced."""


@dataclass
class Parts:
    """The assembled objects of a run."""

    data: assembly.Data
    layers: list[Layer]
    program: Single
    plan: Plan
    member: Member
    config: assembly.Config
    """The configuration in which the task, the loss and the objective are explicit."""


def assembled(
    config: assembly.Config,
    general: assembly.General,
    settings: assembly.Training,
    torch_device: torch.device,
    folder: RunFolder,
    screen: Screen,
    sources: assembly.Sources | None = None,
) -> Parts:
    """Build all objects that the configuration names.

    Args:
        config: the run's configuration.
        general: its settings at the top level.
        settings: its settings of `training`.
        torch_device: the device of the run.
        folder: the run's folder.
        screen: shows which settings had to be changed.
        sources: the data sets that runs share; None to load the data set for this run only.

    Raises:
        UserError: a part of the configuration cannot be used.
    """
    with memory.limited(assembly.memory_limit(general.limits)):
        streams = Streams(general.seed)
        data = assembly.data(config, streams, torch_device, sources)
        config = assembly.resolved(config, data.task)
        general = assembly.general(config)
        declare(general.metrics)
        check_classes(config, data)
        free = device.free_memory(torch_device)
        held = data.held if memory.is_set() else 0  # what is free does not contain it
        assembly.check_model(config, settings, data.input_shape, data.task.outputs, held, free)
        model, layers, origin = assembly.model(config, data, streams, torch_device)
        if settings.precision == "fp64":
            model.double()
            data.double()
        thaws = assembly.freezing(general.freeze, model)
        optimizer, rate = assembly.optimizer(config, model, thaws)
        criterion = assembly.criterion(config, data)
        validate = "val" in data.splits
        early_stopping = assembly.early_stopping(settings)
        measured = assembly.measured_names(data.task, criterion.metrics, validate=validate)
        check_objective(general.objective, config, data.task, measured, validate=validate)
        setting, given = "training.early_stopping.metric", (settings.early_stopping or {}).get("metric")
        if early_stopping is not None:
            assembly.check_measured(setting, early_stopping.metric, measured, data.task, validate=validate)
        elif given is not None:  # it has no effect, but a name that nothing has is a mistake
            known = assembly.measured_names(data.task, criterion.metrics, validate=True)
            assembly.check_measured(setting, str(given), known, data.task, validate=True)
        updating = assembly.updating(settings, optimizer, criterion.penalty)
        kind: type[Single] = shared.Shared if processes.active() else Single
        if kind is Single and explicit.suits(model, criterion, updating, torch_device, thaws=bool(thaws)):
            kind = explicit.Explicit
        program = kind(
            model,
            optimizer,
            {**data.splits, TRAIN_EVAL: data.splits["train"].sample(TRAIN_EVAL_MOST)},
            eval_batch_size=settings.eval_batch_size,
            criterion=criterion,
            updating=updating,
            augments=data.augments,
            noise=streams.noise,
            thaws=thaws,
        )
        follows = data.splits["train"].follows
        member = Member(
            folder=folder,
            streams=streams,
            rate=rate,
            schedule=assembly.schedule(config, validate=validate),
            objective=general.objective,
            early_stopping=early_stopping,
            penalized=criterion.penalty.adds,
            origin=origin,
            lengths=lengths_of(data),
            follows=follows,
        )
        plan = planned(settings, program, validate, screen)
        folder.measured = [name for name in measured if not name.startswith("train/")]
        refuse_uncarried(plan, program)
        assembly.check_batches(config, settings, program, plan.batch_size, layers, held, free)
        return Parts(data, layers, program, plan, member, config)


def lengths_of(data: assembly.Data) -> Tensor | None:
    """Return the steps of each training example, by which batches are sorted; None if they are not.

    Those of examples that are read in each epoch are not known before.
    """
    train = data.splits["train"]
    if not data.padded or train.follows is not None or isinstance(train, Streamed):
        return None
    return lengths(train.raw())


def check_classes(config: assembly.Config, data: assembly.Data) -> None:
    """Refuse data in which there is nothing to tell apart, if the targets are classes.

    Raises:
        UserError: there is only one class, or the training split is too small to hold every class.
    """
    section, count = config["data"], len(data.classes)
    if data.task.form != "classes":
        return
    if count < 2:
        given = f"data.keep_classes={shown(section['keep_classes'])}" if section.get("keep_classes") else "data"
        raise UserError(f"{given} has only the class {data.classes[0]!r}; a classifier needs at least two classes")
    limit = section.get("limit")
    if limit is not None and limit < count:
        raise UserError(f"data.limit={limit} is less than the {count} classes; use at least one example of each class")


def check_objective(
    objective: str, config: assembly.Config, task: Task, measured: Sequence[str], *, validate: bool
) -> None:
    """Refuse an objective that is never measured; the task's own one then means the last epoch.

    Raises:
        UserError: it is chosen, and is not measured, or there is no validation split.
    """
    if objective == f"val/{task.objective}":
        return
    if validate or not objective.startswith("val/"):
        assembly.check_measured("objective", objective, measured, task, validate=validate)
        return
    reason = f"data.val_fraction={config['data'].get('val_fraction')} leaves no validation split"
    raise UserError(
        f"objective={objective} is never measured, because {reason}; keep one, or choose objective=train/loss"
    )


def chosen_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        UserError: there is no such device.
    """
    try:
        return device.choose(processes.own_device(name))
    except ValueError as error:
        meant = ["training.device=auto"] if name.casefold().startswith(("gpu", "cuda")) else []
        raise UserError(f"training.{error}{pasted(meant)}") from None


def planned(settings: assembly.Training, program: Single, validate: bool, screen: Screen) -> Plan:
    """Return the plan of the training; the screen shows which settings had to be changed.

    Raises:
        UserError: a batch of one example cannot be used with BatchNorm.
    """
    examples, batch_statistics = len(program.splits["train"]), bool(batch_norms(program.model))
    size, setting = settings.batch_size * settings.accumulate, f"training.batch_size={settings.batch_size}"
    if settings.accumulate > 1:
        setting += f" times training.accumulate={settings.accumulate}"
    if program.needs_closure:
        name = type(program.optimizer).__name__
        screen.print(f"{name} uses all {examples:,} training examples for each update; {setting} is ignored")
        size = examples
    elif size > examples:
        screen.print(f"{setting} is more than the {examples} training examples; {examples} is used")
        size = examples
    if batch_statistics and min(settings.batch_size, size) == 1:
        raise UserError("training.batch_size=1 gives BatchNorm a variance of 0 to divide by; use at least 2")
    drop_last = batch_statistics and examples % size == 1
    if drop_last:
        screen.print(
            f"The last batch would have 1 of {examples} examples, but BatchNorm needs 2; each epoch leaves one out"
        )
    plan = Plan(settings.epochs, size, examples, drop_last, validate, steps=settings.steps)
    every = assembly.kept(settings, plan.steps_per_epoch)
    if every is not None:
        by_epochs = every.unit == "epochs"
        plan = replace(plan, keep_every=every.count) if by_epochs else replace(plan, keep_steps=every.count)
    period = assembly.interval("training.validate", settings.validate)
    if period is not None and (period.count, period.unit) != (1, "epochs"):
        steps = period.count * (plan.steps_per_epoch if period.unit == "epochs" else 1)
        plan = replace(plan, validate_steps=steps)
    if settings.steps is not None:
        plan = replace(plan, epochs=math.ceil(settings.steps / plan.steps_per_epoch))
    seconds = assembly.max_seconds(settings)
    if seconds is not None and processes.active():
        raise UserError(
            f"training.max_time={settings.max_time} cannot be used under torchrun, whose processes have different "
            "clocks; use training.steps"
        )
    return replace(plan, seconds=seconds, evaluate_train=settings.evaluate_train)


def refuse_uncarried(plan: Plan, program: Single) -> None:
    """Refuse a state that no batch of an epoch would pass on, or whose rows are in several processes.

    Raises:
        UserError: with what to do.
    """
    if program.carried is None:
        return
    if processes.active():
        raise UserError("data.stateful=true cannot be used under torchrun; train in one process")
    if program.needs_closure:
        name = type(program.optimizer).__name__
        raise UserError(
            f"data.stateful=true carries the state from batch to batch, but {name} uses all training examples for each "
            "update; use another optimizer"
        )
    if plan.steps_per_epoch < 2:
        raise UserError(
            f"data.stateful=true carries the state from batch to batch, but one batch of {plan.batch_size} has all "
            f"{plan.examples} training examples; use training.batch_size={max(1, plan.examples // 2)} or less"
        )


def thread_count(
    settings: assembly.Training,
    parts: Parts,
    torch_device: torch.device,
    state: Mapping[str, Any] | None,
    runs: int = 1,
) -> int:
    """Return the number of CPU threads: the setting, that of the resumed run, or a number for the amount of work.

    Args:
        settings: the settings of `training`.
        parts: the objects of the run, or of one run of a stack.
        torch_device: the device of the run.
        state: the checkpoint of a resumed run; None for a new one.
        runs: the number of runs that are trained together.
    """
    if settings.threads != "auto":
        return settings.threads
    if torch_device.type != "cpu":
        return torch.get_num_threads()
    if state is not None and runs == 1 and state["program"].get("device", "cpu") == "cpu":
        return int(state["program"].get("threads", 1))
    examples = min(parts.plan.batch_size, parts.program.updating.micro_batch or parts.plan.batch_size)
    return device.threads_for(runs * examples * sum(layer.multiply_adds for layer in parts.layers), stacked=runs > 1)


def restored(folder: RunFolder, parts: Parts, screen: Screen) -> dict[str, Any] | None:
    """Restore the run from its last checkpoint that can be read, and return it; None if there is no checkpoint yet.

    Raises:
        UserError: there are checkpoints, but none that can be used.
    """
    problems, member, position = [], parts.member, Position(parts.plan)
    for path in (folder.last, folder.best):
        try:
            state = folder.load(path)
            apply_state(state, parts.program, member, position)
        except FileNotFoundError:
            continue
        except ValueError as error:
            problems.append(str(error) if str(path) in str(error) else f"{path} cannot be used: {error}")
            continue
        check_draws(folder, state, parts.program, position)
        for problem in problems:
            screen.print(f"{problem}; continuing from {path.name} instead")
        for problem in repaired(folder, state, member, position):
            screen.print(problem)
        if path == folder.last:  # the process may have been killed before the checkpoint had all of its names
            for path in checkpoint_paths(member, position):
                folder.name_last(path)
        else:
            folder.name_best()
        check_left(position)
        progress = f"epoch {position.epoch}" + (f", step {position.step}" if position.batch else "")
        if position.plan.validate_steps is not None:
            progress = f"step {position.step}"
        screen.print(f"Continuing after {progress}")
        if state["program"].get("device", parts.program.device.type) != parts.program.device.type:
            before = "the CPU" if parts.program.device.type == "cuda" else "a CUDA device"
            screen.print(
                f"The run was trained on {before} before and continues on {parts.program.device}: the last digits of "
                "its numbers differ from here on"
            )
        return state
    if problems:
        raise UserError("; ".join(problems))
    screen.print("There is no checkpoint yet; starting from the beginning")
    return None


def check_draws(folder: RunFolder, state: Mapping[str, Any], program: Single, position: Position) -> None:
    """Refuse to continue a run with other draws of Dropout, noise and augmentation than those that it began with.

    Raises:
        UserError: they were drawn in another way, as in earlier versions.
    """
    way = state["streams"].get("noise")
    same = isinstance(way, str) and way == WAY
    if position.step and not same and (program.augments or is_noisy(program.model)):
        begin = shlex.quote(f"init_from={folder.path}")
        raise UserError(
            f"resume={folder.path} has Dropout, noise or augmentation, and was trained by a version that draws them "
            f"differently; begin a new run from its weights with {begin}, or resume it with that version"
        )


def check_left(position: Position) -> None:
    """Refuse to continue a run that has already had more epochs or steps than are planned now.

    Raises:
        UserError: it has.
    """
    plan = position.plan
    if plan.steps is not None and position.step > plan.steps:
        raise UserError(f"training.steps={plan.steps} is less than the {position.step} steps that the run has had")
    if plan.steps is None and position.passes > plan.epochs:
        had = counted(position.passes, "epoch")
        raise UserError(f"training.epochs={plan.epochs} is less than the {had} that the run has had")


def repaired(folder: RunFolder, state: Mapping[str, Any], member: Member, position: Position) -> list[str]:
    """Repair the other files of a run that is restored from a checkpoint; return a sentence for each damaged one."""
    tables = state.get("tables") or {}
    sentences: list[str | None] = [*folder.clear_unreplaceable()]
    sentences.append(folder.repair_metrics(member.history, tables.get(METRICS)))
    copies = state.get("copies") or {}
    sentences.append(folder.repair_layers(position.step, tables.get(LAYERS), copies.get(LAYERS)))
    return [sentence for sentence in [*sentences, lost_best(folder, member, position)] if sentence]


def lost_best(folder: RunFolder, member: Member, position: Position) -> str | None:
    """Return a sentence if the weights of an earlier best epoch cannot be read any more."""
    best = best_row(member.history, member.objective)
    if best is None or (int(best["epoch"]) == position.epoch and position.batch == 0):
        return None
    epoch = int(best["epoch"])
    try:
        saved = epoch_of(folder.load(folder.best))
    except (FileNotFoundError, ValueError) as error:
        problem = f"{folder.best} is missing" if isinstance(error, FileNotFoundError) else str(error)
    else:
        if saved == epoch:
            return None
        problem = f"{folder.best} has the weights of epoch {saved}"
    return f"{problem}; the weights of epoch {epoch}, the best one, are lost unless a later epoch is better"


def apply_state(state: Mapping[str, Any], program: Single, member: Member, position: Position) -> None:
    """Load a checkpoint into the objects of a run.

    Raises:
        ValueError: the checkpoint does not fit the objects.
    """
    try:
        program.load_state_dict(0, state["program"])
        member.streams.load_state_dict(state["streams"])
        set_global_state(state["generator"], program.device)
        position.load([state["position"]], program)
        member.history = json.loads(state["history"])
        member.origin = state.get("origin")
    except (KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        raise ValueError(f"it does not fit this run ({one_line(error)})") from error
