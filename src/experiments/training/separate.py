"""The part of a program of several members that each member's own program does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from experiments.data.batches import Split

from .program import LookAtUpdate, Shared
from .single import Single


class OwnPrograms:
    """The methods of `Program` that are about one member, done by the program of that member.

    Args:
        programs: of the members, in their order.
    """

    def __init__(self, programs: Sequence[Single]) -> None:
        self.programs = list(programs)
        self.members = len(self.programs)
        self.commons: dict[Any, Any] = {}

    def announce(self, batches: Sequence[Tensor], epoch: int) -> None:
        """See `Program.announce`: runs whose data are read by workers are trained separately."""

    def common(self, key: Any, compute: Callable[[], Shared]) -> Shared:
        """See `Program.common`."""
        if key not in self.commons:
            self.commons[key] = compute()
        shared: Shared = self.commons[key]
        return shared

    def running_value(self, mean: float) -> float:
        """See `Program.running_value`."""
        return self.programs[0].running_value(mean)

    def watch(self, step: int) -> None:
        """See `Program.watch`."""
        for program in self.programs:
            program.watch(step)

    def look_at_update(
        self, member: int, step: int, key: Any, measure: LookAtUpdate
    ) -> tuple[Sequence[Any], Tensor] | None:
        """See `Program.look_at_update`."""
        return self.programs[member].look_at_update(0, step, key, measure)

    def gradients(self, member: int) -> dict[str, Tensor]:
        """See `Program.gradients`."""
        return self.programs[member].gradients(0)

    def scores(self, member: int, split: str | Split) -> Tensor:
        """See `Program.scores`."""
        return self.programs[member].scores(0, split)

    def module(self, member: int) -> nn.Module:
        """See `Program.module`."""
        return self.programs[member].model

    def probe(self, member: int) -> tuple[Tensor, Tensor]:
        """See `Program.probe`."""
        return self.programs[member].probe(0)

    def state_dict(self, member: int) -> dict[str, Any]:
        """See `Program.state_dict`."""
        return self.programs[member].state_dict(0)

    def load_state_dict(self, member: int, state: Mapping[str, Any]) -> None:
        """See `Program.load_state_dict`."""
        self.programs[member].load_state_dict(0, state)

    def load_model(self, member: int, state: Mapping[str, Any]) -> None:
        """See `Program.load_model`."""
        self.programs[member].load_model(0, state)
