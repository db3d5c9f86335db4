"""The base class of tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from experiments.data.batches import Split
from experiments.data.forms import TargetForm
from experiments.losses import Loss

from .metrics import Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Form = TargetForm
"""The form of targets, see `data.forms`."""


MOST_NAMES = 5
"""The names of targets that `Task.summary` has."""


class Task:
    """What is learnt: everything that depends on the form of the targets.

    A task is fitted to the training targets once. Then `encode` gives the targets that training compares scores with,
    and `answer` turns scores into what a user reads. Derive a class and name it with `task._target_`; override what
    differs. Scores and encoded targets may have leading axes for the members of a stack in `score`.

    Attributes:
        name: in messages.
        form: of the targets that it learns.
        loss: the dotted path of the loss of `loss=auto`.
        losses: names of our losses that fit, for messages; other losses are tried.
        metrics: those of `metrics=auto`; the first is the running metric, which is also measured in training.
        measures: every metric that fits, by name.
        objective: the metric of the validation split that decides which epoch is best, without the split.
        answers: what answers are called, and the name of an exported program's output.
        about_answers: what an exported program returns.
        unit, shift: the size of 1 and the value of 0 in the user's units, of each target; None if they are not scaled.
        names: of the classes, labels or targets, set by `fit`.
    """

    name: ClassVar[str] = "task"
    form: ClassVar[Form] = "numbers"
    loss: ClassVar[str] = "experiments.losses.mse"
    losses: ClassVar[Sequence[str]] = ()
    metrics: ClassVar[Sequence[str]] = ()
    measures: ClassVar[Mapping[str, Measure]] = {}
    objective: ClassVar[str] = "loss"
    answers: ClassVar[str] = "answers"
    about_answers: ClassVar[str] = "the answers"
    stratified: ClassVar[bool] = False
    of_inputs: ClassVar[bool] = False
    """Whether the targets are the inputs."""
    ignorance: ClassVar[str] = "with equal scores"
    """How a model that knows nothing reaches the loss of `chance`."""
    memorized: ClassVar[float] = 0.01
    """The share of the loss of `chance` that a network which has memorized a few examples may have left."""

    score_type: ClassVar[torch.dtype] = torch.float64
    """Of sums of `score`."""
    unit: Tensor | None = None
    shift: Tensor | None = None
    names: tuple[str, ...] = ()
    ratios: bool = True
    """Whether a loss is at least 0, so that ratios of losses say something; those of likelihoods do not."""
    per_target: int = 1
    """Outputs of the model for each name; `use` sets it."""

    def use(self, loss: Loss) -> None:
        """Adapt to the loss of the run, before `fit`."""

    def fit(self, names: Sequence[str], y: Tensor) -> None:
        """Fit to the training targets.

        Args:
            names: of the classes, labels or targets.
            y: (examples,) or (examples, targets), in the user's units.
        """
        del y
        self.names = tuple(map(str, names))

    def state_dict(self) -> dict[str, list[float]]:
        """Return what `fit` has found, for `data.json`."""
        return {}

    def load(self, names: Sequence[str], state: Mapping[str, Sequence[float]]) -> None:
        """Restore what `fit` has found.

        Args:
            names: see `fit`.
            state: see `state_dict`.
        """
        del state
        self.names = tuple(map(str, names))

    @property
    def outputs(self) -> int:
        """The number of scores of an example, or of each position of a sequence."""
        return len(self.names) * self.per_target

    def score_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the scores of an example whose inputs have a shape."""
        del input_shape
        return (self.outputs,)

    def answer_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the answer for an example whose inputs have a shape."""
        del input_shape
        return (len(self.names),)

    @property
    def summary(self) -> str:
        """What is learnt, for people: '10 classes', 'regression of weight and pulse'."""
        listed = ", ".join(self.names[:MOST_NAMES]) + (", ..." if len(self.names) > MOST_NAMES else "")
        return f"{self.name} of {listed}"

    def separated(self, scores: Tensor) -> tuple[Tensor, Tensor | None]:
        """Divide a model's scores into those of the task and further terms of the loss, (..., batch, terms), or None.

        Args:
            scores: (..., batch, outputs + terms).
        """
        return scores, None

    def encode(self, y: Tensor) -> Tensor:
        """Return the targets that training uses.

        Args:
            y: see `fit`.
        """
        return y

    def decode(self, y: Tensor) -> Tensor:
        """Return encoded targets in the user's units, in float64 unless they are class numbers.

        Args:
            y: encoded, (examples,) or (examples, targets).
        """
        return y

    def strata(self, y: Tensor) -> Tensor:
        """Return a whole number for each example, (examples,); every split has the numbers in the same proportions.

        Args:
            y: see `fit`.
        """
        return torch.zeros(len(y), dtype=torch.int64)

    def answer(self, scores: Tensor) -> Tensor:
        """Return what a user reads, (examples, ...) in float64.

        Args:
            scores: (examples, outputs).
        """
        return scores.double()

    def exported(self, scores: Tensor) -> Tensor:
        """Return the answers of an exported program, in the type of the scores.

        Args:
            scores: (examples, outputs).
        """
        return self.answer(scores).to(scores.dtype)

    @property
    def answer_size(self) -> float:
        """The size of a typical answer, by which differences between answers are divided."""
        return 1.0

    def score(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return each example's part of the running metric, of shape (..., batch).

        Args:
            scores: (..., batch, outputs).
            targets: encoded, or mixed by an augmentation.

        Raises:
            NotImplementedError: the task does not override it.
        """
        raise NotImplementedError

    def running(self, mean: float) -> float:
        """Return the running metric of a mean of `score`."""
        return mean

    def baseline(self, targets: Tensor) -> float | None:
        """Return the running metric of a model that knows nothing; None for the share of the most common class.

        Args:
            targets: (examples, ...), encoded, of the training split.
        """
        del targets
        return 0.0

    def residuals(self, scores: Tensor, targets: Tensor) -> dict[str, float]:
        """Return facts about the errors, which verdicts are based on; empty if there are none.

        Args:
            scores: (examples, outputs).
            targets: (examples, ...), encoded.
        """
        del scores, targets
        return {}

    def facts(self, train: Split, new: Split, scores: Tensor) -> dict[str, float]:
        """Return facts about the answers for new examples, which verdicts are based on; empty if there are none.

        Args:
            train: the training split.
            new: the examples.
            scores: (examples, outputs), of the new examples, on the CPU.
        """
        del train
        return self.residuals(scores, new.y.cpu())

    def rows(self, answers: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Return columns of numbers for a table of examples; empty for the answers themselves.

        Args:
            answers: see `answer`.
            true: decoded targets.
        """
        del answers, true
        return {}

    def samples(self, forward: Callable[[Tensor], Tensor], split: Split) -> str:
        """Return a text that the model has written; empty if it writes none.

        Args:
            forward: returns the scores of prepared examples, (batch, *input_shape); if examples continue each other
                (`Split.follows`), it is called with the whole text so far, and returns the scores of what is new in it.
            split: the examples.
        """
        del forward, split
        return ""

    def figures(self, split: Split, scores: Tensor, about: str) -> dict[str, Figure]:
        """Draw examples with their answers; return figures by the names of their files.

        Args:
            split: the examples, with encoded targets.
            scores: (examples, outputs), on the CPU.
            about: the split and the epoch of the weights, for the titles.
        """
        del split, scores, about
        return {}

    @property
    def counts_only(self) -> bool:
        """Whether the running metric, a mean of `score`, is also the metric of a whole split, to the bit."""
        return False

    def measured(self, scores: Tensor, targets: Tensor, metrics: Mapping[str, Measure]) -> dict[str, float]:
        """Return the running metric and others of a whole split, without those that are not finite numbers.

        Args:
            scores: (examples, outputs), on the CPU.
            targets: encoded, on the CPU.
            metrics: the others, by name.
        """
        answers, wanted = self.answer(scores), self.decode(targets)
        running = self.metrics[0]
        measures = {running: self.measures[running], **metrics}
        found = {name: float(measure(answers, wanted)) for name, measure in measures.items()}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def examples_of_targets(self, count: int) -> Tensor:
        """Return encoded targets with which a loss is tried, (count,) or (count, targets)."""
        return torch.zeros(count, len(self.names))

    def chance(self, loss: Loss, targets: Tensor) -> float:
        """Return the loss of scores that are all 0, which a network that knows nothing may reach.

        Args:
            loss: in the user's units.
            targets: (examples, ...), encoded, of the training split.
        """
        return loss(targets.new_zeros(len(targets), self.outputs), targets, reduction="mean").item()

    def lowest(self, loss: Loss, targets: Tensor) -> float:
        """Return the loss of perfect scores; see `chance`."""
        del loss, targets
        return 0.0
