"""Build an optimizer of torch: the allowed ranges of its settings, parameter groups, fused kernels."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from .light import leave_out_compiler

NAMED = 20
"""The largest number of names that an error shows."""
Decay = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]

RANGES: Mapping[str, Any] = {
    "lr": Positive,
    "momentum": Decay,
    "dampening": Annotated[float, Ge(0), Le(1)],
    "betas": tuple[Decay, Decay],
    "alpha": Decay,
    "rho": Decay,
    "eps": Positive,
    "weight_decay": NotNegative,
    "momentum_decay": NotNegative,
    "lr_decay": NotNegative,
    "initial_accumulator_value": NotNegative,
    "etas": tuple[Annotated[float, Gt(0), Lt(1)], Annotated[float, Gt(1)]],
    "step_sizes": tuple[Positive, Positive],
    "lambd": NotNegative,
    "t0": NotNegative,
    "max_iter": Count,
    "max_eval": Count | None,
    "history_size": Count,
    "tolerance_grad": NotNegative,
    "tolerance_change": NotNegative,
    "line_search_fn": Literal["strong_wolfe"] | None,
    "ns_steps": Annotated[int, Ge(1), Lt(100)],
}
"""Name of a hyperparameter of torch's optimizers -> its allowed values."""

FUSED_DEVICES = {"cpu", "cuda"}

ParameterGroup = dict[str, Any]


def build(
    optimizer: Callable[..., torch.optim.Optimizer], groups: Iterable[nn.Parameter] | Sequence[ParameterGroup]
) -> torch.optim.Optimizer:
    """Build the optimizer, fused if torch has a fused kernel for it and `fused` is not set.

    Fused updates are the same arithmetic in one kernel (measured: an epoch with Adam on a CPU is 1.4 times faster).

    Args:
        optimizer: a class, or a partial of one, that takes the parameters.
        groups: the parameters to train, or groups of them.
    """
    leave_out_compiler()
    given: list[Any] = list(groups)
    parameters = [p for group in given for p in (group["params"] if isinstance(group, dict) else [group])]
    arguments = inspect.signature(optimizer).parameters
    fusable = "fused" in arguments and arguments["fused"].default is None
    if fusable and all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters):
        try:
            # Copies of the groups, because the optimizer writes into them.
            return optimizer([dict(g) if isinstance(g, dict) else g for g in given], fused=True)
        except RuntimeError:  # the class has the argument but no kernel for this device
            pass
    return optimizer(given)


def parameter_groups(
    model: nn.Module,
    *,
    decays: bool,
    exempt: Literal["auto"] | Sequence[str] = "auto",
    scales: Mapping[str, float] | None = None,
) -> list[ParameterGroup]:
    """Divide the parameters to train into groups; each parameter is in exactly one.

    A pattern is the name of a parameter or of a module that contains it, with * and ? as wildcards: `head`,
    `features.hidden1`, `*.bias`. If several patterns match a parameter, the last one counts.

    Args:
        model: the parameters whose scale is 0 are frozen: they need no gradient and are in no group.
        decays: whether the optimizer has weight decay; exempt parameters then get their own group.
        exempt: patterns of the parameters without weight decay; 'auto' for the parameters of one dimension, which are
            biases and the scales and shifts of norms.
        scales: pattern -> factor of the learning rate, which is `lr_scale` of the group; a group without it has 1.

    Raises:
        ValueError: a pattern matches no parameter, or nothing is left to train.
    """
    scales = scales or {}
    named = dict(model.named_parameters())
    patterns = [("decay_exempt", p) for p in (() if exempt == "auto" else exempt)] + [("lr_scale", p) for p in scales]
    for key, pattern in patterns:
        if not any(matches(name, pattern) for name in named):
            names = [*named][:NAMED]
            more = f" and {len(named) - NAMED:,} more" if len(named) > NAMED else ""
            raise ValueError(f"{key}={pattern!r} matches no parameter; choose from {', '.join(names)}{more}")
    groups: dict[tuple[float, bool], ParameterGroup] = {}
    for name, parameter in named.items():
        scale = ([1.0] + [float(s) for pattern, s in scales.items() if matches(name, pattern)])[-1]
        if scale == 0:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        exempted = parameter.ndim < 2 if exempt == "auto" else any(matches(name, pattern) for pattern in exempt)
        key_of_group = (scale, decays and exempted)
        group = groups.setdefault(key_of_group, {"params": []})
        group["params"].append(parameter)
        if scale != 1:
            group["lr_scale"] = scale
        if decays and exempted:
            group["weight_decay"] = 0.0
    if not groups:
        raise ValueError(f"lr_scale={dict(scales)} freezes every parameter; at least one must be trained")
    return list(groups.values())


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern matches this parameter, or a module that contains it."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Set the momentum of SGD to zero for the parameters that have none yet.

    torch's fused SGD sets the momentum to the first gradient. If that update is skipped because a scaled loss
    overflowed, the momentum would be uninitialized memory. It also fails if only some parameters have a momentum, as
    after others have thawed.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer evaluates the loss itself, several times per update, as L-BFGS does."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty
