"""Models: the order inside a block, the shapes they take, activations by name, Dropout, and the layers' names."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.models.blocks import ACTIVATIONS, Dropout, activation, spelling, spellings, use_noise
from experiments.models.cnn import CNN
from experiments.models.draws import Draws
from experiments.models.layers import describe
from experiments.models.mlp import MLP
from experiments.training.inspection import Recorder

OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_norm": True},
    {"dropout": 0.5},
    {"batch_norm": True, "dropout": 0.5},
    {"input_dropout": 0.2},
    {"batch_norm": True, "dropout": 0.5, "input_dropout": 0.2, "activation": "prelu"},
]


def mlp(**options: Any) -> MLP:
    return MLP((1, 8, 8), 10, **{"hidden": [20, 15, 12], **options})


def cnn(**options: Any) -> CNN:
    return CNN((1, 8, 8), 10, **{"stages": [[4, 5], [6]], "hidden": [12, 11], **options})


MAKERS = [mlp, cnn]
PICTURES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def blocks(model: nn.Module) -> dict[str, nn.Sequential]:
    """The hidden layers, by name: `features.hidden1`, `features.stage1_1`, ..."""
    return {name: part for name, part in model.named_modules() if isinstance(part, nn.Sequential) and "." in name}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("options", "after"),
    [
        ({}, ["activation"]),
        ({"batch_norm": True}, ["batch_norm", "activation"]),
        ({"dropout": 0.5}, ["activation", "dropout"]),
        ({"batch_norm": True, "dropout": 0.5}, ["batch_norm", "activation", "dropout"]),
    ],
)
def test_order_inside_every_block(make: Any, options: dict[str, Any], after: list[str]) -> None:
    """Weights, BatchNorm, activation, Dropout, as built and as run; no bias where BatchNorm follows."""
    model = make(**options)
    found = blocks(model)
    assert len(found) == (3 if make is mlp else 5)
    for name, block in found.items():
        first = "conv" if "stage" in name else "linear"
        assert [child for child, _ in block.named_children()] == [first, *after]
        assert (block[0].bias is None) == ("batch_norm" in options)
    ran = [layer.name for layer in describe(model, PICTURES)[0]]
    expected = [f"{name}.{child}" for name, block in found.items() for child, _ in block.named_children()]
    assert [name for name in ran if name.rpartition(".")[0] in found] == expected


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("options", OPTIONS)
def test_the_head_is_linear_with_a_bias_and_nothing_after_it(make: Any, options: dict[str, Any]) -> None:
    model = make(**options)
    layers, scores = describe(model, PICTURES)
    assert type(model.head) is nn.Linear
    assert layers[-1].name == "head"
    assert scores.shape == (6, 10)
    features = model.eval().features(PICTURES)
    torch.testing.assert_close(scores, features @ model.head.weight.T + model.head.bias)


@pytest.mark.parametrize("make", MAKERS)
def test_the_input_is_not_normalised_and_dropped_only_if_configured(make: Any) -> None:
    weighted = "Linear" if make is mlp else "Conv2d"
    plain = [layer.kind for layer in describe(make(batch_norm=True, dropout=0.5), PICTURES)[0]]
    assert set(plain[: plain.index(weighted)]) <= {"Flatten"}
    dropped = [layer.name for layer in describe(make(input_dropout=0.2), PICTURES)[0]]
    assert [name for name in dropped if "dropout" in name] == ["features.input_dropout"]
    assert set(dropped[: dropped.index("features.input_dropout")]) <= {"features.flatten"}


def test_without_hidden_layers_it_is_softmax_regression() -> None:
    model = MLP((2, 3), 4, hidden=[], batch_norm=True, dropout=0.5)
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(model(x), x.reshape(5, 6) @ model.head.weight.T + model.head.bias)


def test_an_mlp_equals_one_written_by_hand() -> None:
    model = MLP((3,), 2, hidden=[5, 4], activation="tanh")
    state, x = model.state_dict(), torch.randn(7, 3)
    h = (x @ state["features.hidden1.linear.weight"].T + state["features.hidden1.linear.bias"]).tanh()
    h = (h @ state["features.hidden2.linear.weight"].T + state["features.hidden2.linear.bias"]).tanh()
    torch.testing.assert_close(model(x), h @ state["head.weight"].T + state["head.bias"])


def test_a_cnn_equals_one_written_by_hand() -> None:
    model = CNN((2, 6, 7), 3, stages=[[4]], hidden=[], kernel=5, pool="average", pool_size=3)
    state, x = model.state_dict(), torch.randn(5, 2, 6, 7)
    h = nn.functional.conv2d(
        x, state["features.stage1_1.conv.weight"], state["features.stage1_1.conv.bias"], padding=2
    ).relu()
    h = nn.functional.avg_pool2d(h, 3).reshape(5, 4 * 2 * 2)
    torch.testing.assert_close(model(x), h @ state["head.weight"].T + state["head.bias"])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2, 7, 9), (1, 4, 4), (5, 13, 4)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("pool", "shrink"), [("max", 4), ("average", 4), ("none", 1)])
def test_a_cnn_adapts_to_its_pictures(shape: tuple[int, int, int], kernel: int, pool: Any, shrink: int) -> None:
    model = CNN(shape, 10, stages=[[4], [6]], hidden=[8], kernel=kernel, pool=pool)
    layers, scores = describe(model, torch.randn(2, *shape))
    shapes = {layer.name: layer.output_shape for layer in layers}
    assert scores.shape == (2, 10)
    assert shapes["features.stage1_1.conv"] == (4, *shape[1:])  # the convolution keeps the size
    assert shapes["features.flatten"] == (6 * (shape[1] // shrink) * (shape[2] // shrink),)


@pytest.mark.parametrize("shape", [(10,), (1, 8, 8), (3, 5, 7)])
@pytest.mark.parametrize("hidden", [[], [4], [9, 3]])
def test_an_mlp_adapts_to_its_inputs(shape: tuple[int, ...], hidden: list[int]) -> None:
    model = MLP(shape, 6, hidden=hidden)
    sizes = [math.prod(shape), *hidden, 6]
    expected = sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert model(torch.randn(3, *shape)).shape == (3, 6)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((64,), {}, r"a CNN needs pictures, but an example has the shape \(64,\); use model=mlp"),
        ((8, 8), {}, r"a CNN needs pictures, but an example has the shape \(8, 8\)"),
        ((1, 8, 8), {"kernel": 4}, "kernel=4 is even; use an odd number such as 5"),
        ((1, 3, 8), {}, "stages has 2 pooling layers of size 2, too many for pictures of 3 x 8"),
        ((1, 8, 8), {"pool_size": 3}, "stages has 2 pooling layers of size 3, too many for pictures of 8 x 8"),
        ((1, 8, 8), {"activation": "rellu"}, "activation='rellu' is not an activation .* mean 'activation=relu'"),
    ],
)
def test_a_cnn_refuses(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CNN(shape, 10, **{"stages": [[4], [6]], "hidden": [8], **options})


def test_the_smallest_pictures_that_can_be_pooled_are_accepted() -> None:
    assert CNN((1, 9, 9), 2, stages=[[3], [3]], hidden=[], pool_size=3)(torch.randn(2, 1, 9, 9)).shape == (2, 2)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 5, 5)])
def test_activations_keep_the_shape(name: str, shape: tuple[int, ...]) -> None:
    x = torch.linspace(-8, 8, math.prod(shape)).reshape(shape)
    output = activation(name).eval()(x)
    assert output.shape == x.shape
    assert (type(activation(name)) is nn.Identity) == torch.equal(output, x)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", nn.ReLU),
        ("ReLU", nn.ReLU),
        ("RELU6", nn.ReLU6),
        ("sigmoid", nn.Sigmoid),
        ("Tanh", nn.Tanh),
        ("leaky_relu", nn.LeakyReLU),
        ("LeakyReLU", nn.LeakyReLU),
        ("leakyrelu", nn.LeakyReLU),
        ("gelu", nn.GELU),
        ("silu", nn.SiLU),
        ("elu", nn.ELU),
        ("selu", nn.SELU),
        ("celu", nn.CELU),
        ("mish", nn.Mish),
        ("softplus", nn.Softplus),
        ("soft_sign", nn.Softsign),
        ("hard_tanh", nn.Hardtanh),
        ("hardswish", nn.Hardswish),
        ("log_sigmoid", nn.LogSigmoid),
        ("p_relu", nn.PReLU),
        ("identity", nn.Identity),
    ],
)
def test_activations_by_any_spelling(name: str, expected: type[nn.Module]) -> None:
    assert type(activation(name)) is expected
    assert type(mlp(activation=name).get_submodule("features.hidden1.activation")) is expected


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
def test_softmax_runs_over_units_and_not_examples(name: str) -> None:
    output = activation(name)(torch.randn(4, 6, 3))
    shares = output.exp() if name == "log_softmax" else output
    torch.testing.assert_close(shares.sum(1), torch.ones(4, 3))


@pytest.mark.parametrize("name", ["", "glu", "multihead_attention", "threshold", "linear", "rellu"])
def test_names_that_are_not_activations_are_refused(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"activation='{name}' is not an activation of torch.nn; choose from celu, elu"
    ):
        activation(name)


def dropout(p: float, seed: int = 0) -> Dropout:
    layer = Dropout(p)
    use_noise(layer, Draws(seed))
    return layer


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(100_000,), (333, 303), (7, 11, 31, 43)])
def test_dropout_drops_its_share_and_keeps_the_expected_value(p: float, shape: tuple[int, ...]) -> None:
    output = dropout(p)(torch.ones(shape))
    dropped = output == 0
    torch.testing.assert_close(output[~dropped], torch.full_like(output[~dropped], 1 / (1 - p)))
    error = math.sqrt(p * (1 - p) / output.numel())
    assert float(dropped.double().mean()) == pytest.approx(p, abs=4 * error)
    assert float(output.double().mean()) == pytest.approx(1, abs=4 * error / (1 - p))


@pytest.mark.parametrize("distance", [1, 2, 3, 64])
def test_dropped_elements_are_independent(distance: int) -> None:
    mask = (dropout(0.5)(torch.ones(200_000)) == 0).double()
    pairs = torch.stack([mask[:-distance], mask[distance:]])
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.01


def test_dropout_draws_only_from_its_stream() -> None:
    x = torch.randn(51, 7)
    before = torch.get_rng_state()
    layer = dropout(0.5, seed=1)
    first, second = layer(x), layer(x)
    again, other = dropout(0.5, seed=1)(x), dropout(0.5, seed=2)(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", [lambda layer: layer.eval(), lambda layer: setattr(layer, "p", 0.0)])
def test_dropout_does_nothing_in_evaluation_or_without_a_rate(change: Any) -> None:
    layer = dropout(0.5)
    change(layer)
    x = torch.randn(50, 3)
    assert torch.equal(layer(x), x)


def test_gradients_pass_where_the_elements_did() -> None:
    x = torch.randn(1000, requires_grad=True)
    output = dropout(0.3)(x)
    output.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), output.detach())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dropout_keeps_the_type(dtype: torch.dtype) -> None:
    assert dropout(0.5)(torch.ones(10, dtype=dtype)).dtype == dtype


def test_dropout_without_a_stream_is_torchs_own() -> None:
    x = torch.randn(40, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours = Dropout(0.4)(x)
        torch.manual_seed(0)
        assert torch.equal(ours, nn.Dropout(0.4)(x))


@pytest.mark.parametrize("make", MAKERS)
def test_the_noise_stream_reaches_every_dropout_of_a_model(make: Any) -> None:
    model = make(dropout=0.5, input_dropout=0.2)
    outputs: list[Tensor] = []
    before = torch.get_rng_state()
    for seed in (1, 1, 2):
        use_noise(model, Draws(seed))
        outputs.append(model(PICTURES))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_layer_has_one_name_everywhere(make: Any, options: dict[str, Any]) -> None:
    """In the description, in the saved state and among the recorded activations."""
    model = make(**options).eval()
    described = [layer.name for layer in describe(model, PICTURES)[0]]
    with_state = {name.rpartition(".")[0] for name in model.state_dict()}
    stateful = [name for name in described if model.get_submodule(name).state_dict()]
    assert set(stateful) == with_state
    with Recorder(model).recording() as seen:
        scores = model(PICTURES)
    recorded = seen.activations
    assert list(recorded) == [name for name in described if name.endswith(".activation") or name == "head"]
    assert torch.equal(recorded["head"], scores)
    assert torch.equal(scores, model(PICTURES))


@pytest.mark.parametrize("make", MAKERS)
def test_recorded_activations_are_the_outputs_of_the_layers(make: Any) -> None:
    model = make().eval()
    with Recorder(model).recording() as seen:
        model(PICTURES)
    recorded = seen.activations
    shapes = {layer.name: layer.output_shape for layer in describe(model, PICTURES)[0]}
    assert {name: tuple(value.shape[1:]) for name, value in recorded.items()} == {
        name: shapes[name] for name in recorded
    }
    first = next(iter(recorded))
    assert float(recorded[first].min()) == 0  # after the ReLU
    stages = [name for name, _ in model.features.named_children()]
    upto = nn.Sequential(*list(model.features.children())[: stages.index(first.split(".")[1]) + 1])
    assert torch.equal(recorded[first], upto(PICTURES))


@pytest.mark.parametrize("training", [True, False])
def test_describing_does_not_change_the_model(training: bool) -> None:
    model = cnn(batch_norm=True, dropout=0.5).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    describe(model, PICTURES)
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_parameters_and_multiplications_are_counted() -> None:
    """A hand count of a model with one convolution and one hidden layer."""
    model = CNN((3, 8, 8), 10, stages=[[4]], hidden=[5], batch_norm=True)
    found = {
        layer.name: (layer.parameters, layer.multiply_adds) for layer in describe(model, torch.randn(2, 3, 8, 8))[0]
    }
    assert found["features.stage1_1.conv"] == (4 * 3 * 9, 8 * 8 * 4 * 3 * 9)
    assert found["features.stage1_1.batch_norm"] == (8, 0)
    assert found["features.hidden1.linear"] == (4 * 4 * 4 * 5, 4 * 4 * 4 * 5)
    assert found["head"] == (5 * 10 + 10, 5 * 10)


def test_each_activation_has_one_spelling_which_torch_has_too() -> None:
    functional = [name for name in spellings() if name not in ("identity", "prelu", "softmin")]
    assert [name for name in functional if not hasattr(nn.functional, name)] == []
    for name in spellings():
        assert spelling(name) == spelling(name.upper()) == name
