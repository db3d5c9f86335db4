"""The update rules against torch's own optimizers, side by side in one matrix."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim._muon import _zeropower_via_newtonschulz

from experiments.data.batches import Split
from experiments.optimizers import Muon
from experiments.training.single import Single
from experiments.training.stack._muon import orthogonalized
from experiments.training.stack._parts import parts
from experiments.training.stack._weights import Weights
from experiments.training.stack.rules import MUON, RULES, rule_of
from tests.helpers import thinned

Problem = Callable[[Sequence[Tensor]], Tensor]
STEPS = 200

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.05}),
    "sgd decay": (torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.02}),
    "momentum": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9}),
    "momentum dampened": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01}),
    "nesterov": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.05, "lr_decay": 0.01, "initial_accumulator_value": 0.1}),
    "adadelta": (torch.optim.Adadelta, {"lr": 1.0, "rho": 0.85, "weight_decay": 0.01}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.95, "weight_decay": 0.01}),
    "rmsprop momentum": (torch.optim.RMSprop, {"lr": 0.005, "momentum": 0.7}),
    "adam": (torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.02}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "adamax": (torch.optim.Adamax, {"lr": 0.02, "weight_decay": 0.01}),
    "nadam": (torch.optim.NAdam, {"lr": 0.01, "weight_decay": 0.01, "momentum_decay": 0.01}),
    "nadam decoupled": (torch.optim.NAdam, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "radam": (torch.optim.RAdam, {"lr": 0.01, "betas": (0.9, 0.98), "weight_decay": 0.01}),
    "asgd": (torch.optim.ASGD, {"lr": 0.05, "lambd": 0.01, "alpha": 0.6, "t0": 50.0, "weight_decay": 0.01}),
    "rprop": (torch.optim.Rprop, {"lr": 0.01, "etas": (0.4, 1.3), "step_sizes": (1e-5, 0.2)}),
    "radam decoupled": (torch.optim.RAdam, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
}


def quadratic(parameters: Sequence[Tensor]) -> Tensor:
    """A bowl a thousand times as steep in one direction as in another."""
    return sum((p.square() * torch.logspace(-2, 1, p.numel(), dtype=p.dtype).view_as(p)).sum() for p in parameters)  # type: ignore[return-value]


def rosenbrock(parameters: Sequence[Tensor]) -> Tensor:
    """A bent valley."""
    x = torch.cat([p.flatten() for p in parameters])
    return ((1 - x[:-1]).square() + 5 * (x[1:] - x[:-1].square()).square()).mean()


def flat_in_parts(parameters: Sequence[Tensor]) -> Tensor:
    """Gradients that are exactly zero for half of the elements, and jump."""
    return sum((p - 0.3).clamp_min(0).sum() + p.abs().mean() for p in parameters)  # type: ignore[return-value]


PROBLEMS = (quadratic, rosenbrock, flat_in_parts)


def rates(base: float) -> list[float]:
    """A schedule that rises, falls and is zero for a while."""
    return [base * (0 if 60 <= t < 65 else min(1.0, (t + 1) / 20) * (1 - 0.9 * t / STEPS)) for t in range(STEPS)]


def two_groups(seed: int, kind: type[torch.optim.Optimizer], settings: dict[str, Any]) -> Single:
    """A run whose parameters are in two groups: another share of the rate and no decay in the second."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).double()
    model.requires_grad_(True)
    first, second = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]
    other = {"lr": settings["lr"] * 0.5}
    if kind is not torch.optim.Rprop:
        settings = {**settings, "weight_decay": settings.get("weight_decay", 0.0)}
        other["weight_decay"] = 0.0
    groups = [{"params": first}, {"params": second, **other}]
    x = torch.zeros(2, 3, dtype=torch.float64)
    split = Split(x, torch.zeros(2, dtype=torch.int64), lambda inputs: inputs, torch.device("cpu"))
    return Single(model, kind(groups, **settings), {"train": split}, eval_batch_size=2)


def by_torch(program: Single, problem: Problem, lrs: list[float]) -> None:
    """Let torch's optimizer do it."""
    for lr in lrs:
        program.optimizer.zero_grad()
        problem(program.parameters).backward()
        for group, share in zip(program.optimizer.param_groups, program.shares, strict=True):
            group["lr"] = lr * share
        program.optimizer.step()


def by_rules(programs: list[Single], problem: Problem, lrs: list[list[float]]) -> None:
    """Let the rules do it for all at once."""
    weights = Weights(programs)
    divided = parts(programs, weights)
    for at_once in zip(*lrs, strict=True):
        for row, program in enumerate(programs):
            gradients = torch.autograd.grad(problem(program.parameters), program.parameters)
            for gradient, column in zip(gradients, weights.columns, strict=True):
                weights.gradient[row, column.span] = gradient.flatten()
        with torch.no_grad():
            for part in divided:
                part.update(torch.tensor(at_once, dtype=torch.float64).unsqueeze(1), at_once)
    for part in divided:
        for program in part.programs:
            part.give_back(program)


@pytest.fixture(params=["by kernels", "by rules"])
def _kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the rules that torch has a fused kernel for are computed by it."""
    if request.param == "by rules":
        monkeypatch.setattr("experiments.training.stack._parts.KERNELS", {})


@pytest.mark.slow
@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", thinned(OPTIMIZERS))
def test_a_rule_does_what_torch_does(name: str, problem: Problem) -> None:
    kind, settings = OPTIMIZERS[name]
    others = [settings, {**settings, "lr": settings["lr"] * 0.3}]
    if "betas" in settings:
        others.append({**settings, "betas": (0.7, 0.9)})
    apart = [two_groups(seed, kind, own) for seed, own in enumerate(others)]
    together = [two_groups(seed, kind, own) for seed, own in enumerate(others)]
    lrs = [rates(own["lr"]) for own in others]
    for program, own in zip(apart, lrs, strict=True):
        by_torch(program, problem, own)
    by_rules(together, problem, lrs)
    for one, other in zip(apart, together, strict=True):
        for p, q in zip(one.parameters, other.parameters, strict=True):
            assert torch.allclose(p, q, rtol=1e-10, atol=1e-10)
            state, given = one.optimizer.state[p], other.optimizer.state[q]
            assert state.keys() == given.keys()
            for key, value in state.items():
                assert torch.allclose(value.double(), given[key].double(), rtol=1e-7, atol=1e-10), key


@pytest.mark.slow
@pytest.mark.usefixtures("_kernels")
def test_different_rules_share_a_matrix() -> None:
    names = list(OPTIMIZERS)
    apart, together = ([two_groups(3, *OPTIMIZERS[name]) for name in names] for _ in range(2))
    lrs = [rates(OPTIMIZERS[name][1]["lr"]) for name in names]
    for program, own in zip(apart, lrs, strict=True):
        by_torch(program, rosenbrock, own)
    by_rules(together, rosenbrock, lrs)
    for name, one, other in zip(names, apart, together, strict=True):
        for p, q in zip(one.parameters, other.parameters, strict=True):
            assert torch.allclose(p, q, rtol=1e-10, atol=1e-10), name


@pytest.mark.slow
@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torch_continues_from_the_state_of_a_rule_and_the_other_way_round(name: str) -> None:
    kind, settings = OPTIMIZERS[name]
    lrs = rates(settings["lr"])
    whole, rules_first, torch_first = (two_groups(5, kind, settings) for _ in range(3))
    by_torch(whole, rosenbrock, lrs)
    by_rules([rules_first], rosenbrock, [lrs[:70]])
    by_torch(rules_first, rosenbrock, lrs[70:])
    by_torch(torch_first, rosenbrock, lrs[:70])
    by_rules([torch_first], rosenbrock, [lrs[70:]])
    for p, q, r in zip(whole.parameters, rules_first.parameters, torch_first.parameters, strict=True):
        assert torch.allclose(p, q, rtol=1e-10, atol=1e-10)
        assert torch.allclose(p, r, rtol=1e-10, atol=1e-10)


def test_every_rule_is_tried() -> None:
    tried = [rule_of(kind, {**two_groups(0, kind, own).optimizer.param_groups[0]}) for kind, own in OPTIMIZERS.values()]
    assert all(any(rule is other for other in [*tried, MUON]) for rule in RULES)


def muons(seed: int, **settings: Any) -> Single:
    """A run with Muon: a wide, a tall and a last matrix, which AdamW updates, in three groups."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2)).double()
    hidden = [model.get_parameter(f"{number}.weight") for number in (0, 1)]
    groups = [
        {"params": [*model[0].parameters()], "lr": 0.01},
        {"params": [*model[1].parameters()], "lr": 0.005, "weight_decay": 0.0},
        {"params": [*model[2].parameters()], "lr": 0.02},
    ]
    x = torch.zeros(2, 3, dtype=torch.float64)
    split = Split(x, torch.zeros(2, dtype=torch.int64), lambda inputs: inputs, torch.device("cpu"))
    return Single(model, Muon(groups, hidden, lr=0.01, **settings), {"train": split}, eval_batch_size=2)


MUONS: tuple[dict[str, Any], ...] = (
    {},
    {"nesterov": False, "momentum": 0.8},
    {"betas": (0.8, 0.9), "ns_steps": 3, "weight_decay": 0.0},
)


def in_double(matrix: Tensor, *_: Any) -> Tensor:
    """The iterations of Muon without the coarse rounding of bf16."""
    x = matrix / torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _step in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS[:2], ids=lambda f: f.__name__)
def test_muon_does_what_torchs_does_in_double_precision(monkeypatch: pytest.MonkeyPatch, problem: Problem) -> None:
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", in_double)
    monkeypatch.setattr("experiments.training.stack._muon.orthogonalized", in_double)
    apart, together, resumed = ([muons(k, **own) for k, own in enumerate(MUONS)] for _ in range(3))
    lrs = [rates(0.01 * (k + 1))[:100] for k in range(len(MUONS))]  # rounding is doubled every few updates
    for program, own in zip(apart, lrs, strict=True):
        by_torch(program, problem, own)
    by_rules(together, problem, lrs)
    by_rules(resumed, problem, [own[:40] for own in lrs])
    for program, own in zip(resumed, lrs, strict=True):
        program.optimizer.load_state_dict(program.optimizer.state_dict())
        by_torch(program, problem, own[40:70])
    by_rules(resumed, problem, [own[70:] for own in lrs])
    for one, *others in zip(apart, together, resumed, strict=True):
        for other in others:
            for p, q in zip(one.parameters, other.parameters, strict=True):
                assert torch.allclose(p, q, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (40, 30)])
def test_matrices_are_orthogonalized_as_torchs_muon_does(shape: tuple[int, int]) -> None:
    matrices = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalized(matrices, 5, (3.4445, -4.775, 2.0315), 1e-7)
    for matrix, own in zip(matrices, found, strict=True):
        wanted = _zeropower_via_newtonschulz(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
        assert float((wanted - own).double().norm() / wanted.double().norm()) < 0.01


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.RMSprop, {"centered": True}),
        (torch.optim.SGD, {"maximize": True}),
        (torch.optim.LBFGS, {}),
        (torch.optim.Rprop, {"maximize": True}),
        (type("Own", (torch.optim.Adam,), {}), {}),
    ],
)
def test_optimizers_without_a_rule_have_none(kind: type[torch.optim.Optimizer], settings: dict[str, Any]) -> None:
    built = kind([nn.Parameter(torch.zeros(1))], **settings)
    assert rule_of(type(built), built.param_groups[0]) is None
