"""Sweeps in processes of this machine."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.sweeps._devices import Sharing, local_workers, sharing
from experiments.sweeps._processes import WorkerStop, visible
from tests.helpers import SMALL, Commands, run, run_folders, start_fresh, table

LOCAL = ("hydra.launcher.executor=local", "hydra.launcher.local.workers=2")
SWEPT = ("-m", *SMALL, "training.epochs=240", "model.hidden=[9],[8]", "seed=1,2", "hydra.launcher.max_stack=2")
"""Runs of some seconds: a stack whose process starts first is not done when the other one begins."""


def of_sweep(folder: Path) -> list[dict[str, str]]:
    """Return sweep.csv of the one sweep there is."""
    (path,) = folder.glob("outputs/*/*/sweep.csv")
    return table(path)


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The same sweep in one process."""
    folder = tmp_path_factory.mktemp("inline")
    assert run(folder, *SWEPT).code == 0
    return of_sweep(folder)


def started(folder: Path, until: Callable[[], Any]) -> subprocess.Popen[str]:
    """Start the sweep in processes, in a process group of its own, and wait for something."""
    process = start_fresh(folder, *SWEPT, *LOCAL, start_new_session=True)
    deadline = time.monotonic() + 150
    while not until():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def both_train(folder: Path) -> bool:
    """Whether both stacks have checkpoints."""
    return len(list(folder.glob("outputs/*/*/0[02]_*/checkpoints/last.pt"))) == 2


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Return the worker processes."""
    command = ["pgrep", "-P", str(process.pid), "-f", "spawn_main"]
    return [int(pid) for pid in subprocess.run(command, capture_output=True, text=True).stdout.split()]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_killed_process_is_restarted_from_the_checkpoints(tmp_path: Path, inline: list[dict[str, str]]) -> None:
    process = started(tmp_path, lambda: both_train(tmp_path))
    os.kill(workers(process)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert "a worker was killed: restarting 2 runs from the last checkpoint" in out
    assert of_sweep(tmp_path) == inline


@pytest.mark.slow
@pytest.mark.exhaustive
def test_ctrl_c_stops_all_processes_and_the_sweep_can_be_resumed(tmp_path: Path, inline: list[dict[str, str]]) -> None:
    process = started(tmp_path, lambda: both_train(tmp_path))
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "4 interrupted" in out
    assert "Traceback" not in out + err
    outcome = run(tmp_path, *SWEPT, "resume=latest")
    assert outcome.code == 0, outcome.err
    assert of_sweep(tmp_path) == inline


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_processes_of_a_killed_sweep_stop_and_it_can_be_resumed(
    tmp_path: Path, inline: list[dict[str, str]]
) -> None:
    process = started(tmp_path, lambda: both_train(tmp_path))
    left = workers(process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/fd").exists() for pid in left):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    outcome = run(tmp_path, *SWEPT, "resume=latest")
    assert outcome.code == 0, outcome.err
    assert of_sweep(tmp_path) == inline


@pytest.mark.parametrize(
    ("asked", "devices", "present", "expected"),
    [
        ("auto", {"auto"}, 4, (4, 4)),
        ("auto", {"cuda"}, 2, (2, 2)),
        ("auto", {"auto"}, 0, (3, 0)),
        ("auto", {"cpu"}, 4, (3, 0)),
        ("auto", {"cuda:1"}, 4, (3, 0)),
        (8, {"auto"}, 4, (8, 4)),
        (8, {"cpu"}, 4, (8, 0)),
    ],
)
def test_there_is_a_process_per_gpu_or_core(
    monkeypatch: pytest.MonkeyPatch, asked: Any, devices: set[str], present: int, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr("experiments.training.device.cores", lambda: 3)
    assert local_workers(asked, devices, present) == expected


@pytest.mark.parametrize(
    ("workers", "devices", "present", "expected"),
    [
        (4, "auto", 4, Sharing(4, 1.0)),
        (4, "auto", 2, Sharing(4, 0.5)),
        (2, "auto", 4, Sharing(2, 1.0)),
        (4, "cpu", 0, Sharing(4, 0.25)),
    ],
)
def test_the_processes_share_the_memory(workers: int, devices: str, present: int, expected: Sharing) -> None:
    assert sharing("local", {"workers": workers}, {devices}, present) == expected


def test_a_process_sees_one_of_the_gpus_that_its_parent_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible(1) == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible(1) == "5"


def test_a_process_stops_with_its_parent() -> None:
    stop = WorkerStop()
    assert not stop.requested
    stop.orphaned.set()
    assert stop.requested


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("workers=0", "hydra.launcher.local.workers=0 should be greater than or equal to 1 or 'auto'"),
        ("workers=many", "hydra.launcher.local.workers='many' should be a valid integer or 'auto'"),
        ("max_retries=-1", "hydra.launcher.local.max_retries=-1 should be greater than or equal to 0"),
    ],
)
def test_a_setting_that_is_not_valid(commands: Commands, word: str, said: str) -> None:
    outcome = commands.train("-m", *SMALL, "seed=1,2", LOCAL[0], f"hydra.launcher.local.{word}")
    assert (outcome.code, outcome.err) == (2, f"Error: {said}\n")
    assert not run_folders(commands.folder)
