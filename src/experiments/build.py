"""Configuration -> objects: the only caller of `hydra.utils.instantiate`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Lt
from hydra.utils import get_object, instantiate
from torch import Tensor, nn

from . import initializers, optimizers, schedules
from .data.batches import Split, placed
from .data.preprocess import PREPROCESSES
from .data.sources import Source
from .data.split import stratified
from .engine import EarlyStopping, Metric
from .errors import UserError, nearest
from .models.blocks import use_noise
from .models.layers import Layer, describe
from .settings import TARGET, checked, dotted, parameters_of, shown
from .streams import Streams

SECTIONS = ("data", "model", "init", "optimizer", "scheduler", "training", "observers")

Config = Mapping[str, Any]
"""A composed configuration as plain dictionaries and lists."""


@dataclass(frozen=True)
class General:
    """The settings at the top level.

    Args:
        name: the folder below `outputs/`.
        seed: the run's one seed.
        objective: the metric that says which epoch is best, and that a sweep returns.
        resume: the run folder to go on with.
        trust: prefixes of code that a resumed configuration may name besides torch and this package.
    """

    name: str | int
    seed: Annotated[int, Ge(0)]
    objective: Metric
    resume: str | None = None
    trust: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """How to train.

    Args:
        epochs: passes over the training split; 0 only prepares and evaluates.
        batch_size: examples an update.
        eval_batch_size: examples a forward pass in evaluation.
        device: auto (CUDA where there is one), cpu, cuda or cuda:<number>.
        deterministic: refuse kernels whose result depends on chance (only CUDA has some).
        threads: of the CPU; auto chooses from the model's size.
        clip_norm: largest norm of the whole gradient.
        early_stopping: patience (in epochs; null for never), metric and min_delta.
    """

    epochs: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Ge(1)]
    eval_batch_size: Annotated[int, Ge(1)] = 1000
    device: str = "auto"
    deterministic: bool = False
    threads: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    clip_norm: Annotated[float, Gt(0)] | None = None
    early_stopping: dict[str, Any] | None = None


@dataclass(frozen=True)
class Splitting:
    """What is done with any data set.

    Args:
        val_fraction: the share of the training examples that becomes the validation split.
        limit: how many examples to keep in the training split; null for all.
        preprocess: how inputs are prepared, by name, or a function by `_target_`.
    """

    val_fraction: Annotated[float, Ge(0), Lt(1)] = 0.2
    limit: Annotated[int, Ge(1)] | None = None
    preprocess: Any = "standardize"


@dataclass(frozen=True)
class Initialization:
    """What every initializer is given besides the weights: the value of the biases."""

    bias: float | Literal["torch"] = 0.0


@dataclass(frozen=True)
class Warmup:
    """What every schedule can begin with: a rise over this share of training."""

    warmup: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass
class Data:
    """The splits on their device, and the names of the classes."""

    splits: dict[str, Split]
    classes: list[str]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.splits["train"].input_shape


def general(config: Config) -> General:
    """Check the top level's settings."""
    for section in SECTIONS:
        if not isinstance(config.get(section), Mapping):
            raise UserError(f"{section}={shown(config.get(section))} should be a section of settings")
    return General(**checked(General, {k: v for k, v in config.items() if k not in SECTIONS}, ""))


def training(config: Config) -> Training:
    """Check the training's settings."""
    return Training(**checked(Training, config["training"], "training"))


def early_stopping(settings: Training, *, validate: bool) -> EarlyStopping | None:
    """Build the rule, or None where no patience is set."""
    chosen, key = settings.early_stopping or {}, "training.early_stopping"
    never = chosen.get("patience") is None
    rule = EarlyStopping(**checked(EarlyStopping, {**chosen, "patience": 1} if never else chosen, key))
    if never:
        return None
    measured = [f"{split}/{what}" for split in ("train", "val")[: 1 + validate] for what in ("loss", "accuracy")]
    if rule.metric not in measured:
        why = "" if validate else " (data.val_fraction=0 leaves no validation split)"
        raise UserError(
            f"{key}.metric={rule.metric!r} is not measured{why}; allowed: {', '.join(measured)}"
            + nearest(rule.metric, measured)
        )
    return rule


def data(config: Config, streams: Streams, device: torch.device) -> Data:
    """Load, split and prepare the data set.

    The validation split is cut from the training examples first, then the training split is limited, so a
    limit changes no other split. Every statistic is fitted on what is left to train on.
    """
    common, own = divided(config["data"], Splitting)
    settings = Splitting(**checked(Splitting, common, "data"))
    fit = preprocess(settings.preprocess)
    source = call(own, "data")
    if not isinstance(source, Source):
        raise UserError(f"data._target_={own[TARGET]!r} returned a {type(source).__name__}, expected a Source")
    val, train = stratified(source.y_train, round(settings.val_fraction * len(source.y_train)), streams.split)
    if settings.limit is not None:
        if settings.limit > len(train):
            raise UserError(f"data.limit={settings.limit} is more than the {len(train)} training examples there are")
        kept, _ = stratified(source.y_train[train], settings.limit, streams.split)
        train = train[kept]
    if len(train) == 0:
        raise UserError(f"data.val_fraction={settings.val_fraction} leaves no example to train on")
    x_train = source.x_train[train]
    prepare = fit(x_train)
    if not callable(prepare):
        raise UserError(f"data.preprocess fits a {type(prepare).__name__}, expected a function of inputs")
    prepare = prepare.to(device) if hasattr(prepare, "to") else prepare
    parts = {"train": (x_train, source.y_train[train]), "test": (source.x_test, source.y_test)}
    if len(val):
        parts["val"] = (source.x_train[val], source.y_train[val])
    splits = {name: Split(*placed(x, y, device), prepare, device) for name, (x, y) in parts.items()}
    return Data(splits, source.classes)


def preprocess(choice: Any) -> Callable[[Tensor], Any]:
    """Return what fits a preparation to training inputs."""
    if isinstance(choice, Mapping) and TARGET in choice:
        return target(choice, "data.preprocess")
    if choice is None:
        choice = "none"
    if not isinstance(choice, str) or choice not in PREPROCESSES:
        raise UserError(
            f"data.preprocess={shown(choice)} is unknown; allowed: {', '.join(PREPROCESSES)}"
            + nearest(str(choice), PREPROCESSES)
        )
    return PREPROCESSES[choice]


def model(config: Config, data: Data, streams: Streams, device: torch.device) -> tuple[nn.Module, list[Layer]]:
    """Build and initialize the model; also returns its layers, found by running one example through it."""
    available = {"input_shape": data.input_shape, "classes": len(data.classes)}
    built = call(config["model"], "model", available)
    if not isinstance(built, nn.Module):
        raise UserError(
            f"model._target_={config['model'][TARGET]!r} built a {type(built).__name__}, expected an nn.Module"
        )
    common, own = divided(config["init"], Initialization)
    bias = Initialization(**checked(Initialization, common, "init")).bias
    initializer = target(own, "init", supplied=("weight", "tensor", "generator"))
    try:
        initializers.initialize(built, initializer, streams.init, bias)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"init: {own[TARGET]} cannot fill a weight of this model: {first_line(error)}") from error
    built = built.to(device)
    use_noise(built, streams.noise)
    return built, layers(built, data)


def layers(built: nn.Module, data: Data) -> list[Layer]:
    """Run one example through the model, and refuse a model that does not fit the data."""
    train = data.splits["train"]
    example, _ = train.batch(torch.zeros(1, dtype=torch.int64, device=train.x.device))
    wanted = (1, len(data.classes))
    try:
        found, scores = describe(built, example)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shape = tuple(example.shape[1:])
        raise UserError(f"model cannot take an example of shape {shape}: {first_line(error)}") from error
    if not isinstance(scores, Tensor) or tuple(scores.shape) != wanted:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise UserError(f"model returns {got} for one example, expected the scores of shape {wanted}")
    if not any(p.requires_grad for p in built.parameters()):
        raise UserError("model has no parameter to train")
    return found


def optimizer(config: Config, parameters: Sequence[nn.Parameter]) -> tuple[torch.optim.Optimizer, float]:
    """Build the optimizer; also returns the learning rate that the schedule multiplies."""
    make = target(config["optimizer"], "optimizer", supplied=("params",), ranges=optimizers.RANGES)
    try:
        built = optimizers.make(make, parameters)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"optimizer: {first_line(error)}") from error
    if "lr" not in built.param_groups[0]:
        raise UserError(f"optimizer: {type(built).__name__} has no learning rate called lr, which the schedule sets")
    closure = (parameters_of(built.step) or {}).get("closure")
    if closure is not None and closure.default is closure.empty:
        raise UserError(f"optimizer: {type(built).__name__} evaluates the loss itself, by a closure; choose another")
    return built, float(built.param_groups[0]["lr"])


def schedule(config: Config, *, validate: bool) -> schedules.Schedule:
    """Build the schedule with its warm-up."""
    common, own = divided(config["scheduler"], Warmup)
    share = Warmup(**checked(Warmup, common, "scheduler")).warmup
    curve = target(own, "scheduler", supplied=("progress", "_progress", "val_losses"))
    if "val_losses" not in inspect.signature(curve).parameters:
        return schedules.warmed_up(lambda progress, _losses: curve(progress), share)
    if not validate:
        raise UserError(
            "scheduler=plateau looks at the validation loss, but data.val_fraction=0 leaves no validation split"
        )
    return schedules.warmed_up(curve, share)


def observers(config: Config, given: Mapping[str, Any]) -> list[Any]:
    """Build the observers that are enabled.

    Args:
        config: each entry of `observers` names its class by `_target_`.
        given: what the program hands to those that ask for it by a parameter's name; an observer that asks
            for something that there is not (None, such as the writer of a disabled TensorBoard) is left out.
    """
    built = []
    for name, entry in config["observers"].items():
        on = enabled(config, name)
        if entry is None:
            continue
        own = {k: v for k, v in entry.items() if k != "enabled"}
        cls = located(own, f"observers.{name}")
        wants = {p: given[p] for p in (parameters_of(cls) or {}) if p in given}
        make = target(own, f"observers.{name}", supplied=tuple(wants))
        if on and all(value is not None for value in wants.values()):
            built.append(make(**wants))
    return built


def enabled(config: Config, observer: str) -> bool:
    """Whether an observer is there and not turned off."""
    entry, key = config["observers"].get(observer), f"observers.{observer}"
    if entry is not None and not isinstance(entry, Mapping):
        raise UserError(f"{key}={shown(entry)} should be a section of settings")
    chosen = entry.get("enabled", True) if entry else False
    if not isinstance(chosen, bool):
        raise UserError(f"{key}.enabled={shown(chosen)} should be true or false")
    return chosen


def divided(section: Config, common: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a section's settings into those of the dataclass `common` and the rest."""
    names = {field.name for field in fields(common)}
    return (
        {k: v for k, v in section.items() if k in names},
        {k: v for k, v in section.items() if k not in names},
    )


def located(section: Config, key: str) -> Callable[..., Any]:
    """Import what a section's `_target_` names."""
    path = section.get(TARGET)
    if not isinstance(path, str):
        raise UserError(f"{dotted(key, TARGET)} is missing; it names the function or class to use")
    try:
        found = get_object(path)
    except Exception as error:  # whatever importing a user's module raises
        raise UserError(f"{dotted(key, TARGET)}={path!r} cannot be imported: {first_line(error)}") from error
    if not callable(found):
        raise UserError(f"{dotted(key, TARGET)}={path!r} is no function or class")
    return found


def target(
    section: Config, key: str, *, supplied: tuple[str, ...] = (), ranges: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Return what `_target_` names with the section's settings filled in, and the rest still to be given."""
    function = located(section, key)
    given = {k: v for k, v in section.items() if k not in (TARGET, "_partial_")}
    values = checked(function, given, key, supplied=supplied, ranges=ranges)
    return partial(function, **{k: nested(v, dotted(key, k)) for k, v in values.items()})


def nested(value: Any, key: str) -> Any:
    """Build a nested value that has a `_target_` of its own; return any other as it is."""
    if isinstance(value, Mapping) and TARGET in value:
        try:
            return instantiate(dict(value))
        except Exception as error:  # whatever a user's own code raises
            raise UserError(f"{key} cannot be built: {first_line(error)}") from error
    return value


def call(section: Config, key: str, available: Mapping[str, Any] | None = None) -> Any:
    """Call what `_target_` names with the section's settings and what it asks for of `available`.

    Raises:
        UserError: it refuses with a ValueError or TypeError.
    """
    parameters = parameters_of(located(section, key)) or {}
    wanted = {name: value for name, value in (available or {}).items() if name in parameters}
    function = target(section, key, supplied=tuple(wanted))
    try:
        return function(**wanted)
    except (ValueError, TypeError) as error:
        message = first_line(error)
        name = message.partition("=")[0].partition(" ")[0]
        raise UserError(dotted(key, message) if name in section else f"{key}: {message}") from error


def first_line(error: BaseException) -> str:
    """Return an error's message in one line of a readable length."""
    message = " ".join(str(error).split())
    return f"{message[:600]} ..." if len(message) > 600 else message or type(error).__name__
