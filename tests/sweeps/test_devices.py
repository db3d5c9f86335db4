"""Stacks of a sweep on several GPUs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.runs.job import Job
from experiments.runs.together import largest_stack
from experiments.sweeps._devices import Sharing, gpus_of_a_stack, sharing
from tests.emulated_cuda import emulated
from tests.helpers import SMALL, Commands
from tests.stacks import job

RAY: dict[str, Any] = {"address": None, "num_gpus": "auto"}


@pytest.mark.parametrize(
    ("asked", "devices", "present", "gpus"),
    [
        ("auto", {"auto"}, 4, 1),
        ("auto", {"auto", "cuda"}, 1, 1),
        ("auto", {"auto"}, 0, 0),
        ("auto", {"cpu"}, 4, 0),
        ("auto", {"cuda:1"}, 4, 0),
        (0.25, {"auto"}, 4, 0.25),
        (0, {"auto"}, 4, 0),
    ],
)
def test_each_stack_reserves_a_gpu(asked: Any, devices: set[str], present: int, gpus: float) -> None:
    """Otherwise all workers would use the first one."""
    assert gpus_of_a_stack(asked, devices, present) == gpus


@pytest.mark.parametrize(
    ("executor", "ray", "present", "expected"),
    [
        ("ray", RAY, 4, Sharing(4, 1.0)),
        ("ray", {**RAY, "num_gpus": 0.25}, 2, Sharing(8, 0.25)),
        ("ray", {**RAY, "num_gpus": 2}, 4, Sharing(2, 1.0)),
        ("ray", {**RAY, "num_gpus": 0}, 4, Sharing()),
        ("ray", {**RAY, "address": "head:6379"}, 4, Sharing()),
        ("ray", RAY, 0, Sharing()),
        ("inline", RAY, 4, Sharing()),
    ],
)
def test_stacks_share_the_gpus(executor: str, ray: dict[str, Any], present: int, expected: Sharing) -> None:
    assert sharing(executor, ray, {"auto"}, present) == expected


@pytest.mark.parametrize(
    ("stacks", "most", "runs", "largest"), [(4, 256, 64, 16), (1, 256, 64, 64), (4, 8, 64, 8), (8, 9, 3, 1)]
)
def test_a_stack_leaves_runs_for_the_other_gpus(stacks: int, most: int, runs: int, largest: int) -> None:
    assert Sharing(stacks).largest(most, runs) == largest


def test_the_memory_of_a_gpu_is_divided_among_its_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.training.device.free_memory", lambda _device: 8_000_000)
    asked = job(tmp_path, [*SMALL, "training.device=cuda"])
    with emulated():
        alone, shared = largest_stack(asked), largest_stack(asked, 0.25)
    assert alone is not None
    assert shared is not None
    assert 1 < shared < 256
    assert shared == pytest.approx(alone / 4, abs=1)


@pytest.mark.parametrize(
    ("words", "sizes"), [((), [2, 2, 2, 2]), (("hydra.launcher.ray.num_gpus=0.5",), [1] * 8)], ids=str
)
def test_a_sweep_is_cut_by_the_gpus(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sizes: list[int]
) -> None:
    found: list[int] = []

    def train_on_ray(stacks: Sequence[Sequence[Job]], _settings: Any, _on_finish: Callable[..., None]) -> None:
        found.extend(map(len, stacks))

    monkeypatch.setattr("experiments.sweeps._workers.train_on_ray", train_on_ray)
    with emulated(devices=4):
        commands.train("-m", *SMALL, "seed=range(8)", "hydra.launcher.executor=ray", *words)
    assert found == sizes
