"""How the workers of a sweep share the CUDA devices."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

OF_ANY_NUMBER = {"auto", "cuda"}
"""The values of `training.device` that leave the choice of a CUDA device to a worker."""


@dataclass(frozen=True)
class Sharing:
    """How many stacks are trained at a time, and what each gets.

    Args:
        stacks: the number at a time; 1 if stacks are trained one after another.
        share: of a device's memory, for each stack.
    """

    stacks: int = 1
    share: float = 1.0

    def largest(self, most: int, runs: int) -> int:
        """Return the largest number of runs in a stack, so that all devices get one.

        Args:
            most: that fit into the memory.
            runs: of the whole sweep.
        """
        return min(most, max(1, math.ceil(runs / self.stacks)))


def gpus_of_a_stack(asked: float | Literal["auto"], devices: Collection[str], present: float) -> float:
    """Return how many GPUs Ray reserves for a stack.

    A worker that reserves one sees only that one, as `cuda:0`; workers that reserve none would all use the first.

    Args:
        asked: `hydra.launcher.ray.num_gpus`; auto for one, if there is one and no run names another device.
        devices: the values of `training.device`.
        present: the GPUs of the cluster.
    """
    if asked == "auto":
        return float(present >= 1 and set(devices) <= OF_ANY_NUMBER)
    return asked


def local_workers(asked: int | Literal["auto"], devices: Collection[str], present: int) -> tuple[int, int]:
    """Return how many processes of this machine train at a time, and how many GPUs they share.

    Args:
        asked: `hydra.launcher.local.workers`; auto for one per GPU or, if the runs use none, one per core.
        devices: the values of `training.device`.
        present: the GPUs of this machine.
    """
    from experiments.training.device import cores

    gpus = present if set(devices) <= OF_ANY_NUMBER else 0
    return (gpus or cores()) if asked == "auto" else asked, gpus


def sharing(executor: str, settings: Mapping[str, Any], devices: Collection[str], present: int) -> Sharing:
    """Return how stacks share the GPUs, or the cores, of this machine; workers on a cluster are not counted.

    Args:
        executor: of `hydra.launcher`.
        settings: of this executor.
        devices: the values of `training.device`.
        present: the GPUs of this machine.
    """
    if executor == "local":
        workers, gpus = local_workers(settings["workers"], devices, present)
        return Sharing(workers, min(1.0, gpus / workers) if gpus else 1.0 / workers)
    if executor != "ray" or settings.get("address") not in (None, "local"):
        return Sharing()
    each = gpus_of_a_stack(settings["num_gpus"], devices, present)
    if not each or not present:
        return Sharing()
    return Sharing(max(1, int(present / each)), min(1.0, each))


def devices_of(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the values of `training.device` in configurations."""
    return {str(config["training"].get("device", "auto")) for config in configs}
