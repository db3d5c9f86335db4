"""The configurations of a sweep's jobs, composed as Hydra composes them, but every choice of groups once."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from .run import write_whole

OF_THE_SWEEP = re.compile(r"(resume|retry_failed|sweep\.zip)=")
"""Overrides that are no run's own."""


class Composer:
    """Composes jobs.

    A sweep over seeds is a hundred times the same defaults list, which takes Hydra a tenth of a second each time.

    Args:
        loader: Hydra's.
        master: the sweep's own configuration.
    """

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self.parser = OverridesParser.create(config_loader=loader)
        self.bases: dict[tuple[str, ...], DictConfig] = {}
        self.usual = not any(line.startswith("hydra.searchpath") for line in master.hydra.overrides.hydra)

    def compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """Return a job's configuration, with `hydra`, as `load_sweep_config` would.

        Raises:
            HydraException: an override does not fit.
        """
        parsed = self.parser.parse_overrides(list(overrides))
        chosen = [override for override in parsed if self._is_group(override)]
        if self.usual and not any(override.package or override.is_delete() for override in parsed):
            base = tuple(override.input_line or "" for override in chosen)
            if base not in self.bases:
                self.bases[base] = self.loader.load_sweep_config(self.master, list(base))
            config = copy.deepcopy(self.bases[base])
            self._apply(config, parsed, [override for override in parsed if override not in chosen])
        else:
            config = self.loader.load_sweep_config(self.master, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
        OmegaConf.set_readonly(config.hydra, False)
        with open_dict(config):
            config.hydra.runtime.output_dir = str(Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute())
        HydraConfig.instance().set_config(config)
        return config

    def _is_group(self, override: Override) -> bool:
        return self.loader.repository.group_exists(override.key_or_group)

    @staticmethod
    def _apply(config: DictConfig, parsed: Sequence[Override], values: Sequence[Override]) -> None:
        """Do what Hydra does with overrides once the defaults list is composed."""
        ConfigLoaderImpl._apply_overrides_to_config(list(values), config)
        own = [override for override in parsed if not override.is_hydra_override()]
        config.hydra.overrides.task = [override.input_line for override in own]
        naming = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=own, kv_sep=naming.kv_sep, item_sep=naming.item_sep, exclude_keys=naming.exclude_keys
        )


def task_part(config: DictConfig) -> DictConfig:
    """Return a configuration without Hydra's own part."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the task's part as plain dictionaries and lists, interpolations resolved."""
    container: Any = OmegaConf.to_container(task_part(config), resolve=True)
    return container


def write_composed(task: DictConfig, hydra: Any, folder: Path) -> None:
    """Leave in a run folder what Hydra leaves there: `config.yaml`, `hydra.yaml` and `overrides.yaml`."""
    own = copy.deepcopy(task)
    own.resume = None
    typed = [str(line) for line in hydra.overrides.task if not OF_THE_SWEEP.match(str(line))]
    shown = [str(key) for key in hydra if key not in ("help", "hydra_help")]
    for name, content in (
        ("config.yaml", own),
        ("hydra.yaml", OmegaConf.create({"hydra": OmegaConf.masked_copy(hydra, shown)})),
        ("overrides.yaml", OmegaConf.create(typed)),
    ):
        write_whole(folder / ".hydra" / name, OmegaConf.to_yaml(content).encode())
