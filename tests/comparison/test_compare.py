"""Comparisons as a user types them: what they say and leave, checked by hand."""

from __future__ import annotations

import csv
import math
import os
import re
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from scipy import stats

from experiments.comparison._answers import split_conditions, wanted_ranking
from experiments.comparison.grouping import Grouping, grouped
from experiments.folders.reading import Reader
from tests.browser import opened
from tests.comparison.planted import compared, plant, plant_all, refused, rows_of
from tests.forked import Forked
from tests.helpers import SMALL, Commands, run_folders, start

if TYPE_CHECKING:
    from playwright.sync_api import Browser

plain = pytest.mark.usefixtures("undrawn")

LOSSES = {"sgd": [0.52, 0.61, 0.47, 0.58, 0.55], "adam": [0.41, 0.50, 0.40, 0.46, 0.47]}


def groups_in(folder: Path, *by: str) -> Grouping:
    """Return the groups of what lies in a folder."""
    records = Reader([folder]).read().records
    return grouped(records, wanted_ranking(records, None).asked, by or None)


def names_in(folder: Path, *by: str) -> list[str]:
    """Return the names of its groups."""
    return [group.name for group in groups_in(folder, *by).groups]


# the table and the differences, by hand


@plain
def test_means_intervals_and_paired_differences_are_those_of_scipy(commands: Commands) -> None:
    for optimizer, values in LOSSES.items():
        plant_all(commands.folder, values, optimizer=optimizer)
    outcome = compared(commands, ".")
    rows = rows_of(commands.folder)
    assert [row["group"] for row in rows] == ["optimizer=adam", "optimizer=sgd"]
    assert [row["place"] for row in rows] == ["1", "2"]
    for row in rows:
        values = LOSSES[row["optimizer"]]
        wanted = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
        assert int(row["n"]) == 5
        found = [float(row[name]) for name in ("mean", "std", "low", "high", "best")]
        assert found == pytest.approx([np.mean(values), np.std(values, ddof=1), *wanted, min(values)], rel=1e-9)
        assert row["statuses"] == "5 finished"
    (row,) = rows_of(commands.folder, "differences")
    test = stats.ttest_rel(LOSSES["adam"], LOSSES["sgd"])
    ends = test.confidence_interval(0.95)
    found = [float(row[name]) for name in ("difference", "low", "high", "p", "p_holm")]
    assert found == pytest.approx([-0.098, ends.low, ends.high, test.pvalue, test.pvalue], rel=1e-9)
    exact = stats.wilcoxon(np.round(np.subtract(LOSSES["adam"], LOSSES["sgd"]), 9), method="exact").pvalue
    assert float(row["p_wilcoxon"]) == pytest.approx(exact)
    assert (row["n"], row["paired"], row["seeds_needed"]) == ("5", "True", "")
    low, high = -ends.high, -ends.low
    assert f"- optimizer=adam beats optimizer=sgd by 0.098 (95 % {low:.4g} to {high:.4g}, n = 5)\n" in outcome.out
    assert "optimizer=adam has the best mean val/loss, 0.448 (95 % " in outcome.out
    assert outcome.out.startswith("val/loss of 10 runs in 2 groups\n")
    assert outcome.out.endswith("\nreport   comparison/report.html\n")


@plain
def test_an_accuracy_is_reported_in_points(commands: Commands) -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0.95, 0.01, 8).round(4)
    gain = rng.normal(0.018, 0.003, 8).round(4)
    plant_all(commands.folder, list(shared), "val/accuracy", optimizer="sgd")
    plant_all(commands.folder, list(shared + gain), "val/accuracy", optimizer="adam")
    said = compared(commands, ".").out
    found = re.search(r"optimizer=adam beats optimizer=sgd by (\S+) points \(95 % (\S+) to (\S+), n = 8\)", said)
    assert found, said
    ends = stats.ttest_rel(shared + gain, shared).confidence_interval(0.95)
    wanted = 100 * np.array([gain.mean(), ends.low, ends.high])
    assert [float(number) for number in found.groups()] == pytest.approx(wanted, abs=0.06)


@plain
def test_undecided_groups_come_with_the_number_of_seeds_needed(commands: Commands) -> None:
    plant_all(commands.folder, [0.50, 0.56, 0.53], optimizer="sgd")
    plant_all(commands.folder, [0.49, 0.50, 0.54], optimizer="adam")
    said = compared(commands, ".").out
    assert "optimizer=adam and optimizer=sgd cannot be told apart at n = 3; at least " in said
    assert [row["place"] for row in rows_of(commands.folder)] == ["1", "1"]
    (row,) = rows_of(commands.folder, "differences")
    needed = int(row["seeds_needed"])
    assert f"at least {needed} seeds would show a difference of 0.02" in said
    rng = np.random.default_rng(1)
    largest = float(row["std"]) * math.sqrt(2 / stats.chi2.ppf(0.1, 2))  # its upper limit, with a confidence of 90 %
    draws = rng.normal(-0.02, largest, (4000, needed))
    shown = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)
    assert 0.77 < shown < 0.87


@plain
def test_one_seed_gives_no_interval(commands: Commands) -> None:
    plant_all(commands.folder, [0.5], optimizer="sgd")
    plant_all(commands.folder, [0.4], optimizer="adam")
    said = compared(commands, ".").out
    assert "optimizer=adam has the best val/loss, 0.4; with one seed per group nothing can be claimed" in said
    start = "note: Every group has only one run: an interval needs more seeds; "
    assert f"{start}train each with -m 'seed=range(5)'\n" in said
    (commands.folder / "sweep.yaml").write_text("{}")
    assert f"{start}add 'seed=range(5)' to the sweep\n" in compared(commands, ".").out
    for row in rows_of(commands.folder):
        assert [row[name] for name in ("place", "n", "std", "low", "high")] == ["", "1", "", "", ""]
    assert rows_of(commands.folder, "differences") == []
    assert "95 %" not in said.replace("95 % interval", "")


@plain
def test_p_values_are_corrected_for_all_comparisons(commands: Commands) -> None:
    rng = np.random.default_rng(3)
    values = {name: list(rng.normal(0.5 + 0.01 * place, 0.02, 6)) for place, name in enumerate("abcd")}
    for name, found in values.items():
        plant_all(commands.folder, found, optimizer=name)
    compared(commands, ".", "baseline=optimizer=d")
    rows = rows_of(commands.folder, "differences")
    plain = {row["group"]: float(row["p"]) for row in rows}
    assert plain == pytest.approx(
        {f"optimizer={name}": stats.ttest_rel(values[name], values["d"]).pvalue for name in "abc"}
    )
    ordered, least = sorted(plain.values()), 0.0
    wanted = {}
    for rank, p in enumerate(ordered):
        least = max(least, min(1, p * (3 - rank)))
        wanted[p] = least
    assert [float(row["p_holm"]) for row in rows] == pytest.approx([wanted[float(row["p"])] for row in rows])


@plain
def test_seeds_that_differ_are_not_paired(commands: Commands) -> None:
    for seed, value in enumerate([0.5, 0.52, 0.51, 0.53]):
        plant(commands.folder / f"a{seed}", value, optimizer="sgd", seed=seed)
        plant(commands.folder / f"b{seed}", value - 0.2, optimizer="adam", seed=10 + seed)
    said = compared(commands, ".").out
    assert re.search(r"adam beats optimizer=sgd by 0.2 \(95 % \S+ to \S+, n = 4, not paired\)", said)
    (row,) = rows_of(commands.folder, "differences")
    values = np.array([0.5, 0.52, 0.51, 0.53])
    assert float(row["p"]) == pytest.approx(stats.ttest_ind(values - 0.2, values, equal_var=False).pvalue)


# the names of groups


def test_a_name_is_as_short_as_it_can_be(tmp_path: Path) -> None:
    for seed in (1, 2):
        plant(tmp_path / f"a{seed}", 0.1, seed=seed, optimizer="sgd", optimizer__lr=0.1)
        plant(tmp_path / f"b{seed}", 0.1, seed=seed, optimizer="adam", optimizer__lr=0.001)
    assert names_in(tmp_path) == ["optimizer=sgd", "optimizer=adam"]
    plant(tmp_path / "c1", 0.1, seed=1, optimizer="adam", optimizer__lr=0.1)
    assert names_in(tmp_path) == [
        "optimizer=sgd optimizer.lr=0.1", "optimizer=adam optimizer.lr=0.001", "optimizer=adam optimizer.lr=0.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "values", "names"),
    [
        ("optimizer.lr", [0.1, 1e-05], ["optimizer.lr=0.1", "optimizer.lr=1e-05"]),
        ("model.hidden", [[100, 100], [50], []], ["[100,100]", "[50]", "[]"]),
        ("model.batch_norm", [True, False], ["true", "false"]),
        ("training.clip_norm", [None, 1.0], ["training.clip_norm=null", "training.clip_norm=1"]),
        ("optimizer.lr", [0.123412, 0.123414, 0.5], ["0.123412", "0.123414", "0.5"]),
        ("data.augment", [["crop", "mixup"], "none"], ['data.augment=["crop","mixup"]', "data.augment=none"]),
    ],
)
def test_values_in_names(tmp_path: Path, key: str, values: list[Any], names: list[str]) -> None:
    for number, value in enumerate(values):
        plant(tmp_path / str(number), 0.1 * number, **{key.replace(".", "__"): value})
    grouping = groups_in(tmp_path)
    assert [group.name for group in grouping.groups] == [n if "=" in n else f"{key}={n}" for n in names]
    assert len({group.levels[key] for group in grouping.groups}) == len(values)


def test_equal_numbers_are_equal_however_they_are_written(tmp_path: Path) -> None:
    plant(tmp_path / "a", 0.1, seed=1, model__dropout=0)
    plant(tmp_path / "b", 0.2, seed=2, model__dropout=0.0)
    assert names_in(tmp_path) == ["all runs"]


def test_a_key_that_some_runs_do_not_have(tmp_path: Path) -> None:
    plant(tmp_path / "a", 0.1, optimizer="sgd", optimizer__momentum=0.9)
    plant(tmp_path / "b", 0.1, optimizer="sgd", optimizer__momentum=0.0)
    plant(tmp_path / "c", 0.1, optimizer="adam", optimizer__betas=[0.9, 0.999])
    assert names_in(tmp_path) == [
        "optimizer=sgd optimizer.momentum=0.9", "optimizer=sgd optimizer.momentum=0", "optimizer=adam",
    ]  # fmt: skip


def test_runs_that_differ_only_in_the_seed_are_one_group(commands: Commands, undrawn: None) -> None:
    del undrawn
    plant_all(commands.folder, [0.4, 0.5, 0.6])
    said = compared(commands, ".").out
    assert "all runs: val/loss 0.5 (95 % 0.2516 to 0.7484, n = 3)" in said
    assert [row["group"] for row in rows_of(commands.folder)] == ["all runs"]


def test_incidental_keys_do_not_define_groups(tmp_path: Path) -> None:
    plant(tmp_path / "a", 0.1, seed=1, training__device="cpu", training__threads=1, name="x", observers__a__every=1)
    plant(tmp_path / "b", 0.1, seed=2, training__device="cuda", training__threads=2, name="y", observers__a__every=2)
    assert names_in(tmp_path) == ["all runs"]


@plain
def test_a_search_over_a_continuous_rate_is_a_group_each(commands: Commands) -> None:
    rates = np.exp(np.random.default_rng(0).uniform(np.log(1e-4), 0, 12))
    for number, rate in enumerate(rates):
        plant(commands.folder / str(number), abs(math.log10(rate) + 2), optimizer__lr=float(rate), trial=number)
    said = compared(commands, ".").out
    rows = rows_of(commands.folder)
    assert len(rows) == 12
    best = rates[np.argmin(np.abs(np.log10(rates) + 2))]
    assert rows[0]["group"] == f"optimizer.lr={best:.4g}"
    assert "with one seed per group nothing can be claimed" in said


# by, where, baseline


def crossed(folder: Path, *, without: tuple[tuple[str, str], ...] = ()) -> None:
    """Plant two optimizers, two inits, four seeds: adam is better by 0.1, xavier by 0.01."""
    for optimizer in ("sgd", "adam"):
        for init in ("he", "xavier"):
            if (optimizer, init) not in without:
                noise = [0.001 * ((3 * seed + len(optimizer) * len(init)) % 5) for seed in range(4)]
                better = 0.1 * (optimizer == "adam") + 0.01 * (init == "xavier")
                values = [0.5 + 0.03 * seed - better + noise[seed] for seed in range(4)]
                plant_all(folder, values, optimizer=optimizer, init=init)


@plain
def test_pool_averages_over_a_key_and_pairs_runs_by_it(commands: Commands) -> None:
    crossed(commands.folder)
    said = compared(commands, ".", "by=optimizer", "pool=init").out
    assert [(row["group"], row["n"]) for row in rows_of(commands.folder)] == [
        ("optimizer=adam", "8"), ("optimizer=sgd", "8"),
    ]  # fmt: skip
    (row,) = rows_of(commands.folder, "differences")
    assert (row["n"], row["paired"]) == ("8", "True")
    assert "The runs of a group differ in seed, init; runs that agree in all of them are paired" in said
    assert re.search(r"optimizer=adam beats optimizer=sgd by 0\.1\b", said)


def test_grouping_by_a_key_that_determines_another_pairs_by_the_seed(tmp_path: Path) -> None:
    for seed in (1, 2):
        plant(tmp_path / f"a{seed}", 0.1, seed=seed, optimizer="sgd", optimizer__lr=0.1)
        plant(tmp_path / f"b{seed}", 0.1, seed=seed, optimizer="adam", optimizer__lr=0.001)
    grouping = groups_in(tmp_path, "optimizer.lr")
    assert list(grouping.repeated) == ["seed"]
    first, second = grouping.groups
    assert first.values.keys() == second.values.keys()


@plain
def test_by_seed_and_by_a_key_twice(commands: Commands) -> None:
    crossed(commands.folder)
    compared(commands, ".", "by=seed", "pool=optimizer,init")
    rows = rows_of(commands.folder)
    assert [(row["group"], row["n"]) for row in rows] == [(f"seed={seed}", "4") for seed in (1, 2, 3, 4)]
    assert {row["paired"] for row in rows_of(commands.folder, "differences")} == {"True"}
    compared(commands, ".", "by=optimizer,init,optimizer")
    assert len(rows_of(commands.folder)) == 4


@plain
def test_each_group_is_compared_with_its_matching_baseline(commands: Commands) -> None:
    crossed(commands.folder, without=(("sgd", "xavier"),))
    said = compared(commands, ".", "baseline=optimizer=sgd").out
    rows = rows_of(commands.folder, "differences")  # there is one baseline, so it is everyone's
    assert {(row["group"], row["against"]) for row in rows} == {
        ("init=he optimizer=adam", "init=he optimizer=sgd"),
        ("init=xavier optimizer=adam", "init=he optimizer=sgd"),
    }
    for seed in (1, 2):
        plant(commands.folder / f"more{seed}", 0.7, seed=seed, optimizer="sgd", init="zeros")
    said = compared(commands, ".", "baseline=optimizer=sgd").out
    (row,) = rows_of(commands.folder, "differences")
    assert (row["group"], row["against"]) == ("init=he optimizer=adam", "init=he optimizer=sgd")
    assert "note: There is no matching baseline for init=xavier optimizer=adam" in said


@plain
def test_the_option_where_leaves_runs_out(commands: Commands) -> None:
    crossed(commands.folder)
    compared(commands, ".", "where=init=he,seed=1")
    assert [(row["group"], row["n"]) for row in rows_of(commands.folder)] == [
        ("optimizer=adam", "1"), ("optimizer=sgd", "1"),
    ]  # fmt: skip
    compared(commands, ".", "where=model.hidden=[100, 100] optimizer=adam model.dropout=0")
    assert [row["group"] for row in rows_of(commands.folder)] == ["init=xavier", "init=he"]


def test_conditions_are_split_only_at_keys() -> None:
    assert split_conditions("model.hidden=[50,50],optimizer.lr=1e-3 init=he", "where") == [
        ("model.hidden", [50, 50]), ("optimizer.lr", "1e-3"), ("init", "he"),
    ]  # fmt: skip


@pytest.mark.slow
def test_patterns_that_match_nothing_are_refused_in_one_sentence(commands: Commands, undrawn: None) -> None:
    del undrawn
    crossed(commands.folder)
    for option, said in (
        ("by=optimzer", "optimzer is not a key of these runs; they differ in: init, optimizer, seed; did you mean"),
        ("by=model.dropuot", "did you mean 'model.dropout'?"),
        ("where=optimizer=adma", "where='optimizer=adma' matches none of 16 runs; for optimizer choose from adam, sgd"),
        ("where=optimizer=adam,seed=99", "for seed choose from 1, 2, 3, 4"),
        ("where=optimizer", "where='optimizer' should be <key>=<value>, such as where=optimizer=adam"),
        ("where=optimzer=adam", "optimzer is not a key of these runs"),
        ("baseline=optimizer=adma", "baseline='optimizer=adma' matches no group; the groups are: "),
        ("baseline=optimizer", "baseline='optimizer' should be <key>=<value>"),
        ("baseline=model=mlp", "baseline='model=mlp' matches all 4 groups; add a key that tells them apart"),
        ("metric=val/acuracy", "metric='val/acuracy' is not a metric of these runs; choose from val/loss"),
        ("metric=", "metric='' is not a metric of these runs"),
        ("target=soon", "target='soon' should be a valid number"),
        ("target=nan", "target"),
        ("every=0", "every=0"),
        ("every=.inf", "every"),
        ("mixed=perhaps", "mixed='perhaps' should be a valid boolean"),
        ("watsh=true", "unknown option 'watsh' of compare; choose from by, best, pool, where, metric"),
        ("out=", "out"),
        ("target=2020-13-45", "target='2020-13-45' should be a valid number"),
        ("where=init=2020-13-45", "for init choose from he, xavier"),
        ("where=init=" + "[" * 9000, "for init choose from he, xavier"),
    ):
        assert said in refused(commands, ".", option), option
    assert not (commands.folder / "comparison").exists()
    assert "did you mean 'watch'?" in refused(commands, ".", "watsh=true")
    assert "by is given twice" in refused(commands, ".", "by=init", "by=optimizer")
    assert "'nowhere' does not exist" in refused(commands, "nowhere")
    assert "no folder given" in refused(commands, "by=init")
    assert "unknown option '--watch' of compare" in refused(commands, ".", "--watch")
    both = refused(commands, ".", "by=optimizer", "pool=init", "baseline=init=he")
    assert "baseline='init=he' matches no group" in both


@plain
def test_several_indistinguishable_baselines(commands: Commands) -> None:
    for seed in (1, 2):
        for lr in (0.1, 0.2):
            plant(commands.folder / f"a{lr}{seed}", 0.1, seed=seed, optimizer="sgd", optimizer__lr=lr)
        plant(commands.folder / f"b{seed}", 0.1, seed=seed, optimizer="adam", optimizer__lr=0.001)
    said = refused(commands, ".", "baseline=optimizer=sgd")
    assert "baseline='optimizer=sgd' matches 2 groups (" in said
    assert "add a key that tells them apart" in said
    compared(commands, ".", "baseline=optimizer=sgd,optimizer.lr=1e-1")


# what must not be dropped silently


@plain
def test_unsuccessful_runs_are_shown_and_do_not_count(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6, 0.7], optimizer="sgd")
    for seed, status in enumerate(("diverged", "failed", "pruned", "interrupted", "stopped", None, "finished"), 1):
        plant(commands.folder / f"x{seed}", 0.01 * seed, status=status, optimizer="adam", seed=seed)
    said = compared(commands, ".").out
    rows = {row["group"]: row for row in rows_of(commands.folder)}
    adam = rows["optimizer=adam"]
    assert (adam["n"], float(adam["mean"])) == ("2", pytest.approx(0.06))
    statuses = "1 diverged, 1 failed, 1 pruned, 1 interrupted, 1 stopped, 1 unfinished, 1 finished"
    assert set(adam["statuses"].split(", ")) == set(statuses.split(", "))
    for verb in ("diverged", "failed", "was pruned", "was interrupted", "has not ended"):
        assert f"1 of 10 runs {verb} and is not in the means: optimizer=adam" in said
    assert "1 diverged" in said
    page = (commands.folder / "comparison" / "report.html").read_text()
    assert "1 diverged" in page
    assert {row["status"] for row in rows_of(commands.folder, "runs")} >= {"diverged", "failed", "unfinished"}


@plain
def test_a_group_of_which_every_run_diverged_is_last(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6], optimizer="adam")
    for seed in (1, 2):
        plant(commands.folder / f"d{seed}", 0.0, status="diverged", seed=seed, optimizer="sgd")
    said = compared(commands, ".", "target=0.1").out
    last = rows_of(commands.folder)[-1]
    assert (last["group"], last["n"], last["mean"], last["best"]) == ("optimizer=sgd", "0", "", "")
    assert "2 of 4 runs diverged and are not in the means: optimizer=sgd (2)" in said
    assert rows_of(commands.folder, "differences") == []


@plain
def test_runs_that_ended_well_without_the_metric_are_counted(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6], optimizer="adam")
    plant(commands.folder / "more", None, seed=3, optimizer="adam")
    plant(commands.folder / "nan", float("nan"), seed=4, optimizer="adam")
    plant(commands.folder / "large", 10**400, seed=5, optimizer="adam")
    plant(commands.folder / "endless", float("-inf"), seed=6, optimizer="adam")
    said = compared(commands, ".").out
    assert rows_of(commands.folder)[0]["n"] == "2"
    assert "4 of 6 runs completed but have no val/loss, so the means leave them out" in said


@plain
def test_of_two_equal_runs_the_newer_counts_with_a_note(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6], optimizer="adam")
    later = plant(commands.folder / "again", 0.8, seed=2, optimizer="adam")
    os.utime(later / "summary.json", (2e9, 2e9))
    plant(commands.folder / "killed", None, status=None, seed=1, optimizer="adam")
    said = compared(commands, ".").out
    assert float(rows_of(commands.folder)[0]["mean"]) == pytest.approx(0.65)
    assert "2 more runs repeat a configuration and seed; of each, the newest completed run counts" in said
    assert len(rows_of(commands.folder, "runs")) == 2


@plain
def test_runs_of_a_sweep_that_wait_are_counted(commands: Commands) -> None:
    plant_all(commands.folder / "s", [0.5, 0.6], optimizer="adam")
    runs = {number: {"folder": name} for number, name in enumerate(("optimizer=adam_1", "optimizer=adam_2", "c"))}
    (commands.folder / "s" / "sweep.yaml").write_text(yaml.safe_dump({"runs": runs}))
    assert "note: 1 run of the sweep has not started" in compared(commands, "s").out
    runs[3] = {"folder": "d"}
    (commands.folder / "s" / "sweep.yaml").write_text(yaml.safe_dump({"runs": runs}))
    assert "note: 2 runs of the sweep have not started" in compared(commands, "s").out


# targets


@plain
def test_a_target_that_is_not_reached_counts_as_such(commands: Commands) -> None:
    curves = {1: [0.5, 0.8, 0.9], 2: [0.6, 0.7, 0.95], 3: [0.9, 0.9, 0.9], 4: [0.1, 0.1, 0.1]}
    for seed, curve in curves.items():
        plant(commands.folder / f"a{seed}", curve[-1], metric="val/accuracy", curve=curve, seed=seed, optimizer="adam")
        plant(commands.folder / f"s{seed}", 0.1, metric="val/accuracy", curve=[0.1], seed=seed, optimizer="sgd")
    plant(commands.folder / "d", None, metric="val/accuracy", status="diverged", curve=[0.1], seed=5, optimizer="adam")
    plant(commands.folder / "u", None, metric="val/accuracy", status=None, curve=[0.1], seed=6, optimizer="adam")
    said = compared(commands, ".", "target=0.9", "metric=val/accuracy").out
    adam, sgd = rows_of(commands.folder)
    assert (adam["reached"], adam["epochs_to_target"], adam["seconds_to_target"]) == ("3", "3.0", "6.0")
    assert (sgd["reached"], sgd["epochs_to_target"]) == ("0", "inf")
    assert "3 of 5" in said
    assert re.search(r"optimizer=sgd .* not reached +0 of 4", said)


@plain
def test_a_target_of_a_loss_is_reached_from_above(commands: Commands) -> None:
    plant(commands.folder / "a", 0.2, curve=[0.9, 0.5, 0.2])
    compared(commands, ".", "target=0.5")
    assert rows_of(commands.folder)[0]["epochs_to_target"] == "2.0"


@plain
def test_targets_that_nothing_could_reach(commands: Commands) -> None:
    for seed in (1, 2):
        plant(
            commands.folder / f"a{seed}", 0.9, metric="val/accuracy", curve=[0.9], seed=seed, objective="val/accuracy",
            summary={"metrics": {"val/accuracy": 0.9, "test/accuracy": 0.9}},
        )  # fmt: skip
    said = refused(commands, ".", "target=0.9", "metric=test/accuracy")
    assert "target needs a metric that is measured every epoch, but test/accuracy is measured once" in said
    assert "; choose metric from val/accuracy" in said
    assert "target=97 should be at most 1" in refused(commands, ".", "target=97")


@plain
@pytest.mark.parametrize(
    ("words", "column", "values"),
    [
        ((), "steps_to_target", ["14.0", "21.0"]),
        (("axis=step",), "steps_to_target", ["14.0", "21.0"]),
        (("axis=seconds",), "seconds_to_target", ["4.0", "6.0"]),
    ],
)
def test_runs_that_validate_by_steps_are_compared_by_steps(
    commands: Commands, words: tuple[str, ...], column: str, values: list[str]
) -> None:
    plant(commands.folder / "a", 0.2, training__validate="every:7steps", curve=[0.9, 0.5, 0.2])
    plant(commands.folder / "b", 0.1, optimizer="adam", curve=[0.9, 0.8, 0.1])
    said = compared(commands, ".", "target=0.5", *words).out
    rows = rows_of(commands.folder)
    assert "epochs_to_target" not in rows[0]
    assert sorted(row[column] for row in rows) == values
    assert column.replace("_", " ") in said
    curves = {(row["group"], row["epoch"]) for row in rows_of(commands.folder, "curves")}
    assert len([group for group, epoch in curves if epoch == ""]) == 1, "the run without epochs"
    page = (commands.folder / "comparison" / "report.html").read_text()
    axes = re.findall(r'<option value="(epoch|step|seconds)">', page)
    assert axes == (["seconds", "step"] if words == ("axis=seconds",) else ["step", "seconds"])
    error = refused(commands, ".", "axis=epoch")
    assert "axis=epoch cannot be used: a has training.validate=every:7steps" in error


@plain
def test_runs_of_a_group_are_aligned_by_step(commands: Commands) -> None:
    plant(commands.folder / "a", 0.2, seed=1, training__validate="every:7steps", curve=[0.9, 0.5, 0.3, 0.2])
    b = plant(commands.folder / "b", 0.4, seed=2, training__validate="every:14steps")
    (b / "metrics.csv").write_text("epoch,step,val/loss,seconds\n1,14,0.7,3\n2,28,0.4,6\n")
    compared(commands, ".", "pool=training.validate", "by=optimizer")
    rows = rows_of(commands.folder, "curves")
    assert [(row["step"], row["n"], float(row["mean"])) for row in rows] == [
        ("14.0", "2", pytest.approx(0.6)), ("28.0", "2", pytest.approx(0.3)),
    ]  # fmt: skip


# factors


@plain
def test_a_factor_that_matters_only_together_with_another(commands: Commands) -> None:
    rng = np.random.default_rng(5)
    for batch_norm in (True, False):
        for init in ("he", "xavier", "small"):
            worse = 0.4 * (init == "small") * (not batch_norm)
            plant_all(commands.folder, list(rng.normal(0.3 + worse, 0.01, 4)), model__batch_norm=batch_norm, init=init)
    said = compared(commands, ".").out
    assert re.search(
        r"- init matters only with model\.batch_norm=false: its means differ by 0\.4\d* there, by 0\.0\d+ elsewhere",
        said,
    )
    shares = {
        name: float(value)
        for name, value in re.findall(
            r"([\w.]+(?: x [\w.]+)?) (\S+) % \(p", said.partition("Shares of the variance: ")[2]
        )
    }
    assert 90 < sum(shares.values()) <= 101
    assert set(shares) == {"init", "model.batch_norm", "init x model.batch_norm"}
    markdown = (commands.folder / "comparison" / "report.md").read_text()
    assert "## Effect of each factor" in markdown
    assert "init matters only with" in markdown


# runs that do not belong together


@plain
def test_different_data_sets_are_compared_only_on_request(commands: Commands) -> None:
    for seed in (1, 2):
        plant(commands.folder / f"a{seed}", 0.5, seed=seed, data="digits")
        plant(commands.folder / f"b{seed}", 0.6, seed=seed, data="fashion")
    said = refused(commands, ".")
    assert "different data sets: digits (2 runs), fashion (2 runs)" in said
    assert "choose one with where=data=digits, or compare all with mixed=true" in said
    compared(commands, ".", "where=data=fashion")
    said = compared(commands, ".", "mixed=true").out
    assert "note: The runs have different data sets: digits (2 runs), fashion (2 runs)" in said
    assert [row["group"] for row in rows_of(commands.folder)] == ["data=digits", "data=fashion"]


@plain
def test_different_objectives_need_a_choice(commands: Commands) -> None:
    both = {"metrics": {"val/loss": 0.3, "val/accuracy": 0.9}}
    plant(commands.folder / "a", objective="val/loss", summary=both, optimizer="adam")
    plant(commands.folder / "b", objective="val/accuracy", summary=both, optimizer="sgd")
    said = refused(commands, ".")
    assert "different objectives: val/loss (1 run), val/accuracy (1 run); choose one with metric=<name>" in said
    assert "val/accuracy of 2 runs" in compared(commands, ".", "metric=val/accuracy").out


@plain
def test_different_versions_are_reported(commands: Commands) -> None:
    plant(commands.folder / "a", 0.5, seed=1, summary={"versions": {"torch": "2.8"}})
    plant(commands.folder / "b", 0.5, seed=2, summary={"versions": {"torch": "2.9"}})
    assert "note: The runs used different versions of torch: 2.8, 2.9" in compared(commands, ".").out


# files


@plain
def test_several_folders_are_compared_in_the_one_above(commands: Commands) -> None:
    plant_all(commands.folder / "x" / "one", [0.5, 0.6], optimizer="sgd")
    plant_all(commands.folder / "x" / "two=2 words", [0.4, 0.5], optimizer="adam")
    said = compared(commands, "x/one", "x/two=2 words", "x/one/../one").out
    assert "val/loss of 4 runs in 2 groups" in said
    assert "report   x/comparison/report.html" in said
    assert len(rows_of(commands.folder / "x")) == 2
    compared(commands, "x", f"out={commands.folder / 'there'}")
    assert (commands.folder / "there" / "report.html").exists()
    names = {"report.html", "report.md", "table.csv", "curves.csv", "differences.csv", "runs.csv"}
    assert {path.name for path in (commands.folder / "x" / "comparison").iterdir()} == names
    assert rows_of(commands.folder / "x") == rows_of(commands.folder / "x")


@plain
def test_help_names_every_option(commands: Commands) -> None:
    outcome = commands.type("compare", "--help")
    assert outcome.code == 0
    for option in (
        "by",
        "best",
        "pool",
        "where",
        "metric",
        "baseline",
        "target",
        "axis",
        "mixed",
        "watch",
        "every",
        "out",
    ):
        assert f"\n  {option}=" in outcome.out
    assert commands.type("compare").code == 2


@plain
def test_curves_are_means_over_the_runs_that_are_left(commands: Commands) -> None:
    plant(commands.folder / "a", 0.1, seed=1, curve=[0.5, 0.3, 0.1])
    plant(commands.folder / "b", 0.2, seed=2, curve=[0.7, 0.4, 0.2])
    plant(commands.folder / "c", 0.3, seed=3, curve=[0.3])
    compared(commands, ".")
    rows = rows_of(commands.folder, "curves")
    assert [(row["epoch"], row["step"], row["seconds"], row["n"]) for row in rows] == [
        ("1.0", "7.0", "2.0", "3"), ("2.0", "14.0", "4.0", "2"), ("3.0", "21.0", "6.0", "2"),
    ]  # fmt: skip
    assert [float(row["mean"]) for row in rows] == pytest.approx([0.5, 0.35, 0.15])
    low, high = stats.t.interval(0.95, 2, 0.5, stats.sem([0.5, 0.7, 0.3]))
    assert [float(rows[0]["low"]), float(rows[0]["high"])] == pytest.approx([low, high])


@pytest.mark.slow
def test_a_rate_is_drawn_on_a_logarithmic_scale(commands: Commands) -> None:
    for number, rate in enumerate((0.001, 0.01, 0.1, 1.0)):
        for seed in (1, 2):
            plant(commands.folder / f"{number}{seed}", 0.5 - 0.1 * number + 0.01 * seed, optimizer__lr=rate, seed=seed)
    compared(commands, ".")
    for kind in ("svg", "png"):
        assert (commands.folder / "comparison" / "figures" / f"sensitivity_optimizer_lr.{kind}").stat().st_size > 1000
    drawn = (commands.folder / "comparison" / "figures" / "sensitivity_optimizer_lr.svg").read_text()
    assert {"0.001", "0.01", "0.1"} <= set(re.findall(r">([^<>]+)</text>", drawn)), "on a linear scale two are too near"


# real sweeps


SWEEPS = {
    "crossed": ("optimizer=sgd,adam", "init=he,xavier", "model.batch_norm=true,false", "seed=1,2"),
    "wild": ("optimizer=sgd", "optimizer.lr=0.1,1e30,-1", "seed=1,2"),
    "hopeless": ("optimizer.lr=-1,0.1", "seed=1,2"),
    "blind": (
        "data.val_fraction=0", "observers.layers.enabled=false", "observers.histograms.enabled=false",
        "observers.tensorboard.enabled=false", "optimizer=adam,lbfgs", "seed=1,2",
    ),
    "still": ("training.epochs=0", "seed=1,2"),
    "by_loss": ("objective=val/loss", "init=he", "optimizer=sgd,adam", "optimizer.lr=0.01", "seed=1,2,3"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sweeps that were really made."""
    from experiments.train import main

    folder = tmp_path_factory.mktemp("sweeps")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, overrides in SWEEPS.items():
            small = [o for o in SMALL if "tensorboard" not in o and not (name == "still" and "epochs" in o)]
            patch.setattr(sys, "argv", ["train", "-m", *small, *overrides, f"name={name}"])
            with suppress(SystemExit):
                main()
            (found[name],) = (path.parent for path in folder.glob(f"outputs/{name}/*/sweep.yaml"))
    for trained in found["hopeless"].glob("*lr=0.1*"):  # a sweep of which no run can be built is refused
        shutil.rmtree(trained)
    return found


def summaries(sweep: Path, key: str, metric: str) -> dict[str, list[float]]:
    """Return a metric of a sweep's runs by what is in the overrides of each, as sweep.csv has it."""
    found: dict[str, list[float]] = {}
    with (sweep / "sweep.csv").open() as file:
        for row in csv.DictReader(file):
            words = dict(word.split("=", 1) for word in row["overrides"].split())
            found.setdefault(words[key], []).append(float(row[metric]))
    return found


@pytest.mark.slow
def test_a_crossed_sweep(commands: Commands, sweeps: dict[str, Path]) -> None:
    folder = sweeps["crossed"]
    said = compared(commands, folder, "target=0.05").out
    assert said.startswith("val/accuracy of 16 runs in 8 groups\n")
    assert "Shares of the variance: " in said
    rows = rows_of(folder)
    assert [float(row["mean"]) for row in rows] == sorted((float(row["mean"]) for row in rows), reverse=True)
    assert all(re.fullmatch(r"optimizer=\w+ init=\w+ model.batch_norm=\w+", row["group"]) for row in rows)
    assert all(float(row["examples_per_second"]) > 0 for row in rows)
    assert len(rows_of(folder, "runs")) == 16
    made = folder / "comparison"
    for name in (
        "values", "curves_epoch", "curves_seconds", "interaction", "layers_last", "layers_activation_std",
        "histograms_start", "histograms_end",
    ):  # fmt: skip
        assert (made / "figures" / f"{name}.svg").stat().st_size > 1000, name
        assert (made / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
    markdown = (made / "report.md").read_text()
    assert all((made / name).exists() for name in re.findall(r"\]\((figures/[^)]+)\)", markdown))
    assert {row["metric"] for row in rows_of(folder, "curves")} >= {"train/loss", "val/loss", "val/accuracy"}


@pytest.mark.slow
@plain
def test_a_crossed_sweep_by_one_of_its_factors(commands: Commands, sweeps: dict[str, Path]) -> None:
    folder = sweeps["crossed"]
    words = ("by=optimizer", "pool=init,model.batch_norm", "metric=test/accuracy")
    again = compared(commands, folder, *words, f"out={commands.folder}/comparison").out
    wanted = summaries(folder, "optimizer", "test/accuracy")
    for row in rows_of(commands.folder):
        assert float(row["mean"]) == pytest.approx(np.mean(wanted[row["optimizer"]]), abs=1e-9)
    assert "test/accuracy of 16 runs in 2 groups" in again


@pytest.mark.slow
@plain
def test_a_sweep_whose_runs_diverge_and_fail(commands: Commands, sweeps: dict[str, Path]) -> None:
    said = compared(commands, sweeps["wild"]).out
    assert "2 of 6 runs diverged and are not in the means: optimizer.lr=1e+30 (2)" in said
    assert "2 of 6 runs failed and are not in the means: optimizer.lr=-1 (2)" in said
    assert [row["n"] for row in rows_of(sweeps["wild"])] == ["2", "0", "0"]
    assert not {"inf", "nan"} & {row["mean"] for row in rows_of(sweeps["wild"], "curves")}


def test_a_sweep_of_which_every_run_failed(commands: Commands, sweeps: dict[str, Path]) -> None:
    said = compared(commands, sweeps["hopeless"]).out
    assert "- No run has completed: there is nothing to compare yet" in said
    assert "2 of 2 runs failed" in said
    assert rows_of(sweeps["hopeless"])[0]["statuses"] == "2 failed"


@pytest.mark.slow
def test_runs_without_validation_and_observers(commands: Commands, sweeps: dict[str, Path]) -> None:
    folder = sweeps["blind"]
    said = refused(commands, str(folder))
    assert "no run has val/accuracy, the objective of all runs" in said
    assert "choose with metric=" in said
    said = compared(commands, folder, "metric=test/accuracy").out
    assert {row["group"] for row in rows_of(folder)} == {"optimizer=adam", "optimizer=lbfgs"}
    assert "val/" not in said
    names = {path.stem for path in (folder / "comparison" / "figures").iterdir()}
    assert not any(name.startswith(("layers", "histograms")) for name in names)


@pytest.mark.slow
def test_runs_without_epochs(commands: Commands, sweeps: dict[str, Path]) -> None:
    said = refused(commands, str(sweeps["still"]))
    assert "no run has val/accuracy, the objective of all runs; choose with metric=<name>: train_eval/loss, " in said
    assert "all runs: test/accuracy" in compared(commands, sweeps["still"], "metric=test/accuracy").out


@plain
def test_a_smaller_loss_is_better(commands: Commands, sweeps: dict[str, Path]) -> None:
    said = compared(commands, sweeps["by_loss"]).out
    wanted = summaries(sweeps["by_loss"], "optimizer", "val/loss")
    best, worst = sorted(wanted, key=lambda name: np.mean(wanted[name]))
    rows = rows_of(sweeps["by_loss"])
    assert [row["optimizer"] for row in rows] == [best, worst]
    assert [float(row["best"]) for row in rows] == pytest.approx([min(wanted[best]), min(wanted[worst])])
    assert f"- optimizer={best} beats optimizer={worst} by " in said


@plain
def test_a_folder_above_finds_all_runs(commands: Commands, sweeps: dict[str, Path]) -> None:
    top = sweeps["crossed"].parents[1]
    said = compared(commands, top, "metric=test/accuracy", f"out={commands.folder / 'all'}").out
    assert f"of {len(run_folders(top.parent))} runs in " in said
    assert "repeat a configuration" not in said  # what differs in the objective alone has another best epoch
    assert "objective=val/loss" in said


def test_a_comparison_does_not_change_the_runs(commands: Commands, sweeps: dict[str, Path], undrawn: None) -> None:
    del undrawn
    folder = sweeps["by_loss"]

    def state() -> dict[Path, tuple[int, int]]:
        return {
            path: (path.stat().st_mtime_ns, path.stat().st_size)
            for path in folder.rglob("*")
            if path.is_file() and "comparison" not in path.relative_to(folder).parts
        }

    before = state()
    compared(commands, folder)
    assert state() == before


@pytest.mark.slow
def test_the_page_of_a_real_sweep_opens(sweeps: dict[str, Path], commands: Commands, browser: Browser) -> None:
    page = sweeps["crossed"] / "comparison" / "report.html"
    if not page.exists():  # the test of its files has made it
        compared(commands, sweeps["crossed"])
    with opened(browser, page) as (tab, wrong):
        assert tab.locator(".group").count() == 8
        titles = tab.locator("h2").all_inner_texts()
        assert any("Differences" in title for title in titles)
        assert tab.locator("figure svg").count() >= 5
    assert not wrong


# watching


WITHOUT_FIGURES = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from experiments.comparison.report import Report\nReport.figures = lambda *_: iter(())"
)


def watching(folder: Path, *options: str) -> Forked:
    """Start a comparison that refreshes, without figures; even in the background it hears Ctrl-C."""
    return start(folder, str(folder), "watch=true", *options, verb="compare", prelude=WITHOUT_FIGURES)


def appears(path: Path, process: Forked) -> None:
    """Wait for a file."""
    deadline = time.monotonic() + 90
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_watching_ends_with_the_sweep(tmp_path: Path) -> None:
    training = start(tmp_path, "-m", *SMALL, "training.epochs=200", "optimizer=sgd,adam", "seed=1,2", "name=w")
    started = [training]
    try:
        while not list(tmp_path.glob("outputs/w/*/00_*/checkpoints/last.pt")):
            assert training.poll() is None, training.communicate()
            time.sleep(0.05)
        training.send_signal(signal.SIGSTOP)  # until the first page is there
        (sweep,) = tmp_path.glob("outputs/w/*")
        started.append(process := watching(sweep, "every=1"))
        page = sweep / "comparison" / "report.html"
        appears(page, process)
        assert 'id="reload"' in page.read_text()
        training.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=120)
    finally:
        for each in started:
            each.kill()
            each.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.count("val/accuracy of 4 runs") >= 2
    assert "runs are in progress; next refresh in 1 s, Ctrl-C stops it" in out
    assert 'id="reload"' not in page.read_text()
    assert {row["statuses"] for row in rows_of(sweep)} == {"2 finished"}


@pytest.mark.slow
def test_ctrl_c_ends_watching(tmp_path: Path) -> None:
    plant_all(tmp_path, [0.5, 0.6])
    plant(tmp_path / "running", None, status=None, seed=3)
    process = watching(tmp_path, "every=60")
    appears(tmp_path / "comparison" / "report.html", process)
    while "Ctrl-C stops it" not in process.printed()[0]:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


@pytest.mark.slow
def test_watching_ends_if_the_sweep_was_killed(tmp_path: Path) -> None:
    training = start(tmp_path, "-m", *SMALL, "training.epochs=2000", "optimizer=sgd,adam", "seed=1,2", "name=w")
    try:
        while not list(tmp_path.glob("outputs/w/*/00_*/checkpoints/last.pt")):
            assert training.poll() is None, training.communicate()
            time.sleep(0.05)
    finally:
        training.kill()
        training.communicate()
    (sweep,) = tmp_path.glob("outputs/w/*")
    for path in sweep.rglob("*"):
        os.utime(path, (0, 0))  # long ago
    process = watching(sweep, "every=1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "runs are in progress" not in out


@pytest.mark.slow
def test_watching_waits_for_the_first_run(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    process = watching(tmp_path / "outputs", "every=1")
    try:
        deadline = time.monotonic() + 90
        while "not yet: no runs in" not in process.printed()[0]:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        plant(tmp_path / "outputs" / "one", 0.5, seed=1)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert "not yet: no runs in" in out


@pytest.mark.slow
def test_figures_of_an_earlier_report_are_removed(commands: Commands) -> None:
    for number, rate in enumerate((0.001, 0.01, 0.1)):
        plant(commands.folder / f"{number}", 0.5 - 0.1 * number, optimizer__lr=rate, seed=1)
    figures = commands.folder / "comparison" / "figures"
    compared(commands, ".")
    assert (figures / "sensitivity_optimizer_lr.png").exists()
    (figures / "own.png").touch()
    compared(commands, ".", "where=optimizer.lr=0.1")
    assert not list(figures.glob("sensitivity*"))
    assert (figures / "own.png").exists()


# what a reader looks for in the names of groups


@plain
def test_a_name_keeps_the_optimizer_though_the_rate_tells_the_groups_apart(commands: Commands) -> None:
    for optimizer, rate in (("sgd", 0.1), ("adam", 0.001), ("adam", 0.01)):
        plant_all(commands.folder, [0.5, 0.6], optimizer=optimizer, optimizer__lr=rate)
    compared(commands, ".")
    assert {row["group"] for row in rows_of(commands.folder)} == {
        "optimizer=sgd optimizer.lr=0.1",
        "optimizer=adam optimizer.lr=0.001",
        "optimizer=adam optimizer.lr=0.01",
    }


@plain
def test_a_group_without_the_key_is_named_by_it(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6], optimizer__beta=0.9)
    plant_all(commands.folder, [0.3, 0.4])
    compared(commands, ".", "by=optimizer.beta")
    assert {row["group"] for row in rows_of(commands.folder)} == {"optimizer.beta=0.9", "without optimizer.beta"}


@plain
def test_a_command_that_was_refused_is_not_a_run(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6])
    plant(commands.folder / "typo", None, status="failed", data="wine", summary={"epochs": 0, "steps": 0})
    said = compared(commands, ".").out
    assert "val/loss of 2 runs in 1 group" in said
    assert "note: 1 command was refused before the first update and left no run to compare (typo)" in said
    said = refused(commands, "typo")
    assert "typo was refused before its first update" in said


@plain
def test_a_run_that_has_not_started_is_in_the_group_of_its_settings(commands: Commands) -> None:
    plant_all(commands.folder, [0.5], curve=[0.7, 0.5])
    plant(commands.folder / "waits", None, status=None, seed=2, objective="auto")
    said = compared(commands, ".").out
    assert "val/loss of 2 runs in 1 group" in said


@plain
def test_a_run_of_an_earlier_version_lacks_what_came_later(commands: Commands) -> None:
    plant_all(commands.folder, [0.5, 0.6], model__norm="none")
    plant(commands.folder / "old", 0.4, seed=3)
    said = compared(commands, ".").out
    assert "val/loss of 3 runs in 1 group" in said
