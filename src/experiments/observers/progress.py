"""A progress bar on a terminal, below lines about epochs; one line per epoch in other outputs and in the log."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.common.screen import Screen
from experiments.training.observer import Observer

if TYPE_CHECKING:
    from experiments.training.observer import Observed
    from experiments.training.position import Position
    from experiments.training.program import Program

REFRESH_SECONDS = 0.25
MOST_LINES = 25
"""The lines about epochs that a run leaves on a terminal, except for the first and the last epoch."""
NARROW = 60
"""A terminal with fewer columns has a shorter bar."""
REMAINING = len(" 0:00:00")
"""The columns of the remaining time."""


class ProgressBar(Observer):
    """Shows the epoch, loss, accuracy, examples per second and the remaining time.

    On a terminal that can move its cursor it is a bar, and epochs leave lines above it: every epoch, or every 2nd, 5th,
    10th, ... of a long run, so that at most `MOST_LINES` remain, with the first and the last one.

    Args:
        screen: the screen of the run.
    """

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        terminal = screen.terminal
        self.shows = terminal.is_terminal and not terminal.is_dumb_terminal and not terminal.quiet
        self.watches_updates = self.shows
        self.bar: Progress | None = None

    def start(self, member: Observed, number: int, program: Program, position: Position) -> None:
        """See `Observer.start`."""
        super().start(member, number, program, position)
        self.shown_at = time.perf_counter()
        self.shown_step = position.step
        self.validation: list[str] = []
        self.unshown: EpochLine | None = None
        self.every = line_interval(position.epochs)
        self.unit = "epoch" if position.plan.validate_steps is None else "step"
        if self.shows and position.plan.total_steps:
            columns = (
                TextColumn(f"{self.unit} {{task.fields[epoch]}}"),
                BarColumn(bar_width=self._bar_width()),
                TextColumn("{task.fields[metrics]}"),
                TimeRemainingColumn(compact=True),
            )
            self.bar = Progress(*columns, console=self.screen.terminal, refresh_per_second=4, transient=True)
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
        plan, done = position.plan, position.batch
        examples = int(plan.batch_sizes((position.offset - done) % plan.steps_per_epoch, done).sum())
        speed = (step - self.shown_step) * position.plan.batch_size / (now - self.shown_at)
        now_in = position.epoch + 1 if plan.validate_steps is None else step
        self._advance(now_in, loss, self.program.running_value(position.score[own].item() / examples), speed)
        self.shown_at, self.shown_step = now, step

    def epoch_end(self, row: dict[str, float]) -> None:
        """See `Observer.epoch_end`."""
        position = self.position
        line = EpochLine(position.mark, position.marks, row, position.examples_per_second, self.unit)
        if f"val/{self.program.running}" in row:
            self.validation = [f"val {row[f'val/{self.program.running}']:.4f}"]
        if not self.screen.terminal.is_terminal:
            self.screen.print(line.whole)
            return
        self.screen.log(line.whole)
        self.unshown = line
        if self.bar is None:
            self._leave_line()  # of every epoch: this terminal has no bar
            return
        if position.epoch in (1, position.epochs) or position.epoch % self.every == 0:
            self._leave_line()
        self._advance(position.mark, row["train/loss"], row[f"train/{self.program.running}"], line.speed)

    def _leave_line(self) -> None:
        """Print the line of the newest epoch above the bar, if that was not done."""
        if self.unshown is not None:
            self.screen.terminal.print(self.unshown.within(self.screen.terminal.width), no_wrap=True)
        self.unshown = None

    def _advance(self, epoch: int, loss: float, value: float, speed: float) -> None:
        """Advance the bar; with the text next to it, it fits into the terminal.

        Args:
            epoch: its number, or that of the step if rows are periods of steps.
            loss: of the training batches.
            value: of the metric of training batches.
            speed: examples per second.
        """
        assert self.bar is not None
        done = f"{epoch}/{self.position.marks}"
        columns = self.screen.terminal.width - len(f"{self.unit} {done} ") - self._bar_width() - 1 - REMAINING
        parts = [
            (f"loss {loss:.4f}", 0),
            (f"{short(self.program.running)} {value:.4f}", 2),
            *((text, 1) for text in self.validation),
            (f"{speed:,.0f} ex/s", 3),
        ]
        self.bar.update(self.task, completed=self.position.step, epoch=done, metrics=fitting(parts, columns))

    def _bar_width(self) -> int:
        """Return the columns of the bar itself."""
        return 10 if self.screen.terminal.width >= NARROW else 3

    def close(self) -> None:
        """See `Observer.close`."""
        if self.bar is not None:
            self._leave_line()  # of the last epoch of a run that ended early
            self.bar.stop()


@dataclass(frozen=True)
class EpochLine:
    """The line of an epoch.

    Args:
        epoch, epochs: its number, and how many there are; of steps if rows are periods of steps.
        row: its metrics.
        speed: examples per second.
        unit: of the numbers.
    """

    epoch: int
    epochs: int
    row: Mapping[str, float]
    speed: float
    unit: str = "epoch"

    @property
    def whole(self) -> str:
        """The line for the log."""
        metrics = [f"{spoken(name)} {value:.4f}" for name, value in self.metrics.items()]
        return "  ".join([self.start, *metrics, f"{self.speed:,.0f} examples/s"])

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the training and the validation split, without the numbers that observers have added."""
        return {name: value for name, value in self.row.items() if name.startswith(("train/", "val/"))}

    @property
    def start(self) -> str:
        """Its first words."""
        return f"{self.unit} {self.epoch:{len(str(self.epochs))}}/{self.epochs}"

    def within(self, columns: int) -> str:
        """Return the line for a terminal: if the terminal is narrow, with shorter words and the main metrics only."""
        if len(self.whole) <= columns:
            return self.whole
        parts = [(f"{short(name)} {value:.4f}", importance(name)) for name, value in self.metrics.items()]
        return fitting([(self.start, 0), *parts, (f"{self.speed:,.0f} ex/s", LEAST)], columns)


LEAST = 9
"""The rank of what a narrow line leaves out first."""


def line_interval(epochs: int) -> int:
    """Return the number of epochs between two lines: 1, 2, 5, 10, 20, 50, ..., so that `MOST_LINES` are enough."""
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    return next(step for step in steps if epochs <= step * MOST_LINES)


def spoken(metric: str) -> str:
    """Return the name of a metric in a line: 'loss', 'val accuracy'."""
    return metric.removeprefix("train/").replace("/", " ")


def short(metric: str) -> str:
    """Return the name of a metric in a narrow line: 'loss', 'val acc'."""
    return spoken(metric).replace("accuracy", "acc")


def importance(metric: str) -> int:
    """Return the rank of a metric in a narrow line, in which those with the largest ranks are left out."""
    split, _, name = metric.partition("/")
    order = {("train", True): 1, ("val", False): 2, ("val", True): 3, ("train", False): 4}
    return order.get((split, name == "loss"), LEAST)


def fitting(parts: Sequence[tuple[str, int]], columns: int) -> str:
    """Return parts of a line in their order, as many as fit, by their ranks; the first in rank is always there."""
    kept = list(range(len(parts)))

    def line() -> str:
        return "  ".join(parts[index][0] for index in kept)

    for index in sorted(kept, key=lambda index: (parts[index][1], index))[:0:-1]:
        if len(line()) <= columns:
            break
        kept.remove(index)
    return line()
