"""Additions to torch's optimizers: the allowed ranges of their settings, parameter groups, fused kernels, and Muon
combined with AdamW."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

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


class Muon(torch.optim.Optimizer):
    """torch's Muon for the hidden layers' weight matrices, and AdamW for everything else.

    (Jordan et al. 2024; both share the learning rate and decay, by the scaling of Liu et al. 2025, section 2.2.)

    Args:
        params: parameters or groups.
        hidden: the weight matrices of the hidden layers.
        lr, weight_decay: of both optimizers.
        momentum, nesterov, ns_steps: of Muon; `ns_steps` is the number of Newton-Schulz iterations.
        betas, eps: of AdamW.
    """

    _step_supports_amp_scaling = True
    """Tells torch's `GradScaler` to set `found_inf`, and to leave it to `step` whether to update."""

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
            [{**group, "params": part} for group in self.param_groups if (part := [*filter(belongs, group["params"])])]
            for belongs in (lambda p: id(p) in matrices, lambda p: id(p) not in matrices)
        ]
        muon: Callable[..., torch.optim.Optimizer] = partial(
            torch.optim.Muon, momentum=momentum, nesterov=nesterov, ns_steps=ns_steps, adjust_lr_fn="match_rms_adamw"
        )
        adamw: Callable[..., torch.optim.Optimizer] = partial(torch.optim.AdamW, betas=betas, eps=eps)
        self.parts = [build(kind, groups) for kind, groups in zip((muon, adamw), divided, strict=True) if groups]
        self._share_groups()

    def _share_groups(self) -> None:
        """Share the groups with the parts, so that setting a group's learning rate sets that of its part."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update both parts."""
        del closure
        overflowed = getattr(self, "found_inf", None)
        if overflowed is not None and overflowed.device.type == "cpu" and overflowed.item():
            return
        for part in self.parts:
            if overflowed is None or overflowed.device.type == "cpu":
                part.step()
            elif keeps_no_count(part):
                step_unless(part, overflowed.squeeze() > 0)
            else:
                part.found_inf, part.grad_scale = overflowed, None  # type: ignore[attr-defined]
                part.step()
                del part.found_inf, part.grad_scale  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of both parts."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
