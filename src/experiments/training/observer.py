"""What every observer is, and the predicates that say when it looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from experiments.folders.run import Row, RunFolder

    from .position import Position
    from .program import Program

When = Callable[[int], bool]
Charts = Mapping[str, Mapping[str, list[str]]]
"""Category -> chart's title -> regular expressions of the tags that share it."""


def every(epochs: int) -> When:
    """True at each epoch that `epochs` divides; never for 0."""
    return lambda epoch: epochs > 0 and epoch % epochs == 0


class Observed(Protocol):
    """What an observer reads of the member that it watches.

    Args:
        folder: where the run writes.
        history: its epochs so far.
        status: how it ended; None while it trains and after an error.
        observers: all that watch it.
    """

    @property
    def folder(self) -> RunFolder: ...

    @property
    def history(self) -> Sequence[Row]: ...

    @property
    def status(self) -> str | None: ...

    @property
    def observers(self) -> Sequence[Observer]: ...


class Observer:
    """Watches one member of the loop and never changes it. Override the hooks that you need.

    `when` says at which epochs `epoch_end` is called; `watches_updates` asks for the two hooks around every
    update. Draw no random number, and leave weights, buffers, modes and gradients as they are.
    """

    when: When = staticmethod(every(1))
    watches_updates = False
    charts: ClassVar[Charts] = {}
    """What TensorBoard's custom-scalars tab draws of its scalars."""

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """Called once before the first update, also after a resume; keeps what the hooks may read."""
        self.member, self.number, self.program, self.position = member, number, program, position

    def before_update(self, step: int) -> None:
        """Called before update `step` + 1, with the parameters as they are."""

    def after_update(self, step: int) -> None:
        """Called after update `step`; the parameters' `grad` is still the one it used."""

    def epoch_end(self, row: dict[str, float]) -> None:
        """Called with the metrics of the epoch that just ended."""

    def before_checkpoint(self) -> None:
        """Called before the checkpoint is written, after each epoch or, in a stack, every few seconds.

        What is in the run's files now is there when the run goes on from that checkpoint.
        """

    def close(self) -> None:
        """Called once when training has ended; `member.status` says how, and is None after an error."""
