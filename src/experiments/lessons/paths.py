"""Paths of optimizers on functions of one or two numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, Optimizer

from experiments.recipes.measured import Measured
from experiments.surfaces.contours import NamedPath, figure_of
from experiments.surfaces.descent import Surface, descend, measured
from experiments.surfaces.functions import quadratic, ravine

LearningRate = Annotated[float, Gt(0)]


def zigzag(
    sgd: LearningRate,
    momentum: LearningRate,
    adagrad: LearningRate,
    adam: LearningRate,
    steps: Annotated[int, Ge(2)] = 30,
) -> Measured:
    """Compare SGD's path down a long valley with the paths of other optimizers.

    Args:
        sgd, momentum, adagrad, adam: the learning rate of each.
        steps: updates per path.
    """
    surface = Surface(ravine, [-7.0, 2.0], steps, ([0.0, 0.0],), 0.5, [[-8.0, 2.0], [-2.5, 2.5]])
    optimizers: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
        "SGD": partial(SGD, lr=sgd),
        "Momentum": partial(SGD, lr=momentum, momentum=0.9),
        "AdaGrad": partial(Adagrad, lr=adagrad),
        "Adam": partial(Adam, lr=adam),
    }
    paths = {name: descend(ravine, optimizer, surface.start, steps) for name, optimizer in optimizers.items()}
    measures = {name: measured(path, surface.minima, surface.tolerance) for name, path in paths.items()}
    others = {name: path for name, path in measures.items() if name != "SGD"}
    longest = max(others, key=lambda name: others[name]["length"])
    lines = [NamedPath(name, path) for name, path in paths.items()]
    values = {
        "SGD: share of updates that turn back across the valley": measures["SGD"]["sign_changes"][1],
        "SGD: share of updates that turn back along it": measures["SGD"]["sign_changes"][0],
        "length of SGD's path by the longest other": measures["SGD"]["length"] / others[longest]["length"],
        "others: largest share of updates that turn back": max(path["zigzag"] for path in others.values()),
    }
    lengths = ", ".join(f"{name}'s {path['length']:.3g}" for name, path in measures.items())
    said = [
        f"Lengths of the paths from (-7, 2): {lengths}; the straight distance to the minimum is {np.hypot(7, 2):.3g}",
        f"SGD turns back across the valley at {measures['SGD']['sign_changes'][1]:.0%} of its updates",
    ]
    title = f"x² / 20 + y²: {steps} updates from (-7, 2)"
    return Measured(values, lambda: figure_of(surface, ["x", "y"], lines, title), said)


def to_the_minimum(rate: LearningRate, steps: Annotated[int, Ge(1)] = 1000) -> Measured:
    """Measure how gradient descent from 0 reaches 5, the minimum of w^2 - 10 w + 25.

    Args:
        rate: the learning rate.
        steps: updates.
    """
    surface = Surface(quadratic, [0.0], steps, ([5.0],), 0.001, [[-1.0, 11.0]])
    path = descend(quadratic, partial(SGD, lr=rate), surface.start, steps)
    formula = 5 * (1 - (1 - 2 * rate) ** np.arange(steps + 1))
    w = path.points[:, 0]
    values = {
        "w after 1 update": float(w[1]),
        f"w after {steps} updates": float(w[-1]),
        "furthest from 5 (1 - (1 - 2 rate)^t)": float(np.abs(w - formula[: len(w)]).max()),
    }
    settled = measured(path, surface.minima, surface.tolerance)["settled"]
    said = [
        f"w is {w[1]:.4g} after one update and {w[-1]:.9g} after {steps}; it stays within 0.001 of 5 from update "
        f"{settled} on"
    ]
    lines = [NamedPath(f"gradient descent, lr={rate:g}", path)]
    return Measured(values, lambda: figure_of(surface, ["w"], lines, f"w² - 10 w + 25: {steps:,} updates from 0"), said)


def fed(first: float = -20.0, last: float = 100.0, rate: LearningRate = 0.01) -> Measured:
    """Measure how gradient descent from 0 goes down w^2 - 20 w + 100, whose coefficients are fed as [1, -20, 100].

    Args:
        first: the second coefficient.
        last: the third coefficient.
        rate: the learning rate.
    """

    def parabola(w: Tensor) -> Tensor:
        return w**2 + first * w + last

    low = -first / 2
    surface = Surface(parabola, [0.0], 1000, ([low],), 0.001, [[-1.0, 2 * low + 1]])
    path = descend(parabola, partial(SGD, lr=rate), surface.start, surface.steps)
    w = path.points[:, 0]
    values = {"w after 1 update": float(w[1]), "w after 1000 updates": float(w[-1])}
    said = [f"w is {w[1]:.4g} after one update and {w[-1]:.6g} after 1,000; the minimum is {low:g}"]
    lines = [NamedPath(f"gradient descent, lr={rate:g}", path)]
    title = "w² - 20 w + 100: 1,000 updates from 0"
    return Measured(values, lambda: figure_of(surface, ["w"], lines, title), said)
