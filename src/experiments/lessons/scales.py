"""The scale of the initial weights: what it does to the signal, and to learning."""

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
"""What is drawn of each activation's values."""
OUTER = 0.1
"""A tenth of the sigmoid's range at either end, where it is nearly flat."""
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
    """What becomes of normal inputs on their way through a net that was only initialized.

    Args:
        units: of the input and of every layer.
        layers: how many of them.
        examples: inputs.
        draws: of the weights and inputs that are averaged over.
        gain: of Xavier's and He's weights.
        seed: of the draws.
    """
    initializers: dict[str, Initializer] = {
        "std 1": partial(normal, std=1.0),
        "std 0.01": partial(normal, std=0.01),
        "Xavier": partial(xavier, gain=gain),
        "He": partial(he, gain=gain),
    }
    seen: dict[tuple[str, str], list[list[Tensor]]] = {}
    for activation in RANGES:
        for name, initializer in initializers.items():
            generator = torch.Generator().manual_seed(seed)
            seen[activation, name] = [
                passed([units] * (layers + 1), activation, initializer, examples, generator) for _ in range(draws)
            ]

    def mean(activation: str, name: str, of: Callable[[list[Tensor]], float]) -> float:
        return fmean(of(found) for found in seen[activation, name])

    values = {
        "sigmoid, std 1: share in the outer tenths": mean("sigmoid", "std 1", lambda found: outer(found[-1])),
        "sigmoid, std 0.01: spread": mean("sigmoid", "std 0.01", spread),
        "sigmoid, Xavier: spread": mean("sigmoid", "Xavier", spread),
        "tanh, Xavier: spread": mean("tanh", "Xavier", spread),
        "ReLU, std 0.01: last layer by first": mean("relu", "std 0.01", kept),
        "ReLU, Xavier: last layer by first": mean("relu", "Xavier", kept),
        "ReLU, He: last layer by first": mean("relu", "He", kept),
    }
    said = [
        f"In layer {layers} {values['sigmoid, std 1: share in the outer tenths']:.0%} of the sigmoids of weights with "
        f"std 1 are below {OUTER:g} or above {1 - OUTER:g}, and those of std 0.01 spread by only "
        f"{values['sigmoid, std 0.01: spread']:.2g} about a half",
        f"With He's weights ReLU's activations are {values['ReLU, He: last layer by first']:.2f} times as large in the "
        f"last layer as in the first, with Xavier's {values['ReLU, Xavier: last layer by first']:.2f} times",
    ]
    return Measured(values, lambda: signal_figure({key: found[0] for key, found in seen.items()}), said)


def passed(
    sizes: Sequence[int], activation: str, initializer: Initializer, examples: int, generator: torch.Generator
) -> list[Tensor]:
    """Return each hidden layer's activations, (examples, units), for normal inputs and newly drawn weights.

    Args:
        sizes: of the input and of the hidden layers.
        activation: see `models.mlp.MLP`.
        initializer, generator: see `initializers.initialize`.
        examples: inputs to draw.
    """
    model = MLP((sizes[0],), 1, hidden=list(sizes[1:]), activation=activation)
    initialize(model, initializer, generator)
    x, found = torch.randn(examples, sizes[0], generator=generator), []
    with torch.no_grad():
        for block in model.features:
            x = block(x)
            found.append(x)
    return found[1:]  # the first only flattens


def outer(activations: Tensor) -> float:
    """Return the share of sigmoids in the outer tenths of their range."""
    return float(((activations < OUTER) | (activations > 1 - OUTER)).float().mean())


def spread(layers: Sequence[Tensor]) -> float:
    """Return the standard deviation of the last layer's activations, over units and examples."""
    return float(layers[-1].std(correction=0))


def kept(layers: Sequence[Tensor]) -> float:
    """Return the root mean square of the last layer's activations by that of the first's."""
    return float(layers[-1].square().mean().sqrt() / layers[0].square().mean().sqrt())


def signal_figure(seen: Mapping[tuple[str, str], Sequence[Tensor]]) -> Figure:
    """Draw the histograms of each net's layers beside each other: a column for each activation."""
    names = list(dict.fromkeys(name for _, name in seen))
    figure = canvas(11.0, 1.35 * len(names) + 0.5)
    grid = figure.subplots(len(names), len(RANGES), squeeze=False)
    colors = dict(zip(RANGES, styles(len(RANGES)), strict=True))
    for (activation, name), layers in seen.items():
        row, column = names.index(name), list(RANGES).index(activation)
        axes = grid[row, column]
        side_by_side(axes, layers, RANGES[activation], colors[activation].color)
        if row == 0:
            low, high = RANGES[activation]
            beyond = " and above" if activation == "relu" else ""
            axes.set_title(f"{'ReLU' if activation == 'relu' else activation}, {low:g} to {high:g}{beyond}")
        if column == 0:
            axes.set_ylabel(name)
        if row == len(names) - 1:
            axes.set_xlabel("layer")
    return figure


def side_by_side(axes: Axes, layers: Sequence[Tensor], ends: tuple[float, float], color: str) -> None:
    """Draw a histogram for each layer, each as high as its commonest bin but for one that towers over all others."""
    for number, activations in enumerate(layers, 1):
        counts, edges = np.histogram(activations.clamp(*ends).numpy(), BINS, ends)
        heights = (counts / tallest(Histogram(edges, counts.astype(np.float64)))).clip(max=1.0)
        places = number - 0.42 + 0.84 * np.linspace(0, 1, BINS + 1)
        axes.stairs(heights, places, fill=True, facecolor=color, edgecolor=color, linewidth=0.6)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xticks(range(1, len(layers) + 1))
    axes.set_yticks([])
    axes.set_ylim(0, 1.05)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)


def learning(runs: Sequence[Record], first: str, second: str) -> Measured:
    """With which initializers a deep net learns, and whether one is ahead of another.

    Args:
        runs: of several initializers, with the same seeds.
        first, second: of the two, the one that should be ahead comes first.
    """
    groups = by(runs, "init")
    losses = {name: of_seeds(group, lambda run: last(run, "train/loss")) for name, group in groups.items()}
    values = {f"last loss, {name}": fmean(found.values()) for name, found in losses.items()}
    shown = ", ".join(f"{name} {fmean(found.values()):.3g}" for name, found in losses.items())
    values[f"least lead of {first} over {second}"] = lead(losses[second], losses[first])

    def draw() -> Figure:
        return curves_of(groups, "train/loss", "val/accuracy")

    said = [f"The last training losses are {shown}; to hold all ten classes equally probable costs {math.log(10):.4g}"]
    return Measured(values, draw, said)


def normalized(runs: Sequence[Record], learnt: Annotated[float, Gt(0)] = 0.5) -> Measured:
    """From how many scales of the initial weights a net learns, with BatchNorm and without.

    Args:
        runs: of several `init.std`, with `model.batch_norm` and without.
        learnt: the training accuracy that counts as having learnt.
    """
    found = {kind: by(group, "init.std") for kind, group in by(runs, "model.batch_norm").items()}
    scales = sorted({scale for groups in found.values() for scale in groups}, key=float, reverse=True)

    def end(kind: str, scale: str) -> float:
        return fmean(reached(run) for run in found[kind][scale])

    def good(kind: str) -> list[str]:
        return [scale for scale in scales if end(kind, scale) >= learnt]

    def whole(kind: str, scale: str) -> float:
        return fmean(fmean(curve(run, ACCURACY)) if reached(run) else 0.0 for run in found[kind][scale])

    with_it, without = good("true"), good("false")
    ahead = [scale for scale in scales if whole("true", scale) > whole("false", scale)]
    values = {
        "scales that learn, with BatchNorm": len(with_it),
        "scales that learn, without": len(without),
        "scales at which BatchNorm is ahead": len(ahead),
    }
    short = [f"std {scale} ({end('true', scale):.0%})" for scale in scales if scale not in with_it]
    said = [
        f"Of {len(scales)} scales {len(with_it)} reach {learnt:.0%} of the training examples with BatchNorm, "
        f"{len(without)} without it (std {', '.join(without) or 'none'})",
        f"With it less is learnt from {', '.join(short) or 'none'}",
    ]
    return Measured(values, lambda: grid_of(found, scales), said)


def reached(run: Record) -> float:
    """Return the training accuracy at the end; 0 for a run that diverged."""
    value = last(run, ACCURACY)
    return value if math.isfinite(value) else 0.0


def grid_of(found: Mapping[str, Mapping[str, Sequence[Record]]], scales: Sequence[str]) -> Figure:
    """Draw the training accuracy from each scale in axes of its own, as figure 6-19 of the book does."""
    names = {"true": "with BatchNorm", "false": "without"}
    found_styles = dict(zip(names.values(), styles(len(names)), strict=True))
    columns = min(COLUMNS, len(scales))
    rows = math.ceil(len(scales) / columns)
    figure = canvas(2.3 * columns, 1.7 * rows + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, scale in zip(grid.flat, scales, strict=False):
        for kind, name in names.items():
            look = found_styles[name]
            for run in found[kind][scale]:
                percent = [100 * value for value in curve(run, ACCURACY)]
                axes.plot(run.history.get("epoch", ()), percent, color=look.color, linestyle=look.linestyle)
        axes.set_title(f"std {float(scale):.2g}", fontsize=10, fontweight="normal")
        integers(axes)
    for axes in grid.flat[len(scales) :]:
        axes.remove()
    for axes in grid[-1]:
        axes.set_xlabel("epochs")
    figure.supylabel("training accuracy (%)", fontsize=11)
    legend(figure, list(names.values()), found_styles)
    return figure
