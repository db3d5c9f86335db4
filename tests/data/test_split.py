"""Stratified splits: sizes, coverage, proportions, and that a limit moves no other split."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from experiments import assembly
from experiments.common.errors import UserError
from experiments.data.split import folds, stratified, with_label_noise
from tests.data.arrays import arrays
from tests.helpers import generator

CPU = torch.device("cpu")


def random_problems() -> list[tuple[Tensor, int]]:
    """Label vectors of many lengths and imbalances, each with a size to draw."""
    problems = []
    for seed in range(200):
        noise = np.random.default_rng(seed)
        classes, length = int(noise.integers(1, 12)), int(noise.integers(1, 400))
        weights = noise.dirichlet(np.full(classes, 0.5))
        labels = torch.from_numpy(noise.choice(classes, size=length, p=weights))
        problems.append((labels, int(noise.integers(0, length + 1))))
    return problems


def test_sizes_are_exact_and_every_example_is_in_one_part() -> None:
    for labels, size in random_problems():
        drawn, rest = stratified(labels, size, generator())
        assert len(drawn) == size
        assert torch.equal(torch.cat([drawn, rest]).sort().values, torch.arange(len(labels)))


def test_each_class_is_within_one_example_of_its_share() -> None:
    for labels, size in random_problems():
        drawn, _ = stratified(labels, size, generator())
        counts = torch.bincount(labels)
        share = counts.double() * size / len(labels)
        got = torch.bincount(labels[drawn], minlength=len(counts))
        assert float((got - share).abs().max()) < 1


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),
        ([1, 1, 1, 1], 4, [1, 1, 1, 1]),
        ([6, 3, 1], 0, [0, 0, 0]),
        ([7, 2, 1], 4, [3, 1, 0]),  # 2.8, 0.8, 0.4: two places are left over
        ([97, 2, 1], 10, [10, 0, 0]),  # 9.7, 0.2, 0.1
        ([5, 0, 5], 4, [2, 0, 2]),  # a class without examples
    ],
)
def test_counts_of_small_cases(counts: list[int], size: int, expected: list[int]) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    drawn, _ = stratified(labels, size, generator())
    assert torch.bincount(labels[drawn], minlength=len(counts)).tolist() == expected


def test_the_same_seed_gives_the_same_split() -> None:
    labels = torch.arange(300) % 7
    first, again, other = (stratified(labels, 60, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0].sort().values, other[0].sort().values)


def test_both_parts_are_shuffled() -> None:
    """Neither the file's order nor the classes' order shows."""
    labels = torch.arange(10).repeat_interleave(200)
    for part in stratified(labels, 1000, generator()):
        for sequence in (part, labels[part]):
            places = torch.arange(len(part))
            assert abs(float(torch.corrcoef(torch.stack([places, sequence]).double())[0, 1])) < 0.15


def test_every_example_can_be_drawn() -> None:
    labels = torch.arange(40) % 4
    times = torch.zeros(40)
    for seed in range(400):
        times[stratified(labels, 8, generator(seed))[0]] += 1
    assert 40 < float(times.min()) <= float(times.max()) < 130  # 80 expected, standard deviation 8


label_vectors = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(torch.tensor)


@settings(deadline=None)
@given(label_vectors, st.integers(1, 12), st.integers(0, 5))
def test_folds_differ_by_at_most_one_example_of_each_class_and_in_all(labels: Tensor, count: int, seed: int) -> None:
    numbers = folds(labels, count, generator(seed))
    assert numbers.shape == labels.shape
    assert numbers.dtype == torch.int64
    for members in (numbers, *(numbers[labels == c] for c in labels.unique())):
        sizes = torch.bincount(members, minlength=count)
        assert len(sizes) == count
        assert int(sizes.max() - sizes.min()) <= 1


def test_folds_are_drawn() -> None:
    labels = torch.arange(200) % 4
    first, again, other = (folds(labels, 5, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    together = sum(
        (numbers[0] == numbers[4]).item() for numbers in (folds(labels, 5, generator(s)) for s in range(400))
    )
    assert 50 < together < 110  # of the same class: 400 * 9 / 49 = 73 expected, standard deviation 8


@settings(deadline=None)
@given(label_vectors, st.floats(0, 1), st.integers(6, 8), st.integers(0, 5))
def test_label_noise_changes_exactly_the_share(labels: Tensor, share: float, classes: int, seed: int) -> None:
    before = labels.clone()
    noisy = with_label_noise(labels, share, classes, generator(seed))
    assert int((noisy != labels).sum()) == round(share * len(labels))
    assert int(noisy.min()) >= 0
    assert int(noisy.max()) < classes
    assert torch.equal(labels, before)
    assert noisy is not labels
    assert torch.equal(noisy, with_label_noise(labels, share, classes, generator(seed)))


def test_a_wrong_label_is_each_other_class_as_often() -> None:
    labels = torch.full((9000,), 2)
    counts = torch.bincount(with_label_noise(labels, 2 / 3, 4, generator()), minlength=4)
    assert int(counts[2]) == 3000
    assert all(abs(int(counts[c]) - 2000) < 150 for c in (0, 1, 3))  # standard deviation 37


def test_the_wrong_labels_are_anywhere() -> None:
    labels = torch.zeros(9000, dtype=torch.int64)
    wrong = with_label_noise(labels, 0.5, 2, generator()).view(9, 1000).sum(1)
    assert int((wrong - 500).abs().max()) < 75  # standard deviation 15


def test_label_noise_needs_another_class() -> None:
    labels = torch.zeros(10, dtype=torch.int64)
    assert torch.equal(with_label_noise(labels, 0.0, 1, generator()), labels)
    with pytest.raises(ValueError, match=r"^share=0\.5 needs a second class"):
        with_label_noise(labels, 0.5, 1, generator())


@pytest.fixture
def numbered_rows(tmp_path: Path) -> str:
    """250 training examples of 3 unequal classes whose first feature is their row."""
    noise = np.random.default_rng(0)
    rows = np.arange(250, dtype=np.float32)
    labels = noise.choice(3, size=250, p=[0.6, 0.3, 0.1])
    path = tmp_path / "table.npz"
    np.savez(
        path,
        x_train=np.stack([rows, noise.normal(size=250)], 1),
        y_train=labels,
        x_test=np.full((5, 2), -1.0, dtype=np.float32),
        y_test=np.array([0, 1, 2, 0, 1]),
    )
    return str(path)


def loaded(path: str, seed: int = 0, **settings: Any) -> assembly.Data:
    return arrays(path, seed, preprocess="none", **settings)


def rows_of(data: assembly.Data, split: str) -> Tensor:
    return data.splits[split].x[:, 0].long()


def test_validation_is_cut_from_the_training_examples(numbered_rows: str) -> None:
    data = loaded(numbered_rows)
    train, val = rows_of(data, "train"), rows_of(data, "val")
    assert (len(train), len(val), len(data.splits["test"])) == (200, 50, 5)
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(250))
    assert torch.equal(data.splits["test"].x, torch.full((5, 2), -1.0))


@pytest.mark.parametrize("limit", [1, 3, 64, 200])
def test_a_limit_changes_no_other_split(numbered_rows: str, limit: int) -> None:
    full, limited = loaded(numbered_rows), loaded(numbered_rows, limit=limit)
    for split in ("val", "test"):
        assert torch.equal(full.splits[split].x, limited.splits[split].x)
        assert torch.equal(full.splits[split].y, limited.splits[split].y)
    kept = set(rows_of(limited, "train").tolist())
    assert len(kept) == len(limited.splits["train"]) == limit
    assert kept <= set(rows_of(full, "train").tolist())
    share = torch.bincount(full.splits["train"].y, minlength=3) * limit / 200
    assert float((torch.bincount(limited.splits["train"].y, minlength=3) - share).abs().max()) < 1


def test_the_seed_decides_the_split(numbered_rows: str) -> None:
    first, again, other = (rows_of(loaded(numbered_rows, seed=seed), "val") for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert set(first.tolist()) != set(other.tolist())


def test_no_validation_split(numbered_rows: str) -> None:
    data = loaded(numbered_rows, val_fraction=0)
    assert set(data.splits) == {"train", "test"}
    assert len(data.splits["train"]) == 250


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 201}, r"data\.limit=201 is more than the 200 training examples"),
        ({"limit": 0}, r"data\.limit=0 should be greater than or equal to 1"),
        ({"val_fraction": 1}, r"data\.val_fraction=1 should be less than 1"),
        ({"val_fraction": 0.999}, r"data\.val_fraction=0\.999 leaves no example to train on"),
    ],
)
def test_refusals(numbered_rows: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        loaded(numbered_rows, **settings)
