"""The data set: loaded, split, prepared and put on the device."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
import yaml
from annotated_types import Ge, Le, Lt, MinLen
from torch import Tensor

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError, nearest
from experiments.common.signatures import TARGET, checked, parameters_of, shown
from experiments.data.augment import AUGMENTS, Augmentation
from experiments.data.batches import Preparation, Split, resident
from experiments.data.forms import Description, Form, sides
from experiments.data.preprocess import PREPROCESSES, Ahead, Double, Imputed, column_means
from experiments.data.sources import Source
from experiments.data.split import folds, stratified, with_label_noise
from experiments.training.streams import Streams

from .targets import Config, call, divided, located, target

AHEAD_ROWS = 4096
FITTED_BYTES = 2**28
"""How much of a data set that lies in a mapped file is read to fit its preparation."""


@dataclass(frozen=True)
class Splitting:
    """What is done with any data set.

    Args:
        keep_classes: the names of the classes whose examples are kept, in the order of their new numbers; null for all.
        val_fraction: the share of the training examples that becomes the validation split.
        folds: cut the training examples into so many folds instead, one of which is the validation split.
        fold: which one, from 0.
        limit: how many examples to keep in the training split; null for all.
        label_noise: the share of the training split whose classes are replaced by wrong ones.
        balance: class_weights weighs the loss so that every class counts alike in training.
        preprocess: how inputs are prepared, by name, or a function by `_target_`.
        augment: how training inputs are varied: a name, a class by `_target_`, or a list of these.
    """

    keep_classes: Annotated[list[str | int | float], MinLen(1)] | None = None
    val_fraction: Annotated[float, Ge(0), Lt(1)] = 0.2
    folds: Annotated[int, Ge(2)] | None = None
    fold: Annotated[int, Ge(0)] | None = None
    limit: Annotated[int, Ge(1)] | None = None
    label_noise: Annotated[float, Ge(0), Le(1)] = 0.0
    balance: Literal["none", "class_weights"] | None = "none"
    preprocess: Any = "standardize"
    augment: Any = "none"


@dataclass
class Data:
    """The splits on their device, what they are, and what is done with training batches.

    Args:
        splits: `train`, `test` and, where there is one, `val`.
        description: names of the classes, and what an example is before it is prepared.
        prepare: what prepares examples, fitted on the training split.
        augments: what varies training inputs.
        class_weights: (classes,), on the device; None where all examples count alike.
    """

    splits: dict[str, Split]
    description: Description
    prepare: Preparation
    augments: Sequence[Augmentation] = ()
    class_weights: Tensor | None = None

    def double(self) -> None:
        """Give inputs, and what the loss multiplies by, in float64."""
        for split in self.splits.values():
            split.prepare = Double(split.prepare)
        if self.class_weights is not None:
            self.class_weights = self.class_weights.double()

    @property
    def classes(self) -> list[str]:
        """The classes' names."""
        return list(self.description.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one prepared example."""
        return tuple(self.example.shape[1:])

    @property
    def example(self) -> Tensor:
        """The first training example, prepared, as a batch."""
        return self.splits["train"].first(1)[0]


class Sources:
    """Data sets that several runs share: each is loaded and brought to the device once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Source] = {}
        self._resident: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def load(self, section: Config, form: Form = None) -> Source:
        """Return what a section of the configuration loads; see `loaded`."""
        key = f"{json.dumps(section, sort_keys=True)} {form}"
        if key not in self._loaded:
            self._loaded[key] = loaded(section, form)
        return self._loaded[key]

    def resident(self, x: Tensor, device: torch.device) -> Tensor:
        """Return inputs on a device, or on the host if they would take too much of the device's memory."""
        key = (id(x), device)
        if key not in self._resident:
            split = resident(x, torch.empty(len(x), dtype=torch.int64), None, lambda inputs: inputs, device)
            self._resident[key] = x, split.x
        return self._resident[key][1]


@dataclass(frozen=True)
class Known:
    """What a run has learned of its data, which other data have to go with.

    Args:
        description: what it expects.
        prepare: how it prepares that.
    """

    description: Description
    prepare: Preparation


def splitting(section: Config) -> dict[str, Any]:
    """Return the settings of a section that go with any data set."""
    return divided(section, Splitting)[0]


def data_choice(name: str) -> dict[str, Any]:
    """Return the section of a data set that has a file in `conf/data`.

    Raises:
        UserError: there is none of the name.
    """
    files = {path.stem: path for path in sorted((conf_folder() / "data").glob("*.yaml"))}
    return yaml.safe_load(named(name, files, "data").read_text(encoding="utf-8"))


def loaded(section: Config, form: Form = None) -> Source:
    """Load the data set that a section names; a function that asks for `form` is given the one that a run knows."""
    source = call(section, "data", {"form": form})
    if not isinstance(source, Source):
        raise UserError(f"data._target_={section[TARGET]!r} returned a {type(source).__name__}, expected a Source")
    return source


def data(
    config: Config,
    streams: Streams,
    device: torch.device,
    sources: Sources | None = None,
    known: Known | None = None,
) -> Data:
    """Load, split and prepare the data set; from `sources`, where it is shared with other runs.

    The classes are chosen first. The validation split is cut from the training examples next, then the training split
    is limited, so a limit changes no other split. Every statistic is fitted on what is left to train on; with `known`,
    nothing is fitted, and the data set has to be what the run expects.
    """
    common, own = divided(config["data"], Splitting)
    settings = Splitting(**checked(Splitting, common, "data"))
    fit = preprocess(settings.preprocess)
    if known is not None:
        form = known.description.form
        source = loaded(own, form) if sources is None else sources.load(own, form)
    else:
        source = loaded(own) if sources is None else sources.load(own)
    if settings.keep_classes is not None:
        source = of_classes(source, settings.keep_classes)
    if known is not None:
        source = matched(source, known.description)
    kept, tested = [(labels >= 0).nonzero().flatten() for labels in (source.y_train, source.y_test)]
    y = source.y_train[kept]
    train, val = divided_rows(y, settings, streams.split)
    labels = y[train]
    if settings.label_noise:
        if len(source.classes) < 2:
            raise UserError(f"data.label_noise={settings.label_noise} needs a second class to take for the first")
        labels = with_label_noise(labels, settings.label_noise, len(source.classes), streams.split)
    prepare = fitted(fit, source, kept[train], device) if known is None else known.prepare
    parts = {
        "train": (source.x_train, labels, kept[train]),
        "val": (source.x_train, y[val], kept[val]),
        "test": (source.x_test, source.y_test[tested], None if settings.keep_classes is None else tested),
    }
    splits = {
        name: split_of(x, y, prepare, device, rows=rows, mapped=source.mapped, sources=sources)
        for name, (x, y, rows) in parts.items()
        if len(y)
    }
    weights = class_weights(labels, len(source.classes)).to(device) if settings.balance == "class_weights" else None
    made = Data(splits, source.description, prepare, class_weights=weights)
    made.augments = augments(settings.augment, made, device)
    return made


def of_classes(source: Source, wanted: Sequence[str | float]) -> Source:
    """Return a data set whose classes are the wanted ones in this order, and whose other examples have the label -1.

    A whole number is a class's place, from 0, where no class is called by a number.

    Raises:
        UserError: there is no such class, it is named twice, or none of them has an example.
    """
    known = [str(name) for name in source.classes]
    numbers = {} if any(name.isdigit() for name in known) else {str(place): name for place, name in enumerate(known)}
    names = [numbers.get(str(name), str(name)) for name in wanted]
    for name in names:
        if name not in known:
            raise UserError(
                f"data.keep_classes={name!r} is no class; there are {named_shortly(known)}" + nearest(name, known)
            )
        if names.count(name) > 1:
            raise UserError(f"data.keep_classes names {name!r} twice; name each class once")
    number = torch.full((len(known),), -1)
    number[[known.index(name) for name in names]] = torch.arange(len(names))
    y_train, y_test = number[source.y_train], number[source.y_test]
    for part, labels in (("training", y_train), ("test", y_test)):
        if not (labels >= 0).any():
            raise UserError(f"data.keep_classes={shown(list(wanted))} leaves no {part} example")
    return replace(source, y_train=y_train, y_test=y_test, classes=names)


def matched(source: Source, expected: Description) -> Source:
    """Return a data set with the classes in the order that a run has them in.

    Raises:
        UserError: its examples have another shape, or it has a class that the run does not know.
    """
    found = source.description
    if found.shape != expected.shape:
        raise UserError(
            f"data: its examples have the shape {sides(found.shape)}; the run was trained on {sides(expected.shape)}"
        )
    if found.classes == expected.classes:
        return source
    unknown = [name for name in found.classes if name not in expected.classes]
    if unknown:
        raise UserError(
            f"data: the class {unknown[0]!r} is none of the run's, which are {named_shortly(expected.classes)}"
            + nearest(unknown[0], expected.classes)
        )
    numbers = torch.tensor([expected.classes.index(name) for name in found.classes])
    y_train, y_test = [torch.where(y < 0, y, numbers[y]) for y in (source.y_train, source.y_test)]
    return replace(source, y_train=y_train, y_test=y_test, classes=list(expected.classes))


def named_shortly(names: Sequence[str], most: int = 20) -> str:
    """Return names for people: not more than so many."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def divided_rows(labels: Tensor, settings: Splitting, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the rows of the training and of the validation split."""
    if settings.folds is not None:
        train, val = one_fold(labels, settings, generator)
    elif settings.fold is not None:
        raise UserError(f"data.fold={settings.fold} is one of how many? add data.folds=5")
    else:
        val, train = stratified(labels, round(settings.val_fraction * len(labels)), generator)
    if settings.limit is not None:
        if settings.limit > len(train):
            raise UserError(f"data.limit={settings.limit} is more than the {len(train)} training examples there are")
        kept, _ = stratified(labels[train], settings.limit, generator)
        train = train[kept]
    if len(train) == 0:
        raise UserError(f"data.val_fraction={settings.val_fraction} leaves no example to train on")
    return train, val


def one_fold(labels: Tensor, settings: Splitting, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the rows outside and inside a fold, both shuffled; the folds are the same for each of them."""
    count, fold = settings.folds or 0, settings.fold
    if count > len(labels):
        raise UserError(f"data.folds={count} is more than the {len(labels)} training examples there are")
    if fold is None:
        raise UserError(f"data.folds={count} needs data.fold, from 0 to {count - 1}; -m 'data.fold=range({count})'")
    if fold >= count:
        raise UserError(f"data.fold={fold} is not there; data.folds={count} allows 0 to {count - 1}")
    number = folds(labels, count, generator)
    shuffled = torch.randperm(len(labels), generator=generator)
    inside = number[shuffled] == fold
    return shuffled[~inside], shuffled[inside]


def fitted(fit: Callable[[Tensor], Any], source: Source, train: Tensor, device: torch.device) -> Preparation:
    """Fit the preparation on the training split, or on as much of a mapped file as is read for it."""
    rows = train
    if source.mapped:
        rows = train[: max(1, FITTED_BYTES // source.x_train[0].nbytes)]
    x = source.x_train[rows]
    means = column_means(x) if source.impute else None
    if means is not None:
        x = torch.where(x.isnan(), means, x)
    try:
        prepare = fit(x)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"data.{error}" if str(error).startswith("preprocess=") else f"data.preprocess: {error}"
        ) from error
    if not callable(prepare):
        raise UserError(f"data.preprocess fits a {type(prepare).__name__}, expected a function of inputs")
    if means is not None:
        prepare = Imputed(means, prepare)
    return prepare.to(device) if hasattr(prepare, "to") else prepare


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
    """Make a split: rows of a mapped file or of shared inputs, or a copy; a costly preparation is applied at once."""
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
    """Return what each class's loss is multiplied by: N / (classes present * N of the class), 1 on average."""
    counts = torch.bincount(labels, minlength=classes).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(labels) / (present * counts.clamp_min(1)), 0.0)


def preprocess(choice: Any) -> Callable[[Tensor], Any]:
    """Return what fits a preparation to training inputs."""
    if isinstance(choice, Mapping) and TARGET in choice:
        first = next(iter(parameters_of(located(choice, "data.preprocess")) or {}), "")
        return target(choice, "data.preprocess", supplied=(first,))
    return named(choice, PREPROCESSES, "data.preprocess")


def augments(choice: Any, data: Data, device: torch.device) -> list[Augmentation]:
    """Return what varies training inputs, tried on one example."""
    chosen = choice if isinstance(choice, list) else [choice]
    built = []
    for number, entry in enumerate(chosen):
        key = "data.augment" if entry is choice else f"data.augment[{number}]"
        if entry in (None, "none"):
            continue
        if not isinstance(entry, Mapping):
            named(entry, {"none": None, **AUGMENTS}, key)
            entry = {TARGET: f"{AUGMENTS[entry].__module__}.{AUGMENTS[entry].__name__}"}
        augment = call(entry, key, {"classes": len(data.classes)})
        tried = torch.zeros(1, dtype=torch.int64, device=device)
        try:
            augment(data.example, tried, torch.Generator(device))
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"{key}={shown(choice)} {error}") from error
        built.append(augment)
    return built


def named(choice: Any, table: Mapping[str, Any], key: str) -> Any:
    """Return what a name stands for."""
    choice = "none" if choice is None else choice
    if not isinstance(choice, str) or choice not in table:
        raise UserError(f"{key}={shown(choice)} is unknown; allowed: {', '.join(table)}" + nearest(str(choice), table))
    return table[choice]
