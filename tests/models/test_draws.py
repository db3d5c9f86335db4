"""Draws without a state: what they are, that they look random, and that everything but their purpose is the same."""

import itertools
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from experiments.models.draws import Draws, Masks, mixed

CPU = torch.device("cpu")
RECORDED = [
    [[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1], [1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1]],
    [[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1]],
]


def mask(seed: int = 0, name: str = "a", update: int = 0, count: int = 40_000, rate: float = 0.5) -> Tensor:
    """The kept elements of one mask."""
    draws = Draws(seed)
    draws.update = update
    return (draws.factors(name, rate, torch.empty(1, count)) > 0)[0].double()


def test_mixing_is_that_of_splitmix64() -> None:
    """The first numbers of the published generator for the seed 1234567."""
    gamma = 0x9E3779B97F4A7C15
    states = torch.tensor([((1234567 + n * gamma + 2**63) % 2**64) - 2**63 for n in (1, 2, 3)])
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(z) % 2**64 for z in mixed(states)] == wanted


def test_a_mask_means_the_same_numbers_in_every_version() -> None:
    """Recorded once; a change here needs another name of the way to draw."""
    draws = Draws(5)
    draws.update = 7
    found = [(draws.factors(name, 0.5, torch.empty(2, 12)) > 0).long().tolist() for name in ("a", "b")]
    assert found == RECORDED


@pytest.mark.parametrize("rate", [1e-4, 0.1, 0.5, 0.9, 0.999])
def test_the_share_of_dropped_elements(rate: float) -> None:
    kept = mask(count=400_000, rate=rate)
    error = (rate * (1 - rate) / len(kept)) ** 0.5
    assert float(kept.mean()) == pytest.approx(1 - rate, abs=4 * error + 2**-17)


def test_masks_of_different_updates_layers_and_seeds_are_independent() -> None:
    """The counts of kept elements have the variance of independent draws, and no two masks are correlated."""
    chosen = itertools.product((0, 1, 2**40), ("a", "b"), range(30))
    masks = torch.stack([mask(seed, name, update, 10_000) for seed, name, update in chosen])
    correlations = torch.corrcoef(masks).triu(1)
    assert float(correlations.abs().max()) < 0.055  # of 16,110 pairs; the standard deviation is 0.01
    assert float((correlations[correlations != 0] * 100).std()) == pytest.approx(1, abs=0.03)
    assert float(masks.sum(1).var()) == pytest.approx(2500, rel=0.35)
    assert float(masks.sum(0).var()) == pytest.approx(45, rel=0.06)


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 5, 8, 64])
def test_elements_are_independent_of_their_neighbours(distance: int) -> None:
    kept = mask(count=400_000)
    pairs = torch.stack([kept[:-distance], kept[distance:]])
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.007


def test_every_pattern_of_12_elements_is_as_frequent() -> None:
    kept = mask(count=12 * 60_000).view(-1, 12)
    counts = torch.bincount((kept @ (2.0 ** torch.arange(12, dtype=torch.float64))).long(), minlength=4096)
    expected = len(kept) / 4096
    assert float(((counts - expected) ** 2 / expected).sum()) == pytest.approx(4095, abs=4 * (2 * 4095) ** 0.5)


@pytest.mark.parametrize("count", [1, 3, 4, 10, 4001, 70_000])
def test_masks_of_many_runs_are_those_of_each(count: int) -> None:
    rates = [0.5, 0.0, 0.2, 0.9]
    draws = [Draws(seed) for seed in range(4)]
    masks = Masks([own.key("a") for own in draws], rates, CPU)
    for update in (0, 1, 2, 300, 5):
        together = masks.of(update, count, torch.float32)
        for own, rate, row in zip(draws, rates, together, strict=True):
            own.update = update
            own.begin(count)
            assert torch.equal(own.factors("a", rate, torch.empty(count, 1))[:, 0], row)


def test_parts_of_a_batch_have_the_masks_of_the_whole() -> None:
    draws, x = Draws(1), torch.empty(10, 7)
    draws.begin(10)
    whole = draws.factors("a", 0.4, x)
    for start, stop in ((0, 3), (3, 8), (8, 10)):
        draws.begin_pass(start)
        assert torch.equal(draws.factors("a", 0.4, x[start:stop]), whole[start:stop])
    draws.begin_pass(4)
    assert draws.factors("a", 0.4, x[:0]).shape == (0, 7)


def test_a_layer_that_runs_twice_draws_twice_and_the_same_in_every_pass() -> None:
    draws, x = Draws(1), torch.empty(10, 7)
    passes = []
    for _ in range(2):
        draws.begin(10)
        passes.append([draws.factors("a", 0.4, x) for _ in range(2)])
    assert torch.equal(passes[0][0], passes[1][0])
    assert torch.equal(passes[0][1], passes[1][1])
    assert not torch.equal(passes[0][0], passes[0][1])


def test_a_copy_draws_the_same() -> None:
    draws, x = Draws(1), torch.empty(10, 7)
    draws.update = 3
    copied = deepcopy(draws)
    assert torch.equal(draws.factors("a", 0.4, x), copied.factors("a", 0.4, x))
    assert torch.equal(draws.normal("b", x), copied.normal("b", x))


def test_generators_depend_on_the_purpose_and_the_update_only() -> None:
    draws = Draws(1)
    first = torch.rand(5, generator=draws.generator("augment/0"))
    other = torch.rand(5, generator=draws.generator("augment/1"))
    draws.update = 1
    later = torch.rand(5, generator=draws.generator("augment/0"))
    draws.update = 0
    assert torch.equal(first, torch.rand(5, generator=draws.generator("augment/0")))
    assert len({tuple(values.tolist()) for values in (first, other, later)}) == 3
