"""The outcome of a sweep: its table, the best run, and the next commands."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from experiments.common.screen import Screen
from experiments.folders.sweep import Sweep
from experiments.sweeps import launch
from experiments.sweeps._outcome import next_commands, note_on_lines, outcome_of, print_outcome
from experiments.sweeps.jobs import conclude
from experiments.sweeps.launch import Launch, summary_line
from tests.helpers import SMALL, Commands

PlantedRun = tuple[str, str, dict[str, float]]
"""Its overrides, its status and its metrics."""


def planted(folder: Path, *runs: PlantedRun, objective: str = "val/accuracy") -> Sweep:
    """A sweep whose runs have these overrides, statuses and metrics."""
    folder.mkdir(parents=True)
    sweep = Sweep(folder)
    sweep.write_asked("python -m experiments.train -m", [], {"objective": objective})
    for number, (overrides, status, metrics) in enumerate(runs):
        path = folder / f"{number:02d}_{overrides.replace(' ', ',')}"
        (path / "checkpoints").mkdir(parents=True)
        sweep.add(number, path, overrides.split())
        if status != "waiting":
            content: dict[str, Any] = {"status": status, "metrics": metrics, "epochs": 3}
            (path / "summary.json").write_text(json.dumps(content))
    return sweep


def results(accuracy: float, loss: float = 0.5) -> dict[str, float]:
    """The metrics of a run."""
    return {"val/accuracy": accuracy, "val/loss": loss, "test/accuracy": accuracy - 0.01, "test/loss": loss}


def outcome(sweep: Sweep, capture: pytest.CaptureFixture[str], columns: int = 160) -> list[str]:
    """The lines that are printed for a terminal of this width."""
    screen = Screen()
    screen.terminal.width = columns
    capture.readouterr()
    print_outcome(screen, outcome_of(sweep))
    return [line.rstrip() for line in capture.readouterr().out.splitlines() if line.strip()]


RUNS: tuple[PlantedRun, ...] = (
    ("optimizer=sgd optimizer.lr=0.01", "finished", results(0.9)),
    ("optimizer=sgd optimizer.lr=0.00012345678", "finished", results(0.7)),
    ("optimizer=adam optimizer.lr=0.01", "stopped", results(0.95)),
    ("optimizer=adam optimizer.lr=1e30", "diverged", {}),
    ("optimizer=adam optimizer.lr=-1", "failed", {}),
    ("optimizer=adam optimizer.lr=2", "waiting", {}),
)


def test_the_table_is_sorted_by_the_objective_and_names_the_best_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(planted(tmp_path / "s", *RUNS), capsys) == [
        "run  optimizer  optimizer.lr  val/accuracy  test/accuracy  epochs  status",
        "  2  adam               0.01        0.9500         0.9400       3  stopped",
        "  0  sgd                0.01        0.9000         0.8900       3  finished",
        "  1  sgd           0.0001235        0.7000         0.6900       3  finished",
        "  3  adam               1e30             -              -       3  diverged",
        "  4  adam                 -1             -              -       3  failed",
        "best run 02_optimizer=adam,optimizer.lr=0.01  val/accuracy 0.9500",
    ]


def test_a_loss_is_better_if_it_is_smaller_and_equal_accuracies_are_ranked_by_the_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [(f"seed={n}", "finished", results(0.9, loss)) for n, loss in enumerate((0.3, 0.00012, 0.2))]
    for name, objective in (("a", "val/loss"), ("b", "val/accuracy")):
        lines = outcome(planted(tmp_path / name, *runs, objective=objective), capsys)
        assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "0"]
        assert "status" not in lines[0]
        assert lines[4].startswith(f"best run 01_seed=1  {objective} ")
    assert "0.00012" in outcome(planted(tmp_path / "c", *runs, objective="val/loss"), capsys)[1]


@pytest.mark.parametrize("columns", [120, 80, 60, 40, 30])
def test_the_table_fits_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: int) -> None:
    lines = outcome(planted(tmp_path / "s", *RUNS), capsys, columns)
    table = lines[: next(n for n, line in enumerate(lines) if line.startswith("best"))]
    assert max(map(len, table)) <= columns
    assert not any("\u2026" in line for line in table)
    assert [word for line in table for word in re.findall(r"0\.9500|0\.9000|0\.7000", line)] == [
        "0.9500",
        "0.9000",
        "0.7000",
    ]
    assert ("optimizer.lr" in table[0]) == (columns >= 80)


def test_of_long_sweeps_the_best_and_the_failed_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [(f"seed={n}", "finished", results(n / 100)) for n in range(50)]
    bad: list[PlantedRun] = [(f"seed={n}", "failed", {}) for n in range(50, 58)]
    lines = outcome(planted(tmp_path / "s", *bad, *good), capsys)
    assert [line.split()[1] for line in lines[1:16]] == [*map(str, range(49, 39, -1)), *map(str, range(50, 55))]
    assert lines[16] == "and 43 more runs, 3 of which failed or diverged: sweep.csv has all"
    assert lines[17] == "best run 57_seed=49  val/accuracy 0.4900"


def test_runs_with_different_objectives_are_not_ranked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [(f"objective={name}", "finished", results(0.9)) for name in ("val/loss", "val/accuracy")]
    sweep = planted(tmp_path / "s", *runs)
    lines = outcome(sweep, capsys)
    assert [line.split()[0] for line in lines] == ["run", "0", "1"]
    assert dict(next_commands(outcome_of(sweep)))["evaluate"].endswith(
        f"run={tmp_path / 's' / '00_objective=val/loss'}"
    )


def test_a_sweep_without_a_result_has_no_table_and_no_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = planted(tmp_path / "s", ("seed=1", "waiting", {}), ("seed=2", "waiting", {}))
    assert outcome(sweep, capsys) == []
    assert list(next_commands(outcome_of(sweep))) == []
    assert outcome(planted(tmp_path / "t"), capsys) == []


def test_what_somebody_else_wrote_is_shown_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild: Any = {"val/accuracy": float("inf"), "val/loss": "good", "test/accuracy": 0.5, "\x1b[31m": 1}
    sweep = planted(tmp_path / "s", ("seed=\x1b[31m", "finished", wild), ("seed=" + "9" * 80, "finished", results(0.5)))
    lines = outcome(sweep, capsys)
    assert "\x1b" not in "".join(lines)
    assert lines[-1].startswith("best run 01_seed=9")
    for path in tmp_path.glob("s/*/summary.json"):
        path.write_text("[" * 10_000)
    assert outcome(sweep, capsys) == []


@pytest.mark.slow
def test_the_printed_commands_can_be_pasted(commands: Commands) -> None:
    words = ("-m", *SMALL, "observers.tensorboard.enabled=true", "optimizer=sgd,adam", "hydra.sweep.dir='outputs/a b'")
    done = commands.train(*words)
    assert done.code == 0, done.err
    lines = dict(re.findall(r"^(compare|view|evaluate) +(.*)$", done.out, re.MULTILINE))
    assert list(lines) == ["compare", "view", "evaluate"]
    best = re.findall(r"^best run (\S+)  val/accuracy (0\.\d{4})$", done.out, re.MULTILINE)
    for verb in ("compare", "evaluate"):
        _, _, module, *rest = shlex.split(lines[verb])
        assert module == f"experiments.{verb}"
        pasted = commands.type(verb, *rest)
        assert pasted.code == 0, pasted.err
    assert best[0][0] in pasted.out
    logdir = Path(shlex.split(lines["view"])[-1])
    assert list(logdir.rglob("events.out.tfevents.*"))
    split = re.findall(r"^\s*\d+ +(sgd|adam) ", done.out, re.MULTILINE)
    assert sorted(split) == ["adam", "sgd"]


@pytest.mark.parametrize(("missing", "split"), [("test/", "split=val"), (("test/", "val/"), "split=train")])
def test_data_without_a_test_split_are_evaluated_on_another_one(
    tmp_path: Path, missing: str | tuple[str, ...], split: str
) -> None:
    metrics = {
        name: value for name, value in {**results(0.9), "train/loss": 0.1}.items() if not name.startswith(missing)
    }
    sweep = planted(tmp_path / "s", ("seed=1", "finished", metrics), ("seed=2", "finished", metrics))
    assert split in dict(next_commands(outcome_of(sweep)))["evaluate"].split()
    assert "view" not in dict(next_commands(outcome_of(sweep)))


def test_code_of_the_users_own_is_trusted_in_the_printed_command(tmp_path: Path) -> None:
    sweep = planted(tmp_path / "s", ("seed=1", "finished", results(0.9)))
    (tmp_path / "s" / "00_seed=1" / ".hydra").mkdir()
    (tmp_path / "s" / "00_seed=1" / ".hydra" / "config.yaml").write_text("optimizer: {_target_: own_code.Lion}\n")
    assert dict(next_commands(outcome_of(sweep)))["evaluate"].split()[-2:] == ["best=1", "trust=own_code"]


def test_sweeps_over_data_sets_are_compared(tmp_path: Path) -> None:
    sweep = planted(tmp_path / "s", *((f"data={name}", "finished", results(0.9)) for name in ("moons", "spiral")))
    assert dict(next_commands(outcome_of(sweep)))["compare"].endswith(" mixed=true")


def test_lines_of_runs_fit_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    name, finished = "05_optimizer.lr=0.001,optimizer=adam", {"status": "finished", "epochs": 3}
    summary = {**finished, "metrics": results(0.95)}
    whole = f"{name}  finished after 3 epochs  val/accuracy 0.9500  test/accuracy 0.9400"
    assert summary_line(name, summary) == whole
    monkeypatch.setattr(launch, "on_terminal", lambda: True)
    for columns, line in {
        120: whole,
        84: f"{name}  finished after 3 epochs  val/accuracy 0.9500",
        80: f"{name}  finished  val/accuracy 0.9500",
        40: "05_opt...  finished  val/accuracy 0.9500",
    }.items():
        monkeypatch.setenv("COLUMNS", str(columns))
        assert summary_line(name, summary) == line
        assert len(line) <= columns


def test_many_runs_that_end_at_once_are_not_all_reported_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal, count in ((False, 40), (True, 21)):
        monkeypatch.setattr(launch, "on_terminal", lambda terminal=terminal: terminal)
        batch = object.__new__(Launch)
        batch.reported, batch.reported_at = 0, 0.0
        for number in range(39):
            batch.report(f"{number}", {"status": "finished", "epochs": 1, "metrics": results(0.5)})
        batch.report("39", {"status": "failed", "error": "broken"})
        assert len(capsys.readouterr().out.splitlines()) == count


def test_the_end_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted(tmp_path / "s", *RUNS[:3])
    for number, path in enumerate(sorted(path for path in (tmp_path / "s").iterdir() if path.is_dir())):
        (path / ".hydra").mkdir()
        (path / ".hydra" / "overrides.yaml").write_text(f"- seed={number}\n")
    assert conclude(tmp_path / "s") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:-2] == ["3 runs: 2 finished, 1 stopped", f"sweep    {tmp_path / 's'}"]
    assert [line.split()[0] for line in lines[-2:]] == ["compare", "evaluate"]


@pytest.mark.parametrize(("runs", "said"), [(20, False), (21, True)])
def test_many_runs_are_not_ticked_by_tensorboard(tmp_path: Path, runs: int, said: bool) -> None:
    for number in range(runs):
        for part in ("", "train"):
            folder = tmp_path / f"{number:02}_seed={number}" / part
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "events.out.tfevents.1.host").touch()
    note = note_on_lines(Sweep(tmp_path))
    assert (note is not None and "no box is ticked at first" in note) == said


def test_of_a_fair_search_only_the_runs_on_fresh_seeds_are_shown_and_none_is_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning = [(f"optimizer={name} optimizer.lr={lr}", "finished", results(0.99)) for name in "ab" for lr in (1, 2)]
    fresh = [
        (f"optimizer={name} optimizer.lr=1 seed={seed}", "finished", results(0.9)) for name in "ab" for seed in (1, 2)
    ]
    sweep = planted(tmp_path / "s", *tuning, *fresh)
    assert outcome(sweep, capsys)[-1].startswith("best run 00_")
    sweep.note(fair={"for": "optimizer", "fresh": {"a": {"trial": 0, "job": 4}, "b": {"trial": 0, "job": 6}}})
    lines = outcome(sweep, capsys)
    assert lines[0] == "the best settings on fresh seeds:"
    assert sorted(line.split()[0] for line in lines[2:]) == ["4", "5", "6", "7"]
    assert not any(line.startswith("best run") for line in lines)
    assert f"run={tmp_path / 's' / '04_'}" in dict(next_commands(outcome_of(sweep)))["evaluate"]
