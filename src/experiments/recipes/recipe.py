"""A recipe: a named configuration with a claim that its runs must support."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.errors import UserError, nearest
from experiments.common.signatures import checked

from .courses import CourseName, lessons_of, present_lesson, present_name

GROUP = "experiment"
"""The config group of the recipes."""
NEEDED = {
    "claim": "one sentence, true or not",
    "source": "the author and the place of the claim",
    "tier": "fast, mnist or long",
    "lesson": "the function that measures",
    "band": "the values that support the claim",
    "basis": "the reason for the bounds",
    "sabotage": "overrides that plant a wrong result, which the band must reject",
}
"""What every recipe states, with its meaning."""
EXAMPLE = (
    "For example: claim: 'Adam beats SGD', source: 'Kingma and Ba 2015, section 6', tier: fast, lesson: "
    "own_lessons.lead, band: {lead of adam: [0, null]}, basis: 'a lead is above 0', sabotage: [optimizer.lr=1e-9]"
)
Tier = Literal["fast", "mnist", "long"]
Band = tuple[float | None, float | None]
"""The smallest and the largest value that support a claim; None for no bound."""


@dataclass(frozen=True)
class Recipe:
    """The section `recipe` of a recipe's configuration.

    Args:
        claim: one sentence, true or not.
        source: the author and the place of the claim.
        tier: fast takes seconds and uses the digits, mnist takes minutes and uses MNIST, long takes an hour.
        lesson: the dotted name of the function that measures; it gets the recipe's `runs` if it has this parameter, and
            returns a `Measured`.
        band: the values that support the claim, by measured quantity. Set before looking at results.
        basis: the reason for the bounds: a formula, the source's own number, chance.
        stricter: the values that a stricter variant should reach, by measured quantity; they are shown next to those of
            `band`, which are measured with the source's own settings, and do not decide.
        trains: whether it has runs; a recipe without runs works only with `reproduce`.
        settings: further arguments of the lesson.
        before: overrides of a run that is trained first; its folder, quoted, replaces `{before}` in `then`.
        then: overrides of the recipe's own runs.
        continued: overrides with which a copy of every run is resumed, a list for each copy; the lesson gets the copies
            instead of the runs.
        sabotage: overrides that plant a wrong result, such as a wrong initializer, which the band must reject.
        about: two or three sentences for the reader of the gallery.
    """

    claim: str
    source: str
    tier: Tier
    lesson: str
    band: dict[str, Band]
    basis: str
    stricter: dict[str, Band] = field(default_factory=dict)
    trains: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    then: list[str] = field(default_factory=list)
    continued: list[list[str]] = field(default_factory=list)
    sabotage: list[str] = field(default_factory=list)
    about: str = ""

    def __post_init__(self) -> None:
        for name in ("claim", "source", "basis"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; every recipe needs one")
        if not self.band or any(low is None and high is None for low, high in self.bounds.values()):
            raise ValueError(f"band={self.bounds} leaves a quantity without a bound; every quantity needs one")

    @property
    def bounds(self) -> dict[str, Band]:
        """The bounds of all quantities, `band` and `stricter`."""
        return {**self.band, **self.stricter}


def recipes(folders: Sequence[Path], named: Collection[str] = ()) -> dict[str, Recipe]:
    """Return the recipes in configuration folders, by name; if two have the same name, the later folder's is used.

    Args:
        folders: of configurations.
        named: those that are asked for; another file that mentions no `recipe` is only a composition, and left out.

    Raises:
        UserError: a recipe is not valid.
    """
    paths = [path for folder in folders for path in sorted((folder / GROUP).glob("*.yaml"))]
    return {path.stem: read(path) for path in paths if path.stem in named or b"recipe" in path.read_bytes()}


def read(path: Path) -> Recipe:
    """Read the section `recipe` of a file.

    Raises:
        UserError: the section is missing or not valid.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)  # 1e-6 is a number to it
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"experiment={path.stem} cannot be read: {' '.join(str(error).split())}") from None
    section = content.get("recipe") if isinstance(content, dict) else None
    key = f"experiment={path.stem}: recipe"
    if not isinstance(section, dict):
        raise UserError(f"{key} is missing; it holds the claim, its source and the values that support it. {EXAMPLE}")
    missing = [name for name in NEEDED if section.get(name) in (None, "", [], {})]
    if missing:
        listed = ", ".join(f"{name} ({NEEDED[name]})" for name in missing)
        raise UserError(f"{key} lacks {listed}. {EXAMPLE}")
    section = {**section, "lesson": present_lesson(str(section["lesson"]))}
    try:
        return Recipe(**checked(Recipe, section, key))
    except ValueError as error:
        raise UserError(f"{key}.{error}") from None


def selected(
    known: Mapping[str, Recipe], names: Sequence[str], tier: str | None, course: CourseName | None = None
) -> dict[str, Recipe]:
    """Return the recipes with these names, of this tier and of this course; without names, all recipes of the tier.

    Args:
        known: all recipes, by name.
        names: of the recipes to select, present or earlier ones; none for all.
        tier: the tier; None for all.
        course: the course, which also gives the order; None for all recipes.

    Raises:
        UserError: a name is unknown.
    """
    for name in names:
        if present_name(name) not in known:
            raise UserError(f"unknown recipe {name!r}; choose from {', '.join(known)}" + nearest(name, known))
    wanted = [present_name(name) for name in names] or list(known)
    if course is not None:
        wanted = [name for name in lessons_of(course) if name in wanted]
    return {name: known[name] for name in wanted if tier is None or known[name].tier == tier}


def within(value: float, band: Band) -> bool:
    """Whether a measured value is within a band; a value that is not finite never is."""
    low, high = band
    return math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)


def described(band: Band) -> str:
    """Return a band in words."""
    low, high = band
    if low is not None and high is not None and f"{low:g}" == f"{high:g}":
        return f"exactly {low:g}"
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
