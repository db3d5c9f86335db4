"""The folders that a command writes into: new ones, and those of runs and sweeps that are resumed."""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from experiments.common.errors import UserError

from .overrides import quoted


class FreshFolder(Callback):
    """A Hydra callback: two commands that start in the same second get two folders."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Claim the run's folder, or the next free name after it."""
        if config.get("resume") is None:
            config.hydra.run.dir = claimed(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Claim the sweep's folder, or the next free name after it; a resumed sweep already has a folder."""
        if config.get("resume") is None:
            config.hydra.sweep.dir = claimed(config.hydra.sweep.dir)
        else:
            with suppress(UserError):  # the start of the sweep reports it
                config.hydra.sweep.dir = str(resumed(config))
            config.hydra.overrides.hydra.append("hydra.output_subdir=null")
        # Each job is composed anew, from the overrides.
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(Path(config.hydra.sweep.dir))}")


def resumed(config: DictConfig) -> Path:
    """Return the folder of the sweep that a configuration resumes.

    Raises:
        UserError: there is no sweep.
    """
    if config.resume != "latest":
        return Path(config.resume)
    below = Path(config.hydra.sweep.dir).parent
    sweeps = sorted(below.glob("*/sweep.yaml"), key=lambda path: path.stat().st_mtime)
    if not sweeps:
        raise UserError(f"resume=latest found no sweep in {below}; give the folder of the sweep")
    return sweeps[-1].parent


def numbered(path: str) -> Iterator[str]:
    """Yield a path, and then the same path with `_2`, `_3`, ... at its end."""
    yield path
    for number in itertools.count(2):
        yield f"{path}_{number}"


def claimed(path: str) -> str:
    """Create a folder that did not exist, with a number after its name if it did, and return its path.

    The path of a folder that cannot be created is returned too: Hydra then fails, with the reason.
    """
    with suppress(OSError):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        for candidate in numbered(path):
            with suppress(FileExistsError):
                Path(candidate).mkdir()
                return candidate
    return path
