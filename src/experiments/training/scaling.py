"""The scale of a loss in half precision."""

from typing import Any

import torch

from experiments.optimizers import COUNTING, count_on_device, keeps_no_count, step_unless


class Scaler(torch.amp.GradScaler):
    """torch's `GradScaler`, which skips updates whose gradients overflow, without a wait for a CUDA device.

    torch's fused optimizers decide on the device whether to update. For the others torch waits for the device in every
    update. Here they update anyway, and the device undoes it if it has to; Adamax, ASGD, NAdam and RAdam, which usually
    count their updates on the host, count them on the device. An optimizer of a user is updated as torch does it.
    """

    def _maybe_opt_step(
        self, optimizer: torch.optim.Optimizer, optimizer_state: dict[str, Any], *args: Any, **kwargs: Any
    ) -> float | None:
        """Update if the gradients of an optimizer are finite."""
        found = list(optimizer_state["found_inf_per_device"].values())
        known = keeps_no_count(optimizer) or type(optimizer) in COUNTING
        if len(found) > 1 or found[0].device.type != "cuda" or not known:
            return super()._maybe_opt_step(optimizer, optimizer_state, *args, **kwargs)
        count_on_device(optimizer)
        step_unless(optimizer, found[0].squeeze() > 0)
        return None
