"""The same runs trained as one program and one after another."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.folders.run import RunFolder
from experiments.runs.alone import train
from experiments.runs.job import Job
from experiments.runs.run import Run
from experiments.runs.together import train_together
from experiments.training.stop import Stop
from tests.helpers import composed, metrics, summary, weights

QUIET = ("observers.tensorboard.enabled=false", "observers.pictures.enabled=false", "observers.progress.enabled=false")
DOUBLE = ("training.precision=fp64", "training.epochs=3", "data.limit=150", *QUIET)


def job(folder: Path, overrides: Sequence[str], **changed: Any) -> Job:
    """Return a run as the command line would ask for it."""
    return Job({**composed(*overrides), **changed}, RunFolder(folder), {}, list(overrides))


def together(folder: Path, runs: Sequence[Sequence[str]]) -> tuple[list[Path], list[str]]:
    """Train runs as one program; return their folders and the messages about the stacks."""
    jobs = [job(folder / str(k), overrides) for k, overrides in enumerate(runs)]
    logged: list[str] = []
    failed: list[Run] = []
    train_together(jobs, Stop(), lambda run: failed.append(run) if run.error else None, logged.append)
    assert not [run.error for run in failed], [run.error for run in failed]
    return [job.folder.path for job in jobs], logged


def apart(folder: Path, runs: Sequence[Sequence[str]]) -> list[Path]:
    """Train the same runs one after another."""
    jobs = [job(folder / str(k), overrides) for k, overrides in enumerate(runs)]
    for each in jobs:
        train(each.config, each.folder, overrides=each.overrides)
    return [each.folder.path for each in jobs]


def both_ways(folder: Path, runs: Sequence[Sequence[str]]) -> Iterator[tuple[Path, Path]]:
    """Train runs as one stack and one by one; yield the folder of each lone run and of the same run in the stack."""
    stacked, logged = together(folder / "stack", runs)
    assert not logged
    assert summary(stacked[0])["trained_together"] == len(runs)
    yield from zip(apart(folder / "alone", runs), stacked, strict=True)


def assert_same_run(one: Path, other: Path, tolerance: float = 1e-8) -> None:
    """Fail unless two run folders are equal, except for rounding and the clock."""
    first, second = metrics(one), metrics(other)
    assert len(first) == len(second)
    for row, counterpart in zip(first, second, strict=True):
        assert row.keys() == counterpart.keys()
        for name in row:
            assert float(row[name]) == pytest.approx(float(counterpart[name]), rel=tolerance, abs=tolerance), name
    mine, theirs = summary(one), summary(other)
    assert [v["name"] for v in mine["verdicts"]] == [v["name"] for v in theirs["verdicts"]]
    for name in ("status", "epochs", "steps", "best_epoch", "parameters", "seed"):
        assert mine[name] == theirs[name], name
    for name, value in mine["metrics"].items():
        assert value == pytest.approx(theirs["metrics"][name], rel=tolerance, abs=tolerance), name
    for checkpoint in ("last", "best"):
        for name, tensor in weights(one, checkpoint).items():
            assert torch.allclose(tensor, weights(other, checkpoint)[name], rtol=1e-6, atol=1e-8), name
    layers, others = ({row[:4]: row.value for row in RunFolder(path).read_layers()} for path in (one, other))
    assert layers.keys() == others.keys()
    for key, value in layers.items():
        assert value == pytest.approx(others[key], rel=1e-4, abs=1e-5), key
