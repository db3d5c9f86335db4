"""Normalizations, residual layers, poolings, strides and depthwise convolutions of our models."""

from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from experiments.assembly import _needs
from experiments.models import sizes
from experiments.models.blocks import Residual
from experiments.models.cnn import CNN
from experiments.models.mlp import MLP
from experiments.models.norms import ChannelRMSNorm
from tests.helpers import SMALL, Commands, run_folders, summary, weights

NORMS = ("none", "batch", "layer", "group", "rms")
OPTIONS: tuple[dict[str, Any], ...] = (
    {"kernel": [5, 3]},
    {"strides": [1, 2], "pool": "none"},
    {"strides": 2, "pool": "global"},
    {"depthwise": True},
    {"depthwise": True, "residual": True, "norm": "group", "stages": [[4, 4], [8, 8]]},
    {"pool": "mean"},
)


def numbers(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.state_dict().values())


@pytest.mark.parametrize("norm", NORMS)
def test_each_norm_is_in_every_hidden_layer_and_in_the_estimated_size(norm: Any) -> None:
    mlp, cnn = MLP((6,), 3, hidden=[8, 8], norm=norm), CNN((1, 8, 8), 3, stages=[[4], [8]], hidden=[8], norm=norm)
    assert sizes.mlp((6,), 3, hidden=[8, 8], norm=norm)["hidden"].numbers == numbers(mlp)
    parts = sizes.cnn((1, 8, 8), 3, stages=[[4], [8]], hidden=[8], norm=norm)
    assert _needs.whole(parts).numbers == numbers(cnn)
    if norm in ("layer", "group", "rms"):  # none of them mixes the examples
        x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        assert_allclose(cnn(x)[:2].detach(), cnn(x[:2]).detach(), rtol=1e-4, atol=1e-6)
    kinds = {type(module).__name__ for module in mlp.modules()}
    wanted = {"batch": "BatchNorm1d", "layer": "LayerNorm", "group": "GroupNorm", "rms": "RMSNorm"}
    assert kinds & set(wanted.values()) == ({wanted[norm]} if norm != "none" else set())


def test_batch_norm_is_short_for_a_norm() -> None:
    one, other = MLP((6,), 3, hidden=[8], batch_norm=True), MLP((6,), 3, hidden=[8], norm="batch")
    assert list(one.state_dict()) == list(other.state_dict())
    assert "features.hidden1.batch_norm.running_mean" in one.state_dict()


def test_the_norm_of_channels_divides_by_the_root_mean_square() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert_allclose(ChannelRMSNorm(3)(x).detach(), nn.functional.rms_norm(x, (3, 4, 5)), rtol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_estimated_size_is_that_of_the_model(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"stages": [[4], [8]], "hidden": [8], **options}
    built = CNN((1, 9, 9), 3, **given)
    estimated = {name: value for name, value in given.items() if name != "residual"}
    assert _needs.whole(sizes.cnn((1, 9, 9), 3, **estimated)).numbers == numbers(built)
    assert built(torch.zeros(2, 1, 9, 9)).shape == (2, 3)


def test_a_residual_layer_is_added_to_its_input() -> None:
    model = MLP((6,), 3, hidden=[6, 8, 8], residual=True)
    kinds = [type(part) is Residual for part in model.features if isinstance(part, nn.Sequential)]
    assert kinds == [True, False, True]
    x, first = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)), model.features[1]
    assert isinstance(first, Residual)
    part = nn.Sequential(*first.children())
    assert_allclose(first(x).detach(), (x + part(x)).detach())


def assert_a_stack_agrees(commands: Commands, *words: str) -> None:
    """Train two runs as a stack and separately, and compare their weights.

    Adam's first steps have the size of the rate however small the gradient, so rounding may show in float32.
    """
    words = (*words, "init=he", "optimizer=adam")
    assert commands.train("-m", *words, "seed=0,1").code == 0
    for folder in run_folders(commands.folder):
        assert torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["program"]["stacked"]
        alone = commands.trained(*words, f"seed={summary(folder)['seed']}")
        for name, value in weights(alone).items():
            assert_allclose(weights(folder)[name], value, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("model.norm=layer",), ("model.norm=rms", "model.residual=true")])
def test_a_stack_agrees_with_separate_runs(commands: Commands, words: tuple[str, ...]) -> None:
    assert_a_stack_agrees(commands, *SMALL, "model.hidden=[16,16]", *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "model.norm=rms model.depthwise=true model.pool=global",
        "model.strides=[1,2] model.kernel=[5,3] model.pool=none model.norm=group",
        "model.residual=true model.stages=[[8,8]] model.norm=layer",
    ],
)
def test_a_stack_of_convolutional_networks_agrees_with_separate_runs(commands: Commands, words: str) -> None:
    assert_a_stack_agrees(commands, *SMALL, "model=cnn", "model.stages=[[8],[8]]", *words.split(" "))


@pytest.mark.slow
def test_the_checks_know_depthwise_convolutions(commands: Commands) -> None:
    words = (
        "data.limit=400",
        "model=cnn",
        "model.depthwise=true",
        "model.norm=group",
        "only=[gradient,symmetry,signal]",
    )
    assert commands.type("check", *words, "only=[gradient,symmetry,signal]").code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("model.norm=layer model.batch_norm=true", "model.norm=layer cannot be combined with batch_norm=true"),
        ("model.norm=group model.groups=7", "model.groups=7 does not divide a layer of 12"),
        ("model.hidden=[8,9] model.residual=true", "model.residual=true adds nothing: no layer has outputs"),
        ("model=cnn model.kernel=[3]", "model.kernel=[3] has 1 numbers for 2 stages; give one for each"),
        ("model=cnn model.strides=[1,2,3]", "model.strides=[1, 2, 3] has 3 numbers for 2 stages"),
        ("model=cnn model.kernel=[3,4]", "model.kernel=4 is even; use an odd number such as 5"),
        ("model=cnn model.pool=median", "model.pool='median' should be 'max', 'average', 'mean', 'global' or 'none'"),
    ],
)
def test_refusals(commands: Commands, words: str, sentence: str) -> None:
    assert sentence in commands.train(*SMALL, *words.split(" ")).refusal()


def test_a_run_of_an_earlier_version_is_resumed(commands: Commands) -> None:
    folder = commands.trained(*SMALL)
    path = folder / ".hydra" / "config.yaml"
    lines = path.read_text().splitlines()
    added = [line for line in lines if line.strip().partition(":")[0] in ("norm", "groups", "residual")]
    assert len(added) == 3
    path.write_text("\n".join(line for line in lines if line not in added) + "\n")
    refused = commands.train(f"resume={folder}", "training.epochs=3", "model.norm=layer").refusal()
    assert "resume cannot change model.norm (absent -> layer)" in refused
    assert commands.train(f"resume={folder}", "training.epochs=3").code == 0
    assert summary(folder)["epochs"] == 3
