"""A command in a process of its own that is forked after all imports, which take ten times as long as a small run.

Signals, exit codes, files and printed text are those of `python -m experiments.<verb>`.
"""

import os
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from experiments.sweeps import _paying

REPOSITORY = Path(__file__).resolve().parents[1]

_paying.SMALLEST.clear()  # tests of stacks have two or three runs, which are faster one after another

IMPORTED = (
    "experiments.train",
    "experiments.cli.folders",
    "experiments.runs.run",
    "experiments.runs.together",
    "experiments.sweeps.jobs",
    "experiments.sweeps.launch",
    "experiments.search.loop",
    "experiments.models.mlp",
    *(f"experiments.observers.{name}" for name in ("histograms", "layers", "metrics", "pictures", "progress")),
    "experiments.observers.regions",
    "experiments.observers.tensorboard",
    "experiments.compare",
    "experiments.comparison.report",
    "hydra._internal.hydra",
    "hydra._internal.utils",
    "hydra_plugins.experiments_search",
    "hydra_plugins.experiments_sweeps",
    "sklearn.datasets",
    "torch._dynamo",
)
"""What a command imports when it needs it."""


@cache
def _server() -> ForkServerContext:
    """Start the process from which the others are forked."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, *IMPORTED])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.chdir(REPOSITORY)
        ensure_running()
    return context


def _type(verb: str, folder: str, words: Sequence[str], prelude: str, env: dict[str, str], printed: str) -> None:
    """Run the command line in this process."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{printed}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # as the environment has it
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv = [verb, *words]
    warnings.simplefilter("error")
    try:
        exec(prelude, {"__name__": "prelude"})
        import_module(f"experiments.{verb}").main()
    except Exception:
        traceback.print_exc()
        sys.exit(1)


class Forked:
    """A command in a process of its own."""

    def __init__(self, verb: str, folder: Path, words: Sequence[str], prelude: str, env: Mapping[str, str]) -> None:
        self._printed = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self._printed)
        for name in ("out", "err"):
            (self._printed / name).touch()
        arguments = (verb, str(folder), words, prelude, {**os.environ, **env}, str(self._printed))
        self._process: BaseProcess = _server().Process(target=_type, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, as `Popen` does."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def printed(self) -> tuple[str, str]:
        """Return what it has printed to stdout and stderr so far."""
        out, err = ((self._printed / name).read_text() for name in ("out", "err"))
        return out, err

    def wait(self, timeout: float = 240) -> int:
        """Wait for the end, and return the exit code."""
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"process {self.pid} did not end within {timeout} s: {self.printed()}")
        return self.returncode

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Wait for the end, and return what was printed to stdout and stderr."""
        self.wait(timeout)
        return self.printed()


def start(
    folder: Path, *words: str, verb: str = "train", prelude: str = "", env: Mapping[str, str] | None = None
) -> Forked:
    """Start `python -m experiments.<verb>`; warnings are errors.

    Args:
        folder: where it runs.
        words: the rest of the command line.
        prelude: Python to run before the command, in the same process.
        env: added to the environment.
    """
    return Forked(verb, folder, words, prelude, env or {})
