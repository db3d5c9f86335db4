"""Writing files whole, and reading regular files of limited size; nothing heavy is imported."""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from .confined import new_file
from .scoped import holding

LARGEST = 20_000_000
"""Bytes of a file that is read whole; the metrics of 100,000 epochs take half of it."""


_flushing: ContextVar[bool] = ContextVar("flushing", default=True)


def flushing(now: bool) -> AbstractContextManager[None]:
    """Flush the files that are written inside the block one by one, or leave that to the caller."""
    return holding(_flushing, now)


def flush(file: BinaryIO) -> None:
    """Write an open file to the disk, so that it survives a loss of power, unless the caller does; see `flushing`."""
    file.flush()
    if _flushing.get():
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Write the names of a folder's files to the disk, if the system can and the files are flushed."""
    if not _flushing.get():
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def flush_all() -> None:
    """Write everything to the disk: faster than many files one by one."""
    if hasattr(os, "sync"):
        os.sync()


def write_whole(path: Path, content: bytes, *, flushed: bool = False) -> None:
    """Write a file completely or not at all: first a temporary file in the same folder, which then gets its name.

    Args:
        path: of the file.
        content: of the file.
        flushed: whether it is on the disk before it gets its name, so that it is whole after a loss of power too.

    Raises:
        OSError: it cannot be written; an earlier file of this name is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            file = new_file(temporary)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = new_file(temporary)
        with file:
            file.write(content)
            if flushed:
                flush(file)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # as of a full disk
            error.filename = str(path)
        raise


def write_json(path: Path, content: Mapping[str, Any], *, flushed: bool = False) -> None:
    """Write a JSON file whole or not at all; numbers that JSON does not have (nan, inf) become null."""
    write_whole(path, json.dumps(_finite(content), indent=2, allow_nan=False).encode() + b"\n", flushed=flushed)


def _finite(value: Any) -> Any:
    """Return a value with null instead of the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def put_aside(path: Path) -> Path:
    """Rename a damaged file, so that it is kept and a new one can have its name; return the new path.

    Raises:
        OSError: it cannot be renamed.
    """
    return path.rename(free_name(path))


def free_name(path: Path) -> Path:
    """Return a path that no file has yet, for a damaged file or a part of it."""
    names = (path.with_name(f"{path.name}.damaged{number if number > 1 else ''}") for number in count(1))
    return next(name for name in names if not os.path.lexists(name))


def regular_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or a folder, pipe or device.
    """
    with opened(path, largest) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"{path.name} is larger than {largest:,} bytes")
    return content


def regular_text(path: Path, largest: int = LARGEST) -> str:
    """Return the text of a file, with the ends of its lines as they are.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, a folder, pipe or device, or not text.
    """
    try:
        return regular_bytes(path, largest).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not text") from None


@contextmanager
def opened(path: Path, largest: int = LARGEST) -> Iterator[BinaryIO]:
    """Open a file for reading inside the block; a pipe is not waited for.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is too large, or a folder, pipe or device.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a path could be another file by now
        check_status(path, os.fstat(descriptor), largest)
        yield file


def check_status(path: Path, status: os.stat_result, largest: int) -> None:
    """Refuse what cannot be read to its end.

    Raises:
        ValueError: it is too large, or a folder, pipe or device.
    """
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a regular file")
    if status.st_size > largest:
        raise ValueError(f"{path.name} is larger than {largest:,} bytes")
