"""The checks pass what is right, and find what was planted."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments import initializers, losses
from experiments.checks import CHECKS, CheckResult, Subject, refuse
from experiments.checks._rate import suggested
from experiments.data.batches import Split
from experiments.data.sources import digits
from experiments.models import measures
from experiments.models.blocks import use_noise
from experiments.models.cnn import CNN
from experiments.models.mlp import MLP
from experiments.penalties import L1, L2, MaxNorm, Penalty
from experiments.training.criterion import Criterion
from experiments.training.streams import Streams
from tests.helpers import Commands

CPU = torch.device("cpu")


def splits() -> dict[str, Split]:
    """Digits, standardized, with their pictures' shape."""
    source = digits()
    x = source.x_train.float()
    mean, std = x.mean(), x.std()
    return {
        "train": Split(x[:1000], source.y_train[:1000], lambda b: (b.float() - mean) / std, CPU),
        "val": Split(x[1000:1200], source.y_train[1000:1200], lambda b: (b.float() - mean) / std, CPU),
        "test": Split(source.x_test.float(), source.y_test, lambda b: (b.float() - mean) / std, CPU),
    }


DIGITS = splits()
SHAPE = (1, 8, 8)


def mlp(**options: Any) -> MLP:
    """A small network for digits."""
    return MLP(SHAPE, 10, **{"hidden": [30, 20], **options})


def subject_of(
    model: nn.Module,
    init: initializers.Initializer | None = initializers.he,
    *,
    seed: int = 0,
    rate: float = 0.1,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    bias: float = 0.0,
    **more: Any,
) -> Subject:
    """A run that is put together and not trained."""
    streams = Streams(seed)
    if init is not None:
        initializers.initialize(model, init, streams.init, bias)
    use_noise(model, streams.noise)
    make = partial(optimizer, lr=rate) if optimizer is not torch.optim.LBFGS else optimizer
    classes, criterion = [str(n) for n in range(10)], more.pop("criterion", Criterion())
    criterion.task.fit(classes, DIGITS["train"].y)
    return Subject(
        **{
            "model": model, "splits": DIGITS, "classes": classes, "criterion": criterion,
            "optimizer": lambda net: make(net.parameters()), "rate": rate, "batch_size": 32, "seed": seed, **more,
        }
    )  # fmt: skip


def result_of(name: str, subject: Subject) -> CheckResult:
    """Make one check."""
    return CHECKS[name](subject)


HEALTHY: dict[str, Callable[[], Subject]] = {
    "mlp": lambda: subject_of(mlp()),
    "tanh": lambda: subject_of(mlp(activation="tanh"), initializers.xavier),
    "batch norm and dropout": lambda: subject_of(mlp(batch_norm=True, dropout=0.3)),
    "cnn": lambda: subject_of(CNN(SHAPE, 10, stages=[[4], [6]], hidden=[20])),
    "cnn with batch norm": lambda: subject_of(CNN(SHAPE, 10, stages=[[4]], hidden=[20], batch_norm=True)),
    "hinge": lambda: subject_of(mlp(), rate=0.02, criterion=Criterion(losses.hinge)),
    "l2": lambda: subject_of(mlp(), criterion=Criterion(penalty=L2(1e-3))),
    "l1": lambda: subject_of(mlp(), criterion=Criterion(penalty=L1(1e-4))),
    "max norm": lambda: subject_of(mlp(), criterion=Criterion(penalty=MaxNorm(3.0))),
    "label smoothing": lambda: subject_of(
        mlp(), criterion=Criterion(partial(losses.cross_entropy, label_smoothing=0.1))
    ),
    "class weights": lambda: subject_of(mlp(), criterion=Criterion(class_weights=torch.linspace(0.5, 1.5, 10))),
    "lbfgs": lambda: subject_of(mlp(), optimizer=torch.optim.LBFGS, rate=1.0),
    "no activation modules": lambda: subject_of(Functional()),
}


class LinearThen(nn.Module):
    """A linear layer, and a function of its scores and of whether the model is trained."""

    def __init__(self, way: Callable[[Tensor, bool], Tensor]) -> None:
        super().__init__()
        self.linear, self.way = nn.Linear(64, 10), way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self.linear(x.flatten(1)), self.training)


class Functional(nn.Module):
    """A user's model: no module for its activations, one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.again, self.out = nn.Linear(64, 30), nn.Linear(30, 30), nn.Linear(30, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.enter(x.flatten(1)))
        return self.out(torch.relu(self.again(torch.relu(self.again(h)))))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("problem", HEALTHY)
def test_a_sound_subject_passes_and_does_not_change(problem: str, check: str) -> None:
    subject = HEALTHY[problem]()
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    generator, modes = torch.get_rng_state(), [module.training for module in subject.model.modules()]
    result = result_of(check, subject)
    assert result.verdict in ("pass", "skip", "warn"), result
    if check in ("gradient", "symmetry", "leak", "overfit", "baseline", "penalty"):
        assert result.verdict in ("pass", "skip"), result
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in subject.model.modules()] == modes
    for name, value in subject.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in subject.model.modules())
    assert all(p.grad is None for p in subject.model.parameters())


# The gradient check.


class Scaled(torch.autograd.Function):
    """Multiplies, and gives back a gradient that is off by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


class OffWeight(nn.Linear):
    """The gradient of the weight alone is 1 % too large."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, Scaled.apply(self.weight, 1.01), self.bias)


class OffInput(nn.Linear):
    """The gradient of the input alone is 1 % too large."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Scaled.apply(x, 1.01))


class Detached(nn.Linear):
    """The gradient ends here."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("kind", [OffWeight, OffInput, Detached])
@pytest.mark.parametrize("layer", ["hidden2", "hidden3"])
def test_an_error_in_one_layers_backward_is_found_and_the_layer_named(
    layer: str, kind: type[nn.Linear], activation: str
) -> None:
    model = mlp(hidden=[20, 20, 20], activation=activation)
    model.get_submodule(f"features.{layer}").linear = kind(20, 20)
    result = result_of("gradient", subject_of(model))
    assert result.verdict == "fail"
    assert result.numbers["layer"] == f"features.{layer}.linear"
    assert layer in result.advice
    wrong = result.numbers["wrong_parameters"]
    if kind is OffWeight:
        assert wrong == [f"features.{layer}.linear.weight"]
        assert "doubtful" in result.measured
    else:
        before = [f"features.hidden{n}.linear.{part}" for n in range(1, int(layer[-1])) for part in ("weight", "bias")]
        assert set(wrong) <= set(before)
        assert wrong


@pytest.mark.slow
def test_a_gradient_that_is_right_gives_no_alarm_in_any_draw() -> None:
    kinks = 0
    for seed in range(12):
        for subject in (
            subject_of(mlp(), seed=seed),
            subject_of(mlp(batch_norm=True), seed=seed),
            subject_of(CNN(SHAPE, 10, stages=[[4]], hidden=[]), seed=seed, criterion=Criterion(losses.hinge)),
            subject_of(mlp(activation="relu6"), initializers.normal, seed=seed, criterion=Criterion(penalty=L1(1e-3))),
        ):
            result = result_of("gradient", subject)
            assert result.verdict == "pass", result
            kinks += result.numbers["kinks"]
    assert kinks < 100


@pytest.mark.parametrize("offset", [0.0, 3e-6, -3e-6])
def test_kinks_are_counted_and_are_not_errors(offset: float) -> None:
    """All units of the first layer have their corner within the step."""
    model = mlp(hidden=[20])
    subject = subject_of(model, bias=offset)
    nn.init.zeros_(model.get_parameter("features.hidden1.linear.weight"))
    result = result_of("gradient", replace(subject, rate=0.0))
    assert result.verdict == "pass"
    assert result.numbers["kinks"] > 0


@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"activation": "identity"}, {"batch_norm": True}])
def test_the_layer_is_named_among_others_that_pass_their_input_on(options: dict[str, Any]) -> None:
    model = mlp(hidden=[20, 20, 20], **options)
    bias = not options.get("batch_norm", False)
    model.get_submodule("features.hidden2").linear = OffInput(20, 20, bias=bias)
    assert result_of("gradient", subject_of(model)).numbers["layer"] == "features.hidden2.linear"


def test_a_gradient_that_is_not_a_number_is_wrong() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.scale = nn.Linear(64, 10), nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x.flatten(1)) + self.scale.square().sum().sqrt()

    result = result_of("gradient", subject_of(Root()))
    assert (result.verdict, result.numbers["wrong_parameters"]) == ("fail", ["scale"])


def test_the_penalty_is_checked_separately() -> None:
    class Wrong(Penalty):
        adds = True

        def term(self, weights: Any) -> Tensor:
            return 1e-6 * Scaled.apply(torch.stack([w.square().sum() for w in weights]).sum(), 1.02)

    result = result_of("gradient", subject_of(mlp(), criterion=Criterion(penalty=Wrong())))
    assert result.verdict == "fail", "small beside the data loss, and wrong all the same"


def test_a_model_that_does_not_run_in_double_precision_is_skipped() -> None:
    table = torch.ones(10, 10)  # in float32
    result = result_of("gradient", subject_of(LinearThen(lambda scores, _: scores @ table)))
    assert (result.verdict, "float64" in result.advice) == ("skip", True)


# The loss.


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(losses.cross_entropy, math.log(10)), (losses.hinge, 9.0), (losses.mse, 0.1), (losses.quadratic, 1.25)],
)
def test_the_initial_loss_is_that_of_equal_scores(loss: losses.Loss, expected: float) -> None:
    result = result_of("initial_loss", subject_of(mlp(), initializers.normal, criterion=Criterion(loss)))
    assert result.verdict == "pass"
    assert result.numbers["chance"] == pytest.approx(expected, rel=1e-6)
    assert result.numbers["loss"] == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_an_initial_loss_that_is_too_large_is_corrected_by_the_suggested_scale() -> None:
    subject = subject_of(mlp(), partial(initializers.normal, std=1.0))
    result = result_of("initial_loss", subject)
    assert result.verdict == "fail"
    with torch.no_grad():
        subject.model.get_parameter("head.weight").mul_(result.numbers["scale"])
    again = result_of("initial_loss", subject)
    assert again.verdict == "pass"
    assert again.numbers["explained_by_spread"] == pytest.approx(1.1 * math.log(10), rel=0.01)


def test_a_trained_model_passes_and_its_opposite_does_not() -> None:
    subject = subject_of(mlp(hidden=[]), optimizer=torch.optim.Adam)
    program = subject.program(subject.model)
    for _, index in zip(range(100), subject.batches("training"), strict=False):
        program.step(index, [0.01])
    assert "knows something" in result_of("initial_loss", subject).advice
    with torch.no_grad():
        for parameter in subject.model.parameters():
            parameter.neg_()
    result = result_of("initial_loss", subject)
    assert (result.verdict, "sign" in result.advice) == ("fail", True)


@pytest.mark.parametrize("penalty", [L2(0.01), L1(0.003)])
def test_a_larger_penalty_raises_the_loss_by_the_strength_times_the_term(penalty: Any) -> None:
    subject = subject_of(mlp(), criterion=Criterion(penalty=penalty))
    result = result_of("penalty", subject)
    weights = [layer.weight.double() for layer in initializers.weighted_layers(subject.model).values()]
    term = sum((w.square() / 2 if isinstance(penalty, L2) else w.abs()).sum().item() for w in weights)
    assert result.numbers["rise"] == pytest.approx(9 * penalty.strength * term, rel=1e-5)
    assert result.verdict == "pass"


def test_a_penalty_that_is_not_its_strength_times_a_term_is_found() -> None:
    class Root(L2):
        def term(self, weights: Any) -> Tensor:
            return super().term(weights).sqrt()

    assert result_of("penalty", subject_of(mlp(), criterion=Criterion(penalty=Root(0.01)))).verdict == "fail"


def test_without_a_weight_there_is_no_penalty_to_check() -> None:
    subject = subject_of(mlp())
    subject.model.requires_grad_(False).get_parameter("head.bias").requires_grad_(True)
    assert result_of("penalty", subject).verdict == "skip"


# The layers.


class HeadFirst(nn.Module):
    """Names its last layer first."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(30, 10), nn.Linear(64, 30)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x.flatten(1))))


@pytest.mark.slow
def test_the_last_layer_is_the_one_that_runs_last() -> None:
    result = result_of("symmetry", subject_of(HeadFirst(), partial(initializers.constant, value=0.1)))
    assert set(result.numbers["equal_units"]) == {"body"}
    large = result_of("initial_loss", subject_of(HeadFirst(), partial(initializers.normal, std=1.0)))
    words = r"try init=torch, or multiply the weights of head by 0\.\d+ in the code of the model\."
    assert re.fullmatch(f"The scores are too large: {words}", large.advice)


@pytest.mark.parametrize(
    "words", [("init=he", "init.gain=2"), ("init=unit_normal",), ("init=he", "init.gain=5", "model.activation=tanh")]
)
def test_the_advice_on_large_scores_can_be_pasted(commands: Commands, words: tuple[str, ...]) -> None:
    outcome = commands.type("check", "only=initial_loss", *words)
    advice = re.search(r"are too large: with (init\.\w+=\S+) the loss starts near (\S+)\.$", outcome.out, re.MULTILINE)
    assert advice
    again = commands.type("check", "only=initial_loss", *words, advice[1])
    assert again.code == 0, again.err
    (loss,) = re.findall(r" \((\S+) with shuffled", again.out)
    assert float(loss) == pytest.approx(float(advice[2]), rel=2e-3)


@pytest.mark.parametrize(
    ("init", "verdict"),
    [
        (initializers.he, "pass"),
        (partial(initializers.normal, std=1e-6), "pass"),
        (partial(initializers.constant, value=0.0), "fail"),
        (partial(initializers.constant, value=0.3), "fail"),
    ],
)
def test_equal_units_are_found(init: initializers.Initializer, verdict: str) -> None:
    result = result_of("symmetry", subject_of(mlp(), init))
    assert result.verdict == verdict
    if verdict == "fail":
        assert set(result.numbers["equal_units"]) >= {"features.hidden1.linear"}
        assert "head" not in result.numbers["equal_units"], "the classes tell its units apart"


def test_two_equal_units_among_many_are_found() -> None:
    subject = subject_of(mlp())
    into, out = (subject.model.get_parameter(f"{name}.weight") for name in ("features.hidden2.linear", "head"))
    with torch.no_grad():
        into[7] = into[3]
        out[:, 7] = out[:, 3]
    assert result_of("symmetry", subject).numbers["equal_units"] == {"features.hidden2.linear": pytest.approx(0.1)}
    with torch.no_grad():
        out[0, 7] += 1
    assert result_of("symmetry", subject).verdict == "pass", "their gradients differ, and soon their weights"


@pytest.mark.parametrize(("init", "expected"), [(initializers.torch_default, 0.49), (initializers.xavier, 0.85)])
def test_the_mean_singular_value_is_the_one_in_the_books(init: initializers.Initializer, expected: float) -> None:
    layer = nn.Linear(1000, 1000)
    initializers.initialize(layer, init, torch.Generator().manual_seed(0))
    assert measures.mean_singular_value(layer, (1000,)) == pytest.approx(expected, abs=0.01)


def test_a_convolutions_singular_values_are_those_of_its_circular_matrix() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False)
    columns = torch.eye(2 * 6 * 6).reshape(-1, 2, 6, 6)
    matrix = layer(columns).flatten(1).detach()
    mean = torch.linalg.svdvals(matrix).mean().item()
    assert measures.mean_singular_value(layer, (2, 6, 6)) == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize(
    ("activation", "init", "verdict"),
    [
        ("tanh", initializers.xavier, "pass"),
        ("relu", initializers.he, "pass"),
        ("tanh", partial(initializers.normal, std=0.01), "fail"),
        ("relu", partial(initializers.normal, std=1.0), "fail"),
        ("sigmoid", initializers.xavier, "fail"),
        ("relu", partial(initializers.constant, value=0.0), "fail"),
    ],
)
def test_the_signal_through_ten_layers(activation: str, init: initializers.Initializer, verdict: str) -> None:
    result = result_of("signal", subject_of(mlp(hidden=[100] * 10, activation=activation), init))
    assert result.verdict == verdict, result


@pytest.mark.parametrize(
    ("way", "verdict"),
    [
        (lambda s, _: s - s.mean(0), "fail"),
        (lambda s, _: s.softmax(0), "fail"),
        (lambda s, _: s.T.reshape(s.shape), "fail"),
        (lambda s, _: s - s.mean(0).detach(), "fail"),
        (lambda s, _: s - s.mean(0) * torch.tensor(float("nan")), "fail"),
        (lambda s, training: s - s.mean(0) if training else s, "warn"),
        (lambda s, _: s.softmax(1), "pass"),
    ],
)
def test_examples_that_leak_are_found(way: Callable[[Tensor, bool], Tensor], verdict: str) -> None:
    assert result_of("leak", subject_of(LinearThen(way))).verdict == verdict


# Training a little.


@pytest.mark.slow
def test_a_model_that_does_not_see_its_inputs_is_found() -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(torch.zeros_like(x.flatten(1)))

    subject = subject_of(Blind())
    assert result_of("overfit", subject).verdict == result_of("baseline", subject).verdict == "fail"


@pytest.mark.slow
def test_equal_inputs_of_different_classes_are_named() -> None:
    x = torch.zeros(40, 1, 8, 8)
    subject = subject_of(mlp(), splits={"train": Split(x, torch.arange(40) % 10, lambda b: b, CPU)})
    result = result_of("overfit", subject)
    assert result.verdict == "fail"
    assert result.advice.startswith("Equal inputs belong to different classes")


@pytest.mark.parametrize(("rate", "verdict"), [(1e-7, "fail"), (0.1, "pass"), (1e6, "fail")])
def test_a_rate_that_learns_nothing_is_found(rate: float, verdict: str) -> None:
    assert result_of("baseline", subject_of(mlp(), rate=rate)).verdict == verdict


@pytest.mark.slow
def test_the_range_test_suggests_rates_that_learn(tmp_path: Path) -> None:
    subject = subject_of(mlp(), folder=tmp_path)
    numbers = result_of("lr_range", subject).numbers
    assert (tmp_path / "lr_range.png").stat().st_size > 10_000
    assert numbers["rates"][0] == pytest.approx(1e-7)
    assert numbers["rates"][-1] < 10, "it stops where the loss breaks out"
    assert numbers["smoothed"][-1] > 4 * min(numbers["smoothed"][10:])
    for rate in (numbers["steepest"], numbers["tenth_of_minimum"]):
        assert result_of("baseline", replace(subject, rate=rate)).verdict == "pass"
        assert result_of("lr_range", replace(subject, rate=rate, folder=None)).verdict == "pass"
    assert result_of("lr_range", replace(subject, rate=100 * numbers["rates"][-1], folder=None)).verdict == "warn"


def test_suggestions_are_the_steepest_point_and_the_minimum_of_the_curve() -> None:
    """A loss that falls along a sigmoid over the rate's logarithm, and then rises."""
    exponents = [-7 + 0.05 * n for n in range(140)]
    curve = [2 - 1 / (1 + math.exp(-4 * (e + 3))) + max(0.0, e + 1) ** 2 for e in exponents]
    found = suggested([10**e for e in exponents], curve, curve)
    assert math.log10(found.steepest) == pytest.approx(-3, abs=0.06)
    assert -1.5 < math.log10(found.lowest) < -0.9


# The data.


def changed(name: str, **what: Any) -> dict[str, Split]:
    """The splits with something else in one of them."""
    return {**DIGITS, name: replace(DIGITS[name], **what)}


def with_gap() -> Tensor:
    x = DIGITS["val"].x.clone()
    x[17, 0, 3, 3] = torch.nan
    return x


FEW = replace(DIGITS["train"], x=DIGITS["train"].x[:300], y=DIGITS["train"].y[:300])

DATA: dict[str, tuple[dict[str, Split], str, str]] = {
    "copies": (changed("test", x=FEW.x, y=FEW.y), "fail", "100.00% of test"),
    "a copy": (
        changed("test", x=torch.cat([DIGITS["test"].x, FEW.x[:1]]), y=torch.cat([DIGITS["test"].y, FEW.y[:1]])),
        "warn", "of test",
    ),
    "labels from 1": (changed("val", y=DIGITS["val"].y + 1), "fail", "Labels of val run from 1 to 10"),
    "absent class": (changed("train", y=DIGITS["train"].y.clamp_max(8)), "fail", "No training example of 9"),
    "uneven": (changed("train", y=torch.where(torch.arange(1000) < 960, 0, torch.arange(1000) % 10)), "warn", "rare"),
    "constant": (changed("train", prepare=torch.zeros_like), "fail", "Every feature is constant"),
    "unscaled": (changed("train", prepare=lambda b: 100 * b), "warn", "data.preprocess=standardize"),
    "gap": (changed("val", x=with_gap()), "fail", "Example 17 of val"),
}  # fmt: skip


@pytest.mark.parametrize("problem", DATA)
def test_a_problem_of_the_data_is_named(problem: str) -> None:
    found, verdict, text = DATA[problem]
    result = result_of("examples", subject_of(mlp(), splits=found))
    assert result.verdict == verdict, result
    assert text in result.advice


def test_a_users_functional_dropout_changes_nothing() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.out = nn.Linear(64, 30), nn.Linear(30, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(nn.functional.dropout(torch.relu(self.enter(x.flatten(1))), 0.5, training=True))

    for name in ("gradient", "penalty"):
        assert result_of(name, subject_of(Dropping())).verdict == "pass"


def test_large_biases_are_named_instead_of_the_weights() -> None:
    subject = subject_of(mlp(hidden=[100] * 3), initializers.he)
    for name, value in subject.model.named_parameters():
        if name.endswith("bias"):
            nn.init.constant_(value, -2.0)
    assert result_of("signal", subject).advice.endswith("try init.bias=0.")
    weak = subject_of(mlp(hidden=[100] * 10), partial(initializers.normal, std=0.01))
    assert "try init=he for ReLU, init=xavier for tanh" in result_of("signal", weak).advice


def test_a_last_layer_of_zeros_does_not_count_as_loss_of_signal() -> None:
    subject = subject_of(mlp())
    nn.init.zeros_(subject.model.get_parameter("head.weight"))
    result = result_of("signal", subject)
    assert (result.verdict, "last layer" in result.advice) == ("warn", True)


def test_scores_that_go_through_an_activation_are_not_hidden() -> None:
    result = result_of("signal", subject_of(nn.Sequential(mlp(), nn.LogSoftmax(1))))
    assert list(result.numbers["activation_std"]) == ["0.features.hidden1.activation", "0.features.hidden2.activation"]


def test_a_loss_that_no_rate_lowers_is_reported() -> None:
    result = result_of("lr_range", subject_of(mlp(), partial(initializers.constant, value=0.0)))
    assert (result.verdict, "at any rate" in result.advice) == ("warn", True)


# What cannot be checked.


class Rounded(nn.Module):
    """Its scores have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(self.linear(x.flatten(1)).argmax(1), 10).float()


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (lambda: subject_of(Rounded()), "^model: its scores have no gradient; an operation such as argmax"),
        (
            lambda: subject_of(mlp(), splits=changed("train", prepare=lambda b: b.long())),
            r"whole numbers \(torch.int64\)",
        ),
        (
            lambda: subject_of(mlp(), splits=changed("val", y=DIGITS["val"].y + 1)),
            "labels of the val split run from 1 to 10",
        ),
        (
            lambda: subject_of(mlp(), splits=changed("train", x=FEW.x[:1], y=FEW.y[:1])),
            "there is only one training example; the checks need at least two",
        ),
        (
            lambda: subject_of(mlp(), splits=changed("val", x=with_gap())),
            "example 17 of the val split .* nan or infinite",
        ),
    ],
)
def test_subjects_that_cannot_be_checked_are_refused_in_one_sentence(
    subject: Callable[[], Subject], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        refuse(subject())
