"""A run or a stack that needs more memory or open files than there are."""

import errno
import itertools
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.runs.run import PreparedRun, Run
from experiments.training.single import Single
from experiments.training.stack import Stack
from tests.helpers import SMALL, Commands, run_folders, summary, weights

SEVERAL = ("-m", *SMALL, "seed=1,2,3", "observers.layers.enabled=false", "observers.progress.enabled=false")


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")]
)
def test_a_run_without_memory_reports_the_size_that_fits(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real, calls = Single.step, []

    def step(self: Single, *arguments: object) -> object:
        calls.append(1)
        if len(calls) > 4:
            raise error
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Single, "step", step)
    outcome = commands.train(*SMALL)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "the run needs more memory than is free" in outcome.err
    assert "try training.batch_size=16 with training.accumulate=2, a smaller model" in outcome.err
    assert "continues where more memory is free" in outcome.err
    (folder,) = run_folders(commands.folder)
    assert weights(folder)


@pytest.mark.slow
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), OSError(errno.EMFILE, "Too many")])
def test_a_stack_that_is_too_large_is_divided(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = Stack.step

    def step(self: Stack, *arguments: object) -> object:
        if self.members > 2:
            raise error
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Stack, "step", step)
    outcome = commands.train(*SEVERAL)
    assert outcome.code == 0, outcome.err
    assert "3 runs do not fit into one stack; training them as two" in outcome.out
    assert [summary(folder)["status"] for folder in run_folders(commands.folder)] == ["finished"] * 3


@contextmanager
def few_handles(count: int) -> Iterator[None]:
    """Let this process open only a few more files."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    free = (number for number in itertools.count() if number not in held)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, count, None)), most[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


SIX = ("-m", *SMALL, "seed=range(6)", "observers.layers.enabled=false", "observers.progress.enabled=false")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the open files are counted on Linux")
def test_a_stack_whose_files_cannot_all_be_open_is_divided(commands: Commands) -> None:
    assert commands.train(*SMALL).code == 0  # everything is imported
    with few_handles(6):
        outcome = commands.train(*SIX)
    assert outcome.code == 0, outcome.out + outcome.err
    assert re.search(r"6 runs do not fit into one stack; training them as two \(.*Too many open files", outcome.out)
    assert [summary(folder)["status"] for folder in run_folders(commands.folder)] == ["finished"] * 7


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["prepare", "start"])
def test_a_stack_that_is_too_large_before_its_first_step_is_divided(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    owner = Run if stage == "prepare" else PreparedRun
    real, calls = getattr(owner, stage), []

    def limited(self: Any, *arguments: Any) -> Any:
        calls.append(self)
        if len(calls) == 5:  # one measures the largest stack
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self, *arguments)

    monkeypatch.setattr(owner, stage, limited)
    outcome = commands.train(*SIX)
    assert outcome.code == 0, outcome.out + outcome.err
    assert "6 runs do not fit into one stack; training them as two ([Errno 24] Too many open files)" in outcome.out
    assert [summary(folder)["status"] for folder in run_folders(commands.folder)] == ["finished"] * 6
    assert [summary(folder)["trained_together"] for folder in run_folders(commands.folder)] == [3] * 6
