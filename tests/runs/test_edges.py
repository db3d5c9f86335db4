"""Values at the limits of the allowed range: each of them once gave a wrong result."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from experiments import assembly, initializers, schedules
from experiments.assembly.parts import Initialization
from experiments.assembly.targets import call
from experiments.common.errors import UserError
from experiments.common.signatures import checked
from experiments.data import preprocess
from experiments.data.sources import Source, npz
from experiments.models.blocks import Dropout
from experiments.models.draws import Draws
from experiments.training.streams import Streams


def saved(path: Path, **arrays: np.ndarray) -> str:
    sound = {
        "x_train": np.random.default_rng(0).normal(size=(40, 30)),
        "y_train": np.arange(40) % 2,
        "x_test": np.ones((2, 30)),
        "y_test": np.array([0, 1]),
    }
    np.savez_compressed(path, **{**sound, **arrays})  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize("p", [1e-10, 1e-12])
def test_a_tiny_dropout_keeps_nearly_everything(p: float) -> None:
    layer = Dropout(p)
    layer.draws = Draws(0)
    assert torch.equal(layer(torch.ones(100)), torch.ones(100))


def test_dropout_of_everything_is_zero() -> None:
    layer = Dropout(1.0)
    layer.draws = Draws(0)
    assert torch.equal(layer(torch.ones(4)), torch.zeros(4))


@pytest.mark.parametrize(("share", "cycles", "steps"), [(0.1, 5, 100), (0.05, 4, 1200), (0.0, 22, 22)])
def test_restarts_are_in_their_step(share: float, cycles: int, steps: int) -> None:
    warmed = schedules.warmed_up(lambda p, _: schedules.cosine_restarts(p, cycles=cycles), share)
    for cycle in range(1, cycles):
        step = share * steps + (1 - share) * steps * cycle / cycles
        assert warmed(round(step) / steps, []) == pytest.approx(1), f"step {step}"


def test_biases_move_no_weights() -> None:
    def last(bias: float | Literal["torch"]) -> torch.Tensor:
        model = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10))
        initializers.initialize(model, initializers.torch_default, torch.Generator().manual_seed(0), bias)
        return model.get_parameter("1.weight").detach()

    assert torch.equal(last(0.0), last("torch"))


@pytest.mark.parametrize("rows", [3, 7, 11])
def test_a_constant_float64_feature_is_only_centred(rows: int) -> None:
    prepared = preprocess.standardize(torch.full((rows, 1), 0.1, dtype=torch.float64))
    assert float(prepared.scale) == 1


@pytest.mark.parametrize("fit", [preprocess.standardize, preprocess.scale])
def test_a_tiny_spread_stays_finite(fit: Callable[[torch.Tensor], preprocess.Affine]) -> None:
    x = torch.tensor([[0.0], [1e-40], [5e-41]])
    assert fit(x)(x).isfinite().all()


def test_corrupt_compressed_bytes_are_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "a.npz"))
    raw = bytearray(path.read_bytes())
    raw[200:260] = b"\xff" * 60
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"cannot be read"):
        npz(str(path))


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "a.npz"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a\.npz' cannot be read"):
        npz(str(path))


def test_garbage_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "g.npz").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"g\.npz' cannot be read"):
        npz(str(tmp_path / "g.npz"))


def test_arrays_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    npz(saved(tmp_path / "a.npz", names=np.array(["cat", None], dtype=object)))


def test_numbers_too_large_for_float32_are_refused_without_a_warning(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x_train .*example 0"):
        npz(saved(tmp_path / "a.npz", x_train=np.full((40, 30), 1e39)))


def test_labels_too_large_for_a_class_number_are_refused(tmp_path: Path) -> None:
    labels = np.array([0, 2**64 - 1] * 20, dtype=np.uint64)
    with pytest.raises(ValueError, match=f"y_train contains {2**64 - 1}, which is too large"):
        npz(saved(tmp_path / "a.npz", y_train=labels))


def test_an_empty_test_part_is_refused() -> None:
    x, y = torch.zeros(4, 2), torch.zeros(4).long()
    with pytest.raises(ValueError, match=r"x_test is empty"):
        Source(x, y, x[:0], y[:0], ["0"])


def test_an_empty_training_part_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x_train is empty"):
        npz(saved(tmp_path / "a.npz", x_train=np.zeros((0, 30)), y_train=np.zeros(0, int)))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.kind='MNST' should be .*did you mean 'data.kind=MNIST'"):
        call({"_target_": "experiments.data.sources.torchvision_set", "kind": "MNST", "root": "x"}, "data")


def test_an_infinite_rate_is_refused() -> None:
    with pytest.raises(UserError, match=r"optimizer\.lr"):
        assembly.optimizer({"optimizer": {"_target_": "torch.optim.SGD", "lr": math.inf}}, nn.Linear(1, 1))


@pytest.mark.parametrize("bias", [math.nan, math.inf])
def test_a_bias_that_is_not_a_number_is_refused(bias: float) -> None:
    with pytest.raises(UserError):
        checked(Initialization, {"bias": bias}, "init")


def test_a_preprocess_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    section = {"_target_": "experiments.data.sources.npz", "path": saved(tmp_path / "a.npz")}
    config = {"data": {**section, "preprocess": {"_target_": "torch.relu"}}}
    with pytest.raises(UserError, match=r"data\.preprocess .*expected a function"):
        assembly.data(config, Streams(0), torch.device("cpu"))


def test_an_optimizer_without_a_rate_is_refused() -> None:
    config = {"optimizer": {"_target_": "tests.runs.test_edges.NoRate"}}
    with pytest.raises(UserError, match="NoRate has no learning rate lr, which the schedule needs"):
        assembly.optimizer(config, nn.Linear(1, 1))


class NoRate(torch.optim.Optimizer):
    """A user's optimizer that nothing can be scheduled in."""

    def __init__(self, params: list[nn.Parameter]) -> None:
        super().__init__(params, {})


def test_examples_without_a_value_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x_train is empty: its shape is \(40, 0\)"):
        npz(saved(tmp_path / "a.npz", x_train=np.zeros((40, 0)), x_test=np.zeros((2, 0))))


def test_more_restarts_than_floats_can_hold_are_refused() -> None:
    scheduler = {"_target_": "experiments.schedules.cosine_restarts", "cycles": 400, "growth": 10.0}
    with pytest.raises(UserError, match=r"scheduler\.cycles=400 should be less than or equal to 100"):
        assembly.schedule({"scheduler": scheduler}, validate=True)
