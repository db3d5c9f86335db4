"""Keys of a configuration: one table of what each of them means."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Meaning:
    """What a key of the configuration may do.

    Args:
        resume: whether it may change when a run is resumed.
        sweep: whether it may change when a sweep is resumed.
        study: whether it may change when a study is resumed.
        stack: whether it may differ between the members of a stack.
        group: whether runs that differ in it are different groups of a comparison.
    """

    resume: bool = False
    sweep: bool = False
    study: bool = False
    stack: bool = False
    group: bool = True


STRUCTURE = Meaning()
"""Decides what is learnt, and has to be the same for all members of a stack: architecture, data, batches."""
LEARNING = Meaning(stack=True)
"""Decides what is learnt, and each member of a stack has its own."""
SEED = Meaning(stack=True, group=False)
"""Repeats a run."""
ENVIRONMENT = Meaning(resume=True, sweep=True, study=True, group=False)
"""Where and how fast a run computes, and what it keeps: nothing that is learnt. A stack has one of it."""
RECORD = replace(ENVIRONMENT, stack=True)
"""What a run is called, who watches it, and what it belongs to: nothing that is learnt."""
DURATION = Meaning(resume=True)
"""How long a run trains: a resumed run may train longer."""

RATE, EARLIER_RATES = "optimizer.lr", "earlier_rates"
"""The learning rate, and what a run writes that is resumed at another one: earlier rates, each with the epoch after
which it changed."""

MEANINGS: dict[str, Meaning] = {
    "seed": SEED,
    "name": RECORD,
    "check": RECORD,
    "remedy": RECORD,
    "resume": RECORD,
    "retry_failed": RECORD,
    "trust": RECORD,
    "trial": RECORD,
    "recipe": RECORD,
    "earlier_rates": replace(RECORD, group=True),
    "search": RECORD,
    "experiment": RECORD,
    "sweep": replace(RECORD, sweep=False, study=False),
    "observers": RECORD,
    "only": RECORD,
    "limits": ENVIRONMENT,
    "objective": LEARNING,
    "metrics": ENVIRONMENT,
    "task": STRUCTURE,
    "freeze": STRUCTURE,
    "init_from": LEARNING,
    "init": LEARNING,
    "optimizer": LEARNING,
    "optimizer.lr": replace(LEARNING, resume=True),
    "scheduler": LEARNING,
    "scheduler.horizon": RECORD,
    "penalty": LEARNING,
    "loss": STRUCTURE,
    "loss.label_smoothing": LEARNING,
    "loss.margin": LEARNING,
    "loss.delta": LEARNING,
    "loss.positive_weight": LEARNING,
    "model": STRUCTURE,
    "model.dropout": LEARNING,
    "model.input_dropout": LEARNING,
    "surface": STRUCTURE,
    "data": STRUCTURE,
    "data.stateful": STRUCTURE,
    "data.preprocess": LEARNING,
    "data.label_noise": LEARNING,
    "data.balance": LEARNING,
    "data.augment": LEARNING,
    "data.fold": LEARNING,
    "data.cache": ENVIRONMENT,
    "data.root": ENVIRONMENT,
    "data.workers": ENVIRONMENT,
    "data.download": ENVIRONMENT,
    "data.separator": ENVIRONMENT,
    "data.decimal": ENVIRONMENT,
    "data.encoding": ENVIRONMENT,
    "data.unknown": ENVIRONMENT,
    "training": STRUCTURE,
    "training.epochs": DURATION,
    "training.steps": DURATION,
    "training.max_time": DURATION,
    "training.early_stopping": replace(DURATION, stack=True),
    "training.clip_norm": LEARNING,
    "training.clip_value": LEARNING,
    "training.ema": LEARNING,
    "training.swa": LEARNING,
    "training.device": ENVIRONMENT,
    "training.threads": ENVIRONMENT,
    "training.eval_batch_size": ENVIRONMENT,
    "training.evaluate_train": ENVIRONMENT,
    "training.validate": STRUCTURE,
    "training.keep_checkpoints": ENVIRONMENT,
}
"""The meaning of each key, and of all keys below it that have no entry of their own."""


def known(key: str) -> bool:
    """Return whether the table has an entry for a key or for one above it."""
    return any(above in MEANINGS for above in _upward(key))


def meaning(key: str) -> Meaning:
    """Return what a key means; a key that the table does not know, such as a user's own, may change nothing.

    Args:
        key: dotted, such as `training.early_stopping.patience`.
    """
    return next((MEANINGS[above] for above in _upward(key) if above in MEANINGS), STRUCTURE)


AUTOMATIC = ("auto", "experiments.tasks.Auto", "experiments.losses.auto")
"""The values that a run replaces by what they stand for."""


ADDED: Mapping[str, Any] = {
    "training.validate": None,
    "data.stateful": False,
    "model.norm": "none",
    "model.groups": 4,
    "model.residual": False,
    "model.strides": 1,
    "model.depthwise": False,
}
"""Settings that runs of earlier versions lack, with the values that stand for what these runs did."""

EARLIER_CHOICES: Mapping[str, Mapping[str, Any]] = {
    "init=he": {"init._target_": "experiments.initializers.he"},
    "init=xavier_biases": {"init._target_": "experiments.initializers.xavier", "init.bias": "torch"},
    "optimizer=adam": {"optimizer._target_": "torch.optim.Adam", "optimizer.lr": 0.001},
}
"""Choices that were the defaults of earlier versions, with the settings by which a configuration shows this."""


def earlier_choices(saved: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """Return the choices that a run of an earlier version has by default, as overrides that restore them.

    Args:
        saved: the settings of the run, by dotted keys.
        given: the keys of its overrides; a recipe names its choices itself.
    """
    return [
        choice
        for choice, shown in EARLIER_CHOICES.items()
        if not {"experiment", choice.partition("=")[0], *shown} & set(given)
        and all(saved.get(key) == value for key, value in shown.items())
    ]


def key_of(override: str) -> str:
    """Return the key of an override."""
    return override.partition("=")[0].strip().lstrip("+~")


def is_found_again(key: str, saved: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether a key stands for what a resumed run does anyway: what the data show, or what it has always done.

    Args:
        key: dotted.
        saved: the settings of the run, by dotted keys; runs of earlier versions lack some.
        now: the present settings.
    """

    def is_automatic(name: str) -> bool:
        value = now.get(name)
        return isinstance(value, str) and value in AUTOMATIC

    if key not in saved and key in ADDED:
        return bool(now.get(key) == ADDED[key])
    return is_automatic(key) or (key not in saved and is_automatic(f"{key.partition('.')[0]}._target_"))


def _upward(key: str) -> list[str]:
    """Return a key and those above it, the longest first."""
    steps = key.split(".")
    return [".".join(steps[:count]) for count in range(len(steps), 0, -1)]


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration as dotted keys; sections too, so that `optimizer` itself is a key."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat[f"{prefix}{name}"] = value
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
    return flat


def settings(config: Any) -> dict[str, Any]:
    """Return a nested configuration as dotted keys without its sections."""
    return {key: value for key, value in flattened(config).items() if not isinstance(value, Mapping)}
