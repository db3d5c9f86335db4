"""Stacks in half precision: each member agrees with its own run, and has a scale of its own."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from experiments import assembly
from experiments.assembly.run import assembled
from experiments.common.screen import Screen
from experiments.folders.run import RunFolder
from experiments.training.single import Single
from experiments.training.stack import Stack, signature
from experiments.training.streams import global_state
from tests.helpers import composed

CPU = torch.device("cpu")
RULES = ("sgd", "momentum", "adam", "adagrad", "nadam", "radam", "adamax", "rmsprop", "adadelta")
SMALL = ("data.limit=96", "model.hidden=[12,8]", "training.device=cpu", "init=xavier")
RATE, BATCH, STEPS = 0.01, 24, 6
WEIGHTS = [f"{layer}.weight" for layer in ("features.hidden1.linear", "features.hidden2.linear", "head")]
HIGH, USUAL = 2.0**19, 2.0**8
"""A scale with which the first updates overflow, and one with which none does."""


def programs(folder: Path, precision: str, rules: Sequence[str], scales: Sequence[float]) -> list[Single]:
    """Return programs of untrained runs."""
    sources, found = assembly.Sources(), []
    for seed, (rule, scale) in enumerate(zip(rules, scales, strict=True)):
        config = composed(*SMALL, f"optimizer={rule}", f"seed={seed}", f"training.precision={precision}")
        settings = (assembly.general(config), assembly.training(config), CPU)
        program = assembled(config, *settings, RunFolder(folder), Screen(quiet=True), sources).program
        if program.scaler is not None:
            program.scaler.load_state_dict({**program.scaler.state_dict(), "scale": scale, "growth_interval": 3})
        found.append(program)
    return found


def indices(step: int) -> torch.Tensor:
    """Return the examples of a step."""
    return (torch.arange(BATCH) + step * BATCH) % 72


def stepped(runs: Sequence[Single], steps: Sequence[int]) -> None:
    """Train runs one by one."""
    for program in runs:
        for step in steps:
            program.step(indices(step)[None], [RATE])


def stacked(runs: Sequence[Single], steps: Sequence[int]) -> Stack:
    """Train runs as one program."""
    stack = Stack(runs, [global_state(CPU)] * len(runs))
    for step in steps:
        stack.step(indices(step).expand(len(runs), -1), [RATE] * len(runs))
    return stack


def flat(program: Single | Stack, member: int = 0) -> torch.Tensor:
    """Return the weights of a run as one vector."""
    return torch.cat([program.state_dict(member)["model"][name].flatten() for name in WEIGHTS])


def assert_near(start: Single, one: torch.Tensor, other: torch.Tensor) -> None:
    """Fail unless weights differ by less than a twentieth of the way that they moved."""
    assert (one - other).norm() < 0.05 * (one - flat(start)).norm()


def assert_same(starts: Sequence[Single], runs: Sequence[Single], stack: Stack) -> None:
    """Fail unless the members agree with the runs up to rounding."""
    for member, (start, program) in enumerate(zip(starts, runs, strict=True)):
        assert_near(start, flat(program), flat(stack, member))
        own, other = program.state_dict(0), stack.state_dict(member)
        assert own.get("scaler") == other.get("scaler")
        steps = [
            [float(state["step"]) for state in found["optimizer"]["state"].values() if "step" in state]
            for found in (own, other)
        ]
        assert steps[0] == steps[1]


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_members_agree_with_their_own_runs(tmp_path: Path, precision: str) -> None:
    rules = RULES if precision == "fp16" else RULES[:3]
    scales = [HIGH if number % 2 else USUAL for number in range(len(rules))]
    alone = programs(tmp_path, precision, rules, scales)
    stepped(alone, range(STEPS))
    stack = stacked(programs(tmp_path, precision, rules, scales), range(STEPS))
    assert_same(programs(tmp_path, precision, rules, scales), alone, stack)
    if precision == "fp16":
        found = [stack.state_dict(member)["scaler"]["scale"] for member in range(len(rules))]
        assert {scale == 4 * USUAL for scale in found[::2]} == {True}, found
        assert all(scale < HIGH for scale in found[1::2]), found
    for member, program in enumerate(alone):
        (own,), (other,) = program.evaluate("val"), stack.evaluate("val", [member])
        assert other["loss"] == pytest.approx(own["loss"], rel=0.02)


def test_a_member_continues_as_a_run_and_a_run_as_a_member(tmp_path: Path) -> None:
    rules, scales = ("adam", "momentum"), (HIGH, USUAL)
    alone = programs(tmp_path, "fp16", rules, scales)
    stepped(alone, range(3))
    stack = stacked(programs(tmp_path, "fp16", rules, scales), ())
    for member, program in enumerate(alone):
        stack.load_state_dict(member, program.state_dict(0))
    for step in range(3, STEPS):
        stack.step(indices(step).expand(2, -1), [RATE] * 2)
    back = programs(tmp_path, "fp16", rules, scales)
    for member, program in enumerate(back):
        program.load_state_dict(0, stack.state_dict(member))
    stepped(back, range(STEPS, STEPS + 2))
    stepped(alone, range(3, STEPS + 2))
    for start, one, other in zip(programs(tmp_path, "fp16", rules, scales), alone, back, strict=True):
        assert_near(start, flat(one), flat(other))


def test_runs_of_different_precision_share_no_stack(tmp_path: Path) -> None:
    one, other = (programs(tmp_path, precision, ("adam",), (USUAL,))[0] for precision in ("fp32", "bf16"))
    assert signature(one) != signature(other)
