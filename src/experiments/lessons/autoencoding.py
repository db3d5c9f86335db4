"""An autoencoder against principal components."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments.evaluation.loading import load
from experiments.figures.reconstructions import reconstructions_figure
from experiments.folders.reading import Record
from experiments.recipes.measured import Measured, best

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def against_components(runs: Sequence[Record], components: int = 8) -> Measured:
    """Measure the test error of autoencoders as a share of that of as many principal components.

    Args:
        runs: of different seeds.
        components: of the principal component analysis, fitted to the first run's training split.
    """
    run = load(runs[0].folder)
    train, test = run.data.splits["train"].y.cpu().double(), run.data.splits["test"].y.cpu().double()
    linear = (projected(train, test, components) - test).square().mean().item()
    errors = [best(own, "test/mse") for own in runs]
    shares = [error / linear for error in errors]
    values = {
        "error of the autoencoder over that of the components, median": median(shares),
        "error of the autoencoder over that of the components, largest": max(shares),
    }
    said = [
        f"{components} principal components leave a test error of {linear:.4f}, autoencoders with {components} code "
        f"units {', '.join(f'{error:.4f}' for error in errors)}"
    ]

    def draw() -> Figure:
        shape = run.description.shape
        answers = torch.cat([run.task.answer(scores.cpu()) for scores, _ in run.batches(run.data.splits["test"])])
        return reconstructions_figure(answers.reshape(-1, *shape).numpy(), test.reshape(-1, *shape).numpy(), "test")

    return Measured(values, draw, said)


def projected(train: Tensor, x: Tensor, components: int) -> Tensor:
    """Return examples projected to the first principal components of others.

    Args:
        train: (examples, values), gives the mean and the components.
        x: (examples, values).
        components: how many.
    """
    mean = train.mean(0)
    axes = torch.linalg.svd(train - mean, full_matrices=False).Vh[:components]
    return (x - mean) @ axes.T @ axes + mean
