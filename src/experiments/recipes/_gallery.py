"""The gallery: one page with each lesson, its claim, its measurements and its figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from experiments.common.files import regular_bytes, write_json, write_whole
from experiments.comparison.report import as_markdown
from experiments.figures.page import Cell, Figure, Page, PageColumn, PageTable, render
from experiments.figures.svg import inlined

from ._running import RecipeResult
from .courses import COURSES, EARLIER_NAMES, TITLES, CourseName, lessons_of, sections_of
from .recipe import Recipe, described, within

PICTURES = {"svg": "svg", "png": "png", "narrow": "narrow.svg"}
"""The files of a figure: field of the result -> end of the name."""
PAGE, TABLE = "index.html", "reproduction.md"
VERDICTS = {True: "holds", False: "does not hold", None: "not measured"}


@dataclass(frozen=True)
class Lesson:
    """A lesson on the page.

    Args:
        name: of the recipe.
        recipe: its present section of the configuration.
        facts: the fields of its last `RecipeResult`.
        svg: its figure, in the form for the page; None if there is none.
        narrow: its figure for a phone; None if there is none.
    """

    name: str
    recipe: Recipe
    facts: Mapping[str, Any]
    svg: str | None
    narrow: str | None

    @property
    def verdict(self) -> str:
        """The verdict on its claim, by its present bounds."""
        return VERDICTS[self.holds]

    @property
    def holds(self) -> bool:
        """Whether every quantity with a band is within it."""
        return all(self.within(name) for name in self.recipe.band)

    def within(self, quantity: str) -> bool:
        """Whether a quantity was measured and is within its band."""
        value = self.facts["values"].get(quantity)
        return value is not None and within(value, self.recipe.bounds[quantity])

    def mark(self, quantity: str) -> str:
        """The verdict on a quantity; one of the stricter variant is marked, because it does not decide."""
        verdict = "holds" if self.within(quantity) else "NO"
        return f"{verdict} (stricter)" if quantity in self.recipe.stricter else verdict

    @property
    def title(self) -> str:
        """Its name as a heading."""
        return heading(self.name)


def heading(name: str) -> str:
    """Return the name of a recipe as a heading."""
    return name.replace("_", " ").capitalize()


def save(out: Path, result: RecipeResult, recipe: Recipe) -> None:
    """Save a recipe's result for the page; the previous result is overwritten.

    Raises:
        OSError: it cannot be written.
    """
    facts = asdict(result)
    for kind, ending in PICTURES.items():
        content = facts.pop(kind)
        if content:
            write_whole(out / f"{result.name}.{ending}", content)
        else:  # such as the narrow form of an earlier figure
            (out / f"{result.name}.{ending}").unlink(missing_ok=True)
    write_json(out / f"{result.name}.json", {**facts, "recipe": asdict(recipe)})


def write(out: Path, known: Mapping[str, Recipe], course: CourseName | None = None) -> Path:
    """Write the page with all lessons that have a result in this folder, and its table as Markdown.

    Args:
        out: the folder.
        known: all recipes, by name.
        course: a course that gets a page of its own, with its lessons in its order.

    Returns:
        The path of the page; with a course, of its page.

    Raises:
        OSError: it cannot be written.
    """
    lessons = {name: lesson for name, recipe in known.items() if (lesson := read(out, name, recipe)) is not None}
    write_whole(out / TABLE, f"{as_markdown(measurements(list(lessons.values()), named=True))}\n".encode())
    write_whole(out / PAGE, render(page_of(list(lessons.values()))).encode())
    if course is None:
        return out / PAGE
    page = out / f"{course}.html"
    write_whole(page, render(course_page(course, lessons, known)).encode())
    return page


def read(out: Path, name: str, recipe: Recipe) -> Lesson | None:
    """Return the lesson of a recipe; None if it has no saved result, under its present name or an earlier one."""
    for saved in (name, *(earlier for earlier, present in EARLIER_NAMES.items() if present == name)):
        try:
            facts = json.loads((out / f"{saved}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        figures = (drawing(out / f"{saved}.{PICTURES[kind]}") for kind in ("svg", "narrow"))
        return Lesson(name, recipe, {**facts, "name": name}, *figures)
    return None


def drawing(path: Path) -> str | None:
    """Return a saved figure in the form for the page; None if there is none."""
    try:
        return inlined(regular_bytes(path))
    except (OSError, ValueError, KeyError, ParseError):
        return None


def page_of(lessons: Sequence[Lesson]) -> Page:
    """Return the page of all lessons; those whose claim does not hold are first."""
    ordered = sorted(lessons, key=lambda lesson: lesson.holds)
    figures = [figure_of(lesson) for lesson in ordered if lesson.svg is not None]
    tables = [overview("All lessons", [row_of(lesson) for lesson in ordered])]
    return Page("Lessons", [holding(ordered)], tables=tables, figures=figures, footer="python -m experiments.reproduce")


def course_page(course: CourseName, lessons: Mapping[str, Lesson], known: Mapping[str, Recipe]) -> Page:
    """Return the page of a course: a table for each section, then the figures of the measured lessons.

    Args:
        course: whose page it is.
        lessons: those with a result, by name.
        known: all recipes, by name.
    """
    names = [name for name in lessons_of(course) if name in known]
    own = [lessons[name] for name in names if name in lessons]
    tables = [
        overview(
            section,
            [
                row_of(lessons[name]) if name in lessons else unmeasured(name, known[name])
                for name in listed
                if name in known
            ],
        )
        for section, listed in COURSES[course].items()
    ]
    figures = [figure_of(lesson) for lesson in own if lesson.svg is not None]
    said = f"{len(own)} of the course's {len(names)} lessons measured; {holding(own)}"
    command = f"python -m experiments.reproduce course={course}"
    return Page(TITLES[course], [said], tables=tables, figures=figures, footer=command)


def holding(lessons: Sequence[Lesson]) -> str:
    """Return how many claims hold, and the lessons whose claim does not, in words."""
    missed = [lesson.title for lesson in lessons if not lesson.holds]
    named = f"; {VERDICTS[False]}: {', '.join(missed)}" if missed else ""
    return f"{len(lessons) - len(missed)} of {len(lessons)} claims hold{named}"


def figure_of(lesson: Lesson) -> Figure:
    """Return a lesson's part of the page."""
    recipe, facts = lesson.recipe, lesson.facts
    taught = "; ".join(f"{course}: {section}" for course, section in sections_of(lesson.name).items())
    said = [f"{recipe.claim}.", recipe.about, " ".join(f"{line}." for line in facts["said"])]
    return Figure(
        f"{lesson.title}: {lesson.verdict}",
        "",
        lesson.svg or "",
        statements=[statement for statement in said if statement],
        table=measurements([lesson]),
        narrow=lesson.narrow or "",
        facts=[
            ("Source", f"{recipe.source}.", False),
            ("Bounds", f"{recipe.basis}.", False),
            *([("Course", f"{taught}.", False)] if taught else []),
            ("Command", " ".join(["python -m experiments.reproduce", facts["name"], *facts["overrides"]]), True),
            ("Measured", provenance(facts), False),
        ],
    )


def provenance(facts: Mapping[str, Any]) -> str:
    """Return the date and the duration of a result."""
    return f"on {facts['date'][:10]} in {facts['seconds']:.0f} s, with torch {facts['versions']['torch']}"


def overview(title: str, rows: Sequence[Sequence[Cell]]) -> PageTable:
    """Return a table of lessons.

    Args:
        title: of the table.
        rows: one for each lesson, from `row_of` or `unmeasured`.
    """
    columns = [
        PageColumn("lesson"),
        PageColumn("verdict"),
        PageColumn("claim"),
        PageColumn("tier"),
        PageColumn("seconds", "number"),
    ]
    return PageTable(title, columns, rows, stacked=True)


def row_of(lesson: Lesson) -> list[Cell]:
    """Return the row of a lesson that has a result."""
    duration = Cell(f"{lesson.facts['seconds']:.0f}", lesson.facts["seconds"])
    return [Cell(lesson.title), Cell(lesson.verdict), Cell(lesson.recipe.claim), Cell(lesson.recipe.tier), duration]


def unmeasured(name: str, recipe: Recipe) -> list[Cell]:
    """Return the row of a lesson that has no result yet."""
    return [Cell(heading(name)), Cell(VERDICTS[None]), Cell(recipe.claim), Cell(recipe.tier), Cell("-")]


def measurements(lessons: Sequence[Lesson], *, named: bool = False) -> PageTable:
    """Return the table of the measurements, with a row for each quantity that has a band.

    Args:
        lessons: to show.
        named: whether each row begins with the name and the tier of its lesson.
    """
    first = [PageColumn("lesson"), PageColumn("tier")] if named else []
    columns = [
        *first,
        PageColumn("quantity"),
        PageColumn("expected"),
        PageColumn("measured", "number"),
        PageColumn("verdict"),
    ]
    rows = []
    for lesson in lessons:
        for quantity, band in lesson.recipe.bounds.items():
            value = lesson.facts["values"].get(quantity)
            before = [Cell(lesson.name), Cell(lesson.recipe.tier)] if named else []
            shown = Cell("-" if value is None else f"{value:.4g}", value)
            verdict = Cell(lesson.mark(quantity))
            rows.append([*before, Cell(quantity), Cell(described(band)), shown, verdict])
    return PageTable("Measured", columns, rows, stacked=True)
