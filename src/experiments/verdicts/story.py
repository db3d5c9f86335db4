"""What the verdicts are told of a run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from experiments.folders.run import LayerRow, Row

from ._thresholds import FEWEST_EPOCHS, at


@dataclass(frozen=True)
class Story:
    """What verdicts are given on.

    Args:
        history: the epochs' metrics.
        layers: the rows of `layers.csv`; none where the observer was off.
        status: how the run ended.
        chance: the loss of equal scores.
        class_counts: examples of each class in the training split.
        batch_size: examples an update.
        parameters: trained ones.
        rate: the learning rate before its schedule.
        val_examples: in the validation split.
        regularization: the configuration's keys that hold the network back, with their values.
        whole_batch: whether the optimizer takes the whole training split by design.
        weighted: whether the loss makes up for uneven classes.
        diverged_at: the step whose loss was not finite.
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

    @cached_property
    def examples(self) -> int:
        """In the training split."""
        return sum(self.class_counts)

    @cached_property
    def majority(self) -> float:
        """The accuracy of always giving the commonest class."""
        return max(self.class_counts) / max(self.examples, 1)

    @cached_property
    def last(self) -> Row:
        """The last epoch's metrics."""
        return self.history[-1]

    @cached_property
    def losses(self) -> list[float]:
        """The training losses, with the penalty."""
        return [row["train/loss"] + row.get("train/penalty", 0.0) for row in self.history]

    @cached_property
    def watched(self) -> list[float]:
        """The losses without Dropout and penalty: of the validation split, or else of the training split."""
        return [row.get("val/loss", row["train/loss"]) for row in self.history]

    @cached_property
    def initial_loss(self) -> float | None:
        """The loss on the probe before training."""
        return next((row.value for row in self.layers if row.quantity == "loss" and row.step == 0), None)

    @cached_property
    def first(self) -> float:
        """The loss of the first epoch: the larger one of training and validation, where no Dropout adds to it."""
        noisy = any("dropout" in key for key in self.regularization)
        return self.watched[0] if noisy else max(self.watched[0], self.history[0]["train/loss"])

    def ends(self, quantity: str) -> dict[str, dict[int, float]]:
        """Return a quantity at the end of each epoch, by layer."""
        found: dict[str, dict[int, float]] = {}
        for row in self.layers:
            if row.quantity == quantity:
                found.setdefault(row.layer, {})[row.epoch] = row.value
        return found

    @cached_property
    def weight_ratios(self) -> dict[str, list[float]]:
        """The update : weight ratios of the linear and convolutional layers' weights, epoch by epoch.

        None for an optimizer that searches along a line: it takes as large a step as does good.
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
        """How far accuracy is on the way from the commonest class to no error: of training, which Dropout lowers, or
        of validation."""
        accuracy = max(self.last["train/accuracy"], self.last.get("val/accuracy", 0.0))
        return (accuracy - self.majority) / max(1 - self.majority, 1e-9)

    @cached_property
    def gap(self) -> float:
        """Training accuracy above validation accuracy, at the end."""
        return self.last["train/accuracy"] - self.last.get("val/accuracy", self.last["train/accuracy"])

    @cached_property
    def gap_error(self) -> float:
        """The standard error of the validation accuracy, from its few examples."""
        accuracy = self.last.get("val/accuracy", 1.0)
        return math.sqrt(accuracy * (1 - accuracy) / max(self.val_examples, 1))

    @cached_property
    def settled(self) -> bool:
        """Whether the training loss has come so far down that its changes mean nothing."""
        return bool(self.history) and self.losses[-1] < at("settled_loss") * self.chance

    @cached_property
    def long_enough(self) -> bool:
        """Whether the curves can be judged."""
        return len(self.history) >= FEWEST_EPOCHS
