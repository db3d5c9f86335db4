"""The task of a run: chosen or found from the targets, with its loss."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from experiments import losses
from experiments.common.errors import UserError
from experiments.common.metrics import AUTO
from experiments.common.signatures import TARGET, parameters_of, shown
from experiments.data.forms import Description
from experiments.data.sources import Source
from experiments.tasks import FITTING, Auto
from experiments.tasks.base import Form, Task

from ._metrics import directions
from .targets import Config, call, located, target

OURS = "experiments.losses."
AUTOMATIC = f"{Auto.__module__}.{Auto.__qualname__}"
WORDS: Mapping[str, str] = {
    "classes": "a class for each example",
    "numbers": "numbers",
    "labels": "labels that are 0 or 1",
    "inputs": "numbers as inputs",
    "tokens": "tokens, such as the characters of a text",
}
"""What targets of a form are."""


def chosen(config: Config) -> Task | None:
    """Return the task that a configuration names; None for the one that fits the targets.

    Raises:
        UserError: it cannot be built, or is not a task.
    """
    section = config.get("task") or {TARGET: AUTOMATIC}
    if section.get(TARGET) == AUTOMATIC:
        return None
    task = call(section, "task")
    if not isinstance(task, Task):
        raise UserError(
            f"task._target_={section[TARGET]!r} built a {type(task).__name__}, expected an experiments.tasks.Task"
        )
    return task


def wanted(config: Config) -> Form | None:
    """Return the form of targets that the chosen task learns; None for any."""
    task = chosen(config)
    return None if task is None else of_data(task.form)


def of_data(form: Form) -> Form | None:
    """Return a form of targets if a data set can have it; None for any."""
    return None if form in ("inputs", "tokens") else form


def task_for(config: Config, source: Source) -> Task:
    """Return the task of a run, which knows its loss and is not fitted yet.

    Raises:
        UserError: the targets or the loss do not fit it.
    """
    kind = source.kind or "classes"
    task = chosen(config) or FITTING[kind]()
    if task.form != kind and (not task.of_inputs or kind == "tokens"):
        fitting = FITTING[kind].name
        raise UserError(
            f"task={task.name} needs {WORDS[task.form]}, but the targets of this data set are {WORDS[kind]}; "
            f"try task={fitting}"
        )
    task.use(loss(config, task))
    return task


def restored(config: Config, description: Description) -> Task:
    """Return the task of a trained run.

    Args:
        config: of the run.
        description: of its data.

    Raises:
        UserError: it cannot be built.
    """
    task = chosen(config) or FITTING[description.kind]()
    task.use(loss(config, task))
    task.load(description.names, description.scaling)
    return task


def loss(config: Config, task: Task) -> losses.Loss:
    """Return the loss of a run.

    Raises:
        UserError: it cannot be built, or does not fit the task.
    """
    section = loss_section(config, task)
    path = str(section.get(TARGET))
    if path.startswith(OURS) and (name := path.removeprefix(OURS)) not in task.losses:
        raise UserError(f"loss={name} does not fit task={task.name}; choose from auto, {', '.join(task.losses)}")
    function = located(section, "loss")
    parameters = list(parameters_of(function) or {})
    if isinstance(function, type):
        raise UserError(f"loss._target_={path!r} is a class; {function_for(function)}")
    if "reduction" not in parameters:
        raise UserError(
            f"loss._target_={path!r} has no parameter reduction; expected a function of scores, targets and "
            "reduction, like those of torch.nn.functional"
        )
    supplied = (*parameters[:2], "reduction", *(["unit"] if "unit" in parameters else []))
    return target(section, "loss", supplied=supplied)


def function_for(cls: type) -> str:
    """Return the end of a sentence: the function to take as a loss instead of a class."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__.removesuffix("Loss")).lower()
    name = {"bce": "binary_cross_entropy", "bcewith_logits": "binary_cross_entropy_with_logits"}.get(name, name)
    found = [one for one in (name, f"{name}_loss") if cls.__module__.startswith("torch.nn") and hasattr(F, one)]
    if found:
        return f"use the function torch.nn.functional.{found[0]}"
    return "expected a function of scores, targets and reduction, like those of torch.nn.functional"


def loss_section(config: Config, task: Task) -> Config:
    """Return the section of the loss, in which `auto` is replaced by the task's loss.

    Raises:
        UserError: label smoothing is chosen for other targets than classes.
    """
    section = config.get("loss") or {TARGET: f"{OURS}{losses.auto.__name__}"}
    if section.get(TARGET) != f"{OURS}{losses.auto.__name__}":
        return section
    settings = {key: value for key, value in section.items() if key != TARGET}
    if task.form not in ("classes", "tokens"):
        smoothing = settings.pop("label_smoothing", 0)
        if smoothing:
            raise UserError(f"loss.label_smoothing={shown(smoothing)} is for task=classification, not for {task.name}")
    return {TARGET: task.loss, **settings}


def per_example(loss: Callable[..., Tensor]) -> losses.Loss:
    """Return a loss of each number, such as those of torch, as the mean over each example's numbers."""

    def averaged(scores: Tensor, targets: Tensor, reduction: str) -> Tensor:
        return losses.reduced(loss(scores, targets, reduction="none").flatten(1).mean(1), reduction)

    return averaged


def resolved(config: Config, task: Task) -> dict[str, Any]:
    """Return a configuration in which the task, the loss, the objective and the metrics' directions are explicit."""
    section = config.get("task") or {TARGET: AUTOMATIC}
    if section.get(TARGET) == AUTOMATIC:
        section = {TARGET: f"{type(task).__module__}.{type(task).__qualname__}"}
    objective = config.get("objective", AUTO)
    return {
        **config,
        "task": section,
        "loss": loss_section(config, task),
        "objective": f"val/{task.objective}" if objective == AUTO else objective,
        "metrics": directions(config.get("metrics", AUTO)),
    }
