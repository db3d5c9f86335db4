"""Loads, splits and preprocesses a data set, and copies it to the device."""

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import torch
import yaml
from annotated_types import Ge, Le, Lt, MinLen
from torch import Tensor

from experiments.common.conf import conf_folder
from experiments.common.errors import OwnCodeError, UserError, location, nearest, raised
from experiments.common.signatures import MISSING, TARGET, checked, dotted, parameters_of, shown
from experiments.common.text import one_line
from experiments.data import memory
from experiments.data.augment import AUGMENTS, Augmentation, Transformed, drawing_device, is_transform
from experiments.data.batches import Preparation, Split, resident
from experiments.data.forms import Description, Form, TargetForm, UnknownColumnError, sides
from experiments.data.preprocess import PREPROCESSES, Affine, Ahead, Double, Imputed, Tokens, column_means
from experiments.data.sources import Source, check_labels, feature_names, first_names, lost
from experiments.data.split import folds, stratified, with_label_noise
from experiments.data.streamed import Rows, Streamed
from experiments.data.transforms import TRANSFORMS
from experiments.tasks.base import Task
from experiments.training.streams import Streams

from . import _gathered
from ._overlaps import shared_examples
from ._scales import scaled_apart
from ._stateful import carry, refuse_stateful
from ._tasks import of_data, task_for, wanted
from .targets import Config, call, divided, located, target

Result = TypeVar("Result")
AHEAD_ROWS = 4096
"""Examples that an expensive preparation is applied to at a time."""
LOOKED_AT_VALUES = 2**18
"""Values of training examples whose size is looked at."""
TINY = 0.01
"""Inputs with a smaller standard deviation are too small to learn from: a hundredth of what `preprocess` gives."""
LOOKED_AT = 20_000
"""Training examples in which values that are lost are looked for."""
FITTED_ROWS = 1024
"""The examples of a data set that is read by workers to fit its preparation."""
FITTED_BYTES = 2**28
"""The bytes of a memory-mapped data set that are read to fit its preparation."""
TABLES = ("experiments.data.tables.csv", "experiments.data.parquet.parquet")
"""The functions that read tables, of which a column is the target."""
PICTURES = "experiments.data.pictures.image_folder"
NO_COLUMN = "????"
"""A name that no column has: a table that is asked for it answers with the names of its columns."""


@dataclass(frozen=True)
class Splitting:
    """The settings of `data` that every data set has; `conf/train.yaml` describes them."""

    keep_classes: Annotated[list[str | int | float], MinLen(1)] | None = None
    val_fraction: Annotated[float, Ge(0), Lt(1)] = 0.2
    folds: Annotated[int, Ge(2)] | None = None
    fold: Annotated[int, Ge(0)] | None = None
    limit: Annotated[int, Ge(1)] | None = None
    label_noise: Annotated[float, Ge(0), Le(1)] = 0.0
    balance: Literal["none", "class_weights"] | None = "none"
    preprocess: Any = "standardize"
    augment: Any = "none"
    stateful: bool = False


@dataclass
class Data:
    """The splits on their device, their description, and the treatment of training batches.

    Args:
        splits: `train`, `test` and, unless it would be empty, `val`.
        description: the names of the classes, and the shape and form of a raw example.
        prepare: the preparation of examples, fitted on the training split.
        augments: the augmentations of training inputs.
        task: what is learnt, fitted to the training split.
        class_weights: (classes,), on the device; None if all examples have the same weight.
        notes: sentences for the user about the data.
        doubts: sentences about what may be a mistake in the data.
        padded: whether examples are sequences of unequal lengths; see `data.sequences`.
        faults: those of the doubts about inputs from which nothing can be learnt.
        mapped: whether the inputs are memory-mapped files.
        numbers: by split, the number of each example in the user's file; see `Source.numbers`.
    """

    splits: dict[str, Split]
    description: Description
    prepare: Preparation
    task: Task
    augments: Sequence[Augmentation] = ()
    class_weights: Tensor | None = None
    notes: Sequence[str] = ()
    doubts: Sequence[str] = ()
    faults: Sequence[str] = ()
    mapped: bool = False
    padded: bool = False
    numbers: Mapping[str, Tensor] = field(default_factory=dict)

    def double(self) -> None:
        """Convert inputs and class weights to float64."""
        for split in self.splits.values():
            split.prepare = Double(split.prepare)
            split.y = split.y.double() if split.y.is_floating_point() else split.y
        if self.class_weights is not None:
            self.class_weights = self.class_weights.double()

    @property
    def questions(self) -> list[str]:
        """Everything in the data that may be a mistake: the doubts, and the columns that look like no features."""
        columns = [f"column {use.name!r}: {use.note}" for use in self.description.columns if use.doubtful]
        return [*self.doubts, *columns]

    @property
    def classes(self) -> list[str]:
        """The classes' names."""
        return list(self.description.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one prepared example."""
        return tuple(self.example.shape[1:])

    @property
    def held(self) -> int:
        """The bytes of its inputs in memory; several splits may share them."""
        stored = [] if self.mapped else [split.x.untyped_storage() for split in self.splits.values()]
        stored += [split.y.untyped_storage() for split in self.splits.values() if self.task.of_inputs]
        return sum({one.data_ptr(): one.nbytes() for one in stored}.values())

    @property
    def example(self) -> Tensor:
        """The first training example, prepared, as a batch."""
        return self.splits["train"].first(1)[0]


class Sources:
    """Data sets that several runs share: each is loaded and copied to the device once.

    Runs with the same seed have the same training split: what is computed from its inputs is shared too.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Source] = {}
        self._computed: dict[tuple[Hashable, str], Any] = {}
        self._resident: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def load(self, section: Config, form: Form = None, wanted: TargetForm | None = None) -> Source:
        """Return the data set of a section; see `loaded`."""
        key = f"{json.dumps(section, sort_keys=True)} {form} {wanted}"
        if key not in self._loaded:
            self._loaded[key] = loaded(section, form, wanted)
        return self._loaded[key]

    def once(self, inputs: Hashable, name: str, compute: Callable[[], Result]) -> Result:
        """Return what is computed from inputs.

        Args:
            inputs: what they follow from.
            name: of the result.
            compute: called for the first of the runs.
        """
        if (inputs, name) not in self._computed:
            self._computed[inputs, name] = compute()
        result: Result = self._computed[inputs, name]
        return result

    def resident(self, x: Tensor, device: torch.device) -> Tensor:
        """Return inputs on a device, or on the host if they would take too much of the device's memory."""
        key = (id(x), device)
        if key not in self._resident:
            split = resident(x, torch.empty(len(x), dtype=torch.int64), None, lambda inputs: inputs, device)
            self._resident[key] = x, split.x
        return self._resident[key][1]


@dataclass(frozen=True)
class Known:
    """The data that a run was trained on, which other data must match.

    Args:
        description: the data's description.
        prepare: the preparation that was fitted on it.
    """

    description: Description
    prepare: Preparation


def splitting(section: Config) -> dict[str, Any]:
    """Return the settings of a section that every data set has."""
    return divided(section, Splitting)[0]


def data_choice(name: str) -> dict[str, Any]:
    """Return the section of a data set, from its file in `conf/data`.

    Raises:
        UserError: there is no such data set.
    """
    files = {path.stem: path for path in sorted((conf_folder() / "data").glob("*.yaml"))}
    return yaml.safe_load(named(name, files, "data").read_text(encoding="utf-8"))


def loaded(section: Config, form: Form = None, wanted: TargetForm | None = None) -> Source:
    """Load the data set that a section names.

    Args:
        section: its settings.
        form: of the run's data, for a function with the parameter `form`.
        wanted: the form of targets that the task learns, for a function with the parameter `wanted`.
    """
    if section.get("target") == MISSING and section.get(TARGET) in TABLES and section.get("path") != MISSING:
        raise UserError(f"data.target is missing; set data.target=...{columns_of(section)}")
    if section.get("size") == MISSING and section.get(TARGET) == PICTURES:
        raise UserError(
            "data.size is missing: the side of the square pictures in pixels, to which the shorter side of each "
            "picture is scaled before its centre is cropped; set it, for example data.size=64"
        )
    source = _gathered.load(section, {"form": form, "wanted": wanted})
    try:
        check_labels(source)
    except ValueError as error:
        raise UserError(f"data: {error}") from None
    source.doubts = tuple(dict.fromkeys([*source.doubts, *shared_examples(source)]))
    return source


def columns_of(section: Config) -> str:
    """Return the columns of a table, to follow the sentence that asks for one of them.

    Raises:
        UserError: the table cannot be read.
    """
    try:
        _gathered.load({**section, "target": NO_COLUMN}, {})
    except UserError as error:
        if isinstance(unknown := error.__cause__, UnknownColumnError):
            return f" to one of the columns of {unknown.path}: {unknown.columns}"
        raise
    return ""


def data(
    config: Config,
    streams: Streams,
    device: torch.device,
    sources: Sources | None = None,
    known: Known | None = None,
) -> Data:
    """Load, split and preprocess the data set.

    First the classes are selected, then the validation split is taken from the training examples, then the training
    split is limited, so a limit changes no other split. Every statistic is fitted on the final training split.

    Args:
        config: the run's configuration.
        streams: the run's random streams; `split` draws the splits.
        device: the device of the batches.
        sources: the data sets that this run shares with others; None to load the data set for this run only.
        known: the data that a finished run was trained on: nothing is fitted, and the data set must match it.

    Raises:
        UserError: a setting or the data set cannot be used.
    """
    common, own = divided(config["data"], Splitting, "data")
    settings = Splitting(**checked(Splitting, common, "data"))
    fit = preprocess(settings.preprocess)
    form = None if known is None else known.description.form
    kind = wanted(config) if known is None else of_data(known.description.kind)
    source = loaded(own, form, kind) if sources is None else sources.load(own, form, kind)
    task = task_for(config, source)
    refuse_for_classes(settings, source, task)
    if settings.stateful:
        refuse_stateful(source, task)
    if settings.keep_classes is not None:
        source = of_classes(source, settings.keep_classes)
    if known is not None:
        source = matched(source, known.description, task)
    if source.kind == "classes":
        kept, tested = [(labels >= 0).nonzero().flatten() for labels in (source.y_train, source.y_test)]
    else:
        kept, tested = torch.arange(len(source.y_train)), torch.arange(len(source.y_test))
    kept, tested = of_rows(kept, source.train_rows), of_rows(tested, source.test_rows)
    y = source.y_train[kept]
    validated, ordered = source.y_val is not None and not source.val_again, source.kind == "tokens" or settings.stateful
    train, val = divided_rows(task.strata(y), settings, streams.split, validated=validated, ordered=ordered)
    computed = computed_anew
    if sources is not None and isinstance(settings.preprocess, str):  # a function of the user's may be random
        section = f"{json.dumps(config['data'], sort_keys=True)} {form} {kind} {device}"
        computed = partial(sources.once, (section, digest_of(kept[train]), digest_of(kept[val])))
    labels = y[train]
    if settings.label_noise:
        if len(source.classes) < 2:
            raise UserError(f"data.label_noise={settings.label_noise} needs at least two classes")
        labels = with_label_noise(labels, settings.label_noise, len(source.classes), streams.split)
    if known is not None:
        prepare = known.prepare
    elif source.kind == "tokens":
        prepare = of_tokens(settings, source)
    else:
        prepare = computed("preparation", partial(fitted, fit, source, kept[train], device))
    set_aside = source.x_train if source.x_val is None else source.x_val
    parts = {
        "train": (source.x_train, labels, kept[train]),
        "val": own_validation(source, settings) if validated else (set_aside, y[val], kept[val]),
        "test": (source.x_test, source.y_test[tested], tested if len(tested) < len(source.y_test) else None),
    }
    if task.of_inputs and any(isinstance(x, Rows) for x, _, _ in parts.values()):
        raise UserError(
            f"task={task.name} needs examples that are read once; add data.gather=true, or choose another task"
        )
    if task.of_inputs:
        parts = with_inputs_as_targets(parts, prepare, device, mapped=source.mapped)
    description = fit_task(task, source, parts["train"][1], known)
    splits = {
        name: Streamed(x, task.encode(y), prepare, device, rows, seed=config["seed"])
        if isinstance(x, Rows)
        else split_of(x, task.encode(y), prepare, device, rows=rows, mapped=source.mapped, sources=sources)
        for name, (x, y, rows) in parts.items()
        if len(y)
    }
    weights = class_weights(labels, len(source.classes)).to(device) if settings.balance == "class_weights" else None
    notes = list(source.notes)
    if settings.stateful:
        notes.append(carry(splits, source, parts))
    if source.val_again:
        notes.append(
            "data.val describes the training examples again; the examples that are set aside for validation "
            f"({len(val):,} of {len(y):,}) are read with its settings"
        )
    elif source.y_val is not None:
        whose = f"the {len(splits['val']):,} validation examples are the data set's own"
        notes.append(f"{whose}; data.val_fraction={settings.val_fraction} is not used")
    faults = unsuitable(splits["train"])
    doubts = [*source.doubts, *lossy(source, kept[train], prepare), *faults]
    if source.kind != "tokens" and not source.padded:
        doubts += computed("scales", lambda: list(scaled_apart(splits, source.form)))
    result = Data(splits, description, prepare, task, class_weights=weights, notes=notes, doubts=doubts)
    result.faults = faults
    result.mapped, result.padded = source.mapped, source.padded
    result.numbers = {name: numbers_of(source, name, rows, len(y)) for name, (_, y, rows) in parts.items() if len(y)}
    result.augments = augments(settings.augment, result, device)
    return result


def numbers_of(source: Source, split: str, rows: Tensor | None, count: int) -> Tensor:
    """Return the number of each example of a split in the user's file.

    Args:
        source: the data set.
        split: its name.
        rows: of the examples, in the part of the source; None for all of it.
        count: how many examples.
    """
    rows = torch.arange(count) if rows is None else rows
    own = (source.numbers or {}).get(source.part_of(split))  # a part with a file of its own counts from its beginning
    return rows if own is None else own[rows]


def computed_anew(_name: str, compute: Callable[[], Any]) -> Any:
    """Return what is computed for a run that shares nothing; see `Sources.once`."""
    return compute()


def digest_of(rows: Tensor) -> bytes:
    """Return a digest of the numbers of examples."""
    return hashlib.sha256(rows.numpy().tobytes()).digest()


def of_rows(rows: Tensor, chosen: Tensor | None) -> Tensor:
    """Return those of some rows that are chosen; None is all."""
    return rows if chosen is None else rows[torch.isin(rows, chosen)]


def fit_task(task: Task, source: Source, y: Tensor, known: Known | None) -> Description:
    """Fit a task to the training targets, or restore it; return the description of the data with what it has found.

    Raises:
        UserError: nothing can be learnt from the targets.
    """
    description = described(source.description, task, y)
    if known is not None:
        task.load(known.description.names, known.description.scaling)
        return description
    try:
        task.fit(description.names, y)
    except ValueError as error:
        raise UserError(f"data: {error}") from None
    return replace(description, scaling=task.state_dict())


def described(description: Description, task: Task, y: Tensor) -> Description:
    """Return the description of a data set for a task: the targets of a reconstruction are the inputs.

    Args:
        description: of the source.
        task: what is learnt.
        y: the training targets.
    """
    if not task.of_inputs:
        return description
    return replace(description, kind=task.form, classes=(), targets=tuple(str(n) for n in range(y.shape[1])))


def with_inputs_as_targets(
    parts: Mapping[str, tuple[Tensor, Tensor, Tensor | None]],
    prepare: Preparation,
    device: torch.device,
    *,
    mapped: bool,
) -> dict[str, tuple[Tensor, Tensor, Tensor | None]]:
    """Return parts of a data set whose targets are the inputs as the model gets them, (examples, values).

    Args:
        parts: inputs, targets and the rows of each split.
        prepare: the fitted preparation.
        device: of the run.
        mapped: whether inputs are memory-mapped.

    Raises:
        UserError: the copy of the inputs needs more memory than it may take.
    """
    found = {}
    for name, (x, y, rows) in parts.items():
        if not len(y):
            found[name] = (x, y, rows)
            continue
        try:
            memory.require(4 * x[0].numel() * len(y), "task=reconstruction, whose targets are copies of the inputs,")
        except memory.MemoryLimitError as error:
            raise UserError(str(error)) from None
        split = split_of(x, torch.zeros(len(y)), prepare, device, rows=rows, mapped=mapped)
        found[name] = (x, torch.cat([part.flatten(1).cpu() for part, _ in split.in_order(AHEAD_ROWS)]), rows)
    return found


def refuse_for_classes(settings: Splitting, source: Source, task: Task) -> None:
    """Refuse the settings that are about classes, if others are learnt; a reconstruction may be of some classes only.

    Raises:
        UserError: one of them is chosen.
    """
    if task.form == "classes":
        return
    for name, usual in (("keep_classes", None), ("label_noise", 0.0), ("balance", "none")):
        value = getattr(settings, name)
        if value not in (usual, None) and not (name == "keep_classes" and source.kind == "classes"):
            raise UserError(f"data.{name}={shown(value)} is for task=classification, not for {task.name}")


def of_classes(source: Source, wanted: Sequence[str | float]) -> Source:
    """Return a data set with the wanted classes in this order; all other examples have the label -1.

    An integer is a class's position, from 0, unless the data set has class names that are integers.

    Raises:
        UserError: a class does not exist or is named twice, or no training or no test example is left.
    """
    known = [str(name) for name in source.classes]
    numbers = {} if any(name.isdigit() for name in known) else {str(index): name for index, name in enumerate(known)}
    names = [numbers.get(str(name), str(name)) for name in wanted]
    for name in names:
        if name not in known:
            raise UserError(
                f"data.keep_classes={name!r} is not a class; choose from {first_names(known)}" + nearest(name, known)
            )
        if names.count(name) > 1:
            raise UserError(f"data.keep_classes names {name!r} twice; name each class once")
    number = torch.full((len(known),), -1)
    number[[known.index(name) for name in names]] = torch.arange(len(names))
    selected = source.labels_changed(lambda y: number[y], classes=names)
    for part in source.parts:
        if not (getattr(selected, f"y_{part}") >= 0).any():
            kind = {"train": "training", "val": "validation"}.get(part, part)
            raise UserError(f"data.keep_classes={shown(list(wanted))} leaves no {kind} example")
    return selected


def matched(source: Source, expected: Description, task: Task) -> Source:
    """Return a data set with its classes in the order of a run's classes.

    Args:
        source: the data set.
        expected: the data that the run was trained on.
        task: what it has learnt.

    Raises:
        UserError: its examples have another shape, or it has a class that the run does not know.
    """
    given = source.description
    if task.of_inputs:
        given = replace(given, kind=expected.kind, classes=expected.classes, targets=expected.targets)
    if given.shape != expected.shape:
        raise UserError(
            f"data: its examples have the shape {sides(given.shape)}; the run was trained on {sides(expected.shape)}"
        )
    if given.kind != expected.kind or (given.kind != "classes" and given.targets != expected.targets):
        raise UserError(
            f"data: its targets are {first_names(given.names)}; the run was trained on {first_names(expected.names)}"
        )
    if given.classes == expected.classes:
        return source
    renamed = {name: name if name in expected.classes else respelled(name, expected.classes) for name in given.classes}
    unknown = [name for name, own in renamed.items() if own is None]
    if unknown:
        raise UserError(
            f"data: the class {unknown[0]!r} is not one of the run's classes, {first_names(expected.classes)}"
            + nearest(unknown[0], expected.classes)
        )
    numbers = torch.tensor([expected.classes.index(own) for own in renamed.values() if own is not None])
    pairs = ", ".join(f"{name!r} is {own!r}" for name, own in renamed.items() if name != own)
    notes = (*source.notes, f"classes are spelled differently than in training: {pairs}") if pairs else source.notes
    return source.labels_changed(
        lambda y: torch.where(y < 0, y, numbers[y]), classes=list(expected.classes), notes=notes
    )


def respelled(name: str, classes: Sequence[str]) -> str | None:
    """Return the only class that is the same number as a name, such as '1' for '1.0' or '01'; None if there is none."""
    try:
        same = [other for other in classes if float(other) == float(name)]
    except ValueError:
        return None
    return same[0] if len(same) == 1 else None


def own_validation(source: Source, settings: Splitting) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the inputs, the labels and the rows of a data set's own validation part."""
    assert source.x_val is not None
    assert source.y_val is not None
    kept = (source.y_val >= 0).nonzero().flatten() if source.kind == "classes" else torch.arange(len(source.y_val))
    return source.x_val, source.y_val[kept], None if settings.keep_classes is None else kept


def divided_rows(
    labels: Tensor,
    settings: Splitting,
    generator: torch.Generator,
    *,
    validated: bool = False,
    ordered: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the rows of the training split and of the validation split.

    Args:
        labels: of the training part.
        settings: of the section.
        generator: draws the splits.
        validated: whether the data set has its own validation part; the training part is then not divided.
        ordered: whether neighbours belong together, as in a text: a validation split is then a part without gaps, by
            default the end.

    Raises:
        UserError: a setting does not fit the number of examples, or no training example is left.
    """
    if validated and settings.folds is not None:
        raise UserError(
            f"data.folds={settings.folds} divides the training examples, but the data set has its own validation part; "
            "leave out data.folds, or that part"
        )
    if validated:
        _, train = stratified(labels, 0, generator)
        val = train[:0]
    elif settings.folds is not None:
        train, val = one_fold(labels, settings, generator, ordered=ordered)
    elif settings.fold is not None:
        raise UserError(f"data.fold={settings.fold} needs the number of folds; add data.folds=5")
    elif ordered:
        first = len(labels) - round(settings.val_fraction * len(labels))
        train, val = torch.randperm(first, generator=generator), torch.arange(first, len(labels))
    else:
        val, train = stratified(labels, round(settings.val_fraction * len(labels)), generator)
    if settings.stateful:
        train = train.sort().values
    if settings.limit is not None:
        if settings.limit > len(train):
            raise UserError(f"data.limit={settings.limit} is more than the {len(train)} training examples")
        kept, _ = stratified(labels[train], settings.limit, generator)
        train = train[: settings.limit] if settings.stateful else train[kept]
    if len(train) == 0:
        raise UserError(f"data.val_fraction={settings.val_fraction} leaves no example to train on")
    return train, val


def one_fold(
    labels: Tensor, settings: Splitting, generator: torch.Generator, *, ordered: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the rows outside and inside a fold, both shuffled; the division into folds does not depend on `fold`.

    Args:
        labels, settings, generator, ordered: see `divided_rows`.

    Raises:
        UserError: there are too many folds, or no such fold.
    """
    count, fold = settings.folds or 0, settings.fold
    if count > len(labels):
        raise UserError(f"data.folds={count} is more than the {len(labels)} training examples")
    if fold is None:
        raise UserError(
            f"data.folds={count} needs data.fold, from 0 to {count - 1}; for all folds, -m 'data.fold=range({count})'"
        )
    if fold >= count:
        raise UserError(f"data.fold={fold} does not exist; data.folds={count} allows 0 to {count - 1}")
    number = torch.arange(len(labels)) * count // len(labels) if ordered else folds(labels, count, generator)
    shuffled = torch.randperm(len(labels), generator=generator)
    inside = number[shuffled] == fold
    return shuffled[~inside], shuffled[inside]


def lossy(source: Source, train: Tensor, prepare: Preparation) -> list[str]:
    """Return a sentence if a feature loses most of its values because the preparation does not centre it.

    Args:
        source: the data set.
        train: the rows of the training split.
        prepare: the fitted preparation.
    """
    inner = prepare.inner if isinstance(prepare, Imputed) else prepare
    x = source.x_train
    if not isinstance(inner, Affine) or x.ndim != 2 or x.dtype != torch.float64:
        return []
    raw = x[train[:LOOKED_AT]]
    found = lost(raw, prepare(raw.to(inner.shift.device)).cpu())
    if found is None:
        return []
    number, before, after = found
    name = feature_names(source.form, x.shape[1])[number]
    return [
        f"{name} has {before:,} different values in the file and {after:,} in float32, as the model gets them; "
        "data.preprocess=standardize centres them first"
    ]


def unsuitable(split: Split) -> list[str]:
    """Return a sentence if nothing can be learnt from the inputs of a split, as the model gets them.

    Args:
        split: of the training examples.
    """
    if len(split) < 2:
        return []
    x = split.first(max(2, LOOKED_AT_VALUES // max(1, split.x[0].numel())))[0].flatten(1).double()
    if (x == x[0]).all():
        if all((part.flatten(1).double() == x[0]).all() for part, _ in split.in_order(AHEAD_ROWS)):
            raw = split.raw(torch.arange(1, device=split.x.device))
            what = "0 in every training example" if not raw.any() else "the same in every training example"
            return [f"all inputs are {what}, so nothing can be learnt from them; look at how the files were written"]
    elif (spread := float((x - x.mean(0)).square().mean().sqrt())) < TINY:
        return [
            f"the inputs have a standard deviation of {spread:.1g}, as the model gets them, which is too small to "
            "learn from; data.preprocess=standardize gives 1"
        ]
    return []


def fitted(fit: Callable[[Tensor], Any], source: Source, train: Tensor, device: torch.device) -> Preparation:
    """Fit the preparation on the training split, or on its first `FITTED_BYTES` if it is memory-mapped.

    Raises:
        UserError: the preparation cannot be fitted.
    """
    rows = train
    if source.mapped:
        rows = train[: max(1, FITTED_BYTES // source.x_train[0].nbytes)]
    if isinstance(source.x_train, Rows):
        rows = rows[:FITTED_ROWS]
    x = source.x_train[rows]
    means = column_means(x) if source.impute else None
    if source.padded:
        x = x.reshape(-1, x.shape[-1] if x.ndim > 2 else 1)
        x = x[~x[:, 0].isnan()]  # the steps of all sequences
    if means is not None:
        x = torch.where(x.isnan(), means, x)
    try:
        prepare = fit(x)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"data.{error}" if str(error).startswith("preprocess=") else f"data.preprocess: {error}"
        ) from error
    if not callable(prepare):
        raise UserError(f"data.preprocess returned a {type(prepare).__name__}, expected a function of inputs")
    if source.padded and not isinstance(prepare, Affine):
        raise UserError("data.preprocess is not for sequences of unequal lengths; use standardize, scale or none")
    if means is not None:
        prepare = Imputed(means, prepare)
    return prepare.to(device) if hasattr(prepare, "to") else prepare


def of_tokens(settings: Splitting, source: Source) -> Tokens:
    """Return the preparation of tokens, which stay as they are.

    Raises:
        UserError: another preparation or an augmentation is chosen.
    """
    for name, usual in (("preprocess", ("standardize", "none")), ("augment", ("none", []))):
        value = getattr(settings, name)
        if value is not None and value not in usual:
            raise UserError(f"data.{name}={shown(value)} is for numbers, but the inputs of this data set are tokens")
    return Tokens(len(source.targets))


def split_of(
    x: Tensor,
    y: Tensor,
    prepare: Preparation,
    device: torch.device,
    *,
    rows: Tensor | None = None,
    mapped: bool = False,
    sources: Sources | None = None,
) -> Split:
    """Build a split: rows of a memory-mapped file or of shared inputs, or a copy of the rows.

    An expensive preparation is applied to the whole split here.

    Args:
        x: raw inputs, (examples, *input_shape), on the host.
        y: class numbers of the split's examples, on the host.
        prepare: see `Split`.
        device: see `Split`.
        rows: the rows of x that belong to the split, on the host; None for all.
        mapped: whether x is memory-mapped.
        sources: the data sets that runs share; None if x is this run's only.
    """
    if mapped:
        return resident(x, y, rows, prepare, device)
    if sources is not None and not getattr(prepare, "ahead", False):
        shared = sources.resident(x, device)
        return Split(shared, y.to(shared.device), prepare, device, None if rows is None else rows.to(shared.device))
    split = resident(x if rows is None else x[rows], y, None, prepare, device)
    if getattr(prepare, "ahead", False):
        prepared = torch.cat([part for part, _ in split.in_order(AHEAD_ROWS)])
        return Split(prepared.to(split.x.device), split.y, Ahead(prepare), device)
    return split


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return the factor of each class's loss: N / (classes present * N of the class), on average 1 per example."""
    counts = torch.bincount(labels, minlength=classes).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(labels) / (present * counts.clamp_min(1)), 0.0)


def preprocess(choice: Any) -> Callable[[Tensor], Any]:
    """Return the function that fits a preparation to training inputs."""
    if isinstance(choice, Mapping) and TARGET in choice:
        first = next(iter(parameters_of(located(choice, "data.preprocess")) or {}), "")
        return target(choice, "data.preprocess", supplied=(first,))
    return named(choice, PREPROCESSES, "data.preprocess")


def augments(choice: Any, data: Data, device: torch.device) -> list[Augmentation]:
    """Return the augmentations of training inputs, each tried on one example.

    Raises:
        UserError: an augmentation is unknown, or cannot be applied to these examples.
    """
    chosen = choice if isinstance(choice, list) else [choice]
    built = []
    for number, entry in enumerate(chosen):
        key = "data.augment" if entry is choice else f"data.augment[{number}]"
        if entry in (None, "none"):
            continue
        if not isinstance(entry, Mapping):
            named(entry, {"none": None, **AUGMENTS}, key)
            entry = {TARGET: f"{AUGMENTS[entry].__module__}.{AUGMENTS[entry].__name__}"}
        augment = built_augment(entry, key, len(data.classes))
        tried = data.task.examples_of_targets(1).to(device)
        try:
            result = augment(data.example, tried, torch.Generator(drawing_device(augment, device)))
        except Exception as error:
            if isinstance(error, ValueError | TypeError | RuntimeError):
                raise UserError(f"{key}={shown(choice)} {one_line(error)}") from error
            if location(error) is None:
                raise
            raise OwnCodeError(f"{key}={shown(choice)} {raised(error)}") from error
        if not augmented(result, data.example):
            raise UserError(
                f"{key}={shown(choice)} returns something else than inputs and targets for each example; it is called "
                "with inputs, targets and a generator, and returns both tensors"
            )
        built.append(augment)
    return built


def augmented(result: Any, x: Tensor) -> bool:
    """Whether the result of an augmentation is inputs of the same shape, and targets."""
    if not isinstance(result, tuple | list) or len(result) != 2 or not all(isinstance(t, Tensor) for t in result):
        return False
    return result[0].shape == x.shape and len(result[1]) == len(x)


def built_augment(entry: Config, key: str, classes: int) -> Augmentation:
    """Build an augmentation: one of ours or of the user, or a transform of torchvision.

    Raises:
        UserError: it cannot be built, or is a transform that cannot follow the preparation.
    """
    path = str(entry.get(TARGET))
    if not path.startswith("torchvision."):
        return call(entry, key, {"classes": classes})
    if not is_transform(located(entry, key)):
        raise UserError(
            f"{dotted(key, TARGET)}={path!r} cannot be used, as inputs are prepared before they are augmented; of "
            f"torchvision.transforms.v2, choose from {', '.join(TRANSFORMS)}"
        )
    return Transformed(call(entry, key))


def named(choice: Any, table: Mapping[str, Any], key: str) -> Any:
    """Return the entry of a table with the chosen name.

    Raises:
        UserError: there is no such entry.
    """
    choice = "none" if choice is None else choice
    if not isinstance(choice, str) or choice not in table:
        raise UserError(
            f"unknown {key} {shown(choice)}; choose from {', '.join(table)}" + nearest(str(choice), table, key)
        )
    return table[choice]
