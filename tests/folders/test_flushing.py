"""The files of `.hydra/` survive a loss of power: they are flushed to the disk."""

import os
from pathlib import Path
from typing import Any

import pytest

from experiments.common import files
from experiments.folders.hydra import write_composed
from tests.helpers import SMALL, Commands, run_folders

COMPOSED = ("config.yaml", "hydra.yaml", "overrides.yaml")


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The numbers of the files and folders that are flushed one by one."""
    real, numbers = os.fsync, set()

    def fsync(descriptor: int) -> None:
        numbers.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return numbers


def composed(folder: Path) -> set[int]:
    """The numbers of `.hydra/` and its files."""
    return {path.stat().st_ino for path in (folder / ".hydra", *(folder / ".hydra" / name for name in COMPOSED))}


@pytest.mark.parametrize("command", [(), ("-m",)])
def test_the_configuration_of_a_run_is_flushed(commands: Commands, flushed: set[int], command: tuple[str, ...]) -> None:
    assert commands.train(*command, *SMALL, "training.epochs=0").code == 0
    (folder,) = run_folders(commands.folder)
    assert composed(folder) <= flushed


def test_what_a_resume_changes_is_flushed(commands: Commands, copied: Path, flushed: set[int]) -> None:
    assert commands.train(f"resume={copied}", "training.epochs=3").code == 0
    assert {(copied / ".hydra" / name).stat().st_ino for name in ("config.yaml", "overrides.yaml")} <= flushed


def test_the_configurations_of_a_sweep_are_flushed_together(
    commands: Commands, flushed: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def write(*arguments: Any) -> None:
        flushed.clear()
        write_composed(*arguments)
        calls.append(len(flushed))

    monkeypatch.setattr("experiments.sweeps.launch.write_composed", write)
    monkeypatch.setattr("experiments.sweeps.launch.flush_all", lambda: calls.append(-1))
    assert commands.train("-m", *SMALL, "training.epochs=0", "seed=1,2").code == 0
    assert calls == [0, 0, -1]
    assert files._flushing.get()
