"""Muon combined with AdamW."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .building import build
from .skipping import keeps_no_count, step_unless


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
