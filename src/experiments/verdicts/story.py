"""The facts of a run that the verdicts are based on."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from experiments.folders.run import LayerRow, Row

from ._thresholds import FEWEST_EPOCHS, at


@dataclass(frozen=True)
class Story:
    """The facts of a run that verdicts are based on.

    Args:
        history: the metrics of each epoch.
        layers: the rows of `layers.csv`; empty if the observer was off.
        status: how the run ended.
        chance: the loss of equal scores.
        class_counts: examples of each class in the training split.
        batch_size: examples per update.
        parameters: the number of trained ones.
        rate: the learning rate before any schedule.
        val_examples: the number of examples in the validation split.
        regularization: the configuration's keys that regularise, with their values.
        whole_batch: whether the optimizer takes the whole training split by design.
        weighted: whether the loss weights compensate for imbalanced classes.
        diverged_at: the step at which the loss was not finite.
        questions: sentences about what may be a mistake in the data.
        faults: sentences about inputs from which nothing can be learnt.
        command: the words of the run's command line, without the verb.
    """

    history: Sequence[Row]
    layers: Sequence[LayerRow]
    status: str
    chance: float
    class_counts: Sequence[int]
    batch_size: int
    parameters: int
    rate: float
    val_examples: int = 0
    regularization: Sequence[str] = ()
    whole_batch: bool = False
    weighted: bool = False
    diverged_at: int | None = None
    questions: Sequence[str] = ()
    faults: Sequence[str] = ()
    command: Sequence[str] = ()

    def check(self, purpose: str, *words: str) -> str:
        """Return the command that checks the run's configuration, with its purpose as a comment of the shell."""
        return f"{shlex.join(['python', '-m', 'experiments.check', *self.command, *words])}  # {purpose}"

    @cached_property
    def examples(self) -> int:
        """The number of examples in the training split."""
        return sum(self.class_counts)

    @cached_property
    def majority(self) -> float:
        """The accuracy of always answering the most common class."""
        return max(self.class_counts) / max(self.examples, 1)

    @cached_property
    def last(self) -> Row:
        """The last epoch's metrics."""
        return self.history[-1]

    @cached_property
    def losses(self) -> list[float]:
        """The training losses, including the penalty."""
        return [row["train/loss"] + row.get("train/penalty", 0.0) for row in self.history]

    @cached_property
    def monitored(self) -> list[float]:
        """The validation losses, or else the training losses without the penalty."""
        return [row.get("val/loss", row["train/loss"]) for row in self.history]

    @cached_property
    def initial_loss(self) -> float | None:
        """The loss on the probe before training, if it was recorded."""
        return next((row.value for row in self.layers if row.quantity == "loss" and row.step == 0), None)

    @cached_property
    def first(self) -> float:
        """The larger of the training and validation loss after one epoch; with Dropout, the validation loss."""
        noisy = any("dropout" in key for key in self.regularization)
        return self.monitored[0] if noisy else max(self.monitored[0], self.history[0]["train/loss"])

    def ends(self, quantity: str) -> dict[str, dict[int, float]]:
        """Return a quantity at the end of each epoch, by layer."""
        by_layer: dict[str, dict[int, float]] = {}
        for row in self.layers:
            if row.quantity == quantity:
                by_layer.setdefault(row.layer, {})[row.epoch] = row.value
        return by_layer

    @cached_property
    def weight_ratios(self) -> dict[str, list[float]]:
        """The update : weight ratios of the linear and convolutional layers' weights, per epoch.

        Empty for an optimizer with a line search, which chooses the size of its steps.
        """
        if self.whole_batch:
            return {}
        wanted = {f"{layer}.weight" for layer in self.ends("twins")}
        return {name: list(found.values()) for name, found in self.ends("update_ratio").items() if name in wanted}

    @cached_property
    def fall(self) -> float:
        """The share by which the training loss fell over the last quarter of the epochs."""
        quarter = max(1, len(self.losses) // 4)
        before = self.losses[-1 - quarter] if len(self.losses) > quarter else self.losses[0]
        return 1 - self.losses[-1] / before if before > 0 else 0.0

    @cached_property
    def skill(self) -> float:
        """The share of the way from the accuracy of the most common class to 1, of the better split.

        Dropout lowers the training accuracy, so the validation accuracy may be the better one.
        """
        accuracy = max(self.last["train/accuracy"], self.last.get("val/accuracy", 0.0))
        return (accuracy - self.majority) / max(1 - self.majority, 1e-9)

    @cached_property
    def gap(self) -> float:
        """The training accuracy minus the validation accuracy at the end."""
        return self.last["train/accuracy"] - self.last.get("val/accuracy", self.last["train/accuracy"])

    @cached_property
    def gap_error(self) -> float:
        """The standard error of the validation accuracy."""
        accuracy = self.last.get("val/accuracy", 1.0)
        return math.sqrt(accuracy * (1 - accuracy) / max(self.val_examples, 1))

    @cached_property
    def settled(self) -> bool:
        """Whether the training loss is so low that its changes mean nothing."""
        return bool(self.history) and self.losses[-1] < at("settled_loss") * self.chance

    @cached_property
    def long_enough(self) -> bool:
        """Whether there are enough epochs to judge the curves."""
        return len(self.history) >= FEWEST_EPOCHS
