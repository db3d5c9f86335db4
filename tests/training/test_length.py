"""How long a run trains: in epochs, in steps, or until its time is over; each ends, resumes and stacks alike."""

from pathlib import Path
from typing import Any

import pytest

from experiments import assembly
from experiments.common.errors import UserError
from experiments.training import engine
from experiments.training.engine import fit
from experiments.training.position import Plan, Position, in_epochs
from tests.helpers import SMALL, Commands, assert_equal_weights, metrics, run_folders, summary, table, weights
from tests.programs import single

from .loops import assert_resumes_to_the_same_bits, member, plan

CONSTANT = (*SMALL, "model.dropout=0.2")
"""Three updates per epoch."""


@pytest.mark.slow
def test_whole_epochs_in_steps_are_the_same_run(commands: Commands) -> None:
    epochs = commands.trained(*CONSTANT, "scheduler=cosine", "name=epochs")
    steps = commands.trained(*CONSTANT, "scheduler=cosine", "training.steps=6", "training.epochs=1", "name=steps")
    assert metrics(steps) == metrics(epochs)
    assert_equal_weights(weights(steps), weights(epochs))


@pytest.mark.slow
def test_the_last_epoch_may_be_a_part_of_one(commands: Commands) -> None:
    whole = commands.trained(*CONSTANT, "training.epochs=3", "name=whole")
    outcome = commands.train(*CONSTANT, "training.steps=8", "name=part")
    assert "epoch 3/3" in outcome.out
    assert "finished after 3 epochs (8 steps)" in outcome.out
    (folder,) = (path for path in run_folders(commands.folder) if "part" in path.parts)
    assert [row["step"] for row in metrics(folder)] == ["3", "6", "8"]
    assert metrics(folder)[:2] == metrics(whole)[:2]
    assert {(row["epoch"], row["step"]) for row in table(folder / "layers.csv")} == {
        ("0", "0"),
        ("1", "3"),
        ("2", "6"),
        ("3", "8"),
    }
    assert (summary(folder)["status"], summary(folder)["steps"], summary(folder)["epochs"]) == ("finished", 8, 3)


@pytest.mark.slow
def test_more_steps_continue_with_a_new_epoch(commands: Commands) -> None:
    folder = commands.trained(*CONSTANT, "training.steps=4")
    outcome = commands.train(f"resume={folder}", "training.steps=9")
    assert outcome.code == 0, outcome.err
    assert [(row["epoch"], row["step"]) for row in metrics(folder)] == [("1", "3"), ("2", "4"), ("3", "7"), ("4", "9")]
    assert sorted({(int(row["epoch"]), int(row["step"])) for row in table(folder / "layers.csv")}) == [
        (0, 0), (1, 3), (2, 4), (3, 7), (4, 9),
    ]  # fmt: skip
    error = commands.train(f"resume={folder}", "training.steps=5").refusal()
    assert "training.steps=5 is less than the 9 steps that the run has had" in error


@pytest.mark.slow
def test_a_stack_ends_after_the_same_step(commands: Commands) -> None:
    words = (*CONSTANT, "training.steps=5", "scheduler=linear", "seed=0,1")
    assert commands.train("-m", *words).code == 0
    folders = run_folders(commands.folder)
    for folder in folders:
        assert [row["step"] for row in metrics(folder)] == ["3", "5"]
        assert float(metrics(folder)[-1]["lr"]) == pytest.approx(0.002 / 5)


@pytest.mark.slow
def test_the_time_ends_a_run_after_the_current_step(commands: Commands) -> None:
    outcome = commands.train(*CONSTANT, "training.epochs=50", "training.max_time=0.0001")
    assert outcome.code == 0, outcome.err
    assert "the time of training.max_time is over" in outcome.out
    (folder,) = run_folders(commands.folder)
    ended = summary(folder)
    assert (ended["status"], ended["epochs"], ended["steps"], ended["out_of_time"]) == ("finished", 1, 1, True)
    assert "test/loss" in ended["metrics"]
    resumed = commands.train(f"resume={folder}", "training.max_time=null", "training.epochs=3")
    assert resumed.code == 0, resumed.err
    assert [(row["epoch"], row["step"]) for row in metrics(folder)] == [("1", "1"), ("2", "4"), ("3", "7")]
    assert "out_of_time" not in summary(folder)


TIMES = {"90s": 90, "10m": 600, "1h30m": 5400, "2d": 172_800, "1.5h": 5400, "1h 5s": 3605, "1H": 3600}
REFUSED = ("soon", "10", "1h30", "-5m", "0s", "", "1:30", "5m1h")


@pytest.mark.parametrize("text", TIMES)
def test_times_are_read(text: str) -> None:
    assert max_seconds(text) == TIMES[text]


@pytest.mark.parametrize("text", REFUSED)
def test_other_words_are_no_times(text: str) -> None:
    with pytest.raises(UserError) as caught:
        max_seconds(text)
    assert str(caught.value) == (
        f"training.max_time={text!r} should be a time such as 90s, 10m, 1h30m or 2d, a number of seconds, or null"
    )


def max_seconds(text: str) -> float | None:
    return assembly.max_seconds(assembly.Training(epochs=1, batch_size=1, max_time=text))


@pytest.mark.parametrize("looks", range(9))
def test_an_interrupted_run_of_steps_resumes_to_the_same_bits(tmp_path: Path, looks: int) -> None:
    whole = assert_resumes_to_the_same_bits(tmp_path, looks, plan(1, steps=6))
    assert [row["step"] for row in whole.history] == [4, 6]


def test_the_clock_is_read_after_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock: dict[str, float] = {"now": 0.0}

    def tick() -> float:
        clock["now"] += 1.0
        return clock["now"]

    monkeypatch.setattr(engine.time, "perf_counter", tick)
    runner, position = member(tmp_path, 1), Position(plan(9, seconds=8.0))
    fit(single(1), [runner], position)
    assert runner.status == "finished"
    assert position.out_of_time
    assert not position.is_complete
    assert runner.history[-1]["step"] == position.step < 36


@pytest.mark.parametrize(("steps", "newest"), [(None, None), (10, None), (10, 2)])
def test_each_step_belongs_to_its_epoch(steps: int | None, newest: int | None) -> None:
    """With 4 updates per epoch, as it is seen from each position."""
    made: Any = Plan(3, 1, 4, drop_last=False, validate=False, steps=steps)
    expected = {0: (0, True), 1: (1, False), 3: (1, False), 4: (1, True), 5: (2, False), 8: (2, True), 9: (3, False)}
    expected[10] = (3, steps is not None)
    for epoch in range(3):
        for batch in range(5):
            position = Position(made, epoch, batch)
            if position.step > 10:
                continue
            assert {step: position.epoch_of(step) for step in expected} == expected, (epoch, batch)
    if newest is not None:
        position = Position(made, 2, 2)
        position.end_epoch()
        assert (position.epoch, position.step, position.is_over) == (3, 10, True)
        assert {step: position.epoch_of(step) for step in expected} == expected


def test_a_horizon_is_kept_in_epochs() -> None:
    made = Plan(3, 1, 4, drop_last=False, validate=False)
    assert [in_epochs(steps, made) for steps in (0, 4, 12, 6)] == [0, 1, 3, 1.5]
