"""Running one recipe: train its runs, measure its lesson on them, and check the result against the band."""

from __future__ import annotations

import inspect
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from experiments.assembly.targets import located, target
from experiments.cli.arguments import read
from experiments.cli.launch import launch
from experiments.cli.overrides import quoted
from experiments.cli.resuming import resumed_command_line
from experiments.common.errors import UserError
from experiments.common.signatures import TARGET
from experiments.common.version import __version__
from experiments.figures import palette
from experiments.figures.canvas import PHONE, for_a_phone, widened
from experiments.figures.svg import saved
from experiments.folders.reading import Reader, Record
from experiments.runs.alone import run

from .measured import Measured
from .recipe import GROUP, Recipe, within

BEFORE = "{before}"
LESSON_SETTINGS = "recipe.settings."
"""The prefix of an override that sets the lesson and not its runs."""


@dataclass(frozen=True)
class RecipeTask:
    """A recipe to run, in the form in which it is sent to a process.

    Args:
        name: of the recipe.
        recipe: its section of the configuration.
        folder: for its runs; it does not exist yet.
        log: the file for the printed output.
        overrides: of every run.
        config_dir: the folder with the user's own recipes.
        sabotage: whether to plant its wrong result.
    """

    name: str
    recipe: Recipe
    folder: Path
    log: Path
    overrides: Sequence[str] = ()
    config_dir: str | None = None
    sabotage: bool = False


@dataclass(frozen=True)
class RecipeResult:
    """The result of a recipe.

    Args:
        name: of the recipe.
        values: the measured values, by quantity.
        holds: whether every quantity with a band is within it; None if nothing could be measured.
        error: why nothing could be measured, in one sentence.
        said: sentences of the lesson.
        seconds: the running time.
        folder: of its runs; None if there are none.
        overrides: of every run, in addition to the recipe's own.
        date: of the end, in ISO 8601.
        versions: of Python and the packages.
        svg, png: its figure; empty if there is none.
        narrow: its figure for a phone, as SVG; empty if it has no other form there.
    """

    name: str
    values: Mapping[str, float] = field(default_factory=dict)
    holds: bool | None = None
    error: str | None = None
    said: Sequence[str] = ()
    seconds: float = 0.0
    folder: str | None = None
    overrides: Sequence[str] = ()
    date: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    svg: bytes = b""
    png: bytes = b""
    narrow: bytes = b""


def run_recipe(task: RecipeTask) -> RecipeResult:
    """Run a recipe; an error that a user can cause is in the result, any other error is raised."""
    started = time.perf_counter()
    outcome: dict[str, Any]
    with printed_to(task.log):
        try:
            outcome = measure(task)
        except UserError as error:
            outcome = {"error": str(error)}
    return RecipeResult(
        name=task.name,
        seconds=time.perf_counter() - started,
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        versions={"experiments": __version__, "python": platform.python_version(), "torch": str(torch.__version__)},
        folder=str(task.folder) if task.folder.exists() else None,
        overrides=list(task.overrides),
        **outcome,
    )


def measure(task: RecipeTask) -> dict[str, Any]:
    """Return the fields of a `RecipeResult` that hold the measurement.

    Raises:
        UserError: a run fails, or the lesson cannot measure the runs.
    """
    recipe, settings, overrides = task.recipe, dict(task.recipe.settings), list(task.overrides)
    for override in recipe.sabotage if task.sabotage else ():
        if override.startswith(LESSON_SETTINGS):
            key, _, value = override.removeprefix(LESSON_SETTINGS).partition("=")
            settings[key] = read(value)
        else:
            overrides.append(override)
    section = {TARGET: recipe.lesson, **settings}
    takes_runs = "runs" in inspect.signature(located(section, "recipe.lesson")).parameters
    if takes_runs != recipe.trains:
        problem = f"{recipe.lesson} {'takes' if takes_runs else 'takes no'} runs"
        raise UserError(f"recipe.trains={str(recipe.trains).lower()} of {task.name} is wrong: {problem}")
    lesson = target(section, "recipe.settings", supplied=("runs",))
    with palette.drawing():
        measured: Measured = lesson(runs=train_runs(task, overrides)) if recipe.trains else lesson()
        missing = [name for name in recipe.bounds if name not in measured.values]
        if missing:
            raise UserError(
                f"recipe.band of {task.name} has {missing[0]!r}, which {recipe.lesson} does not measure; "
                f"it measures {', '.join(measured.values)}"
            )
        outcome: dict[str, Any] = {
            "values": {name: float(value) for name, value in measured.values.items()},
            "holds": all(within(measured.values[name], band) for name, band in recipe.band.items()),
            "said": list(measured.said),
        }
        if not task.sabotage:
            figure = measured.draw()
            outcome |= {"svg": saved(figure, "svg"), "png": saved(figure, "png")}
            with for_a_phone():
                narrow = measured.draw()
            if narrow.get_figwidth() <= PHONE:  # a grid of axes is as wide as before
                outcome["narrow"] = saved(widened(narrow), "svg")
    return outcome


def train_runs(task: RecipeTask, overrides: Sequence[str]) -> list[Record]:
    """Train a recipe's runs and return them.

    Raises:
        UserError: the command fails, or one of the runs.
    """
    then = list(task.recipe.then)
    if task.recipe.before:
        before = task.folder.with_name(f"{task.folder.name}_before")
        train([*task.recipe.before, *data_overrides(task.overrides)], before, task)
        then = [override.replace(BEFORE, quoted(before.absolute())) for override in then]
    train([f"{GROUP}={task.name}", *then, *overrides], task.folder, task)
    runs = runs_in(task.folder)
    if not task.recipe.continued:
        return runs
    copies = task.folder.with_name(f"{task.folder.name}_continued")
    for number, own in enumerate(task.recipe.continued):
        for record in runs:
            copy = copies / str(number) / record.folder.name
            shutil.copytree(record.folder, copy)
            train([f"resume={quoted(copy.absolute())}", *own], copy, task)
    return runs_in(copies)


def runs_in(folder: Path) -> list[Record]:
    """Return the runs in a folder.

    Raises:
        UserError: one of them failed.
    """
    runs = Reader([folder]).read().records
    failed = [run for run in runs if run.status == "failed"]
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} runs failed: {failed[0].summary.get('error')}")
    return runs


def data_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of the data set, which every run needs."""
    return [override for override in overrides if override.startswith("data.")]


def train(words: Sequence[str], folder: Path, task: RecipeTask) -> None:
    """Run `python -m experiments.train` with these overrides, in this process.

    Raises:
        UserError: the command ends with an error; the sentence is the command's.
    """
    folders = [f"hydra.{kind}.dir={quoted(folder)}" for kind in ("run", "sweep")]
    own = ["--config-dir", task.config_dir] if task.config_dir else []
    typed = resumed_command_line([*own, "training.threads=1", *words, *folders])
    before, sys.argv = sys.argv, ["experiments.train", *typed]
    try:
        launch(run, "train")
    except SystemExit as stopped:
        if stopped.code == 130:
            raise KeyboardInterrupt from None
        if stopped.code == 2:
            raise UserError(last_error(task.log)) from None
    finally:
        sys.argv = before


def last_error(log: Path) -> str:
    """Return the last error in a log."""
    sys.stdout.flush()
    sys.stderr.flush()
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if "Error: " in line]
    return lines[-1].partition("Error: ")[2] if lines else "the runs cannot be trained"


@contextmanager
def printed_to(log: Path) -> Iterator[None]:
    """Redirect everything that is printed inside the block to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        yield
