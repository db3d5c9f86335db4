"""A progress bar on a terminal, a line an epoch elsewhere and in the log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.common.screen import Screen
from experiments.training.observer import Observer

if TYPE_CHECKING:
    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Program

REFRESH_SECONDS = 0.25


class ProgressBar(Observer):
    """Shows the epoch, loss, accuracy, examples per second and the time left.

    Args:
        screen: where to print.
    """

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.shows = screen.terminal.is_terminal and not screen.terminal.quiet
        self.watches_updates = self.shows
        self.bar: Progress | None = None

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`."""
        super().start(member, number, program, position)
        self.shown_at = time.perf_counter()
        self.shown_step = position.step
        self.validation = ""
        if self.shows and position.plan.total_steps:
            columns = (
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=10),
                TextColumn("{task.fields[metrics]}"),
                TimeRemainingColumn(compact=True),
            )
            self.bar = Progress(*columns, console=self.screen.terminal, refresh_per_second=4)
            self.task = self.bar.add_task(
                "", total=position.plan.total_steps, completed=position.step, epoch="", metrics=""
            )
            self.bar.start()

    def after_update(self, step: int) -> None:
        """Show the epoch so far, a few times a second: only then is the device waited for."""
        now = time.perf_counter()
        if self.bar is None or now - self.shown_at < REFRESH_SECONDS:
            return
        place = self.position
        own = place.row(self.number)
        loss = place.losses[: place.batch, own].mean().item()
        seen = min(place.batch * place.plan.batch_size, place.plan.examples)
        speed = (step - self.shown_step) * place.plan.batch_size / (now - self.shown_at)
        self._advance(place.epoch + 1, loss, place.correct[own].item() / seen, speed)
        self.shown_at, self.shown_step = now, step

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        place = self.position
        speed = place.examples_per_second
        metrics = f"loss {row['train/loss']:.4f}  accuracy {row['train/accuracy']:.4f}"
        if "val/loss" in row:
            metrics += f"  val loss {row['val/loss']:.4f}  val accuracy {row['val/accuracy']:.4f}"
            self.validation = f"val {row['val/accuracy']:.4f}  "
        width = len(str(place.plan.epochs))
        line = f"epoch {place.epoch:{width}}/{place.plan.epochs}  {metrics}  {speed:,.0f} examples/s"
        if self.bar is None:
            self.screen.print(line)
            return
        self.screen.log(line)
        self._advance(place.epoch, row["train/loss"], row["train/accuracy"], speed)

    def _advance(self, epoch: int, loss: float, accuracy: float, speed: float) -> None:
        """Move the bar; what stands beside it fits into 80 columns."""
        assert self.bar is not None
        self.bar.update(
            self.task,
            completed=self.position.step,
            epoch=f"{epoch}/{self.position.plan.epochs}",
            metrics=f"loss {loss:.4f}  acc {accuracy:.4f}  {self.validation}{speed:,.0f} ex/s",
        )

    def close(self) -> None:
        """See `Observer.close`."""
        if self.bar is not None:
            self.bar.stop()
