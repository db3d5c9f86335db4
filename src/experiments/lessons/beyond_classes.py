"""Regressions and labels, against linear models on the same splits; and gradients through many steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from experiments.data.batches import Split
from experiments.evaluation.loading import load
from experiments.figures.canvas import canvas
from experiments.figures.palette import styles
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best
from experiments.tasks.metrics import label_f1, r2

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def against_ridge(runs: Sequence[Record]) -> Measured:
    """Measure the test R^2 of a regression against ridge regression, and its error against the known noise.

    Args:
        runs: of different seeds, on `data=sine`.
    """
    from sklearn.linear_model import Ridge

    run = load(runs[0].folder)
    (x, y), (x_new, y_new) = (arrays(run.data.splits[name]) for name in ("train", "test"))
    linear = torch.from_numpy(Ridge().fit(x, y).predict(x_new)).reshape(y_new.shape)
    ridge = r2(linear, y_new)
    noise = float(run.config["data"]["noise"])
    scores = [best(own, "test/r2") for own in runs]
    errors = [best(own, "test/rmse") / noise for own in runs]
    values = {
        "R^2 of ridge regression": ridge,
        "R^2 of the network, lowest": min(scores),
        "error of the network over the noise, median": median(errors),
    }
    said = [
        f"Ridge regression explains {ridge:.1%} of the variance of new examples, the networks "
        f"{', '.join(f'{score:.1%}' for score in scores)}; their errors are "
        f"{', '.join(f'{error:.3f}' for error in errors)} times the noise"
    ]

    def draw() -> Figure:
        split = run.data.splits["test"]
        scores = torch.cat([part.cpu() for part, _ in run.batches(split)])
        return run.task.figures(split, scores, "test")["fit"]

    return Measured(values, draw, said)


def against_logistic_regressions(runs: Sequence[Record]) -> Measured:
    """Measure the test F1 of a network with many labels against a logistic regression for each label.

    Args:
        runs: of different seeds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier

    run = load(runs[0].folder)
    (x, y), (x_new, y_new) = (arrays(run.data.splits[name]) for name in ("train", "test"))
    each = MultiOutputClassifier(LogisticRegression(max_iter=1000)).fit(x, y)
    linear = label_f1(torch.from_numpy(each.predict(x_new)).double(), y_new)
    scores = [best(own, "test/f1") for own in runs]
    values = {
        "F1 of logistic regressions": linear,
        "F1 of the network, median": median(scores),
        "F1 of the network minus that of logistic regressions, median": median(scores) - linear,
    }
    said = [
        f"Logistic regressions, one for each label, have a test F1 of {linear:.3f}, the networks "
        f"{', '.join(f'{score:.3f}' for score in scores)}"
    ]
    return Measured(values, lambda: curves_of({"runs": runs}, "val/loss", "val/f1"), said)


def arrays(split: Split) -> tuple[Tensor, Tensor]:
    """Return the prepared inputs and the encoded targets of a split, both (examples, ...) in float64."""
    x, y = split.first(len(split))
    return x.flatten(1).double().cpu(), y.double().cpu()


CELLS: Mapping[str, type[nn.RNNBase]] = {"simple recurrent network": nn.RNN, "LSTM": nn.LSTM}


def through_time(
    steps: Annotated[int, Ge(2)] = 100, units: Annotated[int, Ge(1)] = 64, forget_bias: float = 5.0, draws: int = 5
) -> Measured:
    """Measure the gradient of the last state with respect to the first input, relative to that of the last input.

    Args:
        steps: of a sequence.
        units: of the recurrent layer, whose weights are those of torch.
        forget_bias: of the LSTM: with a large one the gates that keep the cell's state are open.
        draws: of the weights.
    """
    sizes: dict[str, list[list[float]]] = {name: [] for name in CELLS}
    for seed in range(draws):
        for name in CELLS:
            sizes[name].append(gradients(name, steps, units, forget_bias, seed))
    factors = {name: median(one[0] / one[-1] for one in each) for name, each in sizes.items()}
    values = {f"log10 of the factor, {name}": math.log10(max(factor, 1e-300)) for name, factor in factors.items()}
    said = [
        f"Through {steps} steps the gradient is multiplied by "
        + " and ".join(f"{factor:.1e} ({name})" for name, factor in factors.items())
    ]
    return Measured(values, lambda: gradients_figure(sizes, steps), said)


def gradients(name: str, steps: int, units: int, forget_bias: float, seed: int) -> list[float]:
    """Return the size of the gradient of the last state with respect to the input of each step.

    Args:
        name: in `CELLS`.
        steps, units, forget_bias: see `through_time`.
        seed: of the weights and the inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = CELLS[name](units, units, batch_first=True)  # type: ignore[call-arg, arg-type]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator).mul(2).sub(1) / math.sqrt(units))
        if name == "LSTM":
            biases: Tensor = layer.bias_ih_l0  # type: ignore[assignment]
            biases[units : 2 * units] = forget_bias  # the second quarter is that of the forget gates
    layer.double()
    x = torch.randn(1, steps, units, generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.randn(units, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((layer(x)[0][0, -1] * weights).sum(), x)
    return [float(size) for size in gradient[0].norm(dim=1)]


def gradients_figure(sizes: Mapping[str, Sequence[Sequence[float]]], steps: int) -> Figure:
    """Draw the size of the gradient over the steps, one line for each draw."""
    figure = canvas(7, 3.6)
    axes = figure.subplots()
    for (name, each), look in zip(sizes.items(), styles(len(sizes)), strict=True):
        for number, one in enumerate(each):
            relative = [size / one[-1] for size in one]
            axes.plot(range(1, steps + 1), relative, color=look.color, label=name if number == 0 else None)
    axes.set_yscale("log")
    axes.set_ylim(1e-30, 1e3)
    axes.set_xlabel("step of the input")
    axes.set_ylabel("gradient, relative to the last step")
    axes.legend()
    return figure
