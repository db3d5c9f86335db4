"""Which hyperparameters matter: with intervals, and only if it can be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from experiments.search._findings import importance, importance_text

SPACE = {
    "lr": FloatDistribution(1e-4, 1, log=True),
    "dropout": FloatDistribution(0, 0.5),
    "init": CategoricalDistribution(["he", "xavier"]),
}


def study_of(count: int, value: Callable[[Mapping[str, float]], float], seed: int = 0) -> optuna.Study:
    """A finished search over a rate, a Dropout rate and an initializer."""
    generator = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize")
    for _ in range(count):
        exponent = float(generator.uniform(-4, 0))
        params = {
            "lr": 10**exponent,
            "dropout": float(generator.uniform(0, 0.5)),
            "init": str(generator.choice(["he", "xavier"])),
        }
        result = value({"lr": exponent}) + float(generator.normal(0, 0.1))
        study.add_trial(create_trial(params=params, distributions=SPACE, value=result))
    return study


def peak(point: Mapping[str, float]) -> float:
    """A function that is high near a rate of 0.01."""
    return -((point["lr"] + 2) ** 2)


@pytest.mark.slow
def test_a_rate_that_decides_is_named_with_its_interval() -> None:
    study = study_of(80, peak)
    found = importance(study, study.trials)
    assert next(iter(found["importance"])) == "lr"
    assert sum(found["importance"].values()) == pytest.approx(1, abs=1e-3)
    low, high = found["importance_interval"]["lr"]
    assert 1 / 3 < low < found["importance"]["lr"] <= high <= 1
    said = importance_text({**found, "best": {"params": SPACE}})
    assert said.startswith(f"lr {found['importance']['lr']:.0%} (95 % {100 * low:.0f} to {100 * high:.0f}), ")
    assert said.endswith(", n = 80 trials")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_named_if_nothing_matters(seed: int) -> None:
    study = study_of(40, lambda _: 0.0, seed)
    found = importance(study, study.trials)
    assert found == {"importance": {}, "importance_interval": {}, "importance_trials": 40}
    said = importance_text({**found, "best": {"params": SPACE}})
    assert said == "cannot be told from 40 trials: no share is certainly above an equal one"


def test_few_trials_tell_nothing() -> None:
    study = study_of(12, peak)
    found = importance(study, study.trials)
    assert found["importance"] == {}
    said = importance_text({**found, "best": {"params": SPACE}})
    assert said == "cannot be told from 12 trials with a result; at least 25 are needed"
    assert importance_text({**found, "best": {"params": {"lr": 0.1}}}) == "only one hyperparameter was searched"
