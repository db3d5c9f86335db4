"""torch's optimizers without torch's compiler, which they import only to keep it out of their methods.

Its import takes nearly as long as that of the rest of torch.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer, optimizer

METHODS = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")
"""The methods of an optimizer that import the compiler when they are called first."""
KEPT = "__dynamo_disable"
"""Where torch keeps the method that the compiler does not look into. Without a compiler it is the method itself."""


def leave_out_compiler() -> None:
    """Let the methods of torch's optimizers be called without importing the compiler.

    A version of torch that does this in another way imports it as before.
    """
    for name in METHODS:
        method = getattr(getattr(Optimizer, name, None), "__wrapped__", None)
        if method is not None and not hasattr(method, KEPT):
            setattr(method, KEPT, method)


def update(own: Optimizer) -> None:
    """Do what `own.step()` does, to the bit, without the compiler and the profiler if the class is one of torch's.

    Args:
        own: an optimizer that needs no closure. If something is to be called before or after its steps, it is.
    """
    hooks = (
        own._optimizer_step_pre_hooks,
        own._optimizer_step_post_hooks,
        optimizer._global_optimizer_pre_hooks,
        optimizer._global_optimizer_post_hooks,
    )
    if any(hooks) or "step" in vars(own) or not of_torch(own) or own.defaults.get("differentiable"):
        own.step()
        return
    with torch.no_grad():
        step: Callable[[Any], object] = inspect.unwrap(type(own).step)
        step(own)


def of_torch(own: Optimizer) -> bool:
    """Whether an optimizer's class and its `step` are torch's."""
    return (
        type(own).__module__.startswith("torch.optim.")
        and inspect.unwrap(type(own).step).__module__ == type(own).__module__
    )
