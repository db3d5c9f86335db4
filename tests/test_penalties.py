"""Penalties: the term, what it does to an update, and where it is written down."""

import pytest
import torch

from experiments.penalties import L1, L2, MaxNorm
from tests.helpers import SMALL, Commands, metrics, weights

ONE_STEP = (*SMALL, "training.epochs=1", "training.batch_size=96", "optimizer=sgd", "optimizer.lr=0.1")


def tensors() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = ((4, 3), (5, 2, 3, 3))
    return [torch.randn(*s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]


def test_terms_and_their_gradients() -> None:
    given = tensors()
    flat = torch.cat([t.detach().flatten() for t in given])
    for penalty, value, slope in (
        (L1(0.3), 0.3 * flat.abs().sum(), lambda t: 0.3 * t.sign()),
        (L2(0.3), 0.15 * (flat**2).sum(), lambda t: 0.3 * t),
    ):
        term = penalty.term(given)
        torch.testing.assert_close(term.detach(), value)
        for gradient, t in zip(torch.autograd.grad(term, given), given, strict=True):
            torch.testing.assert_close(gradient, slope(t.detach()))


@pytest.mark.slow
def test_l2_is_weight_decay_for_sgd_and_not_for_adam(commands: Commands) -> None:
    for optimizer, same in (("momentum", True), ("adam", False)):
        choices = (*SMALL, f"optimizer={optimizer}", "optimizer.lr=0.01", "training.epochs=3")
        added = weights(commands.trained(*choices, "penalty=l2", "penalty.strength=0.1"))
        kind = ["optimizer=adamw"] if optimizer == "adam" else []
        decayed = weights(commands.trained(*choices, *kind, "optimizer.weight_decay=0.1", "model.batch_norm=false"))
        plain = weights(commands.trained(*choices))
        apart = max((added[name] - decayed[name]).abs().max().item() for name in added)
        effect = max((added[name] - plain[name]).abs().max().item() for name in added)
        assert (apart < 1e-3 * effect) == same
        assert effect > 1e-3


@pytest.mark.slow
def test_the_penalty_is_logged_separately_from_the_loss(commands: Commands) -> None:
    start = weights(commands.trained(*ONE_STEP, "training.epochs=0"))
    penalized = commands.trained(*ONE_STEP, "penalty=l2", "penalty.strength=0.5")
    plain = commands.trained(*ONE_STEP)
    (row,), (other,) = metrics(penalized), metrics(plain)
    expected = 0.25 * sum((w**2).sum().item() for name, w in start.items() if name.endswith("weight"))
    assert float(row["train/penalty"]) == pytest.approx(expected, rel=1e-5)
    assert row["train/loss"] == other["train/loss"]
    assert "train/penalty" not in other
    moved, without = weights(penalized), weights(plain)
    for name in start:
        difference = without[name] - moved[name]
        wanted = 0.1 * 0.5 * start[name] if name.endswith("weight") else torch.zeros_like(difference)
        torch.testing.assert_close(difference, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_norms_and_biases_are_not_penalized(commands: Commands) -> None:
    choices = (*ONE_STEP, "model.batch_norm=true", "optimizer.lr=0.5", "init.bias=0.3")
    penalized, plain = (
        weights(commands.trained(*choices, "penalty=l1", "penalty.strength=0.1")),
        weights(commands.trained(*choices)),
    )
    for name in plain:
        changed = not torch.equal(penalized[name], plain[name])
        assert changed == (name.endswith("weight") and "norm" not in name), name


def test_max_norm_binds_each_unit_and_no_shorter_one() -> None:
    given = [t.detach() for t in tensors()]
    before = [t.clone() for t in given]
    MaxNorm(1.5).bound(given)
    for now, then in zip(given, before, strict=True):
        long = then.flatten(1).norm(dim=1) > 1.5
        assert long.any()
        torch.testing.assert_close(
            now.flatten(1).norm(dim=1)[long], torch.full_like(now[:, 0].flatten()[: long.sum()], 1.5), rtol=1e-5, atol=0
        )
        assert torch.equal(now[~long], then[~long])
    short = [t / 100 for t in before]
    MaxNorm(1.5).bound(given := [t.clone() for t in short])
    assert all(torch.equal(a, b) for a, b in zip(given, short, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_max_norm_holds_to_the_end_of_training(commands: Commands, model: str) -> None:
    choices = ("data.limit=96", f"model={model}", "training.epochs=2", "optimizer.lr=0.1")
    found = weights(commands.trained(*choices, "penalty=max_norm", "penalty.limit=0.5"))
    for name, weight in found.items():
        if name.endswith("weight"):
            assert weight.flatten(1).norm(dim=1).max() <= 0.5 + 1e-5, name
    free = weights(commands.trained(*choices))
    assert any(w.flatten(1).norm(dim=1).max() > 0.6 for name, w in free.items() if name.endswith("weight"))
