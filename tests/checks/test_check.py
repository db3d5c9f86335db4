"""`python -m experiments.check`: the table, `checks.json`, and the code that a Makefile goes by."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.checks import CHECKS
from tests.helpers import SMALL, Commands, run_folders, summary

QUICK = "only=[initial_loss,symmetry,examples]"

OWN = """
import torch
from torch import nn

class Twisted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        return 1.01 * gradient

class Model(nn.Module):
    def __init__(self, input_shape, classes, kind="plain"):
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Linear(64, 20), nn.Linear(20, classes)

    def forward(self, x):
        h = torch.relu(self.first(x.flatten(1)))
        if self.kind == "twisted":
            h = Twisted.apply(h)
        s = self.second(h)
        if self.kind == "rounded":
            s = nn.functional.one_hot(s.argmax(1), 10).float()
        if self.kind == "mixed":
            s = s - s.mean(0)
        return s

class Empty(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
    def forward(self, x):
        return x.flatten(1)[:, :10]
"""


@pytest.fixture
def own(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line beside a user's own model."""
    (commands.folder / "owned.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(commands.folder))
    monkeypatch.delitem(sys.modules, "owned", raising=False)
    for name, target in (("own", "Model"), ("empty", "Empty")):
        path = commands.folder / "conf" / "model" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"_target_: owned.{target}\n" + ("kind: plain\n" if name == "own" else ""))
    return commands


def checks(folder: Path) -> dict[str, Any]:
    """Return checks.json, each check by its name."""
    content = json.loads((folder / "checks.json").read_text())
    return {**content, "checks": {entry.pop("check"): entry for entry in content["checks"]}}


@pytest.mark.slow
def test_the_default_run_passes_every_check(commands: Commands) -> None:
    outcome = commands.type("check")
    assert outcome.code == 0, outcome.err
    (folder,) = run_folders(commands.folder)
    assert folder.parent.name == "check"
    written = checks(folder)
    assert written["verdict"] == "pass"
    assert written["seed"] == 0
    assert list(written["checks"]) == list(CHECKS)
    shown = " ".join(outcome.out.split())
    for name, entry in written["checks"].items():
        assert entry["verdict"] == "pass", name
        assert name in shown
    assert (folder / "lr_range.png").exists()
    assert not (folder / "metrics.csv").exists(), "nothing was trained"
    assert (folder / "check.log").read_text().count("initial_loss") == 1


@pytest.mark.slow
def test_a_failed_check_ends_with_code_1_and_is_named(commands: Commands) -> None:
    outcome = commands.type("check", "init=zeros", QUICK)
    assert outcome.code == 1
    assert outcome.err == "Error: 1 of 3 checks failed: symmetry\n"
    assert "symmetry: Equal units (100% of features.hidden1.linear" in outcome.out
    (folder,) = run_folders(commands.folder)
    assert checks(folder)["verdict"] == "fail"


@pytest.mark.slow
def test_in_a_sweep_every_run_is_checked(commands: Commands) -> None:
    outcome = commands.type("check", "-m", "init=zeros,he", QUICK)
    assert outcome.code == 1
    verdicts = [
        checks(folder)["verdict"] for folder in run_folders(commands.folder) if (folder / "checks.json").exists()
    ]
    assert sorted(verdicts) == ["fail", "pass"]
    assert commands.type("check", "-m", "init=xavier,he", QUICK).code == 0


@pytest.mark.slow
def test_training_can_begin_with_the_checks(commands: Commands) -> None:
    outcome = commands.train("check=true", *SMALL, "model.hidden=[30]")
    assert outcome.code == 0, outcome.err
    (folder,) = run_folders(commands.folder)
    assert checks(folder)["verdict"] in ("pass", "warn")
    assert summary(folder)["status"] == "finished"
    plain = commands.trained(*SMALL, "model.hidden=[30]")
    assert (plain / "checkpoints" / "last.pt").exists()
    assert summary(plain)["metrics"] == summary(folder)["metrics"], "the checks change nothing, to the last bit"


@pytest.mark.slow
def test_a_run_that_fails_its_checks_is_not_trained(commands: Commands) -> None:
    outcome = commands.train("check=true", "init=zeros", *SMALL)
    assert outcome.code == 1
    (folder,) = run_folders(commands.folder)
    assert summary(folder)["status"] == "failed"
    assert summary(folder)["error"].startswith("4 of 11 checks failed: symmetry, signal")
    assert not (folder / "metrics.csv").exists()


@pytest.mark.slow
def test_a_users_own_model_is_checked(own: Commands) -> None:
    assert own.type("check", "--config-dir", "conf", "model=own").code == 0
    twisted = own.type("check", "--config-dir", "conf", "model=own", "model.kind=twisted", "only=gradient")
    assert (twisted.code, "first.weight" in twisted.out) == (1, True)
    mixed = own.type("check", "--config-dir", "conf", "model=own", "model.kind=mixed", "only=leak")
    assert mixed.code == 1


BAD: dict[str, tuple[list[str], str]] = {
    "unknown check": (
        ["only=gradiant"],
        "only='gradiant' is not a check; choose from examples, .*; did you mean 'gradient'?",
    ),
    "no check": (["only=[]"], r"only=\[\] should be a check or a list of checks; choose from examples, .*"),
    "a number": (["only=3"], "only=3 should be a check or a list of checks; choose from examples, .*"),
    "no gradient": (
        ["model=own", "model.kind=rounded"],
        "model: owned.Model returns scores without a gradient, .* remove detach.*argmax.*",
    ),
    "no parameters": (["model=empty"], "model has no parameter to train"),
    "unknown key": (["olny=gradient"], "unknown key 'olny'; did you mean 'only=gradient'?"),
    "unknown choice": (["optimizer=adm"], "unknown optimizer 'adm'; choose from .*; did you mean 'optimizer=adam'?"),
}


@pytest.mark.slow
@pytest.mark.parametrize("problem", BAD)
def test_bad_input_ends_in_one_sentence_with_code_2(own: Commands, problem: str) -> None:
    overrides, message = BAD[problem]
    outcome = own.type("check", "--config-dir", "conf", *overrides)
    assert outcome.code == 2
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert re.fullmatch(message.replace("?", r"\?"), outcome.err.removeprefix("Error: ").rstrip("\n"))


@pytest.mark.slow
def test_data_with_gaps_ends_in_one_sentence(commands: Commands) -> None:
    import numpy as np

    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    x[7, 2] = np.nan
    np.savez(commands.folder / "own.npz", x_train=x, y_train=np.arange(60) % 3, x_test=x[:6], y_test=np.arange(6) % 3)
    outcome = commands.type("check", "data=npz", "data.path=own.npz")
    assert outcome.code == 2
    assert "x_train has a value that is not finite" in outcome.err
    assert outcome.err.count("\n") == 1


def test_help_names_the_checks_own_setting(commands: Commands) -> None:
    shown = commands.type("check", "--help").out
    assert "only=null" in shown
    assert "optimizer=" in shown
    assert "python -m experiments.check only=lr_range" in shown
