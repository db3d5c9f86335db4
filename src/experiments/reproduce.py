"""Reproduce claims of textbooks and papers: `python -m experiments.reproduce tier=fast`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .cli.entry import entry_point, run_command_line

if TYPE_CHECKING:
    from .recipes.courses import CourseName
    from .recipes.recipe import Recipe

COMMAND = "python -m experiments.reproduce"
PURPOSE = """
Runs recipes. A recipe is a file in conf/experiment/ with a claim, its source, and the values that support it. Trains
the runs of each recipe, prints the claim, the expected and measured values and the verdict, and writes a page with the
figure of each lesson. Overrides are those of `experiments.train`, and apply to every run. The exit code is 1 if a claim
does not hold.
"""
EXAMPLES = (
    (COMMAND, "the fast recipes"),
    (f"{COMMAND} zero_biases zero_weights", "two recipes"),
    (f"{COMMAND} tier=mnist data.download=true", "the recipes that use MNIST"),
    (f"{COMMAND} course=cs231n --help", "the lessons of a course, section by section"),
    ("python -m experiments.train experiment=zero_weights", "only the runs of a recipe"),
)


def help_text(words: Sequence[str] = ()) -> str:
    """Return the text of `--help`: how to use the verb, and every recipe with its claim, or those of a course.

    Args:
        words: the command line.
    """
    from .cli import arguments
    from .cli._help import table
    from .common.conf import conf_folder
    from .recipes.courses import COURSES, lessons_of
    from .recipes.options import MEANINGS, parsed
    from .recipes.recipe import recipes

    if any(word.startswith("course=") for word in words):
        options = parsed([word for word in words if word not in ("-h", "--help")]).options
        assert options.course is not None
        return course_text(options.course, recipes([conf_folder()]), options.out)
    usage = f"{COMMAND} [recipes...] [option=value ...] [override=value ...]"
    text = arguments.help_text(usage, PURPOSE, EXAMPLES, MEANINGS)
    tiers: dict[str, list[tuple[str, str]]] = {}
    for name, recipe in recipes([conf_folder()]).items():
        tiers.setdefault(recipe.tier, []).append((name, recipe.claim))
    lists = ("\n".join([f"Recipes of tier={tier}:", *table(rows)]) for tier, rows in tiers.items())
    courses = [(f"course={course}", ", ".join(lessons_of(course))) for course in COURSES]
    title = "Lessons of each course, in its order; course=<course> --help shows its sections:"
    ordered = "\n".join([title, *table(courses)])
    return "\n\n".join([text, *lists, ordered])


def course_text(course: CourseName, known: Mapping[str, Recipe], out: str) -> str:
    """Return the text about a course: its lessons in their order, section by section, with their times.

    Args:
        course: which one.
        known: all recipes, by name.
        out: the folder of the gallery, which may have results.
    """
    from .cli._help import paragraph, table
    from .recipes.courses import TITLES
    from .recipes.listing import listed

    sections = ["\n".join([f"{section}:", *table(rows)]) for section, rows in listed(course, known, Path(out)).items()]
    said = "The lessons in the order of the course, with the time of the last result if there is one, and the tier."
    usage = f"usage: {COMMAND} course={course} [tier=all] [recipes...] [option=value ...] [override=value ...]"
    return "\n\n".join([usage, "\n".join([*paragraph(TITLES[course]), *paragraph(said)]), *sections])


def command_line(words: Sequence[str]) -> int:
    """Run the recipes that the command line names, and return the exit code.

    Raises:
        UserError: an option or a recipe cannot be used.
    """
    from .recipes.options import parsed

    options = parsed(words)
    from .recipes.reproducing import reproduce  # torch: only for a valid command line

    return reproduce(options)


@entry_point
def main() -> int | None:
    """Run the command line."""
    return run_command_line(command_line, partial(help_text, sys.argv[1:]), needs_words=False)


if __name__ == "__main__":
    main()
