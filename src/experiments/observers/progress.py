"""A progress bar on a terminal; one line per epoch in other outputs and in the log."""

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
    """Shows the epoch, loss, accuracy, examples per second and the remaining time.

    Args:
        screen: the screen of the run.
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
        """Show the epoch so far, a few times per second; the code waits for the device only then."""
        now = time.perf_counter()
        if self.bar is None or now - self.shown_at < REFRESH_SECONDS:
            return
        position = self.position
        own = position.row(self.number)
        loss = position.losses[: position.batch, own].mean().item()
        examples = min(position.batch * position.plan.batch_size, position.plan.examples)
        speed = (step - self.shown_step) * position.plan.batch_size / (now - self.shown_at)
        self._advance(position.epoch + 1, loss, position.correct[own].item() / examples, speed)
        self.shown_at, self.shown_step = now, step

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        position = self.position
        speed = position.examples_per_second
        metrics = f"loss {row['train/loss']:.4f}  accuracy {row['train/accuracy']:.4f}"
        if "val/loss" in row:
            metrics += f"  val loss {row['val/loss']:.4f}  val accuracy {row['val/accuracy']:.4f}"
            self.validation = f"val {row['val/accuracy']:.4f}  "
        width = len(str(position.plan.epochs))
        line = f"epoch {position.epoch:{width}}/{position.plan.epochs}  {metrics}  {speed:,.0f} examples/s"
        if self.bar is None:
            self.screen.print(line)
            return
        self.screen.log(line)
        self._advance(position.epoch, row["train/loss"], row["train/accuracy"], speed)

    def _advance(self, epoch: int, loss: float, accuracy: float, speed: float) -> None:
        """Advance the bar; with the text next to it, it fits into 80 columns."""
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
