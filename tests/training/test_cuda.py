"""The same code on a CUDA device: `make test-cuda`.

Written from torch's sources; what has been run is in `docs/gpu.md`.
"""

from typing import Any

import pytest
import torch

from experiments.training.single import Single
from tests.helpers import Commands, assert_equal_weights, metrics, needs_cuda, run_folders, summary, weights

pytestmark = needs_cuda
CHOICES = ("training.epochs=3", "data.limit=300", "model.batch_norm=true")


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_cuda_and_the_cpu_have_the_same_results(commands: Commands, model: str) -> None:
    slow = commands.trained(*CHOICES, f"model={model}", "training.device=cpu")
    fast = commands.trained(*CHOICES, f"model={model}", "training.device=cuda")
    assert summary(fast)["device"].startswith("cuda:0 (")
    for one, other in zip(metrics(slow), metrics(fast), strict=True):
        assert float(one["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=0.02)
        assert float(one["val/accuracy"]) == pytest.approx(float(other["val/accuracy"]), abs=0.03)


def test_auto_chooses_cuda(commands: Commands) -> None:
    assert summary(commands.trained(*CHOICES))["device"].startswith("cuda:0")


def test_deterministic_runs_are_equal_to_the_bit(commands: Commands) -> None:
    choices = (*CHOICES, "model=cnn", "model.dropout=0.2", "training.deterministic=true")
    assert_equal_weights(weights(commands.trained(*choices)), weights(commands.trained(*choices)))


def test_dropout_draws_from_the_stream_on_the_device(commands: Commands) -> None:
    before = torch.cuda.get_rng_state()
    first, second = (commands.trained(*CHOICES, "model.dropout=0.4") for _ in range(2))
    assert_equal_weights(weights(first), weights(second))
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_a_data_set_larger_than_the_device_stays_on_the_host(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = commands.trained(*CHOICES)
    monkeypatch.setattr("experiments.data.batches.RESIDENT_SHARE", 0.0)
    moved = commands.trained(*CHOICES)
    for one, other in zip(metrics(resident), metrics(moved), strict=True):
        assert float(one["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=0.02)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
def test_the_step_does_not_wait_for_the_device(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Single.step

    def step(self: Single, *args: object) -> object:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return real(self, *args)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Single, "step", step)
    commands.trained(*CHOICES, "training.clip_norm=1.0")


def test_resume_on_the_device(commands: Commands) -> None:
    choices = (*CHOICES, "model.dropout=0.2", "training.deterministic=true")
    folder = commands.trained(*choices, "training.epochs=1")
    assert commands.train(f"resume={folder}", "training.epochs=3").code == 0
    assert_equal_weights(weights(folder), weights(commands.trained(*choices)))
    assert len(run_folders(commands.folder)) == 2


@pytest.mark.parametrize(
    "choices",
    [
        ("training.precision=bf16",),
        ("training.precision=fp16", "training.clip_norm=1"),
        ("training.precision=fp16", "optimizer=muon"),
        ("training.compile=true",),
        ("training.compile=reduce-overhead", "training.accumulate=2"),
        ("training.channels_last=true", "training.precision=bf16", "training.compile=true"),
        ("data.augment=[crop_flip,cutout,mixup]", "model.dropout=0.2"),
        ("training.ema=0.9", "penalty=l2", "data.balance=class_weights"),
        ("optimizer=lbfgs", "model.dropout=0.2"),
    ],
    ids=" ".join,
)
def test_the_catalogue_learns_on_the_device(commands: Commands, choices: tuple[str, ...]) -> None:
    folder = commands.trained("model=cnn", "model.batch_norm=true", "training.epochs=3", *choices)
    found = summary(folder)
    assert found["status"] == "finished"
    assert found["device"].startswith("cuda:0")
    assert found["metrics"]["val/accuracy"] > 0.3
    assert all(value.isfinite().all() for value in weights(folder).values())


@pytest.mark.parametrize("choice", ["training.precision=bf16", "training.compile=reduce-overhead"])
def test_faster_settings_have_the_same_results(commands: Commands, choice: str) -> None:
    plain, other = commands.trained(*CHOICES, "model=cnn"), commands.trained(*CHOICES, "model=cnn", choice)
    for one, two in zip(metrics(plain), metrics(other), strict=True):
        assert float(one["train/loss"]) == pytest.approx(float(two["train/loss"]), rel=0.05)


def test_a_run_can_be_resumed_on_another_device(commands: Commands) -> None:
    choices = (*CHOICES, "model.dropout=0.2", "training.epochs=1")
    for first, second in (("cpu", "cuda"), ("cuda", "cpu")):
        folder = commands.trained(*choices, f"training.device={first}")
        outcome = commands.train(f"resume={folder}", f"training.device={second}", "training.epochs=3")
        assert outcome.code == 0, outcome.err
        assert "The run was trained on" in outcome.out
        assert summary(folder)["device"].startswith(second)


def test_deterministic_runs_are_possible_after_other_products(commands: Commands) -> None:
    """torch reads the workspace of cuBLAS at the first product."""
    commands.trained(*CHOICES)
    choices = (*CHOICES, "training.deterministic=true")
    assert_equal_weights(weights(commands.trained(*choices)), weights(commands.trained(*choices)))


def test_fp32_is_more_exact_than_tf32(commands: Commands) -> None:
    """The first loss against that in fp64; the devices of the last ten years without TF32 give the same twice."""
    choices = (*CHOICES, "model=cnn", "training.epochs=1")
    losses = {
        precision: float(metrics(commands.trained(*choices, f"training.precision={precision}"))[0]["train/loss"])
        for precision in ("fp64", "fp32", "tf32")
    }
    assert losses["fp32"] == pytest.approx(losses["fp64"], rel=1e-4)
    assert losses["tf32"] == pytest.approx(losses["fp64"], rel=0.02)
    if torch.cuda.get_device_capability() >= (8, 0):
        assert losses["tf32"] != losses["fp32"]


def test_accumulated_gradients_survive_cuda_graphs(commands: Commands) -> None:
    choices = (*CHOICES, "model=cnn", "training.batch_size=16", "training.accumulate=2")
    plain = commands.trained(*choices)
    graphed = commands.trained(*choices, "training.compile=reduce-overhead")
    for one, two in zip(metrics(plain), metrics(graphed), strict=True):
        assert float(one["train/loss"]) == pytest.approx(float(two["train/loss"]), rel=0.05)


def test_data_on_the_host_have_the_same_bits(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is used before its copy is done, or whose memory is reused too early, would show."""
    choices = (*CHOICES, "model=cnn", "training.deterministic=true")
    resident = commands.trained(*choices)
    monkeypatch.setattr("experiments.data.batches.RESIDENT_SHARE", 0.0)
    assert_equal_weights(weights(resident), weights(commands.trained(*choices)))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
@pytest.mark.parametrize(
    "optimizer", ["adam", "muon", "rprop", "rmsprop", "adadelta", "adamax", "asgd", "nadam", "radam"]
)
def test_half_precision_does_not_wait_for_the_device(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    real = Single.step

    def step(self: Single, *args: Any) -> Any:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return real(self, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Single, "step", step)
    commands.trained(*CHOICES, "training.precision=fp16", f"optimizer={optimizer}")
