"""The device of a run, and its number of threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from experiments.data import memory

MULTIPLY_ADDS_PER_THREAD = 20_000_000


def choose(name: str) -> torch.device:
    """Return the device called `auto` (CUDA if the machine has it), `cpu`, `cuda` or `cuda:<number>`.

    Raises:
        ValueError: the name is unknown, or the machine has no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ["cpu", *(f"cuda:{i}" for i in range(count))]
    if name == "auto":
        return torch.device("cuda:0" if count else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in present:
        raise ValueError(f"device={name!r} is not on this machine; allowed: auto, {', '.join(present)}")
    return torch.device(wanted)


def describe(device: torch.device) -> str:
    """Return the device's name for messages."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a CUDA device, with those that torch keeps for later, or of the machine.

    If the system does not show them, they count as 2^40.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    free = memory.free_memory()
    return 2**40 if free is None else free


def cores() -> int:
    """Return how many cores this process may use; torchrun's processes share them, and OMP_NUM_THREADS limits them."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    present = max(1, present // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return min(present, int(allowed)) if allowed.isdigit() and int(allowed) > 0 else present


def threads_for(multiply_adds: int, *, stacked: bool = False) -> int:
    """Return the number of threads for the work of one step.

    Passing work to another thread takes microseconds, so small models are fastest on one thread. There is a thread for
    every 20 million multiplications of a batch's forward pass; with less work a second thread was not faster.

    Args:
        multiply_adds: of one batch's forward pass.
        stacked: whether they are of many runs, between which work is easier to divide: a fifth is enough for a thread.
    """
    least = MULTIPLY_ADDS_PER_THREAD // 5 if stacked else MULTIPLY_ADDS_PER_THREAD
    return max(1, min(cores(), multiply_adds // least))


@contextmanager
def kernels(*, deterministic: bool) -> Iterator[None]:
    """If asked for, refuse kernels with random results inside the block."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS has no deterministic kernels
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic == before or before:
        yield  # the call below imports a compiler, which takes a second
        return
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use `count` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
