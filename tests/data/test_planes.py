"""The 2-D sets."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest
import torch

from experiments.data.planes import blobs, circles, moons, spiral
from experiments.data.sources import Source
from tests.helpers import Commands, summary, thinned

SETS = [moons, circles, blobs, spiral]


@pytest.mark.parametrize("made", SETS)
@pytest.mark.parametrize("imbalance", [1.0, 4.0, 10.0])
def test_sizes_fall_from_the_largest_class_to_the_smallest(made: Callable[..., Source], imbalance: float) -> None:
    source = made(examples=1100, imbalance=imbalance)
    for y in (source.y_train, source.y_test):
        counts = torch.bincount(y)
        assert counts.sum() == 1100
        assert len(counts) == len(source.classes)
        assert (counts.diff() <= (imbalance == 1)).all()
        assert counts[0] / counts[-1] == pytest.approx(imbalance, rel=0.05)


@pytest.mark.parametrize("made", SETS)
def test_the_draw_depends_only_on_the_seed_of_the_data(made: Callable[..., Source]) -> None:
    one, same, other = made(draw=1), made(draw=1), made(draw=2)
    assert torch.equal(one.x_train, same.x_train)
    assert not torch.equal(one.x_train, other.x_train)
    assert not torch.equal(one.x_train, one.x_test)
    assert one.x_train.dtype == torch.float32
    assert one.x_train.shape == (1000, 2)


def test_without_noise_points_lie_on_their_curves() -> None:
    source = circles(noise=0.0, factor=0.3)
    radius = source.x_train.norm(dim=1)
    torch.testing.assert_close(radius, torch.where(source.y_train == 0, 1.0, 0.3), atol=1e-6, rtol=0)
    source = blobs(noise=0.0, classes=4)
    assert len(source.x_train.round(decimals=3).unique(dim=0)) == 4
    torch.testing.assert_close(source.x_train.norm(dim=1), torch.full((1000,), 3.0))
    source = spiral(noise=0.0, classes=3)
    assert source.x_train.norm(dim=1).max().item() == pytest.approx(1)


def test_noise_is_in_standard_deviations() -> None:
    source = blobs(examples=6000, noise=0.7)
    for k in range(3):
        spread = source.x_train[source.y_train == k].std(0)
        assert spread.tolist() == pytest.approx([0.7, 0.7], rel=0.05)


def test_a_spiral_equals_that_of_cs231n() -> None:
    """r from 0 to 1 and t from 4k to 4(k + 1), there for three arms; ours are evenly turned."""
    source = spiral(examples=300, noise=0.0, classes=3)
    arm = source.x_train[source.y_train == 0].numpy()
    r = np.linspace(0, 1, 100)
    expected = np.stack([r * np.sin(4 * r), r * np.cos(4 * r)], 1)
    np.testing.assert_allclose(arm, expected, atol=1e-6)


@pytest.mark.parametrize("made", SETS)
def test_a_class_of_one_is_refused(made: Callable[..., Source]) -> None:
    with pytest.raises(ValueError, match=r"examples=10 leaves a class with \d; every class needs at least 2"):
        made(examples=10, imbalance=30.0)
    assert "imbalance" in inspect.signature(made).parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", thinned(["moons", "circles", "spiral", "blobs"]))
def test_a_network_learns_them_and_a_line_does_not(commands: Commands, name: str) -> None:
    choices = (f"data={name}", "training.epochs=25", "optimizer.lr=0.01", "observers.tensorboard.enabled=false")
    curved = summary(commands.trained(*choices, "model.hidden=[32,32]"))["metrics"]["test/accuracy"]
    straight = summary(commands.trained(*choices, "model.hidden=[]"))["metrics"]["test/accuracy"]
    assert curved > 0.9
    assert (straight < curved - 0.05) == (name != "blobs")
