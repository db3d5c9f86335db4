"""The scales of the members' losses in fp16."""

from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.training.single import Single


class Scales:
    """The scale of each member's loss, which grows and shrinks as that of torch's `GradScaler`, without a wait.

    Args:
        programs: of the stack; each has a scaler, whose settings are the same for all.
        like: a tensor of the weights' type and device.
    """

    def __init__(self, programs: Sequence[Single], like: Tensor) -> None:
        states = [program.scaler.state_dict() for program in programs if program.scaler is not None]
        self.growth_factor, self.backoff_factor = states[0]["growth_factor"], states[0]["backoff_factor"]
        self.growth_interval = states[0]["growth_interval"]
        self.scale = like.new_tensor([state["scale"] for state in states])
        self.good = torch.tensor([state["_growth_tracker"] for state in states], device=like.device)

    def unscale(self, gradient: Tensor) -> Tensor:
        """Divide gradients by their scales, set those of members with an overflow to 0, and update the scales.

        Args:
            gradient: (members, parameters), changed in place.

        Returns:
            Whether each member's update is to be skipped, (members,).
        """
        gradient.mul_(self.scale.reciprocal().unsqueeze(1))
        overflowed = ~gradient.isfinite().all(1)
        gradient.masked_fill_(overflowed.unsqueeze(1), 0.0)
        good = torch.where(overflowed, 0, self.good + 1)
        grows = good == self.growth_interval
        larger = self.scale * self.growth_factor
        grown = torch.where(grows & larger.isfinite(), larger, self.scale)
        self.scale = torch.where(overflowed, self.scale * self.backoff_factor, grown)
        self.good = torch.where(grows, 0, good)
        return overflowed

    def give_back(self, row: int, program: Single) -> None:
        """Give a member's own scaler its scale."""
        if program.scaler is not None:
            own = {"scale": self.scale[row].item(), "_growth_tracker": int(self.good[row].item())}
            program.scaler.load_state_dict({**program.scaler.state_dict(), **own})
