"""Builds a data set of the user from a torch `Dataset`: its parts, gathered into tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from experiments.common.errors import UserError
from experiments.common.signatures import TARGET, checked, parameters_of, type_hints
from experiments.common.text import counted
from experiments.data.cores import present_cores
from experiments.data.forms import Form, ImageForm, TableForm, TargetForm, TokenForm
from experiments.data.memory import MemoryLimitError
from experiments.data.sequences import lengthened
from experiments.data.sources import (
    NAMES,
    VALIDATION,
    Layout,
    Source,
    first_names,
    of_arrays,
    with_test_drawn,
    with_test_rows,
)
from experiments.data.streamed import Rows

from ._items import Fields, Gathered, Name, RandomItemsError, Stream, class_names, gathered, streamed, title
from ._overlaps import described_again, repeated
from .targets import Config, call, located

PARTS = {"train": "train", "training": "train", "test": "test", "val": "val", "validation": "val", "valid": "val"}
"""What the parts of a dict of data sets are called."""
DRAWN = 0.2
"""The share of the examples that are set aside for testing, if no test set is given."""
MOST_WORKERS = 4
"""The workers that data.workers=auto starts."""


@dataclass(frozen=True)
class Gathering:
    """The settings of `data` for a torch `Dataset`, in addition to those of its class.

    Args:
        test: settings that are different for the test set, or a section with its own `_target_`.
        val: the same for the validation set.
        test_fraction: without a test set, the share of the examples to test on.
        input: the key or position of the input in an item, or several; None for the usual names.
        target: the same for the target.
        layout: nhwc if the channels are the last axis of an array, nchw if they are the first.
        gather: true reads the data set once, also a random one, and uses these examples in every epoch; false reads
            each example whenever it is needed; auto does so only if the data set is random or larger than memory.
        length: how many examples of a stream are taken, the first ones; None for all.
        context: the steps of a sequence that are kept, if their lengths are unequal; None for examples of one shape.
        workers: processes that read such examples; auto for at most 4, 0 to read them in this process.
    """

    test: dict[str, Any] | None = None
    val: dict[str, Any] | None = None
    test_fraction: Annotated[float, Gt(0), Lt(1)] | None = None
    input: Name | list[Name] | None = None
    target: Name | list[Name] | None = None
    layout: Layout | None = None
    gather: Literal["auto"] | bool = "auto"
    length: Annotated[int, Ge(1)] | None = None
    context: Annotated[int, Ge(1)] | None = None
    workers: Annotated[int, Ge(0), Le(256)] | Literal["auto"] = "auto"


def load(section: Config, available: Mapping[str, Any]) -> Source:
    """Load the data set that a section names: a `Source`, or data sets whose examples are gathered.

    Args:
        section: its settings.
        available: passed to a function that has parameters of these names.

    Raises:
        UserError: a setting or the data set cannot be used.
    """
    wanted, function = available.get("wanted"), located(section, "data")
    parameters = parameters_of(function) or {}
    if not is_ours(function):  # its own parameters may be called the same
        available = {name: value for name, value in available.items() if name in takes_forms(function)}
    names = {field.name for field in fields(Gathering)} - set(parameters)
    ours = {name: value for name, value in section.items() if name in names}
    own = {name: value for name, value in section.items() if name not in names}
    settings = Gathering(**checked(Gathering, ours, "data"))
    result = call(own, "data", available)
    if isinstance(result, Source):
        if ours:
            checked(function, {name: value for name, value in section.items() if name != TARGET}, "data")
        return result
    try:
        parts = divided(result, str(section[TARGET]), settings)
        varied = []
        for name in ("test", "val"):
            other = getattr(settings, name)
            if other is not None:
                varied += [name] * (TARGET not in other)
                parts[name] = single(
                    call(other if TARGET in other else {**own, **other}, f"data.{name}", available), settings
                )
        return of_parts(parts, settings, wanted, hint=train_setting(parameters), varied=varied)
    except MemoryLimitError as error:
        raise UserError(f"data: {error}") from None
    except ValueError as error:
        name = str(error).partition("=")[0]
        raise UserError(f"data.{error}" if name in names else f"data: {error}") from error


def is_ours(function: Callable[..., Any]) -> bool:
    """Whether a function is of this package."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == "experiments"


def takes_forms(function: Callable[..., Any]) -> set[str]:
    """Return the parameters of a function that are annotated with a form of examples or targets."""
    kinds: dict[str, list[Any]] = {"form": [Form, ImageForm, TableForm, TokenForm], "wanted": [TargetForm]}
    hints = {name: hint for name, hint in type_hints(function).items() if name in kinds}
    return {name for name, hint in hints.items() if any(kind in kinds[name] for kind in (hint, *get_args(hint)))}


def divided(result: Any, path: str, settings: Gathering) -> dict[str, Any]:
    """Return the parts of the result of a function or class.

    Raises:
        UserError: it is not a data set, or a dict of data sets.
    """
    if isinstance(result, Mapping) and result and all(str(name).lower() in PARTS for name in result):
        parts = {PARTS[str(name).lower()]: single(dataset, settings) for name, dataset in result.items()}
        if "train" not in parts:
            raise UserError(f"data._target_={path!r} returned the parts {', '.join(result)}; expected one called train")
        return parts
    if not isinstance(result, DataLoader | IterableDataset) and not is_map_style(result):
        raise UserError(
            f"data._target_={path!r} returned a {type(result).__name__}, expected a Source or a torch Dataset"
        )
    return {"train": single(result, settings)}


def is_map_style(result: Any) -> bool:
    """Whether an object has numbered examples and a length."""
    return not isinstance(result, str | bytes | Mapping | Tensor | np.ndarray) and all(
        hasattr(type(result), name) for name in ("__getitem__", "__len__")
    )


def single(result: Any, settings: Gathering) -> Any:
    """Return a data set whose examples have numbers: the one of a `DataLoader`, or the list of a stream's examples.

    Raises:
        ValueError: it is of another kind, or cannot be read.
    """
    kind = title(result)
    if isinstance(result, DataLoader):
        if result.collate_fn is not default_collate:
            raise ValueError(
                f"{kind} puts batches together by its own collate_fn; return its dataset, with items as they should be"
            )
        return single(result.dataset, settings)
    if isinstance(result, IterableDataset):
        return Stream(result, settings.length, once=settings.gather is True)
    if settings.length is not None:
        raise ValueError(f"length={settings.length} is for streams, but {kind} has a length; use data.limit")
    if not is_map_style(result):
        raise ValueError(f"{kind} is not a Dataset: it needs __len__ and __getitem__")
    return result


def train_setting(parameters: Mapping[str, Any]) -> str:
    """Return the words about a test set that a class offers, such as torchvision's `train`; empty if it has none."""
    if "train" in parameters:
        return "; if it has a test part, add 'data.test={train:false}'"
    return "; if it has a test part, add 'data.test={split:test}'" if "split" in parameters else ""


def of_parts(
    parts: Mapping[str, Any], settings: Gathering, wanted: TargetForm | None, hint: str, varied: Sequence[str] = ()
) -> Source:
    """Gather data sets into a source.

    Args:
        parts: `train`, and perhaps `test` and `val`.
        settings: how they are read.
        wanted: the form of targets that the task learns; None for what the targets show.
        hint: the end of the sentence about a test set that is drawn.
        varied: the parts that are the training set with other settings. If they have its examples again, only those
            that are set aside from training are taken from them.

    Raises:
        ValueError: a data set cannot be used.
    """
    chosen = Fields(settings.input, settings.target)
    found: dict[str, Gathered] = {}
    notes: list[str] = []
    for part, dataset in parts.items():
        found[part], note = of_part(dataset, chosen, settings)
        if note and note not in notes:
            notes.append(note)
    classes = class_names(parts["train"], chosen)
    if classes is not None and wanted in (None, "classes"):
        for part, one in found.items():
            refuse_unnamed(one.y, classes, f"{title(parts[part])}{'' if part == 'train' else f' (data.{part})'}")
    again: set[str] = set()
    doubts: list[str] = []
    for part in [name for name in found if name != "train"]:
        same = described_again(found["train"], found[part])
        if part not in varied:
            read_again = isinstance(found["train"].x, Rows) or isinstance(found[part].x, Rows)
            doubts += [repeated(part, len(found[part].y), "train")] if same and read_again else []
        elif same:
            again.add(part)
        elif same is None:
            notes.append(
                f"data.{part} has the targets of the training examples in the same order, but other inputs; all of its "
                f"{len(found[part].y):,} examples are used"
            )
    if settings.context is not None:
        arrays_only = [one for one in found.values() if isinstance(one.x, np.ndarray)]
        whole = len(arrays_only) == len(found)
        longest = max(one.x.shape[1] for one in arrays_only) if whole else settings.context
        for one in arrays_only:
            assert isinstance(one.x, np.ndarray)
            one.x = lengthened(one.x, longest)
        similar = "in batches of similar lengths" if isinstance(found["train"].x, np.ndarray) else "in each batch"
        notes.append(f"sequences of at most {longest:,} steps, padded {similar}")
    if any(isinstance(one.x, Rows) for one in found.values()):
        for one in found.values():  # as `read_one` does
            if isinstance(one.x, np.ndarray) and one.x.dtype != np.uint8:
                one.x = one.x.astype(np.float32)
    x = found["train"].x
    rows: tuple[Tensor | None, Tensor | None] = (None, None)
    numbers: dict[str, Tensor] | None = None
    arrays = {f"{kind}_{part}": getattr(one, kind) for part, one in found.items() for kind in "xy"}
    called = {name: name for name in (*NAMES, *VALIDATION)}
    fraction = DRAWN if settings.test_fraction is None else settings.test_fraction
    if "test" in again:
        varied_test = {name: arrays[name] for name in ("x_test", "y_test")}
        arrays, rows = with_test_rows(arrays, ("x", "y"), fraction, wanted)
        arrays |= varied_test
        notes.append(
            f"data.test describes the training examples again; {len(rows[1]):,} of the {len(x):,} are drawn for "
            f"testing, the same for every seed, and read with its settings{hint}"
        )
    elif "test" not in found and (isinstance(x, Rows) or "val" in again):
        arrays, rows = with_test_rows(arrays, ("x", "y"), fraction, wanted)
        notes.append(
            f"{title(parts['train'])} has no test part; {len(rows[1]):,} of its {len(x):,} examples are "
            f"drawn for testing, the same for every seed{hint}"
        )
    elif "test" not in found:
        arrays, note, numbers = with_test_drawn(arrays, called, fraction, wanted)
        notes.append(f"{title(parts['train'])} {note}{hint}")
    elif settings.test_fraction is not None:
        notes.append(f"there is a test set; data.test_fraction={settings.test_fraction} is not used")
    ordered = ("train", "test", *(["val"] if "val" in found else []))
    source = of_arrays(
        arrays,
        called,
        ordered,
        layout=(settings.layout or found["train"].layout) if x.ndim == 4 else None,
        wanted=wanted,
        notes=notes,
        classes=classes,
        mapped=isinstance(x, Rows),
        rows=rows,
        padded=settings.context is not None,
        val_again="val" in again,
        file_numbers=numbers,
    )
    source.doubts = (*source.doubts, *doubts)
    return source


def refuse_unnamed(y: np.ndarray, classes: Sequence[str], name: str) -> None:
    """Refuse targets that are numbers or names of classes, and of which one is not among the classes of the data set.

    Args:
        y: the targets.
        classes: the names of the classes that the data set has.
        name: of the data set.

    Raises:
        ValueError: names the first such example.
    """
    if not (y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)):
        return
    y, count = y.reshape(-1), len(classes)
    if y.dtype.kind == "U":
        outside = ~np.isin(y, classes)
        if outside.all():  # names of another kind, such as those of folders
            return
    elif y.dtype.kind in "iu" or (y.dtype.kind == "f" and bool((y == np.floor(y)).all())):
        outside = (y < 0) | (y >= count)
    else:
        return
    if not outside.any():
        return
    first = int(outside.argmax())
    target = repr(str(y[first])) if y.dtype.kind == "U" else f"{y[first]:g}"
    choices = f"expected one of {first_names(classes)}"
    if y.dtype.kind != "U":
        lowest, highest = int(y.min()), int(y.max())
        shifted = lowest > 0 and highest - lowest < count
        choices = f"expected numbers from 0 to {count - 1}" + (f": subtract {lowest}" if shifted else "")
    raise ValueError(
        f"example {first} of {name} has the target {target}, but its attribute classes has {counted(count, 'name')}; "
        f"{choices}"
    )


def of_part(dataset: Any, fields: Fields, settings: Gathering) -> tuple[Gathered, str]:
    """Gather a data set, or prepare to read it whenever an example is needed; return it with a sentence about this.

    Raises:
        ValueError: it cannot be used.
    """
    if isinstance(dataset, Stream):
        note = f"{title(dataset)} is a stream, which is read once: {len(dataset):,} examples"
        return gathered(dataset, fields, once=True, context=settings.context), note
    reason = f"{title(dataset)} is not gathered (data.gather=false)"
    if settings.gather is not False:
        try:
            return gathered(dataset, fields, once=settings.gather is True, context=settings.context), ""
        except (RandomItemsError, MemoryLimitError) as error:
            if settings.gather is True:
                raise
            reason = str(error)
    available = present_cores()
    workers = settings.workers if settings.workers != "auto" else min(MOST_WORKERS, available) if available > 1 else 0
    whom = f"by {workers} worker{'s' * (workers > 1)}" if workers else "by this process"
    note = f"{reason}; its examples are read in each epoch, {whom}"
    return streamed(dataset, fields, settings.layout, workers, settings.context), note
