"""Check a checkpoint's file before torch reads it: a small file from a stranger can ask for any amount of memory."""

import pickletools
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from torch import Tensor

SMALL = 2**16
"""Bytes of a tensor that may repeat a value."""
CHECKED = 10**8
"""Bytes of a checkpoint whose content is checked; of a larger one, only the list of its entries is."""

NAMED = re.compile(
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) (set|complex)|_codecs encode"
    r"|torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)|torch\.nn\.parameter Parameter"
    r"|torch (?!Untyped|Typed)\w+Storage|torch (Size|device|[a-z]+\d+|bool)"
)
"""The names that the pickle in a checkpoint may contain. torch's `weights_only` allows more, such as `torch.Tensor`,
which creates a tensor of any size from a number."""


def check_archive(path: Path) -> None:
    """Refuse a file that would take more memory than it has bytes.

    torch writes a zip file of uncompressed entries. It also reads other formats, in which sizes are only declared.

    Raises:
        ValueError: with the reason.
    """
    if not path.is_file():
        raise ValueError("it is not a file")
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != ZIP_STORED for entry in entries):
                raise ValueError("it has compressed entries, which no checkpoint has")
            declared, size = sum(entry.file_size for entry in entries), path.stat().st_size
            if declared > size:
                raise ValueError(f"its entries would take {declared:,} bytes, but the file has {size:,}")
            counts = Counter(entry.filename.lower() for entry in entries)  # torch finds them in either case
            if max(counts.values(), default=0) > 1:
                raise ValueError("it has two entries with the same name")
            for entry in entries:
                if entry.filename.lower().endswith(".pkl"):
                    check_pickle(archive.read(entry))
    except (BadZipFile, NotImplementedError, EOFError, RuntimeError):
        raise ValueError("it is not a readable zip file") from None


def check_whole(path: Path) -> None:
    """Refuse a checkpoint that is damaged; nothing of it is kept in memory.

    Raises:
        ValueError: with the reason.
        OSError: it cannot be read.
    """
    check_archive(path)
    try:
        with ZipFile(path) as archive:
            wrong = archive.testzip() if path.stat().st_size <= CHECKED else None
    except (BadZipFile, NotImplementedError, EOFError, RuntimeError):
        raise ValueError("it is not a readable zip file") from None
    if wrong is not None:
        raise ValueError(f"its entry {wrong} is damaged")


def check_tensors(content: Any) -> None:
    """Refuse tensors that have more values than the file: a stride of 0 repeats one value any number of times.

    Args:
        content: of a checkpoint, as torch reads it.

    Raises:
        ValueError: with the shape of such a tensor.
    """
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, Tensor):
            size, stored = value.numel() * value.element_size(), value.untyped_storage().nbytes()
            if size > max(stored, SMALL):
                shape = tuple(value.shape)
                raise ValueError(f"it has a tensor of shape {shape} with {size:,} bytes, of which it has {stored:,}")


def check_pickle(content: bytes) -> None:
    """Refuse a pickle with names that tensors and plain values do not need.

    Raises:
        ValueError: it has such a name, or is broken.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("STACK_GLOBAL", "INST") or (
            operation.name == "GLOBAL" and not NAMED.fullmatch(str(argument))
        ):
            raise ValueError(f"it names {str(argument or 'something').replace(' ', '.')}, which no checkpoint needs")
