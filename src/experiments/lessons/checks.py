"""Sanity checks before training, as lessons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.figures.canvas import logarithmic, on_axes
from experiments.figures.palette import INK, styles
from experiments.folders.reading import Record
from experiments.initializers import initialize, xavier
from experiments.losses import cross_entropy
from experiments.models.mlp import MLP
from experiments.recipes.drawing import curves_of, dots
from experiments.recipes.measured import Measured, by, curve, last, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS = 10.0 ** np.arange(-11, 0.01, 0.5)
"""The steps h of the differences."""
ELEMENTS = 30
"""Elements of the weights that are checked."""
LAYER = "features.hidden1.linear"


def gradient_check(broken: bool = False) -> Measured:
    """Compare a network's gradient with differences of its loss, for several steps of the difference.

    The relative error is |a - n| / max(|a|, |n|) (CS231n); its median is taken over randomly drawn elements.

    Args:
        broken: whether the gradient of the hidden layer is 1 % too large.
    """
    errors = {
        (name, formula): [median_error(dtype, formula, step, broken=broken) for step in STEPS]
        for name, dtype in (("float64", torch.float64), ("float32", torch.float32))
        for formula in ("centred", "one-sided")
    }
    least = {key: min(values) for key, values in errors.items()}
    values = {
        "centred, float64": least["float64", "centred"],
        "centred, float32": least["float32", "centred"],
        "one-sided over centred": least["float64", "one-sided"] / least["float64", "centred"],
        "float32 over float64": least["float32", "centred"] / least["float64", "centred"],
    }

    @on_axes(6.5, 3.8)
    def draw(axes: Axes) -> None:
        for (name, medians), style in zip(errors.items(), styles(len(errors)), strict=True):
            axes.plot(STEPS, np.maximum(medians, 1e-14), label=", ".join(name), color=style.color, ls=style.linestyle)
        axes.axhline(1e-7, color=INK, linewidth=0.8, linestyle=":")
        axes.annotate("good: 1e-7", (STEPS[0], 1e-7), xytext=(2, 3), textcoords="offset points")
        for axis in (axes.xaxis, axes.yaxis):
            logarithmic(axis)
        axes.set_xlabel("step h of the difference")
        axes.set_ylabel("relative error (median)")
        axes.legend()

    best = STEPS[int(np.argmin(errors["float64", "centred"]))]
    said = [
        f"In double precision the centred formula is most accurate at h = {best:.0e}, with an error of "
        f"{values['centred, float64']:.1e}"
    ]
    return Measured(values, draw, said)


def median_error(dtype: torch.dtype, formula: str, step: float, *, broken: bool) -> float:
    """Return the median relative error of one formula with one step.

    Args:
        dtype: of the network.
        formula: of the difference: 'centred' or 'one-sided'.
        step: of a weight.
        broken: whether the gradient of the hidden layer is 1 % too large.
    """
    model, loss = small_network(dtype, broken=broken)
    weight = model.get_parameter(f"{LAYER}.weight")
    (analytic,) = torch.autograd.grad(loss(), [weight])
    chosen = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(2))[:ELEMENTS].tolist()
    errors = []
    with torch.no_grad():
        flat, unchanged = weight.view(-1), loss().item()
        for element in chosen:
            before = flat[element].item()
            flat[element] = before + step
            above = loss().item()
            flat[element] = before - step
            below = loss().item()
            flat[element] = before
            numeric = (above - below) / (2 * step) if formula == "centred" else (above - unchanged) / step
            exact = analytic.view(-1)[element].item()
            errors.append(abs(exact - numeric) / max(abs(exact), abs(numeric), 1e-300))
    return float(np.median(errors))


def small_network(dtype: torch.dtype, *, broken: bool) -> tuple[MLP, Callable[[], Tensor]]:
    """Return a network of 20 tanh units, and a function that computes its loss on eight random examples, a scalar."""
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(8, 10, generator=draw).to(dtype), torch.randint(5, (8,), generator=draw)
    model = MLP((10,), 5, hidden=[20], activation="tanh")
    initialize(model, xavier, draw, 0.0)
    model.to(dtype)
    if broken:
        model.get_submodule(LAYER).register_full_backward_pre_hook(too_large)
    return model, lambda: cross_entropy(model(x), y)


def too_large(_layer: nn.Module, gradients: Any) -> tuple[Tensor, ...]:
    """Return gradients that are 1 % too large."""
    return tuple(gradient * 1.01 for gradient in gradients)


def initial_loss(runs: Sequence[Record]) -> Measured:
    """Measure the loss on the probe before training, for softmax and the SVM: the means over the seeds."""
    losses = {
        {"cross_entropy": "softmax", "hinge": "SVM"}[name]: [quantity(run, "loss", 0)["model"] for run in group]
        for name, group in by(runs, "loss").items()
    }
    expected = {"softmax": math.log(10), "SVM": 9.0}

    def draw() -> Figure:
        return dots(losses, "loss before training", expected)

    return Measured({name: fmean(seeds) for name, seeds in losses.items()}, draw)


def overfit(runs: Sequence[Record]) -> Measured:
    """Measure the final accuracy and loss on the training examples, each for its worst seed."""
    values = {
        "training accuracy, worst seed": min(last(run, "train/accuracy") for run in runs),
        "training loss over ln 10, worst seed": max(last(run, "train/loss") for run in runs) / math.log(10),
    }

    def draw() -> Figure:
        return curves_of({"20 examples": runs}, "train/loss", "train/accuracy", log=True)

    first = [next((n for n, v in enumerate(curve(run, "train/accuracy"), 1) if v == 1), math.inf) for run in runs]
    said = [f"All examples are first right in epoch {min(first):g} to {max(first):g}, depending on the seed"]
    return Measured(values, draw, said)
