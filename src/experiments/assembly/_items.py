"""Examples of a torch `Dataset`, or of anything else with a length and numbered examples, gathered into arrays once."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from experiments.common.errors import UserError, raised
from experiments.data import memory
from experiments.data.forms import sides
from experiments.data.progress import Progress
from experiments.data.sequences import padded
from experiments.data.sources import Layout, as_inputs, oriented
from experiments.data.streamed import Rows, loader, preserved, seed_all, started

SLOW = 5.0
"""Seconds between two lines of progress."""
CHECKED = 64
"""Examples that are read twice, to see whether a data set is random."""
INPUTS = ("image", "img", "picture", "pixel_values", "x", "input", "inputs", "features", "data")
TARGETS = ("label", "labels", "y", "target", "targets", "class", "fine_label")
"""The usual names of inputs and targets."""
GREY = ("1", "L", "LA")

Name = str | int
"""A key of a dict, or the position in a tuple."""


@dataclass(frozen=True)
class Fields:
    """Which parts of an item are the input and the target.

    Args:
        input: a key or position, or several whose numbers are joined; None for the usual names, or the first of two.
        target: the same for the target.
    """

    input: Name | Sequence[Name] | None = None
    target: Name | Sequence[Name] | None = None


@dataclass
class Gathered:
    """The examples of a data set.

    Args:
        x: (examples, ...); or what reads them whenever they are needed.
        y: (examples,) or (examples, targets).
        layout: the order of the axes of pictures; None if the items do not show it.
        classes: the names of the classes, if the data set has them.
    """

    x: np.ndarray | Rows
    y: np.ndarray
    layout: Layout | None
    classes: Sequence[str] | None


class RandomItemsError(ValueError):
    """A data set returns other examples when it is read again."""


def title(dataset: Any) -> str:
    """Return the name of a data set in a message."""
    return dataset.name if isinstance(dataset, Stream) else type(dataset).__name__


def length(dataset: Any) -> int:
    """Return the number of examples.

    Raises:
        ValueError: it cannot be known, or there is none.
    """
    try:
        count = len(dataset)
    except Exception as error:
        raise ValueError(f"{title(dataset)} has no usable length: len() {raised(error)}") from error
    if count == 0:
        raise ValueError(f"{title(dataset)} has no examples: its length is 0")
    return count


class Stream:
    """The examples of an `IterableDataset`, kept in a list once they are read.

    Args:
        stream: the data set.
        most: how many examples are taken; None for all.
        once: whether random examples may be read once and used in every epoch.

    Raises:
        ValueError: the stream cannot be read, or is random.
        MemoryLimitError: its examples need more memory than they may take.
    """

    def __init__(self, stream: Any, most: int | None, *, once: bool) -> None:
        self.stream, self.name = stream, title(stream)
        self.classes = getattr(stream, "classes", None)
        with seeded(0) as is_drawn:
            self.items = list(self.read(most))
            if is_drawn() and not once:
                raise ValueError(
                    f"{self.name} draws random numbers when it is read; data.gather=true reads it once and uses these "
                    "examples in every epoch, and a Dataset with a length is read anew in each"
                )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def read(self, most: int | None) -> Iterator[Any]:
        """Yield the examples, with a line of progress every few seconds."""
        progress, number = Progress(SLOW), 0
        try:
            for item in self.stream:
                if number == most:
                    return
                if number % MEASURED == 0:
                    require_for_stream(item, number + MEASURED, self.name, limited=most is not None)
                yield item
                number += 1
                progress.report("%s: %s examples", self.name, f"{number:,}")
        except ValueError:
            raise
        except Exception as error:
            if memory.exhausts(error):
                more = hint(limited=most is not None)
                raise memory.MemoryLimitError(
                    f"{self.name} with {number:,} examples needs more memory than is free{more}"
                ) from None
            raise ValueError(f"{self.name} cannot read example {number}: it {raised(error)}") from error


def require_for_stream(item: Any, count: int, name: str, *, limited: bool) -> None:
    """Refuse a stream whose examples do not fit into memory, judged by the size of one of them.

    Raises:
        MemoryLimitError: they do not.
    """
    try:
        memory.require(held(item) * count, f"{name} with {count:,} examples")
    except memory.MemoryLimitError as error:
        raise memory.MemoryLimitError(f"{error}{hint(limited=limited)}") from None


def hint(*, limited: bool) -> str:
    """Return the words about a stream that is too long, unless `data.length` is given."""
    return "" if limited else "; data.length=<examples> takes the first ones of a stream that is endless or too long"


def held(value: Any) -> int:
    """Return about how many bytes a value of a stream takes, as it is kept and as a part of the array."""
    if isinstance(value, Tensor | np.ndarray):
        return 2 * int(value.nbytes) + (OF_TENSOR if isinstance(value, Tensor) else OF_ARRAY)
    if isinstance(value, Mapping):
        return sys.getsizeof(value) + sum(map(held, value.values()))
    if isinstance(value, list | tuple):
        few = value[:MEASURED]
        return sys.getsizeof(value) + (sum(map(held, few)) * len(value)) // max(1, len(few))
    return sys.getsizeof(value) + 8


OF_TENSOR, OF_ARRAY = 1000, 150
"""Bytes of a tensor and of an array in addition to their values."""


MEASURED = 1000
"""Examples of a stream after which the memory is checked again."""


def gathered(dataset: Any, fields: Fields, *, once: bool, context: int | None = None) -> Gathered:
    """Read all examples of a data set.

    The generators of torch, numpy and Python are seeded, so that random examples are the same in each run, and restored
    afterwards.

    Args:
        dataset: with `__len__` and `__getitem__`.
        fields: the input and the target of an item.
        once: whether random examples may be read once and used in every epoch.
        context: the steps of a sequence that are kept; None if examples are no sequences of unequal lengths.

    Raises:
        ValueError: an example cannot be read or differs from the others in shape, or the data set is random.
        MemoryLimitError: the examples need more memory than they may take.
    """
    count = length(dataset)
    with seeded(0) as is_drawn:
        if not once:
            refuse_changing(dataset, fields, count)
        read = partial(read_sequences, context=context) if context is not None else read_all
        x, y, layout = read(dataset, fields, count)
        if is_drawn() and not once:
            raise RandomItemsError(f"{title(dataset)} draws random numbers when an example is read")
    again = length(dataset)
    if again != count:
        raise ValueError(f"the length of {title(dataset)} changed from {count:,} to {again:,} while it was read")
    return Gathered(x, y, layout, class_names(dataset, fields))


@contextmanager
def seeded(seed: int) -> Iterator[Any]:
    """Seed the global generators of torch, numpy and Python inside the block, and restore them afterwards.

    The value is a function that returns whether one of them has been drawn from.
    """
    with preserved():
        seed_all(seed)
        before = states()
        yield lambda: states() != before


def states() -> tuple[Any, ...]:
    """Return the states of the global generators, which can be compared."""
    arrays = cast(tuple[Any, ...], np.random.get_state())
    return torch.get_rng_state().numpy().tobytes(), arrays[1].tobytes(), arrays[2:], random.getstate()


def refuse_changing(dataset: Any, fields: Fields, count: int) -> None:
    """Read some examples twice.

    Raises:
        RandomItemsError: names the first one that differs.
    """
    for index in spread(count):
        (x, y, _), (x_again, y_again, _) = (example(dataset, fields, index) for _ in range(2))
        if not same(x, x_again) or not same(y, y_again):
            raise RandomItemsError(f"{title(dataset)} is random: example {index} differs when it is read again")


def spread(count: int) -> list[int]:
    """Return the numbers of some examples, evenly spaced."""
    return sorted({round(k * (count - 1) / CHECKED) for k in range(CHECKED + 1)})


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two readings of a value are equal; nan equals nan."""
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def read_all(dataset: Any, fields: Fields, count: int) -> tuple[np.ndarray, np.ndarray, Layout | None]:
    """Read `count` examples in order; a line of progress is shown every few seconds.

    Raises:
        ValueError: an example cannot be read, or differs from the first one in shape.
        MemoryLimitError: see `gathered`.
    """
    first, target, layout = example(dataset, fields, 0)
    total = f"{count:,}"
    memory.require(first.nbytes * count, f"{title(dataset)} with {total} examples of {first.nbytes:,} bytes")
    x = np.empty((count, *first.shape), first.dtype)
    x[0], targets = first, [target]
    progress = Progress(SLOW)
    for index in range(1, count):
        value, wanted, _ = example(dataset, fields, index)
        x = holding(x, value, index, title(dataset))
        x[index] = value
        if wanted.shape != target.shape:
            raise ValueError(
                f"the target of example {index} of {title(dataset)} has the shape {wanted.shape}, but that of example "
                f"0 has {target.shape}; all targets should have one shape"
            )
        targets.append(wanted)
        progress.report("%s: %d %% of %s examples", title(dataset), 100 * index // count, total)
    return x, of_targets(targets, title(dataset)), layout


def read_sequences(dataset: Any, fields: Fields, count: int, context: int) -> tuple[np.ndarray, np.ndarray, None]:
    """Read `count` sequences in order, the first `context` steps of each; they are padded, see `data.sequences`.

    Raises:
        ValueError: an example cannot be read, is not a sequence of numbers, or has other features than the first one.
        MemoryLimitError: see `gathered`.
    """
    name = title(dataset)
    found: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    progress, held = Progress(SLOW), 0
    for index in range(count):
        value, wanted, _ = example(dataset, fields, index)
        one = sequence(value, index, name, context, found[0].shape[1:] if found else None)
        if targets and wanted.shape != targets[0].shape:
            raise ValueError(
                f"the target of example {index} of {name} has the shape {wanted.shape}, but that of example 0 has "
                f"{targets[0].shape}; all targets should have one shape"
            )
        found.append(one)
        targets.append(wanted)
        held = max(held, one.nbytes)
        if index % MEASURED == 0:
            memory.require(2 * held * count, f"{name} with {count:,} sequences of up to {held:,} bytes")
        progress.report("%s: %d %% of %s examples", name, 100 * index // count, f"{count:,}")
    return padded(found), of_targets(targets, name), None


def sequence(value: np.ndarray, index: int, name: str, context: int, features: tuple[int, ...] | None) -> np.ndarray:
    """Return the first steps of an example that is a sequence, in float32.

    Args:
        value: the example.
        index: its number.
        name: of the data set.
        context: the most steps that are kept.
        features: the shape of a step; None for any.

    Raises:
        ValueError: it is not a sequence of numbers, or its steps have another shape.
    """
    if value.ndim not in (1, 2) or not value.size:
        raise ValueError(
            f"example {index} of {name} has the shape {value.shape}; with data.context an example should be a "
            "sequence of numbers, (steps,) or (steps, features)"
        )
    if features is not None and value.shape[1:] != features:
        raise ValueError(
            f"the steps of example {index} of {name} have the shape {value.shape[1:]}, but those of example 0 have "
            f"{features}; the steps of all sequences should have one shape"
        )
    one = value[:context].astype(np.float32)
    if not np.isfinite(one).all():
        raise ValueError(f"example {index} of {name} has a value that is not finite in float32")
    return one


def holding(x: np.ndarray, value: np.ndarray, index: int, name: str) -> np.ndarray:
    """Return the array of the examples, in a type that has the values of one more example too.

    Raises:
        ValueError: the example has another shape, or is not in bytes although the others are.
    """
    if value.shape != x.shape[1:]:
        raise ValueError(
            f"example {index} of {name} has the shape {shape_of(value)}, but example 0 has {shape_of(x[0])}; all "
            f"examples should have one shape{unequal(value, x)}"
        )
    if value.dtype == x.dtype:
        return x
    wider = np.promote_types(x.dtype, value.dtype)
    if np.uint8 in (x.dtype, value.dtype) and wider.kind == "f":
        raise ValueError(
            f"example {index} of {name} has the type {value.dtype}, but the examples before it have {x.dtype}; all "
            "examples should have one type"
        )
    return x if wider == x.dtype else x.astype(wider)


def unequal(value: np.ndarray, x: np.ndarray) -> str:
    """Return the words about sequences of unequal lengths, if two examples look like such."""
    alike = 1 <= value.ndim <= 2 and value.ndim == x.ndim - 1 and value.shape[1:] == x.shape[2:]
    return ", or data.context=<steps> if they are sequences of unequal lengths" if alike else ""


def shape_of(value: np.ndarray) -> str:
    """Return the shape of an example for people."""
    return sides(value.shape) if value.ndim else "of a single number"


def of_targets(targets: Sequence[np.ndarray], name: str) -> np.ndarray:
    """Return targets as one array.

    Raises:
        ValueError: some are texts and others numbers.
    """
    texts = [index for index, target in enumerate(targets) if target.dtype.kind in "US"]
    if texts and len(texts) < len(targets):
        other = next(index for index, target in enumerate(targets) if target.dtype.kind not in "US")
        raise ValueError(
            f"the target of example {texts[0]} of {name} is a text, but that of example {other} is a number"
        )
    return np.stack(targets)


def example(dataset: Any, fields: Fields, index: int) -> tuple[np.ndarray, np.ndarray, Layout | None]:
    """Read one example: its input, its target, and the layout of its input if it is a picture.

    Raises:
        ValueError: the data set raises an error, or the item is not an input and a target.
    """
    try:
        item = dataset[index]
    except Exception as error:
        raise cannot_read(dataset, index, error) from error
    return of_item(item, dataset, fields, index)


def cannot_read(dataset: Any, index: int, error: Exception) -> ValueError:
    """Return the error for an example that raised one."""
    return ValueError(f"{title(dataset)} cannot read example {index}: it {raised(error)}")


def of_item(item: Any, dataset: Any, fields: Fields, index: int) -> tuple[np.ndarray, np.ndarray, Layout | None]:
    """Return the input and the target of an item, and the layout of its input if it is a picture; see `example`."""
    name = f"example {index} of {title(dataset)}"
    inputs, targets = divided(item, fields, name)
    layout = layout_of(inputs[0]) if len(inputs) == 1 else None
    return joined(inputs, f"the input of {name}"), joined(targets, f"the target of {name}", text=True), layout


def divided(item: Any, fields: Fields, name: str) -> tuple[list[Any], list[Any]]:
    """Return the inputs and the targets of an item.

    Raises:
        ValueError: the item is not a pair or a dict, or has other keys.
    """
    if isinstance(item, Mapping):
        keys: list[Name] = list(item)
    elif isinstance(item, tuple | list):
        keys = list(range(len(item)))
    else:
        raise ValueError(f"{name} is a {type(item).__name__}; expected a pair of input and target, or a dict of them")
    chosen_input, chosen_target = chosen(fields.input, keys, "input", name), chosen(fields.target, keys, "target", name)
    if isinstance(item, Mapping):
        target = chosen_target or usual(keys, TARGETS)
        inputs = chosen_input or usual(keys, INPUTS) or [key for key in keys if len(keys) == 2 and key not in target]
        target = target or [key for key in keys if len(keys) == 2 and key not in inputs]
    else:
        pair = len(keys) == 2
        inputs, target = chosen_input or keys[:1] * pair, chosen_target or keys[1:] * pair
    if not inputs or not target:
        lacking = "input" if not inputs else "target"
        has = f"the keys {', '.join(map(str, keys))}" if isinstance(item, Mapping) else f"{len(keys)} values"
        raise ValueError(f"{name} has {has}; choose its {lacking} with data.{lacking}={keys[0] if keys else '<name>'}")
    return [item[key] for key in inputs], [item[key] for key in target]


def chosen(setting: Name | Sequence[Name] | None, keys: Sequence[Name], which: str, name: str) -> list[Name]:
    """Return the keys that a setting names.

    Raises:
        ValueError: an item does not have one of them.
    """
    names = [] if setting is None else [setting] if isinstance(setting, str | int) else list(setting)
    for key in names:
        if key not in keys:
            raise ValueError(f"{which}={key!r} is not in {name}; choose from {', '.join(map(str, keys))}")
    return names


def usual(keys: Sequence[Name], words: Sequence[str]) -> list[Name]:
    """Return the key with the first of the usual names, as a list; empty if there is none."""
    return next(([key] for word in words for key in keys if str(key).lower() == word), [])


def layout_of(value: Any) -> Layout | None:
    """Return the order of the axes of a picture: channels are last in PIL's pictures, first in tensors."""
    if hasattr(value, "convert") and hasattr(value, "mode"):
        return "nhwc"
    return "nchw" if isinstance(value, Tensor) and value.ndim == 3 else None


def joined(values: Sequence[Any], name: str, *, text: bool = False) -> np.ndarray:
    """Return one value as an array; several as the numbers of all of them, one after another.

    Args:
        values: tensors, arrays, pictures of PIL, numbers or lists of numbers.
        name: of the values in an error.
        text: whether a text is allowed.

    Raises:
        ValueError: a value is something else.
    """
    arrays = [as_array(value, name, text=text) for value in values]
    if len(arrays) == 1:
        return arrays[0].reshape(1) if not arrays[0].ndim and not text else arrays[0]
    return np.concatenate([array.reshape(-1) for array in arrays])


def as_array(value: Any, name: str, *, text: bool) -> np.ndarray:
    """Return a value of an item as an array; see `joined`."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        array = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    elif hasattr(value, "convert") and hasattr(value, "mode"):
        array = np.asarray(value if value.mode in ("L", "RGB") else value.convert(picture_mode(value.mode)))
    elif isinstance(value, str | bytes) and not text:
        raise ValueError(f"{name} is a text; expected numbers or a picture")
    elif isinstance(value, str | bytes | bool | int | float | np.generic | np.ndarray | list | tuple):
        try:
            array = np.asarray(value)
        except ValueError:
            array = np.empty(0, dtype=object)
    else:
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "iubfUS" or (array.dtype.kind in "US" and not text):
        kind = type(value).__name__
        given = f"a {kind} of type {array.dtype}" if isinstance(value, np.ndarray) else f"a {kind}"
        raise ValueError(
            f"{name} is {'None' if value is None else given}; expected a tensor, an array, a picture of PIL or numbers"
        )
    return array


def picture_mode(mode: str) -> str:
    """Return the mode to which a picture of PIL is converted."""
    return "L" if mode in GREY else "I" if mode.startswith("I") else "RGB"


def class_names(dataset: Any, fields: Fields) -> list[str] | None:
    """Return the names of the classes that a data set has: `classes`, or the features of a Hugging Face data set."""
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, Mapping):
        keys = [fields.target] if fields.target is not None else usual(list(features), TARGETS)
        names = getattr(features.get(keys[0]), "names", None) if keys and isinstance(keys[0], str) else None
    if names is None and hasattr(dataset, "dataset"):  # a part of another data set
        return class_names(dataset.dataset, fields)
    usable = isinstance(names, list | tuple) and len(set(map(str, names))) == len(names) > 0
    return [str(name) for name in names] if usable and names is not None else None


def streamed(dataset: Any, fields: Fields, layout: Layout | None, workers: int, context: int | None = None) -> Gathered:
    """Return a data set whose inputs are read whenever they are needed; only its targets are gathered.

    Args:
        dataset: with `__len__` and `__getitem__`.
        fields: the input and the target of an item.
        layout: of pictures in arrays; None for what the shape shows.
        workers: processes that read; 0 for none.
        context: the steps of a sequence, of which longer ones are cut and shorter ones padded; None if examples are
            not sequences of unequal lengths.

    Raises:
        ValueError: an example cannot be read, or draws random numbers that cannot be repeated.
    """
    count = length(dataset)
    for index in spread(count):
        readings = []
        for _ in range(2):
            with seeded(index):
                readings.append(example(dataset, fields, index)[:2])
        if not all(same(*pair) for pair in zip(*readings, strict=True)):
            raise ValueError(
                f"{title(dataset)} is random in a way that cannot be repeated: example {index} differs when it is read "
                "again after the same seed; draw from the global generator of torch, numpy or Python"
            )
    with seeded(0):
        first, _, shown = example(dataset, fields, 0)
    if context is not None:
        first = padded([sequence(first, 0, title(dataset), context, None)], context)[0]
    layout = layout or shown if first.ndim == 3 else None
    _, layout = oriented(as_inputs(first[None].copy(), "x_train"), "x_train", layout)
    targets = targets_of(dataset, fields, count, workers)
    read = Reader(dataset, fields, layout, first.shape, context)
    rows = Rows(read, count, targets, refusal, workers, partial(length, dataset))
    return Gathered(rows, of_targets(targets, title(dataset)), layout, class_names(dataset, fields))


def refusal(sentence: str) -> UserError:
    """Return the error for a sentence about data that cannot be read."""
    return UserError(f"data: {sentence}")


PLAIN = (torch.uint8, torch.float32)
"""The types of inputs that stay as they are."""


class Reader:
    """Reads an example: its input, in bytes or float32 with the channels first, and its target.

    Args:
        dataset: with `__getitem__`.
        fields: the input and the target of an item.
        layout: of pictures.
        shape: of an input as it is read; of a sequence, as it is padded.
        context: see `streamed`.
    """

    def __init__(
        self,
        dataset: Any,
        fields: Fields,
        layout: Layout | None,
        shape: tuple[int, ...],
        context: int | None = None,
    ) -> None:
        self.dataset, self.fields, self.layout, self.shape = dataset, fields, layout, shape
        self.context = context
        self.size = torch.Size(shape)
        self.is_usual = layout == "nchw" and fields == Fields()

    def __call__(self, index: int) -> tuple[Tensor, np.ndarray | float]:
        """Read an example; most data sets return a picture as a tensor and a number, for which this takes no time.

        Raises:
            ValueError: it cannot be read, or has another shape.
        """
        try:
            item = self.dataset[index]
        except Exception as error:
            raise cannot_read(self.dataset, index, error) from error
        if self.is_usual and type(item) is tuple and len(item) == 2:
            x, y = item
            if type(x) is not Tensor and isinstance(x, Tensor):
                x = x.as_subclass(Tensor)  # an image of torchvision
            plain = type(y) in (int, float) and type(x) is Tensor and x.shape == self.size and x.dtype in PLAIN
            if plain and not (x.is_cuda or x.requires_grad):
                return x, y
        return self.of(item, index)

    def of(self, item: Any, index: int) -> tuple[Tensor, np.ndarray]:
        """Return the example of any item.

        Raises:
            ValueError: see `__call__`.
        """
        x, y, _ = of_item(item, self.dataset, self.fields, index)
        if self.context is not None:
            one = sequence(x, index, title(self.dataset), self.context, self.shape[1:])
            x = padded([one], self.context)[0]
        if x.shape != self.shape:
            raise ValueError(
                f"example {index} of {title(self.dataset)} has the shape {shape_of(x)}, but example 0 has "
                f"{sides(self.shape) if self.shape else 'a single number'}; all examples should have one shape"
            )
        x = x if x.flags.writeable else x.copy()
        plain = x.ndim and x.dtype in (np.uint8, np.float32) and x.flags.c_contiguous  # spares a copy
        raw = torch.from_numpy(x[None]) if plain else as_inputs(x[None], "x_train")
        own, _ = oriented(raw, "x_train", self.layout)
        return (own if own.dtype == torch.uint8 else own.float())[0], y


class Targets(torch.utils.data.Dataset[Any]):
    """The targets of a data set; a text is the sentence about an example that cannot be read."""

    def __init__(self, dataset: Any, fields: Fields) -> None:
        self.dataset, self.fields = dataset, fields

    def __len__(self) -> int:
        return length(self.dataset)

    def __getitem__(self, index: int) -> np.ndarray | ValueError:
        try:
            return example(self.dataset, self.fields, index)[1]
        except ValueError as error:
            return ValueError(str(error))


def targets_of(dataset: Any, fields: Fields, count: int, workers: int) -> list[np.ndarray]:
    """Return the targets of all examples, which are read once, with lines of progress.

    Raises:
        ValueError: an example cannot be read.
    """
    known = getattr(dataset, "targets", None)
    if isinstance(known, list | tuple | np.ndarray | Tensor) and len(known) == count:
        found = [np.asarray(target) for target in known]
        with seeded(0):
            if all(same(found[index], example(dataset, fields, index)[1]) for index in spread(count)):
                return found
    with seeded(0):
        batches = loader(Targets(dataset, fields), workers, batch_size=16, collate_fn=list)
        return list(in_turn(started(batches), title(dataset), count))


def in_turn(batches: Any, name: str, count: int) -> Iterator[np.ndarray]:
    """Yield the targets of batches.

    Raises:
        ValueError: an example cannot be read, or a worker has ended.
    """
    progress, total, number = Progress(SLOW), f"{count:,}", 0
    try:
        for batch in batches:
            for target in batch:
                if isinstance(target, ValueError):
                    raise target
                number += 1
                yield target
            progress.report("targets of %s: %d %% of %s", name, 100 * number // count, total)
    except RuntimeError as error:
        message = " ".join(str(error).split())
        raise ValueError(f"a worker that reads {name} has ended ({message[:200]}); use fewer data.workers") from error
