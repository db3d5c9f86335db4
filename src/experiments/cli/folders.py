"""The folders that a command writes into: fresh ones, and those it goes on with."""

import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from experiments.common.errors import UserError

from .overrides import quoted


class FreshFolder(Callback):
    """A Hydra callback: two commands started in the same second get two folders."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Claim the run's folder, or the next free name after it."""
        if config.get("resume") is None:
            config.hydra.run.dir = claimed(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Claim the sweep's folder, or the next free name after it; a resumed sweep has its own already."""
        if config.get("resume") is None:
            config.hydra.sweep.dir = claimed(config.hydra.sweep.dir)
        else:
            with suppress(UserError):  # whoever begins the sweep says it
                config.hydra.sweep.dir = str(resumed(config))
            config.hydra.overrides.hydra.append("hydra.output_subdir=null")
        # Each job is composed anew, from the overrides.
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(Path(config.hydra.sweep.dir))}")


def resumed(config: DictConfig) -> Path:
    """Return the folder of the sweep that is gone on with.

    Raises:
        UserError: there is none.
    """
    if config.resume != "latest":
        return Path(config.resume)
    below = Path(config.hydra.sweep.dir).parent
    found = sorted(below.glob("*/sweep.yaml"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"resume=latest finds no sweep in {below}; give its folder")
    return found[-1].parent


def claimed(path: str) -> str:
    """Make a folder that was not there, with a number behind its name where it was; return its path.

    A folder that cannot be made is left for Hydra to fail at, which says why.
    """
    with suppress(OSError):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        for attempt in itertools.count(1):
            candidate = path if attempt == 1 else f"{path}_{attempt}"
            with suppress(FileExistsError):
                Path(candidate).mkdir()
                return candidate
    return path
