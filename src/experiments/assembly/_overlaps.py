"""Whether the parts of a data set share examples: what was trained on says nothing about new examples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from experiments.data.sources import Source, channels_first
from experiments.data.streamed import Rows

from ._items import Gathered, spread

SAMPLED = 256
"""Examples of a part that are looked for in another one."""
POSITIONS = 64
"""Values of an example by which equal ones are found, before whole examples are compared."""
LARGEST = 2**30
"""Bytes of inputs in a mapped file up to which all of its examples are looked through."""
SHARED = 0.1
"""The share of a part's examples from which a part is doubtful, in addition to that of equal training examples."""
FEWEST = 5
NEARER = 0.4
"""Two readings belong to one example if fewer of the other examples of its class are nearer; by chance it is half."""
NAMES = {"train": "training", "val": "validation", "test": "test"}


def described_again(train: Gathered, other: Gathered) -> bool | None:
    """Whether a data set has the examples of the training set again, in the same order, perhaps transformed otherwise.

    Returns:
        None if it has the same targets in the same order, but inputs that do not look like those of the same examples.
    """
    if len(train.x) != len(other.x) or not np.array_equal(train.y, other.y):
        return False
    rows = spread(len(train.y))
    one, two = inputs_at(train.x, rows), inputs_at(other.x, rows)
    if one.shape != two.shape:
        one, two = channels_first(one), channels_first(two)
    if one.shape != two.shape or torch.equal(one, two):
        return True
    return True if are_near(one.flatten(1), two.flatten(1), train.y[rows]) else None


def inputs_at(x: np.ndarray | Rows, rows: list[int]) -> Tensor:
    """Return the inputs of some examples in float64; missing values are 0."""
    chosen = torch.tensor(rows)
    found = x.index_select(0, chosen) if isinstance(x, Rows) else torch.as_tensor(np.ascontiguousarray(x[rows]))
    return found.double().nan_to_num()


def are_near(one: Tensor, two: Tensor, targets: np.ndarray) -> bool:
    """Whether two readings of examples, (examples, values), are nearer to each other than to others of their class."""
    one, two = ((x - x.mean()) / x.std().clamp_min(1e-12) for x in (one, two))
    distance = torch.cdist(one, two)
    own = distance.diagonal()[:, None]
    classes = torch.from_numpy(np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1))
    others = (classes[:, None] == classes[None]) & ~torch.eye(len(one), dtype=torch.bool)
    if not others.any():
        others = ~torch.eye(len(one), dtype=torch.bool)
    nearer = (distance < own).double() + 0.5 * (distance == own).double()
    return bool(nearer[others].mean() < NEARER)


def shared_examples(source: Source) -> Iterator[str]:
    """Yield a sentence for each part of a data set that has examples of another part."""
    if source.kind == "tokens":  # short windows of a text repeat
        return
    for part, other in (("test", "train"), ("val", "train"), ("test", "val")):
        again = source.val_again and "val" in (part, other)
        if again or source.test_rows is not None or {part, other} - {*source.parts}:
            continue
        x, known = getattr(source, f"x_{part}"), getattr(source, f"x_{other}")
        share = shared(x, known)
        if share == 1:
            yield repeated(part, len(x), other)
        elif share:
            amount = f"about {share:.0%} of the {len(x):,} {NAMES[part]} examples"
            yield f"{amount} are {NAMES[other]} examples too, {consequence(part, other)}"


def repeated(part: str, count: int, other: str) -> str:
    """Return a sentence about a part whose examples are all those of another part."""
    return f"all {count:,} {NAMES[part]} examples are {NAMES[other]} examples too, {consequence(part, other)}"


def consequence(part: str, other: str) -> str:
    """Return the words about examples that two parts share."""
    if other == "val":
        return "so the best epoch is chosen by examples that should be looked at once, at the end"
    return f"so the {NAMES[part]} numbers do not show how the model does on new examples"


def shared(x: Tensor | Rows, known: Tensor | Rows) -> float:
    """Return the share of examples that also occur in another part; 0 if chance explains it."""
    if isinstance(x, Rows) or isinstance(known, Rows):
        return 0.0  # see `described_again`
    if x.dtype != known.dtype or x.shape[1:] != known.shape[1:]:
        return 0.0
    rows = torch.linspace(0, len(x) - 1, min(SAMPLED, len(x))).round().long()
    some = x[rows]
    if len(x) <= len(known) and same_bytes(some, known[rows]).all():
        return 1.0
    if known.nbytes > LARGEST:
        return 0.0
    values = known[0].numel()
    positions = torch.arange(values)
    if values > POSITIONS:
        positions = torch.randperm(values, generator=torch.Generator().manual_seed(0))[:POSITIONS]
    all_keys = keys(known, positions)
    wanted, number = np.unique(keys(some, positions), return_inverse=True)
    nearest = np.searchsorted(wanted, all_keys).clip(max=len(wanted) - 1)
    hits = np.flatnonzero(wanted[nearest] == all_keys)
    candidates = np.zeros(len(wanted), np.int64)
    candidates[nearest[hits]] = hits
    equal = same_bytes(some, known[torch.from_numpy(candidates[number])])
    share = float(equal.double().mean())
    usual = share_repeated(all_keys) if share else 0.0
    if share == 1:
        return share if usual < 1 - SHARED else 0.0
    return share if int(equal.sum()) >= FEWEST and share > SHARED + usual else 0.0


def share_repeated(found: np.ndarray) -> float:
    """Return the share of examples that occur several times, by their keys."""
    _, counts = np.unique(found, return_counts=True)
    return float(counts[counts > 1].sum() / len(found))


def same_bytes(one: Tensor, two: Tensor) -> Tensor:
    """Return which examples are equal, (examples,); nan equals nan."""
    a, b = one.flatten(1), two.flatten(1)
    return ((a == b) | ((a != a) & (b != b))).all(1)


def keys(x: Tensor, positions: Tensor) -> np.ndarray:
    """Return a number for each example that is the same for equal values at some positions."""
    values = x.flatten(1)[:, positions].contiguous().numpy()
    packed = values.view(np.uint8).reshape(len(values), -1)
    missing = -packed.shape[1] % 8
    words = np.pad(packed, ((0, 0), (0, missing))).view(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return (words * factors).sum(1, dtype=np.uint64)
