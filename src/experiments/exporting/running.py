"""Export of runs, each into its own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.cli.arguments import unlinked
from experiments.common.errors import UserError
from experiments.common.files import write_json, write_whole
from experiments.common.installing import install_command
from experiments.common.screen import Screen
from experiments.common.text import counted, shown_path
from experiments.common.version import __version__
from experiments.data.forms import FILLED, TableForm, features_of, sides
from experiments.evaluation.loading import Restored, restored
from experiments.evaluation.settings import RestoreSettings
from experiments.training.single import PRECISIONS

from ._programs import INPUT, WRITERS, WholeModel, exported, missing_packages, onnx_versions, trials, type_name
from .options import Format

FOLDER = "export"
NAMES: Mapping[Format, str] = {"torch": "model.pt2", "onnx": "model.onnx"}
TOLERANCE = 1e-2
"""The largest difference in probabilities, or in standard deviations of numbers: rounding cannot explain more."""


def export(folders: Sequence[Path], only: Format | None, restoring: RestoreSettings) -> None:
    """Write programs of runs into `export/` of each run; each program is compared with its run before it is written.

    Args:
        folders: of runs.
        only: one format; None for both, ONNX only if its packages are installed.
        restoring: how the runs are restored; always on the CPU.

    Raises:
        UserError: a folder is not a run, or the run cannot be exported; the runs before it are written.
        OSError: the folder cannot be written.
    """
    screen, missing = Screen(), missing_packages()
    formats = [name for name in NAMES if only in (None, name) and not (name == "onnx" and missing)]
    if only == "onnx" and missing:
        raise UserError(f"format=onnx needs {' and '.join(missing)}; install the extra with: {install_command('onnx')}")
    for number, folder in enumerate(folders):
        if number:
            screen.print("")
        run = restored(folder, replace(restoring, device="cpu"))
        export_run(run, formats, unlinked(folder / FOLDER), screen)
        if only is None and missing:
            needed = f"{' and '.join(missing)}; install the extra with: {install_command('onnx')}"
            screen.print(f"model.onnx  left out: it needs {needed}")
        screen.print(f"written     {shown_path(folder / FOLDER)}")


def export_run(run: Restored, formats: Sequence[Format], out: Path, screen: Screen) -> None:
    """Write the programs of one run; see `export`.

    Args:
        run: with its model on the CPU.
        formats: of the programs.
        out: the folder for the programs and `model.json`.
        screen: to print on.

    Raises:
        UserError: the model cannot be exported, or the answers of a program differ from those of the run.
        OSError: the folder cannot be written.
    """
    about = description(run)
    screen.print(f"{shown_path(run.folder.path)}, weights of epoch {run.epoch}")
    if run.note:
        screen.print(f"warning: {run.note}")
    screen.print(f"in          raw examples, {about['input']['type']}, batch x {sides(run.description.shape)}")
    count, form = len(run.task.names), run.task.form
    nouns = {"labels": "label", "inputs": "input", "tokens": "character"}
    what = f"{count} classes" if form == "classes" else counted(count, nouns.get(form, "target"))
    if len(shape := run.task.answer_shape(run.description.shape)) > 1:
        what = f"{sides(shape[:-1])} x {what}"
    screen.print(f"out         {run.task.answers}, float32, batch x {what}")
    examples = trials(run)
    expected, gap = references(run, examples)
    if gap is not None:
        screen.print(f"precision   fp32; the run computes in {run.settings.precision}, and differs by up to {gap:.1g}")
    traced = exported(run)
    for kind in formats:
        name, written = NAMES[kind], WRITERS[kind](traced, run)
        difference = distance([written.program(x) for x in examples], expected) / run.task.answer_size
        if not difference <= TOLERANCE:
            raise UserError(
                f"{name} is not written, because its {run.task.answers} differ from the run's by up to "
                f"{difference:.2g}; does the model draw random numbers, or depend on the other examples in a batch?"
            )
        reference, count = "the run" if gap is None else "its model in fp32", sum(map(len, examples))
        screen.print(f"{name:<11} differs from {reference} by {difference:.1g} at most, on {count} random examples")
        write_whole(out / name, written.content)
        about["programs"][name] = {"difference": difference, **written.about}
        write_json(out / "model.json", about)
    for name in NAMES.values():
        if name not in about["programs"]:
            (out / name).unlink(missing_ok=True)  # from an earlier export, perhaps of other weights


def about_features(run: Restored) -> dict[str, Any]:
    """Return the features of a table in `model.json`, and what the program does with them; empty for other data."""
    form = run.description.form
    if not isinstance(form, TableForm):
        return {}
    filled = form.missing in FILLED
    chosen = run.config["data"].get("preprocess", "none")
    return {
        "features": features_of(form),
        "missing": "nan, which the program replaces by the mean of the training split" if filled else "not allowed",
        "preparation": f"in the program: {chosen if isinstance(chosen, str) else 'own'}",
    }


def references(run: Restored, examples: Sequence[Tensor]) -> tuple[list[Tensor], float | None]:
    """Return the expected answers for each batch, and their distance from the run's own.

    The programs compute in float32. A run with another precision rounds differently, so its programs are compared with
    its model in float32; otherwise they are compared with the run, and the distance is None.

    Args:
        run: with its model on the CPU.
        examples: batches of raw examples, (batch, *description.shape).
    """
    own = [run.answers(x) for x in examples]
    if run.settings.precision not in PRECISIONS:
        return own, None
    whole = WholeModel(run)
    with torch.no_grad():
        exact = [whole(x) for x in examples]
    return exact, distance(own, exact)


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the largest difference between the elements of two lists of tensors; nan if one is not a number.

    Args:
        one, other: tensors of the same shapes in both lists.
    """
    return float(torch.cat([(a.double() - b.double()).abs().flatten() for a, b in zip(one, other, strict=True)]).max())


def description(run: Restored) -> dict[str, Any]:
    """Return the facts in `model.json` that hold for all programs."""
    shown = ["batch", *run.description.shape]
    return {
        "run": run.folder.path.resolve().name,
        "epoch": run.epoch,
        **({"note": run.note} if run.note else {}),
        **({"classes": run.classes} if run.classes else {"targets": list(run.task.names)}),
        "input": {
            "name": INPUT,
            "type": type_name(run),
            "shape": shown,
            "what": "raw examples, as in the data set; the program includes the preparation",
            **about_features(run),
            "form": None if run.description.form is None else asdict(run.description.form),
        },
        "output": {
            "name": run.task.answers,
            "type": "float32",
            "shape": ["batch", *run.task.answer_shape(run.description.shape)],
            "what": run.task.about_answers,
        },
        "precision": {"of the programs": "fp32", "of the run": run.settings.precision},
        "programs": {},
        "versions": {"experiments": __version__, "torch": str(torch.__version__), **onnx_versions()},
    }
