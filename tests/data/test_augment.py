"""Augmentations: what they do to pictures and targets, how often, and from which generator."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from experiments.data.augment import Augmentation, CropFlip, Cutout, Mixup, beta
from tests.helpers import generator

EVERY: list[Augmentation] = [CropFlip(2), Cutout(), Mixup(classes=10)]


def pictures(count: int, channels: int = 3, height: int = 6, width: int = 5) -> Tensor:
    """Pictures without a zero whose pixels all differ."""
    numbers = torch.arange(1.0, 1 + count * channels * height * width)
    return numbers.view(count, channels, height, width)


def labels(count: int) -> Tensor:
    return torch.arange(count) % 10


def crops(x: Tensor, padding: int) -> Tensor:
    """Every crop of every picture and its mirror image: (batch, mirrored, top, left, channels, height, width)."""
    padded = F.pad(x, (padding,) * 4)
    windows = padded.unfold(2, x.shape[2], 1).unfold(3, x.shape[3], 1).permute(0, 2, 3, 1, 4, 5)
    return torch.stack([windows, windows.flip(-1)], 1)


def chosen_crops(x: Tensor, moved: Tensor, padding: int) -> Tensor:
    """Which crops each moved picture equals: (batch, mirrored, top, left)."""
    return (crops(x, padding) == moved[:, None, None, None]).flatten(4).all(4)


@pytest.mark.parametrize("padding", [0, 1, 4, 7])
@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 8, 8), (2, 1, 4)])
def test_every_moved_picture_is_a_window_of_its_own_padded_picture(shape: tuple[int, ...], padding: int) -> None:
    x = pictures(40, *shape)
    moved, targets = CropFlip(padding)(x, labels(40), generator())
    assert moved.shape == x.shape
    assert chosen_crops(x, moved, padding).flatten(1).any(1).all()
    assert torch.equal(targets, labels(40))


def test_every_offset_and_both_directions_are_as_frequent() -> None:
    count, padding = 18_000, 1
    x = pictures(1).expand(count, -1, -1, -1)
    moved, _ = CropFlip(padding)(x, labels(count), generator())
    times = torch.stack([chosen_crops(x[:1], one[None], padding)[0] for one in moved.unique(dim=0)])
    assert times.sum() == 18  # 2 directions, 3 x 3 places
    _, counts = moved.unique(dim=0, return_counts=True)
    assert int((counts - 1000).abs().max()) < 130  # standard deviation 31


def test_without_padding_half_of_the_pictures_are_mirrored() -> None:
    x = pictures(2000)
    moved, _ = CropFlip(0)(x, labels(2000), generator())
    mirrored = (moved == x.flip(3)).flatten(1).all(1)
    assert torch.equal(moved[~mirrored], x[~mirrored])
    assert abs(int(mirrored.sum()) - 1000) < 90  # standard deviation 22


@pytest.mark.parametrize("size", [1, 2, 3, 4, 20])
def test_cutout_clears_one_square_around_a_pixel(size: int) -> None:
    height, width = 6, 5
    x = pictures(4000, 3, height, width)
    cut, targets = Cutout(size)(x, labels(4000), generator())
    assert torch.equal(targets, labels(4000))
    cleared = cut == 0
    assert torch.equal(cut[~cleared], x[~cleared])
    assert torch.equal(cleared.all(1), cleared.any(1))  # all channels alike

    rows, columns = (torch.arange(side) for side in (height, width))
    squares = set()
    for row in range(height):
        for column in range(width):
            top, left = row - size // 2, column - size // 2
            square = ((rows >= top) & (rows < top + size))[:, None] & ((columns >= left) & (columns < left + size))
            squares.add(tuple(square.flatten().tolist()))
    assert {tuple(one.flatten().tolist()) for one in cleared[:, 0]} == squares


@pytest.mark.parametrize(("size", "side"), [(3, 3), (4, 4), (None, 2)])
def test_the_cleared_area_is_the_expected_one(size: int | None, side: int) -> None:
    """A pixel is cleared by as many centres as the square covers, fewer at the border."""
    height, width = 6, 5
    x = torch.ones(20_000, 1, height, width)
    cut, _ = Cutout(size)(x, labels(len(x)), generator())

    def covered(length: int) -> Tensor:
        centres, pixels = torch.arange(length)[:, None], torch.arange(length)
        first = centres - side // 2
        return ((pixels >= first) & (pixels < first + side)).double().mean(0)

    expected = covered(height)[:, None] * covered(width)
    torch.testing.assert_close((cut == 0).double().mean((0, 1)), expected, atol=0.015, rtol=0)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_mixing_shares_have_the_distribution_beta(alpha: float) -> None:
    share = beta(alpha, 20_000, generator())
    assert float(share.mean()) == pytest.approx(0.5, abs=0.015)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    inside = share[(share > 1e-6) & (share < 1 - 1e-6)].numpy()  # nearer to 1 float64 has too few numbers
    low, high = stats.beta.cdf([1e-6, 1 - 1e-6], alpha, alpha)
    assert len(inside) / 20_000 == pytest.approx(high - low, abs=0.015)
    assert stats.kstest(inside, lambda x: (stats.beta.cdf(x, alpha, alpha) - low) / (high - low)).pvalue > 0.01


@pytest.mark.parametrize("alpha", [1e-300, 1e-6, 1e-3, 1e6])
def test_extreme_alphas_give_finite_shares(alpha: float) -> None:
    share = beta(alpha, 4000, generator())
    if alpha < 1:  # one of the two examples, each as often
        assert float(torch.minimum(share, 1 - share).mean()) < 1e-3
        assert float(share.mean()) == pytest.approx(0.5, abs=0.04)
    else:
        assert float((share - 0.5).abs().max()) < 0.01


@pytest.mark.parametrize("shape", [(3,), (2, 4, 4)])
def test_inputs_and_targets_are_mixed_with_the_same_share(shape: tuple[int, ...]) -> None:
    """Inputs that are a linear map of their targets still are."""
    y = labels(300)
    codes = torch.randn(10, math.prod(shape), generator=generator(1))
    x = codes[y].view(300, *shape)
    mixed, probabilities = Mixup(classes=10, alpha=1.0)(x, y, generator())
    assert probabilities.shape == (300, 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(300))
    assert (probabilities >= 0).all()
    torch.testing.assert_close((probabilities @ codes).view(mixed.shape), mixed, atol=1e-5, rtol=1e-4)
    own = probabilities[torch.arange(300), y]
    assert 0.4 < float(own.mean()) < 0.7  # a half, and the partners of the same class
    assert ((probabilities > 0).sum(1) <= 2).all()
    assert len(own.unique()) > 200  # each example has a share of its own


def test_every_example_is_a_partner_once() -> None:
    x = torch.eye(50)
    mixed, _ = Mixup(classes=10, alpha=1e6)(x, labels(50), generator())  # a half of each of the two
    torch.testing.assert_close(mixed.sum(0), torch.ones(50), atol=0.02, rtol=0)
    assert float(mixed.diagonal().mean()) < 0.6


def test_probabilities_are_mixed_as_class_numbers_are() -> None:
    x, y = pictures(30), labels(30)
    first = Mixup(classes=10)(x, y, generator())
    second = Mixup(classes=10)(x, F.one_hot(y, 10).float(), generator())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_augmentations_chain() -> None:
    x, targets, own = pictures(30), labels(30), generator()
    chain: list[Augmentation] = [*EVERY, Mixup(classes=10), CropFlip(2)]
    for augment in chain:
        x, targets = augment(x, targets, own)
    assert x.shape == (30, 3, 6, 5)
    torch.testing.assert_close(targets.sum(1), torch.ones(30))


@pytest.mark.parametrize("augment", EVERY)
def test_only_the_generator_decides(augment: Augmentation) -> None:
    x, y = pictures(64), labels(64)
    before = torch.get_rng_state()
    first, again, other = (augment(x, y, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("augment", EVERY)
def test_the_given_examples_do_not_change(augment: Augmentation) -> None:
    x, y = pictures(64), labels(64)
    moved, _ = augment(x, y, generator())
    assert not torch.equal(moved, x)
    moved.zero_()
    assert torch.equal(x, pictures(64))
    assert torch.equal(y, labels(64))


@pytest.mark.parametrize("augment", [CropFlip(0), *EVERY])
@pytest.mark.parametrize("count", [1, 2])
def test_small_batches(augment: Augmentation, count: int) -> None:
    moved, targets = augment(pictures(count), labels(count), generator())
    assert moved.shape == pictures(count).shape
    assert len(targets) == count


@pytest.mark.parametrize("augment", [CropFlip(), Cutout()])
def test_only_pictures_are_moved_and_cut(augment: Augmentation) -> None:
    with pytest.raises(ValueError, match=r"^needs pictures, but an example has the shape \(2,\)$"):
        augment(torch.zeros(5, 2), labels(5), generator())
