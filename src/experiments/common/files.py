"""Writing files whole; nothing heavy is imported for it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: beside it first, then in its place by renaming.

    Raises:
        OSError: it cannot be written; a file that was there before is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            beside.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; numbers that JSON does not have (nan, inf) become null."""
    write_whole(path, json.dumps(_finite(content), indent=2, allow_nan=False).encode() + b"\n")


def _finite(value: Any) -> Any:
    """Return a value with null in place of the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
