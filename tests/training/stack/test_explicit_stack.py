"""Steps of stacks without autograd: the same numbers as the ordinary stack's, up to rounding."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments import assembly
from experiments.assembly.run import assembled
from experiments.common.screen import Screen
from experiments.folders.run import RunFolder
from experiments.models.blocks import Dropout, use_noise
from experiments.models.draws import Draws
from experiments.models.mlp import MLP
from experiments.optimizers.fused import KERNELS
from experiments.penalties import L2
from experiments.sweeps._paying import needs_autograd
from experiments.training.criterion import Criterion
from experiments.training.explicit import Explicit
from experiments.training.single import Single
from experiments.training.stack import Stack, stack_of
from experiments.training.stack._explicit import ExplicitStack, suits
from experiments.training.stack._parts import parts
from experiments.training.stack._updates import FusedPart, Part
from experiments.training.stack._weights import Weights
from tests.helpers import SMALL, composed, sampled
from tests.stacks import QUIET, together
from tests.training.chains import ACTIVATIONS, CRITERIA, MODELS, OPTIMIZERS, program_of

TOGETHER = ("sgd", "momentum", "decay", "adagrad", "adam", "adamw", "rmsprop")
"""The optimizers of the members, those with the same rule next to each other."""
MLPS = [name for name in MODELS if not name.startswith("cnn")]
CASES = [
    *itertools.product(MLPS, ["relu", "tanh"], ["cross-entropy"]),
    *itertools.product(["mlp"], ACTIVATIONS, ["smoothed"]),
    *itertools.product(["batch", "layer"], ["gelu"], CRITERIA),
]


def members(case: Sequence[str], dtype: torch.dtype) -> list[Single]:
    """Runs that differ in their optimizer, their weights and their draws.

    RMSprop is left out in float32: it divides gradients by their size, and so makes the rounding of those that are
    nearly 0 as large as an update.
    """
    model, activation, criterion = case
    programs = []
    for seed, name in enumerate(TOGETHER if dtype == torch.float64 else TOGETHER[:-1]):
        program = program_of(Explicit, MODELS[model](activation), OPTIMIZERS[name], CRITERIA[criterion](), dtype)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in program.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw).to(dtype), alpha=0.05)
        program.noise = Draws(seed)
        use_noise(program.model, program.noise)
        programs.append(program)
    return programs


def go(stack: Stack, steps: int, first: int = 0) -> list[Tensor]:
    """Run some updates of the active members, with batches of two sizes; return all measurements."""
    found: list[Tensor] = []
    for step in range(first, first + steps):
        index = torch.stack([torch.arange(step + k, step + k + 16 + step % 2) % 45 for k in stack.active])
        measured = stack.step(index, [0.005 * (1 + k) / (1 + step) for k in stack.active])
        found += [measured.loss, measured.score]
    return found


def assert_near(one: Tensor, other: Tensor, dtype: torch.dtype) -> None:
    """The rows of two matrices are equal up to rounding."""
    allowed = 1e-12 if dtype == torch.float64 else 1e-6
    assert float(((one - other).norm(dim=1) / one.norm(dim=1)).max()) < allowed


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", sampled(CASES, CASES[::5]), ids="-".join)
def test_200_steps_are_those_of_the_ordinary_stack(case: tuple[str, ...], dtype: torch.dtype) -> None:
    programs = [members(case, dtype) for _ in range(2)]
    generators: list[dict[str, Any]] = [{} for _ in programs[0]]
    ordinary, explicit = Stack(programs[0], generators), stack_of(programs[1], generators)
    assert isinstance(explicit, ExplicitStack)
    measured = [go(stack, 200) for stack in (ordinary, explicit)]
    assert_near(ordinary.weights.flat, explicit.weights.flat, dtype)
    for one, other in zip(*measured, strict=True):
        assert torch.allclose(one.double(), other.double(), rtol=1e-9 if dtype == torch.float64 else 1e-3, atol=1e-5)
    for name, buffer in ordinary.weights.buffers.items():
        assert torch.allclose(buffer, explicit.weights.buffers[name], rtol=1e-5), name
    for one, other in zip(*programs, strict=True):
        assert one.noise.update == other.noise.update == 200


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize(
    "case", [("batch", "tanh", "cross-entropy"), ("layer", "gelu", "hinge, bounded")], ids="-".join
)
def test_evaluations_and_looks_inside_are_those_of_the_ordinary_stack(case: tuple[str, ...], brief: bool) -> None:
    programs = [members(case, torch.float64) for _ in range(2)]
    generators: list[dict[str, Any]] = [{} for _ in TOGETHER]
    ordinary, explicit = Stack(programs[0], generators), stack_of(programs[1], generators)
    for stack in (ordinary, explicit):
        go(stack, 5)
    used = explicit.weights.gradient.clone()
    for member in (0, 3):
        one, other = (vars(stack.capture(member, brief=brief)) for stack in (ordinary, explicit))
        for name, value in one.items():
            leaves, others = (torch.utils._pytree.tree_leaves(v) for v in (value, other[name]))
            assert value is None or isinstance(value, Tensor) or list(value) == list(other[name]), name
            assert len(leaves) == len(others)
            for a, b in zip(leaves, others, strict=True):
                assert torch.allclose(a, b, rtol=1e-9, atol=1e-12), name
    assert torch.equal(used, explicit.weights.gradient), "the gradient of the last update is that of the observers"
    for one, other in zip(*(stack.evaluate("val", [1, 2, 5]) for stack in (ordinary, explicit)), strict=True):
        assert one == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize("case", [("batch", "relu", "cross-entropy"), ("layer", "tanh", "weighted")], ids="-".join)
def test_a_step_is_that_of_the_lone_runs(case: tuple[str, ...]) -> None:
    alone, together = members(case, torch.float64), members(case, torch.float64)
    stack = stack_of(together, [{} for _ in together])
    go(stack, 7)
    for row, program in enumerate(alone):
        for step in range(7):
            index = torch.arange(step + row, step + row + 16 + step % 2) % 45
            program.step(index[None], [0.005 * (1 + row) / (1 + step)])
        mine, theirs = program.state_dict(0), stack.state_dict(row)
        for one, other in zip(*(torch.utils._pytree.tree_leaves(s["model"]) for s in (mine, theirs)), strict=True):
            assert torch.allclose(one.double(), other.double(), rtol=1e-11, atol=1e-13)


def test_members_that_leave_and_batches_that_are_divided() -> None:
    programs = [members(("batch", "relu", "smoothed"), torch.float64) for _ in range(2)]
    generators: list[dict[str, Any]] = [{} for _ in TOGETHER]
    ordinary, explicit = Stack(programs[0], generators), stack_of(programs[1], generators)
    for stack in (ordinary, explicit):
        go(stack, 3)
        stack.keep([1, 3, 4, 6])
        go(stack, 3, first=3)
        stack.micro_batch = 7
        go(stack, 3, first=6)
    assert_near(ordinary.weights.flat, explicit.weights.flat, torch.float64)


def test_rows_with_the_same_settings_are_updated_by_one_call() -> None:
    def part_of(lrs: Sequence[float], decay: float = 0.0) -> tuple[FusedPart, Weights]:
        programs, splits = [], program_of(Single, MODELS["linear"]("relu")).splits
        for lr in lrs:
            model = MLP((4,), 3, hidden=[5])
            groups: list[dict[str, Any]] = [{"params": own.parameters()} for own in (model.features, model.head)]
            groups[1]["weight_decay"] = 0.0
            optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=decay)
            programs.append(Single(model, optimizer, splits, eval_batch_size=2))
        weights = Weights(programs)
        (part,) = parts(programs, weights)
        assert isinstance(part, FusedPart)
        weights.gradient.normal_(generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for _ in range(3):
                part.update(torch.tensor(lrs).unsqueeze(1), lrs)
        return part, weights

    def shapes(part: FusedPart) -> list[list[tuple[int, ...]]]:
        return [[tuple(tensor.shape) for tensor in call.weights] for call in part.calls]

    whole = 4 * 5 + 5 + 5 * 3 + 3
    assert shapes(part_of([0.1] * 3)[0]) == [[(3, whole)]]
    assert shapes(part_of([0.1, 0.1, 0.2, 0.1])[0]) == [[(2, whole), (1, whole)], [(1, whole)]]
    assert shapes(part_of([0.1, 0.1], decay=0.5)[0]) == [[(1, 25), (1, 25)], [(1, 18), (1, 18)]]


def test_a_fused_kernel_gives_the_numbers_of_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for kernels in (KERNELS, {}):
        monkeypatch.setattr("experiments.training.stack._parts.KERNELS", kernels)
        stack = Stack(members(("mlp", "relu", "cross-entropy"), torch.float64), [{} for _ in TOGETHER])
        assert {type(part) for part in stack.parts} == ({Part, FusedPart} if kernels else {Part})
        go(stack, 50)
        found.append(stack.weights.flat)
    assert_near(found[0], found[1], torch.float64)


def test_other_models_and_penalties_are_left_to_the_ordinary_stack() -> None:
    def stack(kind: type[Single], model: str, criterion: Criterion | None = None) -> Stack:
        programs = [program_of(kind, MODELS[model]("relu"), criterion=criterion) for _ in range(2)]
        return stack_of(programs, [{}, {}])

    assert type(stack(Explicit, "batch")) is ExplicitStack
    assert type(stack(Explicit, "cnn")) is Stack
    assert type(stack(Single, "mlp", Criterion(penalty=L2()))) is Stack


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("model.norm=layer", "model.dropout=0.2", "model.activation=leaky_relu"),
        ("penalty=max_norm", "loss=hinge", "data.balance=class_weights"),
        ("penalty=l1",),
        ("model.norm=rms",),
        ("model.hidden=[8,8]", "model.residual=true"),
        ("model.activation=mish",),
        ("freeze=[features]",),
        ("training.precision=fp64",),
    ],
    ids=" ".join,
)
def test_the_plan_of_a_sweep_knows_which_stacks_need_autograd(tmp_path: Path, words: tuple[str, ...]) -> None:
    config = composed(*SMALL, *words)
    settings = (assembly.general(config), assembly.training(config), torch.device("cpu"))
    program = assembled(config, *settings, RunFolder(tmp_path), Screen(quiet=True)).program
    assert suits([program]) is not needs_autograd(config)


def test_the_log_of_each_run_shows_how_its_stack_is_trained(tmp_path: Path) -> None:
    for words, expected in ((["model.hidden=[5]"], True), (["model.hidden=[5]", "penalty=l2"], False)):
        folders, _ = together(
            tmp_path / words[-1], [[*words, *QUIET, "training.epochs=1", f"seed={k}"] for k in (1, 2)]
        )
        for folder in folders:
            assert (ExplicitStack.note in (folder / "train.log").read_text()) is expected


def test_masks_are_those_of_the_lone_runs_to_the_bit() -> None:
    programs = members(("batch", "relu", "cross-entropy"), torch.float32)
    stack = stack_of(programs, [{} for _ in programs])
    lone = members(("batch", "relu", "cross-entropy"), torch.float32)
    for update, batch in ((0, 32), (1, 13), (2, 32), (700, 32)):
        masks = stack.forward.drawn(update, batch, torch.float32)
        assert masks
        for k, program in enumerate(lone):
            program.noise.update = update
            for name, mask in masks.items():
                program.noise.begin(batch)
                layer = program.model.get_submodule(name.removesuffix(".mask"))
                assert isinstance(layer, Dropout)
                drawn = layer.factors(mask[k])
                assert drawn is not None
                assert torch.equal(drawn, mask[k])
