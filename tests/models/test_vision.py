"""The models of torchvision: built for the data's channels and classes, begun with torchvision's weights, trained."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from experiments import assembly, initializers
from experiments.models.blocks import Dropout
from experiments.models.vision import torchvision_model
from experiments.training.streams import Streams
from tests.helpers import Commands, assert_equal_weights, composed, metrics, summary, weights

SMALLEST = "shufflenet_v2_x0_5"
WEIGHTS = models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
TINY = (
    *("model=torchvision", f"model.name={SMALLEST}", "data.limit=24", "training.epochs=2"),
    *("observers.tensorboard.enabled=false", "observers.pictures.enabled=false"),
)


def built(name: str, channels: int = 3, side: int = 32, **settings: Any) -> nn.Module:
    return torchvision_model((channels, side, side), 7, name=name, **settings)


@pytest.mark.parametrize("name", [SMALLEST, "mobilenet_v3_small", "squeezenet1_1", "googlenet"])
def test_it_is_torchvisions_model_with_the_classes_of_the_data(name: str) -> None:
    model, reference = built(name), getattr(models, name)(num_classes=7, **ONE.get(name, {}))
    assert {n: p.shape for n, p in model.state_dict().items()} == {
        n: p.shape for n, p in reference.state_dict().items()
    }
    scores = model.train()(torch.zeros(2, 3, 32, 32))
    assert isinstance(scores, Tensor)
    assert scores.shape == (2, 7)
    assert all(isinstance(module, Dropout) for module in model.modules() if isinstance(module, nn.Dropout))


ONE = {"googlenet": {"aux_logits": False, "init_weights": False}}


def test_a_grey_picture_is_seen_as_three_equal_channels() -> None:
    grey, colour = built(SMALLEST, channels=1).eval(), built(SMALLEST).eval()
    colour.load_state_dict(grey.state_dict())
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(grey(x), colour(x.repeat(1, 3, 1, 1)))


def test_a_setting_of_the_builder_is_passed_on() -> None:
    model = built("mobilenet_v3_small", dropout=0.7)
    assert [module.p for module in model.modules() if isinstance(module, Dropout)] == [0.7]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Weights for 1,000 classes where torchvision would have put them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    state = models.get_model(SMALLEST, weights=None).state_dict()
    file = tmp_path / "torch" / "hub" / "checkpoints" / WEIGHTS.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    return state


@pytest.mark.slow
def test_torchvisions_weights_are_read_from_its_cache(commands: Commands, cached: dict[str, Tensor]) -> None:
    name = f"init_from={type(WEIGHTS).__name__}.{WEIGHTS.name}"
    folder = commands.trained(*TINY, name, "init_from.replace=[fc]", "training.epochs=0")
    for key, value in weights(folder).items():
        assert torch.equal(value, cached[key]) != key.startswith("fc."), key
    refused = commands.train(*TINY, name)
    assert (
        "fc.weight is 1000 x 1024 instead of 10 x 1024, fc.bias is 1000 instead of 10; init_from.replace=[fc]"
        in refused.err
    )


@pytest.mark.slow
def test_missing_weights_are_not_downloaded(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    outcome = commands.train(*TINY, "init_from=ResNet18_Weights.IMAGENET1K_V1")
    assert outcome.code == 2
    place = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert re.search(rf"is not on this machine, and nothing is downloaded; save https://\S+ as {place}$", outcome.err)


@pytest.mark.slow
def test_it_trains_reproducibly_and_resumes_to_the_same_bits(commands: Commands) -> None:
    """With Dropout; the classifier alone is trained at first."""
    choices = (*TINY, "model.name=mobilenet_v3_small", "freeze={features:1}")
    whole, half = commands.trained(*choices), commands.trained(*choices, "training.epochs=1")
    resumed = commands.train(f"resume={half}", "training.epochs=2")
    assert resumed.code == 0, resumed.err
    assert_equal_weights(weights(whole), weights(half))
    assert metrics(whole) == metrics(half)


@pytest.mark.slow
@pytest.mark.parametrize("init", ["own", "he", "lsuv"])
def test_initial_weights(init: str) -> None:
    config = composed("model=torchvision", f"model.name={SMALLEST}", f"init={init}")
    streams, place = Streams(0), torch.device("cpu")
    data = assembly.data(config, streams, place)
    torch.manual_seed(3)
    model, _, _ = assembly.model(config, data, streams, place)
    torch.manual_seed(3)
    reference = dict(built(SMALLEST, channels=1, side=8).named_parameters())
    first = model.get_submodule("conv1.0")
    kept = torch.equal(first.weight, reference["conv1.0.weight"])  # type: ignore[arg-type]
    assert kept == (init == "own")
    if init == "lsuv":
        assert isinstance(first, initializers.Weighted)
        out = initializers.layer_outputs(model.eval(), first, data.splits["train"].first(256)[0])
        assert out.var(correction=0).item() == pytest.approx(1, abs=0.051)


@pytest.mark.slow
def test_models_that_cannot_be_built_are_refused_in_one_sentence(commands: Commands) -> None:
    for word, said in (
        ("model.name=resnet81", "model.name='resnet81' is not a classification model of torchvision; choose from"),
        ("model.name=resnet81", "did you mean 'model.name=resnet18'?"),
        ("model.name=alexnet", "model cannot take an example of shape (1, 8, 8)"),
        ("model.name=vit_b_32", "Wrong image height! Expected 224 but got 8!"),
        ("+model.dropot=1", "cannot be built with {'dropot': 1}"),
        ("+model.weights=DEFAULT", "weights cannot be set here"),
        ("data=moons", "needs pictures"),
        ("data.preprocess=pca_whiten", "needs pictures"),
    ):
        error = commands.train("model=torchvision", f"model.name={SMALLEST}", word).refusal()
        assert said in error
    with pytest.raises(ValueError, match="1 or 3 channels, but these have 4"):
        built(SMALLEST, channels=4)


@pytest.mark.slow
def test_a_torchvision_run_can_be_evaluated(commands: Commands) -> None:
    folder = commands.trained(*TINY, "training.epochs=1")
    outcome = commands.type("evaluate", str(folder))
    assert outcome.code == 0, outcome.err
    assert summary(folder)["parameters"] < 400_000
