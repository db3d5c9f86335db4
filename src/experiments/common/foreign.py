"""Reading files that somebody else may have written: YAML, JSON and CSV, with limits, and never from a pipe.

A small file can ask for any amount of memory or time: aliases of aliases, thousands of brackets, a pipe that nobody
writes to. Each function here reads a regular file of limited size and raises only OSError and ValueError.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from .files import LARGEST, regular_text

DEEPEST, MOST_ALIASES, MOST_NODES = 100, 16, 1_000_000
"""Limits of YAML and JSON: a configuration has five levels, about 400 nodes, and no alias."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NESTING = re.compile(r"[\[{]|[-?]\s|\n {100}")
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
"""A bracket of a JSON text, or a text in it, whose brackets do not count."""
SEXAGESIMAL = re.compile(r"(:[0-5]?\d){20}")
"""YAML reads 1:30:00 as a number to the base 60; the time for a long one grows with the square of its length."""


class LimitError(ValueError):
    """A file exceeds one of the limits."""


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not YAML, too large, nested too deeply, or not a regular file.
    """
    return parsed_yaml(regular_text(path), path.name)


def readable_yaml(path: Path) -> Any:
    """Return the content of a YAML file; None if it cannot be read."""
    try:
        return read_yaml(path)
    except (OSError, ValueError):
        return None


def parsed_yaml(content: str, name: str) -> Any:
    """Return the content of a YAML text.

    Args:
        content: the text.
        name: of the file, for messages.

    Raises:
        ValueError: it is not YAML, or nested too deeply.
    """
    with parsing(name, "YAML"):
        if (
            len(content) > MOST_NODES
            or len(NESTING.findall(content)) > DEEPEST
            or ("&" in content and "*" in content)
            or SEXAGESIMAL.search(content)
        ):
            check_events(content, name)
        return yaml.load(content, Loader=LOADER)


@contextmanager
def parsing(name: str, kind: str) -> Iterator[None]:
    """Let the errors of a parser name the file.

    Args:
        name: of the file.
        kind: of the file, YAML or JSON.

    Raises:
        LimitError: the file exceeds a limit.
        ValueError: the parser fails.
    """
    try:
        yield
    except LimitError:
        raise
    except RecursionError:
        raise LimitError(f"{name} is nested too deeply") from None
    except Exception as error:  # a tag such as !!timestamp lets the parser of YAML fail in many ways
        raise ValueError(f"{name} is not readable {kind}: {reason(error)}") from None


def check_events(content: str, name: str) -> None:
    """Refuse a YAML text that would take much more memory or time than it has characters.

    Raises:
        LimitError: it is nested too deeply, or has too many nodes or aliases.
        yaml.YAMLError: it is not YAML.
    """
    aliases = 0
    sizes: dict[str, int] = {}
    parents: list[tuple[str | None, int]] = []
    nodes = 0
    for event in yaml.parse(content, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            aliases += 1
            if event.anchor in (anchor for anchor, _ in parents):
                raise LimitError(f"{name} has a value that contains itself")
            nodes += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            sizes[str(event.anchor)] = 1
            if SEXAGESIMAL.search(event.value):
                raise LimitError(f"{name} has a number with more than 20 colons")
        elif isinstance(event, yaml.CollectionStartEvent):
            parents.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = parents.pop()
            sizes[str(anchor)] = nodes - before
        if len(parents) > DEEPEST:
            raise LimitError(f"{name} is nested too deeply")
        if aliases > MOST_ALIASES:
            raise LimitError(f"{name} has more than {MOST_ALIASES} aliases")
        if nodes > MOST_NODES:
            raise LimitError(f"{name} has more than {MOST_NODES:,} values")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError, ValueError: see `read_yaml`.
    """
    return parsed_json(regular_text(path), path.name)


def parsed_json(content: str, name: str) -> Any:
    """Return the content of a JSON text.

    Args:
        content, name: see `parsed_yaml`.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    with parsing(name, "JSON"):
        if content.count("[") + content.count("{") + content.count(",") > MOST_NODES:
            raise LimitError(f"{name} has more than {MOST_NODES:,} values")
        if is_deep(content):
            raise LimitError(f"{name} is nested too deeply")
        return json.loads(content)


def is_deep(content: str) -> bool:
    """Whether the brackets of a JSON text are nested too deeply; Python 3.13 parses thousands of levels."""
    if content.count("[") + content.count("{") <= DEEPEST:
        return False
    depth = 0
    for bracket in BRACKETS.findall(content):
        depth += 1 if bracket in "[{" else -1 if bracket in "]}" else 0
        if depth > DEEPEST:
            return True
    return False


def read_csv(path: Path, largest: int = LARGEST) -> list[list[str]]:
    """Return the rows of a CSV file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a table, too large, or not a regular file.
    """
    content = regular_text(path, largest)
    try:
        return list(csv.reader(io.StringIO(content, newline="")))
    except csv.Error as error:
        raise ValueError(f"{path.name} is not a table: {error}") from None


def reason(error: BaseException) -> str:
    """Return the message of a parser on one line, shortened."""
    message = " ".join(str(error).split())[:200]
    return message or type(error).__name__
