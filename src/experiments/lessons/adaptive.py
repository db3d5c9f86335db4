"""The sizes of the updates of AdaGrad and Adam, for gradients that are known beforehand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from experiments.figures.canvas import logarithmic, on_axes
from experiments.figures.palette import INK, styles
from experiments.recipes.measured import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEEP, RARE = 100.0, 10
"""How many times as large one element's gradient is, and how many times as rare another one's."""


def bias_correction(
    rate: Annotated[float, Gt(0)] = 0.001, updates: Annotated[int, Ge(2)] = 5000, corrected: bool = False
) -> Measured:
    """Measure the updates of Adam with a constant gradient, with its bias correction and without.

    Args:
        rate: the learning rate.
        updates: how many.
        corrected: whether the second Adam is corrected too.
    """
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=rate, betas=(0.9, 0.999), eps=0.0)
    points = [0.0]
    for _ in range(updates):
        w.grad = torch.full_like(w, 3.0)
        optimizer.step()
        points.append(w.item())
    t = np.arange(1, updates + 1)
    factor = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
    with_it = -np.diff(points) / rate
    without = with_it if corrected else with_it * factor
    values = {
        "first update by the rate, corrected": float(with_it[0]),
        "first update by the rate, not corrected": float(without[0]),
        "largest update by the rate, not corrected": float(without.max()),
        f"update {updates} by the rate, not corrected": float(without[-1]),
    }
    said = [
        f"Without the correction update {int(without.argmax()) + 1} is the largest, {without.max():.2f} rates; "
        f"from update {int(np.argmax((t > without.argmax()) & (without < 1.1))) + 1} on it is within 10 % of the rate"
    ]

    @on_axes(6.5, 3.6)
    def draw(axes: Axes) -> None:
        sizes = {"with bias correction": with_it, "without": without}
        for (name, own), look in zip(sizes.items(), styles(2), strict=True):
            axes.plot(t, own, color=look.color, linestyle=look.linestyle, label=name)
        logarithmic(axes.xaxis)
        axes.set_xlabel("update")
        axes.set_ylabel("size of the update / learning rate")
        axes.legend()

    return Measured(values, draw, said)


def per_element(
    optimizer: Literal["adagrad", "sgd"] = "adagrad",
    rate: Annotated[float, Gt(0)] = 0.1,
    updates: Annotated[int, Ge(100)] = 1000,
) -> Measured:
    """Measure the effective rates of AdaGrad's elements: a steep, a flat and a rarely used one.

    Args:
        optimizer: used as AdaGrad.
        rate: the learning rate.
        updates: how many.
    """
    sizes = moves(optimizer, rate, updates)
    steep, flat, rare = sizes.T
    last = RARE * (updates // RARE) - 1
    values = {
        "first update, steep by flat": float(steep[0] / flat[0]),
        "effective rate, flat by steep": float(flat[0] / steep[0] * STEEP),
        f"update {updates} by the first, times its square root": float(flat[-1] / flat[0] * math.sqrt(updates)),
        "effective rate, rare by frequent": float(rare[last] / flat[last]),
    }
    said = [
        "The effective rate of an element is the rate divided by the root of the sum of its squared gradients: it is "
        f"{values['effective rate, flat by steep']:.0f} times as large if the gradient is {STEEP:.0f} times as small, "
        f"and {values['effective rate, rare by frequent']:.2f} times if it is {RARE} times as rare"
    ]

    @on_axes(6.5, 3.6)
    def draw(axes: Axes) -> None:
        t = np.arange(1, updates + 1)
        names = (f"gradient {STEEP:g}", "gradient 1", f"gradient 1 in every {RARE}th update")
        for name, own, look in zip(names, (steep, flat, rare), styles(3), strict=True):
            shown = own > 0
            axes.plot(t[shown], own[shown], color=look.color, linestyle=look.linestyle, label=name)
        axes.plot(t, rate / np.sqrt(t), color=INK, linewidth=0.8, linestyle=":", label="rate / sqrt(t)")
        for axis in (axes.xaxis, axes.yaxis):
            logarithmic(axis)
        axes.set_xlabel("update")
        axes.set_ylabel("size of the update")
        axes.legend()

    return Measured(values, draw, said)


def moves(optimizer: str, rate: float, updates: int) -> NDArray[np.float64]:
    """Return the sizes of the updates of three elements, (updates, elements): steep, flat, rare.

    Args:
        optimizer: adagrad or sgd.
        rate: the learning rate.
        updates: how many.
    """
    w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rules = {"adagrad": torch.optim.Adagrad, "sgd": torch.optim.SGD}
    rule = rules[optimizer]([w], lr=rate)
    points = [w.detach().clone()]
    for update in range(1, updates + 1):
        w.grad = torch.tensor([STEEP, 1.0, 1.0 if update % RARE == 0 else 0.0], dtype=torch.float64)
        rule.step()
        points.append(w.detach().clone())
    return np.abs(np.diff(torch.stack(points).numpy(), axis=0))
