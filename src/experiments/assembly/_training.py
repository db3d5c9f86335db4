"""The settings of a run and of its training."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from experiments.common.errors import UserError
from experiments.common.meant import pasted
from experiments.common.metrics import AUTO
from experiments.common.signatures import checked, shown
from experiments.common.text import counted
from experiments.data import memory
from experiments.training.member import EarlyStopping

from .targets import Config

SECTIONS = ("data", "model", "init", "loss", "penalty", "optimizer", "scheduler", "training", "observers")


@dataclass(frozen=True)
class General:
    """The settings at the top level; `conf/train.yaml` describes them."""

    name: str | int
    seed: Annotated[int, Ge(0)]
    objective: str
    metrics: Any = AUTO
    check: bool = False
    remedy: bool = False
    resume: str | None = None
    retry_failed: bool = False
    sweep: dict[str, Any] | None = None
    trial: dict[str, Any] | None = None
    init_from: dict[str, Any] | None = None
    freeze: Any = None
    limits: dict[str, Any] | None = None
    recipe: dict[str, Any] | None = None
    trust: tuple[str, ...] | str = ()
    earlier_rates: list[Any] | None = None


@dataclass(frozen=True)
class Limits:
    """The settings of `limits`; `conf/train.yaml` describes them."""

    memory: Annotated[float, Gt(0)] | str | None = None


@dataclass(frozen=True)
class Training:
    """The settings of `training`; `conf/train.yaml` describes them."""

    epochs: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Ge(1)]
    steps: Annotated[int, Ge(0)] | None = None
    max_time: Annotated[float, Gt(0)] | str | None = None
    accumulate: Annotated[int, Ge(1)] = 1
    eval_batch_size: Annotated[int, Ge(1)] = 1000
    evaluate_train: bool = False
    device: str = "auto"
    deterministic: bool = False
    threads: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    precision: Literal["fp32", "tf32", "fp64", "bf16", "fp16"] = "fp32"
    compile: bool | Literal["default", "reduce-overhead", "max-autotune"] = False
    channels_last: bool = False
    clip_norm: Annotated[float, Gt(0)] | None = None
    clip_value: Annotated[float, Gt(0)] | None = None
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    swa: Annotated[int, Ge(1)] | None = None
    validate: str | int | None = None
    keep_checkpoints: str | int | None = None
    early_stopping: dict[str, Any] | None = None


def sections(config: Config, names: Iterable[str]) -> None:
    """Refuse a configuration in which one of these is not a section of settings.

    Raises:
        UserError: names the section.
    """
    for name in names:
        if not isinstance(config.get(name), Mapping):
            raise UserError(f"{name}={shown(config.get(name))} should be a section of settings")


def general(config: Config) -> General:
    """Return the settings at the top level.

    Raises:
        UserError: a setting cannot be used.
    """
    sections(config, SECTIONS)
    settings = General(**checked(General, {k: v for k, v in config.items() if k not in (*SECTIONS, "task")}, ""))
    if not (settings.recipe or {}).get("trains", True):
        name = settings.name
        raise UserError(f"experiment={name} trains no run; start it with python -m experiments.reproduce {name}")
    return settings


def memory_limit(limits: Mapping[str, Any] | None) -> int | None:
    """Return the bytes of `limits.memory`; None for the memory that is free.

    Args:
        limits: the section, or the option of a verb; None for no limit.

    Raises:
        UserError: it is not a size.
    """
    chosen = Limits(**checked(Limits, limits or {}, "limits")).memory
    if not isinstance(chosen, str):
        return None if chosen is None else int(chosen)
    try:
        return memory.read(chosen)
    except ValueError as error:
        raise UserError(f"limits.memory={chosen!r} {error}, or null") from None


def training(config: Config) -> Training:
    """Return the settings of `training`.

    Raises:
        UserError: a setting cannot be used.
    """
    settings = Training(**checked(Training, config["training"], "training"))
    if settings.ema is not None and settings.swa is not None:
        raise UserError(
            f"training.ema={settings.ema} and training.swa={settings.swa} both average the weights; leave one null"
        )
    if settings.swa is not None and settings.steps is None and 0 < settings.epochs < settings.swa:
        raise UserError(f"training.swa={settings.swa} starts after the last of training.epochs={settings.epochs}")
    return settings


@dataclass(frozen=True)
class Interval:
    """How often something happens in training.

    Args:
        count: of the unit, between two times.
        unit: 'epochs' or 'steps'.
    """

    count: int
    unit: Literal["epochs", "steps"]


def interval(key: str, value: str | int | None) -> Interval | None:
    """Return a setting such as every:5, of epochs, or every:200steps; None for null.

    Args:
        key: of the setting.
        value: of the setting.

    Raises:
        UserError: it has another form; the nearest spelling is named.
    """
    if value is None:
        return None
    text = str(value)
    match = re.fullmatch(EVERY, text)
    if match is not None:
        return Interval(int(match[1]), "steps" if match[2] == "steps" else "epochs")
    near = re.fullmatch(LIKE_EVERY, text.strip().lower())
    words: list[str] = []
    if near is not None:
        unit = "steps" if (near[2] or "").startswith(("s", "u", "i", "b")) else ""
        word = f"every:{int(near[1])}{unit}"
        words = [word] if near[2] else [word, f"{word}steps"]
    meant = pasted([f"{key}={word}" for word in words])
    shape = "should be every:<epochs>, such as every:5, or every:<steps>steps, such as every:200steps, or null"
    raise UserError(f"{key}={shown(value)} {shape}{meant}")


EVERY = r"every:([1-9]\d{0,8})(steps|epochs)?"
LIKE_EVERY = (
    r"(?:each|every)?[\s:=_-]*0*([1-9]\d{0,8})\s*[_-]?(s|steps?|epochs?|updates?|batch(?:es)?|iter(?:ation)?s?)?"
)
"""What is probably meant by other spellings, in lower case."""


def kept(settings: Training, steps_per_epoch: int) -> Interval | None:
    """Return how often a checkpoint is kept; None if none is.

    Args:
        settings: of `training`.
        steps_per_epoch: updates per pass over the training split.

    Raises:
        UserError: `training.keep_checkpoints` has another form, or is longer than the training.
    """
    key = "training.keep_checkpoints"
    every = interval(key, settings.keep_checkpoints)
    if every is None:
        return None
    if settings.steps is None:
        length, planned = settings.epochs * steps_per_epoch, f"training.epochs={settings.epochs}"
        more = f", which are {counted(length, 'step')}" if every.unit == "steps" else ""
    else:
        length, planned = settings.steps, f"training.steps={settings.steps}"
        epochs = math.ceil(length / steps_per_epoch)
        more = f", which are {counted(epochs, 'epoch')}" if every.unit == "epochs" else ""
        length = length if every.unit == "steps" else epochs * steps_per_epoch
    if 0 < length < every.count * (steps_per_epoch if every.unit == "epochs" else 1):
        raise UserError(f"{key}={settings.keep_checkpoints} keeps no checkpoint of {planned}{more}")
    return every


def max_seconds(settings: Training) -> float | None:
    """Return `training.max_time` in seconds; None means no limit.

    Raises:
        UserError: it is not a time.
    """
    if not isinstance(settings.max_time, str):
        return settings.max_time
    match = re.fullmatch(TIME, settings.max_time.strip().lower())
    seconds = sum(float(match[name] or 0) * unit for name, unit in UNITS.items()) if match else 0
    if not 0 < seconds < MOST_SECONDS:
        raise UserError(
            f"training.max_time={settings.max_time!r} should be a time such as 90s, 10m, 1h30m or 2d, a number of "
            "seconds, or null"
        )
    return seconds


UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
TIME = r"\s*".join(rf"(?:(?P<{unit}>\d{{1,9}}(?:\.\d{{1,9}})?)\s*{unit})?" for unit in UNITS)
MOST_SECONDS = 1e9


def early_stopping(settings: Training) -> EarlyStopping | None:
    """Build the rule for early stopping, or None if `patience` is null.

    Raises:
        UserError: a setting cannot be used.
    """
    chosen, key = settings.early_stopping or {}, "training.early_stopping"
    never = chosen.get("patience") is None
    rule = EarlyStopping(**checked(EarlyStopping, {**chosen, "patience": 1} if never else chosen, key))
    return None if never else rule
