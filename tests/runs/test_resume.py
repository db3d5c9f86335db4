"""Resuming a run that was killed, interrupted or tampered with. Real processes, real signals."""

import json
import os
import shlex
import shutil
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from experiments.folders.run import RunFolder, TableCopy, copied_rows, table_digest
from tests.helpers import (
    SMALL,
    Commands,
    assert_equal_weights,
    code_of,
    metrics,
    run,
    run_folders,
    run_fresh,
    sampled,
    start,
    summary,
    thinned,
    weights,
)
from tests.interrupted import CHOICES, IN_REPLACE, assert_same_end, at_step

HALF_WRITTEN = """
import os, signal
from experiments.folders.run import RunFolder, packed
real, count = RunFolder.write_next, 0
def write_next(self, state):
    global count
    count += 1
    if count == 4:
        data = packed(state)
        with open(self.next, "wb") as file:
            file.write(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, state)
RunFolder.write_next = write_next
"""

KILLS = {
    "before the first checkpoint": IN_REPLACE.format(name="last.pt", at=1),
    "in the first epoch": at_step(3, "SIGKILL"),
    "within a later epoch": at_step(18, "SIGKILL"),
    "in the middle of writing a checkpoint": HALF_WRITTEN,
    "before a whole checkpoint takes its place": IN_REPLACE.format(name="last.pt", at=5),
    "before the best is named": IN_REPLACE.format(name="best.pt", at=2),
    "before metrics.csv takes its place": IN_REPLACE.format(name="metrics.csv", at=4),
    "before the summary": IN_REPLACE.format(name="summary.json", at=1),
}
USUAL = {"before the first checkpoint", "within a later epoch", "before the summary"}
"""The moments that `make test` takes; `make test-all` takes all."""


@pytest.mark.slow
@pytest.mark.parametrize("moment", sampled(KILLS, USUAL))
def test_a_killed_run_resumes_to_the_same_bits(commands: Commands, undisturbed: Path, moment: str) -> None:
    killed = run(commands.folder, *CHOICES, prelude=KILLS[moment])
    assert killed.code == -signal.SIGKILL, killed.err
    (folder,) = run_folders(commands.folder)
    resumed = commands.train(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert run_folders(commands.folder) == [folder]
    assert not list(folder.rglob("*.tmp"))
    assert_same_end(folder, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_the_unfinished_epoch_and_prints_how_to_resume(
    commands: Commands, undisturbed: Path, name: str, code: int
) -> None:
    stopped = run(commands.folder, *CHOICES, prelude=at_step(12, name))
    assert stopped.code == code, stopped.err
    (folder,) = run_folders(commands.folder)
    found = summary(folder)
    assert (found["status"], found["steps"], found["epochs"]) == ("interrupted", 12, 2)
    assert torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["position"]["batch"] == 2
    shown = folder.relative_to(commands.folder)
    (typed,) = [line.removeprefix("resume ").strip() for line in stopped.out.splitlines() if line.startswith("resume ")]
    assert shlex.split(typed)[1:] == ["-m", "experiments.train", f"resume={shown}"]

    outcome = commands.train(f"resume={shown}")
    assert outcome.code == 0, outcome.err
    assert "Continuing after epoch 2, step 12" in outcome.out
    assert_same_end(folder, undisturbed)


EARLY = """
import importlib.abc, os, signal, sys
class Signalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "experiments.runs.alone":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Signalled())
"""


@pytest.mark.slow
@pytest.mark.parametrize("sweep", thinned([("-m", "seed=1,2"), ()]), ids=["a sweep", "a run"])
def test_a_signal_during_the_first_imports_leaves_a_folder_that_can_be_resumed(
    commands: Commands, sweep: tuple[str, ...]
) -> None:
    stopped = run_fresh(commands.folder, *sweep[:1], *CHOICES, *sweep[1:], prelude=EARLY)
    assert stopped.code == (130 if sweep else 143), stopped.err
    assert "Traceback" not in stopped.err
    folders = run_folders(commands.folder)
    assert len(folders) == 1 + bool(sweep)
    if sweep:
        assert "2 runs: 2 waiting" in stopped.out
        again = ("-m", *CHOICES, *sweep[1:], f"resume={folders[0].parent}")
    else:
        assert (summary(folders[0])["status"], summary(folders[0])["steps"]) == ("interrupted", 0)
        again = (f"resume={folders[0]}",)
    outcome = commands.train(*again)
    assert outcome.code == 0, outcome.err
    assert [summary(folder)["status"] for folder in run_folders(commands.folder)] == ["finished"] * len(folders)


@pytest.mark.slow
def test_a_second_signal_stops_immediately(tmp_path: Path) -> None:
    process = start(tmp_path, "training.epochs=100000", "observers.tensorboard.enabled=false")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/**/metrics.csv")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (143, 130, -signal.SIGINT)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sampled(["two words", "it's", "a=1,b=[2]", "back\\slash", "ends\\'so"], ["it's", "a=1,b=[2]"])
)
def test_a_folder_of_any_name_can_be_resumed(commands: Commands, name: str) -> None:
    folder = commands.trained(*CHOICES, "training.epochs=1")
    renamed = folder.rename(folder.parent / name)
    outcome = commands.train(f"resume={renamed.relative_to(commands.folder)}", "training.epochs=2")
    assert outcome.code == 0, outcome.err
    assert summary(renamed)["epochs"] == 2
    assert run_folders(commands.folder) == [renamed]


@pytest.mark.slow
def test_a_job_of_a_sweep_can_be_resumed(commands: Commands) -> None:
    assert commands.train("-m", *CHOICES, "training.epochs=1", "name=two words", "seed=1,2").code == 0
    job = run_folders(commands.folder)[1]
    outcome = commands.train(f"resume={job}", "training.epochs=3")
    assert outcome.code == 0, outcome.err
    assert (summary(job)["seed"], summary(job)["epochs"]) == (2, 3)


@pytest.mark.slow
def test_more_epochs_after_a_resume_equal_a_longer_run(commands: Commands) -> None:
    choices = [choice for choice in CHOICES if "epochs" not in choice and "scheduler" not in choice]
    folder = commands.trained(*choices, "training.epochs=2")
    assert commands.train(f"resume={folder}", "training.epochs=5").code == 0
    whole = commands.trained(*choices, "training.epochs=5")
    assert_equal_weights(weights(folder), weights(whole))
    assert metrics(folder) == metrics(whole)
    assert yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())["training"]["epochs"] == 5
    assert commands.train(f"resume={folder}").code == 0, "and the folder knows that there are five now"
    assert len(metrics(folder)) == 5


@pytest.mark.slow
def test_fewer_epochs_than_the_run_has_are_refused(commands: Commands, interrupted: Path) -> None:
    outcome = commands.train(f"resume={interrupted}", "training.epochs=1")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "training.epochs=1 is less than the 2 epochs" in outcome.err


@pytest.mark.slow
def test_data_that_changed_is_refused(commands: Commands) -> None:
    x, y = torch.rand(60, 5).numpy(), (torch.arange(60) % 3).numpy()
    arrays: dict[str, Any] = {"y_train": y, "x_test": x, "y_test": y}
    np.savez(commands.folder / "own.npz", x_train=x, **arrays)
    folder = commands.trained("data=npz", "data.path=own.npz", "training.epochs=1")
    np.savez(commands.folder / "own.npz", x_train=2 * x, **arrays)
    outcome = commands.train(f"resume={folder}", "training.epochs=2")
    assert outcome.code == 2
    assert "the data set has changed" in outcome.err


@pytest.mark.slow
def test_a_broken_checkpoint_falls_back_to_the_other(commands: Commands) -> None:
    folder = commands.trained(*CHOICES)
    expected = metrics(folder)
    last = folder / "checkpoints" / "last.pt"
    content = last.read_bytes()
    last.unlink()  # best.pt may be the same file
    last.write_bytes(content[: len(content) // 2])
    outcome = commands.train(f"resume={folder}")
    assert outcome.code == 0, outcome.err
    assert "last.pt is broken" in outcome.out
    assert "continuing from best.pt instead" in outcome.out
    assert metrics(folder) == expected


@pytest.mark.slow
def test_lost_weights_of_the_best_epoch_are_reported(commands: Commands) -> None:
    folder = commands.trained(*CHOICES)
    last, best = (folder / "checkpoints" / f"{name}.pt" for name in ("last", "best"))
    state = torch.load(last, weights_only=True)
    rows = json.loads(state["history"])
    rows[0]["val/accuracy"] = 2.0
    last.unlink()
    torch.save({**state, "history": json.dumps(rows)}, last)
    best.unlink()
    outcome = commands.train(f"resume={folder}")
    assert outcome.code == 0, outcome.err
    assert "best.pt is missing; the weights of epoch 1, the best one, are lost" in outcome.out
    assert "warning: best.pt, with the weights of the best epoch, is missing; the test split is not" in outcome.out
    assert "test/accuracy" not in summary(folder)["metrics"]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "cut in a row": (lambda content: content[: len(content) // 2 - 3], "rows can be read and are kept"),
    "cut between rows": (lambda content: content[: content.rindex(b"\n", 0, -1) + 1], "rows can be read and are kept"),
    "garbled": (lambda content: content[:50] + bytes(range(128, 228)) + content[150:], " 0 of "),
    "a changed digit": (
        lambda content: content[:-2] + (b"8\n" if content.endswith(b"7\n") else b"7\n"),
        "rows can be read and are kept",
    ),
    "empty": (lambda content: content[:0], " 0 of "),
    "missing": (lambda _content: None, "layers.csv is missing; its "),
}


def damage_layers(run: Path, kind: str) -> bytes | None:
    """Damage `layers.csv`, and return its content."""
    path = run / "layers.csv"
    damaged = DAMAGES[kind][0](path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    return damaged


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_layers_file_is_written_again_from_the_checkpoint(
    commands: Commands, interrupted: Path, kind: str
) -> None:
    expected = (interrupted / "layers.csv").read_text()
    damaged = damage_layers(interrupted, kind)
    outcome = commands.train(f"resume={interrupted}")
    assert outcome.code == 0, outcome.err
    was = "missing" if damaged is None else "damaged"
    assert f"layers.csv was {was}; it is written again from the checkpoint" in outcome.out
    assert damaged is None or (interrupted / "layers.csv.damaged").read_bytes() == damaged
    assert (interrupted / "layers.csv").read_text().startswith(expected)


def test_the_copy_of_a_table_is_read_within_limits() -> None:
    rows = [f"{n},{n},layer{n % 5},dead,{n / 7:.6g}\n" for n in range(2000)]
    table = TableCopy()
    for end in (1, 500, 500, 2000):
        table.add(rows[:end])
    copy = table.tensor()
    assert copy is not None
    assert 3 * len(copy) < len("".join(rows))
    assert copied_rows(copy, table_digest(rows)) == rows
    assert copied_rows(copy, table_digest(rows[:-1])) is None
    assert copied_rows(copy[:50], table_digest(rows)) is None
    assert copied_rows(torch.zeros(50), table_digest(rows)) is None
    bomb = torch.frombuffer(bytearray(zlib.compress(bytes(10**7), wbits=-13)), dtype=torch.uint8)
    assert copied_rows(bomb, (1, 0)) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_layers_file_is_set_aside_and_the_run_is_resumed(
    commands: Commands, interrupted: Path, kind: str
) -> None:
    """The checkpoint is of an earlier version, without a copy of the rows."""
    for name in ("last", "best"):
        path = interrupted / "checkpoints" / f"{name}.pt"
        state = torch.load(path, weights_only=True)
        del state["copies"]
        torch.save(state, path)
    said = DAMAGES[kind][1]
    damaged = damage_layers(interrupted, kind)
    outcome = commands.train(f"resume={interrupted}", "training.epochs=3")
    assert outcome.code == 0, outcome.err
    assert said in outcome.out
    aside = interrupted / "layers.csv.damaged"
    assert damaged is None or aside.read_bytes() == damaged
    steps = [row.step for row in RunFolder(interrupted).read_layers()]
    assert steps == sorted(steps)
    assert steps[-1] == summary(interrupted)["steps"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["", "epoch,step\n1", "\0\0"])
def test_damaged_metrics_are_written_again(commands: Commands, damage: str) -> None:
    folder = commands.trained(*CHOICES)
    expected = (folder / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text(damage)
    outcome = commands.train(f"resume={folder}")
    assert outcome.code == 0, outcome.err
    assert "metrics.csv was damaged; it is written again from the checkpoint" in outcome.out
    assert (folder / "metrics.csv").read_text() == expected


@pytest.mark.slow
def test_no_usable_checkpoint_is_refused_and_nothing_is_lost(commands: Commands, interrupted: Path) -> None:
    before = {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file() and path.name != "train.log"}
    foreign = commands.folder / "foreign.pt"
    torch.save({"weights": torch.zeros(3)}, foreign)
    for name in ("last.pt", "best.pt"):
        path = interrupted / "checkpoints" / name
        path.unlink()
        shutil.copy(foreign, path)
        before[path] = foreign.read_bytes()
    outcome = commands.train(f"resume={interrupted}")
    assert outcome.code == 2
    assert outcome.err.count("is not a checkpoint of a run") == 2
    assert outcome.err.count("\n") == 1
    for path, content in before.items():
        assert path.read_bytes() == content, path


@pytest.mark.slow
@pytest.mark.parametrize("drawing", ["model.dropout=0.2", "data.augment=mixup", "model.dropout=0.0"])
def test_a_run_of_a_version_that_draws_differently_is_refused_if_it_draws(commands: Commands, drawing: str) -> None:
    folder = commands.trained(*SMALL, drawing, "training.epochs=1")
    for name in ("last.pt", "best.pt"):
        path = folder / "checkpoints" / name
        state = torch.load(path, weights_only=True)
        state["streams"]["noise"] = torch.Generator().get_state()  # as checkpoints had it
        path.unlink()
        torch.save(state, path)
    outcome = commands.train(f"resume={folder}", "training.epochs=2")
    if drawing == "model.dropout=0.0":
        assert outcome.code == 0, outcome.err
        return
    assert outcome.code == 2
    assert " ".join(outcome.err.split()) == (
        f"Error: resume={folder} has Dropout, noise or augmentation, and was trained by a version that draws them "
        f"differently; begin a new run from its weights with init_from={folder}, or resume it with that version"
    )
    assert commands.train(*SMALL, drawing, "training.epochs=1", f"init_from={folder}").code == 0


@pytest.mark.slow
def test_a_checkpoint_with_code_in_it_is_not_run(commands: Commands, interrupted: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, ("touch attacked",)

    for name in ("last.pt", "best.pt"):
        path = interrupted / "checkpoints" / name
        path.unlink()
        torch.save({"format": 1, "program": Attack()}, path)
    assert commands.train(f"resume={interrupted}").code == 2
    assert not (commands.folder / "attacked").exists()


@pytest.mark.slow
def test_another_models_checkpoint_is_refused_by_the_parameters_name(commands: Commands, interrupted: Path) -> None:
    other = commands.trained(*CHOICES, "model.hidden=[17]", "training.epochs=2")
    for name in ("last.pt", "best.pt"):
        path = interrupted / "checkpoints" / name
        path.unlink()
        shutil.copy(other / "checkpoints" / name, path)
    outcome = commands.train(f"resume={interrupted}")
    assert outcome.code == 2
    assert "features.hidden1.linear.weight is of shape (17, 64) in the checkpoint and of shape (16, 64)" in outcome.err


@pytest.mark.slow
def test_the_rate_may_be_changed_by_hand_and_the_folder_shows_it(commands: Commands) -> None:
    run = commands.trained(*SMALL, "optimizer.lr=0.1", "training.epochs=2", "hydra.run.dir=outputs/a/0")
    config = run / ".hydra" / "config.yaml"
    outcome = commands.train(f"resume={run}", "training.epochs=3", "optimizer.lr=0.01")
    assert outcome.code == 0, outcome.err
    said = (
        "The learning rate was 0.1 until epoch 2 and is 0.01 from here on; earlier_rates in .hydra/config.yaml shows it"
    )
    assert said in " ".join(outcome.out.split())
    assert yaml.safe_load(config.read_text())["earlier_rates"] == [[0.1, 2]]
    again = commands.train(f"resume={run}", "training.epochs=4")
    assert again.code == 0, again.err
    assert "The learning rate was" not in again.out
    assert [float(row["lr"]) for row in metrics(run)] == [0.1, 0.1, 0.01, 0.01]
    assert yaml.safe_load(config.read_text())["earlier_rates"] == [[0.1, 2]]
    assert commands.type("evaluate", f"run={run}").code == 0
    before = config.read_text()
    assert commands.train(f"resume={run}", "optimizer.lr=0.5").refusal() == (
        "Error: optimizer.lr=0.5 would train nothing: the run has its 4 epochs; add more, such as training.epochs=6\n"
    )
    assert config.read_text() == before
    said = "Nothing is left to train: the run has its 4 epochs; training.epochs=6 adds some\n"
    assert said in commands.train(f"resume={run}").out
    commands.trained(*SMALL, "optimizer.lr=0.01", "training.epochs=4", "hydra.run.dir=outputs/a/1")
    said = commands.type("compare", "outputs/a").out
    assert "2 runs in 2 groups" in said
    assert "earlier_rates=[[0.1,2]]" in said
    incomplete = yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text())
    incomplete = [line for line in incomplete if not line.startswith("optimizer.lr=")]
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(incomplete))
    refused = commands.train(f"resume={run}", "training.epochs=5").refusal()
    assert ".hydra/overrides.yaml is incomplete, as config.yaml has optimizer.lr=0.01" in refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.hidden=[10]", "model.hidden ([16] -> [10])"),
        ("optimizer.eps=0.5", "optimizer.eps ("),
        ("model=cnn", "model._target_"),
        ("seed=4", "seed (0 -> 4)"),
    ],
)
def test_keys_that_a_resume_may_not_change(commands: Commands, interrupted: Path, change: str, said: str) -> None:
    before = summary(interrupted)
    overrides = yaml.safe_load((interrupted / ".hydra" / "overrides.yaml").read_text())
    outcome = commands.train(f"resume={interrupted}", change)
    assert outcome.code == 2
    assert outcome.err.startswith("Error: resume cannot change ")
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert summary(interrupted) == before
    assert yaml.safe_load((interrupted / ".hydra" / "overrides.yaml").read_text()) == overrides


def cut(content: bytes) -> bytes:
    """Return what is before the section `model`."""
    return content[: content.index(b"\nmodel:") + 1]


DAMAGED = {
    "a cut configuration": ("config.yaml", cut, "config.yaml is incomplete, without model, loss, penalty; restore"),
    "an empty configuration": ("config.yaml", lambda _: b"", "config.yaml is incomplete, without data, "),
    "a garbled configuration": ("config.yaml", lambda _: bytes(range(256)), "config.yaml cannot be read"),
    "garbled overrides": ("overrides.yaml", lambda _: bytes(range(256)), "overrides.yaml is damaged; write the run's"),
    "empty overrides": ("overrides.yaml", lambda _: b"", "overrides.yaml is damaged; write the run's overrides"),
    "lost epochs": (
        "overrides.yaml",
        lambda content: content.replace(b"- training.epochs=6\n", b"").replace(b"- training.epochs=2\n", b""),
        "overrides.yaml is incomplete, as config.yaml has training.epochs=2; repeat this override",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "change", "said"), DAMAGED.values(), ids=list(DAMAGED))
def test_damaged_records_of_the_command_are_refused_in_one_sentence(
    commands: Commands, interrupted: Path, name: str, change: Callable[[bytes], bytes], said: str
) -> None:
    path = interrupted / ".hydra" / name
    path.write_bytes(change(path.read_bytes()))
    before = summary(interrupted)
    outcome = commands.train(f"resume={interrupted}")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert said in outcome.err
    assert summary(interrupted) == before


@pytest.mark.parametrize("where", ["nowhere", ""])
def test_a_folder_that_is_not_a_run_is_refused(commands: Commands, where: str) -> None:
    outcome = commands.train(f"resume={commands.folder / where}")
    assert outcome.code == 2
    assert "is not a run folder" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        "hydra.callbacks.x._target_=os.system",
        "+hydra.callbacks.x._target_=os.system",
        "hydra.run.dir=/tmp/elsewhere",
        "--config-dir=/tmp",
        "name=${oc.env:HOME}",
        "trust=[os]",
        "optimizer._target_=os.system",
        "optimizer._target_=torch.nn.init.math.sqrt",
        "optimizer._target_=torch.os.system",
        "+model.x={_target_: subprocess.Popen, args: [touch attacked]}",
    ],
)
def test_a_strangers_run_folder_cannot_name_code(commands: Commands, interrupted: Path, override: str) -> None:
    path = interrupted / ".hydra" / "overrides.yaml"
    path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), override]))
    config = interrupted / ".hydra" / "config.yaml"
    key, _, value = override.lstrip("+").partition("=")
    if "." in key and not key.startswith(("hydra", "-")):
        content = yaml.safe_load(config.read_text())
        section, name = key.split(".")
        content[section][name] = yaml.safe_load(value)
        config.write_text(yaml.safe_dump(content))
    outcome = commands.train(f"resume={interrupted}")
    assert outcome.code == 2
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert "which no run of ours writes" in outcome.err or "names code from outside this package" in outcome.err
    assert not (commands.folder / "attacked").exists()


def test_a_saved_trust_counts_only_if_it_is_typed_again(commands: Commands, interrupted: Path) -> None:
    """A run writes it only until it has started."""
    path = interrupted / ".hydra" / "overrides.yaml"
    before = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump([*before, "trust=[own]", "resume=null", "retry_failed=false"]))
    assert "'trust=[own]', which no run of ours writes" in commands.train(f"resume={interrupted}").err
    assert commands.train(f"resume={interrupted}", "trust=[other]").code == 0
    assert yaml.safe_load(path.read_text()) == before


@pytest.mark.slow
def test_a_users_own_code_is_resumed_when_trusted(commands: Commands) -> None:
    choices = (*CHOICES[:3], "scheduler._target_=tests.interrupted.growing", "optimizer.lr=1e-9")
    folder = commands.trained(*choices)
    refused = commands.train(f"resume={folder}")
    assert "if you trust it, add 'trust=[tests]'" in refused.err
    assert commands.train(f"resume={folder}", "trust=[tests]").code == code_of(folder)
