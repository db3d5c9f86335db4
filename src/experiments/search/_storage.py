"""The storage of a study: a journal file in the sweep's folder, or a database."""

import atexit
import re
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from experiments.common.errors import UserError

JOURNAL = "study.journal"
SQLITE = "sqlite:///"
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
                raise UserError(f"hydra.sweeper.storage={at!r} cannot be opened: {first_line(error)}") from None
            time.sleep(PAUSE)
    raise AssertionError


def only_study(at: str) -> str | None:
    """Return the name of a storage's study, if it has exactly one."""
    names = [study.study_name for study in opened(at).get_all_studies()]
    return names[0] if len(names) == 1 else None


def new_storage(at: str) -> BaseStorage:
    """Open a database or a journal file."""
    if "://" in at:
        return RDBStorage(at)
    Path(at).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(at))


def first_line(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]
