"""Sources of data. Each function returns a `Source`; so does a user's own function."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from .forms import Description, Form, ImageForm, of_bytes
from .split import stratified

DIGITS_TEST_SHARE = 0.2


@dataclass
class Source:
    """A raw data set: neither split into training and validation examples nor scaled.

    Args:
        x_train, x_test: (examples, features) or (examples, channels, height, width); uint8 or a float type.
        y_train, y_test: (examples,), class numbers from 0, int64.
        classes: the names of the classes, in the order of their numbers.
        impute: whether nan is a missing value, which is replaced by the training split's mean.
        mapped: whether x is a memory-mapped file, which may be larger than memory.
        form: how one of the user's own files becomes such an example; None if only arrays can.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: list[str]
    impute: bool = False
    mapped: bool = False
    form: Form = None

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            if len(x) == 0 or x[0].numel() == 0:
                raise ValueError(f"x_{part} is empty: its shape is {tuple(x.shape)}")
            if len(x) != len(y):
                raise ValueError(f"x_{part} has {len(x)} examples but y_{part} has {len(y)}; the numbers must agree")
            if x.is_floating_point():
                finite = x.isfinite() | x.isnan() if self.impute else x.isfinite()
                if not finite.all():
                    row = int((~finite.flatten(1).all(1)).nonzero()[0])
                    raise ValueError(f"x_{part} has a value that is not finite in float32, first in example {row}")
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            shapes = f"{tuple(self.x_train.shape[1:])} and {tuple(self.x_test.shape[1:])}"
            raise ValueError(f"the training and test examples have different shapes: {shapes}")

    @property
    def description(self) -> Description:
        """The description that a run keeps of the data that it was trained on."""
        return Description(tuple(str(name) for name in self.classes), tuple(self.x_train.shape[1:]), self.form)


def digits() -> Source:
    """8 x 8 pictures of handwritten digits, values 0 to 16, from scikit-learn: 1,438 to train and 359 to test.

    scikit-learn has no test part, so a stratified fifth of the examples, the same for every seed, is used for testing.
    The file is read without importing scikit-learn, because the import would take longer than the training.
    """
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise ValueError(
            "the digits are a file of scikit-learn, which is not installed; run `pip install scikit-learn`"
        )
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path) as file:
        table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.uint8))
    x, y = table[:, :-1].reshape(-1, 1, 8, 8).contiguous(), table[:, -1].long()
    test, train = stratified(y, round(DIGITS_TEST_SHARE * len(y)), torch.Generator().manual_seed(0))
    names = [str(digit) for digit in range(10)]
    return Source(x[train], y[train], x[test], y[test], names, form=ImageForm(white=16, size=8))


def torchvision_set(
    kind: Literal["MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100"], root: str, download: bool = False
) -> Source:
    """A data set of torchvision whose pictures are one array.

    Args:
        kind: MNIST, FashionMNIST, KMNIST, CIFAR10 or CIFAR100.
        root: torchvision's folder for its data sets.
        download: whether to download the data set if it is absent.

    Raises:
        ValueError: the data set is absent, and may not or cannot be downloaded.
    """
    from torchvision import datasets

    try:
        train, test = (getattr(datasets, kind)(root, train=part, download=download) for part in (True, False))
    except RuntimeError as error:
        if download:
            raise ValueError(f"{kind} could not be downloaded into root={root!r}: {error}") from error
        raise ValueError(
            f"root={root!r} does not contain {kind}, and download=false; to download it, add data.download=true"
        ) from None
    except OSError as error:
        raise ValueError(f"{kind} could not be downloaded into root={root!r}: {error}") from error
    x_train, x_test = (channels_first(torch.as_tensor(part.data)) for part in (train, test))
    y_train, y_test = (torch.as_tensor(part.targets).long() for part in (train, test))
    return Source(x_train, y_train, x_test, y_test, [str(name) for name in train.classes], form=of_bytes(x_train))


def npz(path: str) -> Source:
    """A file of arrays in the layout of Keras: x_train, y_train, x_test, y_test.

    Args:
        path: the .npz file. x may be (examples, features), (examples, height, width) or
            (examples, height, width, channels); y has an integer class per example.

    Raises:
        ValueError: the file is absent or unreadable, or an array is missing or unsuitable.
    """
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = read_arrays(path, names)
    x_train, y_train, x_test, y_test = (arrays[name] for name in names)
    for name, array in (("x_train", x_train), ("x_test", x_test)):
        if array.size == 0:
            raise ValueError(f"{name} is empty: its shape is {array.shape}")
    labels = [class_labels(y, name) for y, name in ((y_train, "y_train"), (y_test, "y_test"))]
    values = np.unique(labels[0])
    unknown = np.setdiff1d(labels[1], values)
    if len(unknown):
        raise ValueError(f"y_test contains the class {unknown[0]}, which is not in y_train")
    inputs = channels_first(as_inputs(x_train, "x_train"))
    return Source(
        inputs,
        torch.from_numpy(np.searchsorted(values, labels[0])),
        channels_first(as_inputs(x_test, "x_test")),
        torch.from_numpy(np.searchsorted(values, labels[1])),
        [str(value) for value in values],
        form=of_bytes(inputs),
    )


def read_arrays(path: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of an .npz file; pickled objects are refused.

    Raises:
        ValueError: the file is absent, cannot be read, or lacks an array.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            available = list(getattr(file, "files", ()))
            missing = [name for name in names if name not in available]
            arrays = {name: file[name] for name in names if name in available}
    except FileNotFoundError:
        raise ValueError(f"path={path!r} does not exist; give an .npz file with {', '.join(names)}") from None
    except (OSError, EOFError, ValueError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
        raise ValueError(f"path={path!r} cannot be read as an .npz file: {error}") from None
    if missing:
        contents = ", ".join(available) or "nothing"
        raise ValueError(f"path={path!r} has no {' and no '.join(missing)}; it contains {contents}")
    return arrays


def class_labels(y: np.ndarray, name: str) -> np.ndarray:
    """Return class numbers of shape (examples,) from integers of shape (examples,) or (examples, 1).

    Raises:
        ValueError: the array has another shape or type, or a number is too large.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iub":
        raise ValueError(f"{name} has the shape {y.shape} and type {y.dtype}; expected one integer per example")
    if y.dtype.kind == "u" and y.size and y.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} contains {y.max()}, which is too large for a class number")
    return y.astype(np.int64)


def as_inputs(x: np.ndarray, name: str) -> Tensor:
    """Return inputs as a uint8 or float32 tensor of 2 to 4 dimensions.

    Raises:
        ValueError: the array has another number of dimensions, or does not hold numbers.
    """
    if not 2 <= x.ndim <= 4 or x.dtype.kind not in "iubf":
        raise ValueError(
            f"{name} has the shape {x.shape} and type {x.dtype}; expected numbers of shape (examples, features), "
            "(examples, height, width) or (examples, height, width, channels)"
        )
    if x.dtype != np.uint8:
        with np.errstate(over="ignore"):  # values that overflow float32 are refused later, as not finite
            x = x.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(x))


def channels_first(x: Tensor) -> Tensor:
    """Convert (n, height, width) and (n, height, width, channels) to (n, channels, height, width)."""
    if x.ndim == 3:
        return x.unsqueeze(1)
    return x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
