"""The lessons of a course as a list: each with its claim, and how long it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from experiments.common.files import regular_bytes
from experiments.common.text import duration

from .courses import COURSES, CourseName
from .recipe import Recipe


def listed(course: CourseName, known: Mapping[str, Recipe], out: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the lessons of each section of a course, in its order: the name, and the claim with time and tier.

    Args:
        course: which one.
        known: all recipes, by name.
        out: the folder of the gallery, which may have results.
    """
    return {
        section: [(name, f"{known[name].claim} ({length(name, known[name], out)})") for name in names]
        for section, names in COURSES[course].items()
    }


def length(name: str, recipe: Recipe, out: Path) -> str:
    """Return how long a recipe takes: the time of its last result if there is one, and its tier."""
    seconds = measured_seconds(out, name)
    return f"tier={recipe.tier}" if seconds is None else f"{duration(seconds)}, tier={recipe.tier}"


def measured_seconds(out: Path, name: str) -> float | None:
    """Return the measured time of a recipe whose result is in a gallery; None if there is none."""
    try:
        return float(json.loads(regular_bytes(out / f"{name}.json"))["seconds"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
