"""One run as it was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments.folders.run import RunFolder
from experiments.training import processes


@dataclass
class Job:
    """One run as it was asked for.

    Args:
        config: the composed configuration; its `resume` is the folder of the run to continue.
        folder: where the run writes.
        choices: the file chosen in each config group.
        overrides: as typed.
        own: whether the running command has composed the configuration, and not the overrides in the folder of a run,
            which may be from somebody else: the command may name any code.
    """

    config: dict[str, Any]
    folder: RunFolder
    choices: Mapping[str, str] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    own: bool = False

    @property
    def resuming(self) -> bool:
        """Whether the run continues from its folder."""
        return self.config.get("resume") is not None


def composed(cfg: DictConfig) -> Job:
    """Return the run that Hydra has composed."""
    hydra = HydraConfig.get()
    choices = {group: choice for group, choice in hydra.runtime.choices.items() if not group.startswith("hydra/")}
    config = processes.own_config(cast(Any, OmegaConf.to_container(cfg, resolve=True)))
    own = hydra.mode == RunMode.MULTIRUN or config.get("resume") is None
    return Job(config, RunFolder(Path(hydra.runtime.output_dir)), choices, list(hydra.overrides.task), own)
