"""When a stack pays: a small measured table."""

from collections.abc import Collection, Mapping
from typing import Any

KINDS = {"experiments.models.mlp.MLP": "fully connected", "experiments.models.cnn.CNN": "convolutional"}
NORMED = ", normalised"
MEASURED = {
    "fully connected": {2: 0.52, 3: 0.70, 4: 0.88, 5: 1.06, 6: 1.11, 7: 1.28, 8: 1.34},
    "fully connected, normalised": {2: 0.45, 4: 0.74, 6: 0.95, 7: 1.33, 8: 1.17},
    "convolutional": {2: 0.71, 3: 1.08, 4: 1.30, 8: 1.74},
    "convolutional, normalised": {2: 0.80, 4: 1.03},
}
"""How many times as fast K runs are as a stack as one after another, by the kind of the network and K, on a CPU.

Measured on 2026-11-27 with 2 cores, on a quiet machine, as `python -m benchmarks stacks` does: an epoch of digits with
its evaluation, metrics and checkpoints, the median of two to five rounds in turn. The networks are 64-50-50-10 and the
default CNN, in batches of 32, without and with BatchNorm. A lone run of such a network has a program without autograd.
With MNIST and 784-100-100-10, in batches of 128, four fully connected runs are 1.03 times as fast.
"""
SMALLEST = {kind: min(size for size, times in row.items() if times > 1.0) for kind, row in MEASURED.items()}
"""The smallest stack of each kind that pays on a CPU; of other models any stack is trained as one."""


def smallest_stacks(devices: Collection[str], *, cuda: bool) -> dict[str, int]:
    """Return the smallest number of runs that are trained as a stack, by the kind of the network.

    On a GPU any stack pays, as launching the kernels takes most of a small step.

    Args:
        devices: the values of `training.device`.
        cuda: whether there is a CUDA device.
    """
    on_cpu = set(devices) <= ({"cpu"} if cuda else {"cpu", "auto"})
    return dict(SMALLEST) if on_cpu else {}


def kind_of(config: Mapping[str, Any]) -> str | None:
    """Return the kind of a run's network; None if it has not been measured."""
    model = config["model"]
    kind = KINDS.get(str(model.get("_target_")))
    normed = model.get("batch_norm") or model.get("norm", "none") not in ("none", None)
    return kind + NORMED if kind and normed else kind
