"""The loop is written once for K >= 1 members, and observers are called as promised."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.training.engine import fit
from experiments.training.member import EarlyStopping, best_row
from experiments.training.observer import Observer, every
from experiments.training.position import Plan, Position
from experiments.training.program import Capture, Look, Measurements, Program
from experiments.training.separate import OwnPrograms
from experiments.training.single import Single
from tests.programs import single

from .loops import After, assert_resumes_to_the_same_bits, member, plan, without_clock

CPU = torch.device("cpu")


class SideBySide(OwnPrograms):
    """A program for K members that computes one after another: the interface, without shared work."""

    device = index_device = CPU
    checkpoint_seconds = 0.0
    running, score_type = "accuracy", torch.int64

    def __init__(self, *programs: Single) -> None:
        super().__init__(programs)
        self.active = list(range(len(programs)))

    def keep(self, members: Sequence[int]) -> None:
        self.active = list(members)

    def step(self, index: Tensor, rates: Sequence[float]) -> Measurements:
        trained = [self.programs[k] for k in self.active]
        results = [p.step(index[row : row + 1], rates[row : row + 1]) for row, p in enumerate(trained)]
        return Measurements(torch.cat([r.loss for r in results]), torch.cat([r.score for r in results]))

    def begin_epoch(self, epoch: int) -> None:
        for program in self.programs:
            program.begin_epoch(epoch)

    def end_epoch(self, epoch: int) -> None:
        for program in self.programs:
            program.end_epoch(epoch)

    def evaluate(self, split: str, members: Sequence[int]) -> list[dict[str, float]]:
        return [self.programs[k].evaluate(split)[0] for k in members]

    def look(self, member: int, key: Any, measure: Look, *, brief: bool = False) -> tuple[Sequence[Any], Tensor]:
        return self.programs[member].look(0, key, measure, brief=brief)

    def generator(self, member: int) -> dict[str, Any]:
        return self.programs[member].generator(0)

    def capture(self, member: int, *, brief: bool = False) -> Capture:
        return self.programs[member].capture(0, brief=brief)


def test_members_side_by_side_equal_single_runs(tmp_path: Path) -> None:
    together: Program = SideBySide(single(1), single(2), single(3))
    members = [member(tmp_path / f"m{seed}", seed) for seed in (1, 2, 3)]
    fit(together, members, Position(plan()))
    for k, seed in enumerate((1, 2, 3)):
        program, alone = single(seed), member(tmp_path / f"alone{seed}", seed)
        fit(program, [alone], Position(plan()))
        assert without_clock(alone.history) == without_clock(members[k].history)
        for name, value in program.model.state_dict().items():
            assert torch.equal(value, together.module(k).state_dict()[name]), name
        assert alone.status == members[k].status == "finished"


def test_what_members_have_in_common_is_computed_once() -> None:
    """By the key, and never again."""
    together, numbers = SideBySide(single(1), single(2)), iter(range(5))
    assert [together.common(key, lambda: next(numbers)) for key in ("graph", "other", "graph")] == [0, 1, 0]
    assert [single(1).common("graph", lambda: next(numbers)) for _ in range(2)] == [2, 3]


def test_a_member_that_ends_does_not_disturb_the_others(tmp_path: Path) -> None:
    members = [
        member(tmp_path / "diverges", 1, rate=1e30),
        member(tmp_path / "stops", 2, early_stopping=EarlyStopping(1, "val/loss", min_delta=1e9)),
        member(tmp_path / "finishes", 3),
    ]
    fit(SideBySide(single(1), single(2), single(3)), members, Position(plan(5)))
    assert [m.status for m in members] == ["diverged", "stopped", "finished"]
    assert [len(m.history) for m in members] == [0, 2, 5]
    alone = member(tmp_path / "alone", 3)
    fit(single(3), [alone], Position(plan(5)))
    assert without_clock(alone.history) == without_clock(members[2].history)
    saved = [m.folder.load(m.folder.last)["position"]["epoch"] for m in members]
    assert saved == [0, 2, 5], "a member's last checkpoint is from when it ended"


def test_every_example_is_used_once_per_epoch(tmp_path: Path) -> None:
    program, taken = single(1), []
    real = program.step

    def step(index: Tensor, rates: Sequence[float]) -> Measurements:
        taken.append(index[0])
        return real(index, rates)

    program.step = step  # type: ignore[method-assign]
    fit(program, [member(tmp_path, 1)], Position(plan(2)))
    assert [len(index) for index in taken] == [16, 16, 16, 2] * 2
    first, second = torch.cat(taken[:4]), torch.cat(taken[4:])
    assert torch.equal(first.sort().values, torch.arange(50))
    assert torch.equal(second.sort().values, torch.arange(50))
    assert not torch.equal(first, second)


def test_training_metrics_weigh_a_short_batch_by_its_size(tmp_path: Path) -> None:
    program, batches = single(1), []
    real = program.step

    def step(index: Tensor, rates: Sequence[float]) -> Measurements:
        measured = real(index, rates)
        batches.append((index.shape[1], measured.loss.item(), measured.score.item()))
        return measured

    program.step = step  # type: ignore[method-assign]
    runner = member(tmp_path, 1)
    fit(program, [runner], Position(plan(1)))
    (row,) = runner.history
    assert row["train/loss"] == pytest.approx(sum(n * loss for n, loss, _ in batches) / 50)
    assert row["train/accuracy"] == sum(correct for _, _, correct in batches) / 50


class Recorder(Observer):
    """Notes every call."""

    watches_updates = True

    def __init__(self, when: int) -> None:
        self.when = every(when)
        self.calls: list[tuple[str, float]] = []

    def before_update(self, step: int) -> None:
        self.calls.append(("before", step))
        self.weight = self.program.module(self.number).get_parameter("head.weight").detach().clone()

    def after_update(self, step: int) -> None:
        now = self.program.module(self.number).get_parameter("head.weight")
        assert not torch.equal(self.weight, now)
        assert now.grad is not None
        self.calls.append(("after", step))

    def epoch_end(self, row: dict[str, float]) -> None:
        self.calls.append(("epoch", row["epoch"]))

    def close(self) -> None:
        self.calls.append((f"close {self.member.status}", -1))


def test_observers_are_called_around_updates_and_at_their_times(tmp_path: Path) -> None:
    recorder = Recorder(when=2)
    fit(single(1), [member(tmp_path, 1, observers=[recorder])], Position(plan(4)))
    assert recorder.calls[:4] == [("before", 0), ("after", 1), ("before", 1), ("after", 2)]
    assert [call for call in recorder.calls if call[0] == "epoch"] == [("epoch", 2), ("epoch", 4)]
    assert len([call for call in recorder.calls if call[0] == "after"]) == 16
    assert recorder.calls[-1] == ("close finished", -1)


class Seldom(Recorder):
    """Is called around the second update of each epoch only."""

    def watched(self, first: int, last: int) -> Sequence[int]:
        return [step for step in range(first, last + 1) if step % 4 == 2]


def test_an_observer_is_called_around_the_updates_that_it_asks_for(tmp_path: Path) -> None:
    recorder = Seldom(when=1)
    fit(single(1), [member(tmp_path, 1, observers=[recorder])], Position(plan(2)))
    calls = [call for call in recorder.calls if call[0] in ("before", "after")]
    assert calls == [("before", 1), ("after", 2), ("before", 5), ("after", 6)]


class Curious(Observer):
    """Looks at everything that an observer may look at, at every update."""

    watches_updates = True

    def before_update(self, step: int) -> None:
        self.program.capture(self.number)

    def after_update(self, step: int) -> None:
        self.program.capture(self.number)
        self.program.evaluate("val", [self.number])
        self.program.probe(self.number)


def test_looking_inside_changes_nothing(tmp_path: Path) -> None:
    plain, watched = single(1), single(1)
    fit(plain, [member(tmp_path / "plain", 1)], Position(plan()))
    fit(watched, [member(tmp_path / "watched", 1, observers=[Curious()])], Position(plan()))
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name
    assert watched.model.training


def test_capture_agrees_with_a_plain_forward_and_backward() -> None:
    program = single(1)
    seen = program.capture(0)
    x, y = program.probe(0)
    model = single(1).model  # the same weights; batch statistics as in training
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(seen.gradients[name], parameter.grad)
    torch.testing.assert_close(seen.activations["head"], model(x))
    assert set(seen.activations) == {"features.hidden1.activation", "head"}
    assert all(p.grad is None for p in program.model.parameters()), "the model's own gradients are left alone"


def test_an_interruption_takes_effect_after_the_current_step(tmp_path: Path) -> None:
    runner, position = member(tmp_path, 1), Position(plan())
    fit(single(1), [runner], position, After(6))
    assert runner.status == "interrupted"
    assert 4 <= position.step <= 6


@pytest.mark.parametrize("looks", range(14))
def test_an_interrupted_run_resumes_to_the_same_bits_from_any_moment(tmp_path: Path, looks: int) -> None:
    assert_resumes_to_the_same_bits(tmp_path, looks, plan(3))


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "stops"),
    [
        ([3, 2, 1], 1, 0, False),
        ([3, 2, 2], 1, 0, True),
        ([3, 2, 2], 2, 0, False),
        ([3, 2, 2.5, 2.1], 2, 0, True),
        ([3, 2, 2.5, 1.9], 2, 0, False),
        ([3, 2.9, 2.8], 2, 0.5, True),
        ([3, 2.7, 2.4], 2, 0.5, False),
    ],
)
def test_early_stopping(losses: list[float], patience: int, min_delta: float, stops: bool) -> None:
    falling = EarlyStopping(patience, "val/loss", min_delta)
    assert falling.applies([{"val/loss": loss} for loss in losses]) is stops
    rising = EarlyStopping(patience, "val/accuracy", min_delta)
    assert rising.applies([{"val/accuracy": -loss} for loss in losses]) is stops


def test_of_equal_accuracies_the_lower_validation_loss_is_better() -> None:
    measured = [(0, 0.9), (1, 0.4), (1, 0.2), (1, 0.3), (1, 0.2), (0, 0.1)]
    rows = [{"epoch": e, "val/accuracy": a, "val/loss": loss} for e, (a, loss) in enumerate(measured)]
    assert best_row(rows, "val/accuracy") is rows[2]
    trained = [{"epoch": e, "train/accuracy": 1.0, "train/loss": -e, "val/loss": 2 - e % 2} for e in range(4)]
    assert best_row(trained, "train/accuracy") is trained[1]
    without = [{k: v for k, v in row.items() if k != "val/loss"} for row in trained]
    assert best_row(without, "train/accuracy") is without[3], "without a validation split, by its own split's loss"


@pytest.mark.parametrize(("min_delta", "stops"), [(0.0, False), (0.01, True)])
def test_early_stopping_waits_while_the_loss_of_equal_accuracies_falls(min_delta: float, stops: bool) -> None:
    rows = [{"val/accuracy": 1.0, "val/loss": 0.5 - e / 10} for e in range(4)]
    assert EarlyStopping(2, "val/accuracy", min_delta).applies(rows) is stops
    assert EarlyStopping(2, "val/accuracy").applies([*rows, *[{"val/accuracy": 1.0, "val/loss": 0.3}] * 2]) is True


def test_best_is_the_first_of_equals() -> None:
    rows = [{"epoch": e, "val/accuracy": a, "val/loss": -a} for e, a in enumerate([0.1, 0.5, 0.5, 0.2])]
    assert best_row(rows, "val/accuracy") is rows[1]
    assert best_row(rows, "val/loss") is rows[1]
    assert best_row(rows, "train/loss") is rows[3], "not measured: the last"
    assert best_row([], "val/loss") is None


@pytest.mark.parametrize(
    ("examples", "size", "drop", "steps"), [(50, 16, False, 4), (50, 16, True, 3), (48, 16, True, 3), (1, 5, False, 1)]
)
def test_steps_per_epoch(examples: int, size: int, drop: bool, steps: int) -> None:
    assert Plan(1, size, examples, drop, False).steps_per_epoch == steps


def test_a_validation_loss_that_is_not_finite_is_divergence(tmp_path: Path) -> None:
    program = single(1)
    program.splits["val"].x[3] = math.inf
    runner = member(tmp_path, 1)
    fit(program, [runner], Position(plan()))
    assert (runner.status, runner.diverged_at, runner.history) == ("diverged", 4, [])
