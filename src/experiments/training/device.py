"""The device of a run, and its number of threads."""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch

from experiments.data import memory
from experiments.data.cores import present_cores

MULTIPLY_ADDS_PER_THREAD = 20_000_000
CUBLAS_WORKSPACE = ":4096:8"
"""The workspace without which cuBLAS has no deterministic kernels; torch reads it at the first product."""
TF32_TOLERANCE = 1e-2
TF32_HINT = "TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled"
"""What torch 2.11 warns about when it compiles for a device that could use TF32; fp32 is a choice here."""


def choose(name: str) -> torch.device:
    """Return the device called `auto` (CUDA if the machine has it), `cpu`, `cuda` or `cuda:<number>`.

    Raises:
        ValueError: the name is unknown, or the machine has no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ["cpu", *(f"cuda:{i}" for i in range(count))]
    wanted = {"auto": "cuda:0" if count else "cpu", "cuda": "cuda:0"}.get(name, name)
    if wanted not in present:
        raise ValueError(f"device={name!r} is not on this machine; allowed: auto, {', '.join(present)}")
    device = torch.device(wanted)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    return device


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
    present = max(1, present_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
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
def kernels(*, deterministic: bool, precision: str = "fp32") -> Iterator[None]:
    """Choose the kernels that compute inside the block.

    Args:
        deterministic: whether kernels with random results are refused.
        precision: of `training.precision`; only 'tf32' lets a CUDA device round the factors of products in fp32 to
            TF32, which has 10 bits instead of 23. (torch lets cuDNN do so by default.)
    """
    with ExitStack() as stack:
        stack.enter_context(_refusing_random_results() if deterministic else nullcontext())
        if torch.cuda.is_available():
            stack.enter_context(_multiplying(tf32=precision == "tf32"))
        yield


@contextmanager
def _refusing_random_results() -> Iterator[None]:
    if torch.are_deterministic_algorithms_enabled():
        yield  # the call below imports a compiler, which takes a second
        return
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def _multiplying(*, tf32: bool) -> Iterator[None]:
    """Set whether products and convolutions of a CUDA device use TF32.

    These are torch's older settings: its compiler reads them, and fails if only the newer ones are set.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", TF32_HINT)
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def tolerance(usual: float, device: torch.device) -> float:
    """Return the relative difference by rounding that is allowed between two ways to compute the same.

    Args:
        usual: in fp32.
        device: on which both are computed; if it uses TF32, more is allowed.
    """
    return max(usual, TF32_TOLERANCE) if device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32 else usual


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use `count` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
