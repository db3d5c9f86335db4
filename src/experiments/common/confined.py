"""Writing into a folder that somebody else may have created: nothing is written through a link to another place."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from .errors import UserError

NO_LINK: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags with which a link is not followed, and a pipe is not waited for."""


def refuse_links(folder: Path, setting: str) -> None:
    """Refuse a folder that contains a link, a pipe or a device: who writes into it would write elsewhere.

    The folder itself may be a link, as the user has typed its path.

    Args:
        folder: of a run or sweep that is going to be continued.
        setting: how the user gave it, such as `resume='outputs/run'`.

    Raises:
        UserError: it contains one.
    """
    for entry in entries(folder):
        if entry.is_symlink():
            raise UserError(f"{entry.path!r} is a link, so {setting} could write elsewhere; replace it by its content")
        if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            raise UserError(f"{entry.path!r} is neither a file nor a folder, so {setting} cannot use it; remove it")


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield everything in a folder and in the folders below it; no link is followed."""
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in sorted(found, key=lambda entry: entry.name):
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:  # nobody can write there either
            continue


def new_file(path: Path) -> BinaryIO:
    """Open a new file for writing; an earlier file or link of this name is removed.

    Raises:
        OSError: it cannot be created.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666), "wb")


def appended(path: Path) -> TextIO:
    """Open a text file to append to it, or a new one.

    A file that has a second name elsewhere is replaced by a copy first.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe or a device.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK, 0o666)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if status.st_nlink > 1:
        os.close(descriptor)
        content = path.read_bytes()
        with new_file(path) as file:
            file.write(content)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | NO_LINK)
    return os.fdopen(descriptor, "a", encoding="utf-8")
