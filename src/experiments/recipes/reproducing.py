"""Reproducing: recipes made side by side, their claims judged, the gallery written."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path

from experiments.cli.composing import own_folder
from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from experiments.common.screen import Screen, table
from experiments.common.text import duration, shown_path

from . import _gallery
from ._making import Order, RecipeResult, make
from .options import CommandLine
from .recipe import Recipe, described, recipes, selected, within


def reproduce(asked: CommandLine) -> int:
    """Make recipes, print what came of their claims, and write the gallery.

    Returns:
        0 where every claim was borne out (with `sabotage`: where every planted result was rejected), 2 where one could
        not be measured, otherwise 1.

    Raises:
        UserError: a recipe is unknown or wrong.
        OSError: the gallery cannot be written.
    """
    options = asked.options
    known = recipes([conf_folder(), *own_folder(options.config_dir)])
    chosen = selected(known, asked.names, asked.tier)
    if not chosen:
        raise UserError(f"tier={asked.tier} has none of the recipes {', '.join(asked.names)}")
    screen, out = Screen(), Path(options.out)
    screen.widen()
    results: dict[str, RecipeResult] = {}
    with tempfile.TemporaryDirectory() as planted:
        orders = [ordered(name, recipe, asked, Path(planted)) for name, recipe in chosen.items()]
        for result in side_by_side(orders, processes(options.jobs, len(orders))):
            results[result.name] = result
            show(screen, result, chosen[result.name])
            if result.error is None and not options.sabotage:
                _gallery.keep(out, result, chosen[result.name])
    if options.sabotage:
        return said_of_sabotage(screen, results)
    page = _gallery.write(out, known)
    borne_out = sum(result.holds is True for result in results.values())
    screen.print(f"\n{borne_out} of {len(results)} claims hold\ngallery  {shown_path(page)}")
    return code(results, borne_out)


def ordered(name: str, recipe: Recipe, asked: CommandLine, planted: Path) -> Order:
    """Return what is to be made of a recipe, in a folder that is not there yet."""
    stamp, number = datetime.now().strftime("%Y-%m-%d_%H-%M-%S"), 1
    above = planted / name if asked.options.sabotage else Path("outputs", name)
    folder = above / stamp
    while folder.exists():
        number += 1
        folder = above / f"{stamp}_{number}"
    logs = planted if asked.options.sabotage else Path(asked.options.out) / "logs"
    return Order(
        name, recipe, folder, logs / f"{name}.log", asked.overrides, asked.options.config_dir, asked.options.sabotage
    )


def processes(jobs: int | str, orders: int) -> int:
    """Return how many recipes are made at once."""
    return min(orders, os.cpu_count() or 1) if isinstance(jobs, str) else min(orders, jobs)


def side_by_side(orders: Sequence[Order], count: int) -> Iterator[RecipeResult]:
    """Make recipes in so many processes, this one where it is one, and return each when it is made."""
    if count == 1:
        yield from map(make, orders)
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
    try:
        for made in as_completed([pool.submit(make, order) for order in orders]):
            yield made.result()
    finally:
        pool.shutdown(cancel_futures=True)


def show(screen: Screen, result: RecipeResult, recipe: Recipe) -> None:
    """Print what came of a recipe."""
    screen.print(f"{result.name}: {_gallery.VERDICTS[result.holds]} ({duration(result.seconds)})")
    screen.print(f"  claim   {recipe.claim}")
    screen.print(f"  source  {recipe.source}")
    if result.error is not None:
        screen.print(f"  error   {result.error}\n")
        return
    shown = table("  quantity", "measured", "expected", "", right=("measured",))
    for name, band in recipe.band.items():
        mark = "" if within(result.values[name], band) else "NO"
        shown.add_row(f"  {name}", f"{result.values[name]:.4g}", described(band), mark)
    screen.print(shown)
    for sentence in result.said:
        screen.print(f"  - {sentence}")
    screen.print("")


def said_of_sabotage(screen: Screen, results: Mapping[str, RecipeResult]) -> int:
    """Say which planted results were not rejected."""
    missed = [name for name, result in results.items() if result.holds is not False]
    screen.print(f"\n{len(results) - len(missed)} of {len(results)} planted results were rejected")
    if missed:
        screen.print(f"not rejected: {', '.join(missed)}")
    return code(results, len(results) - len(missed))


def code(results: Mapping[str, RecipeResult], good: int) -> int:
    """Return the exit code."""
    return 2 if any(result.error is not None for result in results.values()) else int(good < len(results))
