"""The folder `.hydra/` of a run: its composed configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import QuotedString
from omegaconf import DictConfig, OmegaConf

from experiments.common.files import flush_folder, opened, write_whole
from experiments.common.recorded import recorded

OF_THE_SWEEP = re.compile(r"(resume|retry_failed|sweep\.zip|trial)=")
"""Overrides of the sweep, which do not belong to a single run."""
NUMBER_LIKE = re.compile(r"[-+]?(\d[\d_]*)?\.?\d*([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
"""Texts that OmegaConf reads as numbers, but plain YAML does not."""


def task_part(config: DictConfig) -> DictConfig:
    """Return a configuration without Hydra's own part."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def plain_value(value: Any) -> Any:
    """Return a value of a parsed override as a configuration holds it, without quotes."""
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {plain_value(key): plain_value(item) for key, item in value.items()}
    return value.text if isinstance(value, QuotedString) else value


def is_built(value: Any) -> bool:
    """Whether a run gets a value in another form: merged with that of its file, or interpolated."""
    return isinstance(value, Mapping) or "${" in str(value)


def write_composed(task: Mapping[str, Any], hydra: Mapping[str, Any], folder: Path) -> None:
    """Write the files into a run folder that Hydra writes: `config.yaml`, `hydra.yaml` and `overrides.yaml`.

    Args:
        task, hydra: the two parts of the configuration, as plain dictionaries.
        folder: of the run.
    """
    shown = {key: value for key, value in hydra.items() if key not in ("help", "hydra_help")}
    for name, content in (
        ("config.yaml", {**task, "resume": None}),
        ("hydra.yaml", {"hydra": shown}),
        ("overrides.yaml", recorded(hydra["overrides"]["task"], task)),
    ):
        write_whole(folder / ".hydra" / name, as_yaml(content).encode(), flushed=True)
    flush_folder(folder / ".hydra")


def flush_composed(folder: Path) -> None:
    """Write the files to the disk that Hydra itself has written into a run folder."""
    for path in (folder / ".hydra").glob("*.yaml"):
        with suppress(OSError, ValueError), opened(path) as file:
            os.fsync(file.fileno())
    flush_folder(folder / ".hydra")


def as_yaml(content: Any) -> str:
    """Return plain content as OmegaConf writes it, with YAML's C library if it is installed.

    It quotes texts that OmegaConf would read as numbers. The runs of a sweep have most settings in common: the text of
    each is remembered.
    """
    if not isinstance(content, dict) or not content:
        return dumped(content)
    return "".join(section(key, value) for key, value in content.items())


def section(key: Any, value: Any) -> str:
    """Return the text of an entry of a mapping, whose entries are remembered too."""
    if not isinstance(value, dict) or not value:
        return remembered({key: value})
    parts = [remembered({key: {own: inner}}).partition("\n") for own, inner in value.items()]
    heads = {head for head, *_ in parts}
    if len(heads) > 1 or not all(rest.startswith(" ") for *_, rest in parts):  # a key of several lines
        return dumped({key: value})
    return "".join([*heads, "\n", *(rest for *_, rest in parts)])


TEXTS: dict[str, str] = {}
"""The texts of settings by what Python writes for them, which tells 1 from '1' and from true."""
MOST_TEXTS = 1_000


def remembered(content: dict[Any, Any]) -> str:
    """Return the text of a mapping with one entry, written once."""
    known = repr(content)
    if known not in TEXTS:
        if len(TEXTS) >= MOST_TEXTS:
            TEXTS.clear()
        TEXTS[known] = dumped(content)
    return TEXTS[known]


def dumped(content: Any) -> str:
    """Return the text of content; see `as_yaml`."""
    return yaml.dump(content, Dumper=_dumper(), default_flow_style=False, allow_unicode=True, sort_keys=False)


@cache
def _dumper() -> type[Any]:
    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Quotes texts that look like numbers to OmegaConf, such as 1e-3."""

        def ignore_aliases(self, _data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "'" if NUMBER_LIKE.fullmatch(value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    Dumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_str(value.name))
    return Dumper
