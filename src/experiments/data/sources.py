"""Sources of data. Each function returns a `Source`; so does a user's own function."""

from __future__ import annotations

import gzip
import math
import re
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO, Literal, cast
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from annotated_types import Gt, Lt
from torch import Tensor

from . import memory
from .forms import ColumnUse, Description, Form, ImageForm, TableForm, TargetForm, of_bytes, sides
from .sequences import PADDING
from .split import stratified
from .streamed import Rows

DIGITS_TEST_SHARE = 0.2
ROUNDED = 1e-4
"""Inputs stay in float64 if float32 would move a value by more than this share of its feature's standard deviation."""
VALUES = 2**20
"""Values that are looked at at a time."""
CHECKED_VALUES = 2**24
"""Values that are checked at a time; the inputs may be larger than memory."""
FEWEST_OF_A_QUANTITY = 20
"""With fewer different numbers, labels are classes."""
RARE = 10
"""Labels that are many different numbers, with fewer examples than this for each, look like a quantity."""
Layout = Literal["nchw", "nhwc"]


@dataclass
class Source:
    """A raw data set: neither split into training and validation examples nor scaled.

    Args:
        x_train, x_test: (examples, features) or (examples, channels, height, width); uint8 or a float type.
        y_train, y_test: (examples,), class numbers from 0, int64; or numbers, (examples,) or (examples, targets), in a
            float type; or labels, (examples, labels), 0 or 1; or tokens, (examples, positions), like x.
        classes: the names of the classes, in the order of their numbers; empty if the targets are none.
        padded: whether x has sequences of unequal lengths; see `data.sequences`.
        impute: whether nan is a missing value, which is replaced by the training split's mean.
        mapped: whether x is a memory-mapped file, which may be larger than memory.
        form: how one of the user's own files becomes such an example; None if only arrays can.
        layout: the order of the axes of pictures in the file; None if it is not known.
        columns: what became of each column of a table.
        notes: sentences for the user about what was found in the file.
        doubts: sentences about what may be a mistake.
        x_val, y_val: the data set's own validation part, as above; None to take one from the training part.
        targets: the names of the numbers or labels.
        kind: the form of the targets; None for what y shows.
        train_rows, test_rows: the rows of the training and the test part that belong to them, if x is the same for
            both; None for all.
        follows: by part, whether each example begins where the one before it ends, (examples,), as the parts of a text
            do; None if examples do not continue each other.
        val_again: whether x_val has the training examples in their order, read in another way; those that are set aside
            from training are then taken from it.
        numbers: by part, the number of each example in the user's file, such as the row of a table from 1; None if they
            are those of the part, from 0.

    Inputs in float64, or in integers that float32 cannot represent, become float32 unless it would round them too much.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: list[str] = field(default_factory=list)
    impute: bool = False
    mapped: bool = False
    form: Form = None
    layout: Layout | None = None
    columns: tuple[ColumnUse, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    x_val: Tensor | None = None
    y_val: Tensor | None = None
    targets: Sequence[str] = ()
    kind: TargetForm | None = None
    train_rows: Tensor | None = None
    test_rows: Tensor | None = None
    padded: bool = False
    follows: Mapping[str, Tensor] | None = None
    val_again: bool = False
    numbers: Mapping[str, Tensor] | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its parts."""
        return ("train", "test") if self.x_val is None else ("train", "val", "test")

    def __post_init__(self) -> None:
        if (self.x_val is None) != (self.y_val is None):
            raise ValueError("a validation part needs both x_val and y_val")
        for part in self.parts:
            check_kinds(getattr(self, f"x_{part}"), getattr(self, f"y_{part}"), part)
        self.kind = self.kind or target_form([getattr(self, f"y_{part}") for part in self.parts])
        for part in self.parts:
            setattr(self, f"y_{part}", of_kind(getattr(self, f"y_{part}"), self.kind, part))
        if self.kind == "classes":
            if not isinstance(self.classes, list | tuple) or not self.classes:
                raise ValueError(f"classes is {self.classes!r:.100}; expected a list of the names of the classes")
        elif self.kind == "tokens":
            check_tokens(self)
        else:
            self.targets = target_names(self.targets or self.classes, self.y_train.shape[1])
            self.classes = []
            check_targets(self)
        if not self.mapped and self.kind != "tokens":
            self.x_train, self.x_test, *rest = of_one_type(*[getattr(self, f"x_{part}") for part in self.ordered])
            self.x_val = rest[0] if rest else None
        first = self.x_train.data_ptr() if isinstance(self.x_train, Tensor) else None
        for part in self.parts:
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            if len(x) == 0 or x[0].numel() == 0:
                raise ValueError(f"x_{part} is empty: its shape is {tuple(x.shape)}")
            if len(x) != len(y):
                raise ValueError(f"x_{part} has {len(x)} examples but y_{part} has {len(y)}; the numbers must agree")
            if self.follows is not None and len(self.follows[part]) != len(x):
                raise ValueError(
                    f"follows[{part!r}] has {len(self.follows[part])} values but x_{part} has {len(x)} examples; the "
                    "numbers must agree"
                )
            same = part != "train" and isinstance(x, Tensor) and x.data_ptr() == first
            if isinstance(x, Tensor) and x.is_floating_point() and not same:
                check_finite(x, part, gaps=self.impute or self.padded)
            if x.shape[1:] != self.x_train.shape[1:]:
                shapes = f"{tuple(self.x_train.shape[1:])} and {tuple(x.shape[1:])}"
                name = {"val": "validation"}.get(part, part)
                raise ValueError(f"the training and {name} examples have different shapes: {shapes}")

    def labels_changed(self, change: Callable[[Tensor], Tensor], **other: Any) -> Source:
        """Return the same data with other labels.

        Args:
            change: returns the new class numbers; those of examples that are left out are -1.
            other: further fields that change.
        """
        labels: dict[str, Any] = {f"y_{part}": change(getattr(self, f"y_{part}")) for part in self.parts}
        return replace(self, **labels, **other)

    def part_of(self, split: str) -> str:
        """Return the part that the examples of a split are from: those set aside for validation are training ones."""
        return "train" if split == "val" and (self.x_val is None or self.val_again) else split

    @property
    def ordered(self) -> tuple[str, ...]:
        """The names of its parts, the validation part last."""
        return ("train", "test", "val")[: len(self.parts)]

    @property
    def description(self) -> Description:
        """The description that a run keeps of the data that it was trained on."""
        return Description(
            tuple(str(name) for name in self.classes),
            tuple(self.x_train.shape[1:]),
            self.form,
            "float64" if self.x_train.dtype == torch.float64 else "float32",
            self.layout,
            tuple(self.columns),
            self.kind or "classes",
            tuple(self.targets),
        )


def check_kinds(x: Any, y: Any, part: str) -> None:
    """Refuse what is no inputs or labels, such as a Dataset.

    Args:
        x, y: of a part of a source.
        part: its name.

    Raises:
        ValueError: with what was expected, and how to convert.
    """
    for name, value in ((f"x_{part}", x), (f"y_{part}", y)):
        if isinstance(value, Tensor | Rows):
            continue
        kind, remedy = type(value).__name__, f"torch.as_tensor({name})"
        if not isinstance(value, np.ndarray | list | tuple):
            remedy = f"such as torch.stack([{name[0]} for {'x, _' if name[0] == 'x' else '_, y'} in dataset])"
        raise ValueError(f"{name} is a {kind}; expected a tensor: {remedy}")
    if x.ndim < 2 or x.is_complex():
        raise ValueError(
            f"x_{part} has the shape {tuple(x.shape)} and type {str(x.dtype).removeprefix('torch.')}; expected numbers "
            "of shape (examples, features) or (examples, channels, height, width)"
        )
    if not 1 <= y.ndim <= 2 or y.is_complex():
        raise ValueError(
            f"y_{part} has the shape {tuple(y.shape)} and type {str(y.dtype).removeprefix('torch.')}; expected a class "
            "number for each example, in int64, or numbers of shape (examples, targets)"
        )


def check_finite(x: Tensor, part: str, *, gaps: bool) -> None:
    """Refuse inputs that are not finite in float32; a part of them is looked at at a time.

    Args:
        x: (examples, ...), in a float type.
        part: its name.
        gaps: whether nan is allowed.

    Raises:
        ValueError: names the first such example.
    """
    rows = max(1, CHECKED_VALUES // x[0].numel())
    for start in range(0, len(x), rows):
        some = x[start : start + rows]
        if some.dtype != torch.float64 and some.sum().isfinite():  # a sum that overflows only costs a closer look
            continue
        single = some.float() if some.dtype == torch.float64 else some
        finite = single.isfinite() | single.isnan() if gaps else single.isfinite()
        if not finite.all():
            row = start + int((~finite.flatten(1).all(1)).nonzero()[0])
            raise ValueError(f"x_{part} has a value that is not finite in float32, first in example {row}")


def target_form(targets: Sequence[Tensor]) -> TargetForm:
    """Return the form of targets: whole numbers are classes, several columns of 0 and 1 are labels.

    Args:
        targets: of each part.
    """
    if all(y.ndim == 1 and not y.is_floating_point() for y in targets):
        return "classes"
    binary = all(y.ndim == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all()) for y in targets)
    return "labels" if binary else "numbers"


def of_kind(y: Tensor, kind: TargetForm, part: str) -> Tensor:
    """Return targets in the type of their form: class numbers in int64, all others as (examples, targets) in float64.

    Raises:
        ValueError: they have another form.
    """
    if kind == "classes":
        if y.ndim != 1 or y.is_floating_point():
            raise ValueError(
                f"y_{part} has the shape {tuple(y.shape)} and type {str(y.dtype).removeprefix('torch.')}; expected a "
                "class number for each example, in int64"
            )
        return y.long()
    if kind == "tokens":
        return y.long()
    return y.double() if y.ndim == 2 else y.double().unsqueeze(1)


def target_names(given: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the names of numbers or labels: y, or y1, y2, ..., if none are given.

    Raises:
        ValueError: there are more or fewer names than targets.
    """
    if given and len(given) != count:
        raise ValueError(f"targets has {len(given)} names, but y has {count} columns")
    return tuple(map(str, given)) or (("y",) if count == 1 else tuple(f"y{n + 1}" for n in range(count)))


def check_targets(source: Source) -> None:
    """Refuse numbers that are not finite, and labels that are not 0 or 1.

    Raises:
        ValueError: names the first one.
    """
    for part in source.parts:
        y = getattr(source, f"y_{part}")
        if len(y) and y.shape[1] != len(source.targets):
            raise ValueError(f"y_{part} has {y.shape[1]} columns, but y_train has {len(source.targets)}")
        bad = (~y.isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            name = source.targets[column]
            raise ValueError(f"y_{part} has {y[row, column]:g} in example {row} of {name!r}; a target should be finite")
        if source.kind == "labels" and not bool(((y == 0) | (y == 1)).all()):
            row, column = ((y != 0) & (y != 1)).nonzero()[0].tolist()
            raise ValueError(
                f"y_{part} has {y[row, column]:g} in example {row} of the label {source.targets[column]!r}; expected 0 "
                "or 1"
            )


def check_tokens(source: Source) -> None:
    """Refuse tokens that are not numbers of the vocabulary.

    Raises:
        ValueError: names the first part with another number or type.
    """
    most = len(source.targets)
    for name in [f"{kind}_{part}" for part in source.parts for kind in "xy"]:
        tokens = getattr(source, name)
        if tokens.dtype != torch.int64 or tokens.ndim != 2:
            raise ValueError(
                f"{name} has the shape {tuple(tokens.shape)} and type {str(tokens.dtype).removeprefix('torch.')}; "
                "expected tokens of shape (examples, positions) in int64"
            )
        least = PADDING if source.padded else 0
        if tokens.numel() and not least <= int(tokens.min()) <= int(tokens.max()) < most:
            low, high = int(tokens.min()), int(tokens.max())
            raise ValueError(f"{name} has tokens from {low} to {high}; expected numbers from 0 to {most - 1}")


def check_labels(source: Source) -> None:
    """Refuse labels that are not numbers of classes.

    Raises:
        ValueError: with the first part in which a label is negative or has no class.
    """
    if source.kind != "classes":
        return
    for part in source.parts:
        y = getattr(source, f"y_{part}")
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= len(source.classes):
            raise ValueError(
                f"y_{part} has class numbers from {low} to {high}, but there are {len(source.classes)} classes; "
                f"expected numbers from 0 to {len(source.classes) - 1}"
            )


def of_one_type(*parts: Tensor) -> tuple[Tensor, ...]:
    """Return inputs in float32 if that rounds those to train on by a negligible amount, otherwise in float64.

    Args:
        parts: (examples, ...) each, first those to train on; inputs in bytes or in float32 stay as they are.
    """
    wide = [x.dtype in (torch.float64, torch.int64, torch.int32, torch.uint32, torch.uint64) for x in parts]
    if wide[0] and parts[0].numel() and rounds(parts[0]):
        return tuple(x.double() for x in parts)
    return tuple(x.float() if far else x for x, far in zip(parts, wide, strict=True))


def rounds(x: Tensor) -> bool:
    """Whether float32 moves a value by more than a negligible share of the spread of its feature.

    Values that are not finite in float32 do not count: they are refused.

    Args:
        x: (examples, ...), at least one.
    """
    count = torch.zeros(x.shape[1:], dtype=torch.float64)
    total, squares, worst = torch.zeros_like(count), torch.zeros_like(count), torch.zeros_like(count)
    origin: Tensor | None = None
    for part in x.split(max(1, VALUES // max(1, x[0].numel()))):
        exact = part.double()
        rounded = exact.float()
        known = rounded.isfinite()
        error = torch.where(known, (exact - rounded).abs(), 0.0)
        worst = worst.maximum(error.amax(0))
        if origin is None:
            origin = torch.where(known[0], exact[0], 0.0)  # near the mean, so that squares do not cancel
        moved = torch.where(known, exact - origin, 0.0)
        count, total, squares = count + known.sum(0), total + moved.sum(0), squares + moved.square().sum(0)
    mean = total / count.clamp(min=1)
    spread = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
    return bool((worst > ROUNDED * spread).logical_and(spread > 0).any())


def lost(x: Tensor, prepared: Tensor) -> tuple[int, int, int] | None:
    """Return the feature that loses most of its values in the preparation: its number, the values before and after.

    Args:
        x: raw inputs of a table in float64, (examples, features).
        prepared: the same in float32, as the model gets them.

    Returns:
        None if every feature keeps more than half of its different values.
    """
    for number, (before, after) in enumerate(zip(x.unbind(1), prepared.unbind(1), strict=True)):
        counts = len(before[~before.isnan()].unique()), len(after[~before.isnan()].unique())
        if 2 * counts[1] <= counts[0]:
            return number, *counts
    return None


def feature_names(form: Form, count: int) -> list[str]:
    """Return the names of the columns that features are from, or their numbers if they are not from a table."""
    if not isinstance(form, TableForm):
        return [f"feature {number}" for number in range(count)]
    return [f"column {c.name!r}" for c in form.columns for _ in range(len(c.texts) if c.kind == "texts" else 1)]


def digits() -> Source:
    """8 x 8 pictures of handwritten digits, values 0 to 16, from scikit-learn: 1,438 to train and 359 to test.

    scikit-learn has no test part, so a stratified fifth of the examples, the same for every seed, is used for testing.
    The file is read without importing scikit-learn, because the import would take longer than the training.

    Raises:
        ValueError: scikit-learn is not installed.
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
    return Source(x[train], y[train], x[test], y[test], names, form=ImageForm(white=16, size=8, background="white"))


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


def npz(
    path: str,
    keys: dict[str, str | None] | None = None,
    layout: Layout | None = None,
    wanted: TargetForm | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] | None = None,
) -> Source:
    """A file of arrays in the layout of Keras: x_train, y_train, x_test, y_test, and perhaps x_val, y_val.

    Args:
        path: the .npz file. x may be (examples, features), (examples, height, width), (examples, height, width,
            channels) or (examples, channels, height, width); y has a class per example: a whole number, a text, or a
            row with a single 1; or numbers, (examples,) or (examples, targets); or labels, (examples, labels).
        keys: the names of the arrays in the file, if they are others: {x_train: train_images, ...}; None as the name of
            x_val or y_val leaves the validation part out.
        layout: nhwc if the channels are the last axis of x, nchw if they are the second; None for what the shape shows.
        wanted: the form of targets that the task learns; None for what y shows.
        test_fraction: for a file without x_test and y_test, the share of the examples to test on, the same ones for
            every seed; None to refuse such a file.

    Raises:
        ValueError: the file is absent or unreadable, or an array is missing or unsuitable.
    """
    keys = keys or {}
    for key in keys:
        if key not in (*NAMES, *VALIDATION):
            raise ValueError(
                f"keys={keys} has {key!r}, which no data set has; choose from {', '.join((*NAMES, *VALIDATION))}"
            )
        if keys[key] is None and key not in VALIDATION:
            raise ValueError(f"keys={keys} leaves out {key}; only x_val and y_val can be left out")
    called = {name: keys.get(name) or name for name in (*NAMES, *VALIDATION)}
    optional = [] if None in (keys.get(name, name) for name in VALIDATION) else [called[name] for name in VALIDATION]
    needed, groups = [called[name] for name in NAMES], []
    if test_fraction is not None:
        needed, groups = needed[:2], [needed[2:]]
    if optional and keys.keys() & set(VALIDATION):
        needed += optional
    elif optional:
        groups.append(optional)
    try:
        arrays, notes = read_arrays(path, needed, groups)
    except MissingArraysError as error:
        raise ValueError(without_test(path, error.available, called) or str(error)) from None
    numbers: dict[str, Tensor] | None = None
    if test_fraction is not None and called["x_test"] in arrays:
        notes.append(f"{Path(path).name} has a test part; data.test_fraction={test_fraction} is not used")
    elif test_fraction is not None:
        arrays, note, numbers = with_test_drawn(arrays, called, test_fraction, wanted)
        notes.append(f"{Path(path).name} {note}")
    parts = ["train", "test", *(["val"] if called["x_val"] in arrays and optional else [])]
    own = {name: arrays[called[name]] for name in (*NAMES, *VALIDATION) if name[2:] in parts}
    return of_arrays(own, called, parts, layout=layout, wanted=wanted, notes=notes, file_numbers=numbers)


def of_arrays(
    arrays: Mapping[str, Any],
    called: Mapping[str, str],
    parts: Sequence[str],
    *,
    layout: Layout | None = None,
    wanted: TargetForm | None = None,
    notes: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    mapped: bool = False,
    rows: tuple[Tensor | None, Tensor | None] = (None, None),
    padded: bool = False,
    val_again: bool = False,
    file_numbers: Mapping[str, Tensor] | None = None,
) -> Source:
    """Build a source of the arrays x and y of its parts.

    Args:
        arrays: by our own names: x_train, y_train and so on.
        called: the user's names of the arrays, by our own.
        parts: train, test and perhaps val.
        layout, wanted: see `npz`.
        notes: sentences about the arrays.
        classes: the names of the classes, if the labels are their numbers; None for the names that the labels show.
        mapped: whether the inputs are in files that are mapped into memory, and are not copied.
        rows: of the training and the test part, see `with_test_rows`; None if each part has arrays of its own.
        padded, val_again: see `Source`.
        file_numbers: the numbers of the examples, see `Source.numbers`.

    Raises:
        ValueError: an array is unsuitable.
    """
    notes = list(notes)
    for part in parts:
        array = arrays[f"x_{part}"]
        if not isinstance(array, Rows) and array.size == 0:
            raise ValueError(f"{called[f'x_{part}']} is empty: its shape is {array.shape}")
    labels = {part: arrays[f"y_{part}"] for part in parts}
    kind = wanted or array_form(list(labels.values()))

    def prepared(part: str, layout: Layout | None) -> tuple[Tensor, Layout | None]:
        """Return the inputs of a part, with the channels as the second axis."""
        name = called[f"x_{part}"]
        x = as_inputs(arrays[f"x_{part}"], name, mapped=mapped)
        return (x, layout) if isinstance(x, Rows) else oriented(x, name, layout, mapped=mapped)

    inputs, order = prepared("train", layout)
    if kind != "classes":
        wide = {part: as_targets(array, called[f"y_{part}"]) for part, array in labels.items()}
        x = {part: prepared(part, layout or order)[0] for part in parts}
        if kind == "numbers" and wanted is None:
            notes += [*few_numbers(wide["train"], called["y_train"]), *shares(wide["train"], called["y_train"])]
        check_scales(inputs, x, called)
        return Source(
            inputs, wide["train"], x["test"], wide["test"], form=of_bytes(inputs), layout=order, notes=tuple(notes),
            x_val=x.get("val"), y_val=wide.get("val"), kind=kind, mapped=mapped, train_rows=rows[0], test_rows=rows[1],
            padded=padded, val_again=val_again, numbers=file_numbers,
        )  # fmt: skip
    if classes is not None and all(are_numbers(y, len(classes)) for y in labels.values()):
        names, numbers = list(classes), [y.reshape(-1).astype(np.int64) for y in labels.values()]
    else:
        names, numbers = numbered(*(class_texts(y, called[f"y_{part}"]) for part, y in labels.items()))
    for part, y in zip(parts[1:], numbers[1:], strict=True):
        unknown = np.setdiff1d(y, numbers[0])
        if len(unknown):
            hint = different_labels(labels["train"], labels[part])
            if not hint and quantity(names, len(numbers[0]), called["y_train"]) is not None:
                hint = "; it looks like a quantity: try task=regression"
            own = called[f"y_{part}"]
            raise ValueError(f"{own} contains the class {names[unknown[0]]}, which is not in {called['y_train']}{hint}")
    tested, validated = (prepared(part, layout or order)[0] if part in parts else None for part in ("test", "val"))
    assert tested is not None
    check_scales(inputs, {"test": tested, "val": validated}, called)
    if order == "nchw" and layout is None:
        notes.append(f"{called['x_train']} is read as {sides(inputs.shape[1:])}: channels, height, width")
    doubt = quantity(names, len(numbers[0]), called["y_train"])
    return Source(
        inputs,
        torch.from_numpy(numbers[0]),
        tested,
        torch.from_numpy(numbers[1]),
        names,
        form=of_bytes(inputs),
        layout=order,
        notes=tuple(notes),
        doubts=() if doubt is None else (doubt,),
        x_val=validated,
        y_val=None if validated is None else torch.from_numpy(numbers[2]),
        mapped=mapped,
        train_rows=rows[0],
        test_rows=rows[1],
        padded=padded,
        val_again=val_again,
        numbers=file_numbers,
    )


NAMES = ("x_train", "y_train", "x_test", "y_test")
VALIDATION = ("x_val", "y_val")
PART_WORDS = {"val": ("val", "valid", "validation", "dev")}
"""What people call a part, if it is not its name."""
WORDS = {
    "x": ("x", "images", "image", "data", "features", "inputs"),
    "y": ("y", "labels", "label", "targets", "target"),
}
"""What people call inputs and labels."""
MAGIC = b"\x93NUMPY"
"""The first bytes of a .npy file."""


class MissingArraysError(ValueError):
    """An .npz file lacks arrays.

    Args:
        sentence: about them.
        available: the names of the arrays in the file.
    """

    def __init__(self, sentence: str, available: Sequence[str]) -> None:
        super().__init__(sentence)
        self.available = available


def without_test(path: str, available: Sequence[str], called: Mapping[str, str]) -> str | None:
    """Return the sentence about a file that has training examples, and no test part; None for any other file.

    Args:
        path: of the file.
        available: the names of its arrays.
        called: the names that its arrays should have, by our own.
    """
    if any("test" in name.lower() for name in available) or {called["x_test"], called["y_test"]} & {*available}:
        return None
    found = {}
    for name in NAMES[:2]:
        words = (*WORDS[name[0]], *(f"{word}{mark}train" for word in WORDS[name[0]] for mark in ("_", "-", "")))
        words += tuple(f"train{mark}{word}" for word in WORDS[name[0]] for mark in ("_", "-", ""))
        match = [other for other in available if other == called[name]] or [
            other for other in available if other.lower() in words
        ]
        if len(match) != 1:
            return None
        found[name] = match[0]
    other = {name: own for name, own in found.items() if own != called[name]}
    keys = [f"'data.keys={{{','.join(f'{name}:{own}' for name, own in found.items())}}}'"] if other else []
    return (
        f"path={path!r} has no test part; it contains {first_names(available)}; to test on a fifth of the examples, "
        f"add {' '.join([*keys, 'data.test_fraction=0.2'])}"
    )


def with_test_drawn(
    arrays: Mapping[str, np.ndarray], called: Mapping[str, str], fraction: float, wanted: TargetForm | None
) -> tuple[dict[str, np.ndarray], str, dict[str, Tensor]]:
    """Return arrays in which a share of the training examples are those to test on, the words about it, and the numbers
    that the examples of both parts had before.

    Args:
        arrays: by their names in the file.
        called: these names, by our own.
        fraction: the share.
        wanted: the form of targets that the task learns; None for what y shows.

    Raises:
        ValueError: the numbers of examples differ, a class has one example, or no example is left for a part.
    """
    names = [called[name] for name in NAMES]
    x, y = (arrays[name] for name in names[:2])
    test, train = drawn(x, y, names, fraction, wanted)
    divided = {
        name: array[part]
        for part, pair in ((train, names[:2]), (test, names[2:]))
        for name, array in zip(pair, (x, y), strict=True)
    }
    note = f"has no test part; {len(test):,} of its {len(y):,} examples are drawn for testing, the same for every seed"
    return {**arrays, **divided}, note, {"train": train, "test": test}


def with_test_rows(
    arrays: Mapping[str, Any], names: Sequence[str], fraction: float, wanted: TargetForm | None
) -> tuple[dict[str, Any], tuple[Tensor, Tensor]]:
    """Return arrays whose training and test parts are the same, and the rows of each part, in order: nothing is copied.

    Args:
        arrays: by our own names.
        names: the user's names of x_train and y_train.
        fraction, wanted: see `with_test_drawn`.

    Raises:
        ValueError: see `with_test_drawn`.
    """
    x, y = arrays["x_train"], arrays["y_train"]
    test, train = drawn(x, y, names, fraction, wanted)
    return {**arrays, "x_test": x, "y_test": y}, (train.sort().values, test.sort().values)


def drawn(
    x: np.ndarray | Rows, y: np.ndarray, names: Sequence[str], fraction: float, wanted: TargetForm | None
) -> tuple[Tensor, Tensor]:
    """Draw the examples to test on, a share of each class; return their rows and those of the others.

    Args:
        x, y: the inputs and targets.
        names: of both, for messages.
        fraction, wanted: see `with_test_drawn`.

    Raises:
        ValueError: see `with_test_drawn`.
    """
    if not x.ndim or not y.ndim or len(x) != len(y):
        counts = ["no" if not array.ndim else f"{len(array):,}" for array in (x, y)]
        raise ValueError(f"{names[0]} has {counts[0]} examples but {names[1]} has {counts[1]}; the numbers must agree")
    strata = np.zeros(len(y), np.int64)
    if (wanted or array_form([y])) == "classes":
        texts, strata, counted = np.unique(class_texts(y, names[1]), return_inverse=True, return_counts=True)
        if len(y) and counted.min() < 2:
            doubt = quantity(list(texts), len(y), names[1])
            hint = "; it looks like a quantity: try task=regression" if doubt is not None else ""
            single = str(texts[int(counted.argmin())])
            raise ValueError(f"{names[1]} has only one example of class {single!r}; every class needs two{hint}")
    test, train = stratified(torch.from_numpy(strata), round(fraction * len(y)), torch.Generator().manual_seed(0))
    if not len(test) or len(np.unique(strata[train])) < len(np.unique(strata)):
        lacking = (
            "example to test on; use a larger" if not len(test) else "example of a class to train on; use a smaller"
        )
        raise ValueError(f"test_fraction={fraction} leaves no {lacking} fraction")
    return test, train


def read_arrays(
    path: str, names: Sequence[str], optional: Sequence[Sequence[str]] = ()
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the named arrays of an .npz file; pickled objects are refused.

    Args:
        path: the file.
        names: of the arrays.
        optional: groups of names of arrays; a group is read too if the file has all of it.

    Returns:
        The arrays by name, and a sentence about further arrays if there are any.

    Raises:
        ValueError: the file is absent, cannot be read, or lacks an array.
    """
    listed = ", ".join(names)
    try:
        with Path(path).open("rb") as opened:
            if opened.read(len(MAGIC)) == MAGIC:
                raise ValueError(f"it is a single array, as in an .npy file; save {listed} together with numpy.savez")
            opened.seek(0)
            check_sizes(opened, [*names, *(name for group in optional for name in group)], f"path={path!r}")
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as file:
                available = list(getattr(file, "files", ()))
                missing = [name for name in names if name not in available]
                names = [*names, *(name for group in optional if {*group} <= {*available} for name in group)]
                arrays = {name: file[name] for name in names if name in available}
    except FileNotFoundError:
        raise ValueError(f"path={path!r} does not exist; give an .npz file with {listed}") from None
    except memory.MemoryLimitError:
        raise
    except (OSError, EOFError, ValueError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
        hint = "; save texts with dtype=str instead of object" if "Object arrays" in str(error) else ""
        raise ValueError(f"path={path!r} cannot be read as an .npz file: {error}{hint}") from None
    if missing:
        contents = first_names(available) or "nothing"
        validates = {*missing} <= {*NAMES} and "'" in guessed_keys(VALIDATION, available)
        guess = guessed_keys([*missing, *(VALIDATION if validates else ())], available)
        sentence = f"path={path!r} has no {' and no '.join(missing)}; it contains {contents}{guess}"
        raise MissingArraysError(sentence, available)
    further = [name for name in available if name not in names]
    if not further:
        return arrays, []
    count = f"{len(further)} further array{'s' * (len(further) > 1)}"
    are = "are" if len(further) > 1 else "is"
    hint = guessed_keys(VALIDATION, further) if "x" not in names and not {*VALIDATION} & {*names, *further} else ""
    remedy = hint.replace("; try", "; to validate on them, add") if "'" in hint else ""
    return arrays, [f"{Path(path).name} has {count} that {are} not used: {first_names(further)}{remedy}"]


def first_names(names: Sequence[str], most: int = 20) -> str:
    """Return at most `most` names, separated by commas, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def check_sizes(opened: BinaryIO, names: Sequence[str], subject: str) -> None:
    """Refuse an .npz file whose arrays need more memory than they may take, before they are read.

    Args:
        opened: the file.
        names: of the arrays that are going to be read.
        subject: the name of the file in a message.

    Raises:
        ValueError: the arrays are too large, or one of them declares more values than the file has.
        BadZipFile: it is not an .npz file.
    """
    needed = 0
    with ZipFile(opened) as archive:
        for entry in archive.infolist():
            if entry.filename.removesuffix(".npy") not in names:
                continue
            with archive.open(entry) as array:
                size = declared(array)
            if size > entry.file_size:
                raise ValueError(f"{entry.filename} declares {size:,} bytes, but has {entry.file_size:,}")
            needed += entry.file_size
    memory.require(needed, subject)


def declared(array: IO[bytes]) -> int:
    """Return the bytes of the values that the head of an array declares; 0 if it is another file, or holds objects."""
    if array.read(len(MAGIC)) != MAGIC:
        return 0
    major = array.read(2)[:1]
    reader = np.lib.format.read_array_header_1_0 if major == b"\x01" else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(array)
    return 0 if dtype.hasobject else math.prod(shape) * dtype.itemsize


def guessed_keys(missing: Sequence[str], available: Sequence[str]) -> str:
    """Return the setting that gives the missing arrays, as the end of a sentence; empty if it cannot be guessed."""
    found = {}
    for name in missing:
        kind, _, part = name.partition("_")
        words = {
            f"{a}{b}{c}"
            for w in WORDS.get(kind, ())
            for p in PART_WORDS.get(part, (part,))
            for b in ("_", "-", "")
            for a, c in ((p, w), (w, p))
        }
        match = [other for other in available if other.lower() in words]
        if not part or len(match) != 1:
            return "" if not part else "; name them with data.keys={x_train:<name>,...}"
        found[name] = match[0]
    return f"; try 'data.keys={{{','.join(f'{name}:{other}' for name, other in found.items())}}}'"


def class_texts(y: np.ndarray, name: str) -> np.ndarray:
    """Return the class of each example as a text.

    Args:
        y: (examples,) or (examples, 1): integers, whole numbers in a float type, or texts; or (examples, classes): rows
            with a single 1.
        name: of the array.

    Raises:
        ValueError: the array has another shape or type, or a number is too large or not whole.
    """
    expected = "expected one class per example: a whole number, a text, or a row with a single 1"
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "iubf" and y.size and ((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all():
        y = y.argmax(1)
    if y.ndim != 1 or y.dtype.kind not in "iubfUS":
        raise ValueError(f"{name} has the shape {y.shape} and type {y.dtype}; {expected}")
    if y.dtype.kind == "f":
        if np.isnan(y).any():
            raise ValueError(
                f"{name} contains nan in example {int(np.argmax(np.isnan(y)))}; leave out examples without a class"
            )
        odd = ~np.isfinite(y) | (y != np.floor(y))
        if odd.any():
            raise ValueError(
                f"{name} contains {y[odd][0]:g} in example {int(np.argmax(odd))}, which is not a class: {expected}; "
                "it looks like a quantity: try task=regression"
            )
    if y.dtype.kind in "uf" and y.size and y.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} contains {y.max()}, which is too large for a class number")
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{name} contains texts that are not in UTF-8; save them with dtype=str") from None
    return (y if y.dtype.kind == "U" else y.astype(np.int64)).astype(str)


def array_form(targets: Sequence[np.ndarray]) -> TargetForm:
    """Return the form of targets in arrays: fractions are numbers, rows with other than a single 1 are labels."""
    first = targets[0]
    if first.dtype.kind not in "iubf" or not 1 <= first.ndim <= 2 or not first.size:
        return "classes"
    if first.ndim == 2 and first.shape[1] > 1:
        if ((first == 0) | (first == 1)).all() and (first.sum(1) == 1).all() and all(y.ndim == 1 for y in targets[1:]):
            return "classes"
        if not all(y.ndim == 2 and ((y == 0) | (y == 1)).all() for y in targets):
            return "numbers"
        return "classes" if all((y.sum(1) == 1).all() for y in targets) else "labels"
    finite = [y[np.isfinite(y)] for y in targets] if first.dtype.kind == "f" else []
    return "numbers" if any((y != np.floor(y)).any() for y in finite) else "classes"


def are_numbers(y: np.ndarray, count: int) -> bool:
    """Whether labels are numbers of `count` classes, one per example."""
    single = y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)
    return single and y.dtype.kind in "iub" and bool(y.size) and 0 <= int(y.min()) <= int(y.max()) < count


def as_targets(y: np.ndarray, name: str) -> Tensor:
    """Return numbers or labels as a tensor in float64.

    Raises:
        ValueError: the array does not hold numbers, or has another shape.
    """
    if y.dtype.kind not in "iubf" or not 1 <= y.ndim <= 2:
        raise ValueError(
            f"{name} has the shape {y.shape} and type {y.dtype}; expected numbers of shape (examples,) or "
            "(examples, targets)"
        )
    return torch.from_numpy(np.ascontiguousarray(y.astype(np.float64)))


def numbered(*labels: np.ndarray) -> tuple[list[str], list[np.ndarray]]:
    """Return the names of the classes, sorted as numbers or else as texts, and each part's class numbers.

    The classes are those of the first part; a class that only later parts have is numbered after them.
    """
    known = in_order([str(text) for text in np.unique(labels[0])])
    later = in_order([str(text) for text in np.unique(np.concatenate(labels)) if str(text) not in set(known)])
    names = [*known, *later]
    sorted_names, order = np.unique(np.array(names), return_inverse=True)
    number = np.empty(len(names), np.int64)
    number[order] = np.arange(len(names))
    return names, [number[np.searchsorted(sorted_names, part)] for part in labels]


NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
"""A number as files have it; Python would also take `1_0`, and digits of other scripts."""


def in_order(texts: Sequence[str]) -> list[str]:
    """Return texts in the order of their numbers if all of them are numbers, otherwise in that of texts."""
    if all(map(NUMBER.fullmatch, texts)):
        return sorted(texts, key=lambda text: (Decimal(text), text))
    return sorted(texts)


def spelling(text: str) -> object:
    """Return what different spellings of one class share: the number, unless it has leading zeros."""
    if re.match(r"[-+]?0\d", text) or not NUMBER.fullmatch(text):
        return text
    return Decimal(text)


def quantity(names: Sequence[str], examples: int, key: str) -> str | None:
    """Return a sentence if classes look like a quantity: many different numbers, most of them rare.

    Args:
        names: of the classes.
        examples: their number.
        key: the name of the labels.
    """
    if len(names) < FEWEST_OF_A_QUANTITY or examples >= RARE * len(names):
        return None
    try:
        values = [float(name) for name in names]
    except ValueError:
        return None
    return (
        f"{key} has {len(names)} different numbers, from {min(values):g} to {max(values):g}, with "
        f"{examples / len(names):.1f} examples each: it looks like a quantity, but each number becomes a class; "
        "task=regression predicts the quantity"
    )


def few_numbers(values: Tensor, key: str) -> list[str]:
    """Return a sentence if the targets of a regression may be classes: few different numbers, each of them frequent.

    Args:
        values: (examples, targets) or (examples,).
        key: the name of the targets.
    """
    if values.ndim == 2 and values.shape[1] > 1:
        return []
    found, counts = values.unique(return_counts=True)
    if len(found) >= FEWEST_OF_A_QUANTITY or counts.min() < RARE:
        return []
    return [
        f"{key} has {len(found)} different numbers and is predicted as a number; task=classification takes them as "
        "classes"
    ]


def shares(values: Tensor, key: str) -> list[str]:
    """Return a sentence if the targets of a regression look like probabilities of classes: their rows sum to 1."""
    if values.ndim != 2 or values.shape[1] < 2 or values.min() < 0 or (values.sum(1) - 1).abs().max() > 1e-4:
        return []
    return [
        f"the rows of {key} sum to 1, like probabilities of {values.shape[1]} classes, and are predicted as numbers; "
        f"for classes, save {key}.argmax(1)"
    ]


def check_scales(train: Tensor, others: Mapping[str, Tensor | None], called: Mapping[str, str]) -> None:
    """Refuse inputs of which one part is in bytes, and another one between 0 and 1.

    Args:
        train: the inputs to train on.
        others: those of the other parts.
        called: the names of the arrays.

    Raises:
        ValueError: names the arrays.
    """
    for part, x in others.items():
        if x is None or isinstance(x, Rows) or isinstance(train, Rows) or not x.numel() or not train.numel():
            continue
        if (x.dtype == torch.uint8) == (train.dtype == torch.uint8):
            continue
        own, largest = called[f"x_{part}"], {name: float(a.max()) for name, a in (("train", train), (part, x))}
        if max(largest.values()) > BYTES * max(min(largest.values()), 0):
            listed = " and ".join(f"{called[f'x_{name}']} up to {value:g}" for name, value in largest.items())
            raise ValueError(f"{listed} are scaled differently; save {called['x_train']} and {own} in the same way")


BYTES = 100
"""How much larger bytes are than the same values between 0 and 1, at least."""


def different_labels(y_train: np.ndarray, y_test: np.ndarray) -> str:
    """Return the end of a sentence if one part has texts and the other numbers."""
    kinds = ["texts" if y.dtype.kind in "US" else "numbers" for y in (y_train, y_test)]
    return f"; the training labels are {kinds[0]}, the test labels are {kinds[1]}" if kinds[0] != kinds[1] else ""


def as_inputs(x: np.ndarray | Rows, name: str, *, mapped: bool = False) -> Tensor:
    """Return inputs as a tensor of 2 to 4 dimensions: uint8, float32 or, for wider numbers, float64.

    Args:
        x: (examples, ...).
        name: of the array.
        mapped: whether it is in a file that is mapped into memory, and stays there.

    Raises:
        ValueError: the array has another number of dimensions, or does not hold numbers.
    """
    if isinstance(x, Rows):
        return cast(Tensor, x)
    if not 2 <= x.ndim <= 4 or x.dtype.kind not in "iubf":
        raise ValueError(
            f"{name} has the shape {x.shape} and type {x.dtype}; expected numbers of shape (examples, features), "
            "(examples, height, width), (examples, height, width, channels) or (examples, channels, height, width)"
        )
    if mapped and isinstance(x, np.memmap):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(x)
    if x.dtype != np.uint8:
        x = x.astype(np.float64 if x.dtype.itemsize > 2 and x.dtype != np.float32 else np.float32)
    return torch.from_numpy(np.ascontiguousarray(x))


def oriented(x: Tensor, name: str, layout: Layout | None, *, mapped: bool = False) -> tuple[Tensor, Layout | None]:
    """Return inputs with the channels as the second axis, and the layout of pictures with channels.

    Args:
        x: (examples, ...).
        name: of the array.
        layout: of the array; None for what the shape shows.
        mapped: whether it is not copied.

    Raises:
        ValueError: both layouts are possible.
    """
    if x.ndim != 4:
        return channels_first(x), None
    layout = layout or layout_of(x.shape[1:])
    if layout is None:
        first, last = sides((x.shape[2], x.shape[3])), sides((x.shape[1], x.shape[2]))
        channels = [f"{count} channel{'s' * (count > 1)}" for count in (x.shape[1], x.shape[3])]
        raise ValueError(
            f"{name} has the shape {tuple(x.shape)}, which can be pictures of {first} with {channels[0]} or of "
            f"{last} with {channels[1]}; add data.layout=nchw for the first, data.layout=nhwc for the second"
        )
    if mapped:
        return (x if layout == "nchw" else x.permute(0, 3, 1, 2)), layout
    return (x.contiguous() if layout == "nchw" else channels_first(x)), layout


def layout_of(shape: Sequence[int]) -> Layout | None:
    """Return the layout that the shape of an example shows; None if it can be either.

    1 or 3 sides are channels rather than a height or a width; then 2 or 4 are; then the axis that differs from two
    equal ones is.

    Args:
        shape: of three axes.
    """
    first, second, third = shape
    for channels in ((1, 3), (2, 4)):
        if (first in channels) != (third in channels):
            return "nchw" if first in channels else "nhwc"
        if first in channels:
            return None
    if first == second != third:
        return "nhwc"
    return "nchw" if second == third != first else None


def channels_first(x: Tensor) -> Tensor:
    """Convert (n, height, width) and (n, height, width, channels) to (n, channels, height, width)."""
    if x.ndim == 3:
        return x.unsqueeze(1)
    return x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
