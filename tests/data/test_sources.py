"""Data sources: the .npz layouts and refusals, the digits, and MNIST against its raw bytes."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from experiments.data import memory, sources
from experiments.data.sources import Source, digits, npz, torchvision_set
from tests.helpers import SHARED_DATA, needs_mnist


def saved(folder: Path, **arrays: Any) -> str:
    """Write a sound file of 6 training and 2 test examples, with other arrays in place of its own; None leaves out."""
    sound = {
        "x_train": np.arange(18, dtype=np.float32).reshape(6, 3),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": np.full((2, 3), 0.5, dtype=np.float32),
        "y_test": np.array([2, 0]),
    }
    path = folder / "data.npz"
    np.savez(path, **{name: array for name, array in {**sound, **arrays}.items() if array is not None})
    return str(path)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64, np.int32, np.bool_])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [((7,), (7,)), ((4, 5), (1, 4, 5)), ((4, 5, 1), (1, 4, 5)), ((4, 5, 3), (3, 4, 5))],
    ids=["table", "grey", "one channel", "colour"],
)
def test_layouts(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...], kind: type) -> None:
    noise = np.random.default_rng(0)
    drawn: np.ndarray = noise.integers(0, 2 if kind is np.bool_ else 256, (8, *shape)).astype(kind)
    x_train, x_test = drawn[:6], drawn[6:]
    source = npz(saved(tmp_path, x_train=x_train, x_test=x_test))
    for got, given in ((source.x_train, x_train), (source.x_test, x_test)):
        assert got.shape == (len(given), *expected)
        assert got.dtype == (torch.uint8 if kind is np.uint8 else torch.float32)
        assert got.is_contiguous()
        pixels = np.moveaxis(given, -1, 1) if given.ndim == 4 else given
        assert np.array_equal(got.numpy().reshape(pixels.shape), pixels)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_either_memory_order(tmp_path: Path, order: Any) -> None:
    x = np.arange(6 * 4 * 5 * 3).reshape(6, 4, 5, 3).astype(np.float32)
    source = npz(saved(tmp_path, x_train=np.asarray(x, order=order), x_test=np.asarray(x[:2], order=order)))
    assert torch.equal(source.x_train, torch.from_numpy(x).permute(0, 3, 1, 2))


@pytest.mark.parametrize("column", [False, True], ids=["(n,)", "(n, 1)"])
@pytest.mark.parametrize(
    ("train", "test", "classes", "mapped_train", "mapped_test"),
    [
        ([0, 1, 2, 0, 1, 2], [2, 0], ["0", "1", "2"], [0, 1, 2, 0, 1, 2], [2, 0]),
        ([7, -3, 7, 12, 12, 7], [12, -3], ["-3", "7", "12"], [1, 0, 1, 2, 2, 1], [2, 0]),
        ([5, 5, 5, 5, 5, 5], [5, 5], ["5"], [0] * 6, [0, 0]),
        ([200, 100, 100, 100, 200, 200], [100, 100], ["100", "200"], [1, 0, 0, 0, 1, 1], [0, 0]),
    ],
)
def test_labels_become_class_numbers(
    tmp_path: Path,
    train: list[int],
    test: list[int],
    classes: list[str],
    mapped_train: list[int],
    mapped_test: list[int],
    column: bool,
) -> None:
    y_train, y_test = (np.array(labels)[:, None] if column else np.array(labels) for labels in (train, test))
    source = npz(saved(tmp_path, y_train=y_train, y_test=y_test))
    assert source.classes == classes
    assert source.y_train.tolist() == mapped_train
    assert source.y_test.tolist() == mapped_test
    assert source.y_train.dtype == source.y_test.dtype == torch.int64


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint32, np.int64])
def test_labels_of_any_whole_type(tmp_path: Path, kind: type) -> None:
    source = npz(saved(tmp_path, y_train=np.array([3, 1, 3, 1, 2, 2], dtype=kind), y_test=np.array([1, 2], dtype=kind)))
    assert source.y_train.tolist() == [2, 0, 2, 0, 1, 1]


def test_truth_values_are_two_classes(tmp_path: Path) -> None:
    y = np.array([True, False, True, False, False, True])
    source = npz(saved(tmp_path, y_train=y, y_test=y[:2]))
    assert source.classes == ["0", "1"]
    assert source.y_train.tolist() == [1, 0, 1, 0, 0, 1]


def broken(row: int, value: float) -> np.ndarray:
    x = np.zeros((6, 3), dtype=np.float32)
    x[row:, 1] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y_test": None}, r"data\.npz' has no y_test; it contains x_train, y_train, x_test"),
        ({"x_train": None, "y_train": None}, "has no x_train and no y_train"),
        ({"y_train": np.zeros(6)}, "y_test contains the class 2, which is not in y_train"),
        (
            {"y_train": np.array(list("ababab"))},
            "y_test contains the class 0, .*the training labels are texts, the test labels are numbers",
        ),
        (
            {"y_train": np.zeros(6, dtype=complex)},
            r"y_train has the shape \(6,\) and type complex128; expected one class",
        ),
        ({"y_train": np.eye(6, 2, dtype=int)}, "y_test has 1 columns, but y_train has 2"),
        (
            {"y_train": np.full(6, np.nan) / 1.5},
            "y_train contains nan in example 0; leave out examples without a class",
        ),
        ({"y_train": np.array([0.5, np.nan, 1, 2, 3, 4])}, "y_train has nan in example 1 of 'y'; a target should be"),
        ({"y_test": np.zeros((2, 1, 1), dtype=int)}, r"y_test has the shape \(2, 1, 1\)"),
        ({"y_train": np.array([0, 1, 2])}, "x_train has 6 examples but y_train has 3; the numbers must agree"),
        ({"y_test": np.array([0])}, "x_test has 2 examples but y_test has 1; the numbers must agree"),
        ({"y_test": np.array([0, 9])}, "y_test contains the class 9, which is not in y_train"),
        ({"x_train": broken(4, np.nan)}, "x_train has a value that is not finite in float32, first in example 4"),
        ({"x_train": broken(0, -np.inf)}, "x_train has a value that is not finite in float32, first in example 0"),
        ({"x_test": broken(1, np.inf)[:2]}, "x_test has a value that is not finite in float32, first in example 1"),
        ({"x_train": np.full((6, 2, 2), np.nan)}, "x_train has a value that is not finite"),
        ({"x_train": np.zeros(6)}, r"x_train has the shape \(6,\)"),
        ({"x_train": np.zeros((6, 1, 2, 3, 4))}, r"x_train has the shape \(6, 1, 2, 3, 4\)"),
        ({"x_test": np.zeros((2, 3), dtype=complex)}, "x_test .* type complex128"),
        ({"x_test": np.zeros((2, 4))}, r"the training and test examples have different shapes: \(3,\) and \(4,\)"),
        ({"x_test": np.zeros((2, 3, 3))}, r"have different shapes: \(3,\) and \(1, 3, 3\)"),
    ],
)
def test_unsuitable_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        npz(saved(tmp_path, **arrays))


def test_fractions_are_numbers_unless_classes_are_wanted(tmp_path: Path) -> None:
    path = saved(tmp_path, y_train=np.arange(6) / 2)
    source = npz(path)
    assert (source.kind, tuple(source.targets), source.y_train.tolist()) == (
        "numbers",
        ("y",),
        [[0.0], [0.5], [1.0], [1.5], [2.0], [2.5]],
    )
    with pytest.raises(ValueError, match=r"y_train contains 0\.5 in example 1, which is not a class: .* quantity"):
        npz(path, wanted="classes")


def test_an_empty_training_set_is_refused() -> None:
    none, one = (torch.zeros(n, 2) for n in (0, 1))
    with pytest.raises(ValueError, match=r"x_train is empty: its shape is \(0, 2\)"):
        Source(none, none[:, 0].long(), one, one[:, 0].long(), ["0"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.npz' does not exist; give an \.npz file with x_train"):
        npz(str(tmp_path / "absent.npz"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").touch()
    with pytest.raises(ValueError, match=r"empty\.npz' cannot be read as an \.npz file"):
        npz(str(tmp_path / "empty.npz"))


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"one\.npy' cannot be read as an \.npz file"):
        npz(str(tmp_path / "one.npy"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file: .*directory"):
        npz(str(tmp_path))


def test_garbage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "garbage.npz"
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(ValueError, match=r"cannot be read|pickled"):
        npz(str(path))


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_pickled_objects_are_refused_and_never_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    array = np.array([Trap(mark)] * 6, dtype=object)
    path = saved(tmp_path, **{name: array})
    with pytest.raises(ValueError, match=r"pickle|[Oo]bject"):
        npz(path)
    assert not mark.exists()
    np.load(path, allow_pickle=True)[name]
    assert mark.exists()  # the trap does work


def test_a_bare_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "data.npz"
    path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ValueError, match=r"pickle|cannot be read"):
        npz(str(path))
    assert not mark.exists()


def test_digits_equal_scikit_learns() -> None:
    source, reference = digits(), load_digits()
    assert source.x_train.shape == (1438, 1, 8, 8)
    assert source.x_test.shape == (359, 1, 8, 8)
    assert source.x_train.dtype == torch.uint8
    assert source.classes == [str(digit) for digit in range(10)]
    ours = torch.cat([source.x_train, source.x_test]).flatten(1)
    labelled = torch.cat([ours, torch.cat([source.y_train, source.y_test])[:, None]], 1).tolist()
    theirs = np.column_stack([reference.data, reference.target]).astype(int).tolist()
    assert sorted(labelled) == sorted(theirs)  # every example once, none in both parts


def test_the_digits_test_part_is_stratified_and_always_the_same() -> None:
    first, second = digits(), digits()
    assert torch.equal(first.x_test, second.x_test)
    assert torch.equal(first.y_test, second.y_test)
    tested, all_digits = (torch.bincount(y) for y in (first.y_test, torch.cat([first.y_train, first.y_test])))
    assert float((tested - all_digits * 359 / 1797).abs().max()) < 1


def test_digits_draw_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    digits()
    assert torch.equal(torch.get_rng_state(), before)


def idx(path: Path) -> np.ndarray:
    """Read the IDX format: a magic number that ends with the count of dimensions, the sizes, the bytes."""
    raw = path.read_bytes()
    sizes = struct.unpack_from(f">{raw[3]}I", raw, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


@needs_mnist
def test_mnist_has_the_content_of_its_files() -> None:
    source = torchvision_set("MNIST", str(SHARED_DATA))
    raw = SHARED_DATA / "MNIST" / "raw"
    for x, y, part, count in (
        (source.x_train, source.y_train, "train", 60_000),
        (source.x_test, source.y_test, "t10k", 10_000),
    ):
        assert x.shape == (count, 1, 28, 28)
        assert np.array_equal(x[:, 0].numpy(), idx(raw / f"{part}-images-idx3-ubyte"))
        assert np.array_equal(y.numpy(), idx(raw / f"{part}-labels-idx1-ubyte"))
    assert (source.x_train.dtype, source.y_train.dtype) == (torch.uint8, torch.int64)
    assert len(source.classes) == 10


@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"])
def test_an_absent_torchvision_set_is_refused_with_the_remedy(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ValueError, match=rf"does not contain {kind}, and download=false; .* data\.download=true"):
        torchvision_set(kind, str(tmp_path))  # type: ignore[arg-type]


def test_sizes_are_checked_before_memory_is_used(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    with pytest.raises(ValueError, match=r"x_train\.npy declares 8,796,093,022,208 bytes, but has \d+"):
        sources.read_arrays(str(tmp_path / "huge.npz"), ["x_train"])
    np.savez_compressed(tmp_path / "inflated.npz", x_train=np.zeros(10**6), other=np.zeros(10**6))
    refused = "inflated.npz' needs about 8.0 MB of memory, but limits.memory=1.0 kB"
    with memory.limited(1_000), pytest.raises(ValueError, match=refused):
        sources.read_arrays(str(tmp_path / "inflated.npz"), ["x_train"])
    with memory.limited(9_000_000):
        sources.read_arrays(str(tmp_path / "inflated.npz"), ["x_train"])
