"""Optimizers: what conf/optimizer builds, fused kernels that agree with plain ones, and refused numbers."""

from typing import Any, cast

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from experiments import assembly, optimizers
from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from tests.helpers import composed

CLASSES: dict[str, type[torch.optim.Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "momentum": torch.optim.SGD,
    "nadam": torch.optim.NAdam,
    "nesterov": torch.optim.SGD,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
FUSED = {"adagrad", "adam", "adamw", "momentum", "nesterov", "sgd"}


def configured(name: str, **settings: Any) -> dict[str, Any]:
    """The default run with an optimizer and other numbers for it."""
    config = composed(f"optimizer={name}")
    return {**config, "optimizer": {**config["optimizer"], **settings}}


def numbers(name: str) -> dict[str, Any]:
    """The file's settings without its target."""
    chosen = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(conf_folder() / "optimizer" / f"{name}.yaml")))
    return {key: tuple(value) if isinstance(value, list) else value for key, value in chosen.items() if key[0] != "_"}


def problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small regression, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return model, torch.randn(32, 5, generator=generator), torch.randn(32, 2, generator=generator)


def optimized(make: Any, steps: int = 50) -> tuple[list[torch.Tensor], list[float]]:
    """Return the weights after some steps of `make(model)`, and the loss of each step."""
    model, x, y = problem()
    optimizer = make(model)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [parameter.detach() for parameter in model.parameters()], losses


@pytest.mark.parametrize("name", CLASSES)
def test_the_configuration_builds_torchs_class_with_its_numbers(name: str) -> None:
    model, _, _ = problem()
    built, rate = assembly.optimizer(configured(name, decay_exempt=[]), model)
    assert type(built) is CLASSES[name]
    (group,) = built.param_groups
    given = numbers(name)
    assert {key: group[key] for key in given} == given
    assert rate == given["lr"]
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in model.parameters()]


@pytest.mark.parametrize("name", CLASSES)
def test_other_numbers_are_torchs_defaults(name: str) -> None:
    """The file leaves out nothing that it should have changed, and repeats torch's defaults but for the rate."""
    own = {"momentum", "nesterov"} & numbers(name).keys()
    built, _ = assembly.optimizer(configured(name), nn.Linear(2, 2))
    plain = CLASSES[name]([nn.Parameter(torch.zeros(2))], lr=1.0)  # type: ignore[call-arg]
    skipped = {"params", "lr", "fused", *own}
    expected, got = ({k: v for k, v in o.param_groups[0].items() if k not in skipped} for o in (plain, built))
    assert got == expected


@pytest.mark.parametrize("name", CLASSES)
def test_the_kernel_is_fused_if_there_is_one(name: str) -> None:
    built, _ = assembly.optimizer(configured(name), nn.Linear(2, 2))
    assert bool(built.param_groups[0].get("fused")) == (name in FUSED)


@pytest.mark.parametrize("weight_decay", [None, 0.1])
@pytest.mark.parametrize("name", CLASSES)
def test_training_agrees_with_torchs_plain_optimizer(name: str, weight_decay: float | None) -> None:
    changed = {} if weight_decay is None else {"weight_decay": weight_decay}
    config = configured(name, **changed)
    plain = {"foreach": False, **({"fused": False} if name in FUSED else {})}
    config["optimizer"]["decay_exempt"] = []
    ours, losses = optimized(lambda model: assembly.optimizer(config, model)[0])
    reference, _ = optimized(lambda model: CLASSES[name](model.parameters(), **{**numbers(name), **changed, **plain}))
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("choice", [{"fused": False}, {"foreach": True}, {"differentiable": True}])
def test_the_kernel_that_the_user_chooses_is_used(choice: dict[str, bool]) -> None:
    config = configured("adam", **choice)
    built, _ = assembly.optimizer(config, nn.Linear(2, 2))
    assert not built.param_groups[0]["fused"]
    assert {key: built.param_groups[0][key] for key in choice} == choice


def test_parameters_without_a_fused_kernel_use_the_plain_one() -> None:
    complex_weight = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    built = optimizers.build(torch.optim.Adam, [complex_weight])
    complex_weight.grad = torch.ones_like(complex_weight)
    built.step()
    assert not built.param_groups[0]["fused"]
    assert complex_weight.detach().abs().min() > 0


def test_a_generator_of_parameters_is_accepted() -> None:
    model, _, _ = problem()
    built = optimizers.build(torch.optim.SGD, model.parameters())
    assert len(built.param_groups[0]["params"]) == 4


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sgd", {"lr": 0}, r"optimizer\.lr=0 should be greater than 0"),
        ("adam", {"lr": -0.1}, r"optimizer\.lr=-0\.1 should be greater than 0"),
        ("adagrad", {"lr": float("nan")}, r"optimizer\.lr=NaN should be a finite number"),
        ("adam", {"lr": "fast"}, r"optimizer\.lr='fast' should be a valid number"),
        ("momentum", {"momentum": 1}, r"optimizer\.momentum=1 should be less than 1"),
        ("nesterov", {"momentum": 1.5}, r"optimizer\.momentum=1\.5 should be less than 1"),
        ("rmsprop", {"momentum": -0.1}, r"optimizer\.momentum=-0\.1 should be greater than or equal to 0"),
        ("adam", {"betas": [0.9, 1]}, r"optimizer\.betas\[1\]=1 should be less than 1"),
        ("adamw", {"betas": [1.0, 0.9]}, r"optimizer\.betas\[0\]=1\.0 should be less than 1"),
        ("nadam", {"betas": [-0.1, 0.9]}, r"optimizer\.betas\[0\]=-0\.1 should be greater than or equal to 0"),
        ("radam", {"betas": [0.9, 0.99, 0.999]}, r"optimizer\.betas.* should have at most 2 items"),
        ("adamax", {"eps": 0}, r"optimizer\.eps=0 should be greater than 0"),
        ("adadelta", {"eps": -1e-6}, r"optimizer\.eps=-1e-06 should be greater than 0"),
        ("sgd", {"weight_decay": -1}, r"optimizer\.weight_decay=-1 should be greater than or equal to 0"),
        ("adamw", {"weight_decay": -0.1}, r"optimizer\.weight_decay=-0\.1 should be greater than or equal to 0"),
        ("rmsprop", {"alpha": 1}, r"optimizer\.alpha=1 should be less than 1"),
        ("adadelta", {"rho": 1}, r"optimizer\.rho=1 should be less than 1"),
        ("adagrad", {"lr_decay": -1}, r"optimizer\.lr_decay=-1 should be greater than or equal to 0"),
        ("nesterov", {"momentum": 0}, r"optimizer: Nesterov momentum requires a momentum and zero dampening"),
        ("sgd", {"nesterov": 1}, r"optimizer\.nesterov=1 should be a valid boolean"),
        ("adam", {"momentum": 0.9}, r"unknown setting 'optimizer\.momentum' of Adam; choose from lr, betas, eps"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        assembly.optimizer(configured(name, **settings), nn.Linear(2, 2))
