"""Reproducing: run recipes in parallel, judge their claims, write the gallery."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path

from experiments.cli.composing import own_folder
from experiments.cli.folders import numbered
from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from experiments.common.screen import Screen, table
from experiments.common.text import duration, shown_path

from . import _gallery
from ._running import RecipeResult, RecipeTask, run_recipe
from .courses import present_name, sections_of
from .listing import plan
from .options import CommandLine
from .recipe import Recipe, described, recipes, selected, within

RUNS = Path("outputs", "reproduce")
"""The folder of the runs of recipes, apart from the runs of `experiments.train`."""


def reproduce(line: CommandLine) -> int:
    """Run recipes, print the verdicts on their claims, and write the gallery.

    Returns:
        The exit code: 0 if every claim holds (with `sabotage`: if every planted result is rejected), 2 if a recipe
        could not be measured, otherwise 1.

    Raises:
        UserError: a recipe is unknown or not valid.
        OSError: the gallery cannot be written.
    """
    options = line.options
    known = recipes([conf_folder(), *own_folder(options.config_dir)], line.names)
    chosen = selected(known, line.names, line.tier, options.course)
    check_contained(line, chosen)
    screen, out = Screen(), Path(options.out)
    screen.widen()
    results: dict[str, RecipeResult] = {}
    with tempfile.TemporaryDirectory() as planted:
        tasks = [task_of(name, recipe, line, Path(planted)) for name, recipe in chosen.items()]
        count = processes(options.jobs, len(tasks))
        if len(tasks) > 1:
            screen.print(f"{plan(chosen, count, out)}\n")
        for result in run_in_parallel(tasks, count):
            results[result.name] = result
            show(screen, result, chosen[result.name])
            if result.error is None and not options.sabotage:
                _gallery.save(out, result, chosen[result.name])
    if options.sabotage:
        return report_sabotage(screen, results)
    page = _gallery.write(out, known, options.course)
    more = len(selected(known, line.names, None, options.course)) - len(chosen)
    if options.course and more:
        screen.print(f"\n{more} more lessons of course={options.course} are in other tiers: add tier=all")
    holding = sum(result.holds is True for result in results.values())
    screen.print(f"\n{holding} of {len(results)} claims hold")
    for holds in (False, None):
        if names := [result.name for result in results.values() if result.holds is holds]:
            screen.print(f"{_gallery.VERDICTS[holds]}: {', '.join(names)}")
    screen.print(f"gallery  {shown_path(page)}")
    return exit_code(results, holding)


def check_contained(line: CommandLine, chosen: Collection[str]) -> None:
    """Check that the course and the tier contain every recipe that is named.

    Args:
        line: the command line.
        chosen: the names of the recipes that are of the course and the tier.

    Raises:
        UserError: they do not, or no recipe is left.
    """
    outside = [name for name in line.names if present_name(name) not in chosen]
    if chosen and not outside:
        return
    options = line.options
    given = " ".join(f"{key}={value}" for key, value in (("course", options.course), ("tier", line.tier)) if value)
    if not outside:
        raise UserError(f"{given} contains no recipe; use tier=all")
    listed = ", ".join(outside)
    remedy = f"leave out {given}" if len(outside) == len(line.names) else f"leave out {listed} or {given}"
    raise UserError(f"{given} does not contain {listed}; {remedy}")


def task_of(name: str, recipe: Recipe, line: CommandLine, planted: Path) -> RecipeTask:
    """Return the task of running a recipe, with a folder that does not exist yet.

    Args:
        name: of the recipe.
        recipe: its section of the configuration.
        line: the command line.
        planted: the folder for runs with a planted result.
    """
    options = line.options
    above = planted / name if options.sabotage else RUNS / name
    names = numbered(datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    folder = next(path for path in map(above.joinpath, names) if not path.exists())
    log = (planted if options.sabotage else Path(options.out) / "logs") / f"{name}.log"
    return RecipeTask(name, recipe, folder, log, line.overrides, options.config_dir, options.sabotage)


def processes(jobs: int | str, tasks: int) -> int:
    """Return how many recipes run at once."""
    return min(tasks, os.cpu_count() or 1) if isinstance(jobs, str) else min(tasks, jobs)


def run_in_parallel(tasks: Sequence[RecipeTask], count: int) -> Iterator[RecipeResult]:
    """Run recipes in `count` processes, or in this process if `count` is 1, and yield each result when it is ready."""
    if count == 1:
        yield from map(run_recipe, tasks)
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
    try:
        for finished in as_completed([pool.submit(run_recipe, task) for task in tasks]):
            yield finished.result()
    finally:
        pool.shutdown(cancel_futures=True)


def show(screen: Screen, result: RecipeResult, recipe: Recipe) -> None:
    """Print the result of a recipe."""
    screen.print(f"{result.name}: {_gallery.VERDICTS[result.holds]} ({duration(result.seconds)})")
    screen.print(f"  claim   {recipe.claim}")
    screen.print(f"  source  {recipe.source}")
    for course, section in sections_of(result.name).items():
        screen.print(f"  course  {course}: {section}")
    if result.error is not None:
        screen.print(f"  error   {result.error}\n")
        return
    shown = table("  quantity", "measured", "expected", "", right=("measured",))
    for name, band in recipe.bounds.items():
        mark = "" if within(result.values[name], band) else "NO"
        if name in recipe.stricter:
            mark = f"{mark} (stricter)".strip()
        shown.add_row(f"  {name}", f"{result.values[name]:.4g}", described(band), mark)
    screen.print(shown)
    for sentence in result.said:
        screen.print(f"  - {sentence}")
    screen.print("")


def report_sabotage(screen: Screen, results: Mapping[str, RecipeResult]) -> int:
    """Print which planted results were not rejected; returns the exit code."""
    missed = [name for name, result in results.items() if result.holds is not False]
    screen.print(f"\n{len(results) - len(missed)} of {len(results)} planted results were rejected")
    if missed:
        screen.print(f"not rejected: {', '.join(missed)}")
    return exit_code(results, len(results) - len(missed))


def exit_code(results: Mapping[str, RecipeResult], expected: int) -> int:
    """Return the exit code, from the number of results that are as expected."""
    return 2 if any(result.error is not None for result in results.values()) else int(expected < len(results))
