"""The lock of a run or sweep: one process at a time writes into its folder."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from experiments.common.confined import appended
from experiments.common.errors import UserError
from experiments.common.foreign import read_json

NAME = ".lock"
HELD = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Lock a folder against other processes inside the block.

    The system releases the lock of a process that ends in any way, so a lock file that is left over does not count.

    Args:
        folder: of the run or sweep.
        what: "run" or "sweep", for the message.

    Raises:
        UserError: another process has locked it, or the lock cannot be written.
    """
    path = folder / NAME
    file = acquired(path, what)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is still locked
        file.close()


def acquired(path: Path, what: str) -> TextIO:
    """Return the open and locked lock file; see `locked`.

    Raises:
        UserError: another process has locked it, or the lock cannot be written.
    """
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = appended(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from None
        try:
            if not lock(file.fileno()) and (other := holder(path)) and may_run(other):
                raise BlockingIOError
        except OSError:
            file.close()
            about = described(holder(path))
            raise UserError(
                f"another process is running the {what} {str(path.parent)!r}{about}; wait until it ends"
            ) from None
        if same_file(path, file):
            break
        file.close()  # its owner has just removed it
    os.ftruncate(file.fileno(), 0)
    own = os.getpid()
    file.write(json.dumps({"host": socket.gethostname(), "pid": own, "started": started_at(own)}) + "\n")
    file.flush()
    return file


def is_locked(folder: Path) -> bool:
    """Whether a process is running the run or sweep in a folder."""
    path = folder / NAME
    try:
        if not path.is_file():
            return False
        with path.open() as file:
            return not lock(file.fileno()) and may_run(holder(path))
    except PermissionError:
        return False
    except OSError:
        return True


def lock(file: int) -> bool:
    """Lock an open file until it is closed; return False if the system cannot.

    Raises:
        OSError: another process has it.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # on Windows
        return False
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise
        return False  # a file system without locks
    return True


def same_file(path: Path, file: TextIO) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except OSError:
        return False


def holder(path: Path) -> dict[str, Any]:
    """Return the host, number and start of the process that has written a lock file; empty if it is not readable."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("pid"), int) else {}


def described(holder: dict[str, Any]) -> str:
    """Return the process and its host for messages, in brackets."""
    return f" (process {holder['pid']} on {str(holder.get('host'))[:60]})" if holder else ""


def may_run(holder: dict[str, Any]) -> bool:
    """Whether the process that has written a lock file may still be running; always true for another host."""
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    return holder["pid"] != os.getpid() and started_at(holder["pid"]) == holder.get("started") is not None


def started_at(process: int) -> str | None:
    """Return the start time of a process, as the system shows it; None if there is no such process."""
    status = Path(f"/proc/{process}/stat")
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return None
        except OSError:
            return "running"
        return "running"
    try:
        return status.read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
