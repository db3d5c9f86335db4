"""Preparations: parity with scikit-learn and numpy, fitted on the training split alone."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor

from experiments.common.errors import UserError
from experiments.data import preprocess, sources
from experiments.data.preprocess import PREPROCESSES
from tests.data.arrays import arrays

CPU = torch.device("cpu")
EXAMPLES = 5000
AFFINE = [name for name, fit in PREPROCESSES.items() if fit not in (preprocess.pca_whiten, preprocess.zca)]
WHITENINGS = ["pca_whiten", "zca"]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums run over many parts, of which the last is shorter."""
    monkeypatch.setattr(preprocess, "PART", 1000)


def features(dtype: torch.dtype = torch.float32) -> Tensor:
    """Features of different centres and spreads; the last is constant."""
    noise = torch.randn(EXAMPLES, 4, generator=torch.Generator().manual_seed(0))
    values = noise * torch.tensor([1.0, 0.01, 300.0, 0.0]) + torch.tensor([0.0, 5.0, -100.0, 0.1])
    return (values * 10).clamp(0, 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)


def pictures(examples: int = 300) -> Tensor:
    """Bytes whose channels and corners differ."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(examples, 3, 6, 5, generator=generator)
    dimmed = noise * torch.tensor([1.0, 0.5, 0.2])[:, None, None] * torch.linspace(0.3, 1, 5)
    return (dimmed * 256).to(torch.uint8)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize(("name", "reference"), [("standardize", StandardScaler), ("scale", MinMaxScaler)])
def test_tables_agree_with_scikit_learn(name: str, reference: Any, dtype: torch.dtype) -> None:
    x = features(dtype)
    scaler = reference().fit(x.double().numpy())
    prepared = PREPROCESSES[name](x)
    unseen = x[:100] + x[100:200]
    for inputs in (x, unseen):
        expected = scaler.transform(inputs.double().numpy())
        np.testing.assert_allclose(prepared(inputs).numpy(), expected, atol=1e-3 if dtype == torch.float32 else 1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0, -1e6])
def test_a_constant_feature_is_only_moved_to_zero(value: float) -> None:
    x = torch.full((EXAMPLES, 1), value)
    for name in ("standardize", "scale"):
        prepared = PREPROCESSES[name](x)
        assert torch.equal(prepared(x), torch.zeros(EXAMPLES, 1))
        assert float(prepared(x[:1] + 1)) == pytest.approx(1)


def test_standardized_pictures_have_mean_0_and_variance_1_in_each_channel() -> None:
    x = pictures()
    prepared = preprocess.standardize(x)(x).double()
    assert prepared.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert prepared.var((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], rel=1e-6)
    pixel_means = prepared.mean(0)
    assert float((pixel_means - pixel_means.mean((1, 2), keepdim=True)).abs().max()) > 0.1  # per channel, not pixel


def test_channel_mean_of_pictures_agrees_with_numpy() -> None:
    x = pictures()
    expected = x.numpy() - x.numpy().astype(np.float64).mean((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(preprocess.channel_mean(x)(x).numpy(), expected, atol=1e-4)


def test_channel_mean_of_a_table_is_each_features_mean() -> None:
    x = features()
    expected = x.double().numpy() - x.double().numpy().mean(0)
    np.testing.assert_allclose(preprocess.channel_mean(x)(x).numpy(), expected, atol=1e-4)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("x", [pictures(), features()], ids=["pictures", "table"])
def test_pixel_mean_agrees_with_numpy(x: Tensor) -> None:
    expected = x.numpy() - x.numpy().astype(np.float64).mean(0)
    np.testing.assert_allclose(preprocess.pixel_mean(x)(x).numpy(), expected, atol=1e-4)


def test_scaled_pictures_run_from_0_to_1_over_all_pixels() -> None:
    x = pictures() // 2 + 9
    low, high = float(x.min()), float(x.max())
    prepared = preprocess.scale(x)(x)
    np.testing.assert_allclose(prepared.numpy(), (x.numpy() - low) / (high - low), atol=1e-6)
    assert float(prepared[:, 2].max()) < 0.5  # the dim channel stays dim


def test_none_leaves_the_values() -> None:
    x = pictures()
    assert torch.equal(preprocess.none(x)(x), x.float())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("name", list(PREPROCESSES))
def test_the_output_is_float32_and_the_input_does_not_change(name: str, dtype: torch.dtype) -> None:
    x = pictures(50).to(dtype)
    before = x.clone()
    prepared = PREPROCESSES[name](x)
    output = prepared(x)
    assert output.dtype == torch.float32
    assert output.shape == (x.flatten(1).shape if name == "pca_whiten" else x.shape)
    assert torch.equal(x, before)
    torch.testing.assert_close(prepared(x[3:5]), output[3:5])  # a batch is prepared as the whole is
    assert prepared.ahead == (name in WHITENINGS)
    assert not PREPROCESSES[name](x[:, 0, 0, :2]).ahead  # points of a plane stay in their own units


@pytest.mark.parametrize("name", ["standardize", *WHITENINGS])
def test_moving_and_saving_keep_the_numbers(name: str) -> None:
    x = pictures()
    prepared = PREPROCESSES[name](x)
    saved: dict[str, Any] = prepared.state_dict()
    again = replace(prepared, **saved)
    assert torch.equal(again(x), prepared(x))
    assert torch.equal(prepared.to(CPU)(x), prepared(x))


@cache
def digits() -> sources.Source:
    return sources.digits()


def principal_variances(x: Tensor) -> Tensor:
    """The variances along the principal axes, widest first, by singular values of the centred data."""
    centred = x.flatten(1).double()
    return torch.linalg.svdvals(centred - centred.mean(0)) ** 2 / len(x)


def covariance(x: Tensor) -> Tensor:
    return torch.cov(x.flatten(1).double().T, correction=0)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.1])
def test_whitened_coordinates_are_uncorrelated_with_the_variance_of_the_formula(eps: float) -> None:
    x = digits().x_train
    variances = principal_variances(x)
    expected = variances / (variances + eps * variances.mean())
    expected[61:] = 0  # three pixels of the digits are always 0
    whitened = preprocess.pca_whiten(x, eps)(x)
    torch.testing.assert_close(covariance(whitened), expected.diag(), atol=1e-5, rtol=0)
    torch.testing.assert_close(whitened.double().mean(0), torch.zeros(64).double(), atol=1e-5, rtol=0)
    zca = preprocess.zca(x, eps)(x)
    torch.testing.assert_close(torch.linalg.eigvalsh(covariance(zca)).flip(0), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_exact_whitening_agrees_with_scikit_learn_except_for_the_signs(dtype: torch.dtype) -> None:
    x, unseen = digits().x_train.to(dtype), digits().x_test.to(dtype)
    reference = PCA(whiten=True, n_components=61).fit(x.flatten(1).double().numpy())
    whitened = preprocess.pca_whiten(x, eps=0)(unseen)[:, :61].double()
    expected = torch.from_numpy(reference.transform(unseen.flatten(1).double().numpy()))
    expected *= (len(x) / (len(x) - 1)) ** 0.5  # it divides the squares by one less
    signs = (whitened * expected).sum(0).sign()
    torch.testing.assert_close(whitened, expected * signs, atol=1e-3, rtol=1e-3)


def test_zca_is_a_symmetric_map_that_preserves_the_picture() -> None:
    x = digits().x_train
    prepared = preprocess.zca(x)
    torch.testing.assert_close(prepared.matrix, prepared.matrix.T, atol=1e-6, rtol=0)
    assert float(torch.linalg.eigvalsh(prepared.matrix).min()) > -1e-6
    assert prepared(x).shape == x.shape
    centred = x.float() - x.float().mean(0)
    places = torch.stack([prepared(x).flatten(), centred.flatten()])
    assert float(torch.corrcoef(places)[0, 1]) > 0.7  # a digit is still seen


@pytest.mark.parametrize("seed", range(5))
def test_zca_is_nearest_to_the_original_of_all_whitened_data(seed: int) -> None:
    """Any rotation of whitened data is white too, and lies farther from the centred inputs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(500, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    whitened, centred = preprocess.zca(x, eps=0)(x), x - x.mean(0)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    for other in (preprocess.pca_whiten(x, eps=0)(x), whitened @ rotation):
        torch.testing.assert_close(covariance(other), torch.eye(6).double(), atol=1e-4, rtol=0)
        assert float(((whitened - centred) ** 2).sum()) < float(((other - centred) ** 2).sum())


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("name", WHITENINGS)
def test_a_direction_without_variance_is_left_out(name: str, eps: float) -> None:
    """A constant feature, and the difference of two equal ones, are 0 for test examples too."""
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    x[:, 1], x[:, 3] = x[:, 0], 7.0
    fit = {"pca_whiten": preprocess.pca_whiten, "zca": preprocess.zca}[name]
    prepared = fit(x, eps)
    moved = x + torch.tensor([5.0, -5.0, 0.0, 100.0])
    torch.testing.assert_close(prepared(moved), prepared(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", WHITENINGS)
@pytest.mark.parametrize("x", [torch.full((10, 3), 7.0), torch.ones(1, 2, 2, 2), 1e-42 * torch.randn(50, 3)])
def test_whitening_stays_finite(name: str, x: Tensor) -> None:
    assert PREPROCESSES[name](x)(x).isfinite().all()


def test_the_axes_signs_do_not_depend_on_the_library() -> None:
    matrix = preprocess.pca_whiten(digits().x_train).matrix
    assert (matrix.amax(0) >= -matrix.amin(0)).all()


@pytest.mark.parametrize("name", WHITENINGS)
def test_whitening_of_too_many_features_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^preprocess={name} needs .*8,192 .*12,288; use preprocess=standardize$"):
        PREPROCESSES[name](torch.zeros(2, 3, 64, 64))


@pytest.mark.parametrize("shape", [(100_000, 3), (5000, 784), (40, 3, 224, 224), (3, 5_000_000)])
def test_few_values_are_summed_at_a_time(shape: tuple[int, ...]) -> None:
    x = torch.zeros((), dtype=torch.uint8).expand(shape)
    parts = list(preprocess._parts(x))
    assert sum(len(part) for part in parts) == len(x)
    assert all(part.numel() <= 16e6 or len(part) == 1 for part in parts)
    assert len(parts) <= 1 + x.numel() // 1e6 + len(x) * (x[0].numel() > 1e6)


def with_gaps() -> Tensor:
    """A table of which one value in five is missing."""
    x = features()
    return x.masked_fill(torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.2, torch.nan)


@pytest.mark.usefixtures("small_parts")
def test_column_means_agree_with_numpy() -> None:
    x = with_gaps()
    means = preprocess.column_means(x)
    assert means.dtype == torch.float32
    np.testing.assert_allclose(means.numpy(), np.nanmean(x.double().numpy(), 0), rtol=1e-6)


def test_a_column_without_any_value_has_the_mean_0() -> None:
    assert preprocess.column_means(torch.tensor([[1.0, torch.nan], [3.0, torch.nan]])).tolist() == [2.0, 0.0]


@pytest.mark.parametrize("name", ["standardize", "pca_whiten"])
def test_missing_values_are_replaced_before_the_preparation(name: str) -> None:
    x = with_gaps()
    means = preprocess.column_means(x)
    filled = torch.where(x.isnan(), means, x)
    inner = PREPROCESSES[name](filled)
    prepared = preprocess.Imputed(means, inner)
    before = x.clone()
    assert torch.equal(prepared(x), inner(filled))
    assert torch.equal(prepared.to(CPU)(x), inner(filled))
    torch.testing.assert_close(x, before, equal_nan=True)
    assert prepared.ahead == inner.ahead
    assert set(prepared.state_dict()) == {"means", *inner.state_dict()}


def test_a_users_preparation_may_be_a_plain_function() -> None:
    prepared = preprocess.Imputed(torch.tensor([2.0]), torch.sqrt).to(CPU)
    torch.testing.assert_close(prepared(torch.tensor([[torch.nan], [9.0]])), torch.tensor([[2.0**0.5], [3.0]]))
    assert not prepared.ahead
    assert set(prepared.state_dict()) == {"means"}


def write(path: Path, x_train: np.ndarray, x_test: np.ndarray) -> str:
    labels = np.arange(len(x_train)) % 2
    np.savez(path, x_train=x_train, y_train=labels, x_test=x_test, y_test=np.arange(len(x_test)) % 2)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 30])
@pytest.mark.parametrize("name", [name for name in AFFINE if name != "none"])
def test_only_the_training_split_decides(tmp_path: Path, name: str, limit: int | None) -> None:
    """Other validation, test and left-out examples give the same numbers; another training example does not."""
    noise = np.random.default_rng(0)
    x_train, x_test = noise.normal(size=(100, 3)), noise.normal(size=(20, 3))
    x_train[:, 0] = np.arange(100)  # says which row it is
    settings: dict[str, Any] = {"limit": limit, "preprocess": name}
    first = arrays(write(tmp_path / "first.npz", x_train, x_test), **settings)
    rows = first.splits["train"].x[:, 0].long().numpy()
    assert len(rows) == (limit or 80)

    others = np.setdiff1d(np.arange(100), rows)
    changed = x_train.copy()
    changed[others] = 1000 * noise.normal(size=(len(others), 3))
    second = arrays(write(tmp_path / "second.npz", changed, 1000 + x_test), **settings)
    fitted, refitted = (cast(preprocess.Affine, data.splits["test"].prepare) for data in (first, second))
    assert torch.equal(fitted.shift, refitted.shift)
    assert torch.equal(fitted.scale, refitted.scale)
    assert not torch.equal(first.splits["test"].x, second.splits["test"].x)

    changed[rows[0]] += 1000
    third = arrays(write(tmp_path / "third.npz", changed, x_test), **settings)
    moved = cast(preprocess.Affine, third.splits["val"].prepare)
    assert not torch.equal(moved.shift, fitted.shift) or not torch.equal(moved.scale, fitted.scale)


def test_every_split_is_prepared_with_the_same_numbers(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(3, 2, size=(60, 4)).astype(np.float32)
    data = arrays(write(tmp_path / "a.npz", x, x), preprocess="standardize")
    for split in data.splits.values():
        prepared = torch.cat([batch for batch, _ in split.in_order(7)])
        train = data.splits["train"].x.double()
        expected = (split.x.double() - train.mean(0)) / train.std(0, correction=0)
        torch.testing.assert_close(prepared.double(), expected, atol=1e-5, rtol=1e-5)


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", np.zeros((10, 2)), np.zeros((2, 2)))
    with pytest.raises(
        UserError, match=r"unknown data\.preprocess 'standardise'; choose from none, .* 'data.preprocess=standardize'"
    ):
        arrays(path, preprocess="standardise")
