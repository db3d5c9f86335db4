"""One of several processes: its rank, its device, its configuration, and stop requests that all share."""

import os
import time
from typing import Any

import torch
import torch.distributed as dist

from experiments.common.errors import UserError

from .stop import SignalStop

ASK_EVERY = 0.1
"""Seconds between two exchanges of stop requests; there are at most `ASK_UPDATES` updates between them."""
ASK_UPDATES = 100


def active() -> bool:
    """Whether this is one of torchrun's processes."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return this process's rank; 0 if it is the only one."""
    return dist.get_rank() if active() else 0


def own_device(name: str) -> str:
    """Return the device of this process: under torchrun, each process of a machine gets its own CUDA device.

    Raises:
        UserError: there are too few devices, or all processes would use the same one.
    """
    if not active() or name == "cpu" or not torch.cuda.is_available():
        return name
    own, here, count = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if name not in ("auto", "cuda") and here > 1:
        raise UserError(
            f"training.device={name} would be used by {here} processes; allowed under torchrun: auto, cuda, cpu"
        )
    if here > count:
        raise UserError(
            f"torchrun starts {here} processes on this machine, which has {count} CUDA device{'s' * (count > 1)}; "
            f"use --nproc-per-node={count} or training.device=cpu"
        )
    torch.cuda.set_device(own)  # otherwise every process also uses memory of the first device
    return f"cuda:{own}" if name in ("auto", "cuda") else name


def own_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return this process's configuration: only process 0 has observers."""
    return config if rank() == 0 else {**config, "observers": {}}


def described() -> dict[str, int]:
    """Return the summary's entry about the processes; empty if there is only one."""
    return {"processes": dist.get_world_size()} if active() else {}


class SharedStop(SignalStop):
    """Stops all processes after the same update when any of them gets a signal.

    They exchange requests at the same updates, about every `ASK_EVERY` seconds: an exchange takes as long as a small
    update.
    """

    agreed = False
    wait = left = 1
    asked = 0.0

    @property
    def requested(self) -> bool:  # type: ignore[override]
        """Whether any process had got a signal at the last exchange."""
        if self.agreed:
            return True
        self.left -= 1
        if self.left:
            return False
        now = time.perf_counter()
        updates = int(ASK_EVERY * self.wait / max(now - self.asked, 1e-9))
        message = torch.tensor([self.signal or 0, min(max(updates, 1), ASK_UPDATES)])
        dist.all_reduce(message, dist.ReduceOp.MAX)
        number, self.wait = message.tolist()
        self.left, self.asked = self.wait, time.perf_counter()
        if number:
            self.signal, self.agreed = number, True
        return self.agreed


def stop(early: SignalStop | None) -> SignalStop:
    """Return the stop request of this process: the one that it already listens with, or one that all processes share.

    Args:
        early: the one that it already listens with, if any.
    """
    if not active():
        return early or SignalStop()
    shared = SharedStop()
    shared.signal = early.signal if early is not None else None
    return shared
