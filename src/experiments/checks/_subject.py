"""The input and the result of a check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.data.augment import Augmentation
from experiments.data.batches import Split
from experiments.data.forms import ColumnUse
from experiments.models.blocks import use_noise
from experiments.models.draws import Draws
from experiments.penalties import Penalty
from experiments.training.criterion import Criterion
from experiments.training.freezing import to_training_mode
from experiments.training.single import Single, Updating
from experiments.training.streams import derived_seed

CheckVerdict = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Args:
        measured: the measurement in words and numbers, for the table.
        expected: the expectation, likewise.
        verdict: `fail` if training would be a waste, `warn` if it may be, `skip` if the check cannot run.
        advice: a sentence or two on what to try; empty if all is well.
        numbers: the measurements, for `checks.json`.
    """

    measured: str
    expected: str
    verdict: CheckVerdict
    advice: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A run that is assembled but not trained. A check never changes it: it works on copies.

    Args:
        model: initialized, on the device, in training mode.
        splits: `train`, `test` and, if there is one, `val`.
        classes: their names.
        criterion: the function to minimise.
        optimizer: creates the run's optimizer for a copy of the model.
        rate: the run's learning rate before its schedule.
        batch_size: examples per update.
        updating: the settings of an update.
        augments: the augmentations of training inputs.
        seed: the seed of the checks' own draws.
        folder: the folder for figures; None for no figures.
        columns: what became of each column of a table.
        questions: sentences about what may be a mistake in the data.
        scale: the setting that multiplies all initial weights, with its value; None if there is none.
    """

    model: nn.Module
    splits: Mapping[str, Split]
    classes: Sequence[str]
    criterion: Criterion
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    rate: float
    batch_size: int
    updating: Updating = field(default_factory=Updating)
    augments: Sequence[Augmentation] = ()
    seed: int = 0
    folder: Path | None = None
    columns: Sequence[ColumnUse] = ()
    questions: Sequence[str] = ()
    scale: tuple[str, float] | None = None

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.splits["train"].device

    @property
    def targets(self) -> str:
        """What targets are called in a sentence."""
        return "labels" if self.criterion.task.form == "classes" else "targets"

    def generator(self, purpose: str) -> torch.Generator:
        """Return a fresh stream on the CPU for one purpose of one check."""
        return torch.Generator().manual_seed(derived_seed(self.seed, f"check/{purpose}"))

    def copy(self, *, dropout: bool = True) -> nn.Module:
        """Return a copy of the model in training mode, whose Dropout draws from its own stream or is off."""
        model = deepcopy(self.model)
        to_training_mode(model)
        for parameter in model.parameters():
            parameter.grad = None
        use_noise(model, Draws(derived_seed(self.seed, "check/noise")))
        return model if dropout else without_dropout(model)

    def program(
        self, model: nn.Module, *, train: Split | None = None, optimizer: torch.optim.Optimizer | None = None
    ) -> Single:
        """Return a program that trains a copy of the model, on other examples or with another optimizer if given.

        With another optimizer there is no regularisation: no penalty, augmentation or class weights.
        """
        own = optimizer is None
        criterion = self.criterion if own else replace(self.criterion, penalty=Penalty(), class_weights=None)
        return Single(
            model,
            optimizer or self.optimizer(model),
            {"train": train or self.splits["train"]},
            eval_batch_size=1000,
            criterion=criterion,
            updating=replace(self.updating, compiled=None, ema=None, swa=None) if own else None,
            augments=self.augments if own else (),
            noise=Draws(derived_seed(self.seed, "check/noise")),
        )

    @property
    def chance(self) -> float:
        """The loss of a model that knows nothing, such as that of equal scores."""
        return self.criterion.chance(self.splits["train"].y)

    def batches(self, purpose: str) -> Iterator[Tensor]:
        """Yield the indices of batches of the run's size without end, (1, batch) each, shuffled anew for each epoch.

        Args:
            purpose: see `generator`.
        """
        draw, count = self.generator(purpose), len(self.splits["train"])
        size = min(self.batch_size, count)
        device = self.splits["train"].x.device
        while True:
            order = torch.randperm(count, generator=draw)[: count - count % size]
            yield from order.to(device).reshape(-1, 1, size)


def without_dropout(model: nn.Module) -> nn.Module:
    """Switch every Dropout of the model off, and return the model."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def worst(*verdicts: CheckVerdict) -> CheckVerdict:
    """Return the worst of several verdicts."""
    return max(verdicts, key=("skip", "pass", "warn", "fail").index)
