"""The base class of observers, and predicates that decide when they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.folders.run import Row, RunFolder

    from .position import Position
    from .program import Program

When = Callable[[int], bool]
Charts = Mapping[str, Mapping[str, list[str]]]
"""Category -> title of a chart -> regular expressions of the tags in it."""


def every(epochs: int) -> When:
    """True at each epoch that `epochs` divides; never for 0."""
    return lambda epoch: epochs > 0 and epoch % epochs == 0


class Observed(Protocol):
    """The part of a member that an observer reads.

    Args:
        folder: where the run writes.
        history: its epochs so far.
        status: how it ended; None while it trains and after an error.
        observers: all its observers.
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

    `when` decides at which epochs `epoch_end` is called; `watches_updates` turns on the two hooks around every update,
    and `watched` chooses some of them.
    Draw no random numbers, and do not change weights, buffers, modes or gradients.
    """

    when: When = staticmethod(every(1))
    watches_updates = False
    alone = False
    """Whether its run cannot be trained together with others: it uses something that exists once in a process."""

    @property
    def charts(self) -> Charts:
        """The charts of its scalars in TensorBoard's custom-scalars tab, asked for after the first epoch."""
        return {}

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """Called once before the first update, also after a resume; stores what the hooks may read."""
        self.member, self.number, self.program, self.position = member, number, program, position

    def watched(self, first: int, last: int) -> Iterable[int]:
        """Return the updates from `first` to `last` around which it is called, before they are done."""
        return range(first, last + 1) if self.watches_updates else ()

    def before_update(self, step: int) -> None:
        """Called before update `step` + 1."""

    def after_update(self, step: int) -> None:
        """Called after update `step`; the parameters' `grad` is still the one that it used."""

    def epoch_end(self, row: dict[str, float]) -> None:
        """Called with the metrics of the epoch that just ended; numbers that it adds are columns of `metrics.csv`."""

    def before_checkpoint(self) -> None:
        """Called before the checkpoint is written, after each epoch or, in a stack, every few seconds.

        A run that is resumed from that checkpoint finds its files as they are now.
        """

    def tables(self) -> Mapping[str, tuple[int, int]]:
        """Return the digests of the tables that it has written, which the checkpoint keeps; see `run.table_digest`.

        A resumed run then notices whether they are damaged.
        """
        return {}

    def copies(self) -> Mapping[str, Tensor]:
        """Return compressed copies of tables whose rows the checkpoint does not have otherwise; see `run.TableCopy`."""
        return {}

    def scored(self, epoch: int) -> None:
        """Called once after a run that ended without an error, with the weights that are tested: those of this epoch.

        It is the best epoch, or the last one if the weights of the best one cannot be read any more; its step if rows
        are periods of steps, see `Position.mark`.
        """

    def close(self) -> None:
        """Called once when training has ended; `member.status` says how, and is None after an error."""
