"""Composing the configurations of a sweep's jobs as Hydra does, but every choice of groups only once."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.folders.hydra import plain_value, task_part

OF_THE_TASK = re.compile(r"\$\{(?!hydra[.:]|clipped:|padded:|now:)")
"""An interpolation in a folder's name that needs the task's part."""


@dataclass(frozen=True)
class Composed:
    """A job's configuration.

    Args:
        task: the task's part, plain and resolved.
        hydra: Hydra's part, plain.
        folder: where the job writes.
        choices: the file chosen in each config group.
        overrides: of the task, as typed.
    """

    task: dict[str, Any]
    hydra: dict[str, Any]
    folder: Path
    choices: Mapping[str, str]
    overrides: Sequence[str]


@dataclass(frozen=True)
class Base:
    """What the jobs with the same choices of groups have in common.

    Args:
        whole: as Hydra composes it.
        task: the task's part, plain; None if a job needs Hydra, because the part has interpolations.
        hydra: Hydra's part, plain.
        directory: the sweep's folder.
        choices: the file chosen in each config group.
    """

    whole: DictConfig
    task: dict[str, Any] | None
    hydra: dict[str, Any]
    directory: str
    choices: Mapping[str, str]


class Composer:
    """Composes jobs.

    A sweep over a hundred seeds has the same defaults list a hundred times, and Hydra takes a tenth of a second for it.
    So each choice of groups is composed once, and the values are set in plain copies. If the result might differ (an
    added or deleted key, an interpolation), Hydra composes the whole job.

    Args:
        loader: Hydra's.
        master: the sweep's own configuration.
    """

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self.parser = OverridesParser.create(config_loader=loader)
        self.common = {str(line).casefold() for line in master.hydra.overrides.task}
        self.bases: dict[tuple[str, ...], Base] = {}
        self.lines: dict[str, Override] = {}

    def compose(self, overrides: Sequence[str], number: int) -> Composed:
        """Compose a job.

        Raises:
            HydraException: an override does not fit.
        """
        parsed = [self._parsed(line) for line in overrides]
        groups = tuple(str(override.input_line) for override in parsed if self._is_group(override))
        values = [override for override in parsed if override.input_line not in groups]
        base = self._base(groups)
        task = with_values(base.task, values) if base.task is not None else None
        by_hydra = task is None
        if by_hydra:
            base = based_on(self._composed(overrides), None)
        lines, dirname = names(base.whole, parsed, self.common)
        with open_dict(base.whole):
            base.whole.hydra.job.override_dirname = dirname
            base.whole.hydra.job.id, base.whole.hydra.job.num = str(number), number
            if by_hydra or "overrides" in str(base.hydra["sweep"]):
                base.whole.hydra.overrides.task = lines
        HydraConfig.instance().cfg = base.whole  # type: ignore[assignment]
        folder = Path(base.directory, str(base.whole.hydra.sweep.subdir)).absolute()
        hydra = {
            **base.hydra,
            "overrides": {**base.hydra["overrides"], "task": lines},
            "job": {**base.hydra["job"], "override_dirname": dirname, "id": str(number), "num": number},
            "runtime": {**base.hydra["runtime"], "output_dir": str(folder)},
        }
        if by_hydra:
            with open_dict(base.whole):
                base.whole.hydra.runtime.output_dir = str(folder)
            task = OmegaConf.to_container(task_part(base.whole), resolve=True)  # type: ignore[assignment]
        assert task is not None
        return Composed(task, hydra, folder, base.choices, lines)

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        """Return a configuration as Hydra composes it, with a part of Hydra's that can be changed."""
        whole: DictConfig = self.loader.load_sweep_config(self.master, list(overrides))
        OmegaConf.set_readonly(whole.hydra, False)
        return whole

    def _base(self, groups: tuple[str, ...]) -> Base:
        """Return the configuration of a choice of groups."""
        if groups not in self.bases:
            whole = self._composed(groups)
            raw: Any = OmegaConf.to_container(task_part(whole), resolve=False)
            typed: Any = OmegaConf.to_container(self.master.hydra.overrides.hydra, resolve=False)
            folders: Any = OmegaConf.to_container(whole.hydra.sweep, resolve=False)
            usual = not any(str(line).startswith("hydra.searchpath") for line in typed)
            usual = usual and not OF_THE_TASK.search(f"{folders['dir']} {folders['subdir']}")
            plain = raw if usual and "${" not in json.dumps(raw, default=str) else None
            self.bases[groups] = based_on(whole, plain)
        return self.bases[groups]

    def _parsed(self, line: str) -> Override:
        """Return an override, parsed once: most of a job's are those of all others."""
        if line not in self.lines:
            self.lines[line] = self.parser.parse_override(line)
        return self.lines[line]

    def _is_group(self, override: Override) -> bool:
        return self.loader.repository.group_exists(override.key_or_group)


def with_values(plain: dict[str, Any], values: Sequence[Override]) -> dict[str, Any] | None:
    """Return a copy of a plain configuration with other values; None if one of them needs Hydra."""
    changed = copy.deepcopy(plain)
    for override in values:
        *path, last = override.key_or_group.split(".")
        section: Any = changed
        for step in path:
            section = section.get(step) if isinstance(section, dict) else None
        value = override.value()
        simple = override.package is None and not override.is_add() and not override.is_delete()
        simple = simple and not override.is_force_add() and isinstance(section, dict) and last in section
        if (
            not simple
            or isinstance(section[last], dict)
            or not isinstance(value, int | float | str | list | dict | QuotedString | None)
        ):
            return None
        if "${" in str(value):
            return None
        section[last] = (
            OmegaConf.to_container(OmegaConf.create(value)) if isinstance(value, list) else plain_value(value)
        )
    return changed


def based_on(whole: DictConfig, task: dict[str, Any] | None) -> Base:
    """Return what jobs have in common whose configuration Hydra has composed."""
    HydraConfig.instance().cfg = whole  # type: ignore[assignment]
    hydra: Any = OmegaConf.to_container(whole.hydra, resolve=False)
    choices = {str(k): v for k, v in whole.hydra.runtime.choices.items() if not str(k).startswith("hydra/")}
    return Base(whole, task, hydra, str(whole.hydra.sweep.dir), choices)


def names(whole: DictConfig, parsed: Sequence[Override], common: Set[str]) -> tuple[list[str], str]:
    """Return a job's overrides as typed, and its name, as Hydra's: it leaves out the overrides that all jobs have."""
    own = [override for override in parsed if not override.is_hydra_override()]
    telling = [override for override in own if str(override.input_line).casefold() not in common]
    naming = whole.hydra.job.config.override_dirname
    dirname = get_overrides_dirname(
        overrides=telling, kv_sep=naming.kv_sep, item_sep=naming.item_sep, exclude_keys=naming.exclude_keys
    )
    return [str(override.input_line) for override in own], dirname
