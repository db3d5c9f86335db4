"""Skip an update whose gradients overflowed, without waiting for the device."""

from collections.abc import Mapping

import torch
from torch import Tensor

COUNTING: Mapping[type, Mapping[str, float | None]] = {
    torch.optim.Adamax: {"step": 0.0, "exp_avg": None, "exp_inf": None},
    torch.optim.ASGD: {"step": 0.0, "eta": None, "mu": 1.0, "ax": None},
    torch.optim.NAdam: {"step": 0.0, "mu_product": 1.0, "exp_avg": None, "exp_avg_sq": None},
    torch.optim.RAdam: {"step": 0.0, "exp_avg": None, "exp_avg_sq": None},
}
"""Optimizers that count their updates on the host -> the states of a parameter, with the first values of the numbers.

`eta` of ASGD starts as the learning rate. The others have the shape of the parameter, and start at 0.
"""


def count_on_device(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer count its updates on the device of its parameters, so that `step_unless` can undo an update.

    The states of parameters with a gradient are created as torch would create them, so that they are there to be
    restored if the first update is undone. Nothing waits for the device.
    """
    states = COUNTING.get(type(optimizer))
    for group in optimizer.param_groups if states is not None else ():
        group["capturable"] = True
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            own = optimizer.state[parameter]
            for name, number in (states or {}).items():
                start = float(group["lr"]) if name == "eta" else number
                if start is None:
                    own.setdefault(name, torch.zeros_like(parameter, memory_format=torch.preserve_format))
                elif name not in own or own[name].device != parameter.device:
                    start = float(own[name]) if name in own else start  # of a checkpoint: on the host, so nothing waits
                    own[name] = torch.full((), start, device=parameter.device)


def count_on_host(optimizer: torch.optim.Optimizer) -> None:
    """Undo `count_on_device` in a state that was loaded on a CPU, where torch cannot do it."""
    for group in optimizer.param_groups if type(optimizer) in COUNTING else ():
        if any(parameter.device.type == "cpu" for parameter in group["params"]):
            group["capturable"] = False


def keeps_no_count(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer computes with nothing but tensors on its device, so that `step_unless` can undo a step."""
    return type(optimizer) in (torch.optim.Rprop, torch.optim.RMSprop, torch.optim.Adadelta, torch.optim.Muon)


@torch.no_grad()
def step_unless(optimizer: torch.optim.Optimizer, skipped: Tensor) -> None:
    """Update, and undo the update on the device if it is to be skipped: nothing waits for the device.

    Gradients of a skipped update count as 0, so that states that the update creates are as if it had not been.

    Args:
        optimizer: one that `keeps_no_count`, or that counts on the device.
        skipped: a Boolean on the device of the parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_copy_(gradients, [torch.where(skipped, 0.0, gradient) for gradient in gradients])
    states = [value for p in parameters for value in optimizer.state.get(p, {}).values()]
    changed = [*parameters, *(s for s in states if isinstance(s, Tensor) and s.device == skipped.device)]
    before = [tensor.detach().clone() for tensor in changed]
    optimizer.step()
    torch._foreach_copy_(changed, [torch.where(skipped, *both) for both in zip(before, changed, strict=True)])
