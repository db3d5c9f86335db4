"""The command line of a verb that takes folders: what names an option is one, the rest are folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments.common.errors import UserError, nearest
from experiments.common.signatures import checked

FOLDER = "run"
"""`run=<folder>` is the same as `<folder>`."""
TRUST = "modules that a run's configuration may take code from, besides torch and this package: trust=my_package"
"""What the option `trust` means, of every verb that has it."""


def described(meanings: Mapping[str, str]) -> str:
    """Return options and what they mean, a line each."""
    width = max(map(len, meanings)) + 1
    return "\n".join(f"  {name + '=':<{width}} {meaning}" for name, meaning in meanings.items())


def parsed(
    arguments: Sequence[str], kind: type, verb: str, meanings: Mapping[str, str], texts: Collection[str]
) -> tuple[list[Path], dict[str, Any]]:
    """Read a command line.

    Args:
        arguments: as typed.
        kind: what takes the options, with their types and ranges.
        verb: whose they are.
        meanings: of the options, by name.
        texts: the options whose values are taken as they are typed.

    Returns:
        The folders, and the options that are given.

    Raises:
        UserError: no folder, one that is not there, an unknown option, or a value that is none of its.
    """
    folders: list[Path] = []
    given: dict[str, object] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if is_option(argument, meanings):
            read_option(argument, given, texts)
        elif Path(value if equals and name == FOLDER else argument).exists():
            folders.append(Path(value if equals and name == FOLDER else argument))
        elif equals and name != FOLDER and name.isidentifier():
            raise UserError(f"{name} is no option of {verb}; allowed: {', '.join(meanings)}" + nearest(name, meanings))
        elif argument.startswith("-"):
            raise unknown_option(argument, verb, meanings)
        else:
            path = value if equals else argument
            raise UserError(f"{path!r} is no folder; give the folders of runs or sweeps, or one above them")
    if not folders:
        raise UserError("no folder is given; give the folders of runs or sweeps, or one above them, such as outputs")
    return folders, checked(kind, given, "")


def is_option(word: str, meanings: Mapping[str, str]) -> bool:
    """Whether a word gives one of the options a value."""
    name, equals, _ = word.partition("=")
    return bool(equals) and name in meanings


def read_option(word: str, given: dict[str, Any], texts: Collection[str]) -> None:
    """Add an option to those that are given.

    Args:
        word: `name=value`.
        given: the values so far, by name.
        texts: the options whose values are taken as they are typed.

    Raises:
        UserError: it is given already.
    """
    name, _, value = word.partition("=")
    if name in given:
        raise UserError(f"{name} is given twice; give it once, several values with commas between")
    given[name] = value if name in texts else read(value)


def unknown_option(word: str, verb: str, meanings: Mapping[str, str]) -> UserError:
    """Return the error for a word that begins with a dash."""
    options = ", ".join(f"{name}=" for name in meanings)
    return UserError(f"{word} is no option of {verb}; allowed: {options}")


def listed(value: str | None) -> list[str]:
    """Return the names of an option that takes several, with commas between."""
    return [name.strip() for name in (value or "").split(",") if name.strip()]


def above(folders: Sequence[Path]) -> Path:
    """Return the one folder, or the one that holds all of them."""
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.resolve() for folder in folders]))


def unlinked(out: Path, *below: str) -> Path:
    """Return a folder to write into that is where it seems to be: whoever made the runs may have made it too.

    Args:
        out: the folder.
        below: folders in it that are written into.

    Raises:
        UserError: it is a link.
    """
    for path in (out, *(out / name for name in below)):
        if path.is_symlink():
            raise UserError(f"{str(path)!r} is a link, which may lead anywhere; remove it, or write elsewhere")
    return out


def read(value: str) -> object:
    """Return a value as YAML has it, numbers such as 1e-3 too, which YAML takes for text; text where it is none."""
    found = as_yaml_has_it(value)
    if isinstance(found, str):
        try:
            return float(found)
        except ValueError:
            return found
    return found


def as_yaml_has_it(value: str) -> Any:
    """Return a value as YAML has it; text where it is none."""
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):  # a ValueError of a date that is none
        return value
