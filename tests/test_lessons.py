"""What lessons measure with; and those of MNIST alone, which a clone does not have, on the digits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from experiments.cli import conf_folder
from experiments.recipes.making import Order, make
from experiments.recipes.measured import lead
from experiments.recipes.recipe import recipes

SMALL = ("data=digits", "data.preprocess=standardize")
TINY: Mapping[str, tuple[Sequence[str], Mapping[str, Any]]] = {
    "initializers_mnist": (["training.epochs=1", "data.limit=100", "seed=range(2)"], {}),
    "overfitting_mnist": (["training.epochs=2", "data.limit=100", "data.val_fraction=0.1", "seed=range(2)"], {}),
    "coarse_to_fine_mnist": (
        ["training.epochs=1", "data.limit=100", "data.val_fraction=0.2", "hydra.sweeper.n_trials=6"],
        {"first": 3},
    ),
}


@pytest.mark.parametrize("name", TINY)
def test_a_lesson_on_mnist_measures_what_its_band_names_and_draws(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipes([conf_folder()])[name]
    overrides, settings = TINY[name]
    recipe = replace(recipe, settings={**recipe.settings, **settings})
    result = make(Order(name, recipe, tmp_path / "runs", tmp_path / "log", [*SMALL, *overrides]))
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
