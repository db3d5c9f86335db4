"""The lessons' own measurements, where their result is known."""

from functools import partial

import pytest
import torch

from experiments import initializers
from experiments.lessons import depth, grids, normalizing
from experiments.models.mlp import MLP


def test_orthogonal_layers_pass_everything_on() -> None:
    fill = partial(initializers.orthogonal, gain=1.0)
    found = depth.passage(fill, layers=3, width=20, activation="identity", examples=50, draw=0, gain=1.0)
    assert found.forward == pytest.approx([1, 1, 1])
    assert found.backward == pytest.approx([1, 1, 1])
    doubled = depth.passage(fill, layers=3, width=20, activation="identity", examples=50, draw=0, gain=2.0)
    assert doubled.forward == pytest.approx([4, 16, 64])
    assert doubled.backward == pytest.approx([64, 16, 4])
    assert doubled.spreads == pytest.approx([2 ** (n + 1) * found.spreads[n] for n in range(3)], rel=1e-5)


def test_percentiles_of_a_sigmoids_inputs_are_those_of_its_outputs_turned_back() -> None:
    torch.manual_seed(0)
    model = MLP((4,), 3, hidden=[8, 5], activation="sigmoid", batch_norm=True).eval()
    x = torch.randn(101, 4)  # at 0, 15 and 85 of 100 there are values, and nothing lies between them
    with torch.no_grad():
        outputs = model.features(x)
    expected = outputs.sort(0).values[[15, 50, 85]].logit()
    torch.testing.assert_close(normalizing.percentiles(model, x), expected, rtol=1e-4, atol=1e-4)


def test_drift_is_the_medians_range_by_the_spread() -> None:
    one = torch.tensor([[-1.0, 0, 1], [0, 1, 2], [2, 3, 4]])  # epochs, percentiles: it wanders by 3 with a spread of 2
    still = torch.tensor([[-2.0, 0, 2]] * 3)
    inputs = torch.stack([one, still], 2)
    assert normalizing.unit_drifts(inputs).tolist() == [1.5, 0]
    assert normalizing.drift(inputs) == 0.75


def test_a_grid_lies_in_the_middle_of_its_cells_and_draws_lie_anywhere() -> None:
    grid = grids.grid_points(2)
    assert grid == [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]
    drawn = grids.random_points(9, seed=0)
    assert len({x for x, _ in drawn}) == 9
    assert drawn == grids.random_points(9, seed=0) != grids.random_points(9, seed=1)
