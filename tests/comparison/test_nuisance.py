"""Comparisons by some keys: all other keys that vary, except seeds, are tuned for each group or averaged on request."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.comparison._fair import luck_of
from tests.comparison.planted import compared, plant, refused, rows_of
from tests.helpers import SMALL, Commands

pytestmark = pytest.mark.usefixtures("undrawn")

RATES = (0.001, 0.03, 0.3)
ACCURACIES = {"sgd": (0.10, 0.42, 0.967), "adam": (0.93, 0.962, 0.15)}
"""The accuracy of each optimizer at each rate."""


def tuned(folder: Path, seeds: int = 2) -> None:
    """Plant two optimizers at three rates: each is good at another one."""
    for optimizer, means in ACCURACIES.items():
        for rate, mean in zip(RATES, means, strict=True):
            for seed in range(seeds):
                found = {
                    "val/accuracy": mean + 0.002 * seed,
                    "test/accuracy": mean - 0.05 + 0.001 * seed,
                    "val/loss": 1,
                }
                plant(
                    folder / f"{optimizer}_{rate}_{seed}", seed=seed, optimizer=optimizer, optimizer__lr=rate,
                    objective="val/accuracy", summary={"metrics": found},
                )  # fmt: skip


def test_each_group_is_compared_at_its_best_setting(commands: Commands) -> None:
    tuned(commands.folder)
    said = compared(commands, ".", "by=optimizer").out
    rows = {row["group"]: row for row in rows_of(commands.folder)}
    assert list(rows) == ["optimizer=sgd", "optimizer=adam"]
    assert [float(row["mean"]) for row in rows.values()] == pytest.approx([0.968, 0.963])
    assert [row["n"] for row in rows.values()] == ["2", "2"]
    assert [row["setting"] for row in rows.values()] == ["optimizer.lr=0.3", "optimizer.lr=0.03"]
    assert {row["settings_tried"] for row in rows.values()} == {"3"}
    assert said.startswith("val/accuracy of 12 runs in 2 groups, compared at their best settings: 4 runs\n")
    assert (
        "- Each group is at its best setting by val/accuracy: optimizer=sgd at optimizer.lr=0.3 (best of 3), "
        "optimizer=adam at optimizer.lr=0.03 (best of 3)\n"
    ) in said
    assert "The runs that are compared also chose these settings, which flatters every group" in said
    runs = rows_of(commands.folder, "runs")
    assert len(runs) == 12
    assert [run["optimizer.lr"] for run in runs if run["compared"] == "true"] == ["0.03", "0.03", "0.3", "0.3"]


def test_the_test_split_never_chooses_a_setting(commands: Commands) -> None:
    tuned(commands.folder)
    plant(
        commands.folder / "lucky", seed=0, optimizer="adam", optimizer__lr=0.001, objective="val/accuracy",
        summary={"metrics": {"val/accuracy": 0.93, "test/accuracy": 1.0, "val/loss": 1}},
    )  # fmt: skip
    said = compared(commands, ".", "by=optimizer", "metric=test/accuracy").out
    assert "Each group is at its best setting by val/accuracy" in said
    assert [row["setting"] for row in rows_of(commands.folder)] == ["optimizer.lr=0.3", "optimizer.lr=0.03"]
    for path in commands.folder.glob("*/summary.json"):
        path.write_text(path.read_text().replace("val/", "train/"))
    said = refused(commands, ".", "by=optimizer", "metric=test/accuracy")
    assert "the best optimizer.lr of each group cannot be chosen, as these runs have no validation split" in said
    compared(commands, ".", "by=optimizer", "pool=optimizer.lr", "metric=test/accuracy")


def test_best_names_the_nuisance_keys_and_pool_those_to_average_over(commands: Commands) -> None:
    tuned(commands.folder)
    by = compared(commands, ".", "by=optimizer").out
    best = compared(commands, ".", "best=optimizer.lr").out
    assert best.replace("best=", "by=") == by.replace("best=", "by=")
    said = compared(commands, ".", "pool=optimizer.lr").out
    assert [row["n"] for row in rows_of(commands.folder)] == ["6", "6"]
    assert "setting" not in rows_of(commands.folder)[0]
    assert "seeds would show" not in said
    assert "cannot be told apart at n = 6 (difference " in said
    assert {row["seeds_needed"] for row in rows_of(commands.folder, "differences")} == {""}
    assert "The runs of a group differ in seed, optimizer.lr; runs that agree in all of them are paired" in said


def test_a_nuisance_that_is_no_number_has_to_be_listed(commands: Commands) -> None:
    for init, mean in (("he", 0.5), ("xavier", 0.4)):
        for optimizer, better in (("sgd", 0.0), ("adam", 0.1)):
            for seed in (1, 2, 3):
                value = mean - better + 0.01 * seed + 0.001 * len(optimizer) * (seed == 2)
                plant(commands.folder / f"{init}{optimizer}{seed}", value, seed=seed, init=init, optimizer=optimizer)
    assert (
        "init differs within the groups and is not a number (he); give best=init to tune it for each group, add it "
        "to by for a group for each value, or average over it with pool=init"
    ) in refused(commands, ".", "by=optimizer")
    assert not (commands.folder / "comparison").exists()
    compared(commands, ".", "by=optimizer", "best=init")
    assert [(row["group"], row["n"], row["setting"]) for row in rows_of(commands.folder)] == [
        ("optimizer=adam", "3", "init=xavier"), ("optimizer=sgd", "3", "init=xavier"),
    ]  # fmt: skip


def test_a_setting_that_lost_runs_comes_after_whole_ones(commands: Commands) -> None:
    for optimizer in ("sgd", "adam"):
        for rate, value in ((0.1, 0.5), (1.0, 0.2)):
            for seed in (1, 2):
                status = "diverged" if (optimizer, rate, seed) == ("sgd", 1.0, 2) else "finished"
                plant(
                    commands.folder / f"{optimizer}{rate}{seed}", value + 0.01 * seed, status=status, seed=seed,
                    optimizer=optimizer, optimizer__lr=rate,
                )  # fmt: skip
    said = compared(commands, ".", "by=optimizer").out
    assert {row["group"]: row["setting"] for row in rows_of(commands.folder)} == {
        "optimizer=adam": "optimizer.lr=1", "optimizer=sgd": "optimizer.lr=0.1",
    }  # fmt: skip
    assert "note: Runs without a result at settings that were not chosen: 1 diverged" in said


def test_different_budgets_are_said(commands: Commands) -> None:
    tuned(commands.folder)
    plant(commands.folder / "more", seed=0, optimizer="adam", optimizer__lr=0.5, objective="val/accuracy",
          summary={"metrics": {"val/accuracy": 0.2, "val/loss": 1}})  # fmt: skip
    said = compared(commands, ".", "by=optimizer").out
    assert "- The groups had 3 to 4 settings to choose from, which favours those with more\n" in said


def test_folds_repeat_a_setting_like_seeds(commands: Commands) -> None:
    for optimizer, base in (("sgd", 0.5), ("adam", 0.4)):
        for fold in range(4):
            value = base + 0.02 * fold + 0.001 * len(optimizer) * (fold % 2)
            plant(commands.folder / f"{optimizer}{fold}", value, optimizer=optimizer, data__folds=4, data__fold=fold)
    compared(commands, ".", "by=optimizer")
    assert [row["n"] for row in rows_of(commands.folder)] == ["4", "4"]
    assert "setting" not in rows_of(commands.folder)[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("best=init",), "init is not in"),
        (("best=optimizer.l",), "optimizer.l is not a key of these runs"),
        (("pool=optimizer.lrr",), "optimizer.lrr is not a key of these runs"),
        (("by=optimizer", "best=optimizer"), "optimizer is in both by= and best=; leave it out of one of them"),
        (("best=optimizer.lr", "pool=optimizer.lr"), "optimizer.lr is in both best= and pool=; leave it out of one"),
        (("best=seed",), "best=seed would choose the luckiest runs; seed repeats a setting and is not tuned"),
        (
            ("by=optimizer", "best=model.dropout"),
            "optimizer.lr differs within the groups and is not in best=model.dropout; add it to best to tune it for "
            "each group, to by for a group for each value, or to pool to average over it",
        ),
    ],
)  # fmt: skip
def test_lists_of_keys_that_contradict_the_runs(commands: Commands, options: tuple[str, ...], said: str) -> None:
    tuned(commands.folder)
    if options == ("best=init",):
        compared(commands, ".", *options)  # init does not vary, so there is nothing to tune
        return
    assert said in refused(commands, ".", *options)


@pytest.mark.slow
def test_settings_are_not_repetitions_in_a_real_sweep(commands: Commands) -> None:
    """Two optimizers at three rates and two seeds: one number for each optimizer, at its best rate."""
    sweep = ("optimizer=sgd,adam", "optimizer.lr=0.0001,0.003,0.3", "seed=range(2)")
    quick = [word for word in SMALL if word.startswith("observers")]
    quick += ["training.epochs=5", "observers.layers.enabled=false", "observers.histograms.enabled=false"]
    assert commands.train("-m", *quick, *sweep).code == 0
    (folder,) = (commands.folder / "outputs" / "train").iterdir()
    said = compared(commands, folder, "by=optimizer").out
    rows = {row["group"]: row for row in rows_of(folder)}
    assert float(rows["optimizer=sgd"]["mean"]) == pytest.approx(0.967, abs=0.012)
    assert float(rows["optimizer=adam"]["mean"]) == pytest.approx(0.962, abs=0.012)
    assert {row["n"] for row in rows.values()} == {"2"}
    assert rows["optimizer=sgd"]["setting"] == "optimizer.lr=0.3"
    assert rows["optimizer=adam"]["setting"] == "optimizer.lr=0.003"
    assert "not even 1,000 seeds" not in said


def fair_search(folder: Path, *, seeds: int = 4, gap: float = 0.05) -> None:
    """Plant a fair search of two optimizers: six rates each, and the best one on fresh seeds."""
    for optimizer, better in (("sgd", 0.0), ("adam", gap)):
        for number, rate in enumerate((0.001, 0.003, 0.01, 0.03, 0.1, 0.3)):
            value = 0.9 + better - 0.002 * (number - 2) ** 2
            plant(
                folder / f"{optimizer}_{number}", value, metric="val/accuracy", objective="val/accuracy", seed=0,
                optimizer=optimizer, optimizer__lr=rate, trial__compare="optimizer", trial__independent=True,
                trial__number=number,
            )  # fmt: skip
        for seed in range(1, seeds + 1):
            value = 0.89 + better + 0.003 * seed + 0.001 * (seed % 2) * (optimizer == "adam")
            plant(
                folder / f"{optimizer}_fresh_{seed}", value, metric="val/accuracy", objective="val/accuracy",
                seed=seed, optimizer=optimizer, optimizer__lr=0.01,
            )  # fmt: skip


def test_only_the_runs_on_fresh_seeds_of_a_fair_search_are_compared(commands: Commands) -> None:
    fair_search(commands.folder / "s")
    said = compared(commands, "s").out
    rows = rows_of(commands.folder / "s")
    assert [(row["group"], row["n"], row["setting"]) for row in rows] == [
        ("optimizer=adam", "4", "optimizer.lr=0.01"), ("optimizer=sgd", "4", "optimizer.lr=0.01"),
    ]  # fmt: skip
    assert said.startswith("val/accuracy of 8 runs in 2 groups\n")
    luck = (
        r"other settings, which changes a mean by about 0\.\d+ points, and the intervals of the differences allow for"
    )
    assert re.search(luck, said)
    lines = [line for line in said.splitlines() if line.startswith("- ")]
    assert lines[0].startswith("- optimizer=adam has the best mean val/accuracy")
    assert lines[1].startswith("- optimizer=adam beats optimizer=sgd by 5")
    assert lines[2].startswith("- Each group is at its best setting")
    assert "note: 12 runs of the tuning left out: they chose the settings" in said
    assert "Shares of the variance" not in said
    assert "seeds would show" not in said
    assert "optimizer=adam beats optimizer=sgd by 5" in said


def test_a_difference_as_small_as_the_luck_of_the_choice_is_not_claimed(commands: Commands) -> None:
    fair_search(commands.folder / "s", gap=0.002)
    said = compared(commands, "s").out
    (row,) = rows_of(commands.folder / "s", "differences")
    assert float(row["p"]) > 0.05
    assert "cannot be told apart at n = 4 (difference 0.2" in said
    for path in (commands.folder / "s").glob("[as]*[md]_[0-9]"):
        shutil.rmtree(path)
    compared(commands, "s")
    (alone,) = rows_of(commands.folder / "s", "differences")
    assert float(alone["p"]) < 0.05
    assert float(alone["low"]) > float(row["low"])


def test_a_fair_search_without_fresh_runs_says_so(commands: Commands) -> None:
    fair_search(commands.folder / "s", seeds=0)
    said = compared(commands, "s").out
    assert "note: The runs on fresh seeds have not started: these are the runs of the tuning, which flatter" in said
    assert [row["settings_tried"] for row in rows_of(commands.folder / "s")] == ["6", "6"]


def test_the_luck_of_a_choice_is_zero_if_the_choice_is_clear() -> None:
    scores = np.array([0.1, 0.5, 0.9])
    assert luck_of(scores, scores, 0.01) == 0.0
    close = np.array([0.9, 0.89, 0.5])
    assert luck_of(close, close, 0.01) == pytest.approx(0.85 * 0.0043, rel=0.15)
    assert luck_of(close, np.array([0.9, 0.9, 0.5]), 0.01) == 0.0
