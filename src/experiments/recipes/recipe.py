"""A recipe: a named configuration with a claim that its runs must bear out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.errors import UserError, nearest
from experiments.common.signatures import checked

GROUP = "experiment"
"""The config group of the recipes."""
Tier = Literal["fast", "mnist", "long"]
Band = tuple[float | None, float | None]
"""The least and the largest value that bears a claim out; None for no bound."""


@dataclass(frozen=True)
class Recipe:
    """What a recipe says of itself, in the section `recipe` of its configuration.

    Args:
        claim: one sentence, true or not.
        source: who says so, and where.
        tier: fast takes seconds and the digits, mnist minutes and MNIST, long an hour.
        lesson: the function that measures, by its dotted name; it is given the recipe's `runs` where it asks for
            them, and returns a `Measured`.
        band: by measured quantity, the values that bear the claim out. Set before looking.
        basis: where the bounds come from: a formula, the source's own number, chance.
        trains: whether it has runs; one that has none is made by `reproduce` alone.
        settings: what the lesson is called with besides.
        before: overrides of a run that is made first; its folder, quoted, stands in for `{before}` in `then`.
        then: overrides of the recipe's own runs.
        sabotage: overrides that plant a wrong result, such as a wrong initializer, which the band must reject.
        about: two or three sentences for the reader of the gallery.
    """

    claim: str
    source: str
    tier: Tier
    lesson: str
    band: dict[str, Band]
    basis: str
    trains: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    then: list[str] = field(default_factory=list)
    sabotage: list[str] = field(default_factory=list)
    about: str = ""

    def __post_init__(self) -> None:
        for name in ("claim", "source", "basis"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; every recipe has one")
        if not self.band or any(low is None and high is None for low, high in self.band.values()):
            raise ValueError(f"band={self.band} leaves a quantity without a bound; every recipe has one")


def recipes(folders: Sequence[Path]) -> dict[str, Recipe]:
    """Return the recipes of some configuration folders, by name; of two with one name the later folder's.

    Raises:
        UserError: one of them is wrong.
    """
    paths = [path for folder in folders for path in sorted((folder / GROUP).glob("*.yaml"))]
    return {path.stem: read(path) for path in paths}


def read(path: Path) -> Recipe:
    """Read a recipe's own section.

    Raises:
        UserError: it has none, or one that is wrong.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)  # 1e-6 is a number to it
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"experiment={path.stem} cannot be read: {' '.join(str(error).split())}") from None
    section = content.get("recipe") if isinstance(content, dict) else None
    key = f"experiment={path.stem}: recipe"
    if not isinstance(section, dict):
        raise UserError(f"{key} is missing; it says what is claimed, by whom, and what bears it out")
    try:
        return Recipe(**checked(Recipe, section, key))
    except ValueError as error:
        raise UserError(f"{key}.{error}") from None


def selected(known: Mapping[str, Recipe], names: Sequence[str], tier: str | None) -> dict[str, Recipe]:
    """Return the recipes of some names, or of a tier, or all.

    Raises:
        UserError: there is none of that name.
    """
    for name in names:
        if name not in known:
            raise UserError(f"{name} is no recipe; allowed: {', '.join(known)}" + nearest(name, known))
    wanted = {name: known[name] for name in names} if names else dict(known)
    return {name: recipe for name, recipe in wanted.items() if tier is None or recipe.tier == tier}


def within(value: float, band: Band) -> bool:
    """Whether a measured value bears a claim out; one that is no number does not."""
    low, high = band
    return math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)


def described(band: Band) -> str:
    """Return a band for people."""
    low, high = band
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
