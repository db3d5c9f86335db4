"""The overrides in a run's folder: those that describe the run, with their values as they were when it started."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override, Quote, QuotedString

OF_THE_COMMAND = re.compile(r"[+~]*(resume|retry_failed|sweep\.zip|trial|trust)=")
"""Overrides of a command that do not belong to the run: a later command has its own."""
WITHOUT_EFFECT = re.compile(r"[+~]*((resume|trial)=null|retry_failed=(true|false)|sweep\.zip=.*)")
"""Those that change nothing when the run is composed again."""
WITHIN = re.compile(r"\$\{\.*(?P<section>[A-Za-z_]\w*)(\.\w+|\[\w+\])*\}")
"""An interpolation that names another key of the configuration."""
OUTSIDE = frozenset({"hydra", "resume", "trial", "trust"})
"""Sections that are not the run's own."""


def recorded(overrides: Sequence[str], task: Mapping[str, Any]) -> list[str]:
    """Return the overrides to write into a run's folder, from which it is composed again when it is resumed.

    Args:
        overrides: as typed.
        task: the configuration that they gave; a value from the environment may be another one later.
    """
    return [fixed(line, task) for line in overrides if not OF_THE_COMMAND.match(line)]


def fixed(line: str, task: Mapping[str, Any]) -> str:
    """Return an override with the value that its interpolation gave; one without an interpolation is unchanged."""
    key, equals, _ = line.partition("=")
    if not equals or "${" not in line:
        return line
    value: Any = task
    for step in key.lstrip("+").split("."):
        if not isinstance(value, Mapping) or step not in value:
            return line
        value = value[step]
    return f"{key}={Override._get_value_element_as_str(quoted_texts(value))}"


def quoted_texts(value: Any) -> Any:
    """Return a value for Hydra's grammar, with quotes around its texts."""
    if isinstance(value, Mapping):
        return {key: quoted_texts(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [quoted_texts(item) for item in value]
    return QuotedString(text=value, quote=Quote.single) if isinstance(value, str) else value


def only_within(texts: Iterable[str]) -> bool:
    """Whether the interpolations in some texts only name other keys of the run, and read nothing else."""
    return not any(
        "${" in WITHIN.sub("", text) or any(found["section"] in OUTSIDE for found in WITHIN.finditer(text))
        for text in texts
    )
