"""A fair comparison: every value of a choice is tuned with the same budget, and judged by runs on fresh seeds."""

from __future__ import annotations

import json
import os
import signal
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from experiments.common.budget import expected_best
from experiments.search.fair import FairSearch
from tests.helpers import Commands, Outcome, table
from tests.search.searches import LR, TINY, jobs, study_in, sweeper

FAIR = ("-m", "search=fair", "for=optimizer", "hydra.sweep.dir=outputs/s")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures of the comparison out."""
    monkeypatch.setattr("experiments.comparison.report.Report.figures", lambda *_: iter(()))


def fair(commands: Commands, *overrides: str, n_trials: int = 3, fresh_seeds: Any = 2, **settings: Any) -> Outcome:
    """Compare two optimizers with tiny runs."""
    words = (*FAIR, *TINY, *sweeper(n_trials=n_trials, fresh_seeds=fresh_seeds, **settings))
    return commands.train(*words, "optimizer=sgd,adam", *overrides)


def found_in(folder: Path) -> dict[str, Any]:
    """What the search found."""
    return json.loads((folder / "fair.json").read_text())


def overrides_of(folder: Path) -> list[str]:
    """The overrides of a run."""
    return yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())


@pytest.mark.slow
def test_each_value_is_tuned_and_its_best_setting_runs_on_fresh_seeds(commands: Commands) -> None:
    outcome = fair(commands, LR)
    assert outcome.code == 0, outcome.err
    folder = commands.folder / "outputs/s"
    runs, found = jobs(folder), found_in(folder)
    assert sorted(runs) == list(range(10))
    assert (found["for"], found["values"], found["trials"], found["seeds"]) == ("optimizer", ["sgd", "adam"], 3, [1, 2])
    rates = [
        [trial.params["optimizer.lr"] for trial in study_in(folder, f"optimizer={value}").trials]
        for value in ("sgd", "adam")
    ]
    assert rates[0] == rates[1]
    for index, value in enumerate(("sgd", "adam")):
        best = found["found"][value]["best"]
        assert len(found["found"][value]["expected_best"]) == 3
        assert found["found"][value]["expected_best"][-1] == pytest.approx(best["value"])
        for seed in (1, 2):
            fresh = runs[6 + 2 * index + seed - 1]
            words = overrides_of(fresh)
            assert {f"optimizer={value}", f"optimizer.lr={best['params']['optimizer.lr']}", f"seed={seed}"} <= {*words}
            assert not any(word.startswith("trial=") for word in words)
    rows = table(folder / "comparison" / "table.csv")
    assert {row["group"] for row in rows} == {"optimizer=sgd", "optimizer=adam"}
    assert {(row["n"], row["settings_tried"]) for row in rows} == {("2", "3")}
    assert "val/accuracy of 4 runs in 2 groups\n" in outcome.out
    assert "only the runs on fresh seeds are compared" in outcome.out
    assert "note: 6 runs of the tuning left out: they chose the settings" in outcome.out
    assert "tuned    optimizer=sgd: val/accuracy" in outcome.out


@pytest.mark.slow
def test_a_value_may_have_a_space_of_its_own_and_a_border_is_said(commands: Commands) -> None:
    own = "+hydra.sweeper.spaces={sgd:{optimizer.lr:'range(1,4)'}}"
    outcome = fair(commands, "optimizer.lr=interval(1e-5,1.1e-5)", own.replace("+", "", 1))
    assert outcome.code == 0, outcome.err
    folder = commands.folder / "outputs/s"
    assert {trial.params["optimizer.lr"] for trial in study_in(folder, "optimizer=sgd").trials} == {1, 2, 3}
    best = found_in(folder)["found"]["sgd"]["best"]["params"]["optimizer.lr"]
    if best != 2:
        side = "lower" if best == 1 else "upper"
        assert (
            f"border   optimizer=sgd: optimizer.lr={best} is at the {side} end of 1 to 3; extend the range"
            in outcome.out
        )


@pytest.mark.slow
def test_a_killed_fair_search_is_resumed_in_both_phases(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same runs and the same answer as without the kill."""
    assert fair(commands, LR, "hydra.sweeper.n_jobs=2").code == 0
    folder = commands.folder / "outputs/s"
    whole = {number: overrides_of(path) for number, path in jobs(folder).items()}
    folder.rename(commands.folder / "outputs/whole")
    real, launched = FairSearch.launched, []

    def killed(self: FairSearch, asked: Any) -> Any:
        launched.append(1)
        if len(launched) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, asked)

    monkeypatch.setattr(FairSearch, "launched", killed)
    assert fair(commands, LR, "hydra.sweeper.n_jobs=2").code in (130, 143)
    assert len(jobs(folder)) < 10
    assert fair(commands, LR, "hydra.sweeper.n_jobs=2", "resume=outputs/s").code == 0
    assert len(table(folder / "comparison" / "runs.csv")) == 10
    kept = {number: (path / "summary.json").read_bytes() for number, path in jobs(folder).items()}
    last = max(jobs(folder))
    (jobs(folder)[last] / "summary.json").unlink()
    assert fair(commands, LR, "hydra.sweeper.n_jobs=2", "resume=outputs/s").code == 0
    again = {number: (path / "summary.json").read_bytes() for number, path in jobs(folder).items()}
    assert {n: c for n, c in again.items() if n != last} == {n: c for n, c in kept.items() if n != last}
    settings = [sorted(overrides_of(path)) for path in jobs(folder).values()]
    assert all(sorted(words) in settings for number, words in whole.items() if number >= 6)


@pytest.mark.slow
def test_a_value_without_a_result_ends_in_one_sentence_and_loses_nothing(commands: Commands) -> None:
    outcome = fair(
        commands, "optimizer.lr=interval(0.01,0.1)", "hydra.sweeper.spaces={sgd:{optimizer.lr:'interval(1e30,2e30)'}}"
    )
    assert "optimizer=sgd has no trial with a result (3 diverged), so nothing is compared" in outcome.refusal()
    folder = commands.folder / "outputs/s"
    assert len(jobs(folder)) == 6
    assert found_in(folder)["found"]["adam"]["best"] is not None
    assert not (folder / "comparison").exists()


@pytest.mark.slow
def test_a_fair_search_of_another_question_is_not_resumed(commands: Commands) -> None:
    assert fair(commands, LR, n_trials=2).code == 0
    before = {path: path.read_bytes() for path in (commands.folder / "outputs/s").rglob("*.json")}
    resume = ("resume=outputs/s",)
    changed: list[tuple[tuple[str, ...], dict[str, int], str]] = [
        ((LR, *resume), {"n_trials": 5}, "is the fair search of another question: trials (2 -> 5) after its best"),
        ((LR, *resume), {"n_trials": 2, "fresh_seeds": 3}, "another question: seeds (1, 2 -> 1, 2, 3)"),
        (("optimizer.lr=interval(0,1)", *resume), {"n_trials": 2}, "resume cannot change optimizer.lr"),
    ]
    for words, settings, said in changed:
        assert said in fair(commands, *words, **settings).refusal()
    other = (*FAIR[:2], "for=init", *FAIR[3:], *TINY, *sweeper(n_trials=2, fresh_seeds=2), "optimizer=sgd,adam", LR)
    assert "another question: for (optimizer -> init)" in commands.train(*other, *resume).refusal()
    assert before == {path: path.read_bytes() for path in (commands.folder / "outputs/s").rglob("*.json")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        ((LR,), {"fresh_seeds": [0, 7]}, "hydra.sweeper.fresh_seeds has 0, which the trials use too"),
        ((LR,), {"fresh_seeds": [4, 5], "seeds_per_trial": 6}, "give seeds from 6 on"),
        ((LR,), {"fresh_seeds": 1}, "hydra.sweeper.fresh_seeds=1 should be at least 2: one run has no interval"),
        ((LR,), {"fresh_seeds": [7, 7]}, "or a list of different seeds"),
        ((LR,), {"fresh_seeds": "true"}, "hydra.sweeper.fresh_seeds=True should be a number of seeds"),
        ((LR,), {"fresh_seeds": "null"}, "a fair comparison needs a choice and fresh seeds"),
        ((LR,), {"storage": "x.db"}, "hydra.sweeper.storage should be null with search=fair"),
        ((LR, "seed=1,2"), {}, "seed is not tuned by search=fair"),
        (("optimizer.lr=0.1,0.01",), {}, "optimizer=sgd has only 2 settings to try, fewer than the budget"),
        (
            (LR,),
            {"spaces": "{adma:{optimizer.lr:'interval(0,1)'}}"},
            "hydra.sweeper.spaces.adma is not a value of optimizer, which has sgd, adam; did you mean 'adam'?",
        ),
        ((LR,), {"spaces": "{sgd:3}"}, "hydra.sweeper.spaces.sgd=3 should be a mapping from keys to ranges"),
        ((), {}, "has nothing to search"),
    ],
)
def test_a_command_that_is_not_a_fair_comparison_is_refused(
    commands: Commands, words: tuple[str, ...], settings: dict[str, Any], said: str
) -> None:
    outcome = fair(commands, *words, **settings)
    assert said in outcome.refusal()
    assert not list(commands.folder.glob("outputs/s/0*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("for=optimizer", "optimizer=sgd"), "for=optimizer needs two or more values to compare"),
        (("for=optimizer.lr",), "for=optimizer.lr needs two or more values to compare"),
        (("for=optimzer", "optimizer=sgd,adam"), "for=optimzer has no values to compare; add them"),
        (("for=model.dropout", "model.dropout=0.1,0.1"), "should have two or more values, each once"),
        ((), "a fair comparison needs a choice and fresh seeds, as in: -m search=fair for=optimizer"),
    ],
)
def test_a_choice_without_values_is_refused(commands: Commands, words: tuple[str, ...], said: str) -> None:
    assert said in commands.train("-m", "search=fair", FAIR[3], *TINY, LR, *words).refusal()


@pytest.mark.slow
def test_all_choices_of_a_group_are_compared_without_a_list(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(FairSearch, "run", lambda self: asked.append([arm.label for arm in self.arms]))
    commands.train("-m", "search=fair", "for=scheduler", FAIR[3], *TINY, LR)
    (labels,) = asked
    assert len(labels) == 12
    assert {"scheduler=constant", "scheduler=cosine"} <= {*labels}


@pytest.mark.parametrize("words", [("for=optimizer",), ("-m", "for=optimizer"), ("search=fair", "for=optimizer")])
def test_a_choice_without_its_search_is_refused(commands: Commands, words: tuple[str, ...]) -> None:
    said = commands.train(*words, *TINY).refusal()
    assert "for=optimizer belongs to a fair comparison; add -m search=fair" in said


VALUES = st.lists(st.none() | st.floats(-1e3, 1e3), min_size=1, max_size=7).filter(
    lambda v: any(x is not None for x in v)
)


@given(VALUES, st.booleans())
def test_the_expected_best_is_the_mean_over_all_sets_of_trials(values: list[float | None], rising: bool) -> None:
    best = max if rising else min
    worst = (min if rising else max)(value for value in values if value is not None)
    known = [worst if value is None else value for value in values]
    wanted = [np.mean([best(some) for some in combinations(known, k)]) for k in range(1, len(known) + 1)]
    assert expected_best(values, rising) == pytest.approx(wanted, abs=1e-9)


def test_no_result_has_no_expected_best() -> None:
    assert expected_best([None, None], larger_is_better=True) == []
