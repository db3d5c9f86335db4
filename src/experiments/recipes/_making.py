"""Making one recipe: its runs, what the lesson measures on them, and whether that bears the claim out."""

from __future__ import annotations

import inspect
import platform
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
from experiments.common.errors import UserError
from experiments.common.signatures import TARGET
from experiments.common.version import __version__
from experiments.figures import palette
from experiments.figures.svg import saved
from experiments.folders.reading import Reader, Record
from experiments.runs.alone import run

from .measured import Measured
from .recipe import GROUP, Recipe, within

BEFORE = "{before}"
OF_THE_LESSON = "recipe.settings."
"""What an override begins with that is the lesson's, not its runs'."""


@dataclass(frozen=True)
class Order:
    """A recipe that is to be made, as it is handed to a process.

    Args:
        name: of the recipe.
        recipe: what it says of itself.
        folder: where its runs go; it is not there yet.
        log: the file for what is printed.
        overrides: of every run.
        config_dir: where recipes of the user's own are.
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
    """What came of a recipe.

    Args:
        name: of the recipe.
        values: what was measured.
        holds: whether every quantity that has a band is in it; None where nothing could be measured.
        error: why not, in a sentence.
        said: sentences of the lesson.
        seconds: it took.
        folder: of its runs; None where there are none.
        overrides: that every run was made with, besides its own.
        date: when it was made, in ISO 8601.
        versions: of what it was made with.
        svg, png: its figure; empty where there is none.
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


def make(order: Order) -> RecipeResult:
    """Make a recipe; an error that a user can cause is in the result, any other is raised."""
    started = time.perf_counter()
    found: dict[str, Any]
    with printed_to(order.log):
        try:
            found = measured(order)
        except UserError as error:
            found = {"error": str(error)}
    return RecipeResult(
        name=order.name,
        seconds=time.perf_counter() - started,
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        versions={"experiments": __version__, "python": platform.python_version(), "torch": str(torch.__version__)},
        folder=str(order.folder) if order.folder.exists() else None,
        overrides=list(order.overrides),
        **found,
    )


def measured(order: Order) -> dict[str, Any]:
    """Return what a `RecipeResult` says of the measurement.

    Raises:
        UserError: the runs cannot be made, or the lesson cannot measure them.
    """
    recipe, settings, overrides = order.recipe, dict(order.recipe.settings), list(order.overrides)
    for override in recipe.sabotage if order.sabotage else ():
        if override.startswith(OF_THE_LESSON):
            key, _, value = override.removeprefix(OF_THE_LESSON).partition("=")
            settings[key] = read(value)
        else:
            overrides.append(override)
    section = {TARGET: recipe.lesson, **settings}
    if ("runs" in inspect.signature(located(section, "recipe.lesson")).parameters) != recipe.trains:
        raise UserError(f"recipe.trains={recipe.trains} of {order.name} should say whether {recipe.lesson} takes runs")
    lesson = target(section, "recipe.settings", supplied=("runs",))
    with palette.drawing():
        found: Measured = lesson(runs=made(order, overrides)) if recipe.trains else lesson()
        missing = [name for name in recipe.band if name not in found.values]
        if missing:
            raise UserError(
                f"recipe.band of {order.name} names {missing[0]!r}, which {recipe.lesson} does not measure; "
                f"it measures {', '.join(found.values)}"
            )
        result: dict[str, Any] = {
            "values": {name: float(value) for name, value in found.values.items()},
            "holds": all(within(found.values[name], band) for name, band in recipe.band.items()),
            "said": list(found.said),
        }
        if not order.sabotage:
            figure = found.draw()
            result |= {"svg": saved(figure, "svg"), "png": saved(figure, "png")}
    return result


def made(order: Order, overrides: Sequence[str]) -> list[Record]:
    """Train a recipe's runs, and return them.

    Raises:
        UserError: they cannot be made, or one of them failed.
    """
    then = list(order.recipe.then)
    if order.recipe.before:
        before = order.folder.with_name(f"{order.folder.name}_before")
        train([*order.recipe.before, *overrides_of_data(order.overrides)], before, order)
        then = [override.replace(BEFORE, quoted(before.absolute())) for override in then]
    train([f"{GROUP}={order.name}", *then, *overrides], order.folder, order)
    runs = Reader([order.folder]).read().records
    failed = [run for run in runs if run.status == "failed"]
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} runs failed: {failed[0].summary.get('error')}")
    return runs


def overrides_of_data(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that say where data lies, which every run needs."""
    return [override for override in overrides if override.startswith("data.")]


def train(words: Sequence[str], folder: Path, order: Order) -> None:
    """Do what `python -m experiments.train` does with these overrides.

    Raises:
        UserError: it says the command's own sentence.
    """
    places = [f"hydra.{kind}.dir={quoted(folder)}" for kind in ("run", "sweep")]
    own = ["--config-dir", order.config_dir] if order.config_dir else []
    before, sys.argv = sys.argv, ["experiments.train", *own, "training.threads=1", *words, *places]
    try:
        launch(run, "train")
    except SystemExit as stopped:
        if stopped.code == 130:
            raise KeyboardInterrupt from None
        if stopped.code == 2:
            raise UserError(last_error(order.log)) from None
    finally:
        sys.argv = before


def last_error(log: Path) -> str:
    """Return the last error that was printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if "Error: " in line]
    return lines[-1].partition("Error: ")[2] if lines else "the runs cannot be made"


@contextmanager
def printed_to(log: Path) -> Iterator[None]:
    """Write to a file what is printed meanwhile."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        yield
