"""Code as users write it next to a run: right, and with the mistakes that people make."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from experiments.data.sources import Source
from experiments.observers.base import Observer
from experiments.penalties import Penalty


class Tracking:
    """A service with one active run in a process, as MLflow has it."""

    active: ClassVar[str | None] = None
    log: ClassVar[list[str]] = []

    @classmethod
    def begin(cls, name: str) -> None:
        """Begin a run."""
        if cls.active is not None:
            raise RuntimeError(f"run {cls.active} is already active")
        cls.active = name
        cls.log.append(f"begin {name}")

    @classmethod
    def end(cls) -> None:
        """End the active run."""
        cls.log.append(f"end {cls.active}")
        cls.active = None


class Tracker(Observer):
    """Begins a run of the service when its run starts."""

    def start(self, *arguments: Any) -> None:
        super().start(*arguments)
        Tracking.begin(self.member.folder.path.name)
        self.began = True

    def close(self) -> None:
        if getattr(self, "began", False):
            Tracking.end()


class EarlyTracker(Observer):
    """Begins a run of the service when it is built."""

    def __init__(self) -> None:
        Tracking.begin("a run")

    def close(self) -> None:
        Tracking.end()


class LonelyTracker(Tracker):
    """Says that its run cannot be trained together with others."""

    alone = True


class Adding(Observer):
    """Adds to its row: numbers, and what is no number."""

    def epoch_end(self, row: dict[str, Any]) -> None:
        row["mine/epochs"] = 10 * row["epoch"]
        row["mine/tensor"] = torch.tensor(0.5)
        row["note"] = "a text"
        row["val/loss"] = 0.0
        if row["epoch"] > 1:
            row["late"] = True


class Late(Observer):
    """Fails in one run of several, in a hook."""

    watches_updates = True

    def __init__(self, hook: str, number: int = 1) -> None:
        self.hook, self.failing = hook, number

    def fail(self, hook: str) -> None:
        """Fail, if this is the run and the hook."""
        if hook == self.hook and self.number == self.failing:
            raise KeyError("wrong name")

    def before_update(self, step: int) -> None:
        self.fail("before_update")

    def after_update(self, step: int) -> None:
        self.fail("after_update")

    def epoch_end(self, row: dict[str, float]) -> None:
        self.fail("epoch_end")

    def before_checkpoint(self) -> None:
        self.fail("before_checkpoint")

    def close(self) -> None:
        self.fail("close")


class Watcher:
    """Is no observer."""


class Scaled(nn.Module):
    """A model, of a type that fails in training after some batches."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, fails: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(torch.Size(input_shape).numel(), classes)
        self.fails = fails

    def forward(self, x: Tensor) -> Tensor:
        if self.fails:
            return self.linear(x.flatten(1))[self.missing]
        return self.linear(x.flatten(1))


class Detached(Scaled):
    """A model whose scores have no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class Refusing(Scaled):
    """A model that refuses its first input."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no such input")


class Opening(Scaled):
    """A model that opens a file in training, which does not exist."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            Path("/nonexistent/table.json").read_text()
        return super().forward(x)


class Writing(Observer):
    """Writes a file of its own, where there is no folder."""

    def epoch_end(self, row: dict[str, float]) -> None:
        Path("/nonexistent/notes.txt").write_text(str(row))


class WritingLate(Observer):
    """The same at the end."""

    def scored(self, epoch: int) -> None:
        Path("/nonexistent/notes.txt").write_text(str(epoch))


def detached_loss(scores: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """A loss without a gradient."""
    return nn.functional.cross_entropy(scores.detach(), targets, reduction=reduction)


def sharp_loss(scores: Tensor, targets: Tensor, reduction: str = "mean", sharpness: float = 1.0) -> Tensor:
    """Cross-entropy of larger scores."""
    return nn.functional.cross_entropy(sharpness * scores, targets, reduction=reduction)


def small(weight: Tensor, generator: torch.Generator, size: float) -> None:
    """Small normal weights."""
    weight.normal_(0, size, generator=generator)


def flat(_progress: float, val_losses: Sequence[float], height: float = 1.0) -> float:
    """A constant schedule."""
    del val_losses
    return height


class Twisted(torch.optim.SGD):
    """SGD with a setting that does nothing."""

    def __init__(self, params: Any, lr: float = 0.1, twist: float = 1.0) -> None:
        del twist
        super().__init__(params, lr=lr)


def failing_loss(scores: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """A loss that raises an error."""
    raise ValueError(f"no such class in {scores.shape}, {targets.shape}, {reduction}")


def examples(count: int = 24) -> tuple[Tensor, Tensor]:
    """Inputs and class numbers."""
    return torch.arange(4.0 * count).view(count, 4) % 7, torch.arange(count) % 3


def source(kind: str = "right") -> Source:
    """A data set, of the kind that its name tells."""
    x, y = examples()
    names = ["a", "b", "c"]
    match kind:
        case "dataset":
            return Source(TensorDataset(x, y), y, x, y, names)  # type: ignore[arg-type]
        case "array":
            return Source(x.numpy(), y, x, y, names)  # type: ignore[arg-type]
        case "labels of a dataset":
            return Source(x, TensorDataset(y), x, y, names)  # type: ignore[arg-type]
        case "float labels":
            return Source(x, y.float(), x, y, names)
        case "one-hot labels":
            return Source(x, nn.functional.one_hot(y), x, y, names)
        case "small integers":
            return Source(x, y.to(torch.uint8), x, y.to(torch.int32), names)
        case "labels from 1":
            return Source(x, y + 1, x, y, names)
        case "negative labels":
            return Source(x, y - 1, x, y, names)
        case "number of classes":
            return Source(x, y, x, y, 3)  # type: ignore[arg-type]
        case "flat inputs":
            return Source(x[:, 0], y, x[:, 0], y, names)
        case "validation":
            return Source(x, y, x, y, names, x_val=x[:6], y_val=y[:6])
        case "half a validation":
            return Source(x, y, x, y, names, x_val=x[:6])
        case "other shape":
            return Source(x, y, x, y, names, x_val=x[:6, :2], y_val=y[:6])
        case "error":
            return Source(x, y, x, y, names, classes=undefined)  # type: ignore  # noqa: F821
        case "nothing":
            return None  # type: ignore[return-value]
    return Source(x, y, x, y, names)


class Shifted:
    """An augmentation with a number of a type that JSON does not know."""

    def __init__(self, by: Number = 1) -> None:  # type: ignore[assignment]
        self.by = by

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return x + self.by, targets  # type: ignore[operator]


class OnlyInputs(Shifted):
    """An augmentation that forgets the targets."""

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:  # type: ignore[override]
        return x


class Misspelled(Shifted):
    """An augmentation with a mistake in it."""

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return x + self.bye, targets  # type: ignore[attr-defined]


def worded(progress: float) -> Any:
    """A schedule that returns no number."""
    return f"slow at {progress}"


def growing(progress: float) -> float:
    """A schedule that works."""
    return 1.0 + progress


def broken(progress: float) -> float:
    """A schedule that fails in the second half of the training."""
    factors: dict[str, float] = {}
    return 1.0 if progress < 0.5 else factors["late"]


def copied(weight: Tensor, generator: torch.Generator) -> Tensor:
    """An initializer that returns new weights."""
    return torch.randn(weight.shape, generator=generator)


def unfinished(weight: Tensor) -> None:
    """An initializer with a mistake."""
    weight.fill_(missing)  # type: ignore  # noqa: F821


def plain_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """A loss without a reduction."""
    return nn.functional.cross_entropy(scores, targets)


def mean_loss(scores: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """A loss that always takes the mean."""
    del reduction
    return nn.functional.cross_entropy(scores, targets)


class Each(Penalty):
    """A penalty with a number for each layer."""

    adds = True

    def term(self, weights: Sequence[Tensor]) -> Tensor:
        return torch.stack([weight.abs().sum() for weight in weights])


class Nothing(Penalty):
    """A penalty without a term."""

    adds = True


class Steps:
    """Is no optimizer."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        self.params, self.lr = params, lr


class Rateless(torch.optim.Optimizer):
    """An optimizer without a learning rate."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})


class Failing(torch.optim.SGD):
    """An optimizer with a mistake in its step."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        del closure
        self.param_groups[0]["rate"]


def net(input_shape: tuple[int, ...], classes: int) -> str:
    """Is no model."""
    return f"{input_shape} to {classes}"


def fit(x: Tensor) -> Tensor:
    """A preparation that returns inputs."""
    return x / 2
