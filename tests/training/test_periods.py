"""Validation and checkpoints every so many steps: the same training, with rows and checkpoints at other moments."""

import signal
from pathlib import Path

import pytest
import torch

from experiments import assembly
from experiments.common.errors import UserError
from experiments.folders.run import RunFolder
from experiments.training.engine import fit
from experiments.training.position import Position
from tests.helpers import (
    NO_PICTURES,
    SMALL,
    Commands,
    metrics,
    run,
    run_folders,
    summary,
)
from tests.interrupted import assert_same_end, at_step
from tests.programs import single

from .loops import assert_resumes_to_the_same_bits, member, plan, without_clock

STEPS = ("model.dropout=0.2", "training.steps=8", "training.validate=every:2steps", NO_PICTURES)
"""With `SMALL` there are three updates per epoch."""
RANDOM = (
    "data={_target_: tests.assembly.own_datasets.Noisy}",
    "model.hidden=[12]",
    "training.batch_size=16",
    NO_PICTURES,
)


def fitted(folder: Path, **more: int | None) -> tuple[torch.nn.Module, list[dict[str, float]], RunFolder]:
    """Train a small run: four updates per epoch, the last one of two examples."""
    runner, program = member(folder, 1, horizon=12), single(1)
    fit(program, [runner], Position(plan(3, **more)))
    assert runner.status == "finished"
    return program.model, without_clock(runner.history), runner.folder


def test_the_updates_do_not_depend_on_the_periods(tmp_path: Path) -> None:
    model, rows, _ = fitted(tmp_path / "epochs")
    for steps in (1, 3, 4, 5, 8, 50):
        other, own, _ = fitted(tmp_path / str(steps), validate_steps=steps)
        for name, value in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), (steps, name)
        assert [row["step"] for row in own] == [*range(steps, 12, steps), 12]
        assert [row["epoch"] for row in own] == list(range(1, len(own) + 1))
        last = {name: value for name, value in own[-1].items() if name.startswith("val/")}
        assert last == {name: rows[-1][name] for name in last}
        if steps == 4:
            assert own == rows


def test_the_loss_of_a_period_is_that_of_its_examples(tmp_path: Path) -> None:
    _, single_steps, _ = fitted(tmp_path / "one", validate_steps=1)
    _, rows, _ = fitted(tmp_path / "five", validate_steps=5)
    sizes = [16, 16, 16, 2] * 3
    for start, row in zip((0, 5, 10), rows, strict=True):
        part = slice(start, start + 5)
        total = sum(size * one["train/loss"] for size, one in zip(sizes[part], single_steps[part], strict=True))
        assert row["train/loss"] == pytest.approx(total / sum(sizes[part]), rel=1e-12)


@pytest.mark.parametrize("looks", range(14))
@pytest.mark.parametrize("more", [{"validate_steps": 3}, {"validate_steps": 6, "keep_steps": 5}, {"keep_steps": 3}])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path: Path, looks: int, more: dict[str, int]) -> None:
    assert_resumes_to_the_same_bits(tmp_path, looks, plan(3, **more))


def test_checkpoints_are_kept_within_epochs_and_periods(tmp_path: Path) -> None:
    for number, more in enumerate(({}, {"validate_steps": 4}, {"validate_steps": 3})):
        model, _, folder = fitted(tmp_path / f"kept{number}", keep_steps=5, **more)
        assert [path.stem for path in folder.kept()] == ["step_000005", "step_000010"]
        shorter, _, _ = fitted(tmp_path / f"short{number}", steps=5)
        state = folder.load(folder.named("step_000005"))["program"]["model"]
        for name, value in shorter.state_dict().items():
            assert torch.equal(state[name], value), name
        for name, value in folder.load(folder.last)["program"]["model"].items():
            assert torch.equal(model.state_dict()[name], value), name


WORDS = {"every:5": (5, "epochs"), "every:5epochs": (5, "epochs"), "every:200steps": (200, "steps")}
MEANT = {
    "every:200 steps": "every:200steps",
    "every:200step": "every:200steps",
    "every:200_steps": "every:200steps",
    "every:200s": "every:200steps",
    "Every:200Steps": "every:200steps",
    "every 3 epochs": "every:3",
    "200steps": "every:200steps",
    "every=100updates": "every:100steps",
}


@pytest.mark.parametrize("text", WORDS)
def test_intervals_are_read(text: str) -> None:
    every = assembly.interval("training.validate", text)
    assert every is not None
    assert (every.count, every.unit) == WORDS[text]


@pytest.mark.parametrize("text", MEANT)
def test_the_nearest_spelling_is_named(text: str) -> None:
    with pytest.raises(UserError, match=f"; did you mean 'training.validate={MEANT[text]}'\\?$"):
        assembly.interval("training.validate", text)


def test_a_number_may_mean_epochs_or_steps() -> None:
    with pytest.raises(UserError) as caught:
        assembly.interval("training.validate", 200)
    assert str(caught.value) == (
        "training.validate=200 should be every:<epochs>, such as every:5, or every:<steps>steps, such as "
        "every:200steps, or null; did you mean training.validate=every:200 training.validate=every:200steps?"
    )


@pytest.mark.slow
def test_what_a_run_of_periods_prints_and_writes(commands: Commands) -> None:
    outcome = commands.train(*SMALL, *STEPS, "training.keep_checkpoints=every:5steps")
    assert outcome.code == 0, outcome.err
    assert "step 2/8  loss" in outcome.out
    (folder,) = run_folders(commands.folder)
    ended, rows = summary(folder), metrics(folder)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("2", "4"), ("3", "6"), ("4", "8")]
    assert (ended["epochs"], ended["steps"], ended["validated_every"]) == (2, 8, 2)
    assert ended["best_step"] == 2 * ended["best_epoch"]
    assert f"finished after 8 steps (2 whole epochs), best step {ended['best_step']} by val/accuracy" in outcome.out
    assert [path.stem for path in RunFolder(folder).kept()] == ["step_000005"]
    error = commands.train(f"resume={folder}", "training.validate=every:3steps").refusal()
    assert "training.validate" in error
    resumed = commands.train(f"resume={folder}", "training.steps=12")
    assert resumed.code == 0, resumed.err
    assert "Continuing after step 8" in resumed.out
    whole = commands.trained(*SMALL, *STEPS, "training.steps=12", "name=whole")
    assert_same_end(folder, whole)


@pytest.mark.slow
def test_a_stack_validates_by_steps_and_members_leave_within_a_pass(commands: Commands) -> None:
    stopping = "training.early_stopping.patience=1", "training.early_stopping.min_delta=0.2"
    words = (
        *SMALL,
        *STEPS,
        "training.steps=14",
        "training.precision=fp64",
        *stopping,
        "training.keep_checkpoints=every:3steps",
    )
    outcome = commands.train("-m", *words, "seed=0,1", "optimizer.lr=0.001,0.1", "name=swept")
    assert outcome.code == 0, outcome.err
    folders = [folder for folder in run_folders(commands.folder) if "swept" in folder.parts]
    assert len({summary(folder)["steps"] for folder in folders}) > 1, "some leave before others"
    assert {summary(folder)["trained_together"] for folder in folders} == {4}
    for folder in folders:
        own = [word for word in summary(folder)["overrides"] if word.startswith(("seed", "optimizer.lr"))]
        alone = commands.trained(*words, *own, "name=alone")
        assert [path.stem for path in RunFolder(folder).kept()] == [path.stem for path in RunFolder(alone).kept()]
        for one, other in zip(metrics(folder), metrics(alone), strict=True):
            assert float(one["val/loss"]) == pytest.approx(float(other["val/loss"]), rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("words", [SMALL, RANDOM], ids=["memory", "workers"])
def test_a_run_that_is_killed_within_an_epoch_resumes_to_the_same_bits(
    commands: Commands, words: tuple[str, ...]
) -> None:
    own = (*words, *STEPS, "data.workers=2") if words is RANDOM else (*words, *STEPS)
    whole = commands.trained(*own, "name=whole")
    assert run(commands.folder, *own, "name=killed", prelude=at_step(6, "SIGKILL")).code == -signal.SIGKILL
    (folder,) = (path for path in run_folders(commands.folder) if "killed" in path.parts)
    resumed = commands.train(f"resume={folder}", "trust=[tests]")
    assert resumed.code == 0, resumed.err
    assert_same_end(folder, whole)


@pytest.mark.slow
def test_a_stack_that_is_killed_within_a_pass_resumes_to_the_same_bits(commands: Commands) -> None:
    words = ("-m", *SMALL, *STEPS, "training.precision=fp64", "seed=0,1", "training.keep_checkpoints=every:4steps")
    prelude = "import experiments.training.stack as s\ns.Stack.checkpoint_seconds = 0.0\n"
    prelude += at_step(8, "SIGKILL", stacked=True)
    assert run(commands.folder, *words, "name=killed", prelude=prelude).code == -signal.SIGKILL
    resumed = run(commands.folder, *words, "name=killed", "resume=latest")
    assert resumed.code == 0, resumed.err
    assert run(commands.folder, *words, "name=whole").code == 0
    folders = run_folders(commands.folder)
    pairs = [[path for path in folders if name in path.parts] for name in ("killed", "whole")]
    for one, other in zip(*pairs, strict=True):
        assert_same_end(one, other)
        assert [path.stem for path in RunFolder(one).kept()] == ["step_000004", "step_000008"]
