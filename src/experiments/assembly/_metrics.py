"""The metrics of a run, and the names of everything that is measured."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from experiments.common.errors import OwnCodeError, UserError, location, nearest, raised
from experiments.common.meant import pasted
from experiments.common.metrics import AUTO, own_name
from experiments.common.signatures import TARGET, parameters_of, shown
from experiments.common.text import one_line
from experiments.tasks import FITTING
from experiments.tasks.base import Task
from experiments.tasks.metrics import Measure

from .targets import Config, call, located, target, twice

OF_OURS = ("name", "larger_is_better")
"""The settings of a metric of the user that are not the function's own."""
TRIED = 4


def metrics(chosen: Any, task: Task, targets: Tensor) -> dict[str, Measure]:
    """Return the metrics that are measured in addition to the task's running one, by name.

    Args:
        chosen: the setting `metrics`: auto, or a list of names and of sections with `_target_`.
        task: of the run, fitted.
        targets: encoded, of the training split.

    Raises:
        UserError: a metric is unknown, does not fit the task, or cannot be called.
    """
    if chosen == AUTO:
        return {name: task.measures[name] for name in task.metrics[1:]}
    if isinstance(chosen, str | Mapping):
        chosen = [chosen]
    if not isinstance(chosen, list | tuple):
        raise UserError(f"metrics={shown(chosen)} should be auto, or a list such as [{', '.join(task.metrics)}]")
    found: dict[str, Measure] = {}
    for number, entry in enumerate(chosen):
        if isinstance(entry, Mapping):
            name, measure = own(entry, f"metrics[{number}]", task, targets)
        else:
            name, measure = str(entry), known(str(entry), task)
        if name in found:
            raise UserError(f"metrics={shown(list(chosen))} has {name!r} twice; name each metric once")
        found[name] = measure
    return {name: measure for name, measure in found.items() if name != task.metrics[0]}


def known(name: str, task: Task) -> Measure:
    """Return a metric of a task by its name.

    Raises:
        UserError: there is no such metric, or it is for another task.
    """
    if name in task.measures:
        return task.measures[name]
    others = [other.name for other in FITTING.values() if name in other.measures]
    choices = f"choose from {', '.join(task.measures)}"
    if others:
        raise UserError(f"metrics: {name!r} is a metric of {' and '.join(others)}, not of {task.name}; {choices}")
    raise UserError(f"unknown metric {name!r} in metrics; {choices}" + nearest(name, task.measures))


def own(entry: Config, key: str, task: Task, targets: Tensor) -> tuple[str, Measure]:
    """Return the name of a metric that a section names, and its function, tried on a few examples.

    Raises:
        UserError: it cannot be built or called, or returns no number.
    """
    name = str(entry.get("name") or own_name(str(entry.get(TARGET))))
    if not isinstance(entry.get("larger_is_better", True), bool):
        raise UserError(f"{key}.larger_is_better={shown(entry['larger_is_better'])} should be true or false")
    for taken in OF_OURS:
        if taken in entry and taken in (parameters_of(located(entry, key)) or {}):
            raise twice(f"{key}.{taken}={shown(entry[taken])}", "every metric", located(entry, key), taken)
    measure = built({k: v for k, v in entry.items() if k not in OF_OURS}, key, task)
    y = targets[:TRIED].cpu()
    shape = (len(y), *task.score_shape(y.shape[1:]))
    scores = torch.linspace(-1, 1, math.prod(shape)).reshape(shape)
    try:
        value: Any = measure(task.answer(scores), task.decode(y))
    except Exception as error:
        reason = raised(error) if location(error) is not None else f"cannot be called: {one_line(error)}"
        kind = OwnCodeError if location(error) is not None else UserError
        raise kind(f"{key}: {entry[TARGET]} {reason}; it gets the answers and the targets of a split") from error
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError):
        returned = type(value).__name__
        if isinstance(value, Tensor):
            returned = f"{returned} of shape {tuple(value.shape)} on {value.device}"
        raise UserError(f"{key}: {entry[TARGET]} returns a {returned}, expected one number") from None
    return name, measure


def built(section: Config, key: str, task: Task) -> Measure:
    """Return the function of a section: of answers and targets, or of a metric of torchmetrics."""
    cls = located(section, key)
    if not isinstance(cls, type):
        parameters = list(parameters_of(cls) or {})
        return target(section, key, supplied=tuple(parameters[:2]))
    count = len(task.names)
    metric = call(section, key, {"num_classes": count, "num_labels": count, "num_outputs": count})
    if not callable(metric):
        raise UserError(f"{key}._target_={section[TARGET]!r} builds a {type(metric).__name__}, which cannot be called")
    return adapted(metric, binary=cls.__name__.startswith("Binary"))


def adapted(metric: Callable[..., Any], *, binary: bool) -> Measure:
    """Return a metric object as a function of a whole split.

    Args:
        metric: such as one of torchmetrics, which keeps a state.
        binary: whether it gets only the probability of the second of two classes.
    """

    def measure(answers: Tensor, targets: Tensor) -> float:
        if hasattr(metric, "reset"):
            metric.reset()
        if binary and answers.shape[1] == 2:
            answers = answers[:, 1]
        elif answers.shape[1] == 1:
            answers, targets = answers.squeeze(1), targets.reshape(len(targets))
        return float(metric(answers, targets))

    return measure


def directions(chosen: Any, key: str = "metrics") -> Any:
    """Return the setting `metrics` in which every metric of the user has a name and a direction."""
    if not isinstance(chosen, list):
        return chosen
    completed = []
    for number, entry in enumerate(chosen):
        if isinstance(entry, Mapping):
            rises = getattr(located(entry, f"{key}[{number}]"), "higher_is_better", None)
            usual = {"name": own_name(str(entry.get(TARGET))), "larger_is_better": rises is not False}
            entry = {**usual, **entry}
        completed.append(entry)
    return completed


def measured_names(task: Task, metrics: Iterable[str], *, validate: bool) -> list[str]:
    """Return the names of everything that is measured after each epoch."""
    running = task.metrics[0]
    names = [f"val/{name}" for name in dict.fromkeys((running, "loss", *metrics))] if validate else []
    return [*names, f"train/{running}", "train/loss"]


def check_measured(setting: str, name: str, measured: Iterable[str], task: Task, *, validate: bool) -> None:
    """Refuse a metric that decides something and is not measured.

    Args:
        setting: such as `objective`.
        name: the metric, with its split.
        measured: what is measured.
        task: of the run.
        validate: whether there is a validation split.

    Raises:
        UserError: with what is measured, or the setting that measures it.
    """
    measured = list(measured)
    if name in measured:
        return
    split, _, kind = name.partition("/")
    usual = [task.metrics[0], "loss"]
    further = [one for one in (word.removeprefix("val/") for word in measured) if one in task.measures]
    more = f"metrics=[{','.join([one for one in dict.fromkeys(further) if one not in usual] + [kind or name])}]"
    if name in (*task.measures, *usual) and validate:
        words = [*([] if name in usual else [more]), f"{setting}=val/{name}"]
        raise UserError(f"{setting}={name!r} does not name the split{pasted(words)}")
    if kind in task.measures and split == "val" and validate:
        raise UserError(f"{setting}={name!r} is not measured; add {more!r}")
    if split == "test":
        words = [f"{setting}=val/{kind}"] if f"val/{kind}" in measured else []
        raise UserError(
            f"{setting}={name!r} cannot decide anything: the test split is looked at once, at the end{pasted(words)}"
        )
    reason = "" if validate else " (data.val_fraction=0 leaves no validation split)"
    raise UserError(
        f"{setting}={name!r} is not measured{reason}; choose from {', '.join(measured)}"
        + nearest(name, measured, setting)
    )
