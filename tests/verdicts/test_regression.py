"""The verdicts on regressions: those that are true of planted data, and no others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import NO_PICTURES, Commands, summary

QUICK = (
    NO_PICTURES,
    "observers.tensorboard.enabled=false",
    "model.hidden=[30]",
    "training.epochs=40",
    "optimizer.lr=0.01",
)


def planted(folder: Path, noise: Any) -> str:
    """A parabola with noise, as a file: 800 examples to train on, 200 to test on."""
    draw = np.random.default_rng(0)
    x = draw.uniform(-2, 2, (1000, 1))
    y = 3 * x[:, 0] ** 2 + noise(draw, x[:, 0])
    path = folder / "parabola.npz"
    np.savez(path, x_train=x[:800], y_train=y[:800], x_test=x[800:], y_test=y[800:])
    return str(path)


def plain(draw: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return draw.normal(0, 0.3, len(x))


def growing(draw: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return draw.normal(0, 0.02 + 0.3 * x**2)


def wild(draw: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return plain(draw, x) + np.where(draw.random(len(x)) < 0.03, 40, 0)


@pytest.mark.parametrize("epochs", [2, 12])
def test_a_regression_that_is_worse_than_the_mean_is_not_healthy(commands: Commands, epochs: int) -> None:
    draw = np.random.default_rng(1)
    x, noise = draw.normal(size=(120, 30)), draw.normal(size=120)
    path = commands.folder / "noise.npz"
    np.savez(path, x_train=x[:100], y_train=noise[:100], x_test=x[100:], y_test=noise[100:])
    folder = commands.trained("data=npz", f"data.path={path}", *QUICK, f"training.epochs={epochs}")
    (verdict,) = summary(folder)["verdicts"]
    assert verdict["name"] == "not better than a constant"
    assert verdict["evidence"].startswith("validation R^2 at most -")
    assert verdict["evidence"].endswith(", 0.000 by always predicting the mean")
    assert verdict["advice"][0] == f"twice as long: training.epochs={2 * epochs}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "more", "names"),
    [
        (plain, (), {"healthy"}),
        (growing, (), {"uneven errors"}),
        (wild, ("training.epochs=12",), {"outliers"}),
        (plain, ("init=zeros", "model.hidden=[]", "optimizer.lr=1e-9", "training.epochs=5"), {"stuck"}),
        (plain, ("optimizer=sgd", "optimizer.lr=50"), {"learning rate too high"}),
        (plain, ("model.hidden=[]",), {"underfitting"}),
        (plain, ("loss=gaussian", "init=he"), {"healthy"}),
    ],
)
def test_a_regression_gets_the_verdicts_that_are_true_of_it(
    commands: Commands, noise: Any, more: tuple[str, ...], names: set[str]
) -> None:
    folder = commands.trained("data=npz", f"data.path={planted(commands.folder, noise)}", *QUICK, *more)
    given = summary(folder)["verdicts"]
    assert names <= {verdict["name"] for verdict in given}, given
    if names != {"healthy"}:
        assert "healthy" not in {verdict["name"] for verdict in given}
    text = str(given) + (folder / "train.log").read_text()
    assert "accuracy" not in text
    assert "class" not in text.replace("class_weights", "")
