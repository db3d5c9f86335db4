"""Writing files whole, and reading files that may come from somebody else; nothing heavy is imported."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST = 20_000_000
"""Bytes of a file that is read whole; the metrics of 100,000 epochs take half of it."""


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


def regular_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or no text.
    """
    try:
        return regular_file(path, LARGEST).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is no text") from None


def regular_file(path: Path, largest: int) -> Path:
    """Return the path of a file that can be read to its end.

    Raises:
        OSError: there is none.
        ValueError: it is too large, or a pipe or device.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is no file")
    if status.st_size > largest:
        raise ValueError(f"{path.name} is too large to be one of a run")
    return path
