"""The measures of the lessons, where the right value is known; and the lessons on MNIST, run on the digits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.stats import norm

from experiments import initializers
from experiments.common.conf import conf_folder
from experiments.lessons import batch_norm_sigmoids, depth, grids
from experiments.lessons.batch_norm import batch_normalized, standard_error
from experiments.lessons.batches import share_of_rises
from experiments.lessons.initial_weights import LARGEST_OF_TEN
from experiments.lessons.input_scales import condition, descent, features, hessian
from experiments.lessons.models import NormalizedAfter
from experiments.lessons.outputs import distance_from_line, gradient, probabilities
from experiments.lessons.weight_scales import as_in_the_book
from experiments.models.mlp import MLP
from experiments.recipes._running import RecipeTask, run_recipe
from experiments.recipes.measured import lead
from experiments.recipes.recipe import recipes
from tests.helpers import thinned


def test_orthogonal_layers_pass_everything_on() -> None:
    fill = partial(initializers.orthogonal, gain=1.0)
    found = depth.passage(fill, layers=3, width=20, activation="identity", examples=50, draw=0, gain=1.0)
    assert found.forward == pytest.approx([1, 1, 1])
    assert found.backward == pytest.approx([1, 1, 1])
    doubled = depth.passage(fill, layers=3, width=20, activation="identity", examples=50, draw=0, gain=2.0)
    assert doubled.forward == pytest.approx([4, 16, 64])
    assert doubled.backward == pytest.approx([64, 16, 4])
    assert doubled.spreads == pytest.approx([2 ** (n + 1) * found.spreads[n] for n in range(3)], rel=1e-5)


def test_percentiles_of_a_sigmoids_inputs_follow_from_its_outputs() -> None:
    torch.manual_seed(0)
    model = MLP((4,), 3, hidden=[8, 5], activation="sigmoid", batch_norm=True).eval()
    x = torch.randn(101, 4)  # at 0, 15 and 85 of 100 there are values, and nothing lies between them
    with torch.no_grad():
        outputs = model.features(x)
    expected = outputs.sort(0).values[[15, 50, 85]].logit()
    torch.testing.assert_close(batch_norm_sigmoids.percentiles(model, x), expected, rtol=1e-4, atol=1e-4)


def test_drift_is_the_range_of_the_medians_divided_by_the_spread() -> None:
    one = torch.tensor([[-1.0, 0, 1], [0, 1, 2], [2, 3, 4]])  # epochs, percentiles: it wanders by 3 with a spread of 2
    still = torch.tensor([[-2.0, 0, 2]] * 3)
    inputs = torch.stack([one, still], 2)
    assert batch_norm_sigmoids.unit_drifts(inputs).tolist() == [1.5, 0]
    assert batch_norm_sigmoids.drift(inputs) == 0.75


def test_grid_points_are_in_the_middle_of_their_cells_and_draws_anywhere() -> None:
    grid = grids.grid_points(2)
    assert grid == [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]
    drawn = grids.random_points(9, seed=0)
    assert len({x for x, _ in drawn}) == 9
    assert drawn == grids.random_points(9, seed=0) != grids.random_points(9, seed=1)


SMALL = ("data=digits", "data.preprocess=standardize")
TINY: Mapping[str, tuple[Sequence[str], Mapping[str, Any]]] = {
    "nielsen_30_units": (["training.epochs=2", "data.limit=100", "data.val_fraction=0.1", "seed=range(2)"], {}),
    "initializers_mnist": (["training.epochs=1", "data.limit=100", "seed=range(2)"], {}),
    "overfitting_mnist": (["training.epochs=2", "data.limit=100", "data.val_fraction=0.1", "seed=range(2)"], {}),
    "coarse_to_fine_mnist": (
        ["training.epochs=1", "data.limit=100", "data.val_fraction=0.2", "hydra.sweeper.n_trials=6"],
        {"first": 3},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", thinned(TINY))
def test_a_lesson_on_mnist_measures_what_its_band_names_and_draws(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipes([conf_folder()])[name]
    overrides, settings = TINY[name]
    recipe = replace(recipe, settings={**recipe.settings, **settings})
    result = run_recipe(RecipeTask(name, recipe, tmp_path / "runs", tmp_path / "log", [*SMALL, *overrides]))
    assert result.error is None, result.error
    assert result.values.keys() >= recipe.band.keys()
    assert all(math.isfinite(result.values[quantity]) for quantity in recipe.band)
    assert result.png.startswith(b"\x89PNG")


def test_a_lead_is_the_lower_end_of_the_paired_interval() -> None:
    first, second = {"0": 3.0, "1": 5.0, "2": 4.5}, {"2": 2.0, "0": 2.5, "1": 2.1}
    paired = stats.ttest_rel([3.0, 5.0, 4.5], [2.5, 2.1, 2.0]).confidence_interval(0.95)
    assert lead(first, second) == pytest.approx(paired.low)
    assert lead(second, first) == pytest.approx(-paired.high)


def test_there_is_no_lead_over_a_run_that_diverged_or_of_one_run() -> None:
    assert math.isnan(lead({"0": 3.0, "1": math.nan}, {"0": 2.5, "1": 2.1}))
    assert math.isnan(lead({"0": 3.0}, {"0": 2.5}))


def test_the_largest_of_ten_normal_numbers() -> None:
    mean, _ = quad(lambda x: 10 * x * norm.pdf(x) * norm.cdf(x) ** 9, -8, 8)
    assert pytest.approx(mean, rel=1e-4) == LARGEST_OF_TEN


def test_descent_equals_torchs_sgd_on_the_mean_squared_error() -> None:
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


def test_the_largest_distance_from_a_line() -> None:
    line = np.stack([np.linspace(0, 9, 10), 2 * np.linspace(0, 9, 10) + 1], 1)
    assert distance_from_line(line) == pytest.approx(0, abs=1e-12)
    square = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 1.0], [4.0, 1.0]])
    assert distance_from_line(square) == pytest.approx(0.5)


def test_probabilities_and_gradient_equal_softmaxs() -> None:
    z = torch.tensor([0.3, -2.0, 1.1], dtype=torch.float64)
    assert torch.allclose(probabilities(z), z.softmax(0))
    assert torch.allclose(gradient(z, 1), z.softmax(0) - torch.tensor([0.0, 1.0, 0.0]))


def test_the_standard_error_without_replacement() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    pairs = [(a + b) / 2 for n, a in enumerate(values) for b in values[n + 1 :]]
    assert standard_error(2, 4) == pytest.approx(np.std(pairs) / values.std())
    assert standard_error(4, 4) == 0


def test_the_rest_of_a_batch_matters_and_the_model_does_not_change() -> None:
    torch.manual_seed(0)
    model = MLP((3,), 2, hidden=[4], batch_norm=True).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(6, 3)
    assert not torch.allclose(batch_normalized(model, x)[:3], batch_normalized(model, x[:3]))
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_batch_norm_after_the_activation_is_after_the_activation() -> None:
    model = NormalizedAfter((3,), 2, hidden=[4, 5], batch_norm=True, dropout=0.5)
    parts = [list(dict(block.named_children())) for block in model.features if isinstance(block, torch.nn.Sequential)]
    assert parts == [["linear", "activation", "batch_norm", "dropout"]] * 2
    assert model(torch.randn(6, 3)).shape == (6, 2)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in MLP((3,), 2, hidden=[4, 5], batch_norm=True).parameters()
    )


def test_the_books_training_starts_after_one_update_and_ends_after_191() -> None:
    x, y = torch.rand(1000, 5, generator=torch.Generator().manual_seed(0)), torch.arange(1000) % 10
    curves = as_in_the_book(x, y, 0.1, 1e-9)
    assert {kind: len(values) for kind, values in curves.items()} == {"true": 20, "false": 20}
    assert len(set(curves["false"])) == 1


@pytest.mark.parametrize(("losses", "share"), [([3, 2, 1], 0), ([1, 2, 1, 2], 2 / 3), ([1, 1], 0)])
def test_the_share_of_rises(losses: list[float], share: float) -> None:
    assert share_of_rises(losses) == pytest.approx(share)
