"""The command line of a verb that takes folders: a known `name=value` is an option, the rest are folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from experiments.common.errors import UserError, nearest
from experiments.common.foreign import read_json
from experiments.common.signatures import checked
from experiments.common.statuses import COMPLETED

from ._help import paragraph, table
from .project import with_options

FOLDER = "run"
"""`run=<folder>` is the same as `<folder>`."""
LATEST = f"{FOLDER}=latest"
"""The newest finished run that is not part of a sweep."""
OUTPUTS = "outputs"
"""The folder of all runs."""


def help_text(usage: str, purpose: str, examples: Sequence[tuple[str, str]], meanings: Mapping[str, str]) -> str:
    """Return the text that `--help` of a verb prints.

    Args:
        usage: how to call it.
        purpose: what it does; empty lines begin paragraphs.
        examples: commands, and what they do.
        meanings: of the options, by name.
    """
    paragraphs = [paragraph(" ".join(text.split())) for text in purpose.strip().split("\n\n")]
    options = table([(f"{name}=", meaning) for name, meaning in meanings.items()])
    sections = [[f"usage: {usage}"], *paragraphs, ["Examples:", *table(examples)]]
    sections += [["Options:", *options]] if meanings else []
    return "\n\n".join("\n".join(section) for section in sections)


def parsed(
    arguments: Sequence[str], kind: type, verb: str, meanings: Mapping[str, str], texts: Collection[str]
) -> tuple[list[Path], dict[str, Any]]:
    """Read a command line.

    Args:
        arguments: as typed.
        kind: the class of the options, with their types and ranges.
        verb: whose options they are.
        meanings: of the options, by name.
        texts: the options whose values are texts, and not read as YAML.

    Returns:
        The folders, and the options that are given.

    Raises:
        UserError: no folder given, one does not exist, an option is unknown, or a value does not fit.
    """
    folders: list[Path] = []
    given: dict[str, object] = {}
    named = [f"{FOLDER}={latest()}" if argument == LATEST else argument for argument in arguments]
    for argument in with_options(named, meanings):
        name, equals, value = argument.partition("=")
        if is_option(argument, meanings):
            read_option(argument, given, texts)
        elif Path(value if equals and name == FOLDER else argument).exists():
            folders.append(Path(value if equals and name == FOLDER else argument))
        elif equals and name != FOLDER and all(map(str.isidentifier, name.split("."))):
            raise unknown_option(name, verb, meanings)
        elif argument.startswith("-"):
            raise unknown_option(argument, verb, meanings)
        else:
            path = value if equals else argument
            raise UserError(f"{path!r} does not exist; give the folders of runs or sweeps, or a folder above them")
    if not folders:
        raise UserError("no folder given; give the folders of runs or sweeps, or a folder above them, such as outputs")
    return folders, checked(kind, sectioned(given), "")


def latest() -> Path:
    """Print and return the folder of the newest finished run that is not part of a sweep; a folder `latest` is itself.

    Raises:
        UserError: there is none.
    """
    if Path("latest").exists():
        return Path("latest")
    summaries = sorted(Path(OUTPUTS).glob("*/*/summary.json"), key=lambda path: path.lstat().st_mtime, reverse=True)
    found = next((path.parent for path in summaries if status(path) in COMPLETED), None)
    if found is None:
        raise UserError(f"{LATEST} found no finished run in {OUTPUTS}/<name>/; train one, or give the folder of a run")
    print(f"run      {found} ({LATEST})")
    return found


def status(summary: Path) -> Any:
    """Return the status in a run's summary; None if it cannot be read."""
    with suppress(OSError, ValueError):
        content = read_json(summary)
        return content.get("status") if isinstance(content, dict) else None
    return None


def sectioned(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of which those with a dot in their name, such as `limits.memory`, are in a section."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        section, dot, key = name.rpartition(".")
        (found.setdefault(section, {}) if dot else found)[key] = value
    return found


def is_option(word: str, meanings: Mapping[str, str]) -> bool:
    """Whether a word gives one of the options a value."""
    name, equals, _ = word.partition("=")
    return bool(equals) and name in meanings


def read_option(word: str, given: dict[str, Any], texts: Collection[str]) -> None:
    """Add an option to those that are given.

    Args:
        word: `name=value`.
        given: the values so far, by name.
        texts: the options whose values are texts, and not read as YAML.

    Raises:
        UserError: it is given twice.
    """
    name, _, value = word.partition("=")
    if name in given:
        raise UserError(f"{name} is given twice; give it once, with commas between several values")
    given[name] = value if name in texts else read(value)


def unknown_option(word: str, verb: str, meanings: Mapping[str, str]) -> UserError:
    """Return the error for an option that a verb does not have."""
    return UserError(f"unknown option {word!r} of {verb}; choose from {', '.join(meanings)}" + nearest(word, meanings))


def listed(value: str | None) -> list[str]:
    """Return the names in an option's value, which has commas between them."""
    return [name.strip() for name in (value or "").split(",") if name.strip()]


def above(folders: Sequence[Path]) -> Path:
    """Return the only folder, or else the one that contains all of them."""
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.resolve() for folder in folders]))


def unlinked(out: Path, *below: str) -> Path:
    """Return a folder to write into, if it is where it seems to be: the author of the runs may have created it too.

    Args:
        out: the folder.
        below: names of folders in it that are written into too.

    Raises:
        UserError: one of them is a link.
    """
    for path in (out, *(out / name for name in below)):
        if path.is_symlink():
            raise UserError(f"{str(path)!r} is a link, which may lead anywhere; remove it, or write elsewhere")
    return out


def read(value: str) -> object:
    """Return a value as YAML reads it, and numbers such as 1e-3, which are texts in YAML, as numbers."""
    result = as_yaml_has_it(value)
    if isinstance(result, str):
        with suppress(ValueError):
            return float(result)
    return result


def as_yaml_has_it(value: str) -> Any:
    """Return a value as YAML reads it, or the text if YAML cannot."""
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):  # a ValueError: a date such as 2026-99-99
        return value
