"""Repeats that take turns, and processes with their time and memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

IMPORT = "import torch; torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])"
"""The least that a training program does before it begins: the library, and an optimizer of it."""

MIB = 2**20
REPOSITORY = Path(__file__).resolve().parents[1]

LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
seconds = time.perf_counter() - began
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([seconds, usage.ru_maxrss, os.waitstatus_to_exitcode(status), cpu]), file=sys.stderr)
"""
"""Starts a process and reports on it; small itself, because a process counts its parent's peak as its own."""


class SkipError(Exception):
    """A benchmark cannot be run here; the message says what is missing."""


@dataclass(frozen=True)
class Settings:
    """What a benchmark is told.

    Args:
        data: the folder that holds MNIST; None where there is none.
        quick: whether to repeat less often, for a look.
    """

    data: Path | None
    quick: bool

    def repeats(self, number: int) -> int:
        """How often to repeat what is otherwise repeated `number` times."""
        return max(1, number // 4) if self.quick else number

    def mnist(self) -> Path:
        """The folder that holds MNIST.

        Raises:
            SkipError: there is none, or nothing to read it with.
        """
        if self.data is None:
            raise SkipError("no folder with MNIST (torchvision's MNIST/raw); name one with --data")
        if find_spec("torchvision") is None:
            raise SkipError("torchvision is not installed")
        return self.data


def interleaved(actions: Mapping[str, Callable[[], float]], rounds: Mapping[str, int]) -> dict[str, list[float]]:
    """Measure in turns, so that whatever else the machine does falls on all alike.

    Args:
        actions: by name; each returns what it measured.
        rounds: how often each takes part, evenly spread; each round begins with another one.
    """
    samples: dict[str, list[float]] = {name: [] for name in actions}
    total = max(rounds.values())
    for number in range(total):
        names = [name for name in actions if number * rounds[name] % total < rounds[name]]
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(actions[name]())
    return samples


def timed(action: Callable[[], object]) -> Callable[[], float]:
    """Return what does the same and returns how many seconds it took."""

    def measured() -> float:
        began = time.perf_counter()
        action()
        return time.perf_counter() - began

    return measured


def ratios(samples: Mapping[str, Sequence[float]], name: str, other: str) -> list[float]:
    """Return the ratio of one to another in each round: a busy spell falls on both."""
    return [one / two for one, two in zip(samples[name], samples[other], strict=True)]


@dataclass(frozen=True)
class Process:
    """How a process went: wall time and CPU time in seconds, and the peak of its resident memory in bytes."""

    seconds: float
    peak: int
    cpu: float


def process(arguments: Sequence[str], folder: Path | None = None) -> Process:
    """Run Python with these arguments to its end, in a folder or in a temporary one.

    Raises:
        RuntimeError: it ends with another code than 0.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return process(arguments, Path(temporary))
    command = [sys.executable, "-c", LAUNCHER, sys.executable, *arguments]
    # What is measured may import `benchmarks`.
    paths = filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=environment)
    *errors, report = done.stderr.splitlines()
    seconds, peak, code, cpu = json.loads(report)
    if code:
        raise RuntimeError(f"python {' '.join(arguments)} ended with code {code}: {errors[-1] if errors else ''}")
    return Process(seconds, peak if sys.platform == "darwin" else peak * 1024, cpu)
