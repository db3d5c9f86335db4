"""Restore a trained run from its folder.

The folder may come from a stranger, so it is read as data, and only known code is built.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from experiments import assembly
from experiments.assembly.run import chosen_device
from experiments.assembly.trust import advice, untrusted
from experiments.cli.project import trusted_in
from experiments.common.errors import UserError
from experiments.common.files import regular_text
from experiments.common.foreign import parsed_json, read_yaml
from experiments.common.isolation import isolated
from experiments.common.signatures import TARGET
from experiments.common.text import one_line, shown_path
from experiments.data import memory, own, preprocess, tables
from experiments.data.batches import Preparation, Split
from experiments.data.forms import Description, TableForm, sides
from experiments.data.preprocess import Double
from experiments.data.textfiles import known_encoding
from experiments.folders.reading import CONFIGURATION
from experiments.folders.run import RunFolder
from experiments.tasks.base import Task
from experiments.tasks.metrics import Measure
from experiments.training.carried import scored_batches
from experiments.training.device import cores, free_memory, kernels, torch_threads
from experiments.training.member import best_row
from experiments.training.single import scores_of
from experiments.training.streams import Streams, global_generator

from ._estimates import Estimates
from ._predictions import Predictions
from .settings import RestoreSettings, RunOptions

InputExamples = Tensor | ArrayLike | str | Path
"""The examples that a run can predict for."""
WRITTEN = {"cache": None, "download": False}
"""The settings with which a data set writes files, and the values that replace them."""
OWN_TO_THE_RUN = {
    "resume": None,
    "check": False,
    "trial": None,
    "sweep": None,
    "retry_failed": False,
    "recipe": None,
    "init_from": None,
    "limits": None,
}
LARGEST_EXAMPLE = 2**28
"""Values in an example; a stranger's run may have any shape."""
PREPARED = 12
"""Bytes of a value of an example while it is prepared."""


@dataclass(repr=False)
class Restored:
    """A trained run, ready to use: its model, and the preparation of raw examples for it.

    Args:
        folder: of the run.
        config: the run's configuration.
        description: the classes, the shape of a raw example, and how a file is read as one.
        model: in evaluation mode, on the device.
        prepare: turns raw examples, (examples, *description.shape), into the model's inputs, on the device.
        epoch: of the weights.
        device: of the model.
        threads: CPU threads during training; with another number the last bits differ.
        other: settings of another data set, which replace the run's.
        sources: data sets that several runs share; None for the run's own copy.
        note: a sentence if these are not the weights of the best epoch, because its checkpoint cannot be used.
        trusted: whether the user trusts code of the folder, which may then reach the network and start programs.
        values: the largest number of values that a layer computes for an example.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    description: Description
    model: nn.Module
    prepare: Preparation
    epoch: int
    device: torch.device
    threads: int = 1
    other: Mapping[str, Any] = field(default_factory=dict)
    sources: assembly.Sources | None = None
    note: str | None = None
    trusted: bool = False
    values: int = 0

    def __repr__(self) -> str:
        name, count = type(self.model).__name__, sum(p.numel() for p in self.model.parameters())
        what = f"{len(self.classes)} classes" if self.classes else ", ".join(self.task.names[:3])
        about = f"{sides(self.description.shape)} to {what}"
        return (
            f"<{shown_path(self.folder.path)}: {name} of {count:,} parameters, {about}, weights of epoch {self.epoch}>"
        )

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the scores; empty if the targets are none."""
        return list(self.description.classes)

    @cached_property
    def task(self) -> Task:
        """What it has learnt, with the scale of its targets."""
        with self.building():
            return assembly.restored_task(self.config, self.description)

    @cached_property
    def settings(self) -> assembly.Training:
        """The settings of its training."""
        return assembly.training(self.config)

    @cached_property
    def data(self) -> assembly.Data:
        """The run's data set, or the other one, with the splits and the preparation of the run.

        Raises:
            UserError: it cannot be loaded, or its classes or shapes differ from the run's.
        """
        known = assembly.Known(self.description, self.prepare)
        config = {**self.config, "data": other_section(self.config["data"], self.other)}
        streams = Streams(int(self.config["seed"]))
        with self.building():
            data = assembly.data(config, streams, self.device, self.sources, known)
        if self.settings.precision == "fp64":
            data.double()
        return data

    def building(self) -> AbstractContextManager[None]:
        """Return the block in which parts of its configuration are built; another data set is the user's own."""
        return nullcontext() if self.trusted or self.other else isolated(repr(str(self.folder.path)))

    def split(self, x: Tensor) -> Split:
        """Return raw examples, (examples, *description.shape), as a split; the unknown targets are all 0."""
        split = assembly.split_of(x, self.task.examples_of_targets(len(x)), self.prepare, self.device)
        if self.settings.precision == "fp64":
            split.prepare = Double(split.prepare)
        return split

    def batches(self, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the scores of a split's examples, (batch, classes), and their classes, batch by batch.

        The batches are those of the evaluation during training, so the scores are equal to the bit.
        """
        precision, channels_last = self.settings.precision, self.settings.channels_last
        self._check_batch(len(split))
        with self.surroundings(), torch.no_grad():
            call = partial(scores_of, precision=precision, channels_last=channels_last)
            yield from scored_batches(call, self.model, split, self.settings.eval_batch_size)

    def _check_batch(self, examples: int) -> None:
        """Refuse batches that need more memory than is free.

        Raises:
            UserError: with what would fit.
        """
        size, each = self.settings.eval_batch_size, 4 * (math.prod(self.description.shape) + self.values)
        subject = f"{shown_path(self.folder.path)}: training.eval_batch_size={size}"
        fits, free = memory.at_most(each, "examples"), free_memory(self.device)
        try:
            memory.require(each * min(size, examples), subject, fits, free=free)
        except memory.MemoryLimitError as error:
            raise UserError(str(error)) from None

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """Give the process the settings of the run while the model is called: kernels, generator, threads."""
        with ExitStack() as stack:
            stack.enter_context(kernels(deterministic=self.settings.deterministic, precision=self.settings.precision))
            stack.enter_context(global_generator(int(self.config["seed"]), self.device))
            if self.device.type == "cpu":
                stack.enter_context(torch_threads(self.threads))
            yield

    def scores(self, x: InputExamples) -> Tensor:
        """Return the scores of raw examples, (examples, classes), on the CPU; see `predict`."""
        return self._scores(self._examples(x).x)

    def probabilities(self, x: InputExamples) -> Tensor:
        """Return the probabilities of raw examples' classes, (examples, classes), in float64; see `predict`."""
        return self.answers(x)

    def answers(self, x: InputExamples) -> Tensor:
        """Return the answers for raw examples, (examples, ...), in float64; see `predict`.

        They are probabilities, or numbers in the units of the data.
        """
        return self.task.answer(self.scores(x))

    def predict(self, x: InputExamples) -> Predictions:
        """Predict the classes, labels or numbers of new examples; they are prepared like the run's own.

        Args:
            x: an array of raw examples, (examples, *description.shape), or of one raw example; or a table of pandas
                with the columns of the table that the run was trained on, whose index names the examples; or the path
                of a picture, of a folder of pictures, or of a csv or npz file, see `data.own`.

        Raises:
            UserError: the run was trained on other kinds of examples, or a file cannot be read.
        """
        examples = self._examples(x)
        for note in examples.notes:
            logging.getLogger("experiments").info("%s", note)
        split, form = self.split(examples.x), self.description.form
        doubt = assembly.not_like_training(split, form) or assembly.seems_inverted(split, form)
        if doubt is not None and self.task.form != "tokens":
            logging.getLogger("experiments").warning("warning: %s", doubt)
        answers = self.task.answer(self._scores(examples.x)).numpy()
        if self.classes:
            return Predictions(examples.names, self.classes, answers)
        return Estimates(examples.names, self.task.names, answers)

    def _scores(self, x: Tensor) -> Tensor:
        return torch.cat([scores.cpu() for scores, _ in self.batches(self.split(x))])

    def _description_for_files(self) -> Description:
        """Return the description with other settings for texts that the training did not know and for files, if given.

        Raises:
            ValueError: the encoding is unknown.
        """
        form = self.description.form
        given = {name: self.other[name] for name in ("unknown", "decimal", "encoding") if name in self.other}
        if not isinstance(form, TableForm) or not given:
            return self.description
        if "decimal" in given:
            given["decimal"] = tables.DECIMALS[given["decimal"]]
        if "encoding" in given:
            given["encoding"] = known_encoding(str(given["encoding"]))
        return replace(self.description, form=replace(form, **given))

    def _examples(self, x: InputExamples) -> own.NamedExamples:
        if isinstance(x, str | Path) and self.task.form == "tokens":
            raise UserError(
                f"{str(x)!r} cannot be predicted: a run with task=sequence answers each position; its samples of text "
                "are in evaluation/, see `python -m experiments.evaluate run=...`"
            )
        try:
            if isinstance(x, str | Path):
                return own.read(str(x), self._description_for_files())
            if isinstance(form := self.description.form, TableForm) and hasattr(x, "to_csv"):
                return own.frame(x, self._description_for_files(), form)
            array = x.cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
            single = array.shape == self.description.shape
            return own.arrays(array[None] if single else array, self.description, "the array")
        except ValueError as error:
            raise UserError(one_line(error)) from error


def limited(options: RunOptions) -> AbstractContextManager[None]:
    """Return the block in which a verb takes no more memory than `limits.memory` allows, or than is free.

    Raises:
        UserError: it is not a size.
    """
    return memory.limited(assembly.memory_limit(options.limits))


NEEDED = ("data", "model", "training", "optimizer")
"""Sections without which no run can be restored; each run has had them, also in older versions."""


class BestWeightsError(UserError):
    """The weights of the best epoch cannot be read, and no others are wanted."""

    code = 1


def load(
    folder: str | Path,
    *,
    trust: Sequence[str] = (),
    device: str = "auto",
    checkpoint: str | None = None,
    other: Mapping[str, Any] | None = None,
    sources: assembly.Sources | None = None,
    strict: bool = False,
) -> Restored:
    """Restore a trained run from its folder; the data set is not needed.

    If the checkpoint of the best epoch cannot be used and the last one is used instead, a warning says so.

    Args:
        folder: of the run.
        trust: see `RestoreSettings`; if none is given, what the present folder's `experiments.toml` trusts.
        device, other, strict: see `RestoreSettings`.
        checkpoint, sources: see `restored`.

    Raises:
        UserError: see `restored`.
    """
    restoring = RestoreSettings(trust or trusted_in(folder), device, other or {}, strict)
    run = restored(folder, restoring, checkpoint=checkpoint, sources=sources)
    if run.note is not None:
        warnings.warn(run.note, stacklevel=2)
    return run


def restored(
    folder: str | Path,
    restoring: RestoreSettings,
    *,
    checkpoint: str | None = None,
    sources: assembly.Sources | None = None,
) -> Restored:
    """Restore a trained run from its folder, without a warning: the caller shows `Restored.note`.

    Args:
        folder: of the run.
        restoring: what is trusted, the device, and the other settings.
        checkpoint: a file in its `checkpoints/`; None for that of the best epoch, or of the last if there is no best.
        sources: see `Restored`.

    Raises:
        UserError: the folder is not a run, has no readable checkpoint, or its model cannot be built.
        BestWeightsError: `restoring.strict`, and the checkpoint of the best epoch cannot be used.
    """
    run = RunFolder(Path(folder))
    config = configuration(run.path, restoring.trust)
    training = config.get("training")
    config["data"] = without_writing(config.get("data"))  # a stranger must not choose where files are written
    if isinstance(training, dict):
        training |= {"device": restoring.device, "compile": False}
    general, settings, device = assembly.general(config), assembly.training(config), chosen_device(restoring.device)
    state, path, problem = read_checkpoint(run, checkpoint)
    note = None if checkpoint is not None else other_weights_note(run, state, path, problem, general.objective)
    if note is not None and restoring.strict:
        raise BestWeightsError(f"{note}; without strict=true these weights are used")
    try:
        unfetched = nullcontext() if restoring.trust else isolated(repr(str(run.path)))
        with global_generator(general.seed, device), unfetched:
            description, prepare = expectations(run, config, state["program"]["preparation"], device)
            task, weights = assembly.restored_task(config, description), state["program"]["model"]
            model, values = restored_model(config, settings, weights, description, prepare, device, task)
        threads = max(1, min(int(state["program"].get("threads", 1)), cores()))
        epoch = int(state["position"]["epoch"])
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise cannot(run, f"{path.name} cannot be used ({one_line(error)})") from error
    trusted = bool(restoring.trust)
    return Restored(
        run,
        config,
        description,
        model,
        prepare,
        epoch,
        device,
        threads,
        restoring.other,
        sources,
        note,
        trusted,
        values,
    )


def other_section(section: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of another data set, which is split and prepared like the run's own.

    Args:
        section: the run's section `data`.
        other: settings that replace those of the section; `data` is a choice in `conf/data` instead of the run's.

    Raises:
        UserError: the choice is unknown, or a setting belongs to the run and not to the data set.
    """
    settings = dict(other)
    choice = settings.pop("data", None)
    for name in (TARGET, "preprocess", "augment"):
        if name in settings:
            raise UserError(f"data.{name} is fixed by the run; only the other keys of data can change")
    if choice is not None:
        section = {**assembly.splitting(section), **assembly.data_choice(str(choice))}
    return {**section, **settings}


def cannot(run: RunFolder, reason: str) -> UserError:
    """Return the error for a run that cannot be restored."""
    return UserError(f"{str(run.path)!r} cannot be evaluated: {reason}")


def scored(run: Restored, split: str) -> tuple[Tensor, Tensor, float, Mapping[str, Measure]]:
    """Return a run's scores and targets of a split, its loss, and its measures.

    Args:
        run: the run.
        split: train, val or test.

    Returns:
        The scores, (examples, outputs), and the encoded targets, both on the CPU; the mean loss; the metrics by name.

    Raises:
        UserError: the run does not have the split.
    """
    data = run.data
    if split not in data.splits:
        raise no_split(split, run)
    examples = data.splits[split]
    with run.building():
        criterion = assembly.criterion(run.config, data)
    total = torch.zeros((), dtype=torch.float64, device=run.device)
    parts = []
    for scores, y in run.batches(examples):
        total += criterion.total(scores, y)
        parts.append(scores.cpu())
    return torch.cat(parts), examples.y.cpu(), total.item() / len(examples), criterion.metrics


def no_split(split: str, run: Restored) -> UserError:
    """Return the error for a run without a split."""
    splits = ", ".join(run.data.splits)
    return UserError(f"split={split} does not exist in {shown_path(run.folder.path)}; it has {splits}")


def other_weights_note(
    run: RunFolder, state: Mapping[str, Any], path: Path, problem: str | None, objective: str
) -> str | None:
    """Return a sentence if a checkpoint is used because that of the best epoch cannot be; None if it is that one.

    Args:
        run: its folder.
        state: the content of the checkpoint.
        path: of the checkpoint.
        problem: what is wrong with `best.pt`; None if it is missing or used.
        objective: the metric that decides which epoch is best.

    Raises:
        UserError: the checkpoint has no readable history.
    """
    if path == run.best:
        return None
    try:
        best = best_row(parsed_json(state["history"], path.name), objective)
        wanted = int(best["epoch"]) if best is not None else None
        epoch, batch = int(state["position"]["epoch"]), int(state["position"]["batch"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise cannot(run, f"{path.name} cannot be used ({one_line(error)})") from None
    own = wanted == epoch and batch == 0
    if problem is None and (own or wanted is None):
        return None
    used = f"{path.name} is used instead, with weights of epoch {epoch}{' and a part of the next one' if batch else ''}"
    lost = f" of epoch {wanted}, the best one," if wanted is not None else ""
    same = ", which is the best one" if own else ""
    where = shown_path(run.path)
    return f"{where}: {run.best.name}{'' if own else lost} {problem or 'is missing'}; {used}{same}"


def read_checkpoint(run: RunFolder, name: str | None) -> tuple[dict[str, Any], Path, str | None]:
    """Return the checkpoint with a name, or without a name the best or the last; its path; and what is wrong with
    the best one, if it is not used for that reason.

    Raises:
        UserError: there is none that can be read.
    """
    if name is not None and Path(name).name != name:
        raise cannot(run, f"{name!r} is not the name of a file in checkpoints/")
    problems: list[str] = []
    named: list[str] = []
    for path in (run.best, run.last) if name is None else (run.last.with_name(name),):
        try:
            return run.load(path), path, problems[0] if problems else None
        except FileNotFoundError:
            continue
        except ValueError as error:
            problems.append(f"cannot be used ({one_line(error)})")
            named.append(f"{path.name} {problems[-1]}")
    raise cannot(run, "; ".join(named) or f"it has no checkpoint{f' {name!r}' if name else ''}")


def expectations(
    run: RunFolder, config: assembly.Config, numbers: Mapping[str, Any], device: torch.device
) -> tuple[Description, Preparation]:
    """Return the description of a run's data, and its preparation.

    The data set is only needed for an old run without `data.json`, or for a user's own preparation.

    Args:
        run: its folder.
        config: its configuration.
        numbers: the state of its preparation, from the checkpoint.
        device: of the preparation.

    Raises:
        UserError: the description cannot be read, or the data set is needed and cannot be loaded.
        ValueError: the checkpoint is for examples of another shape.
    """
    description = read_description(run)
    prepare = None
    if description is not None and preparation_is_ours(config):
        prepare = preprocess.restored(numbers, description.shape)
    if description is not None and prepare is not None:
        return description, prepare.to(device)
    data = assembly.data(config, Streams(int(config["seed"])), device)
    return data.description, data.prepare


def preparation_is_ours(config: assembly.Config) -> bool:
    """Whether the preparation of a run is from this package."""
    chosen = config["data"].get("preprocess")
    return not isinstance(chosen, Mapping) or str(chosen.get(TARGET)).startswith(f"{preprocess.__name__}.")


def read_description(run: RunFolder) -> Description | None:
    """Return the content of `data.json`; None if there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    if not run.description.exists():
        return None
    try:
        description = TypeAdapter(Description).validate_json(regular_text(run.description), strict=True)
        if math.prod(description.shape) > LARGEST_EXAMPLE:
            raise ValueError(f"an example would have {math.prod(description.shape):,} values")
        memory.require(PREPARED * math.prod(description.shape), "an example")
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise cannot(run, f"its {run.description.name} is damaged ({key}: {first['msg']})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise cannot(run, f"its {run.description.name} is damaged ({one_line(error)})") from None
    return description


def restored_model(
    config: assembly.Config,
    settings: assembly.Training,
    weights: Mapping[str, Tensor],
    description: Description,
    prepare: Preparation,
    device: torch.device,
    task: Task,
) -> tuple[nn.Module, int]:
    """Build a run's model with the weights of a checkpoint, for evaluation.

    Args:
        config: the run's configuration.
        settings: of its training.
        weights: the state of the model, by name.
        description: of its data.
        prepare: turns raw examples, (examples, *description.shape), into the model's inputs.
        device: of the model.
        task: what is learnt.

    Returns:
        The model, and the largest number of values that one of its layers computes for an example.

    Raises:
        UserError: the model cannot be built.
        ValueError: the weights have another architecture.
    """
    example = prepare(torch.zeros(1, *description.shape, device=device))
    with suppress(NotImplementedError), torch.device("meta"):  # a stranger's configuration may have any size
        same_tensors(assembly.outline(config, example.shape[1:], task.outputs, weights), weights)
    model = assembly.network(config, example.shape[1:], task.outputs).to(device)
    if settings.precision == "fp64":
        model, example = model.double(), example.double()
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    model.load_state_dict(weights)
    model.requires_grad_(False).eval()
    layers = assembly.layers(model, example, task)
    return model, max((math.prod(layer.output_shape) for layer in layers), default=0)


def same_tensors(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fit a model.

    Args:
        model: its state has the expected names and shapes.
        weights: by name.

    Raises:
        ValueError: names a tensor that differs.
    """
    own = model.state_dict()
    for name in [*own, *weights]:
        ours, theirs = (tuple(state[name].shape) if name in state else "missing" for state in (own, weights))
        if ours != theirs:
            raise ValueError(f"it has another architecture: {name} is {theirs} there and {ours} in the model")


def configuration(folder: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Return a run's configuration.

    Args:
        folder: of the run.
        trust: prefixes of code that it may name, in addition to torch, torchvision and this package.

    Raises:
        UserError: the folder is not a run, or its configuration names other code or reads the environment.
    """
    try:
        config = read_yaml(folder / CONFIGURATION)
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or "seed" not in config:
        raise UserError(f"{str(folder)!r} is not a run folder: it has no readable {CONFIGURATION}")
    lacking = [name for name in NEEDED if not isinstance(config.get(name), dict)]
    if lacking:
        raise UserError(
            f"{CONFIGURATION} in {str(folder)!r} is incomplete, without {', '.join(lacking)}; "
            "restore the file from a copy"
        )
    for key, value in texts(config):
        if "${" in value:
            raise UserError(
                f"{key}={value!r} in {str(folder)!r} is an interpolation; the configuration of a run has none"
            )
    for key, value in untrusted(config, trust):
        raise UserError(
            f"{key}={value!r} in {str(folder)!r} names code from outside this package; "
            + advice(str(value), "trust={}")
        )
    return {**config, **OWN_TO_THE_RUN}


def without_writing(section: Any) -> Any:
    """Return a section of a configuration without settings that let a data set write files anywhere."""
    if isinstance(section, Mapping):
        return {name: WRITTEN.get(name, without_writing(value)) for name, value in section.items()}
    return [without_writing(item) for item in section] if isinstance(section, list) else section


def texts(value: Any, key: str = "") -> list[tuple[str, str]]:
    """Return every string in a configuration with its key."""
    if isinstance(value, str):
        return [(key, value)]
    if isinstance(value, Mapping):
        named = [(f"{key}.{name}" if key else str(name), item) for name, item in value.items()]
        return [hit for name, item in named for hit in texts(item, name)]
    if isinstance(value, list):
        return [hit for number, item in enumerate(value) for hit in texts(item, f"{key}[{number}]")]
    return []
