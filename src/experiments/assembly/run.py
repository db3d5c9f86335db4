"""A run's objects, put together from its configuration, and put back to where it was."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from experiments import assembly
from experiments.common.errors import UserError
from experiments.common.screen import Screen
from experiments.common.text import one_line
from experiments.folders.run import Row, RunFolder
from experiments.models.layers import Layer
from experiments.training import device, processes, shared
from experiments.training.averaging import batch_norms
from experiments.training.engine import names
from experiments.training.member import Member
from experiments.training.position import Plan, Position
from experiments.training.single import Single
from experiments.training.streams import Streams, set_global_state


@dataclass
class Parts:
    """A run's objects, put together and not yet trained."""

    data: assembly.Data
    layers: list[Layer]
    program: Single
    plan: Plan
    member: Member


def assembled(
    config: assembly.Config,
    general: assembly.General,
    settings: assembly.Training,
    place: torch.device,
    folder: RunFolder,
    screen: Screen,
    sources: assembly.Sources | None = None,
    pruned: Callable[[Sequence[Row]], bool] | None = None,
) -> Parts:
    """Build everything that the configuration names.

    Args:
        config: of which `general` and `settings` are parts.
        place: the device.
        folder: where the run writes.
        screen: where is said what had to be changed.
        sources: data sets that runs share; None for a copy of its own.
        pruned: see `Member`.

    Raises:
        UserError: something in it cannot be used.
    """
    streams = Streams(general.seed, place)
    data = assembly.data(config, streams, place, sources)
    model, layers, origin = assembly.model(config, data, streams, place)
    if settings.precision == "fp64":
        model.double()
        data.double()
    thaws = assembly.freezing(general.freeze, model)
    optimizer, rate = assembly.optimizer(config, model, thaws)
    criterion = assembly.criterion(config, data)
    validate = "val" in data.splits
    program = (shared.Shared if processes.active() else Single)(
        model,
        optimizer,
        data.splits,
        eval_batch_size=settings.eval_batch_size,
        criterion=criterion,
        updating=assembly.updating(settings, optimizer, criterion.penalty),
        augments=data.augments,
        noise=streams.noise,
        thaws=thaws,
    )
    member = Member(
        folder=folder,
        streams=streams,
        rate=rate,
        schedule=assembly.schedule(config, validate=validate),
        objective=general.objective,
        early_stopping=assembly.early_stopping(settings, validate=validate),
        penalized=criterion.penalty.adds,
        pruned=pruned,
        origin=origin,
    )
    plan = planned(settings, program, validate, screen)
    return Parts(data, layers, program, plan, member)


def chosen_device(name: str) -> torch.device:
    """Return the device, or a UserError that says which there are."""
    try:
        return device.choose(processes.own_device(name))
    except ValueError as error:
        raise UserError(f"training.{error}") from None


def planned(settings: assembly.Training, program: Single, validate: bool, screen: Screen) -> Plan:
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
    return Plan(settings.epochs, size, examples, drop_last, validate, assembly.keep_every(settings))


def thread_count(
    settings: assembly.Training, parts: Parts, place: torch.device, state: Mapping[str, Any] | None, runs: int = 1
) -> int:
    """Return the threads asked for, those the run had before, or those that the work of so many runs calls for."""
    if settings.threads != "auto":
        return settings.threads
    if place.type != "cpu":
        return torch.get_num_threads()
    if state is not None and runs == 1:
        return int(state["program"].get("threads", 1))
    examples = min(parts.plan.batch_size, parts.program.updating.micro_batch or parts.plan.batch_size)
    return device.threads_for(runs * examples * sum(layer.multiply_adds for layer in parts.layers), stacked=runs > 1)


def restored(folder: RunFolder, parts: Parts, screen: Screen) -> dict[str, Any] | None:
    """Put the run back to its last checkpoint that can be read, and return it; None where it had not come to one.

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
        for problem in problems:
            screen.print(f"{problem}; going on from {path.name} instead")
        if path == folder.last:  # the process may have been killed between its names
            for name in names(member, position):
                folder.name_last(name)
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
        member.history = json.loads(state["history"])
        member.origin = state.get("origin")
    except (KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        raise ValueError(f"it does not fit this run ({one_line(error)})") from error
