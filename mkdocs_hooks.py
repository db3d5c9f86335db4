"""What the documentation site takes from the configuration: `mkdocs.yml` names this file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.cli._help import groups, mapping, settings

CONF = Path(__file__).parent / "conf"
MARK = "<!-- settings -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables of all settings into their page."""
    return markdown.replace(MARK, "\n".join(tables())) if MARK in markdown else markdown


def tables() -> Iterator[str]:
    """Yield the lines of the tables: the settings of every run, then the choices of each group."""
    found = [setting for setting in settings([CONF], "train") if setting.value is not None]
    yield from ["## Settings of every run", "", "| key | default | what it does |", "|---|---|---|"]
    yield from (row(setting.key, setting.value, setting.comment) for setting in found)
    for group in groups([CONF], "train"):
        if group.name == "experiment":
            continue
        yield from ["", f"## {group.name}="]
        for name, description in group.choices.items():
            default = " (the default)" if name in group.default else ""
            yield from ["", f"### `{group.name}={name}`{default}", "", description]
            own = [s for s in mapping(CONF / group.name / f"{name}.yaml", f"{group.name}.") if s.value is not None]
            if own and group.name != "search":
                yield from ["", "| key | default | what it does |", "|---|---|---|"]
                yield from (row(setting.key, setting.value, setting.comment) for setting in own)


def row(*cells: str | None) -> str:
    """Return a row of a table; the first two cells are code."""
    *code, text = [(cell or "").replace("|", "\\|") for cell in cells]
    plain = re.sub(r"[_*<>\[\]]", r"\\\g<0>", text)
    return "| " + " | ".join([*(f"`{cell}`" if cell else "" for cell in code), plain]) + " |"
