"""Updates by torch's optimizers without its compiler."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from experiments.optimizers import build, update

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adam": partial(torch.optim.Adam, lr=0.1),
    "nadam": partial(torch.optim.NAdam, lr=0.1),
    "rprop": partial(torch.optim.Rprop, lr=0.1),
}
IMPORTED = """
import sys
import torch
from experiments.optimizers import build, update
parameter = torch.nn.Parameter(torch.ones(3))
optimizer = build(torch.optim.Adam, [parameter])
parameter.sum().backward()
update(optimizer)
optimizer.load_state_dict(optimizer.state_dict())
optimizer.zero_grad()
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_is_a_step_to_the_bit(name: str) -> None:
    layers = [nn.Linear(3, 2) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    one, other = (build(OPTIMIZERS[name], layer.parameters()) for layer in layers)
    for number in range(3):
        for layer in layers:
            layer.zero_grad()
            (layer(torch.arange(3.0) + number) ** 2).sum().backward()
        one.step()
        update(other)
    for p, q in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        assert torch.equal(p, q)
        assert q.requires_grad
        assert q.grad is not None
    states = [torch.utils._pytree.tree_leaves(own.state_dict()) for own in (one, other)]
    assert all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(*states, strict=True))


def test_what_is_called_before_and_after_a_step_is_called() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = build(torch.optim.SGD, [parameter])
    parameter.sum().backward()
    called: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    update(optimizer)
    assert called == ["before", "after"]


def test_a_step_of_a_class_or_an_object_of_the_user_is_called_as_it_is() -> None:
    class Own(torch.optim.SGD):
        """An optimizer that counts its steps."""

        steps = 0

        @torch.enable_grad()
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            """Count."""
            assert torch.is_grad_enabled()
            self.steps += 1

    own = Own([nn.Parameter(torch.ones(3))])
    update(own)
    assert own.steps == 1
    called: list[int] = []
    optimizer = build(torch.optim.SGD, [nn.Parameter(torch.ones(3))])
    optimizer.step = lambda: called.append(1)  # type: ignore[method-assign, assignment]
    update(optimizer)
    assert called == [1]


@pytest.mark.slow
def test_the_compiler_is_not_imported() -> None:
    """Its import takes as long as that of the rest of torch; if this fails with a new torch, runs only start later."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
