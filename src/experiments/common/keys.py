"""Keys of a configuration."""

from collections.abc import Mapping
from typing import Any


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration as dotted keys: sections too, so that `optimizer` itself is a key."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat[f"{prefix}{name}"] = value
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
    return flat
