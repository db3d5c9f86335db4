"""The effect of BatchNorm on a network of sigmoid layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from experiments.comparison.statistics import estimate
from experiments.evaluation.loading import load
from experiments.figures.canvas import canvas, integers, legend, legend_height
from experiments.figures.palette import styles
from experiments.folders.reading import Record
from experiments.recipes.drawing import HEIGHT, WIDTH
from experiments.recipes.measured import Measured, at_best_rate, best, by, curve, epochs_to, level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 1000
PERCENTILES = (0.15, 0.5, 0.85)
NAMES = {"false": "without BatchNorm", "true": "with BatchNorm"}


@dataclass(frozen=True)
class Pairs:
    """Runs without and with BatchNorm, paired by seed.

    Args:
        plain, normed: the runs without and with it, in the order of the seeds.
    """

    plain: Sequence[Record]
    normed: Sequence[Record]

    @cached_property
    def inputs(self) -> dict[str, list[Tensor]]:
        """The inputs of the last sigmoid, see `last_inputs`."""
        return {"false": [last_inputs(run) for run in self.plain], "true": [last_inputs(run) for run in self.normed]}

    @cached_property
    def drifts(self) -> dict[str, float]:
        """The mean drift of these inputs, see `drift`."""
        return {key: fmean(map(drift, own)) for key, own in self.inputs.items()}

    def values(self) -> dict[str, float]:
        """Return the gains in test accuracy, speed and steadiness."""
        pairs = list(zip(self.plain, self.normed, strict=True))
        gain = estimate([best(other, "test/accuracy") - best(run, "test/accuracy") for run, other in pairs])
        return {
            "test accuracy, with over without, lower bound": math.nan if gain.low is None else gain.low,
            "epochs to the other's best validation accuracy, with by without": fmean(
                epochs_by(other, run) for run, other in pairs
            ),
            "drift of the last sigmoid's inputs, without by with": self.drifts["false"] / self.drifts["true"],
        }

    def sentence(self) -> str:
        """Return a sentence about accuracy and drift."""
        rates = " and ".join(dict.fromkeys(level(run, "optimizer.lr") for run in (*self.plain, *self.normed)))
        parts = [
            f"{100 * fmean(best(run, 'test/accuracy') for run in own):.2f} % {NAMES[key]} ({self.drifts[key]:.2f})"
            for key, own in (("false", self.plain), ("true", self.normed))
        ]
        return (
            f"Test accuracy with a rate of {rates}, and in brackets the drift of the last sigmoid's inputs divided by "
            f"their spread: {', '.join(parts)}"
        )


def sigmoids(runs: Sequence[Record]) -> Measured:
    """Compare networks with and without BatchNorm: accuracy, speed, and the drift of the last sigmoid's inputs.

    Each has the rate with its best validation accuracy; in addition both are compared at each rate. The runs keep the
    checkpoint of every epoch.
    """
    groups = by(sorted(runs, key=lambda run: int(run.config["seed"])), "model.batch_norm")
    chosen = Pairs(at_best_rate(groups["false"]), at_best_rate(groups["true"]))
    values, said = chosen.values(), []
    for rate in by(runs, "optimizer.lr"):
        pairs = Pairs(*(by(groups[key], "optimizer.lr")[rate] for key in ("false", "true")))
        values |= {f"{name}, rate {rate}": value for name, value in pairs.values().items()}
        said.append(pairs.sentence())
    plain, normed, inputs = chosen.plain, chosen.normed, chosen.inputs

    def draw() -> Figure:
        names = list(NAMES.values())
        figure = canvas(3 * WIDTH * 0.85, HEIGHT + legend_height(names, 3 * WIDTH * 0.85))
        first, *others = figure.subplots(1, 3)
        others[1].sharey(others[0])
        for own, look in zip((plain, normed), styles(2), strict=True):
            for run in own:
                accuracy = [100 * value for value in curve(run, "val/accuracy")]
                first.plot(range(1, len(accuracy) + 1), accuracy, color=look.color, linestyle=look.linestyle)
        first.set_xlabel("epochs")
        first.set_ylabel("validation accuracy (%)")
        for key, axes, look in zip(NAMES, others, styles(2), strict=True):
            lines = inputs[key][0][:, :, typical(inputs[key][0])]
            for line in lines.T:
                axes.plot(range(1, len(line) + 1), line, color=look.color, linestyle=look.linestyle)
            axes.set_xlabel("epochs")
            axes.set_ylabel("input of a unit of the last sigmoid\n(15th, 50th, 85th percentile)")
        for axes in figure.axes:
            integers(axes)
        legend(figure, names, dict(zip(names, styles(2), strict=True)))
        return figure

    return Measured(values, draw, said)


def epochs_by(run: Record, other: Record) -> float:
    """Return the epochs to the other run's best validation accuracy, divided by the other run's epochs to it."""
    target = best(other, "val/accuracy")
    return epochs_to(run, "val/accuracy", target) / epochs_to(other, "val/accuracy", target)


def last_inputs(run: Record) -> Tensor:
    """Return percentiles of the last sigmoid's inputs, (epochs, percentiles, units)."""
    x: Tensor | None = None
    epochs = []
    for path in sorted((run.folder / "checkpoints").glob("epoch_*.pt")):
        restored = load(run.folder, checkpoint=path.name)
        if x is None:
            x, _ = restored.data.splits["val"].first(EXAMPLES)
        epochs.append(percentiles(restored.model, x))
    return torch.stack(epochs)


def percentiles(model: nn.Module, x: Tensor) -> Tensor:
    """Return percentiles of the inputs of the last activation, (percentiles, units)."""
    activation = [module for name, module in model.named_modules() if name.endswith("activation")][-1]
    seen: list[Tensor] = []
    hook = activation.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    with torch.no_grad():
        model(x)
    hook.remove()
    return seen[0].quantile(torch.tensor(PERCENTILES), dim=0)


def unit_drifts(inputs: Tensor) -> Tensor:
    """Return the range of each unit's median over the epochs, divided by the mean distance of its percentiles.

    Args:
        inputs: see `last_inputs`.

    Returns:
        One value per unit, (units,).
    """
    low, median, high = inputs.unbind(1)
    return (median.amax(0) - median.amin(0)) / (high - low).mean(0)


def drift(inputs: Tensor) -> float:
    """Return the mean of `unit_drifts` over the units.

    Args:
        inputs: see `last_inputs`.
    """
    return float(unit_drifts(inputs).mean())


def typical(inputs: Tensor) -> int:
    """Return the index of the unit with the median drift.

    Args:
        inputs: see `last_inputs`.
    """
    order = unit_drifts(inputs).argsort()
    return int(order[len(order) // 2])
