"""Checkpoints that are kept: of single runs and of stacks, killed and resumed. Real processes, real signals."""

import shutil
import signal
from pathlib import Path

import pytest
import torch

from experiments.folders.run import RunFolder
from tests.helpers import SMALL, Commands, assert_equal_weights, run, run_folders, sampled, weights
from tests.interrupted import CHOICES, IN_REPLACE, KILL_AT

KEEP = (*CHOICES, "training.keep_checkpoints=every:2")
STACKED = (*SMALL, "training.epochs=5", "training.keep_checkpoints=every:2", "training.precision=fp64")
SWEPT = ("-m", *STACKED, "seed=1,2")


SHAPE = "should be every:<epochs>, such as every:5, or every:<steps>steps, such as every:200steps, or null"


def kept(folder: Path) -> list[str]:
    """The names of the kept checkpoints, in the order in which they are read."""
    return [path.stem for path in RunFolder(folder).kept()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, *KEEP).code == 0
    (found,) = run_folders(folder)
    return found


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The runs of a stack that was not interrupted, which chose the times of its checkpoints."""
    folder = tmp_path_factory.mktemp("swept")
    assert run(folder, *SWEPT).code == 0
    return run_folders(folder)


@pytest.mark.slow
@pytest.mark.parametrize("average", [(), ("training.ema=0.9",)])
def test_a_kept_checkpoint_equals_a_run_of_that_many_epochs(commands: Commands, average: tuple[str, ...]) -> None:
    constant = (*SMALL, *average, "model.dropout=0.2")
    folder = commands.trained(*constant, "training.epochs=5", "training.keep_checkpoints=every:2")
    assert kept(folder) == ["epoch_002", "epoch_004"]
    for epochs in (2, 4):
        shorter = commands.trained(*constant, f"training.epochs={epochs}")
        assert_equal_weights(weights(folder, f"epoch_{epochs:03d}"), weights(shorter))


@pytest.mark.slow
def test_a_kept_checkpoint_is_another_name_and_changes_nothing(commands: Commands, whole: Path) -> None:
    assert kept(whole) == ["epoch_002", "epoch_004", "epoch_006"]
    checkpoints = whole / "checkpoints"
    assert (checkpoints / "epoch_006.pt").samefile(checkpoints / "last.pt")
    assert_equal_weights(weights(whole), weights(commands.trained(*CHOICES)))


KILLS = {
    "before the kept one is named": IN_REPLACE.format(name="epoch_004.pt", at=1),
    "before the whole checkpoint takes its place": IN_REPLACE.format(name="last.pt", at=5),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", sampled(KILLS, ["before the kept one is named"]))
def test_a_killed_and_resumed_run_keeps_the_same_checkpoints(commands: Commands, whole: Path, moment: str) -> None:
    assert run(commands.folder, *KEEP, prelude=KILLS[moment]).code == -signal.SIGKILL
    (folder,) = run_folders(commands.folder)
    assert "epoch_006" not in kept(folder)
    assert commands.train(f"resume={folder}").code == 0
    assert_same_kept(folder, whole)
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.slow
def test_more_epochs_and_another_choice_remove_nothing(commands: Commands, whole: Path) -> None:
    folder = Path(shutil.copytree(whole, commands.folder / "copied"))
    outcome = commands.train(f"resume={folder}", "training.epochs=10", "training.keep_checkpoints=every:5")
    assert outcome.code == 0, outcome.err
    assert kept(folder) == ["epoch_002", "epoch_004", "epoch_006", "epoch_010"]


@pytest.mark.slow
def test_without_hard_links(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    folder = commands.trained(*SMALL, "training.keep_checkpoints=every:1")
    assert kept(folder) == ["epoch_001", "epoch_002"]
    assert_equal_weights(weights(folder, "epoch_002"), weights(folder))


@pytest.mark.slow
def test_a_stack_keeps_the_checkpoints_of_each_member(commands: Commands, swept: list[Path]) -> None:
    for number, folder in enumerate(swept, 1):
        assert kept(folder) == ["epoch_002", "epoch_004"]
        for epoch in (2, 4):
            state = RunFolder(folder).load(RunFolder(folder).named(f"epoch_{epoch:03d}"))
            assert (state["position"]["epoch"], state["position"]["batch"]) == (epoch, 0)
        alone = commands.trained(*STACKED, f"seed={number}")
        for name, tensor in weights(folder, "epoch_002").items():
            torch.testing.assert_close(tensor, weights(alone, "epoch_002")[name], rtol=1e-8, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at"), [pytest.param("checkpoints/last.pt", 3, marks=pytest.mark.exhaustive), ("epoch_004.pt", 1)]
)
def test_a_killed_and_resumed_stack_keeps_the_same_checkpoints(
    tmp_path: Path, swept: list[Path], name: str, at: int
) -> None:
    prelude = KILL_AT.format(name=name, at=at, seconds=1e9)
    assert run(tmp_path, *SWEPT, prelude=prelude).code == -signal.SIGKILL
    assert run(tmp_path, *SWEPT, "resume=latest").code == 0
    for one, other in zip(run_folders(tmp_path), swept, strict=True):
        assert_same_kept(one, other)


def assert_same_kept(one: Path, other: Path) -> None:
    """Fail unless two runs kept the same, to the bit."""
    assert kept(one) == kept(other)
    for name in kept(one):
        assert_equal_weights(weights(one, name), weights(other, name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("5", "; did you mean training.keep_checkpoints=every:5 training.keep_checkpoints=every:5steps?"),
        ("every:0", f"training.keep_checkpoints='every:0' {SHAPE}\n"),
        ("every", f"training.keep_checkpoints='every' {SHAPE}\n"),
        ("last:3", f"training.keep_checkpoints='last:3' {SHAPE}\n"),
        ("every:9", "keeps no checkpoint of training.epochs=2\n"),
        ("every:90steps", "keeps no checkpoint of training.epochs=2, which are 6 steps\n"),
    ],
)
def test_impossible_settings_are_refused(commands: Commands, value: str, said: str) -> None:
    outcome = commands.train(*SMALL, f"training.keep_checkpoints={value}")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "training.keep_checkpoints=" in outcome.err
    assert said in outcome.err
