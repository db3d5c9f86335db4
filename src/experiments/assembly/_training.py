"""The settings of a run and of its training."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from experiments.common.errors import UserError, nearest
from experiments.common.metrics import MetricName
from experiments.common.signatures import checked, shown
from experiments.training.member import EarlyStopping

from .targets import Config

SECTIONS = ("data", "model", "init", "loss", "penalty", "optimizer", "scheduler", "training", "observers")


@dataclass(frozen=True)
class General:
    """The settings at the top level.

    Args:
        name: the folder below `outputs/`.
        seed: the run's one seed.
        objective: the metric that says which epoch is best, and that a sweep returns.
        check: whether the sanity checks are made before training.
        resume: the run folder to go on with.
        retry_failed: whether a resumed sweep tries its failed runs again.
        sweep: `zip`, lists that a sweep goes through in step.
        trial: of which trial of a search this is a run; see `search`.
        init_from: `path`, whose weights a run begins with, and `replace`, which layers it initializes all the same.
        freeze: what is not trained; see `build.freezing`.
        recipe: what a recipe says of itself; see `recipes`.
        trust: prefixes of code that a resumed configuration may name besides torch and this package.
    """

    name: str | int
    seed: Annotated[int, Ge(0)]
    objective: MetricName
    check: bool = False
    resume: str | None = None
    retry_failed: bool = False
    sweep: dict[str, Any] | None = None
    trial: dict[str, Any] | None = None
    init_from: dict[str, Any] | None = None
    freeze: Any = None
    recipe: dict[str, Any] | None = None
    trust: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """How to train.

    Args:
        epochs: passes over the training split; 0 only prepares and evaluates.
        batch_size: examples a forward and backward pass, and an update where nothing is accumulated.
        accumulate: batches whose gradients make one update.
        eval_batch_size: examples a forward pass in evaluation.
        device: auto (CUDA where there is one), cpu, cuda or cuda:<number>.
        deterministic: refuse kernels whose result depends on chance (only CUDA has some).
        threads: of the CPU; auto chooses from the model's size.
        precision: of the forward and backward pass; fp16 scales the loss so that small gradients do not vanish; fp64
            is for looking at rounding.
        compile: whether to translate the model with `torch.compile`, or its mode.
        channels_last: whether pictures lie in memory with their channels side by side.
        clip_norm: largest norm of the whole gradient.
        clip_value: largest absolute value of a gradient's element.
        ema: decay of the exponential average of the weights, which is then what is validated and kept.
        swa: the first epoch whose weights go into a plain average, which is then what is validated and kept.
        keep_checkpoints: 'every:5' keeps that of every fifth epoch beside the last and the best; null for none.
        early_stopping: patience (in epochs; null for never), metric and min_delta.
    """

    epochs: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Ge(1)]
    accumulate: Annotated[int, Ge(1)] = 1
    eval_batch_size: Annotated[int, Ge(1)] = 1000
    device: str = "auto"
    deterministic: bool = False
    threads: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    precision: Literal["fp32", "fp64", "bf16", "fp16"] = "fp32"
    compile: bool | Literal["default", "reduce-overhead", "max-autotune"] = False
    channels_last: bool = False
    clip_norm: Annotated[float, Gt(0)] | None = None
    clip_value: Annotated[float, Gt(0)] | None = None
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    swa: Annotated[int, Ge(1)] | None = None
    keep_checkpoints: str | int | None = None
    early_stopping: dict[str, Any] | None = None


def sections(config: Config, names: Iterable[str]) -> None:
    """Refuse a configuration in which one of these is no section of settings."""
    for name in names:
        if not isinstance(config.get(name), Mapping):
            raise UserError(f"{name}={shown(config.get(name))} should be a section of settings")


def general(config: Config) -> General:
    """Check the top level's settings."""
    sections(config, SECTIONS)
    settings = General(**checked(General, {k: v for k, v in config.items() if k not in SECTIONS}, ""))
    if not (settings.recipe or {}).get("trains", True):
        name = settings.name
        raise UserError(f"experiment={name} trains nothing; it is made by python -m experiments.reproduce {name}")
    return settings


def training(config: Config) -> Training:
    """Check the training's settings."""
    settings = Training(**checked(Training, config["training"], "training"))
    if settings.ema is not None and settings.swa is not None:
        raise UserError(f"training.ema={settings.ema} and training.swa={settings.swa} both average; leave one null")
    if settings.swa is not None and 0 < settings.epochs < settings.swa:
        raise UserError(f"training.swa={settings.swa} begins after the last of training.epochs={settings.epochs}")
    return settings


def keep_every(settings: Training) -> int | None:
    """Return how many epochs lie between checkpoints that are kept, or None where none are.

    Raises:
        UserError: that is not what `training.keep_checkpoints` says.
    """
    if settings.keep_checkpoints is None:
        return None
    asked = f"training.keep_checkpoints={settings.keep_checkpoints}"
    found = re.fullmatch(r"every:([1-9]\d{0,8})", str(settings.keep_checkpoints))
    if found is None:
        raise UserError(f"{asked} should be every:<epochs>, such as every:5, or null")
    every = int(found[1])
    if 0 < settings.epochs < every:
        raise UserError(f"{asked} keeps none of training.epochs={settings.epochs}")
    return every


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
