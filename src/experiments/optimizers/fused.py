"""Updates by torch's fused kernels, without the work of `Optimizer.step` around them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .light import update

Group = dict[str, Any]
"""Parameters and their settings, as an optimizer keeps them."""
States = Mapping[str, list[Tensor]]
"""The states of a group's parameters, by name."""


def _adam(group: Group, parameters: list[Tensor], gradients: list[Tensor], states: States) -> None:
    beta1, beta2 = group["betas"]
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    kernel(
        parameters,
        gradients,
        states["exp_avg"],
        states["exp_avg_sq"],
        states.get("max_exp_avg_sq", []),
        states["step"],
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=group["amsgrad"],
        maximize=group["maximize"],
    )


def _sgd(group: Group, parameters: list[Tensor], gradients: list[Tensor], states: States) -> None:
    torch._fused_sgd_(
        parameters,
        gradients,
        states.get("momentum_buffer", []),
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=group["lr"],
        dampening=group["dampening"],
        nesterov=group["nesterov"],
        maximize=group["maximize"],
        is_first_step=False,
    )


def _adagrad(group: Group, parameters: list[Tensor], gradients: list[Tensor], states: States) -> None:
    torch._fused_adagrad_(
        parameters,
        gradients,
        states["sum"],
        states["step"],
        lr=group["lr"],
        lr_decay=group["lr_decay"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=group["maximize"],
    )


KERNELS: Mapping[type, Callable[[Group, list[Tensor], list[Tensor], States], None]] = {
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
    torch.optim.SGD: _sgd,
    torch.optim.Adagrad: _adagrad,
}
"""Class of an optimizer -> the update of a group of its parameters by their gradients and states."""


class FusedUpdate:
    """Updates as `Optimizer.step` does, to the bit, in less time if torch has a fused kernel.

    What `Optimizer.step` does around the kernel takes longer than the kernel of a small model. The states stay where
    the optimizer keeps them; it creates them itself in the first update. The counts of the parameters' updates become
    views of one tensor, which is counted up at once.

    Args:
        optimizer: of any class; without a kernel, its own `step` is called. Every parameter needs a gradient.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        fused = all(group.get("fused") for group in optimizer.param_groups)
        self.kernel = KERNELS.get(type(optimizer)) if fused else None
        self.groups: list[tuple[Group, list[Tensor], States, Tensor | None]] = []

    def forget(self) -> None:
        """Look for the states again, because the optimizer has loaded others."""
        self.groups = []

    def __call__(self) -> None:
        """Update the parameters by their gradients."""
        own = self.optimizer
        hooked = own._optimizer_step_pre_hooks or own._optimizer_step_post_hooks
        if self.kernel is None or hooked or not self.groups:
            update(own)
            self.groups = [self._with_states(group) for group in own.param_groups if self.kernel is not None]
            return
        with torch.no_grad():
            for group, parameters, states, counts in self.groups:
                if counts is not None:
                    counts.add_(1)
                self.kernel(group, parameters, [p.grad for p in parameters if p.grad is not None], states)

    def _with_states(self, group: Group) -> tuple[Group, list[Tensor], States, Tensor | None]:
        """Return a group, its parameters, their states, and the tensor of their counts if they are counted."""
        parameters, counts = list(group["params"]), None
        states = [self.optimizer.state[parameter] for parameter in parameters]
        if "step" in states[0]:
            counts = torch.stack([state["step"] for state in states])
            for state, count in zip(states, counts, strict=True):
                state["step"] = count
        names = [name for name, value in states[0].items() if isinstance(value, Tensor)]
        return group, parameters, {name: [state[name] for state in states] for name in names}, counts
