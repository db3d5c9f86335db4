"""Accumulated gradients of a model whose gradients are in the memory of a CUDA graph, as `reduce-overhead` leaves them.

The memory is emulated: the first gradient of each parameter is moved to memory that the next pass overwrites.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.training.single import Single, Updating
from tests.programs import split


class GraphMemory:
    """Compiles nothing, but keeps gradients where the next pass of the model overwrites them."""

    def __init__(self) -> None:
        self.held: list[Tensor] = []
        self.new: set[int] = set()
        self.overwritten = 0

    def compile(self, model: nn.Module, **_options: Any) -> Callable[[Tensor], Tensor]:
        """Return the model."""
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(self.hold)

        def forward(x: Tensor) -> Tensor:
            self.new = {id(parameter) for parameter in model.parameters() if parameter.grad is None}
            scores: Tensor = model(x)
            return scores

        return forward

    def hold(self, parameter: Tensor) -> None:
        """Move the first gradient of a pass into the graph's memory."""
        if id(parameter) in self.new and parameter.grad is not None:
            self.held.append(parameter.grad)

    def begin_step(self) -> None:
        """Overwrite the memory."""
        for gradient in self.held:
            gradient.fill_(torch.nan)
            self.overwritten += 1
        self.held.clear()


def weights_after(updating: Updating) -> list[Tensor]:
    """The weights after some updates."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    program = Single(model, optimizer, {"train": split(50, 0)}, eval_batch_size=8, updating=updating)
    for start in (0, 10, 20):
        program.step(torch.arange(start, start + 10)[None], [0.1])
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_accumulated_gradients_survive_the_memory_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = GraphMemory()
    monkeypatch.setattr(torch, "compile", memory.compile)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", memory.begin_step)
    graphed = weights_after(Updating(micro_batch=4, compiled="reduce-overhead"))
    assert memory.overwritten
    for one, other in zip(graphed, weights_after(Updating(micro_batch=4)), strict=True):
        assert torch.equal(one, other)
