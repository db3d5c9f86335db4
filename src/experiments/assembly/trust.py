"""The code that a configuration may name: ours, torch's, and modules that the user trusts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TRUSTED = {
    "data": tuple(f"experiments.data.{part}" for part in ("sources", "pictures", "tables", "planes")),
    "data.preprocess": ("experiments.data.preprocess",),
    "data.augment": ("experiments.data.augment",),
    "model": ("experiments.models", "torch.nn", "torchvision.models"),
    "init": ("experiments.initializers", "torch.nn.init"),
    "loss": ("experiments.losses", "torch.nn"),
    "penalty": ("experiments.penalties",),
    "optimizer": ("experiments.optimizers", "torch.optim"),
    "scheduler": ("experiments.schedules",),
    "observers": ("experiments.observers",),
}
"""Section -> the modules whose functions and classes it may name without further trust.

The sections differ because, for example, a function that reads data may write decoded pictures, so it must not be
named as a model.
"""


def untrusted(config: Mapping[str, Any], trust: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the key and value of each `_target_` that is neither ours nor in a trusted module."""
    return (
        (key, value)
        for key, value in targets(config)
        if not trusted(str(value), of_section(key)) and not trusted(str(value), trust, private=True)
    )


def of_section(key: str) -> tuple[str, ...]:
    """Return the modules that are trusted in the section of a key."""
    steps = key.split(".")
    return TRUSTED.get(".".join(steps[:2]), TRUSTED.get(steps[0], ()))


def trusted(path: str, prefixes: Sequence[str], *, private: bool = False) -> bool:
    """Whether a dotted path leads into a trusted module, to a function or class that is defined in one.

    The second part matters: `torch.nn.init.math` leads out of `torch.nn`.

    Args:
        path: the dotted path of a function or class.
        prefixes: the dotted paths of the trusted modules.
        private: whether names that begin with an underscore are trusted too.
    """
    from hydra.utils import get_object

    def inside(name: str) -> bool:
        return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)

    if not inside(path) or (not private and any(step.startswith("_") for step in path.split("."))):
        return False
    try:
        imported = get_object(path)
    except Exception:  # it cannot be imported; building it raises an error that tells so
        return True
    return callable(imported) and inside(getattr(imported, "__module__", None) or "")


def targets(value: Any, key: str = "") -> list[tuple[str, Any]]:
    """Return the key and value of every `_target_` in a configuration, also inside lists."""
    if isinstance(value, Mapping):
        own = [(f"{key}_target_", value["_target_"])] if "_target_" in value else []
        return own + [pair for name, item in value.items() for pair in targets(item, f"{key}{name}.")]
    if isinstance(value, list):
        return [pair for number, item in enumerate(value) for pair in targets(item, f"{key}{number}.")]
    return []
