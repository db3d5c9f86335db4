"""Optimizers are torch's own; what is added is the allowed range of their numbers, parameter groups, the fused
kernels, and Muon with AdamW beside it."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

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
"""The allowed values of the hyperparameters that torch's optimizers share, by their usual names."""

FUSED_DEVICES = {"cpu", "cuda"}

ParameterGroup = dict[str, Any]


def make(
    optimizer: Callable[..., torch.optim.Optimizer], groups: Iterable[nn.Parameter] | Sequence[ParameterGroup]
) -> torch.optim.Optimizer:
    """Build the optimizer, fused where torch has a fused kernel for it and nothing was said of it.

    Fused updates are the same arithmetic in one kernel (measured: an Adam epoch on CPU is 1.4 times faster).

    Args:
        optimizer: a class, or a partial of one, that takes the parameters.
        groups: what to train: parameters, or groups of them.
    """
    given: list[Any] = list(groups)
    parameters = [p for group in given for p in (group["params"] if isinstance(group, dict) else [group])]
    arguments = inspect.signature(optimizer).parameters
    fusable = "fused" in arguments and arguments["fused"].default is None
    if fusable and all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters):
        try:
            return optimizer([dict(g) if isinstance(g, dict) else g for g in given], fused=True)  # it writes into them
        except RuntimeError:  # the class has the argument, but no kernel for this device
            pass
    return optimizer(given)


def parameter_groups(
    model: nn.Module,
    *,
    decays: bool,
    exempt: Literal["auto"] | Sequence[str] = "auto",
    scales: Mapping[str, float] | None = None,
) -> list[ParameterGroup]:
    """Divide the parameters that are trained into groups: each is in exactly one.

    A pattern is a parameter's name, the name of a module above it, or either with * and ? in it: `head`,
    `features.hidden1`, `*.bias`. Of several that match a parameter the last counts.

    Args:
        model: its parameters with a scale of 0 are frozen: they need no gradient and are in no group.
        decays: whether the optimizer has weight decay, so that the exempt need a group of their own.
        exempt: patterns of the parameters without weight decay; 'auto' for biases and the norms' scales and
            shifts, which are those of one dimension.
        scales: pattern -> what the learning rate is multiplied by, in `lr_scale` of the group; not said for 1.

    Raises:
        ValueError: a pattern matches no parameter, or nothing is left to train.
    """
    scales = scales or {}
    named = dict(model.named_parameters())
    patterns = [("decay_exempt", p) for p in (() if exempt == "auto" else exempt)] + [("lr_scale", p) for p in scales]
    for key, pattern in patterns:
        if not any(matches(name, pattern) for name in named):
            raise ValueError(f"{key}={pattern!r} matches no parameter; there are {', '.join(named)}")
    groups: dict[tuple[float, bool], ParameterGroup] = {}
    for name, parameter in named.items():
        scale = ([1.0] + [float(s) for pattern, s in scales.items() if matches(name, pattern)])[-1]
        if scale == 0:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        spared = parameter.ndim < 2 if exempt == "auto" else any(matches(name, pattern) for pattern in exempt)
        key_of_group = (scale, decays and spared)
        group = groups.setdefault(key_of_group, {"params": []})
        group["params"].append(parameter)
        if scale != 1:
            group["lr_scale"] = scale
        if decays and spared:
            group["weight_decay"] = 0.0
    if not groups:
        raise ValueError(f"lr_scale={dict(scales)} freezes every parameter; leave one to train")
    return list(groups.values())


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern means this parameter, or a module that it is in."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give SGD its momentum, which is zero before the first update.

    torch's fused SGD takes the first gradient for it; where that update is left out because a scaled loss
    overflowed, the momentum would stay whatever was in memory.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer evaluates the loss itself, more than once an update, as L-BFGS does."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


class Muon(torch.optim.Optimizer):
    """torch's Muon for the hidden layers' weight matrices, and AdamW for everything else.

    (Jordan et al. 2024; one learning rate and decay for both, by the scaling of Liu et al. 2025, section 2.2.)

    Args:
        params: parameters or groups.
        hidden: the weight matrices of the hidden layers.
        lr, weight_decay: of both.
        momentum, nesterov, ns_steps: Muon's; `ns_steps` iterations of Newton and Schulz.
        betas, eps: AdamW's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        hidden: Iterable[Tensor],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        given = list(params)
        super().__init__(given, {"lr": lr, "weight_decay": weight_decay})
        matrices = {id(parameter) for parameter in hidden if parameter.ndim == 2}
        divided = [
            [{**group, "params": part} for group in self.param_groups if (part := [*filter(wanted, group["params"])])]
            for wanted in (lambda p: id(p) in matrices, lambda p: id(p) not in matrices)
        ]
        muon: Callable[..., torch.optim.Optimizer] = partial(
            torch.optim.Muon, momentum=momentum, nesterov=nesterov, ns_steps=ns_steps, adjust_lr_fn="match_rms_adamw"
        )
        adamw: Callable[..., torch.optim.Optimizer] = partial(torch.optim.AdamW, betas=betas, eps=eps)
        self.parts = [make(kind, groups) for kind, groups in zip((muon, adamw), divided, strict=True) if groups]
        self._share_groups()

    def _share_groups(self) -> None:
        """Let what is set in a group, such as its rate, reach the part that has it."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update both."""
        del closure
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put both back to a state."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
