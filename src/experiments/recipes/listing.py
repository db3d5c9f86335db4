"""How long lessons take: those of a course as a list, and the plan of a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from experiments.common.files import regular_bytes
from experiments.common.text import duration

from .courses import COURSES, CourseName
from .recipe import Recipe

USUAL_SECONDS = {"fast": 4.0}
"""The usual time of a recipe without a result, by tier; a tier that is missing has no usual time."""


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


def plan(chosen: Mapping[str, Recipe], jobs: int, out: Path) -> str:
    """Return a sentence about the recipes of a call: how many there are, and about how long they take.

    Args:
        chosen: the recipes, by name.
        jobs: how many run at once.
        out: the folder of the gallery, which may have results.
    """
    at_once = f"{jobs} at a time" if jobs > 1 else "one after another"
    seconds, unknown = 0.0, set()
    for name, recipe in chosen.items():
        one = measured_seconds(out, name) or USUAL_SECONDS.get(recipe.tier)
        seconds += one or 0.0
        unknown |= set() if one else {f"tier={recipe.tier}"}
    about = rounded(seconds / jobs)
    if unknown:
        also = f"those of {' and '.join(sorted(unknown))} take minutes each, or longer"
        return f"{len(chosen)} lessons, {at_once}: {also}{f'; the others about {about}' if seconds else ''}"
    return f"{len(chosen)} lessons, {at_once}: about {about}"


def rounded(seconds: float) -> str:
    """Return a time as text in whole seconds, from a minute on in whole minutes."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


def measured_seconds(out: Path, name: str) -> float | None:
    """Return the measured time of a recipe whose result is in a gallery; None if there is none."""
    try:
        return float(json.loads(regular_bytes(out / f"{name}.json"))["seconds"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
