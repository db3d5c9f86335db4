"""One process at a time in a folder; what a process that ended has left does not count."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.common.errors import UserError
from experiments.folders.lock import NAME, is_locked, locked
from experiments.folders.sweep import Sweep
from tests.helpers import Commands

pytestmark = pytest.mark.slow

HOLDING = """
import sys
from pathlib import Path
from experiments.folders.lock import locked
with locked(Path(sys.argv[1]), "run"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_the_error_names_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        assert is_locked(tmp_path)
        holder = rf"\(process {process.pid} on {socket.gethostname()}\); wait until it ends"
        with pytest.raises(UserError, match=rf"another process is running the run '.*' {holder}"):  # noqa: SIM117
            with locked(tmp_path, "run"):
                pass
        process.kill()
    assert (tmp_path / NAME).exists(), "it was killed"
    assert not is_locked(tmp_path)
    with locked(tmp_path, "run"):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": "elsewhere"}', "\0\0"])
def test_a_leftover_lock_does_not_count(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    assert not is_locked(tmp_path)
    with locked(tmp_path, "run"):
        assert is_locked(tmp_path)


def test_two_resumes_of_one_run_do_not_meet(commands: Commands, copied: Path) -> None:
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with locked(copied, "run"):
        outcome = commands.train(f"resume={copied}", "training.epochs=3")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"another process is running the run {str(copied)!r} (process {os.getpid()} on" in outcome.err
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_a_run_of_a_running_sweep_is_not_resumed(commands: Commands, copied: Path) -> None:
    sweep = commands.folder / "sweep"
    sweep.mkdir()
    copied.rename(sweep / "0_run")
    (sweep / "sweep.yaml").write_text("overrides: []")
    with Sweep(sweep).held():
        outcome = commands.train("resume=sweep/0_run")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "belongs to the sweep" in outcome.err
