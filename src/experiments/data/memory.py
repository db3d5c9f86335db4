"""The memory that a run may take: what is free, or a limit; what needs more is refused before it is built."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of a container."""


REFUSED = re.compile(
    r"can't allocate memory|out of memory|not enough memory|unable to allocate|std::bad_alloc|Cannot allocate memory"
    r"|Storage size calculation overflowed",
    re.IGNORECASE,
)
"""What torch and numpy say if memory is refused."""


class MemoryLimitError(ValueError):
    """Something would need more memory than it may take; the message begins with its name."""


@dataclass(frozen=True)
class Limit:
    """The limit of a run.

    Args:
        size: in bytes; None for the memory that is free.
        settable: whether a user can set it with `limits.memory`.
    """

    size: int | None = None
    settable: bool = False


_limit: ContextVar[Limit] = ContextVar("limit", default=Limit())  # noqa: B039 - it cannot change


@contextmanager
def limited(size: int | None) -> Iterator[None]:
    """Use the limit of a run inside the block.

    Args:
        size: in bytes; None for the memory that is free.
    """
    before = _limit.set(Limit(size, settable=True))
    try:
        yield
    finally:
        _limit.reset(before)


def is_set() -> bool:
    """Whether a user has set the limit."""
    return _limit.get().size is not None


def require(
    needed: int,
    subject: str,
    fits: Callable[[int], str] | None = None,
    *,
    free: int | None = None,
    about: str = "about",
    purpose: str = "",
) -> None:
    """Refuse what needs more memory than it may take.

    Args:
        needed: its bytes.
        subject: its name, such as 'examples=1000'.
        fits: returns the words about what would fit into so many bytes.
        free: free bytes of another device; None for the machine.
        about: the words before the bytes.
        purpose: the words after them.

    Raises:
        MemoryLimitError: with the estimate, the limit and what would fit.
    """
    limit = _limit.get()
    most = limit.size if limit.size is not None else free_memory() if free is None else free
    if most is None or needed <= most:
        return
    name = f"limits.memory={shown(most)}" if limit.size is not None else f"only {shown(most)} is free"
    advice = [] if fits is None else [fits(most)]
    if limit.settable:
        advice.append("limits.memory=<size> sets another limit")
    sentence = f"{subject} needs {about} {shown(needed)} of memory{purpose}, but {name}"
    raise MemoryLimitError("; ".join([sentence, *advice]))


def at_most(size: float, noun: str, fixed: int = 0) -> Callable[[int], str]:
    """Return the function that says how many things would fit.

    Args:
        size: the bytes of each.
        noun: of several.
        fixed: the bytes that do not depend on their number.
    """

    def fits(most: int) -> str:
        count = rounded_down(int(max(0, most - fixed) / size))
        return f"at most {count:,} {noun} would fit" if count else f"not even one of the {noun} would fit"

    return fits


def rounded_down(number: int) -> int:
    """Return a number whose digits after the first two are zeros."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def shown(size: int) -> str:
    """Return a size for people: '512 bytes', '1.5 GB', '120 TB'."""
    if size == 1:
        return "1 byte"
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    if value >= 1e6:
        return f"more than 1,000,000 {UNITS[-1]}"
    return f"{value:,.0f} {UNITS[unit]}" if unit == 0 or value >= 99.5 else f"{value:.1f} {UNITS[unit]}"


def read(text: str) -> int:
    """Return the bytes of a size such as 8GB, 500 MB or 1.5GiB.

    Raises:
        ValueError: it is not a size.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgtpe]?)(i?)b", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError("should be a size such as 8GB or 500MB")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" kmgtpe".index(prefix.lower()) if prefix else 0))


def exceeds_memory(error: BaseException) -> bool:
    """Whether an error means that memory, of the machine or of a GPU, was refused."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        return REFUSED.search(str(error)) is not None
    return isinstance(error, MemoryError)


def exceeds_handles(error: BaseException | None) -> TypeGuard[OSError]:
    """Whether an error means that too many files are open."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def exhausts(error: BaseException) -> bool:
    """Whether an error means that memory or file handles are exhausted."""
    return exceeds_memory(error) or exceeds_handles(error)


def asked_for(error: BaseException) -> str:
    """Return how much memory was asked for, as words in brackets; empty if the error does not show it."""
    asked = re.search(r"tried to allocate ([\d.]+ ?\w+)|unable to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    return f" ({asked[1] or asked[2]} more were asked for)" if asked else ""


def free_memory() -> int | None:
    """Return the bytes that this process can still have: of the machine, its container and its own limit.

    None if the system does not show it.
    """
    found = [size for size in (of_the_machine(), of_the_container(), of_the_process()) if size is not None]
    return max(0, min(found)) if found else None


def of_the_machine() -> int | None:
    """Return the free memory of the machine."""
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return None


def of_the_container() -> int | None:
    """Return what is left of the limit of the process's control group, or of a group above it."""
    left: list[int] = []
    with suppress(OSError, ValueError, IndexError):
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()[-1].split("::", 1)[1].strip("/")
        folder = CGROUP / own
        for group in (folder, *folder.parents):
            with suppress(OSError, ValueError, StopIteration):
                most = int((group / "memory.max").read_text())
                lines = (group / "memory.stat").read_text().splitlines()
                cached = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
                left.append(most - int((group / "memory.current").read_text()) + cached)
            if group == CGROUP:
                break
    return min(left) if left else None


def of_the_process() -> int | None:
    """Return what is left of the limit of the process's address space (`ulimit -v`)."""
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
            return most - pages * os.sysconf("SC_PAGE_SIZE")
    return None
