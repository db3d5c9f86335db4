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
from torch import Tensor, nn

from experiments.comparison.drawing import tallest
from experiments.comparison.histograms import Histogram
from experiments.evaluation.loading import load
from experiments.figures.canvas import canvas, integers, legend
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.initializers import Initializer, he, initialize, normal, xavier
from experiments.losses import cross_entropy
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
    """Return the share of sigmoid activations, of any shape, in the outer tenths of their range."""
    return float(((activations < OUTER) | (activations > 1 - OUTER)).float().mean())


def spread(layers: Sequence[Tensor]) -> float:
    """Return the standard deviation of the last layer's activations, over units and examples.

    Args:
        layers: the activations of each layer, (examples, units).
    """
    return float(layers[-1].std(correction=0))


def last_by_first(layers: Sequence[Tensor]) -> float:
    """Return the root mean square of the last layer's activations, divided by that of the first layer's.

    Args:
        layers: the activations of each layer, (examples, units).
    """
    return float(layers[-1].square().mean().sqrt() / layers[0].square().mean().sqrt())


def signal_figure(activations: Mapping[tuple[str, str], Sequence[Tensor]]) -> Figure:
    """Draw the histograms of the layers of each network: a row for each initializer, a column for each activation.

    Args:
        activations: by activation and initializer: those of each layer, (examples, units).
    """
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

    Args:
        axes: to draw on.
        layers: the activations of each layer, (examples, units).
        ends: the lowest and highest value of the bins; values beyond are counted in the outer bins.
        color: as `#rrggbb`.
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


def normalized(
    runs: Sequence[Record],
    learnt: Annotated[float, Gt(0)] = 0.5,
    book: bool = False,
    rate: Annotated[float, Gt(0)] = 0.01,
) -> Measured:
    """Measure from how many scales of the initial weights a network learns, with BatchNorm and without.

    Args:
        runs: with several `init.std`, with `model.batch_norm` and without.
        learnt: the training accuracy from which on a network counts as having learned.
        book: whether to train the same networks exactly as the book does too, see `as_in_the_book`.
        rate: the learning rate of that training.
    """
    groups = {kind: by(group, "init.std") for kind, group in by(runs, "model.batch_norm").items()}
    scales = sorted({scale for own in groups.values() for scale in own}, key=float, reverse=True)
    curves: Curves = {
        kind: {scale: [accuracies_of(run) for run in own[scale]] for scale in scales} for kind, own in groups.items()
    }
    values, said = counted(curves, learnt, "")
    if book:
        data = load(runs[0].folder).data.splits["train"]
        x, y = data.first(len(data))
        pairs = {scale: as_in_the_book(x.flatten(1), y, float(scale), rate) for scale in scales}
        curves = {kind: {scale: [pairs[scale][kind]] for scale in scales} for kind in groups}
        own_values, own_said = counted(curves, learnt, ", as in the book")
        values, said = values | own_values, [*said, *own_said]
    return Measured(values, lambda: grid_of(curves, scales), said)


Curves = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
"""The training accuracy after each epoch of every run, by `model.batch_norm` and `init.std`; diverged runs end in 0."""


def counted(curves: Curves, learnt: float, suffix: str) -> tuple[dict[str, float], list[str]]:
    """Count the scales that learn, with BatchNorm and without, and those at which it is ahead.

    Args:
        curves: see `Curves`.
        learnt: the final accuracy from which on a network counts as having learned.
        suffix: of the names of the quantities.

    Returns:
        The quantities, and sentences about them.
    """
    end = {kind: {scale: fmean(run[-1] for run in own[scale]) for scale in own} for kind, own in curves.items()}
    mean = {
        kind: {scale: fmean(fmean(run) if run[-1] else 0.0 for run in own[scale]) for scale in own}
        for kind, own in curves.items()
    }
    good = {kind: [scale for scale, value in own.items() if value >= learnt] for kind, own in end.items()}
    with_it, without, scales = good["true"], good["false"], end["true"]
    values = {
        f"scales that learn, with BatchNorm{suffix}": float(len(with_it)),
        f"scales that learn, without{suffix}": float(len(without)),
        f"scales at which BatchNorm is ahead{suffix}": float(
            sum(mean["true"][scale] > mean["false"][scale] for scale in scales)
        ),
    }
    short = [f"std {scale} ({value:.0%})" for scale, value in scales.items() if scale not in with_it]
    said = [
        f"Of {len(scales)} scales {len(with_it)} reach a training accuracy of {learnt:.0%} with BatchNorm{suffix}, and "
        f"{len(without)} without it (std {', '.join(without) or 'none'})",
        f"With BatchNorm{suffix} these scales reach less: {', '.join(short) or 'none'}",
    ]
    return values, said


BOOK_EPS, BOOK_BATCH, BOOK_EPOCHS = 1e-6, 100, 20


def as_in_the_book(x: Tensor, y: Tensor, std: float, rate: float) -> dict[str, list[float]]:
    """Train five hidden layers of 100 units with and without BatchNorm, as `ch06/batch_norm_test.py` of the book does.

    Batches are drawn with replacement. BatchNorm's eps is 1e-6, and its running variance starts at 0. The accuracy on
    all examples is measured with the running averages, after updates 1, 11, 21, ..., 191.

    Args:
        x, y: examples, (examples, inputs), and their classes, (examples,).
        std: the standard deviation of the initial weights.
        rate: the learning rate of plain gradient descent.

    Returns:
        The accuracies, by `model.batch_norm`.
    """
    draw = torch.Generator().manual_seed(0)
    models = {
        kind: MLP((x.shape[1],), 10, hidden=[100] * 5, batch_norm=kind == "true").to(x.device)
        for kind in ("true", "false")
    }
    for model in models.values():
        initialize(model, partial(normal, std=std), draw)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d) and module.running_var is not None:
                module.eps = BOOK_EPS
                module.running_var.zero_()
    curves: dict[str, list[float]] = {kind: [] for kind in models}
    every = len(x) // BOOK_BATCH
    for update in range((BOOK_EPOCHS - 1) * every + 1):
        rows = torch.randint(len(x), (BOOK_BATCH,), generator=draw)
        for kind, model in models.items():
            weights = list(model.parameters())
            gradients = torch.autograd.grad(cross_entropy(model.train()(x[rows]), y[rows]), weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(rate * gradient)
                if update % every == 0:
                    curves[kind].append(float((model.eval()(x).argmax(1) == y).double().mean()))
    return curves


def accuracies_of(run: Record) -> list[float]:
    """Return the training accuracy of each epoch; the last one is 0 if the run diverged."""
    values = list(curve(run, ACCURACY))
    return values if values and final_accuracy(run) else [*values, 0.0]


def final_accuracy(run: Record) -> float:
    """Return the training accuracy at the end; 0 if the run diverged."""
    value = last(run, ACCURACY)
    return value if math.isfinite(value) else 0.0


def grid_of(curves: Curves, scales: Sequence[str]) -> Figure:
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
            for accuracies in curves[kind][scale]:
                percent = [100 * value for value in accuracies]
                axes.plot(range(1, len(percent) + 1), percent, color=look.color, linestyle=look.linestyle)
        axes.set_title(f"std {float(scale):.2g}", fontsize=10, fontweight="normal")
        integers(axes)
    for axes in grid.flat[len(scales) :]:
        axes.remove()
    for axes in grid[-1]:
        axes.set_xlabel("epochs")
    figure.supylabel("training accuracy (%)", fontsize=11)
    legend(figure, list(names.values()), looks)
    return figure


def saturated(
    std: Annotated[float, Gt(0)] = 1.0,
    units: Annotated[int, Ge(2)] = 500,
    layers: Annotated[int, Ge(2)] = 10,
    examples: Annotated[int, Ge(2)] = 200,
) -> Measured:
    """Measure how much of an untrained tanh network is saturated.

    Args:
        std: the standard deviation of the weights.
        units: of the input and of every layer.
        layers: how many.
        examples: how many normally distributed inputs.
    """
    initializer = partial(normal, std=std)
    draw = torch.Generator().manual_seed(0)
    outputs = layer_activations([units] * (layers + 1), "tanh", initializer, examples, draw)
    shares = [float((own.abs() > 0.99).double().mean()) for own in outputs]
    slopes = [float((1 - own.double().square()).mean()) for own in outputs]
    values = {
        "share beyond 0.99, least layer": min(shares),
        "share beyond 0.99, most saturated layer": max(shares),
        "mean slope of tanh, largest of a layer": max(slopes),
    }
    said = [
        f"In each of the {layers} layers {min(shares):.0%} to {max(shares):.0%} of the outputs are beyond 0.99, where "
        f"tanh is flat: its mean slope is {max(slopes):.3f} at most, instead of 1"
    ]

    def draw_figure() -> Figure:
        figure = canvas(8.0, 2.6)
        axes = figure.subplots()
        draw_histograms(axes, outputs, RANGES["tanh"], styles(1)[0].color)
        axes.set_xlabel("layer (histograms of the outputs from -1 to 1)")
        return figure

    return Measured(values, draw_figure, said)
