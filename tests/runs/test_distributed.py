"""One run in several processes, as torchrun starts them: real processes, against one process."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from experiments.common.errors import UserError
from experiments.runs.torchrun import own_command_line
from tests.helpers import Commands, Outcome, metrics, run_folders, start, summary, thinned, weights

CHOICES = (
    "training.epochs=2",
    "training.device=cpu",
    "data.val_fraction=0.1",
    "optimizer=sgd",
    "optimizer.lr=0.05",
    "observers.tensorboard.enabled=false",
    "observers.pictures.enabled=false",
)

MLP = (
    *("data.limit=97", "training.batch_size=16", "training.clip_norm=0.5", "training.accumulate=2"),
    *("model.hidden=[16]", "model.dropout=0.3", "model.input_dropout=0.1", "penalty=l2", "penalty.strength=0.01"),
    *("data.balance=class_weights", "loss.label_smoothing=0.1", "training.ema=0.9", "data.augment=mixup"),
)
"""The last batch holds one example, so that one of two processes gets none."""

CNN = (
    *("data.limit=50", "training.batch_size=16", "data.augment=crop_flip"),
    *("model=cnn", "model.stages=[[4],[6]]", "model.hidden=[8]", "model.batch_norm=true", "model.dropout=0.2"),
)
"""The last batch holds two examples, for three processes' BatchNorm."""


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def torchrun(folder: Path, processes: int, *overrides: str) -> subprocess.Popen[str]:
    """Start `torchrun -m experiments.train`."""
    port = free_port()
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}"),
            *("-m", "experiments.train", *overrides),
        ],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder), "PYTHONWARNINGS": "error"},
    )


def ended(process: subprocess.Popen[str]) -> Outcome:
    """Wait for its end."""
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def ranks(folder: Path, processes: int, *overrides: str, prelude: str = "") -> list[Outcome]:
    """Run the processes that torchrun would start, with the environment that it gives them."""
    shared = {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "TMPDIR": str(folder),
    }
    own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    started = [start(folder, *overrides, prelude=prelude, env={**shared, **each}) for each in own]
    return [Outcome(process.wait(120), *process.printed()) for process in started]


def only_run(folder: Path) -> Path:
    """Return the one run folder; of the other processes' nothing is left."""
    (made,) = run_folders(folder)
    assert not list(folder.glob("experiments-*"))
    return made


def assert_close(shared: Path, lone: Path) -> None:
    """Fail unless two runs have the same numbers, up to rounding."""
    for ours, theirs in zip(metrics(shared), metrics(lone), strict=True):
        assert [float(v) for v in ours.values()] == pytest.approx([float(v) for v in theirs.values()], rel=1e-5)
    one, other = weights(shared), weights(lone)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5, msg=lambda text: f"{name}: {text}")  # noqa: B023


@pytest.mark.slow
def test_the_result_is_that_of_one_process(commands: Commands, tmp_path: Path) -> None:
    outcomes = ranks(tmp_path, 3, *CHOICES, *CNN)
    assert [(outcome.code, outcome.err) for outcome in outcomes] == [(0, "")] * 3
    shared = only_run(tmp_path)
    assert [outcome.out.count("finished after") for outcome in outcomes] == [1, 0, 0]
    assert summary(shared)["processes"] == 3
    assert (shared / "layers.csv").exists()
    lone = commands.trained(*CHOICES, *CNN)
    assert_close(shared, lone)
    assert summary(shared)["metrics"] == pytest.approx(summary(lone)["metrics"], rel=1e-5)


@pytest.mark.slow
def test_an_error_is_printed_once_and_all_processes_end_with_its_code(tmp_path: Path) -> None:
    outcome = ended(torchrun(tmp_path, 2, "training.epochs=2", "training.batch_size=none"))
    assert outcome.err.count("Error: ") == 1 + outcome.err.count("ChildFailedError: ")
    assert "training.batch_size" in outcome.err
    assert outcome.err.count("exitcode  : 2 ") == 2
    assert "Traceback" not in outcome.err.partition("torch/distributed/elastic")[0]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_sigterm_ends_all_processes_and_the_run_can_be_resumed(commands: Commands, tmp_path: Path) -> None:
    choices = (*CHOICES, *MLP, "training.epochs=2000")
    process = torchrun(tmp_path, 2, *choices)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("outputs/**/metrics.csv")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    stopped = ended(process)
    shared = only_run(tmp_path)
    found = summary(shared)
    assert found["status"] == "interrupted", stopped.err
    assert f"resume={shared.relative_to(tmp_path)}" in stopped.out

    epochs = f"training.epochs={found['epochs'] + 2}"
    outcomes = ranks(tmp_path, 2, f"resume={shared.relative_to(tmp_path)}", epochs)
    assert [(outcome.code, outcome.err) for outcome in outcomes] == [(0, "")] * 2
    assert only_run(tmp_path) == shared
    assert summary(shared)["status"] == "finished"
    assert_close(shared, commands.trained(*choices, epochs))


WAITING = """
import time
import torch.distributed as dist
from experiments.runs import torchrun
from experiments.training.shared import Shared

torchrun.LEFT_SECONDS = 1.0
real, steps = Shared._backward, []

def backward(self, *args):
    steps.append(1)
    if len(steps) == 3:
        if self.rank == FAILING:
            raise RuntimeError("a kernel failed")
        time.sleep(600)  # as nccl waits for the sum
    return real(self, *args)

Shared._backward = backward
"""


@pytest.mark.slow
@pytest.mark.parametrize("failing", thinned([1, 0]))
def test_a_process_that_fails_does_not_leave_the_others_waiting(tmp_path: Path, failing: int) -> None:
    began = time.monotonic()
    outcomes = ranks(tmp_path, 2, *CHOICES, *MLP, prelude=WAITING.replace("FAILING", str(failing)))
    assert [outcome.code for outcome in outcomes] == [1, 1]
    assert time.monotonic() - began < 60
    assert (only_run(tmp_path) / "checkpoints" / "last.pt").exists()
    if failing == 1:
        assert outcomes[0].err.splitlines()[-1] == (
            "Error: another process of the run has failed, and this one has waited for it for 1 s; "
            f"its last checkpoint is kept: continue with resume={only_run(tmp_path).relative_to(tmp_path)}"
        )


@pytest.mark.parametrize("typed", ["-m", "--multirun", "hydra.mode=MULTIRUN"])
def test_a_sweep_is_refused(typed: str) -> None:
    with pytest.raises(UserError, match=f"{re.escape(typed)} trains many runs, but torchrun trains one"):
        own_command_line([typed, "seed=0,1"], None)
