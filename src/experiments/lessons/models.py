"""Models that only lessons use."""

from collections import OrderedDict
from typing import Any

from torch import nn

from experiments.models.mlp import MLP


class NormalizedAfter(MLP):
    """The multi-layer perceptron with BatchNorm after each activation instead of before it."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, **settings: Any) -> None:
        super().__init__(input_shape, classes, **settings)
        for name, part in self.features.named_children():
            if isinstance(part, nn.Sequential) and hasattr(part, "batch_norm"):
                parts = dict(part.named_children())
                norm = parts.pop("batch_norm")
                ordered: dict[str, nn.Module] = {}
                for own, module in parts.items():
                    ordered[own] = module
                    if own == "activation":
                        ordered["batch_norm"] = norm
                setattr(self.features, name, nn.Sequential(OrderedDict(ordered)))
