"""Exporting runs, each into its own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.cli.arguments import unlinked
from experiments.common.errors import UserError
from experiments.common.files import write_json, write_whole
from experiments.common.installing import install_command
from experiments.common.screen import Screen
from experiments.common.text import shown_path
from experiments.common.version import __version__
from experiments.data.forms import sides
from experiments.evaluation.loading import Restored, load
from experiments.training.single import PRECISIONS

from ._programs import INPUT, OUTPUT, WRITERS, Whole, exported, missing_packages, onnx_versions, trials, type_name
from .options import Format

FOLDER = "export"
NAMES: Mapping[Format, str] = {"torch": "model.pt2", "onnx": "model.onnx"}
TOLERANCE = 1e-2
"""Of probabilities: a program that is further off than rounding explains computes something else."""


def export(folders: Sequence[Path], only: Format | None = None, trust: Sequence[str] = ()) -> None:
    """Write runs as programs into `export/` of each, compared with the run before they are written.

    Args:
        folders: of runs.
        only: one format; None for both, ONNX where it is installed.
        trust: prefixes of code that their configurations may name besides ours.

    Raises:
        UserError: one is no run, or cannot be exported so; those before it are written.
        OSError: the folder cannot be written.
    """
    screen, missing = Screen(), missing_packages()
    formats = [name for name in NAMES if only in (None, name) and not (name == "onnx" and missing)]
    if only == "onnx" and missing:
        raise UserError(f"format=onnx needs {' and '.join(missing)}; install the extra with: {install_command('onnx')}")
    for number, folder in enumerate(folders):
        if number:
            screen.print("")
        run = load(folder, trust=trust, device="cpu")
        export_run(run, formats, unlinked(folder / FOLDER), screen)
        if only is None and missing:
            needed = f"{' and '.join(missing)}; install the extra with: {install_command('onnx')}"
            screen.print(f"model.onnx  left out: it needs {needed}")
        screen.print(f"written     {shown_path(folder / FOLDER)}")


def export_run(run: Restored, formats: Sequence[Format], out: Path, screen: Screen) -> None:
    """Write one run; see `export`."""
    about = description(run)
    screen.print(f"{shown_path(run.folder.path)}, weights of epoch {run.epoch}")
    screen.print(f"in          raw examples, {about['input']['type']}, batch x {sides(run.description.shape)}")
    screen.print(f"out         probabilities, float32, batch x {len(run.classes)} classes")
    examples = trials(run)
    expected, gap = references(run, examples)
    if gap is not None:
        screen.print(f"precision   fp32; the run's probabilities, in {run.settings.precision}, are up to {gap:.1g} off")
    traced = exported(run)
    for made in formats:
        name, written = NAMES[made], WRITERS[made](traced, run)
        found = distance([written.program(x) for x in examples], expected)
        if not found <= TOLERANCE:
            raise UserError(
                f"{name} is not written, since it gives other probabilities than the run, by up to {found:.2g}; "
                "does its model draw random numbers, or depend on the other examples of a batch?"
            )
        reference, count = "the run" if gap is None else "its model in fp32", sum(map(len, examples))
        screen.print(f"{name:<11} differs from {reference} by {found:.1g} at most, in {count} examples drawn for it")
        write_whole(out / name, written.content)
        about["programs"][name] = {"difference": found, **written.about}
        write_json(out / "model.json", about)
    for name in NAMES.values():
        if name not in about["programs"]:
            (out / name).unlink(missing_ok=True)  # from another time, perhaps of other weights


def references(run: Restored, examples: Sequence[Tensor]) -> tuple[list[Tensor], float | None]:
    """Return what programs are compared with, and how far that is from the run's own; None where it is that.

    A run in 16 bits has a rounding of its own, so that its programs are compared with its model in float32.
    """
    own = [run.probabilities(x) for x in examples]
    if run.settings.precision not in PRECISIONS:
        return own, None
    whole = Whole(run)
    with torch.no_grad():
        exact = [whole(x) for x in examples]
    return exact, distance(own, exact)


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the largest difference; nan where something is not a number."""
    return float(torch.cat([(a.double() - b.double()).abs().flatten() for a, b in zip(one, other, strict=True)]).max())


def description(run: Restored) -> dict[str, Any]:
    """Return what `model.json` says of every program."""
    shown = ["batch", *run.description.shape]
    return {
        "run": run.folder.path.resolve().name,
        "epoch": run.epoch,
        "classes": run.classes,
        "input": {
            "name": INPUT,
            "type": type_name(run),
            "shape": shown,
            "what": "raw examples, as the data set gives them: the preparation is in the program",
            "form": None if run.description.form is None else asdict(run.description.form),
        },
        "output": {
            "name": OUTPUT,
            "type": "float32",
            "shape": ["batch", len(run.classes)],
            "what": "probabilities of the classes, in their order: the softmax of the model's scores",
        },
        "precision": {"of the programs": "fp32", "of the run": run.settings.precision},
        "programs": {},
        "versions": {"experiments": __version__, "torch": str(torch.__version__), **onnx_versions()},
    }
