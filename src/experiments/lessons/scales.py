"""The scale of the initial weights: its effect on the signal and on learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor

from experiments.comparison.drawing import tallest
from experiments.comparison.histograms import Histogram
from experiments.figures.canvas import canvas, integers, legend
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.initializers import Initializer, he, initialize, normal, xavier
from experiments.models.mlp import MLP
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, by, curve, last, lead, of_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, 3.0)}
"""The range of each activation's values that is drawn."""
OUTER = 0.1
"""The tenth of the sigmoid's range at either end, where the sigmoid is nearly flat."""
BINS = 30
COLUMNS = 4
ACCURACY = "train/accuracy"


def signal(
    units: Annotated[int, Ge(2)] = 100,
    layers: Annotated[int, Ge(2)] = 5,
    examples: Annotated[int, Ge(2)] = 1000,
    draws: Annotated[int, Ge(1)] = 10,
    gain: Annotated[float, Gt(0)] = 1.0,
    seed: Annotated[int, Ge(0)] = 0,
) -> Measured:
    """Measure the activations of an untrained network for normally distributed inputs.

    Args:
        units: of the input and of every layer.
        layers: how many.
        examples: how many inputs.
        draws: of the weights and inputs; the values are averaged over them.
        gain: of Xavier's and He's weights.
        seed: of the draws.
    """
    initializers: dict[str, Initializer] = {
        "std 1": partial(normal, std=1.0),
        "std 0.01": partial(normal, std=0.01),
        "Xavier": partial(xavier, gain=gain),
        "He": partial(he, gain=gain),
    }
    activations: dict[tuple[str, str], list[list[Tensor]]] = {}
    for activation in RANGES:
        for name, initializer in initializers.items():
            generator = torch.Generator().manual_seed(seed)
            activations[activation, name] = [
                layer_activations([units] * (layers + 1), activation, initializer, examples, generator)
                for _ in range(draws)
            ]

    def mean(activation: str, name: str, measure: Callable[[list[Tensor]], float]) -> float:
        return fmean(map(measure, activations[activation, name]))

    values = {
        "sigmoid, std 1: share in the outer tenths": mean("sigmoid", "std 1", lambda own: outer(own[-1])),
        "sigmoid, std 0.01: spread": mean("sigmoid", "std 0.01", spread),
        "sigmoid, Xavier: spread": mean("sigmoid", "Xavier", spread),
        "tanh, Xavier: spread": mean("tanh", "Xavier", spread),
        "ReLU, std 0.01: last layer by first": mean("relu", "std 0.01", last_by_first),
        "ReLU, Xavier: last layer by first": mean("relu", "Xavier", last_by_first),
        "ReLU, He: last layer by first": mean("relu", "He", last_by_first),
    }
    said = [
        f"With std 1, {values['sigmoid, std 1: share in the outer tenths']:.0%} of the sigmoid activations in layer "
        f"{layers} are below {OUTER:g} or above {1 - OUTER:g}; with std 0.01 they have a spread of only "
        f"{values['sigmoid, std 0.01: spread']:.2g} around 0.5",
        f"With He's weights the ReLU activations in the last layer are {values['ReLU, He: last layer by first']:.2f} "
        f"times as large as in the first, with Xavier's {values['ReLU, Xavier: last layer by first']:.2f} times",
    ]
    return Measured(values, lambda: signal_figure({key: own[0] for key, own in activations.items()}), said)


def layer_activations(
    sizes: Sequence[int], activation: str, initializer: Initializer, examples: int, generator: torch.Generator
) -> list[Tensor]:
    """Return each hidden layer's activations, (examples, units), for normally distributed inputs and new weights.

    Args:
        sizes: of the input and of the hidden layers.
        activation: see `models.mlp.MLP`.
        initializer, generator: see `initializers.initialize`.
        examples: how many inputs to draw.
    """
    model = MLP((sizes[0],), 1, hidden=list(sizes[1:]), activation=activation)
    initialize(model, initializer, generator)
    x, outputs = torch.randn(examples, sizes[0], generator=generator), []
    with torch.no_grad():
        for block in model.features:
            x = block(x)
            outputs.append(x)
    return outputs[1:]  # the first block only flattens


def outer(activations: Tensor) -> float:
    """Return the share of sigmoid activations in the outer tenths of their range."""
    return float(((activations < OUTER) | (activations > 1 - OUTER)).float().mean())


def spread(layers: Sequence[Tensor]) -> float:
    """Return the standard deviation of the last layer's activations, over units and examples."""
    return float(layers[-1].std(correction=0))


def last_by_first(layers: Sequence[Tensor]) -> float:
    """Return the root mean square of the last layer's activations, divided by that of the first layer's."""
    return float(layers[-1].square().mean().sqrt() / layers[0].square().mean().sqrt())


def signal_figure(activations: Mapping[tuple[str, str], Sequence[Tensor]]) -> Figure:
    """Draw the histograms of the layers of each network: a row for each initializer, a column for each activation."""
    names = list(dict.fromkeys(name for _, name in activations))
    figure = canvas(11.0, 1.35 * len(names) + 0.5)
    grid = figure.subplots(len(names), len(RANGES), squeeze=False)
    colors = dict(zip(RANGES, styles(len(RANGES)), strict=True))
    for (activation, name), layers in activations.items():
        row, column = names.index(name), list(RANGES).index(activation)
        axes = grid[row, column]
        draw_histograms(axes, layers, RANGES[activation], colors[activation].color)
        if row == 0:
            low, high = RANGES[activation]
            beyond = " and above" if activation == "relu" else ""
            axes.set_title(f"{'ReLU' if activation == 'relu' else activation}, {low:g} to {high:g}{beyond}")
        if column == 0:
            axes.set_ylabel(name)
        if row == len(names) - 1:
            axes.set_xlabel("layer")
    return figure


def draw_histograms(axes: Axes, layers: Sequence[Tensor], ends: tuple[float, float], color: str) -> None:
    """Draw the histograms of the layers side by side, each scaled to the height of its most common bin.

    One bin that is far higher than all others is cut off, see `tallest`.
    """
    for number, activations in enumerate(layers, 1):
        counts, edges = np.histogram(activations.clamp(*ends).numpy(), BINS, ends)
        heights = (counts / tallest(Histogram(edges, counts.astype(np.float64)))).clip(max=1.0)
        bin_edges = number - 0.42 + 0.84 * np.linspace(0, 1, BINS + 1)
        axes.stairs(heights, bin_edges, fill=True, facecolor=color, edgecolor=color, linewidth=0.6)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xticks(range(1, len(layers) + 1))
    axes.set_yticks([])
    axes.set_ylim(0, 1.05)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)


def learning(runs: Sequence[Record], first: str, second: str) -> Measured:
    """Measure the final loss of a deep network by initializer, and the lead of one initializer over another.

    Args:
        runs: of several initializers, with the same seeds.
        first, second: the initializer that should be ahead, and the other one.
    """
    groups = by(runs, "init")
    losses = {name: of_seeds(group, lambda run: last(run, "train/loss")) for name, group in groups.items()}
    values = {f"last loss, {name}": fmean(own.values()) for name, own in losses.items()}
    shown = ", ".join(f"{name} {fmean(own.values()):.3g}" for name, own in losses.items())
    values[f"least lead of {first} over {second}"] = lead(losses[second], losses[first])

    def draw() -> Figure:
        return curves_of(groups, "train/loss", "val/accuracy")

    said = [f"The final training losses are {shown}; equal probabilities for ten classes give {math.log(10):.4g}"]
    return Measured(values, draw, said)


def normalized(runs: Sequence[Record], learnt: Annotated[float, Gt(0)] = 0.5) -> Measured:
    """Measure from how many scales of the initial weights a network learns, with BatchNorm and without.

    Args:
        runs: with several `init.std`, with `model.batch_norm` and without.
        learnt: the training accuracy from which on a network counts as having learned.
    """
    groups = {kind: by(group, "init.std") for kind, group in by(runs, "model.batch_norm").items()}
    scales = sorted({scale for own in groups.values() for scale in own}, key=float, reverse=True)

    def end(kind: str, scale: str) -> float:
        return fmean(final_accuracy(run) for run in groups[kind][scale])

    def good(kind: str) -> list[str]:
        return [scale for scale in scales if end(kind, scale) >= learnt]

    def over_training(kind: str, scale: str) -> float:
        return fmean(fmean(curve(run, ACCURACY)) if final_accuracy(run) else 0.0 for run in groups[kind][scale])

    with_it, without = good("true"), good("false")
    ahead = [scale for scale in scales if over_training("true", scale) > over_training("false", scale)]
    values = {
        "scales that learn, with BatchNorm": len(with_it),
        "scales that learn, without": len(without),
        "scales at which BatchNorm is ahead": len(ahead),
    }
    short = [f"std {scale} ({end('true', scale):.0%})" for scale in scales if scale not in with_it]
    said = [
        f"Of {len(scales)} scales {len(with_it)} reach a training accuracy of {learnt:.0%} with BatchNorm, and "
        f"{len(without)} without it (std {', '.join(without) or 'none'})",
        f"With BatchNorm these scales reach less: {', '.join(short) or 'none'}",
    ]
    return Measured(values, lambda: grid_of(groups, scales), said)


def final_accuracy(run: Record) -> float:
    """Return the training accuracy at the end; 0 if the run diverged."""
    value = last(run, ACCURACY)
    return value if math.isfinite(value) else 0.0


def grid_of(groups: Mapping[str, Mapping[str, Sequence[Record]]], scales: Sequence[str]) -> Figure:
    """Draw the training accuracy of each scale in its own axes, as in figure 6-19 of the book."""
    names = {"true": "with BatchNorm", "false": "without"}
    looks = dict(zip(names.values(), styles(len(names)), strict=True))
    columns = min(COLUMNS, len(scales))
    rows = math.ceil(len(scales) / columns)
    figure = canvas(2.3 * columns, 1.7 * rows + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, scale in zip(grid.flat, scales, strict=False):
        for kind, name in names.items():
            look = looks[name]
            for run in groups[kind][scale]:
                percent = [100 * value for value in curve(run, ACCURACY)]
                axes.plot(run.history.get("epoch", ()), percent, color=look.color, linestyle=look.linestyle)
        axes.set_title(f"std {float(scale):.2g}", fontsize=10, fontweight="normal")
        integers(axes)
    for axes in grid.flat[len(scales) :]:
        axes.remove()
    for axes in grid[-1]:
        axes.set_xlabel("epochs")
    figure.supylabel("training accuracy (%)", fontsize=11)
    legend(figure, list(names.values()), looks)
    return figure
