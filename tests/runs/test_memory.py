"""A run or a stack that needs more memory or open files than there are."""

import errno

import pytest
import torch

from experiments.training.single import Single
from experiments.training.stack import Stack
from tests.helpers import SMALL, Commands, run_folders, summary, weights

SEVERAL = ("-m", *SMALL, "seed=1,2,3", "observers.layers.enabled=false", "observers.progress.enabled=false")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")]
)
def test_a_run_without_memory_says_what_would_fit(
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
