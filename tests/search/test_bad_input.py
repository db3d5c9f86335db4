"""What no search can do is said in one sentence, before anything is trained."""

import pytest

from tests.helpers import Commands
from tests.search.searches import LR, SEARCH, TINY, sweeper

BAD = [
    (["seed=0"], "nothing to search"),
    ([LR, *sweeper(direction="upward")], "minimize, maximize or null"),
    ([LR, *sweeper(direction="[minimize,maximize]")], "several objectives"),
    ([LR, *sweeper(sampler="tp")], "did you mean 'hydra.sweeper.sampler=tpe'"),
    ([LR, *sweeper(sampler="grid")], "cannot list the interval of optimizer.lr"),
    ([LR, *sweeper(pruner="medium")], "did you mean 'hydra.sweeper.pruner=median'"),
    ([LR, "data.val_fraction=0", *sweeper(pruner="median")], "never measured with data.val_fraction=0"),
    ([LR, *sweeper(n_trials=0)], "n_trials=0 should be at least 1"),
    ([LR, *sweeper(rounds=2)], "needs random points"),
    ([LR, *sweeper(storage="sqlite:////nowhere/study.db")], "cannot be opened"),
    ([LR, *sweeper(custom_search_space="no.such")], "cannot be imported"),
    (["seed=range(3)", *sweeper(seeds_per_trial=2)], "contradicts a search over seed"),
    (["optimizer=adam,sgdd"], "did you mean 'optimizer=adam,sgd'"),
    (["optimizer.lrr=interval(0,1)"], "did you mean 'optimizer.lr=interval(0,1)'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "reason"), BAD)
def test_bad_input_is_one_sentence(commands: Commands, overrides: list[str], reason: str) -> None:
    outcome = commands.train(*SEARCH, *TINY, *overrides)
    assert outcome.code == 2
    assert reason in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (commands.folder / "outputs/s").exists()
