"""The objects of a run, except its data."""

import inspect
import math
import os
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from experiments import initializers, optimizers, schedules
from experiments.common.errors import OwnCodeError, UserError, is_own, location, raised, reason_of
from experiments.common.meant import pasted
from experiments.common.metrics import AUTO
from experiments.common.parameters import scores_parameter
from experiments.common.signatures import TARGET, checked, parameters_of, shown, title, value_of
from experiments.common.text import one_line
from experiments.models.blocks import spelling, spellings, use_noise
from experiments.models.layers import Layer, describe
from experiments.models.terms import with_terms
from experiments.penalties import Penalty
from experiments.tasks.base import Task
from experiments.training.criterion import Criterion
from experiments.training.observer import Observer
from experiments.training.program import PROBE_SIZE
from experiments.training.single import Updating
from experiments.training.streams import Streams

from . import _pretrained
from ._datasets import Data
from ._metrics import metrics
from ._tasks import chosen as chosen_task
from ._tasks import loss as loss_of
from ._tasks import loss_section, per_example
from ._training import Training
from .targets import Config, call, divided, located, target


@dataclass(frozen=True)
class Initialization:
    """The settings of `init` that every initializer has; `conf/train.yaml` describes them."""

    bias: initializers.Bias = 0.0


@dataclass(frozen=True)
class InitFrom:
    """The settings of `init_from`; `conf/train.yaml` describes them."""

    path: str | None = None
    replace: list[str] | None = None


@dataclass(frozen=True)
class ParameterGrouping:
    """The settings of `optimizer` that every optimizer has, see `optimizers.parameter_groups`."""

    decay_exempt: Literal["auto"] | list[str] = "auto"
    lr_scale: dict[str, Annotated[float, Ge(0)]] | None = field(default=None)


@dataclass(frozen=True)
class Scheduling:
    """The settings of `scheduler` that every schedule has; `conf/train.yaml` describes them."""

    warmup: Annotated[float, Ge(0), Lt(1)] = 0.0
    horizon: Literal["planned", "stretched"] = "planned"


def model(
    config: Config, data: Data, streams: Streams, device: torch.device
) -> tuple[nn.Module, list[Layer], dict[str, Any] | None]:
    """Build and initialize the model.

    Returns:
        The model on the device, its layers in the order in which they ran on one example, and the origin of pretrained
        weights, see `initial_weights`.

    Raises:
        UserError: the model cannot be built, initialized or applied to the data.
    """
    built = network(config, data.input_shape, data.task.outputs)
    common, own = divided(config["init"], Initialization, "init")
    bias = Initialization(**checked(Initialization, common, "init")).bias
    initializer = target(own, "init", supplied=("weight", "tensor", "generator", "outputs"))
    inputs = data.splits["train"].first(PROBE_SIZE)[0].cpu() if initializers.takes_outputs(initializer) else None
    fill = partial(initializers.initialize, built, initializer, streams.init, bias, inputs)
    try:
        fill()
        origin = initial_weights(config, built)
        if origin is not None and inputs is not None:  # the initializer needs the outputs with the pretrained weights
            fill(only=origin["replaced"])
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise UserError(f"init: {own[TARGET]} cannot fill a weight of this model: {one_line(error)}") from error
    built = built.to(device)
    use_noise(built, streams.noise)
    model_layers = layers(built, data.example, data.task, config["model"])
    if not any(p.requires_grad for p in built.parameters()):
        raise UserError("model has no parameter to train")
    return built, model_layers, origin


def check_spelling(config: Config) -> None:
    """Refuse another spelling of an activation, which would make two groups and two stacks of equal runs.

    An old run may have it: `models.blocks.activation` takes every spelling.

    Raises:
        UserError: with the right spelling.
    """
    model = config["model"]
    name = model.get("activation")
    ours = isinstance(name, str) and str(model.get(TARGET)).startswith("experiments.models.")
    right = spelling(name) if ours else None
    if right is not None and right != name:
        names = ", ".join(spellings())
        meant = pasted([f"model.activation={right}"])
        raise UserError(f"unknown model.activation {name!r}; choose from {names}{meant}")


def initial_weights(config: Config, built: nn.Module) -> dict[str, Any] | None:
    """Copy the weights of `init_from` into a model; return their origin, see `_pretrained.begin_with`, or None.

    Raises:
        UserError: the setting has another form, or the weights cannot be read or do not fit the model.
    """
    settings = InitFrom(**checked(InitFrom, config.get("init_from") or {}, "init_from"))
    if settings.path is None:  # a sweep may compare it with weights, of which `replace` names some
        return None
    try:
        return _pretrained.begin_with(settings.path, built, settings.replace or ())
    except ValueError as error:
        raise UserError(f"init_from.{error}") from None


def freezing(chosen: Any, model: nn.Module) -> dict[str, int]:
    """Freeze the parameters that are never trained; return the number of frozen epochs of all others that are frozen.

    If several patterns match a parameter, the last one counts, as in `optimizers.parameter_groups`.

    Args:
        chosen: patterns of parameters, or pattern -> number of epochs; None for nothing.
        model: its parameters that are never trained are marked as needing no gradient.

    Raises:
        UserError: the setting has another form, a pattern matches nothing, or nothing is left to train.
    """
    if chosen is None:
        return {}
    permanent = not isinstance(chosen, Mapping)
    given: Any = value_of(chosen, list[str] if permanent else dict[str, Annotated[int, Ge(0)]], "freeze")
    epochs: Mapping[str, float] = dict.fromkeys(given, math.inf) if permanent else given
    named = dict(model.named_parameters())
    for pattern in epochs:
        if not any(optimizers.matches(name, pattern) for name in named):
            raise UserError(f"freeze={pattern!r} matches no parameter; {_pretrained.layer_choices(named, pattern)}")
    frozen = {
        name: [0, *(count for pattern, count in epochs.items() if optimizers.matches(name, pattern))][-1]
        for name in named
    }
    if all(frozen[name] for name, parameter in named.items() if parameter.requires_grad):
        raise UserError(f"freeze={shown(chosen)} leaves nothing to train in the first epoch; remove a layer from it")
    for name, count in frozen.items():
        if count == math.inf:
            named[name].requires_grad_(False)
    return {name: int(count) for name, count in frozen.items() if 0 < count < math.inf and named[name].requires_grad}


def network(config: Config, input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Build the model, with the weights of its constructor.

    Args:
        config: the run's configuration.
        input_shape: of a prepared example.
        outputs: the number of scores of an example: the model's parameter `classes` or `outputs`.

    Raises:
        UserError: the model cannot be built, or cannot read sequences of unequal lengths.
    """
    task = chosen_task(config)
    vocabulary = outputs if task is not None and task.form == "tokens" else 0
    shape = tuple(input_shape)
    supplied = {"input_shape": shape, "classes": outputs, "outputs": outputs, "vocabulary": vocabulary}
    context = (config.get("data") or {}).get("context")
    if context is not None:
        if "padded" not in (parameters_of(located(config["model"], "model")) or {}):
            raise UserError(
                f"data.context={context} gives sequences of unequal lengths, which model._target_="
                f"{config['model'][TARGET]!r} cannot read: it has no parameter 'padded'; use model=rnn"
            )
        supplied["padded"] = True
    built = call(config["model"], "model", supplied)
    if not isinstance(built, nn.Module):
        raise UserError(
            f"model._target_={config['model'][TARGET]!r} built a {type(built).__name__}, expected an nn.Module"
        )
    if (config.get("data") or {}).get("stateful") and not hasattr(built, "state_shape"):
        raise UserError(
            "data.stateful=true carries the state of a recurrent network, but model._target_="
            f"{config['model'][TARGET]!r} has none: it has no attribute 'state_shape'; use model=rnn"
        )
    if task is not None and task.of_inputs:
        built.register_forward_hook(with_terms)
    return built


def layers(built: nn.Module, example: Tensor, task: Task, section: Config | None = None) -> list[Layer]:
    """Return the model's layers, in the order in which they ran on one prepared example.

    Args:
        built: the model.
        example: a batch of one.
        task: what is learnt.
        section: the configuration of the model; None for no advice about it.

    Raises:
        UserError: the model cannot take the example, or returns other scores than the task needs.
    """
    wanted = (1, *task.score_shape(example.shape[1:]))
    try:
        model_layers, scores = describe(built, example)
    except Exception as error:
        shape = tuple(example.shape[1:])
        known = isinstance(error, RuntimeError | ValueError | TypeError | IndexError | AssertionError)
        if not known and location(error) is None:
            raise
        reason = reason_of(error, one_line(error))
        if not example.is_floating_point():
            reason += "; tokens need a model that embeds them, such as model=rnn or model=transformer"
        raise UserError(f"model cannot take an example of shape {shape}: {reason}") from error
    numbers = task.separated(scores)[0] if isinstance(scores, Tensor) else None
    if numbers is None or tuple(numbers.shape) != wanted:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        shaped = section is not None and isinstance(scores, Tensor)
        meant = scores_parameter(located(section, "model"), list(section), wanted[-1]) if section and shaped else ""
        raise UserError(f"model returns {got} for one example, expected scores of shape {wanted}{meant}")
    if not scores.requires_grad and any(parameter.requires_grad for parameter in built.parameters()):
        raise UserError(
            f"model: {type(built).__module__}.{type(built).__qualname__} returns scores without a gradient, so nothing "
            "can be trained; remove detach(), no_grad(), argmax() or numpy() from its forward"
        )
    return model_layers


def criterion(config: Config, data: Data) -> Criterion:
    """Build the loss and penalty that training minimizes.

    Raises:
        UserError: one of them cannot be built or called.
    """
    task, section = data.task, loss_section(config, data.task)
    loss = loss_of(config, task)
    penalty = call(config["penalty"], "penalty")
    if not isinstance(penalty, Penalty):
        raise UserError(
            f"penalty._target_={config['penalty'][TARGET]!r} built a {type(penalty).__name__}, expected a Penalty"
        )
    check_penalty(penalty, f"penalty._target_={config['penalty'][TARGET]!r}")
    targets = task.examples_of_targets(3).to(data.splits["train"].device)
    zeros = torch.zeros(3, *task.score_shape(targets.shape[1:]), device=targets.device, requires_grad=True)
    scores = zeros.clone()  # a loss may change scores in place
    try:
        with warnings.catch_warnings(action="ignore"):
            losses = loss(scores, targets, reduction="none")
    except Exception as error:
        if location(error) is None and not isinstance(error, ValueError | TypeError | RuntimeError | IndexError):
            raise
        reason = reason_of(error, one_line(error))
        raise UserError(f"loss: {section[TARGET]} cannot be called with scores and {task.form}: {reason}") from error
    if isinstance(losses, Tensor) and targets.ndim == 2 and losses.shape == targets.shape:
        loss = per_example(loss)
    elif not isinstance(losses, Tensor) or losses.shape != targets.shape[:1]:
        raise UserError(f"loss: {section[TARGET]} does not return one number per example for reduction='none'")
    if not losses.requires_grad:
        raise UserError(
            f"loss: {section[TARGET]} returns numbers without a gradient, so nothing can be trained; remove detach(), "
            "no_grad(), argmax() or numpy() from it"
        )
    others = metrics(config.get("metrics", AUTO), task, data.splits["train"].y)
    return Criterion(loss, penalty, data.class_weights, task, others)


def check_penalty(penalty: Penalty, setting: str) -> None:
    """Refuse a penalty whose term is not a number.

    Raises:
        UserError: it is not, or it fails.
    """
    if not penalty.adds:
        return
    try:
        term = penalty.term([torch.ones(2, 2), torch.ones(3, 2)])
    except Exception as error:
        if location(error) is None and not isinstance(error, NotImplementedError):
            raise
        raise UserError(f"{setting} {raised(error)} in term") from error
    if not isinstance(term, Tensor) or term.ndim:
        shape = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else f"a {type(term).__name__}"
        raise UserError(f"{setting} returns {shape} from term, expected a scalar tensor")


def optimizer(config: Config, model: nn.Module, thaws: Collection[str] = ()) -> tuple[torch.optim.Optimizer, float]:
    """Build the optimizer; also return the learning rate that the schedule multiplies.

    Args:
        config: the run's configuration.
        model: all of its parameters that will ever be trained are in the optimizer from the start.
        thaws: the names of the parameters that are frozen at first.

    Raises:
        UserError: the optimizer cannot be built, or there is nothing to train.
    """
    common, own = divided(config["optimizer"], ParameterGrouping, "optimizer")
    grouping = ParameterGrouping(**checked(ParameterGrouping, common, "optimizer"))
    cls = located(own, "optimizer")
    extra = {"hidden": hidden_weights(model)} if "hidden" in (parameters_of(cls) or {}) else {}
    build = target(own, "optimizer", supplied=("params", *extra), ranges=optimizers.RANGES)
    try:
        groups = optimizers.parameter_groups(
            model, decays=bool(own.get("weight_decay")), exempt=grouping.decay_exempt, scales=grouping.lr_scale
        )
    except ValueError as error:
        raise UserError(f"optimizer.{error}") from error
    if not any(parameter.requires_grad and name not in thaws for name, parameter in model.named_parameters()):
        raise UserError("freeze and zeros in optimizer.lr_scale leave nothing to train in the first epoch")
    try:
        built = optimizers.build(partial(build, **extra) if extra else build, groups)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"optimizer: {one_line(error)}") from error
    if not isinstance(built, torch.optim.Optimizer):
        raise UserError(
            f"optimizer._target_={config['optimizer'][TARGET]!r} built a {type(built).__name__}, expected a "
            "torch.optim.Optimizer"
        )
    if "lr" not in built.param_groups[0]:
        raise UserError(f"optimizer: {type(built).__name__} has no learning rate lr, which the schedule needs")
    return built, float(built.param_groups[0]["lr"])


def hidden_weights(model: nn.Module) -> list[Tensor]:
    """Return the weights of all linear and convolutional layers except the last one, which gives the scores."""
    return [layer.weight for layer in initializers.weighted_layers(model).values()][:-1]


def updating(settings: Training, optimizer: torch.optim.Optimizer, penalty: Penalty) -> Updating:
    """Return the rules for updates.

    Raises:
        UserError: a setting cannot be combined with the optimizer, or needs a compiler that is missing.
    """
    closed = optimizers.needs_closure(optimizer)
    if closed:
        name = type(optimizer).__name__
        for key, chosen, reason in (
            ("training.accumulate", settings.accumulate > 1, "uses the whole training split at once"),
            ("training.clip_norm", settings.clip_norm is not None, "searches along the unclipped gradient"),
            ("training.clip_value", settings.clip_value is not None, "searches along the unclipped gradient"),
            ("training.precision", settings.precision == "fp16", "does not support a scaled loss"),
            (
                f"penalty={type(penalty).__name__}",
                penalty.bounds,
                "stores gradients that are wrong once the penalty has changed the weights",
            ),
        ):
            if chosen:
                raise UserError(f"{key} cannot be combined with {name}, which {reason}; leave one of them out")
    if settings.compile and not shutil.which(os.environ.get("CXX", "g++")) and not torch.cuda.is_available():
        raise UserError("training.compile needs a C++ compiler, but this machine has none; install g++")
    mode = "default" if settings.compile is True else settings.compile or None
    return Updating(
        micro_batch=None if closed else settings.batch_size,
        clip_norm=settings.clip_norm,
        clip_value=settings.clip_value,
        precision=settings.precision,
        compiled=mode,
        channels_last=settings.channels_last,
        ema=settings.ema,
        swa=settings.swa,
    )


def schedule(config: Config, *, validate: bool) -> schedules.Schedule:
    """Build the schedule with its warm-up.

    Args:
        config: the run's configuration.
        validate: whether there is a validation split.

    Raises:
        UserError: a setting cannot be used, or the schedule needs a validation split.
    """
    common, own = divided(config["scheduler"], Scheduling, "scheduler")
    share = Scheduling(**checked(Scheduling, common, "scheduler")).warmup
    curve = target(own, "scheduler", supplied=("progress", "_progress", "val_losses"))
    if "val_losses" not in inspect.signature(curve).parameters:
        check_curve(curve, f"scheduler._target_={config['scheduler'][TARGET]!r}")
        return schedules.warmed_up(schedules.OfProgress(curve), share)
    if not validate:
        raise UserError(
            "scheduler=plateau needs the validation loss, but data.val_fraction=0 leaves no validation split"
        )
    return schedules.warmed_up(curve, share)


def check_curve(curve: Callable[..., Any], setting: str) -> None:
    """Refuse a schedule that does not return a number at the start of training.

    Raises:
        UserError: it does not, or it fails.
    """
    try:
        factor = curve(0.0)
        finite = math.isfinite(float(factor))
    except Exception as error:
        if location(error) is None and not isinstance(error, TypeError | ValueError):
            raise
        raise UserError(f"{setting} {raised(error)} at the start of training; expected a number") from error
    if not finite:
        raise UserError(f"{setting} returns {factor} at the start of training; expected a finite number")


def horizon(config: Config) -> str:
    """Return whether the schedule of a resumed run keeps its planned end, or is stretched to the new one."""
    common, _ = divided(config["scheduler"], Scheduling)
    return Scheduling(**checked(Scheduling, common, "scheduler")).horizon


OFFERED = ("screen", "writer", "configuration", "overrides", "hyperparameters", "splits", "classes", "task")
"""The parameters of observers that the program passes."""


def check_observers(config: Config) -> None:
    """Check the settings of all observers; nothing is built.

    Raises:
        UserError: a setting does not fit.
    """
    for name, entry in config["observers"].items():
        if entry is not None:
            enabled(config, name)
            cls = located(entry, f"observers.{name}")
            given = {k: v for k, v in entry.items() if k not in ("enabled", TARGET, "_partial_")}
            supplied = tuple(p for p in parameters_of(cls) or {} if p in OFFERED)
            checked(cls, given, f"observers.{name}", supplied=supplied)


def observers(config: Config, given: Mapping[str, Any]) -> list[Any]:
    """Build the observers that are enabled.

    Args:
        config: each entry of `observers` names its class by `_target_`.
        given: parameter name -> the object passed to the observers that have this parameter. An object may be None,
            such as the writer of a disabled TensorBoard; an observer that needs it is then left out, unless its
            parameter has a default.
    """
    built = []
    for name, entry in config["observers"].items():
        on = enabled(config, name)
        if entry is None:
            continue
        own = {k: v for k, v in entry.items() if k != "enabled"}
        cls = located(own, f"observers.{name}")
        parameters = parameters_of(cls) or {}
        supplied = [p for p in parameters if p in given]
        build = target(own, f"observers.{name}", supplied=tuple(supplied))
        if on and all(given[p] is not None or parameters[p].default is not inspect.Parameter.empty for p in supplied):
            available = {p: given[p] for p in supplied if given[p] is not None}
            built.append(built_observer(partial(build, **available), cls, f"observers.{name}"))
    return built


def built_observer(build: Callable[[], Any], cls: Callable[..., Any], key: str) -> Observer:
    """Return an observer.

    Raises:
        UserError: it is of another kind.
        OwnCodeError: it is the user's own, and cannot be built.
    """
    try:
        built = build()
    except Exception as error:
        if isinstance(error, UserError | OSError) or (isinstance(cls, type) and is_own(cls)):
            raise
        raise OwnCodeError(f"{key}: {title(cls)} {raised(error)}") from error
    if not isinstance(built, Observer):
        raise UserError(
            f"{key}._target_: {title(cls)} builds a {type(built).__name__}, expected an experiments.observers.base."
            "Observer; derive the class from it"
        )
    return built


def apart(config: Config) -> str | None:
    """Return the observer that wants its run to be trained on its own; None if there is none."""
    classes = {name: located(entry, f"observers.{name}") for name, entry in config["observers"].items() if entry}
    return next((name for name, cls in classes.items() if getattr(cls, "alone", False) and enabled(config, name)), None)


def enabled(config: Config, observer: str) -> bool:
    """Whether the configuration has an observer and does not disable it.

    Raises:
        UserError: the observer's entry is not a section of settings, or `enabled` is not true or false.
    """
    entry, key = config["observers"].get(observer), f"observers.{observer}"
    if entry is not None and not isinstance(entry, Mapping):
        raise UserError(f"{key}={shown(entry)} should be a section of settings")
    chosen = entry.get("enabled", True) if entry else False
    if not isinstance(chosen, bool):
        raise UserError(f"{key}.enabled={shown(chosen)} should be true or false")
    return chosen
