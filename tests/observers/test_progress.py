"""The lines about epochs, on terminals of any width and elsewhere."""

import re
from pathlib import Path

import pytest

from experiments.observers.progress import MOST_LINES, EpochLine, fitting, line_interval
from tests.helpers import SMALL, Commands, run_folders

ROW = {"train/loss": 0.0062, "train/accuracy": 1.0, "val/loss": 0.0937, "val/accuracy": 0.9792, "lr": 0.001}
LINE = EpochLine(7, 20, ROW, 12_467.3)
WHOLE = "epoch  7/20  loss 0.0062  accuracy 1.0000  val loss 0.0937  val accuracy 0.9792  12,467 examples/s"
ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (120, WHOLE),
        (len(WHOLE), WHOLE),
        (97, "epoch  7/20  loss 0.0062  acc 1.0000  val loss 0.0937  val acc 0.9792  12,467 ex/s"),
        (80, "epoch  7/20  loss 0.0062  acc 1.0000  val loss 0.0937  val acc 0.9792"),
        (60, "epoch  7/20  loss 0.0062  val loss 0.0937  val acc 0.9792"),
        (40, "epoch  7/20  loss 0.0062  val acc 0.9792"),
        (30, "epoch  7/20  loss 0.0062"),
        (5, "epoch  7/20"),
    ],
)
def test_a_line_fits_a_terminal(columns: int, line: str) -> None:
    assert LINE.whole == WHOLE
    assert LINE.within(columns) == line


def test_a_line_without_validation_and_with_other_metrics() -> None:
    alone = EpochLine(1, 9, {"train/loss": 1.5, "train/r2": -0.25}, 10)
    assert alone.whole == "epoch 1/9  loss 1.5000  r2 -0.2500  10 examples/s"
    assert alone.within(32) == "epoch 1/9  loss 1.5000"
    assert fitting([("a", 0), ("b", 1), ("b", 2), ("c", 1)], 7) == "a  b  c"


@pytest.mark.parametrize(
    ("epochs", "interval"),
    [(0, 1), (1, 1), (25, 1), (26, 2), (50, 2), (51, 5), (125, 5), (200, 10), (1000, 50), (12_345, 500)],
)
def test_long_runs_leave_few_lines(epochs: int, interval: int) -> None:
    assert line_interval(epochs) == interval
    assert epochs // interval <= MOST_LINES


def on_a_terminal(
    commands: Commands, patch: pytest.MonkeyPatch, columns: int, *words: str, kind: str = "xterm-256color"
) -> list[str]:
    """The lines about epochs that a run leaves on a terminal; the bar itself is erased."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE"):
        patch.delenv(name, raising=False)
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": str(columns), "TERM": kind}.items():
        patch.setenv(name, value)
    outcome = commands.train(*SMALL, *words)
    assert outcome.code == 0, outcome.err
    lines = [line.rpartition("\r")[2].rstrip() for line in ESCAPES.sub("", outcome.out).splitlines()]
    return [line for line in lines if re.match(r"epoch +\d", line) and not re.search("[\u2501\u257a\u2578]", line)]


def test_every_epoch_leaves_a_line_on_a_terminal(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = on_a_terminal(commands, monkeypatch, 80, "training.epochs=3")
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(len(line) <= 80 and "val acc 0." in line for line in lines)
    assert logged(commands.folder) == [1, 2, 3]


def test_a_long_run_leaves_a_line_every_few_epochs_and_the_last_one(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = on_a_terminal(
        commands, monkeypatch, 40, "training.epochs=60", "optimizer.lr=1e-30", "training.early_stopping.patience=11"
    )
    assert [int(re.findall(r"\d+", line)[0]) for line in lines] == [1, 5, 10, 12]
    assert all(len(line) <= 40 for line in lines)
    assert logged(commands.folder) == list(range(1, 13))


def test_a_terminal_that_cannot_move_its_cursor_has_no_bar(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = on_a_terminal(commands, monkeypatch, 80, "training.epochs=2", kind="dumb")
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all(len(line) <= 80 for line in lines)
    assert logged(commands.folder) == [1, 2]


def logged(folder: Path) -> list[int]:
    """The epochs in the log of the only run."""
    (run,) = run_folders(folder)
    return [int(n) for n in re.findall(r"^epoch +(\d+)/.* examples/s$", (run / "train.log").read_text(), re.MULTILINE)]
