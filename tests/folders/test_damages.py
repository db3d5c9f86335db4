"""Damaged folders: every file of a run, a sweep and a search x every damage x every command.

Each command ends with the same bits as without the damage, or in one sentence: no traceback, and no waiting.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from experiments.comparison.report import Report
from tests.helpers import Commands, Outcome, assert_equal_weights, run, sampled, weights
from tests.search.searches import LR, TINY

pytestmark = pytest.mark.slow

QUIET = (*TINY, "training.epochs=2")
SWEEP = ("-m", *QUIET, "seed=1,2", "hydra.sweep.dir=outputs/s")
SEARCH = ("-m", "hydra/sweeper=optuna", *QUIET, LR, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=outputs/s")
LONGEST = 60
"""Seconds after which a command counts as waiting."""


def halved(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbled(path: Path) -> None:
    """Overwrite the middle of a file."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        content[: middle // 2] + bytes(byte ^ 0xA5 for byte in content[middle // 2 : middle]) + content[middle:]
    )


def linked(path: Path) -> None:
    """Replace a file by a link to a copy of it elsewhere."""
    elsewhere = path.with_name(f"elsewhere_{path.name}")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def piped(path: Path) -> None:
    """Replace a file by a pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def foldered(path: Path) -> None:
    """Replace a file by a folder."""
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "cut to half": halved,
    "garbled": garbled,
    "a link": linked,
    "a pipe": piped,
    "a folder": foldered,
}
OF_A_RUN = (
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    ".hydra/hydra.yaml",
    "checkpoints/last.pt",
    "checkpoints/best.pt",
    "metrics.csv",
    "layers.csv",
    "summary.json",
    "data.json",
    "train.log",
)
OF_A_SWEEP = ("sweep.yaml", "sweep.csv", *(f"RUN/{name}" for name in OF_A_RUN if name != "layers.csv"))
OF_A_SEARCH = ("study.journal", "search.json", "multirun.yaml", *OF_A_SWEEP)
COMMANDS = ("resume", "evaluate", "compare", "export")


def cases(files: tuple[str, ...], normal: Collection[str] = ()) -> list[Any]:
    """Return every file with every damage; `make test` runs one damage for each file, or for each of `normal`."""
    table = []
    for number, file in enumerate(files):
        for position, damage in enumerate(DAMAGES):
            often = position == number % len(DAMAGES) and (not normal or file in normal)
            marks = [] if often else [pytest.mark.exhaustive]
            table.append(pytest.param(file, damage, marks=marks, id=f"{file}, {damage}"))
    return table


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sweep of two runs and a search of two, to be copied, each in a folder of its own."""
    whole = {}
    for name, command in (("sweep", SWEEP), ("search", SEARCH)):
        folder = tmp_path_factory.mktemp(name)
        outcome = run(folder, *command)
        assert outcome.code == 0, outcome.err
        whole[name] = folder / "outputs" / "s"
    return whole


@pytest.fixture(autouse=True)
def _never_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End a command that waits, and leave figures out, which take longer than all the rest."""

    def nothing(self: Report, lines: Any, styles: Any) -> Iterator[Any]:
        del self, lines, styles
        return iter(())

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"the command still waits after {LONGEST} s")

    monkeypatch.setattr(Report, "figures", nothing)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST * len(COMMANDS))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def one_sentence(outcome: Outcome) -> None:
    """Fail if a command ended in anything else than a result or one sentence."""
    assert "Traceback" not in outcome.out + outcome.err, outcome.out + outcome.err
    assert outcome.code in (0, 1, 2, 130), outcome.err
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    assert all(line.startswith("Error: ") for line in lines), outcome.err
    assert len(lines) <= 1, outcome.err
    if outcome.code in (1, 2):
        assert lines or "failed" in outcome.out, outcome.out


def typed(commands: Commands, command: str, folder: Path, *resumed: str) -> Outcome:
    """Type one of the commands."""
    if command == "resume":
        return commands.train(*resumed, f"resume={folder}")
    if command == "compare":
        return commands.type("compare", str(folder), "out=comparison")
    return commands.type(command, f"run={folder}", *(["format=torch"] if command == "export" else ["device=cpu"]))


def accuracy(folder: Path) -> float:
    """Return the accuracy that `evaluate` has written."""
    return json.loads((folder / "evaluation" / "test" / "evaluation.json").read_text())["accuracy"]


@pytest.mark.parametrize(("file", "damage"), cases(OF_A_RUN))
def test_a_damaged_run(commands: Commands, trained: Path, file: str, damage: str) -> None:
    right = json.loads((trained / "summary.json").read_text())["metrics"]["test/accuracy"]
    for command in COMMANDS:
        copy = Path(shutil.copytree(trained, commands.folder / command))
        DAMAGES[damage](copy / file)
        outcome = typed(commands, command, copy)
        one_sentence(outcome)
        if outcome.code == 0 and command == "resume":
            assert_equal_weights(weights(copy), weights(trained))
        elif outcome.code == 0 and command == "evaluate":
            assert accuracy(copy) == right or "warning: " in outcome.out


def test_a_configuration_that_is_cut_between_sections_is_named(commands: Commands, copied: Path) -> None:
    path = copied / ".hydra" / "config.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("\nmodel:") + 1])
    for command in ("evaluate", "export", "resume"):
        outcome = typed(commands, command, copied)
        one_sentence(outcome)
        assert outcome.code == 2
        assert ".hydra/config.yaml" in outcome.err
        assert "is incomplete, without " in outcome.err
        assert "model" in outcome.err


REMEDIES = sampled(
    [(file, damage) for file in OF_A_RUN for damage in DAMAGES],
    [(".hydra/overrides.yaml", "garbled"), ("summary.json", "cut to half"), (".hydra/config.yaml", "a pipe")],
)


@pytest.mark.parametrize("case", REMEDIES, ids=", ".join)
def test_the_remedies_of_a_damaged_run(commands: Commands, trained: Path, case: tuple[str, str]) -> None:
    file, damage = case
    copy = Path(shutil.copytree(trained, commands.folder / "remedy"))
    DAMAGES[damage](copy / file)
    one_sentence(commands.type("remedy", f"run={copy}", "seeds=2", "most=1"))


def damaged_sweep(commands: Commands, whole: Path, file: str, damage: str, *command: str) -> None:
    """Damage a copy of a sweep or search, and type every command."""
    (commands.folder / "outputs").mkdir()
    copy = commands.folder / "outputs" / "s"
    for verb in COMMANDS[:3]:
        shutil.copytree(whole, copy)
        runs = sorted(path for path in copy.iterdir() if re.match(r"\d", path.name))
        DAMAGES[damage](runs[0] / file.removeprefix("RUN/") if file.startswith("RUN/") else copy / file)
        outcome = typed(commands, verb, Path("outputs/s"), *command)
        one_sentence(outcome)
        if outcome.code == 0 and verb == "resume" and file == "RUN/checkpoints/last.pt":
            assert f"{runs[0].name} has finished, but its last.pt " in outcome.out
            assert "the weights of its last epoch are lost" in outcome.out
        if outcome.code == 0 and verb == "resume":
            for run in runs[file == "RUN/checkpoints/last.pt" :]:  # a finished run is not trained again
                assert_equal_weights(weights(run), weights(whole / run.name))
        shutil.rmtree(copy)


@pytest.mark.parametrize(("file", "damage"), cases(OF_A_SWEEP))
def test_a_damaged_sweep(commands: Commands, folders: dict[str, Path], file: str, damage: str) -> None:
    damaged_sweep(commands, folders["sweep"], file, damage, *(word for word in SWEEP if "sweep.dir" not in word))


@pytest.mark.parametrize(("file", "damage"), cases(OF_A_SEARCH, OF_A_SEARCH[:3]))
def test_a_damaged_search(commands: Commands, folders: dict[str, Path], file: str, damage: str) -> None:
    damaged_sweep(commands, folders["search"], file, damage, *(word for word in SEARCH if "sweep.dir" not in word))
