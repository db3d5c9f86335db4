"""Further terms of the loss that a model returns."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

OUTPUT = "output"
"""The key of the output among the entries that a model may return; all others are terms of the loss."""


def with_terms(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Return an output as scores: numbers, flattened, then the terms of the loss, (batch, numbers + terms).

    It is a forward hook, so that it works for any model and in stacks, and leaves the names of the weights as they are.

    Args:
        module, inputs: not used.
        output: numbers of shape (batch, ...), or a dictionary with `output` and terms, of shape (batch,) or ().
    """
    del module, inputs
    if isinstance(output, Tensor):
        return output.flatten(1) if output.ndim > 2 else output
    if not isinstance(output, Mapping) or not isinstance(output.get(OUTPUT), Tensor):
        return output
    numbers = output[OUTPUT].flatten(1)
    terms = [torch.as_tensor(term).to(numbers).reshape(-1, 1) for name, term in output.items() if name != OUTPUT]
    return torch.cat([numbers, *(term.expand(len(numbers), 1) for term in terms)], 1)
