"""The signal in deep networks before training: its size in each layer, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from experiments import initializers
from experiments.common.errors import UserError, nearest
from experiments.figures.canvas import canvas, legend, legend_height, logarithmic
from experiments.figures.palette import styles
from experiments.folders.reading import Record
from experiments.initializers import Initializer
from experiments.models.measures import mean_singular_value
from experiments.models.mlp import MLP
from experiments.recipes.drawing import HEIGHT, WIDTH, curves_of
from experiments.recipes.measured import Measured, at_best_rate, best, by, epochs_to, last, level

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INITIALIZERS: Mapping[str, Initializer] = {
    "small_normal": partial(initializers.normal, std=0.01),
    "xavier": initializers.xavier,
    "xavier_uniform": initializers.xavier_uniform,
    "he": initializers.he,
    "torch": initializers.torch_default,
}
"""By their names in `conf/init/`."""
PositiveInt = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class Passage:
    """The size of a signal in each layer.

    Args:
        means, spreads: mean and standard deviation of the outputs, (layers,).
        forward: mean square of the outputs divided by that of the inputs, (layers,).
        backward: mean square of the gradient with respect to a layer's inputs, divided by that with respect to the last
            layer's outputs, (layers,).
    """

    means: Sequence[float]
    spreads: Sequence[float]
    forward: Sequence[float]
    backward: Sequence[float]


def signal(
    *,
    init: Sequence[str],
    layers: Annotated[int, Ge(2)],
    activation: str,
    width: PositiveInt = 500,
    examples: PositiveInt = 1000,
    draws: PositiveInt = 3,
    gain: Annotated[float, Gt(0)] = 1.0,
) -> Measured:
    """Measure how inputs from N(0, 1) change on their way through layers of one width, and gradients on their way back.

    Args:
        init: names of initializers.
        layers: how many.
        activation: of all layers.
        width: of the inputs and of all layers.
        examples: how many inputs.
        draws: of the weights and inputs; the values are averaged over them, ratios as logarithms.
        gain: a factor for the weights after they are drawn.
    """
    passages = {
        name: [passage(filler(name), layers, width, activation, examples, draw, gain) for draw in range(draws)]
        for name in init
    }
    values: dict[str, float] = {}
    for name, own in passages.items():
        ratio = fmean(math.log(p.spreads[-1] / p.spreads[0]) / (layers - 1) for p in own)
        values[f"{name}: spread by the layer before's"] = math.exp(ratio)
        for layer in range(layers):
            values[f"{name}: spread of layer {layer + 1}"] = fmean(p.spreads[layer] for p in own)
        values[f"{name}: largest mean of a layer"] = max(abs(mean) for p in own for mean in p.means)
        values[f"{name}: forward, powers of 2"] = fmean(math.log2(p.forward[-1]) for p in own)
        values[f"{name}: backward, powers of 2"] = fmean(math.log2(p.backward[0]) for p in own)
    return Measured(values, lambda: signal_figure(passages), [sentence(name, values, layers) for name in init])


def passage(
    fill: Initializer, layers: int, width: int, activation: str, examples: int, draw: int, gain: float
) -> Passage:
    """Send a signal forward through a network, and a gradient backward.

    Args:
        fill: the initializer.
        layers: how many.
        width: of the inputs and of all layers.
        activation: of all layers.
        examples: how many inputs, from N(0, 1).
        draw: the seed of the weights, the inputs and the gradient.
        gain: a factor for the weights after they are drawn.
    """
    generator = torch.Generator().manual_seed(draw)
    model = MLP((width,), 1, hidden=[width] * layers, activation=activation)
    fill_scaled(model, fill, generator, gain)
    x = torch.randn(examples, width, generator=generator).requires_grad_()
    hidden = [x]
    for block in list(model.features)[1:]:
        hidden.append(block(hidden[-1]))
    gradient = torch.randn(examples, width, generator=generator)
    gradients = torch.autograd.grad(hidden[-1], hidden[:-1], gradient)
    outputs = [h.detach() for h in hidden[1:]]
    return Passage(
        [float(h.mean()) for h in outputs],
        [float(h.std()) for h in outputs],
        [mean_square(h) / mean_square(x.detach()) for h in outputs],
        [mean_square(g) / mean_square(gradient) for g in gradients],
    )


def fill_scaled(model: nn.Module, fill: Initializer, generator: torch.Generator, gain: float) -> None:
    """Initialize a model and multiply its weights by a gain."""
    initializers.initialize(model, fill, generator)
    with torch.no_grad():
        for layer in initializers.weighted_layers(model).values():
            layer.weight.mul_(gain)


def mean_square(x: Tensor) -> float:
    """Return the mean square, in float64: the squares of a vanished signal are too small for float32.

    Args:
        x: of any shape.
    """
    return float(x.double().square().mean())


def filler(name: str) -> Initializer:
    """Return the initializer with a name.

    Raises:
        UserError: the name is unknown.
    """
    if name not in INITIALIZERS:
        names = ", ".join(INITIALIZERS)
        raise UserError(f"unknown recipe.settings.init={name!r}; choose from {names}" + nearest(name, INITIALIZERS))
    return INITIALIZERS[name]


def sentence(name: str, values: Mapping[str, float], layers: int) -> str:
    """Return a sentence about the spread of the signal.

    Args:
        name: of the initializer.
        values: of `signal`, by quantity.
        layers: the number of the last layer.
    """
    ratio = values[f"{name}: spread by the layer before's"]
    first, end = (values[f"{name}: spread of layer {layer}"] for layer in (1, layers))
    change = f"from {first:.3g} in layer 1 to {end:.3g} in layer {layers}"
    return f"{name}: each layer multiplies the spread by {ratio:.3g}, {change}"


def signal_figure(passages: Mapping[str, Sequence[Passage]]) -> Figure:
    """Draw the size of the signal and of the gradient over the layers, with one line for each draw."""
    figure = canvas(2 * WIDTH, HEIGHT + legend_height(passages, 2 * WIDTH))
    looks = dict(zip(passages, styles(len(passages)), strict=True))
    panels: Sequence[tuple[str, Callable[[Passage], Sequence[float]]]] = (
        ("standard deviation of the outputs", lambda p: p.spreads),
        (
            "gradient at the layer's inputs\n(root mean square, relative to\nthe last layer's outputs)",
            lambda p: [g**0.5 for g in p.backward],
        ),
    )
    for axes, (label, values_of) in zip(figure.subplots(1, 2), panels, strict=True):
        for name, own in passages.items():
            for values in map(values_of, own):
                axes.plot(range(1, len(values) + 1), values, color=looks[name].color, linestyle=looks[name].linestyle)
        label_axes(axes, "layer", label)
        logarithmic(axes.yaxis)
    legend(figure, passages, looks)
    return figure


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Set the labels of both axes."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def jacobians(
    *, init: Sequence[str], units: PositiveInt = 1000, draws: PositiveInt = 2, gain: Annotated[float, Gt(0)] = 1.0
) -> Measured:
    """Measure the mean singular value of the Jacobian of a linear layer with as many outputs as inputs.

    Args:
        init: names of initializers.
        units: the number of inputs and of outputs.
        draws: of the weights; the values are averaged over them.
        gain: a factor for the weights after they are drawn.
    """
    layers: dict[str, list[nn.Linear]] = {}
    for name in init:
        layers[name] = [nn.Linear(units, units) for _ in range(draws)]
        for draw, layer in enumerate(layers[name]):
            fill_scaled(layer, filler(name), torch.Generator().manual_seed(draw), gain)
    values = {
        f"mean singular value, {name}": fmean(mean_singular_value(layer, (units,)) or math.nan for layer in own)
        for name, own in layers.items()
    }

    def draw_figure() -> Figure:
        figure = canvas(WIDTH + 1, HEIGHT + legend_height(init, WIDTH + 1))
        axes = figure.subplots()
        looks = dict(zip(init, styles(len(init)), strict=True))
        for name, own in layers.items():
            weight = own[0].weight.detach()
            axes.hist(torch.linalg.svdvals(weight).numpy(), 40, density=True, color=looks[name].color, alpha=0.35)
            end = 2 * float(weight.std()) * math.sqrt(units)
            x = torch.linspace(0, end, 200)
            quarter = 4 / (math.pi * end**2) * (end**2 - x**2).clamp_min(0).sqrt()
            look: dict[str, Any] = {"color": looks[name].color, "linestyle": looks[name].linestyle}
            axes.plot(x, quarter, **look)
            axes.axvline(values[f"mean singular value, {name}"], linewidth=1, **look)
        label_axes(axes, "singular value (vertical lines: the means)", "density")
        legend(figure, init, looks)
        return figure

    return Measured(values, draw_figure)


def first_learned(runs: Sequence[Record], guess: float) -> str:
    """Return the epochs in which the loss of the runs is first below that of a guess by 1 %."""
    epochs = [epochs_to(run, "train/loss", 0.99 * guess) for run in runs]
    return " and ".join("none" if math.isinf(epoch) else f"{epoch:g}" for epoch in epochs)


def trained(runs: Sequence[Record]) -> Measured:
    """Measure by initializer: a deep network's training loss divided by that of a guess, and its accuracy.

    Each initializer has the rate with its best validation accuracy.
    """
    groups = {name: at_best_rate(group) for name, group in by(runs, "init").items()}
    guess = math.log(10)
    values = {}
    for name, group in groups.items():
        values[f"{name}: training loss by a guess's"] = fmean(last(run, "train/loss") for run in group) / guess
        values[f"{name}: validation accuracy"] = fmean(best(run, "val/accuracy") for run in group)
    said = [
        f"{name}: validation accuracy {100 * values[f'{name}: validation accuracy']:.1f} % after "
        f"{group[0].epochs} epochs with a rate of {level(group[0], 'optimizer.lr')} (mean of {len(group)} seeds); "
        f"first epoch with a training loss more than 1 % below a guess's: {first_learned(group, guess)}"
        for name, group in groups.items()
    ]
    return Measured(values, lambda: curves_of(groups, "train/loss", "val/accuracy"), said)
