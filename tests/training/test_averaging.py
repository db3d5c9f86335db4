"""Averages of weights, against torch's own."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from experiments.models.blocks import Dropout
from experiments.training.averaging import Average, refresh_statistics


def net(dropout: bool = False) -> nn.Module:
    """A small model with a norm."""
    torch.manual_seed(0)
    middle: nn.Module = Dropout(0.5) if dropout else nn.Identity()
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), middle, nn.Linear(6, 3))


def moved(model: nn.Module, draw: torch.Generator) -> None:
    """Change every weight and statistic."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=draw))
            else:
                tensor.add_(1)


EXPONENTIAL = partial(AveragedModel, multi_avg_fn=get_ema_multi_avg_fn(0.15))
"""With a decay below that of the warm-up from the second update on."""


@pytest.mark.parametrize(
    ("decay", "average_of", "updates"),
    [(None, AveragedModel, 5), (0.15, EXPONENTIAL, 6)],
    ids=["plain", "exponential, after its warm-up"],
)
def test_an_average_equals_torchs(
    decay: float | None, average_of: Callable[[nn.Module], AveragedModel], updates: int
) -> None:
    model, draw = net(), torch.Generator().manual_seed(1)
    ours, theirs = Average(model, decay), average_of(model)
    for _ in range(updates):
        moved(model, draw)
        ours.update()
        theirs.update_parameters(model)
    for one, other in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert ours.count == updates


def test_the_warm_up_written_out() -> None:
    model, draw = net(), torch.Generator().manual_seed(1)
    ours, expected = Average(model, 0.9), None
    for n in range(30):
        moved(model, draw)
        ours.update()
        weight = model[0].weight.detach().double()  # type: ignore[index]
        decay = min(0.9, (1 + n) / (10 + n))
        expected = weight.clone() if expected is None else decay * expected + (1 - decay) * weight
    torch.testing.assert_close(ours.module[0].weight.double(), expected, atol=1e-5, rtol=0)  # type: ignore[index]
    assert int(ours.module[1].num_batches_tracked) == 30  # type: ignore[index]


def test_the_model_itself_does_not_change() -> None:
    model = net()
    before = deepcopy(model.state_dict())
    average = Average(model, None)
    average.update()
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in average.module.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def batches() -> list[torch.Tensor]:
    return list(torch.randn(30, 4, generator=torch.Generator().manual_seed(2)).split(10))


def test_statistics_are_measured_as_torch_does() -> None:
    ours, theirs = net().eval(), net().eval()
    refresh_statistics(ours, ours, batches())
    update_bn(batches(), theirs)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    norm: nn.BatchNorm1d = ours[1]  # type: ignore[index]
    assert (norm.momentum, norm.training) == (0.1, False)


@pytest.mark.parametrize("rest", [[], [torch.ones(1, 4)]], ids=["even", "one left over"])
def test_dropout_stays_off_and_a_single_last_example_is_skipped(rest: list[torch.Tensor]) -> None:
    plain, dropped = net().eval(), net(dropout=True).eval()
    run: Callable[[torch.Tensor], torch.Tensor] = dropped
    before = torch.get_rng_state()
    refresh_statistics(plain, plain, batches())
    refresh_statistics(dropped, run, [*batches(), *rest])
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(plain.buffers(), dropped.buffers(), strict=True):
        assert torch.equal(one, other)
