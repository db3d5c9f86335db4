"""No network and no other program while something is built from a configuration that somebody else wrote."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .errors import UserError

REFUSED = {
    "socket.connect": "connect to the network",
    "socket.getaddrinfo": "connect to the network",
    "socket.gethostbyname": "connect to the network",
    "socket.sendto": "connect to the network",
    "socket.sendmsg": "connect to the network",
    "socket.bind": "listen to the network",
    "urllib.Request": "fetch a file",
    "ftplib.connect": "connect to the network",
    "subprocess.Popen": "start a program",
    "os.fork": "start a program",
    "os.forkpty": "start a program",
    "os.startfile": "start a program",
    "os.system": "start a program",
    "os.exec": "start a program",
    "os.posix_spawn": "start a program",
    "os.spawn": "start a program",
    "pty.spawn": "start a program",
    "webbrowser.open": "start a program",
}
"""Python's audit events -> what they mean for a user (https://docs.python.org/3/library/audit_events.html)."""


@dataclass(eq=False)
class _Block:
    """A block in which something is built.

    Args:
        source: of the configuration, for messages.
        others: the threads that were running when it began.
    """

    source: str
    others: frozenset[int] = field(default_factory=lambda: frozenset(sys._current_frames()) - {threading.get_ident()})


_building: ContextVar[_Block | None] = ContextVar("building", default=None)
_blocks: list[_Block] = []
"""The blocks that have not ended, of all threads."""


@contextmanager
def isolated(source: str) -> Iterator[None]:
    """Refuse to reach the network or to start a program inside the block, also in threads that are started meanwhile.

    Args:
        source: where the configuration comes from, for the message.

    Raises:
        UserError: something inside the block tried to.
    """
    _listen()
    block = _Block(source)
    before = _building.set(block)
    _blocks.append(block)
    try:
        yield
    finally:
        _blocks.remove(block)
        _building.reset(before)


@cache
def _listen() -> None:
    """Install the audit hook, once; Python cannot remove one."""
    sys.addaudithook(_check)


def _check(event: str, arguments: tuple[Any, ...], refused: Mapping[str, str] = REFUSED) -> None:
    # A default, because the hook outlives the names of this module when the interpreter ends.
    if event in refused and (block := _block()) is not None:
        what = f" ({arguments[0]!s:.200})" if arguments and isinstance(arguments[0], str) else ""
        raise UserError(
            f"the configuration of {block.source} wants to {refused[event]}{what}; nothing is fetched or started while "
            "a run is restored from its folder"
        )


def _block() -> _Block | None:
    """Return the block that the current thread is in, or that was open when the thread was started."""
    own = threading.get_ident()
    return _building.get() or next((block for block in _blocks if own not in block.others), None)
