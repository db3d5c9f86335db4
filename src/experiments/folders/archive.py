"""A checkpoint's file, looked at before torch reads it: a stranger's may be small and ask for any amount of memory."""

import pickletools
import re
from collections import Counter
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

NAMED = re.compile(
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) (set|complex)|_codecs encode"
    r"|torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)|torch\.nn\.parameter Parameter"
    r"|torch (?!Untyped|Typed)\w+Storage|torch (Size|device|[a-z]+\d+|bool)"
)
"""What the pickle in a checkpoint may name. torch allows more where it reads weights alone, such as `torch.Tensor`,
which makes a tensor of any size out of a number."""


def check_archive(path: Path) -> None:
    """Refuse a file that would take more memory than it has bytes.

    torch writes a zip file of entries as they are, and reads other formats too, in which sizes are declared.

    Raises:
        ValueError: says what is wrong with it.
    """
    if not path.is_file():
        raise ValueError("it is no file")
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != ZIP_STORED for entry in entries):
                raise ValueError("it has compressed entries, which no checkpoint has")
            declared, size = sum(entry.file_size for entry in entries), path.stat().st_size
            if declared > size:
                raise ValueError(f"its entries would take {declared:,} bytes, and the file has {size:,}")
            counts = Counter(entry.filename.lower() for entry in entries)  # torch finds them in either case
            if max(counts.values(), default=0) > 1:
                raise ValueError("it has two entries of one name")
            for entry in entries:
                if entry.filename.lower().endswith(".pkl"):
                    check_pickle(archive.read(entry))
    except (BadZipFile, NotImplementedError, EOFError, RuntimeError):
        raise ValueError("it is no zip file that can be read") from None


def check_pickle(content: bytes) -> None:
    """Refuse a pickle that names anything besides what tensors and plain values are made of.

    Raises:
        ValueError: it does, or is broken.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("STACK_GLOBAL", "INST") or (
            operation.name == "GLOBAL" and not NAMED.fullmatch(str(argument))
        ):
            raise ValueError(f"it names {str(argument or 'something').replace(' ', '.')}, which no checkpoint needs")
