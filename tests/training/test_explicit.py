"""Steps without autograd: the same bits as the ordinary program, of weights, states, measurements and random draws."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.data.augment import Mixup
from experiments.models.blocks import use_noise
from experiments.models.draws import Draws
from experiments.models.mlp import MLP
from experiments.penalties import L2
from experiments.training.criterion import Criterion
from experiments.training.explicit import Explicit, suits
from experiments.training.single import Single, Updating
from tests.helpers import SMALL, Commands, sampled
from tests.training.chains import ACTIVATIONS, CPU, CRITERIA, MODELS, OPTIMIZERS, program_of

UPDATES: tuple[dict[str, Any], ...] = ({}, {"clip_norm": 0.5}, {"clip_value": 0.01}, {"ema": 0.9}, {"micro_batch": 10})


def go(program: Single, steps: int, first: int = 0) -> list[Tensor]:
    """Run some updates, with batches of two sizes; return all measurements."""
    return [
        value
        for step in range(first, first + steps)
        for value in program.step(torch.arange(step, step + 16 + step % 2)[None] % 45, [0.02 / (1 + step)])[:2]
        if value is not None
    ]


def leaves(program: Single) -> list[Tensor]:
    """Everything that a checkpoint has, and the gradients."""
    state = torch.utils._pytree.tree_leaves(program.state_dict(0))
    return [leaf for leaf in [*state, *program.gradients(0).values()] if isinstance(leaf, Tensor)]


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    """Two lists are the same to the bit."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


CASES = [
    *itertools.product(MODELS, ["relu"], ["cross-entropy"], OPTIMIZERS),
    *itertools.product(["mlp", "batch", "cnn"], ACTIVATIONS, ["cross-entropy"], ["momentum"]),
    *itertools.product(["layer", "cnn batch"], ["tanh"], CRITERIA, ["adamw"]),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", sampled(CASES, CASES[::5]), ids="-".join)
def test_a_step_is_the_same_to_the_bit(case: tuple[str, ...], dtype: torch.dtype) -> None:
    model, activation, criterion, optimizer = case
    programs = [
        program_of(kind, MODELS[model](activation), OPTIMIZERS[optimizer], CRITERIA[criterion](), dtype)
        for kind in (Single, Explicit)
    ]
    assert_same(*(go(program, 7) for program in programs))
    assert_same(*map(leaves, programs))
    assert programs[0].evaluate("val") == programs[1].evaluate("val")
    assert [program.noise.update for program in programs] == [7, 7]


@pytest.mark.parametrize("updating", sampled(UPDATES, UPDATES[:2]), ids=str)
def test_200_steps_are_the_same_to_the_bit_however_they_are_computed(updating: dict[str, Any]) -> None:
    programs = [program_of(kind, MODELS["batch"]("relu"), **updating) for kind in (Single, Explicit)]
    assert_same(*(go(program, 200) for program in programs))
    assert_same(*map(leaves, programs))


def test_mixed_examples_are_the_same_to_the_bit() -> None:
    programs = [program_of(kind, MODELS["mlp"]("relu"), augments=[Mixup(3)]) for kind in (Single, Explicit)]
    assert_same(*(go(program, 5) for program in programs))
    assert_same(*map(leaves, programs))


@pytest.mark.parametrize("kinds", [(Single, Explicit), (Explicit, Single)])
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "adagrad"])
def test_each_program_continues_the_checkpoint_of_the_other(kinds: tuple[type[Single], ...], optimizer: str) -> None:
    first, second = kinds
    whole = program_of(first, MODELS["batch"]("relu"), OPTIMIZERS[optimizer])
    go(whole, 6)
    start = program_of(first, MODELS["batch"]("relu"), OPTIMIZERS[optimizer])
    go(start, 3)
    rest = program_of(second, MODELS["batch"]("relu"), OPTIMIZERS[optimizer])
    go(rest, 2)  # other states, which the checkpoint replaces
    rest.load_state_dict(0, start.state_dict(0))
    rest.noise.update = start.noise.update
    go(rest, 3, first=3)
    assert_same(leaves(whole), leaves(rest))


def test_hooks_of_layers_are_called_and_change_the_gradients() -> None:
    def double(_layer: nn.Module, inputs: Any, _outputs: Any) -> Any:
        return (inputs[0] * 2,)

    programs = [program_of(kind, MODELS["mlp"]("relu")) for kind in (Single, Explicit)]
    for program in programs:
        go(program, 1)
        hook = program.model.get_submodule("head").register_full_backward_hook(double)
        go(program, 2, first=1)
        hook.remove()
        go(program, 2, first=3)
    assert_same(*map(leaves, programs))


def test_what_a_chain_of_layers_cannot_express_is_left_to_the_ordinary_program() -> None:
    class Own(MLP):
        """A model of the user, which may do anything in `forward`."""

    def suited(model: nn.Module, criterion: Criterion | None = None, *, thaws: bool = False, **updating: Any) -> bool:
        use_noise(model, Draws(0))
        return suits(model, criterion or Criterion(), Updating(**updating), CPU, thaws=thaws)

    assert suited(MLP((5,), 3, hidden=[4], dropout=0.1))
    assert not suited(Own((5,), 3, hidden=[4]))
    assert not suited(MLP((5,), 3, hidden=[5], residual=True))
    assert not suited(MLP((5,), 3, hidden=[4], norm="rms"))
    assert not suited(MLP((5,), 3, hidden=[4], activation="prelu"))
    assert not suited(MLP((5,), 3, hidden=[4]), Criterion(penalty=L2()))
    assert not suited(MLP((5,), 3, hidden=[4]), Criterion(lambda scores, _targets, **_: scores.mul_(2).mean()))
    assert not suited(MLP((5,), 3, hidden=[4]), precision="bf16")
    assert not suited(MLP((5,), 3, hidden=[4]), compiled="default")
    assert not suited(MLP((5,), 3, hidden=[4]), channels_last=True)
    assert not suited(MLP((5,), 3, hidden=[4]), thaws=True)
    frozen = MLP((5,), 3, hidden=[4])
    frozen.head.requires_grad_(False)
    assert not suited(frozen)
    hooked = MLP((5,), 3, hidden=[4])
    hooked.head.register_forward_hook(lambda *_: None)
    assert not suited(hooked)
    assert not suits(MLP((5,), 3, hidden=[4]), Criterion(), Updating(), torch.device("cuda"), thaws=False)
    unseeded = MLP((5,), 3, hidden=[4], dropout=0.5)  # its draws are torch's own
    assert not suits(unseeded, Criterion(), Updating(), CPU, thaws=False)


def test_the_log_shows_which_runs_are_trained_without_autograd(commands: Commands) -> None:
    for words, expected in (([], True), (["penalty=l2"], False)):
        folder = commands.trained(*SMALL, *words)
        assert (Explicit.note in (folder / "train.log").read_text()) is expected
