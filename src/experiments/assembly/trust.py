"""Which code a configuration may name: ours, torch's, and what the user trusts."""

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
"""The modules whose functions and classes a configuration may name without being asked about, by its sections: what
reads data may write decoded pictures, so it is no model."""


def untrusted(config: Mapping[str, Any], trust: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield what a configuration names of code that is neither ours nor, by its prefix, trusted: key and value."""
    return (
        (key, value)
        for key, value in targets(config)
        if not trusted(str(value), of_section(key)) and not trusted(str(value), trust, private=True)
    )


def of_section(key: str) -> tuple[str, ...]:
    """Return the modules that are trusted where a key stands."""
    steps = key.split(".")
    return TRUSTED.get(".".join(steps[:2]), TRUSTED.get(steps[0], ()))


def trusted(path: str, prefixes: Sequence[str], *, private: bool = False) -> bool:
    """Whether a dotted path leads into the trusted modules and ends at something that is defined there.

    The second part matters: `torch.nn.init.math` is a way out of `torch.nn`.

    Args:
        path: of a function or class.
        prefixes: of what is trusted.
        private: whether names that begin with an underscore are trusted too.
    """
    from hydra.utils import get_object

    def inside(name: str) -> bool:
        return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)

    if not inside(path) or (not private and any(step.startswith("_") for step in path.split("."))):
        return False
    try:
        found = get_object(path)
    except Exception:  # nothing that can be imported: building it says so
        return True
    return callable(found) and inside(getattr(found, "__module__", None) or "")


def targets(value: Any, key: str = "") -> list[tuple[str, Any]]:
    """Return every `_target_` in a configuration, in lists too, with its key."""
    if isinstance(value, Mapping):
        found = [(f"{key}_target_", value["_target_"])] if "_target_" in value else []
        return found + [hit for name, item in value.items() for hit in targets(item, f"{key}{name}.")]
    if isinstance(value, list):
        return [hit for number, item in enumerate(value) for hit in targets(item, f"{key}{number}.")]
    return []
