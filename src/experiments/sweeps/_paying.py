"""When a stack pays: a small measured table."""

from collections.abc import Collection

MEASURED = {2: 0.5, 3: 0.5, 4: 0.7, 6: 0.8, 8: 1.5}
"""How many times as fast K runs are as a stack as one after another, by K, on a CPU with 2 cores.

Measured on 2026-11-27 as in `python -m benchmarks stacks`: an epoch with its evaluation of a fully connected network
(digits, 64-50-50-10, batches of 32), the least of three interleaved rounds on a busy machine; the medians are 0.4, 0.6,
0.7, 1.2 and 1.4. A lone run of such a network has a faster program than a stack of few.
"""
SMALLEST = {"cpu": min(size for size, times in MEASURED.items() if times > 1.0), "cuda": 1}
"""The smallest stack that pays. On a GPU any stack does, as launching the kernels takes most of a small step."""


def smallest_stack(devices: Collection[str], *, cuda: bool) -> int:
    """Return the smallest number of runs that are trained as a stack.

    Args:
        devices: the values of `training.device`.
        cuda: whether there is a CUDA device.
    """
    on_cpu = set(devices) <= ({"cpu"} if cuda else {"cpu", "auto"})
    return SMALLEST["cpu" if on_cpu else "cuda"]
