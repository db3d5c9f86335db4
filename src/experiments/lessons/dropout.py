"""Dropout: the form of the paper and the inverted form, and the two readings of its probability."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from experiments.figures.canvas import canvas, on_axes
from experiments.figures.palette import INK, styles
from experiments.models.blocks import Dropout, use_noise
from experiments.models.draws import Draws
from experiments.recipes.measured import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS, SCORES, DRAWS = 10, 3, 20_000
Probability = Annotated[float, Gt(0), Lt(1)]


def both_forms(keep: Probability = 0.6, scaled: bool = True) -> Measured:
    """Compare the mean of a layer's outputs over all masks with its output at test time, for both forms of Dropout.

    Args:
        keep: the probability to keep a unit.
        scaled: whether the form of the paper scales the weights at test time.
    """
    draw = torch.Generator().manual_seed(0)
    units = torch.randn(UNITS, generator=draw, dtype=torch.float64)
    weight = torch.randn(SCORES, UNITS, generator=draw, dtype=torch.float64)
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=UNITS)), dtype=torch.float64)
    kept = masks.sum(1)
    probability = keep**kept * (1 - keep) ** (UNITS - kept)

    def mean(outputs: Tensor) -> Tensor:
        return probability @ (outputs @ weight.T)

    size = (weight @ units).abs().max()
    at_test = {"as first written": weight @ units * (keep if scaled else 1.0), "inverted": weight @ units}
    over_masks = {"as first written": mean(masks * units), "inverted": mean(masks * units / keep)}
    errors = {name: float((over_masks[name] - at_test[name]).abs().max() / size) for name in at_test}
    module = Dropout(1 - keep)
    use_noise(module, Draws(1))
    drawn = module.train()(units.expand(DRAWS, UNITS)) @ weight.T
    distance = (drawn.mean(0) - weight @ units).abs() / (drawn.std(0) / math.sqrt(DRAWS))
    values = {f"{name}, mean over all masks from the output at test time": error for name, error in errors.items()}
    values["model.dropout, mean of 20,000 draws from the output at test time (standard errors)"] = float(distance.max())
    said = [
        f"All {len(masks):,} masks of {UNITS} units were used, each with its probability",
        f"The mean of {DRAWS:,} draws of model.dropout is within {float(distance.max()):.1f} standard errors",
    ]

    def draw_figure() -> Figure:
        figure = canvas(6.5, 3.6)
        axes = figure.subplots()
        look = styles(1)[0]
        axes.hist(drawn[:, 0].numpy(), 40, color=look.color, alpha=0.6, label="with random masks")
        axes.axvline(float(drawn[:, 0].mean()), color=look.color, label="their mean")
        axes.axvline(float((weight @ units)[0]), color=INK, linestyle=":", label="at test time")
        axes.set_xlabel("first output of the layer")
        axes.set_ylabel("draws")
        axes.legend()
        return figure

    return Measured(values, draw_figure, said)


def readings(p: Probability = 0.2, units: Annotated[int, Ge(1)] = 100_000) -> Measured:
    """Measure the share of units that `model.dropout=p` drops, and what is lost if p is read as the share to keep.

    Args:
        p: the setting.
        units: how many ones go through the layer.
    """
    module = Dropout(p)
    use_noise(module, Draws(0))
    outputs = module.train()(torch.ones(units))
    dropped = float((outputs == 0).double().mean())
    values = {
        "share of units that is dropped, by p": dropped / p,
        "value of a kept unit times 1 - p": float(outputs.max()) * (1 - p),
        "share that is dropped if p is read as the probability to keep": 1 - p,
    }
    said = [
        f"model.dropout={p:g} drops {dropped:.1%} of the units; a source that keeps units with probability {p:g} "
        f"needs model.dropout={1 - p:g} here"
    ]

    @on_axes(6.5, 2.6)
    def draw(axes: Axes) -> None:
        shares = {f"p = {p:g} is dropped (here)": dropped, f"p = {p:g} is kept (other sources)": 1 - p}
        for row, ((name, share), look) in enumerate(zip(shares.items(), styles(2), strict=True)):
            axes.barh([row], [100 * share], color=look.color, label=name)
        axes.set_yticks(range(len(shares)), list(shares))
        axes.set_xlabel("units that are dropped (%)")
        axes.set_xlim(0, 100)

    return Measured(values, draw, said)
