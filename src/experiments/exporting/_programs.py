"""A restored run as one program that includes its preparation: for torch, and as ONNX."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from experiments.common.errors import UserError
from experiments.common.text import one_line
from experiments.data.batches import Preparation
from experiments.data.forms import ImageForm, TokenForm
from experiments.data.preprocess import Affine, Imputed, Whitening
from experiments.evaluation.loading import Restored

INPUT = "examples"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
BATCH = {INPUT: {0: torch.export.Dim("batch")}}
"""The dimensions of the input that may have any size."""
BATCHES = (1, 7, 56)
"""Sizes of the batches with which a program is tested."""
LARGEST_TRIAL = 2**26
"""Values in all test examples; if there were more, a program is tested with one example only."""
GAPS = 0.1
"""The share of missing values in test examples, for a run that fills gaps."""

AnswerFunction = Callable[[Tensor], Tensor]
"""Raw examples -> answers: probabilities, (examples, classes), or numbers, (examples, targets)."""


@dataclass(frozen=True)
class WrittenProgram:
    """A program in the form of a file.

    Args:
        content: of the file.
        program: the function that the file computes, loaded from the content.
        about: how to use it, and further facts for `model.json`.
    """

    content: bytes
    program: AnswerFunction
    about: Mapping[str, Any]


class WholeModel(nn.Module):
    """The whole computation of a run: raw examples -> preparation -> model -> answers.

    It computes in float32, whatever the precision of the training.

    Args:
        run: with its model on the CPU.
    """

    def __init__(self, run: Restored) -> None:
        super().__init__()
        self.model = deepcopy(run.model).float().to(memory_format=torch.contiguous_format)
        self.prepare, self.task = run.prepare, run.task
        self.eval()

    def forward(self, examples: Tensor) -> Tensor:
        """Map raw examples, (batch, *shape), to answers: probabilities, or numbers in the units of the data."""
        return self.task.exported(self.model(self.prepare(examples)))


def input_type(run: Restored) -> torch.dtype:
    """Return the type of raw examples: uint8 for pictures, otherwise float32, or float64 if the run needs it."""
    if isinstance(run.description.form, ImageForm):
        return torch.uint8
    if isinstance(run.description.form, TokenForm):
        return torch.int64
    return torch.float64 if run.description.numbers == "float64" else torch.float32


def type_name(run: Restored) -> str:
    """Return the name of the type of raw examples."""
    return str(input_type(run)).removeprefix("torch.")


def trials(run: Restored) -> list[Tensor]:
    """Draw batches of raw examples, (batch, *description.shape), in the range that the run's preparation expects.

    They are always the same.
    """
    draw = torch.Generator().manual_seed(0)
    shape, form = run.description.shape, run.description.form
    sizes = BATCHES if sum(BATCHES) * math.prod(shape) <= LARGEST_TRIAL else BATCHES[:1]
    if isinstance(form, ImageForm):
        return [torch.randint(min(form.white, 255) + 1, (n, *shape), generator=draw, dtype=torch.uint8) for n in sizes]
    if isinstance(form, TokenForm):
        return [torch.randint(len(form.vocabulary), (n, *shape), generator=draw) for n in sizes]
    noise = [torch.randn(n, *shape, generator=draw) for n in sizes]
    examples = [unprepared(run.prepare, each).to(input_type(run)) for each in noise]
    if isinstance(run.prepare, Imputed):
        return [torch.where(torch.rand(x.shape, generator=draw) < GAPS, torch.nan, x) for x in examples]
    return examples


def unprepared(prepare: Preparation, noise: Tensor) -> Tensor:
    """Return raw values that a preparation maps to about mean 0 and standard deviation 1.

    Args:
        prepare: the preparation of a run.
        noise: (batch, *description.shape), from N(0, 1).
    """
    match prepare:
        case Imputed():
            return unprepared(prepare.inner, noise)
        case Affine():
            return prepare.shift + noise / prepare.scale
        case Whitening():
            spread = (len(prepare.shift) ** 0.5 / prepare.matrix.norm()).nan_to_num(1.0, 1.0, 1.0)
            return (prepare.shift + noise.flatten(1) * spread).view_as(noise)
    return noise


@contextmanager
def silent() -> Iterator[None]:
    """Suppress the output and warnings of the exporters; the program is tested afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def exported(run: Restored) -> torch.export.ExportedProgram:
    """Trace a run's whole computation, for batches of any size.

    Raises:
        UserError: torch cannot export the model as one program.
    """
    example = torch.zeros(2, *run.description.shape, dtype=input_type(run))
    try:
        with silent(), torch.no_grad():
            program = torch.export.export(WholeModel(run), (example,), dynamic_shapes=BATCH)
    except Exception as error:  # a user's model may raise anything
        raise UserError(
            f"the model of {str(run.folder.path)!r} cannot be exported; error of torch.export: {one_line(error)}"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of this machine
    return program


def as_torch(traced: torch.export.ExportedProgram, run: Restored) -> WrittenProgram:
    """Return a program for `torch.export.load`."""
    file = io.BytesIO()
    with silent():
        torch.export.save(traced, file)
        file.seek(0)
        module = torch.export.load(file).module()
    use = [
        "import torch",
        "model = torch.export.load('model.pt2').module()",
        f"{run.task.answers} = model({INPUT})  # a tensor, {type_name(run)}",
    ]
    return WrittenProgram(file.getvalue(), lambda examples: module(examples), {"use": use})


def as_onnx(traced: torch.export.ExportedProgram, run: Restored) -> WrittenProgram:
    """Return an ONNX model.

    Raises:
        UserError: ONNX does not support an operation of the model, or the model is larger than 2 GB, the limit of ONNX.
    """
    try:
        with silent(), torch.no_grad():
            onnx = torch.onnx.export(
                traced, dynamo=True, verbose=False, dynamic_shapes=BATCH,
                input_names=[INPUT], output_names=[run.task.answers], external_data=False,
            )  # fmt: skip
            assert onnx is not None
            model = onnx.model_proto
            content = model.SerializeToString()
            program = onnx_program(content, run.task.answers)
    except Exception as error:  # as above
        raise UserError(
            f"the model of {str(run.folder.path)!r} cannot be written as ONNX: {one_line(error)}; "
            "format=torch writes only the other program"
        ) from error
    use = [
        "import onnxruntime",
        "model = onnxruntime.InferenceSession('model.onnx')",
        f"({run.task.answers},) = model.run(None, {{'{INPUT}': {INPUT}}})  # an array, {type_name(run)}",
    ]
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    return WrittenProgram(content, program, {"opset": opset, "use": use})


def onnx_program(content: bytes, output: str) -> AnswerFunction:
    """Return the function that an ONNX model computes.

    Args:
        content: of the file.
        output: the name of its output.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda examples: torch.from_numpy(session.run([output], {INPUT: examples.numpy()})[0])


def missing_packages() -> list[str]:
    """Return the packages that ONNX needs and that are not installed."""
    return [name for name in ONNX_PACKAGES if find_spec(name) is None]


def onnx_versions() -> dict[str, str]:
    """Return the versions of the packages that ONNX needs, if all of them are installed."""
    return {} if missing_packages() else {name: version(name) for name in ONNX_PACKAGES}


WRITERS = {"torch": as_torch, "onnx": as_onnx}
"""By format."""
