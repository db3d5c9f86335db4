"""No network and no other program while something is built from a configuration that somebody else wrote."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from .errors import UserError

REFUSED = {
    "socket.connect": "connect to the network",
    "socket.getaddrinfo": "connect to the network",
    "urllib.Request": "fetch a file",
    "ftplib.connect": "connect to the network",
    "subprocess.Popen": "start a program",
    "os.system": "start a program",
    "os.exec": "start a program",
    "os.posix_spawn": "start a program",
    "os.spawn": "start a program",
    "pty.spawn": "start a program",
    "webbrowser.open": "start a program",
}
"""Python's audit events -> what they mean for a user (https://docs.python.org/3/library/audit_events.html)."""
_building: ContextVar[str | None] = ContextVar("building", default=None)


@contextmanager
def isolated(source: str) -> Iterator[None]:
    """Refuse to reach the network or to start a program inside the block.

    Args:
        source: where the configuration comes from, for the message.

    Raises:
        UserError: something inside the block tried to.
    """
    _listen()
    before = _building.set(source)
    try:
        yield
    finally:
        _building.reset(before)


@cache
def _listen() -> None:
    """Install the audit hook, once; Python cannot remove one."""
    sys.addaudithook(_check)


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event in REFUSED and (source := _building.get()) is not None:
        what = f" ({arguments[0]!s:.200})" if arguments and isinstance(arguments[0], str) else ""
        raise UserError(
            f"the configuration of {source} wants to {REFUSED[event]}{what}; nothing is fetched or started while a "
            "run is restored from its folder"
        )
