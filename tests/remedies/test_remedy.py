"""Advice that is tried: what helps and harms is told, nothing is trained twice, bad input is one sentence."""

import itertools
import json
import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.common.metrics import Metric
from experiments.common.screen import Screen
from experiments.comparison._remedies import remedy_table
from experiments.comparison.statistics import Difference
from experiments.observers.metrics import MetricsFile
from experiments.remedies._effects import Tried, combination, effects, filled, judged
from experiments.remedies._treatments import Treatment
from experiments.remedies.running import SPARE, effect_table
from tests.helpers import SMALL, Commands, summary, trained_in

FAULTY = (
    "data=blobs", "data.examples=150", "init=zeros", "model.hidden=[8]", "training.epochs=6", "optimizer.lr=0.05",
    "observers.tensorboard.enabled=false", "observers.pictures.enabled=false", "observers.regions.enabled=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose weights all start at zero."""
    return trained_in(tmp_path_factory.mktemp("faulty"), *FAULTY)


@pytest.fixture
def sick(commands: Commands, faulty: Path) -> Path:
    """A copy of it, in the folder of the commands."""
    return Path(shutil.copytree(faulty, commands.folder / "sick"))


def content(folder: Path) -> dict[str, Any]:
    """The content of `remedy.json`."""
    read: dict[str, Any] = json.loads((folder / "remedy" / "remedy.json").read_text())
    return read


@pytest.mark.slow
def test_the_advice_is_tried_compared_and_written(commands: Commands, sick: Path) -> None:
    before = (sick / "summary.json").read_bytes()
    first = commands.type("remedy", "run=sick", "seeds=4", "most=2")
    assert first.code == 0, first.err
    found = content(sick)
    assert found["verdicts"] == ["symmetry"]
    assert found["seeds"] == [0, 1, 2, 3]
    assert {one["name"]: one["effect"] for one in found["remedies"]} == {
        "He's weights": "helps",
        "Xavier's weights": "helps",
    }
    best = max(found["remedies"], key=lambda one: one["difference"])
    assert best["low"] > 0
    assert found["command"].endswith(f"{' '.join(best['overrides'])} seed=0")
    assert "init=zeros" not in found["command"]
    assert f"best     {found['command']}" in first.out
    assert "not combined with" in first.out
    assert (sick / "remedy" / "remedy.png").stat().st_size > 5_000
    assert (sick / "summary.json").read_bytes() == before

    times = {path: path.stat().st_mtime_ns for path in sick.glob("remedy/*/summary.json")}
    assert len(times) == 12
    again = commands.type("remedy", "sick", "seeds=4", "most=2")
    assert again.out.count("(done before)") == 3
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert content(sick) == found

    listed = commands.type("compare", "sick")
    assert "1 run" in listed.out
    page = (commands.folder / "sick" / "comparison" / "report.html").read_text()
    assert "Remedies of sick" in page
    assert "Differences in val/accuracy from the run, paired over 4 seeds" in page
    command = shlex.split(found["command"].split("experiments.train ")[1])
    assert summary(commands.trained(*command))["status"] == "finished"


@pytest.mark.slow
def test_training_with_remedies(commands: Commands) -> None:
    few = [word for word in FAULTY if not word.startswith("training.epochs")]
    outcome = commands.train(*few, "remedy=true", "training.epochs=2")
    assert outcome.code == 0, outcome.err
    (folder,) = commands.folder.glob("outputs/train/*")
    assert "remedies" in content(folder)
    assert "symmetry" in outcome.out


TRIED: dict[str, Any] = {
    "run": "sick", "verdicts": ["symmetry"], "metric": "val/accuracy", "seeds": [0, 1], "original": {}, "order": [],
    "remedies": [
        {"name": "<b>He's", "effect": "helps", "overrides": ["init=he"], "difference": 0.1, "low": 0.05, "high": 0.15,
         "corrected_p": 0.001},
        {"name": "none", "effect": "not compared", "overrides": [], "difference": None, "low": None, "high": None,
         "corrected_p": None},
    ],
    "together": None,
}  # fmt: skip


def test_the_page_has_a_table_of_remedies(tmp_path: Path) -> None:
    path = tmp_path / "sick" / "remedy" / "remedy.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(TRIED))
    table = remedy_table(tmp_path / "sick")
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["<b>He's", "helps", "+10", "5.00 to 15.00", "0.001", "init=he"],
        ["none", "not compared", "", "", "", ""],
    ]
    assert table.note.startswith("Verdicts: symmetry. Differences in val/accuracy from the run, paired over 2 seeds")


@pytest.mark.parametrize(
    "damaged",
    ["", "[]", "{}", "null", json.dumps({**TRIED, "remedies": [1]}), json.dumps({**TRIED, "seeds": 3}), "[" * 100_000],
)
def test_a_damaged_file_has_no_table(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "remedy").mkdir()
    (tmp_path / "remedy" / "remedy.json").write_text(damaged)
    assert remedy_table(tmp_path) is None
    assert remedy_table(tmp_path / "elsewhere") is None


@pytest.mark.slow
def test_an_interrupted_remedy_continues(
    commands: Commands, sick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("remedy", "run=sick", "seeds=3", "most=2")
    whole = Path(shutil.copytree(sick, tmp_path / "whole"))
    assert commands.type("remedy", f"run={whole}", *words[2:]).code == 0
    original, calls = MetricsFile.epoch_end, itertools.count()

    def epoch_end(self: MetricsFile, row: dict[str, float]) -> None:
        original(self, row)
        if next(calls) == 24:  # the run has 3 seeds and 6 epochs: in the second epoch of the first remedy
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MetricsFile, "epoch_end", epoch_end)
    stopped = commands.type(*words)
    assert stopped.code == 130
    assert "interrupted; the same command continues" in stopped.out
    assert not (sick / "remedy" / "remedy.json").exists()
    done = {path: path.stat().st_mtime_ns for path in sick.glob("remedy/the_run_seed=*/summary.json")}
    assert len(done) == 3

    again = commands.type(*words)
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in done} == done, "nothing is trained twice"
    assert {**content(sick), "run": ""} == {**content(whole), "run": ""} | {"command": content(sick)["command"]}


def test_a_sweep_has_no_remedies(commands: Commands) -> None:
    error = commands.train("-m", "seed=0,1", "remedy=true").refusal()
    assert error.startswith("Error: remedy=true is for a single run, but -m runs several; ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"verdicts": []}, "Error: run='sick' has no verdicts: it trained no epoch"),
        ({"verdicts": [], "status": "failed"}, "Error: run='sick' has no verdicts: it failed"),
        (
            {"verdicts": [], "status": "interrupted"},
            "Error: run='sick' has no verdicts: it was interrupted; finish it with experiments.train resume=sick",
        ),
        ({"objective": "train/loss"}, "Error: run='sick' has no validation split to compare remedies on; "),
    ],
)
def test_a_run_without_verdicts_is_refused(
    commands: Commands, sick: Path, change: dict[str, Any], sentence: str
) -> None:
    path = sick / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert commands.type("remedy", "run=sick").refusal().startswith(sentence)


def test_a_strangers_folder_is_read_as_data(commands: Commands, sick: Path) -> None:
    path = sick / ".hydra" / "overrides.yaml"
    own = path.read_text()
    path.write_text(own + "- hydra.run.dir=/tmp/elsewhere\n")
    assert "which no run of ours writes" in commands.type("remedy", "run=sick").refusal()
    path.write_text(own + "- model._target_=os.system\n")
    error = commands.type("remedy", "run=sick").refusal()
    assert "model._target_='os.system' of 'sick' names code from outside this package; such code is refused" in error


def test_other_mistakes_are_one_sentence(commands: Commands, sick: Path) -> None:
    assert "takes one run at a time, but 2 folders" in commands.type("remedy", "sick", "sick").refusal()
    assert "seeds=1" in commands.type("remedy", "sick", "seeds=1").refusal()
    (commands.folder / "empty").mkdir()
    assert "run='empty' is not a run folder" in commands.type("remedy", "run=empty").refusal()
    (sick / "sweep.yaml").write_text("{}")
    assert "is the folder of a sweep; give the folder of one of its runs" in commands.type("remedy", "sick").refusal()


RISING, FALLING = Metric("val/accuracy"), Metric("val/loss")


def treatment(name: str, *overrides: str) -> Treatment:
    """A remedy with these overrides."""
    return Treatment(name, overrides, (), ())


def test_effects_are_told_apart() -> None:
    base = {seed: 0.7 + 0.01 * (seed % 3) for seed in range(8)}
    moved = {
        "better": {seed: value + 0.1 + 0.001 * seed for seed, value in base.items()},
        "same": {seed: value + 0.001 * (-1) ** seed for seed, value in base.items()},
        "worse": {seed: value - 0.1 - 0.001 * seed for seed, value in base.items()},
        "wild": {seed: value + 0.3 * (-1) ** seed for seed, value in base.items()},
    }
    tried = effects(base, [treatment(name) for name in moved], moved, {}, RISING)
    assert {one.treatment.name: one.effect for one in tried} == {
        "better": "helps", "same": "does nothing", "wild": "not clear", "worse": "harms",
    }  # fmt: skip
    reversed_ = effects(base, [treatment(name) for name in moved], moved, {}, FALLING)
    assert {one.treatment.name: one.effect for one in reversed_}["better"] == "harms"


def test_a_difference_that_is_surely_tiny_is_nothing_even_if_it_is_shown() -> None:
    base = {seed: 0.7 + 0.01 * (seed % 3) for seed in range(8)}
    moved = {"tiny": {seed: value - 0.003 - 0.0001 * seed for seed, value in base.items()}}
    (one,) = effects(base, [treatment("tiny")], moved, {}, RISING)
    assert one.corrected < 0.001
    assert one.effect == "does nothing"


@pytest.mark.slow
def test_remedies_that_change_the_loss_are_not_compared_by_it(commands: Commands) -> None:
    draw = np.random.default_rng(0)
    x = draw.uniform(-2, 2, size=(400, 1))
    y = np.square(x[:, 0]) + draw.normal(0, 0.3, 400) + np.where(draw.random(400) < 0.04, 40, 0)
    np.savez("wild.npz", x_train=x[:300], y_train=y[:300], x_test=x[300:], y_test=y[300:])
    words = ("data=npz", "data.path=wild.npz", "model.hidden=[20]", "training.epochs=15", "optimizer.lr=0.01")
    folder = commands.trained(*words, "observers.pictures.enabled=false", "observers.tensorboard.enabled=false")
    assert "outliers" in {verdict["name"] for verdict in summary(folder)["verdicts"]}
    done = commands.type("remedy", f"run={folder}", "seeds=3", "most=2")
    assert done.code == 0, done.err
    assert "Some remedies change the loss, so val/mae is compared instead of the loss." in done.out
    found = content(folder)
    assert found["metric"] == "val/mae"
    (huber,) = [one for one in found["remedies"] if one["name"] == "Huber's loss"]
    table = np.genfromtxt(next(folder.glob("remedy/huber_s_loss_seed=0/metrics.csv")), delimiter=",", names=True)
    best = table[int(np.argmin(table["valloss"]))]
    assert huber["values"]["0"] == pytest.approx(best["valmae"], rel=1e-4)


def test_a_fault_that_shows_with_a_few_seeds_only_is_shown_by_ranks() -> None:
    base = {seed: 0.9 + 0.001 * seed - (0.6 if seed in (2, 7) else 0.0) for seed in range(10)}
    moved = {seed: 0.9 + 0.002 * seed + 0.001 for seed in range(10)}
    (one,) = effects(base, [treatment("steady")], {"steady": moved}, {}, RISING)
    assert one.found is not None
    assert one.found.t_p > 0.1
    assert (one.effect, one.p) == ("helps", pytest.approx(4 / 2**10))
    mostly_worse = {seed: value - 0.002 if value > 0.5 else 0.95 for seed, value in base.items()}
    (other,) = effects(base, [treatment("wild")], {"wild": mostly_worse}, {}, RISING)
    assert other.found is not None
    assert other.found.mean > 0
    assert (other.effect, other.p) == ("not clear", 2 * other.found.t_p)


def test_a_run_without_a_result_counts_as_the_worst_of_its_seed() -> None:
    measured: dict[str, dict[int, float | None]] = {
        "the run": {0: None, 1: 0.5},
        "a": {0: 0.4, 1: 0.9},
        "b": {0: 0.6, 1: None},
    }
    assert filled(measured, RISING) == {"the run": {0: 0.4, 1: 0.5}, "a": {0: 0.4, 1: 0.9}, "b": {0: 0.6, 1: 0.5}}
    assert filled(measured, FALLING)["b"] == {0: 0.6, 1: 0.9}
    assert filled(measured, RISING, 0.1) == {"the run": {0: 0.1, 1: 0.5}, "a": {0: 0.4, 1: 0.9}, "b": {0: 0.6, 1: 0.1}}


@pytest.mark.slow
def test_a_run_that_diverges_with_every_seed_has_no_score(commands: Commands) -> None:
    words = ("init=unit_normal", "optimizer=sgd", "optimizer.lr=1e30", "hydra.run.dir=wild")
    assert "diverged" in commands.train(*SMALL, *words).out
    told = commands.type("remedy", "run=wild", "seeds=3", "most=2")
    assert told.code == 0, told.err
    assert "val/accuracy: the run has no result with 3 of 3 seeds, which count as the worst of the seed" in told.out
    assert "of the run 0" not in told.out
    content = json.loads((commands.folder / "wild" / "remedy" / "remedy.json").read_text())
    assert content["runs_without_result"] == 3
    assert set(content["original"].values()) == {0.1}


def test_remedies_that_help_are_combined_unless_they_contradict_each_other() -> None:
    base = dict.fromkeys(range(6), 0.5)
    moved = {
        "a": {seed: 0.8 + 0.001 * seed for seed in base},
        "b": {seed: 0.7 + 0.001 * seed for seed in base},
        "c": {seed: 0.6 + 0.001 * seed for seed in base},
    }
    plan = [treatment("a", "optimizer.lr=1"), treatment("b", "optimizer.lr=2"), treatment("c", "init=he")]
    overrides, names, left_out = combination(effects(base, plan, moved, {}, RISING))
    assert (overrides, names) == (["optimizer.lr=1", "init=he"], ["a", "c"])
    assert left_out == ["not combined with a and c, because of optimizer.lr: b"]


def test_nothing_to_compare_is_no_effect() -> None:
    assert judged(None, 1.0, {0: 0.5}, RISING) == "not compared"


@pytest.mark.parametrize(("columns", "shown"), [(100, ("95 %", "p")), (80, ("95 %", "p")), (70, ("95 %",)), (50, ())])
def test_the_name_of_a_remedy_stays_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int, shown: tuple[str, ...]
) -> None:
    found = Difference(3, -0.000347, 0.001, -0.0016, 0.00094, 0.2, 0.2, paired=True)
    treatment = Treatment("the rate of the range test", (), (), ())
    tried = Tried(treatment, {}, found, 0.2, 1.0, "does nothing")
    screen = Screen()
    monkeypatch.setattr(screen.terminal, "width", columns)
    screen.print_table(effect_table([tried]), SPARE)
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert row.startswith("the rate of the range test  does")
    assert tuple(word for word in ("95 %", "p") if f"{word} " in f"{head.partition('difference')[2]} ") == shown
