"""A progress bar on a terminal, a line an epoch elsewhere and in the log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.screen import Screen

from .base import Observer

if TYPE_CHECKING:
    from experiments.engine import Member, Position
    from experiments.program import Program

REFRESH_SECONDS = 0.25


class ProgressBar(Observer):
    """Shows the epoch, loss, accuracy, examples per second and the time left.

    Args:
        screen: where to print.
    """

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.watches_updates = screen.terminal.is_terminal
        self.bar: Progress | None = None

    def start(self, member: Member, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`."""
        super().start(member, number, program, position)
        self.shown_at = time.perf_counter()
        self.shown_step = position.step
        self.epoch_began = (position.training_seconds, position.trained_examples)
        self.validation = ""
        if self.screen.terminal.is_terminal and position.plan.total_steps:
            columns = (
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                TextColumn("{task.fields[metrics]}"),
                TimeRemainingColumn(),
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
        loss = place.losses[: place.batch, self.number].mean().item()
        accuracy = place.correct[self.number].item() / min(place.batch * place.plan.batch_size, place.plan.examples)
        rate = (step - self.shown_step) * place.plan.batch_size / (now - self.shown_at)
        self.bar.update(
            self.task,
            completed=step,
            epoch=f"{place.epoch + 1}/{place.plan.epochs}",
            metrics=f"loss {loss:.4f}  accuracy {accuracy:.4f}  {self.validation}{rate:,.0f} examples/s",
        )
        self.shown_at, self.shown_step = now, step

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        place = self.position
        seconds = place.training_seconds - self.epoch_began[0]
        examples = place.trained_examples - self.epoch_began[1]
        self.epoch_began = (place.training_seconds, place.trained_examples)
        self.validation = f"val accuracy {row['val/accuracy']:.4f}  " if "val/accuracy" in row else ""
        metrics = f"loss {row['train/loss']:.4f}  accuracy {row['train/accuracy']:.4f}"
        if "val/loss" in row:
            metrics += f"  val loss {row['val/loss']:.4f}  val accuracy {row['val/accuracy']:.4f}"
        width = len(str(place.plan.epochs))
        speed = f"{examples / max(seconds, 1e-9):,.0f} examples/s"
        line = f"epoch {place.epoch:{width}}/{place.plan.epochs}  {metrics}  {speed}"
        if self.bar is None:
            self.screen.print(line)
            return
        self.screen.log(line)
        self.bar.update(
            self.task,
            completed=place.step,
            epoch=f"{place.epoch}/{place.plan.epochs}",
            metrics=f"{metrics}  {speed}",
        )

    def close(self) -> None:
        """See `Observer.close`."""
        if self.bar is not None:
            self.bar.stop()
