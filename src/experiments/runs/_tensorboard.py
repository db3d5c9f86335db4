"""A run's TensorBoard file, and the hyperparameters in it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import assembly
from experiments.common.keys import flattened
from experiments.folders.defaults import differing
from experiments.folders.events import earlier
from experiments.folders.hparams import Hyperparameters, metrics_shown
from experiments.folders.run import RunFolder
from experiments.training.position import Position


def opened_writer(config: assembly.Config, folder: RunFolder, position: Position) -> Any:
    """Open the run's TensorBoard file; None if it is turned off. Events that a killed run wrote after its checkpoint
    are removed."""
    if not assembly.enabled(config, "tensorboard"):
        return None
    from ._event_writer import BatchedWriter

    purge = position.mark + 1 if position.step else None
    wait_for_next_second(folder.path)
    return BatchedWriter(str(folder.path), purge_step=purge)


def wait_for_next_second(folder: Path) -> None:
    """Wait, for a second at most, until a new event file has a later name than the files that are there.

    TensorBoard reads event files in the order of their names, which begin with the second of their creation. Of two
    files of one second the newer one might be read first, and the steps that it takes back would be shown twice.
    """
    seconds = [path.name.split(".")[3] for path in earlier(folder)]
    newest = max((int(second) for second in seconds if second.isdecimal()), default=0)
    deadline = time.monotonic() + 1
    while int(time.time()) <= newest and time.monotonic() < deadline:
        time.sleep(0.02)


def hyperparameters(
    config: assembly.Config, choices: Mapping[str, str], overrides: Sequence[str], *, validated: bool
) -> Hyperparameters:
    """Return what TensorBoard's HParams tab shows of a run.

    Args:
        config: of the run.
        choices: the file chosen in each config group.
        overrides: as typed.
        validated: whether the run has a validation split.
    """
    flat = {key: value for key, value in flattened(config).items() if "_target_" not in key}
    return Hyperparameters(
        settings={**flat, **{group: choice for group, choice in choices.items() if group in config}},
        shown=list(differing(config, choices, overrides)),
        metrics=metrics_shown(config["objective"], validated=validated),
    )
