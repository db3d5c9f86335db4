"""The gallery: a page with every lesson that was made, its claim, what was measured, and its figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.comparison.page import Cell, Column, Figure, Page, Table, inlined, render
from experiments.comparison.report import as_markdown
from experiments.files import write_whole
from experiments.run import write_json

from .making import Result
from .recipe import Recipe, described

PAGE, TABLE = "index.html", "reproduction.md"
VERDICTS = {True: "holds", False: "does not hold", None: "not measured"}


@dataclass(frozen=True)
class Shown:
    """A lesson on the page.

    Args:
        name: of the recipe.
        recipe: what it says of itself now.
        facts: what came of it last: see `making.Result`.
        svg: its figure.
    """

    name: str
    recipe: Recipe
    facts: Mapping[str, Any]
    svg: bytes | None

    @property
    def verdict(self) -> str:
        """What came of its claim."""
        return VERDICTS[self.facts["holds"]]

    def measured(self, quantity: str) -> str:
        """Return a measured value for people."""
        value = self.facts["values"].get(quantity)
        return "-" if value is None else f"{value:.4g}"


def keep(out: Path, result: Result, recipe: Recipe) -> None:
    """Keep what came of a recipe for the page, in the place of what came of it before.

    Raises:
        OSError: it cannot be written.
    """
    facts = asdict(result)
    for kind in ("svg", "png"):
        content = facts.pop(kind)
        if content:
            write_whole(out / f"{result.name}.{kind}", content)
    write_json(out / f"{result.name}.json", {**facts, "recipe": asdict(recipe)})


def write(out: Path, known: Mapping[str, Recipe]) -> Path:
    """Write the page of all lessons that were ever made into this folder, and its table as Markdown.

    Returns:
        The page.

    Raises:
        OSError: it cannot be written.
    """
    lessons = [shown for name, recipe in known.items() if (shown := kept(out, name, recipe)) is not None]
    table = overview(lessons)
    write_whole(out / TABLE, f"{as_markdown(table)}\n".encode())
    write_whole(out / PAGE, render(page_of(lessons, table)).encode())
    return out / PAGE


def kept(out: Path, name: str, recipe: Recipe) -> Shown | None:
    """Return what is kept of a recipe; None where there is nothing."""
    try:
        facts = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    picture = out / f"{name}.svg"
    return Shown(name, recipe, facts, picture.read_bytes() if picture.exists() else None)


def page_of(lessons: list[Shown], table: Table) -> Page:
    """Return the page."""
    holds = sum(lesson.facts["holds"] is True for lesson in lessons)
    figures = [
        Figure(lesson.recipe.claim, caption(lesson), inlined(lesson.svg))
        for lesson in lessons
        if lesson.svg is not None
    ]
    said = [f"{holds} of {len(lessons)} claims hold."]
    return Page("Lessons", said, tables=[table], figures=figures, made="python -m experiments.reproduce")


def caption(lesson: Shown) -> str:
    """Return what stands below a lesson's figure."""
    recipe = lesson.recipe
    found = "; ".join(f"{name}: {lesson.measured(name)} ({described(band)})" for name, band in recipe.band.items())
    said = " ".join(f"{sentence}." for sentence in lesson.facts["said"])
    parts = [recipe.about, said, f"{lesson.verdict.capitalize()}: {found}.", f"Source: {recipe.source}."]
    return " ".join(part for part in parts if part)


def overview(lessons: list[Shown]) -> Table:
    """Return the table of all lessons, a row for each quantity that is judged."""
    columns = [
        Column("lesson"),
        Column("claim"),
        Column("quantity"),
        Column("expected"),
        Column("measured", "number"),
        Column("verdict"),
        Column("date"),
    ]
    rows = [
        [
            Cell(lesson.name),
            Cell(lesson.recipe.claim),
            Cell(quantity),
            Cell(described(band)),
            Cell(lesson.measured(quantity), lesson.facts["values"].get(quantity)),
            Cell(lesson.verdict),
            Cell(str(lesson.facts["date"])[:10]),
        ]
        for lesson in lessons
        for quantity, band in lesson.recipe.band.items()
    ]
    return Table("All lessons", columns, rows)
