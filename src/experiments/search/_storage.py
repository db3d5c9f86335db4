"""The storage of a study: a journal file in the sweep's folder, or a database."""

import atexit
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file

from experiments.common.errors import UserError
from experiments.common.files import check_status, free_name, write_whole

JOURNAL = "study.journal"
SQLITE = "sqlite:///"
LARGEST_JOURNAL, TAIL = 2_000_000_000, 100_000
"""Bytes of a journal, and of its end that is checked when it is opened."""
ATTEMPTS, PAUSE = 10, 0.3
"""The number of attempts, and the seconds between them, to open a storage that another process is creating."""


def location(given: Any, folder: Path) -> str:
    """Return the journal's path, or the database's URL, such that a process in another folder can use it.

    Args:
        given: `hydra.sweeper.storage`; null for a journal in the sweep's folder.
        folder: the sweep's.

    Raises:
        UserError: it is neither null nor text.
    """
    if given is None:
        return str((folder / JOURNAL).absolute())
    if not isinstance(given, str) or not given:
        raise UserError(f"hydra.sweeper.storage={given!r} should be null, a file or the URL of a database")
    if given.startswith(SQLITE):
        file = given.removeprefix(SQLITE)
        return given if file in ("", ":memory:") else SQLITE + str(Path(file).absolute())
    return given if "://" in given else str(Path(given).absolute())


_OPEN: dict[str, BaseStorage] = {}
"""The storages that this process has opened, by their locations."""


def opened(at: str) -> BaseStorage:
    """Return a storage; it is opened once per process, and stays open until `close_all`.

    Raises:
        UserError: it cannot be opened.
    """
    if at not in _OPEN:
        _OPEN[at] = _opened(at)
    return _OPEN[at]


@atexit.register
def close_all() -> None:
    """Close every storage that this process has opened."""
    while _OPEN:
        _, storage = _OPEN.popitem()
        if isinstance(storage, RDBStorage):
            storage.remove_session()
            storage.engine.dispose()


def _opened(at: str) -> BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for attempt in range(ATTEMPTS):
        try:
            return new_storage(at)
        except Exception as error:  # whatever the storage's own library raises
            busy = re.search("already exists|locked|UNIQUE constraint", str(error))  # another process is creating it
            if not busy or attempt == ATTEMPTS - 1:
                raise UserError(
                    f"hydra.sweeper.storage={at!r} cannot be opened: {first_line(error)}{hint(at)}"
                ) from None
            time.sleep(PAUSE)
    raise AssertionError


def hint(at: str) -> str:
    """Return what helps if a storage cannot be opened, as the end of a sentence."""
    return "" if "://" in at else "; restore the file from a copy, or start a new search in a new folder"


def only_study(at: str) -> str | None:
    """Return the name of a storage's study, if it has exactly one."""
    names = [study.study_name for study in opened(at).get_all_studies()]
    return names[0] if len(names) == 1 else None


def trials(at: str, name: str) -> int:
    """Return the number of trials of a study; 0 if there is no such study."""
    storage = opened(at)
    ids = [study._study_id for study in storage.get_all_studies() if study.study_name == name]
    return sum(storage.get_n_trials(study) for study in ids)


def new_storage(at: str) -> BaseStorage:
    """Open a database or a journal file."""
    if "://" in at:
        return RDBStorage(at)
    path = Path(at)
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        check_status(path, path.lstat(), LARGEST_JOURNAL)
        if torn(path):
            with get_lock_file(JournalFileSymlinkLock(at)):  # a process that writes it has the lock
                repair(path)
    return JournalStorage(JournalFileBackend(at))


def torn(path: Path) -> bool:
    """Whether a journal does not end with a whole line, as after a full disk or a loss of power.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        return size > 0 and readable_size(file.read()) < min(size, TAIL)


def repair(path: Path) -> None:
    """Keep the whole lines of a journal, write its torn end into a file next to it, and print both names.

    Raises:
        OSError: a file cannot be read or written.
    """
    content = path.read_bytes()
    kept = readable_size(content)
    if kept == len(content):
        return  # another process was writing
    aside = free_name(path)
    write_whole(aside, content[kept:], flushed=True)
    write_whole(path, content[:kept], flushed=True)
    print(
        f"{path.name} ended within a line: its whole lines are kept, and the torn end is now {aside.name}", flush=True
    )


def readable_size(content: bytes) -> int:
    """Return the bytes of a journal, or of its end, up to its last line that is whole JSON, with all lines before it.

    Args:
        content: of the file; if it begins within a line, that line is not checked.
    """
    lines = content.split(b"\n")
    size = len(content) - len(lines[-1])
    for line in reversed(lines[1:-1] if len(lines) > 2 else lines[:-1]):
        try:
            if isinstance(json.loads(line), dict):
                break
        except ValueError:
            pass
        size -= len(line) + 1
    return size


def first_line(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]
