"""The lessons' own mathematics, each against a reference or by what it has to hold."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from experiments.comparison.reading import Record
from experiments.lessons.batches import share_of_rises
from experiments.lessons.initial_weights import LARGEST_OF_TEN
from experiments.lessons.normalization import in_company, standard_error
from experiments.lessons.outputs import gradient, off_line, probabilities
from experiments.lessons.scaling import condition, descent, features, hessian
from experiments.models.mlp import MLP
from experiments.recipes.measured import lead


def test_the_largest_of_ten_normal_numbers() -> None:
    mean, _ = quad(lambda x: 10 * x * norm.pdf(x) * norm.cdf(x) ** 9, -8, 8)
    assert pytest.approx(mean, rel=1e-4) == LARGEST_OF_TEN


def test_descent_is_torchs_sgd_on_the_mean_squared_error() -> None:
    x = features(3)
    bowl = hessian(x)
    best = torch.tensor([1.0, 1.0], dtype=torch.float64) / torch.from_numpy(np.sqrt(np.diag(bowl)))
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=2 / float(np.linalg.eigvalsh(bowl).sum()))
    for distance in descent(bowl):
        assert torch.allclose(w.detach() - best, torch.from_numpy(distance), atol=1e-12)
        optimizer.zero_grad()
        ((x @ w - x @ best).square().mean() / 2).backward()
        optimizer.step()


def test_a_condition_number_is_the_square_of_the_scales() -> None:
    assert condition(np.diag([1.0, 100.0**2])) == pytest.approx(1e4)


def test_the_furthest_from_a_line() -> None:
    line = np.stack([np.linspace(0, 9, 10), 2 * np.linspace(0, 9, 10) + 1], 1)
    assert off_line(line) == pytest.approx(0, abs=1e-12)
    square = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 1.0], [4.0, 1.0]])
    assert off_line(square) == pytest.approx(0.5)


def test_probabilities_and_gradient_are_softmaxs() -> None:
    z = torch.tensor([0.3, -2.0, 1.1], dtype=torch.float64)
    assert torch.allclose(probabilities(z), z.softmax(0))
    assert torch.allclose(gradient(z, 1), z.softmax(0) - torch.tensor([0.0, 1.0, 0.0]))


def test_the_standard_error_without_replacement() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    pairs = [(a + b) / 2 for n, a in enumerate(values) for b in values[n + 1 :]]
    assert standard_error(2, 4) == pytest.approx(np.std(pairs) / values.std())
    assert standard_error(4, 4) == 0


def test_company_counts_and_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = MLP((3,), 2, hidden=[4], batch_norm=True).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(6, 3)
    assert not torch.allclose(in_company(model, x)[:3], in_company(model, x[:3]))
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("losses", "share"), [([3, 2, 1], 0), ([1, 2, 1, 2], 2 / 3), ([1, 1], 0)])
def test_the_share_of_rises(losses: list[float], share: float) -> None:
    assert share_of_rises(losses) == pytest.approx(share)


def test_a_lead_is_taken_seed_by_seed() -> None:
    def runs(*values: float) -> list[Record]:
        return [Record(Path(), {"seed": n}, {}, (), {}, {"metrics": {"x": v}}) for n, v in enumerate(values)]

    def value(run: Record) -> float:
        return run.metrics["x"]

    low, high = lead(runs(2, 13, 24), runs(1, 11, 21), value)
    half = 4.302653 / math.sqrt(3)  # Student's t for two degrees of freedom; the differences are 1, 2, 3
    assert (low, high) == pytest.approx((2 - half, 2 + half))
    assert lead(runs(2, 3), runs(1, 2), value) == (1, 1)
    assert all(math.isnan(end) for end in lead(runs(1), runs(1), value))
