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
        self.bases: dict[tuple[str, ...], tuple[DictConfig, dict[str, Any] | None]] = {}

    def compose(self, overrides: Sequence[str], number: int) -> Composed:
        """Compose a job.

        Raises:
            HydraException: an override does not fit.
        """
        parsed = self.parser.parse_overrides(list(overrides))
        groups = tuple(str(override.input_line) for override in parsed if self._is_group(override))
        values = [override for override in parsed if override.input_line not in groups]
        whole, plain = self._base(groups)
        task = with_values(plain, values) if plain is not None else None
        if task is None:
            whole = self.loader.load_sweep_config(self.master, list(overrides))
            OmegaConf.set_readonly(whole.hydra, False)
        name_after(whole, parsed, self.common)
        with open_dict(whole):
            whole.hydra.job.id, whole.hydra.job.num = str(number), number
        HydraConfig.instance().cfg = whole  # type: ignore[assignment]
        folder = Path(str(whole.hydra.sweep.dir), str(whole.hydra.sweep.subdir)).absolute()
        with open_dict(whole):
            whole.hydra.runtime.output_dir = str(folder)
        container: Any = OmegaConf.to_container(whole.hydra, resolve=False)
        choices = {str(k): v for k, v in whole.hydra.runtime.choices.items() if not str(k).startswith("hydra/")}
        own: Any = OmegaConf.to_container(task_part(whole), resolve=True) if task is None else task
        return Composed(own, container, folder, choices, list(whole.hydra.overrides.task))

    def _base(self, groups: tuple[str, ...]) -> tuple[DictConfig, dict[str, Any] | None]:
        """Return the configuration of a choice of groups, and its task's part as plain data, None if it needs Hydra."""
        if groups not in self.bases:
            whole = self.loader.load_sweep_config(self.master, list(groups))
            OmegaConf.set_readonly(whole.hydra, False)
            raw: Any = OmegaConf.to_container(task_part(whole), resolve=False)
            typed: Any = OmegaConf.to_container(self.master.hydra.overrides.hydra, resolve=False)
            folders: Any = OmegaConf.to_container(whole.hydra.sweep, resolve=False)
            usual = not any(str(line).startswith("hydra.searchpath") for line in typed)
            usual = usual and not OF_THE_TASK.search(f"{folders['dir']} {folders['subdir']}")
            self.bases[groups] = whole, raw if usual and "${" not in json.dumps(raw, default=str) else None
        return self.bases[groups]

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


def name_after(whole: DictConfig, parsed: Sequence[Override], common: Set[str]) -> None:
    """Set a job's overrides in Hydra's part, as Hydra does; its name leaves out those that all jobs have."""
    own = [override for override in parsed if not override.is_hydra_override()]
    telling = [override for override in own if str(override.input_line).casefold() not in common]
    whole.hydra.overrides.task = [override.input_line for override in own]
    naming = whole.hydra.job.config.override_dirname
    whole.hydra.job.override_dirname = get_overrides_dirname(
        overrides=telling, kv_sep=naming.kv_sep, item_sep=naming.item_sep, exclude_keys=naming.exclude_keys
    )
