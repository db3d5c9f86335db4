"""Initial weights: their spread, shape and draw, parity with torch.nn.init, and the biases."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments import assembly, initializers
from experiments.common.errors import UserError
from experiments.initializers import initialize, lsuv, weighted_layers
from experiments.models.blocks import use_noise
from experiments.models.cnn import CNN
from experiments.models.draws import Draws
from experiments.models.mlp import MLP
from experiments.training.streams import Streams
from tests.helpers import composed, generator

Initializer = Callable[..., object]

SHAPES: list[tuple[tuple[int, ...], int, int]] = [  # shape, inputs of a unit, outputs of a unit
    ((300, 200), 200, 300),
    ((10, 1000), 1000, 10),
    ((500, 20), 20, 500),
    ((64, 32, 3, 3), 32 * 9, 64 * 9),
    ((48, 3, 5, 5), 3 * 25, 48 * 25),
    ((16, 64, 1, 1), 64, 16),
    ((32, 16, 7), 16 * 7, 32 * 7),
]

FORMULAS: list[tuple[Initializer, Callable[[int, int], float], bool]] = [  # standard deviation, whether uniform
    (initializers.normal, lambda _i, _o: 0.01, False),
    (partial(initializers.normal, std=0.7), lambda _i, _o: 0.7, False),
    (initializers.uniform, lambda _i, _o: 0.01, True),
    (partial(initializers.uniform, std=2.0), lambda _i, _o: 2.0, True),
    (initializers.xavier, lambda i, o: math.sqrt(2 / (i + o)), False),
    (partial(initializers.xavier, gain=5 / 3), lambda i, o: 5 / 3 * math.sqrt(2 / (i + o)), False),
    (initializers.xavier_or_torch, lambda i, o: max(math.sqrt(2 / (i + o)), math.sqrt(1 / i / 3)), False),
    (partial(initializers.xavier_or_torch, gain=2), lambda i, o: 2 * math.sqrt(max(2 / (i + o), 1 / i / 3)), False),
    (initializers.xavier_uniform, lambda i, o: math.sqrt(2 / (i + o)), True),
    (initializers.fan_in, lambda i, _o: math.sqrt(1 / i), False),
    (partial(initializers.fan_in, gain=0.5), lambda i, _o: 0.5 * math.sqrt(1 / i), False),
    (initializers.he, lambda i, _o: math.sqrt(2 / i), False),
    (partial(initializers.he, gain=0.1), lambda i, _o: 0.1 * math.sqrt(2 / i), False),
    (initializers.he_uniform, lambda i, _o: math.sqrt(2 / i), True),
    (initializers.lecun, lambda i, _o: math.sqrt(1 / i), True),
    (partial(initializers.lecun, gain=3.0), lambda i, _o: 3 * math.sqrt(1 / i), True),
    (initializers.torch_default, lambda i, _o: math.sqrt(1 / i / 3), True),
]

EVERY: list[Initializer] = [*(formula[0] for formula in FORMULAS), initializers.constant, initializers.orthogonal]


def drawn(initializer: Initializer, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    weight = torch.full(shape, math.nan)
    initializer(weight, generator=generator(seed))
    return weight


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 50, bias=False),
        nn.BatchNorm1d(50),
        nn.PReLU(),
        nn.Linear(50, 10),
    )


@pytest.fixture(scope="module")
def digits() -> assembly.Data:
    return assembly.data(composed(), Streams(0), torch.device("cpu"))


@pytest.mark.parametrize(("shape", "inputs", "outputs"), SHAPES)
@pytest.mark.parametrize(("initializer", "std", "uniform"), FORMULAS)
def test_the_spread_is_that_of_the_formula(
    initializer: Initializer,
    std: Callable[[int, int], float],
    uniform: bool,
    shape: tuple[int, ...],
    inputs: int,
    outputs: int,
) -> None:
    weight, expected = drawn(initializer, shape).double(), std(inputs, outputs)
    n = weight.numel()
    assert float(weight.mean()) == pytest.approx(0, abs=4 * expected / math.sqrt(n))
    assert float(weight.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * n))
    bound = math.sqrt(3) * expected
    if uniform:
        assert 0.98 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6)
    else:
        assert float((weight.abs() > bound).double().mean()) == pytest.approx(0.0833, abs=0.04)


@pytest.mark.parametrize("shape", [shape for shape, _, _ in SHAPES])
@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (initializers.he, partial(nn.init.kaiming_normal_, nonlinearity="relu")),
        (initializers.he_uniform, partial(nn.init.kaiming_uniform_, nonlinearity="relu")),
        (initializers.fan_in, partial(nn.init.kaiming_normal_, nonlinearity="linear")),
        (initializers.lecun, partial(nn.init.kaiming_uniform_, nonlinearity="linear")),
        (initializers.torch_default, partial(nn.init.kaiming_uniform_, a=math.sqrt(5))),
        (initializers.xavier, nn.init.xavier_normal_),
        (partial(initializers.xavier_uniform, gain=5 / 3), partial(nn.init.xavier_uniform_, gain=5 / 3)),
        (partial(initializers.normal, std=0.3), partial(nn.init.normal_, std=0.3)),
        (partial(initializers.orthogonal, gain=2.0), partial(nn.init.orthogonal_, gain=2.0)),
    ],
)
def test_agrees_with_torch_draw_for_draw(ours: Initializer, reference: Initializer, shape: tuple[int, ...]) -> None:
    torch.testing.assert_close(drawn(ours, shape), drawn(reference, shape), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [shape for shape, _, _ in SHAPES])
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...], gain: float) -> None:
    weight = drawn(partial(initializers.orthogonal, gain=gain), shape).flatten(1).double()
    if weight.shape[0] > weight.shape[1]:
        weight = weight.T
    torch.testing.assert_close(weight @ weight.T, gain**2 * torch.eye(len(weight)).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "family",
    [
        [
            partial(initializers.normal, std=0.01),
            partial(initializers.normal, std=3.0),
            initializers.he,
            initializers.xavier,
            initializers.fan_in,
            partial(initializers.he, gain=7.0),
        ],
        [
            partial(initializers.uniform, std=0.2),
            initializers.xavier_uniform,
            initializers.he_uniform,
            initializers.lecun,
            initializers.torch_default,
        ],
        [initializers.orthogonal, partial(initializers.orthogonal, gain=0.1)],
    ],
    ids=["normal", "uniform", "orthogonal"],
)
def test_the_same_seed_gives_the_same_draw_at_every_scale(family: list[Initializer]) -> None:
    for shape, _, _ in SHAPES:
        first, *others = (drawn(initializer, shape, seed=7) for initializer in family)
        for other in others:
            torch.testing.assert_close(other / other.std(), first / first.std(), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(drawn(family[0], shape, seed=8), first)


@pytest.mark.parametrize("value", [0.0, 0.01, -2.5])
def test_constant(value: float) -> None:
    assert torch.equal(drawn(partial(initializers.constant, value=value), (3, 4)), torch.full((3, 4), value))


def test_constant_is_zero_by_default() -> None:
    assert torch.equal(drawn(initializers.constant, (3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("bias", [0.0, 0.1, -3.0])
def test_every_bias_is_the_given_value(bias: float) -> None:
    model = network()
    initialize(model, initializers.he, generator(), bias)
    for name in ("0.bias", "7.bias"):
        own = model.get_parameter(name)
        assert torch.equal(own, torch.full_like(own, bias))


def test_biases_are_zero_by_default() -> None:
    model = network()
    initialize(model, initializers.he, generator())
    assert not model.get_parameter("0.bias").any()
    assert not model.get_parameter("7.bias").any()


def test_biases_of_the_library_are_within_their_range() -> None:
    layers = nn.ModuleList([nn.Linear(25, 4000), nn.Conv2d(4, 4000, 5)])
    initialize(layers, initializers.constant, generator(), "torch")
    for layer, bound in zip(layers, [1 / 5, 1 / 10], strict=True):
        bias = cast(Tensor, layer.bias).detach()
        assert 0.99 * bound < float(bias.abs().max()) <= bound
        assert float(bias.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_normal_biases_have_variance_one_and_move_no_weight() -> None:
    layers = [nn.Linear(20, 10_000), nn.Linear(20, 10_000)]
    for layer, bias in zip(layers, (0.0, "normal"), strict=True):
        initialize(layer, initializers.he, generator(), cast(Any, bias))
    assert torch.equal(layers[0].weight, layers[1].weight)
    own = layers[1].bias.detach()
    assert float(own.mean()) == pytest.approx(0, abs=0.04)
    assert float(own.std()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("bias", [5.0, "torch", "normal"])
def test_other_layers_do_not_change(bias: Any) -> None:
    model = network()
    with torch.no_grad():
        model.get_parameter("1.weight").fill_(0.3)
        model.get_parameter("1.bias").fill_(0.4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initialize(model, partial(initializers.normal, std=1.0), generator(), bias)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.weight", "0.bias", "4.weight", "7.weight", "7.bias"}


def test_every_weighted_layer_gets_its_own_draw() -> None:
    model = nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30))
    initialize(model, initializers.he, generator())
    assert not torch.allclose(model.get_parameter("0.weight"), model.get_parameter("1.weight"))


@pytest.mark.parametrize(
    "layer", [lambda: nn.Linear(100, 2000), lambda: nn.Conv2d(4, 2000, 5)], ids=["linear", "convolution"]
)
def test_the_default_of_the_library_is_met_in_distribution(layer: Callable[[], nn.Linear | nn.Conv2d]) -> None:
    """The quantiles of weights and biases are those of a layer that torch initialized itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        reference, ours = layer(), layer()
    initialize(ours, initializers.torch_default, generator(), "torch")
    grid = torch.linspace(0, 1, 41)
    for name, tolerance in (("weight", 0.02), ("bias", 0.1)):
        a, b = (cast(Tensor, getattr(module, name)).detach().flatten()[:100_000] for module in (reference, ours))
        spread = float(a.max() - a.min())
        assert float((a.quantile(grid) - b.quantile(grid)).abs().max()) < tolerance * spread
    assert not torch.equal(reference.weight, ours.weight)


@pytest.mark.parametrize("initializer", EVERY)
def test_nothing_is_drawn_from_the_global_generator(initializer: Initializer) -> None:
    model = network()
    before = torch.get_rng_state()
    initialize(model, initializer, generator(), "torch")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("initializer", EVERY)
def test_the_same_seed_gives_the_same_model(initializer: Initializer) -> None:
    models = [network() for _ in range(2)]
    for model in models:
        initialize(model, initializer, generator(3), "torch")
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(
    ("function", "settings", "std"),
    [
        ("trunc_normal_", {"std": 0.02}, 0.02),
        ("normal_", {"std": 0.3}, 0.3),
        ("uniform_", {"a": -1.0, "b": 1.0}, math.sqrt(1 / 3)),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(2 / 100)),
        ("kaiming_uniform_", {"nonlinearity": "relu"}, math.sqrt(2 / 64)),
        ("xavier_normal_", {"gain": 2.0}, 2 * math.sqrt(2 / 164)),
        ("orthogonal_", {}, 1 / math.sqrt(100)),
    ],
)
def test_functions_of_torch_are_initializers(
    digits: assembly.Data, function: str, settings: dict[str, Any], std: float
) -> None:
    config = {**composed(), "init": {"_target_": f"torch.nn.init.{function}", "bias": 0.0, **settings}}
    weight = first_weight(config, digits)
    assert float(weight.std()) == pytest.approx(std, rel=0.05)
    assert torch.equal(weight, first_weight(config, digits))


@pytest.mark.parametrize(
    ("name", "std"),  # of 64 inputs and 100 outputs
    [
        ("constant", 0.0),
        ("fan_in", math.sqrt(1 / 64)),
        ("he", math.sqrt(2 / 64)),
        ("he_uniform", math.sqrt(2 / 64)),
        ("lecun", math.sqrt(1 / 64)),
        ("normal", 0.1),
        ("orthogonal", math.sqrt(1 / 100)),
        ("small_normal", 0.01),
        ("torch", math.sqrt(1 / 64 / 3)),
        ("unit_normal", 1.0),
        ("xavier", math.sqrt(2 / 164)),
        ("xavier_biases", math.sqrt(2 / 164)),
        ("xavier_or_torch", math.sqrt(2 / 164)),
        ("xavier_uniform", math.sqrt(2 / 164)),
        ("zeros", 0.0),
    ],
)
def test_every_choice_of_the_configuration(digits: assembly.Data, name: str, std: float) -> None:
    config = composed(f"init={name}")
    assert float(first_weight(config, digits).std()) == pytest.approx(std, rel=0.04)
    bias = first_parameter(config, digits, "bias")
    assert bool(bias.any()) == (name in ("torch", "xavier_biases", "xavier_or_torch"))


def first_parameter(config: dict[str, Any], data: assembly.Data, name: str) -> Tensor:
    model, _, _ = assembly.model(config, data, Streams(0), torch.device("cpu"))
    return model.get_parameter(f"features.hidden1.linear.{name}").detach()


def first_weight(config: dict[str, Any], data: assembly.Data) -> Tensor:
    weight = first_parameter(config, data, "weight")
    assert weight.shape == (100, 64)
    return weight


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain": 0}, r"init\.gain=0 should be greater than 0"),
        ({"gain": "big"}, r"init\.gain='big' should be a valid number"),
        (
            {"bias": "torhc"},
            r"init\.bias='torhc' should be a valid number or 'torch', 'normal' or 'own'; did you mean 'init\."
            r"bias=torch'\?",
        ),
        ({"std": 1}, r"unknown setting 'init\.std' of xavier_or_torch; choose from gain"),
    ],
)
def test_refusals(digits: assembly.Data, settings: dict[str, Any], message: str) -> None:
    config = {**composed(), "init": {**composed()["init"], **settings}}
    with pytest.raises(UserError, match=message):
        assembly.model(config, digits, Streams(0), torch.device("cpu"))


def test_a_function_that_does_not_fit_is_refused(digits: assembly.Data) -> None:
    config = {**composed(), "init": {"_target_": "torch.nn.init.dirac_", "bias": 0.0}}
    with pytest.raises(UserError, match=r"init: torch\.nn\.init\.dirac_ cannot fill a weight of this model"):
        assembly.model(config, digits, Streams(0), torch.device("cpu"))


def examples(*shape: int) -> Tensor:
    """A batch whose features differ in centre and spread."""
    noise = torch.randn(64, *shape, generator=generator(1))
    return noise * torch.linspace(0.1, 5, shape[-1]) + torch.linspace(-2, 2, shape[-1])


def unit_variance_models() -> list[tuple[str, nn.Module, Tensor]]:
    """Models of ours, deep enough for the variance to fade or grow, with a batch for each."""
    found: list[tuple[str, nn.Module, Tensor]] = []
    for activation in ("relu", "tanh"):
        for extras in ({}, {"batch_norm": True, "dropout": 0.5, "input_dropout": 0.2}):
            mlp = MLP((30,), 10, hidden=[50, 20, 60, 40, 30], activation=activation, **extras)  # type: ignore[arg-type]
            cnn = CNN((2, 8, 8), 7, stages=[[6, 9], [12]], hidden=[20], activation=activation, **extras)  # type: ignore[arg-type]
            suffix = f"{activation}{' with extras' if extras else ''}"
            found += [(f"MLP {suffix}", mlp, examples(30)), (f"CNN {suffix}", cnn, examples(2, 8, 8))]
    return found


def variances(model: nn.Module, inputs: Tensor) -> dict[str, float]:
    """The variance of each weighted layer's outputs in evaluation mode, by the layer's name."""
    found: dict[str, float] = {}

    def note(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        found[name] = float(output.var(correction=0))

    hooks = [layer.register_forward_hook(partial(note, name)) for name, layer in weighted_layers(model).items()]
    with torch.no_grad():
        model.eval()(inputs)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    ("model", "inputs"), [pytest.param(model, inputs, id=name) for name, model, inputs in unit_variance_models()]
)
@pytest.mark.parametrize(("bias", "tolerance"), [(0.0, 1e-3), (0.3, 1e-3), ("torch", 0.05)])
def test_lsuv_gives_every_layer_outputs_of_variance_1(
    model: nn.Module, inputs: Tensor, bias: Any, tolerance: float
) -> None:
    initialize(model, initializers.orthogonal, generator(), bias)
    before = variances(model, inputs)
    initialize(model, partial(lsuv, tolerance=tolerance), generator(), bias, inputs)
    after = variances(model, inputs)
    assert set(after) == set(weighted_layers(model))
    assert max(abs(variance - 1) for variance in before.values()) > 0.5
    assert all(variance == pytest.approx(1, abs=1.1 * tolerance) for variance in after.values())


def test_lsuv_keeps_the_orthogonal_directions() -> None:
    model, inputs = CNN((2, 8, 8), 7, stages=[[6, 9]], hidden=[20]), examples(2, 8, 8)
    initialize(model, lsuv, generator(), inputs=inputs)
    for layer in weighted_layers(model).values():
        rows = layer.weight.detach().flatten(1)
        rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
        products = rows @ rows.T
        torch.testing.assert_close(products / products[0, 0], torch.eye(len(rows)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_lsuv_divides_a_limited_number_of_times(rounds: int) -> None:
    """Biases of another spread make each division a step only."""
    weight, bias, x = torch.empty(3, 3), torch.tensor([0.9, -0.9, 0.3]), examples(3)
    calls = 0

    def outputs() -> Tensor:
        nonlocal calls
        calls += 1
        return F.linear(x, weight, bias)

    lsuv(weight, generator(), outputs, tolerance=1e-9, rounds=rounds)
    assert calls == rounds
    expected = drawn(initializers.orthogonal, (3, 3))
    for _ in range(rounds):
        expected /= F.linear(x, expected, bias).var(correction=0).sqrt()
    torch.testing.assert_close(weight, expected)


@pytest.mark.parametrize("output", [torch.zeros(5, 4), torch.full((5, 4), 3.0), torch.full((2, 4), math.inf)])
def test_lsuv_leaves_a_layer_without_a_usable_variance(output: Tensor) -> None:
    weight = torch.empty(4, 3)
    lsuv(weight, generator(), lambda: output)
    assert torch.equal(weight, drawn(initializers.orthogonal, (4, 3)))


class Tangled(nn.Module):
    """Its layers run in another order than they are written in, one twice, one never, one before an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 4)
        self.idle = nn.Linear(6, 6)
        self.twice = nn.Linear(6, 6)
        self.first = nn.Linear(3, 6)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        return self.last(self.twice(self.twice(x)))


def test_layers_are_filled_in_the_order_in_which_they_run() -> None:
    model, inputs = Tangled(), examples(3)
    idle = {name: value.clone() for name, value in model.idle.state_dict().items()}
    sizes: list[tuple[int, ...]] = []

    def noting(weight: Tensor, generator: torch.Generator, outputs: Callable[[], Tensor]) -> None:
        sizes.append(tuple(weight.shape))
        lsuv(weight, generator, outputs)

    initialize(model, noting, generator(), 0.5, inputs)
    assert sizes == [(6, 3), (6, 6), (4, 6)]
    for name, value in model.idle.state_dict().items():
        assert torch.equal(value, idle[name])
    with torch.no_grad():
        first = model.first(inputs)
        assert float(first.var()) == pytest.approx(1, abs=0.05)
        assert float(model.twice(first.relu()).var()) == pytest.approx(1, abs=0.05)
        assert float(model(inputs).var()) == pytest.approx(1, abs=0.05)


def test_looking_at_outputs_leaves_the_mode_the_statistics_and_the_hooks() -> None:
    model, inputs = CNN((2, 8, 8), 7, stages=[[6]], hidden=[20], batch_norm=True, dropout=0.5), examples(2, 8, 8)
    model.train()
    frozen = model.get_submodule("features.stage1_1.batch_norm").eval()
    use_noise(model, Draws(5))
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    state = torch.get_rng_state()
    initialize(model, lsuv, generator(), inputs=inputs)
    assert [module for module in model.modules() if not module.training] == [frozen]
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_lsuv_draws_the_same_model_from_the_same_seed() -> None:
    first, again, other = (MLP((30,), 10, hidden=[50, 20]) for _ in range(3))
    for model, seed in ((first, 3), (again, 3), (other, 4)):
        initialize(model, lsuv, generator(seed), "torch", examples(30))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])


def test_an_initializer_that_looks_at_outputs_needs_inputs() -> None:
    with pytest.raises(ValueError, match=r"^inputs=None "):
        initialize(network(), lsuv, generator())


def test_inputs_change_nothing_for_an_initializer_that_does_not_look() -> None:
    models = [network() for _ in range(2)]
    for model, inputs in zip(models, (None, examples(3, 6, 6)), strict=True):
        initialize(model, initializers.he, generator(3), "torch", inputs)
    for name in weighted_layers(models[0]):
        assert torch.equal(models[0].get_parameter(f"{name}.weight"), models[1].get_parameter(f"{name}.weight"))


def test_the_choice_lsuv_names_the_defaults() -> None:
    section = composed("init=lsuv")["init"]
    defaults = {name: p.default for name, p in inspect.signature(lsuv).parameters.items() if p.default is not p.empty}
    assert defaults.items() <= section.items()
    assert section["_target_"] == "experiments.initializers.lsuv"
