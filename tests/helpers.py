"""What several tests need: commands as a user types them, in this process or in a real one."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.cli.overrides import clipped
from experiments.train import DIVERGED
from tests.forked import start

REPOSITORY = Path(__file__).resolve().parents[1]
CONF = REPOSITORY / "conf"
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

needs_mnist = pytest.mark.skipif(not (SHARED_DATA / "MNIST").is_dir(), reason="MNIST is not on this machine")
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device, or hidden: make test-cuda shows it"
)


def sampled(cases: Iterable[Any], keep: Collection[Any]) -> list[Any]:
    """Return the cases of a table: `make test` runs those to keep, `make test-all` runs all."""
    return [pytest.param(case, marks=() if case in keep else pytest.mark.exhaustive) for case in cases]


def trained_in(folder: Path, *words: str) -> Path:
    """Train a run in a folder, and return the run's folder."""
    outcome = run(folder, *words)
    assert outcome.code in (0, DIVERGED), outcome.err
    (found,) = run_folders(folder)
    assert outcome.code == code_of(found), outcome.err
    return found


def code_of(folder: Path) -> int:
    """The exit code of a run with a result: another one if it has diverged."""
    return DIVERGED if summary(folder)["status"] == "diverged" else 0


def thinned(cases: Iterable[Any], step: int = 2) -> list[Any]:
    """Return the cases of a long table: `make test` runs one of `step`, `make test-all` runs all."""
    return [
        pytest.param(case, marks=[pytest.mark.exhaustive] * (number % step > 0)) for number, case in enumerate(cases)
    ]


NO_PICTURES = "observers.pictures.enabled=false"
"""No pictures, which take longer than a small run."""
SMALL = (
    "training.epochs=2",
    "data.limit=96",
    "model.hidden=[12]",
    "observers.tensorboard.enabled=false",
    NO_PICTURES,
)
"""A run of a fraction of a second."""


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    def refusal(self) -> str:
        """Return the error of a command that was refused: one sentence, with code 2."""
        assert self.code == 2, self.out
        assert self.err.count("\n") == 1, self.err
        return self.err


class Commands:
    """Types `python -m experiments.<verb> ...` in a folder of its own, without the cost of another process."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capture = capture
        self._patch = patch
        patch.chdir(folder)

    def train(self, *overrides: str) -> Outcome:
        """Train in this process."""
        return self.type("train", *overrides)

    def type(self, verb: str, *overrides: str) -> Outcome:
        """Run a verb in this process."""
        main = import_module(f"experiments.{verb}").main
        self._patch.setattr(sys, "argv", [verb, *overrides])
        self._capture.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        shown = self._capture.readouterr()
        return Outcome(code, shown.out, shown.err)

    def trained(self, *overrides: str) -> Path:
        """Run the verb, expect it to succeed or to diverge, and return the new run's folder."""
        before = set(run_folders(self.folder))
        outcome = self.train(*overrides)
        assert outcome.code in (0, DIVERGED), outcome.err
        (made,) = set(run_folders(self.folder)) - before
        assert outcome.code == code_of(made), outcome.err
        return made


@cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    OmegaConf.register_new_resolver("clipped", clipped, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", overrides=list(overrides)), resolve=True)
    return config


def composed(*overrides: str) -> dict[str, Any]:
    """Return the configuration that a command line gives."""
    return deepcopy(_composed(overrides))


def own_model(folder: Path, target: str) -> tuple[str, ...]:
    """Write a model of a user's own as a choice, and return the words that choose it.

    Args:
        folder: where the command runs.
        target: the dotted path of the model.
    """
    path = folder / "own" / "model" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"_target_: {target}\n")
    return ("--config-dir", "own", "model=mine")


def generator(seed: int = 0) -> torch.Generator:
    """Return a stream of random numbers."""
    return torch.Generator().manual_seed(seed)


def run_folders(below: Path) -> list[Path]:
    """Every folder that a run was started in."""
    return sorted(path.parent for path in below.glob("outputs/**/.hydra"))


def start_fresh(folder: Path, *overrides: str, prelude: str = "", **kwargs: Any) -> subprocess.Popen[str]:
    """Start `python -m experiments.train` as a process of its own, in an interpreter that has imported nothing.

    Args:
        folder: where it runs.
        prelude: Python to run before the command, in the same process.
    """
    code = f"{prelude}\nimport sys; sys.argv[0] = 'train'\nfrom experiments.train import main\nmain()"
    command = ["-c", code] if prelude else ["-m", "experiments.train"]
    return subprocess.Popen(
        [sys.executable, *command, *overrides],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error"} if not prelude else None,
        **kwargs,
    )


def run_fresh(folder: Path, *overrides: str, prelude: str = "", **kwargs: Any) -> Outcome:
    """Run `python -m experiments.train` as `start_fresh` does, to its end."""
    process = start_fresh(folder, *overrides, prelude=prelude, **kwargs)
    out, err = process.communicate(timeout=240)
    return Outcome(process.returncode, out, err)


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, every value as it is written."""
    with path.open() as file:
        return list(csv.DictReader(file))


def run(folder: Path, *overrides: str, prelude: str = "") -> Outcome:
    """Run `python -m experiments.train` as a process of its own, to its end; it is forked after all imports.

    Args:
        folder: where it runs.
        prelude: Python to run before the command, in the same process.
    """
    process = start(folder, *overrides, prelude=prelude)
    return Outcome(process.wait(), *process.printed())


def metrics(folder: Path, *, seconds: bool = False) -> list[dict[str, str]]:
    """Return metrics.csv, without the clock's column unless asked."""
    rows = table(folder / "metrics.csv")
    return rows if seconds else [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def summary(folder: Path) -> dict[str, Any]:
    """Return summary.json."""
    return json.loads((folder / "summary.json").read_text())


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """Return a checkpoint's model."""
    return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["program"]["model"]


def assert_equal_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Fail unless two models are equal to the bit."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
