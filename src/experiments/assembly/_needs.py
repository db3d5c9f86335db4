"""The memory that a model and its training need, estimated before they are built."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from experiments.common.errors import UserError
from experiments.common.signatures import TARGET, shown
from experiments.data import memory
from experiments.models import cnn, mlp, sizes
from experiments.models.layers import Layer
from experiments.models.sizes import Size
from experiments.training.single import Single

from ._training import Training
from .parts import network
from .targets import Config, call, located, target
from .trust import allowed

PER_LAYER = 50_000
"""Bytes of a layer's objects while it is trained, apart from its numbers: modules, tensors, the optimizer's state."""
OURS = {mlp.MLP: sizes.mlp, cnn.CNN: sizes.cnn}
"""Our models, and the functions that return their sizes."""
STATES = {
    "Adadelta": 2,
    "Adagrad": 1,
    "Adam": 2,
    "AdamW": 2,
    "Adamax": 2,
    "Muon": 1,
    "NAdam": 2,
    "RAdam": 2,
    "RMSprop": 1,
    "Rprop": 2,
}
"""Numbers that an optimizer keeps for each parameter; more with some settings."""
PARTS = 100
"""Modules without weights that a model may have for each weight."""
SHOWN = 60
"""Characters of a setting that a sentence shows."""


class TooLargeError(Exception):
    """A model has more numbers and layers than fit; no model catches this error."""


def check_model(
    config: Config, settings: Training, input_shape: Sequence[int], classes: int, held: int, free: int | None
) -> None:
    """Refuse a model that needs more memory than it may take, before it is built.

    Args:
        config, settings: of the run.
        input_shape: of a prepared example.
        classes: their number.
        held: bytes that the data take.
        free: free bytes of the run's device; None for the machine.

    Raises:
        UserError: names the setting, the estimate, the limit and what would fit.
    """
    each = copies(config, settings) * bytes_of(settings)
    purpose = " for weights, gradients and the optimizer's state" if each > bytes_of(settings) else ""
    parts = own_sizes(config["model"], input_shape, classes)
    subject = named(config["model"], parts, each)
    with refusing():
        size = whole(parts) if parts is not None else counted(config["model"], input_shape, classes, each, free)
        if size is not None:
            fixed = held + PER_LAYER * size.layers
            outputs = bytes_of(settings) * size.outputs
            fits = memory.at_most(each, "parameters", fixed) if each * size.numbers > outputs else smaller
            memory.require(fixed + outputs + each * size.numbers, subject, fits, purpose=purpose, free=free)


def check_batches(
    config: Config,
    settings: Training,
    program: Single,
    batch: int,
    layers: Sequence[Layer],
    held: int,
    free: int | None,
) -> None:
    """Refuse batches whose activations need more memory than they may take.

    Args:
        config, settings: of the run.
        program: the run's.
        batch: examples of a whole update.
        layers: of the model.
        held: bytes that the data and the weights take.
        free: free bytes of the run's device; None for the machine.

    Raises:
        UserError: names the setting, the estimate, the limit and what would fit.
    """
    number = bytes_of(settings)
    weights = sum(parameter.numel() for parameter in program.parameters)
    fixed = held + (copies(config, settings) - 1) * number * weights
    inputs = program.splits["train"].first(1)[0].numel()
    kept = inputs + sum(values(layer) for layer in layers if layer.multiply_adds)
    size = min(program.updating.micro_batch or batch, batch)
    subject = f"training.batch_size={size}"
    if program.needs_closure:
        subject = f"{type(program.optimizer).__name__}, which takes all {size:,} training examples at once,"
    largest = inputs + max((values(layer) for layer in layers), default=0)
    evaluated = min(settings.eval_batch_size, max(map(len, program.splits.values())))
    half = 2 if settings.precision in ("bf16", "fp16") else number
    with refusing():
        fits = memory.at_most(half * kept, "examples", fixed)
        memory.require(fixed + half * kept * size, subject, fits, free=free)
        fits = memory.at_most(half * largest, "examples", fixed)
        memory.require(
            fixed + half * largest * evaluated, f"training.eval_batch_size={settings.eval_batch_size}", fits, free=free
        )


def outline(config: Config, input_shape: Sequence[int], classes: int, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build a model without memory for its numbers, to compare it with the weights of a checkpoint.

    Raises:
        UserError: the model cannot be built.
        ValueError: it has more parts than the checkpoint has weights.
        NotImplementedError: it cannot be built without memory.
    """
    most = len(weights)
    parts = own_sizes(config["model"], input_shape, classes)
    if parts is not None and (count := whole(parts).layers) > most:
        raise ValueError(f"it has another architecture: {count:,} layers instead of {most:,} weights")
    size = Size()

    def check() -> None:
        if size.numbers > most or size.layers > PARTS * (most + 1):
            raise TooLargeError(f"it has another architecture: more layers than its {most:,} weights")

    try:
        with counting(size, check, each=1), torch.device("meta"):
            return network(config, input_shape, classes)
    except TooLargeError as error:
        raise ValueError(str(error)) from None


@contextmanager
def refusing() -> Iterator[None]:
    """Turn the refusal of what is too large into the user's error."""
    try:
        yield
    except memory.MemoryLimitError as error:
        raise UserError(str(error)) from error


def own_sizes(section: Config, input_shape: Sequence[int], classes: int) -> Mapping[str, Size] | None:
    """Return the sizes of a model of ours by setting; None for other models and for inputs that it cannot take.

    Raises:
        UserError: a setting cannot be used.
    """
    function = located(section, "model")
    measure = next((measure for model, measure in OURS.items() if function is model), None)
    if measure is None:
        return None
    given: Any = target(section, "model", supplied=("input_shape", "classes"))
    with suppress(ValueError, TypeError):
        return measure(input_shape, classes, **given.keywords)
    return None


def whole(parts: Mapping[str, Size]) -> Size:
    """Return the size of a whole model."""
    total = Size()
    for part in parts.values():
        total.layers += part.layers
        total.numbers += part.numbers
        total.outputs += part.outputs
    return total


def counted(section: Config, input_shape: Sequence[int], classes: int, each: int, free: int | None) -> Size | None:
    """Count the layers and numbers of a model of torch or torchvision, which is built without memory for its numbers.

    The model of a user may do more than build itself, so it is not built twice.

    Returns:
        None if the model is a user's, or cannot be built like this.

    Raises:
        UserError: it has more numbers than can be addressed.
        MemoryLimitError: it has more layers or numbers than fit.
    """
    if not allowed(str(section[TARGET]), "model"):
        return None
    size, subject = Size(), named(section, None, each)
    most = free if free is not None else memory.free_memory()

    def check() -> None:
        try:
            memory.require(PER_LAYER * size.layers + each * size.numbers, subject, free=most, about="at least")
        except memory.MemoryLimitError as error:
            raise TooLargeError(str(error)) from None

    try:
        with counting(size, check), torch.random.fork_rng(devices=()), torch.device("meta"):
            call(section, "model", {"input_shape": tuple(input_shape), "classes": classes, "outputs": classes})
    except TooLargeError as error:
        raise memory.MemoryLimitError(str(error)) from None
    except RuntimeError as error:
        if "overflow" not in str(error):
            return None
        raise UserError(f"{subject} needs more memory than any machine has") from None
    except Exception:  # building it for use raises the same error
        return None
    return size


@contextmanager
def counting(size: Size, check: Callable[[], None], *, each: int | None = None) -> Iterator[None]:
    """Count the layers and numbers of the models that are built inside the block.

    Args:
        size: grows with each of them.
        check: called each time.
        each: what a tensor counts; None for its numbers.
    """

    def on_module(_module: nn.Module, _name: str, _part: Any) -> None:
        size.layers += 1
        check()

    def on_parameter(_module: nn.Module, _name: str, parameter: Any) -> None:
        if isinstance(parameter, Tensor):
            size.numbers += parameter.numel() if each is None else each
        check()

    hooks = [
        register_module_module_registration_hook(on_module),
        register_module_parameter_registration_hook(on_parameter),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def smaller(_most: int) -> str:
    """Return the advice on a model whose outputs are too many."""
    return "use layers with fewer units"


def named(section: Config, parts: Mapping[str, Size] | None, each: int) -> str:
    """Return the setting that decides the size of a model."""
    if parts is None:
        return f"model.name={section['name']}" if "name" in section else f"model._target_={section[TARGET]}"
    key = max(parts, key=lambda name: each * parts[name].numbers + PER_LAYER * parts[name].layers)
    text = shown(section.get(key))
    return f"model.{key}={text if len(text) <= SHOWN else f'{text[:SHOWN]}...'}"


def copies(config: Config, settings: Training) -> int:
    """Return the numbers that training keeps for each parameter: itself, its gradient, the optimizer's state, a mean.

    If some parameters are frozen, only themselves count.
    """
    section = config["optimizer"]
    if config.get("freeze") or section.get("lr_scale"):
        return 1
    name = str(section.get(TARGET)).rpartition(".")[2]
    state = STATES.get(name, 0)
    state += bool(section.get("momentum")) if name in ("SGD", "RMSprop") else 0
    state += bool(section.get("amsgrad")) + bool(section.get("centered"))
    if name == "LBFGS":
        history = section.get("history_size")
        state = 2 * history if isinstance(history, int) else 200
    return 2 + state + (settings.ema is not None or settings.swa is not None)


def bytes_of(settings: Training) -> int:
    """Return the bytes of a weight."""
    return 8 if settings.precision == "fp64" else 4


def values(layer: Layer) -> int:
    """Return the values that a layer computes for one example."""
    count = 1
    for side in layer.output_shape:
        count *= side
    return count
