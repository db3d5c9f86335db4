"""The facts of a run that the verdicts are based on."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from experiments.folders.run import LayerRow, Row

from ._tail import Tail, tail_of
from ._thresholds import FEWEST_EPOCHS, at

MEANS = ("numbers", "inputs")
"""The forms of targets of which a model that knows nothing predicts the mean."""
COMMAND = "python -m experiments."
"""The beginning of a command among the advice."""


@dataclass(frozen=True)
class Reference:
    """The scores of models that need no tuning, on the same split; see `checks.reference`.

    Args:
        scores: by the name of the model.
        chance: the score of a model that knows nothing, on the same examples.
        error: the standard error of the best score.
        examples: the number of examples that are scored.
    """

    scores: Mapping[str, float]
    chance: float
    error: float
    examples: int

    @property
    def best(self) -> str:
        """The name of the best one."""
        return max(self.scores, key=lambda name: self.scores[name])

    @property
    def score(self) -> float:
        """The score of the best one."""
        return self.scores[self.best]


@dataclass(frozen=True)
class Reading:
    """How the examples of a run were read while it trained.

    Args:
        waited: the seconds for which updates have waited for examples; see `data.streamed`.
        share: of the time of these updates.
        workers: processes that have read; 0 if the training process has.
        cores: on which this machine may run processes.
        fits: whether all examples would fit into memory.
    """

    waited: float
    share: float
    workers: int
    cores: int
    fits: bool


@dataclass(frozen=True)
class Story:
    """The facts of a run that verdicts are based on.

    Args:
        history: the metrics of each epoch.
        layers: the rows of `layers.csv`; empty if the observer was off.
        status: how the run ended.
        chance: the loss of equal scores, or of predicting the mean.
        class_counts: examples of each class in the training split; their number if the targets are no classes.
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
        doubts: sentences about what may be a mistake in the model.
        unused: the parameters that get no gradient, of whose updates nothing is said.
        pictures: whether the examples are pictures.
        kind: the form of the targets, see `tasks.base`.
        score: the name of the metric that is measured in training too, which should rise.
        baseline: the score of a model that knows nothing; None for the share of the most common class.
        residuals: facts about the errors of a regression on new examples, see `tasks.residuals`.
        ratios: whether ratios of losses say something, see `tasks.base`.
        command: the words of the run's command line, without the verb.
        resuming: the words of the command line that continues the run; empty if it cannot be continued.
        settings: the run's configuration, with dotted keys.
        planned_steps: the updates that were planned.
        reference: returns the scores of simple models, which takes a second; None if there is no validation split.
        reading: how the examples were read in training; None if they were in memory.
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
    doubts: Sequence[str] = ()
    unused: Sequence[str] = ()
    command: Sequence[str] = ()
    resuming: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    planned_steps: int = 0
    pictures: bool = False
    kind: str = "classes"
    score: str = "accuracy"
    baseline: float | None = None
    residuals: Mapping[str, float] = field(default_factory=dict)
    ratios: bool = True
    reference: Callable[[], Reference | None] | None = None
    reading: Reading | None = None

    @property
    def noun(self) -> str:
        """The name of the score in a sentence."""
        return {"r2": "R^2"}.get(self.score, self.score)

    @property
    def ignorance(self) -> str:
        """The end of a phrase about the loss of a model that knows nothing."""
        return "if the mean is always predicted" if self.kind in MEANS else "with equal scores"

    @cached_property
    def train_score(self) -> float:
        """The score of the training split in the last epoch."""
        return self.last[f"train/{self.score}"]

    @cached_property
    def val_score(self) -> float | None:
        """The score of the validation split in the last epoch; None if it was not measured."""
        return self.last.get(f"val/{self.score}")

    @cached_property
    def scores(self) -> str:
        """The scores of both splits as a phrase."""
        shown = f"training {self.noun} {self.train_score:.3f}"
        return shown if self.val_score is None else f"{shown}, validation {self.noun} {self.val_score:.3f}"

    def check(self, purpose: str, *words: str) -> str:
        """Return what a check of the run's configuration does, a colon and its command."""
        return f"a check that {purpose}: {COMMAND}{shlex.join(['check', *self.command, *words])}"

    @cached_property
    def examples(self) -> int:
        """The number of examples in the training split."""
        return sum(self.class_counts)

    @cached_property
    def majority(self) -> float:
        """The score of a model that knows nothing, such as the accuracy of always answering the most common class."""
        return self.baseline if self.baseline is not None else max(self.class_counts) / max(self.examples, 1)

    @cached_property
    def last(self) -> Row:
        """The last epoch's metrics."""
        return self.history[-1]

    @cached_property
    def losses(self) -> list[float]:
        """The training losses, including the penalty."""
        return [row["train/loss"] + row.get("train/penalty", 0.0) for row in self.history]

    @cached_property
    def val_losses(self) -> list[float]:
        """The validation losses of the epochs that have one."""
        return [row["val/loss"] for row in self.history if "val/loss" in row]

    @cached_property
    def monitored(self) -> list[float]:
        """The validation losses, or else the training losses without the penalty."""
        return [row.get("val/loss", row["train/loss"]) for row in self.history]

    @cached_property
    def initial_loss(self) -> float | None:
        """The loss on the probe before training, if it was recorded."""
        return next((row.value for row in self.layers if row.quantity == "loss" and row.step == 0), None)

    @cached_property
    def probe_losses(self) -> dict[int, float]:
        """The loss on the probe, a fixed batch of training examples, before training (0) and after epochs."""
        return self.ends("loss").get("model", {})

    @cached_property
    def tail(self) -> Tail | None:
        """The trend of the training loss at the end."""
        return tail_of(self.losses)

    @cached_property
    def monitored_tail(self) -> Tail | None:
        """The trend of the validation loss at the end, or else of the training loss."""
        return tail_of(self.monitored)

    @cached_property
    def ahead(self) -> int:
        """The epochs over which trends are extended: half of those so far."""
        return max(1, len(self.losses) // 2)

    @cached_property
    def dropout(self) -> float:
        """The strongest Dropout."""
        found = [key.partition("=")[2] for key in self.regularization if "dropout" in key.partition("=")[0]]
        return max((float(value) for value in found), default=0.0)

    def noise(self, examples: int) -> float:
        """Return two standard errors of a mean loss, relative to it, if losses spread as widely as they are large."""
        return 2 / math.sqrt(max(examples, 1))

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
        wanted = {f"{layer}.weight" for layer in self.ends("twins")}.difference(self.unused)
        return {name: list(found.values()) for name, found in self.ends("update_ratio").items() if name in wanted}

    @cached_property
    def fall(self) -> float:
        """The share by which the training loss fell over the last quarter of the epochs."""
        quarter = max(1, len(self.losses) // 4)
        before = self.losses[-1 - quarter] if len(self.losses) > quarter else self.losses[0]
        return 1 - self.losses[-1] / before if before > 0 else 0.0

    @cached_property
    def skill(self) -> float:
        """The share of the way from the score of a model that knows nothing to 1, of the better split.

        Dropout lowers the training score, so the validation score may be the better one.
        """
        score = max(self.train_score, 0.0 if self.val_score is None else self.val_score)
        return (score - self.majority) / max(1 - self.majority, 1e-9)

    @cached_property
    def gap(self) -> float:
        """The training score minus the validation score at the end."""
        return 0.0 if self.val_score is None else self.train_score - self.val_score

    @cached_property
    def gap_error(self) -> float:
        """The standard error of the validation score: of a share, or of R^2 with Gaussian errors."""
        score, count = 1.0 if self.val_score is None else self.val_score, max(self.val_examples, 1)
        if self.kind in MEANS:
            return abs(1 - score) * math.sqrt(2 / count)
        return math.sqrt(score * (1 - score) / count)

    def has_worsened(self, epoch: int) -> bool:
        """Return whether the validation score has clearly become worse since an epoch; if it is the loss, it has."""
        before = self.history[epoch - 1].get(f"val/{self.score}")
        if self.kind in MEANS or before is None or self.val_score is None:
            return True
        return before - self.val_score > at("errors") * self.gap_error

    @cached_property
    def settled(self) -> bool:
        """Whether the training loss is so low that its changes mean nothing."""
        return bool(self.history) and self.losses[-1] < at("settled_loss") * self.chance

    @cached_property
    def long_enough(self) -> bool:
        """Whether there are enough epochs to judge the curves."""
        return len(self.history) >= FEWEST_EPOCHS
