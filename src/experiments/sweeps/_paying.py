"""When a stack pays: a small measured table."""

from collections.abc import Collection, Mapping
from typing import Any

KINDS = {"experiments.models.mlp.MLP": "fully connected", "experiments.models.cnn.CNN": "convolutional"}
NORMED, BY_AUTOGRAD = ", normalised", ", by autograd"
MEASURED = {
    "fully connected": {2: 1.69, 3: 2.17, 4: 2.54, 5: 2.87, 6: 3.00, 7: 3.20, 8: 3.31},
    "fully connected, normalised": {2: 1.52, 3: 2.05, 4: 2.43, 6: 2.91, 8: 3.49},
    "fully connected, by autograd": {2: 0.87, 3: 1.38, 4: 1.86, 6: 2.30},
    "fully connected, normalised, by autograd": {2: 0.83, 3: 1.13, 4: 1.36, 6: 1.87},
    "convolutional": {2: 0.71, 3: 1.08, 4: 1.30, 8: 1.74},
    "convolutional, normalised": {2: 0.80, 4: 1.03},
}
"""How many times as fast K runs are as a stack as one after another, by the kind of the network and K, on a CPU.

Measured on 2026-11-27 with 2 cores: an epoch of digits with its evaluation, metrics and checkpoints. The networks are
64-50-50-10 and the default CNN, in batches of 32, without and with BatchNorm. A lone run of such a network has a
program without autograd, and so has a stack of the fully connected ones, except with a penalty and the like. The
convolutional lines are the time on a quiet machine, as `python -m benchmarks stacks` measures it, the median of two to
five rounds in turn; the others the CPU time on a busy one with one thread, of three rounds in turn. With MNIST and
784-100-100-10, in batches of 128, two runs are 1.18 times as fast and eight 1.10 times.
"""
SMALLEST = {kind: min(size for size, times in row.items() if times > 1.0) for kind, row in MEASURED.items()}
"""The smallest stack of each kind that pays on a CPU; of other models any stack is trained as one."""
CHAINED = frozenset(
    ("relu", "sigmoid", "tanh", "leakyrelu", "elu", "silu", "swish", "gelu", "softplus", "identity", "linear", "none")
)
"""The activations of stacks without autograd, in lower case."""


def smallest_stacks(devices: Collection[str], *, cuda: bool) -> dict[str, int]:
    """Return the smallest number of runs that are trained as a stack, by the kind of the network.

    On a GPU any stack pays, as launching the kernels takes most of a small step.

    Args:
        devices: the values of `training.device`.
        cuda: whether there is a CUDA device.
    """
    on_cpu = set(devices) <= ({"cpu"} if cuda else {"cpu", "auto"})
    return dict(SMALLEST) if on_cpu else {}


def smallest_stack(configs: Collection[Mapping[str, Any]], smallest: Mapping[str, Any]) -> int:
    """Return the smallest number of such runs that are trained as a stack.

    Args:
        configs: of the runs.
        smallest: by the kind of the network; an earlier version may have written it, without `BY_AUTOGRAD`.
    """
    kinds = {kind_of(config) or "" for config in configs}
    found = [smallest.get(kind, smallest.get(kind.removesuffix(BY_AUTOGRAD))) for kind in kinds]
    return max((least for least in found if isinstance(least, int)), default=1)


def kind_of(config: Mapping[str, Any]) -> str | None:
    """Return the kind of a run's network; None if it has not been measured."""
    model = config["model"]
    kind = KINDS.get(str(model.get("_target_")))
    if kind is None:
        return None
    normed = model.get("batch_norm") or model.get("norm", "none") not in ("none", None)
    by_autograd = kind == "fully connected" and needs_autograd(config)
    return kind + NORMED * bool(normed) + BY_AUTOGRAD * by_autograd


def needs_autograd(config: Mapping[str, Any]) -> bool:
    """Whether a stack of such an MLP is trained by autograd, as far as its configuration shows."""
    model, training = config["model"], config["training"]
    penalty = str(config["penalty"].get("_target_")).rpartition(".")[2]
    return bool(
        penalty not in ("Penalty", "MaxNorm")
        or model.get("residual")
        or model.get("norm") in ("group", "rms")
        or str(model.get("activation", "relu")).replace("_", "").lower() not in CHAINED
        or training.get("precision") in ("bf16", "fp16")
        or config.get("freeze")
    )
