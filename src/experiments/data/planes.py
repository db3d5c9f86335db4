"""Classes of points in the plane, for pictures of what a network learns.

The points depend on the data's own seed, `draw`, and not on the run's seed. The test examples are an independent draw.
"""

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt

from . import memory
from .sources import Source

DRAWN = 150
"""Bytes that each example needs while it is drawn."""
Count = Annotated[int, Ge(4)]
Noise = Annotated[float, Ge(0)]
Imbalance = Annotated[float, Ge(1)]
ClassCount = Annotated[int, Ge(2), Le(20)]
Seed = Annotated[int, Ge(0), Lt(2**31)]
"""Each draw uses two of scikit-learn's 2^32 seeds."""

PlanePoints = tuple[np.ndarray, np.ndarray]


def moons(examples: Count = 1000, noise: Noise = 0.2, imbalance: Imbalance = 1.0, draw: Seed = 0) -> Source:
    """Two interleaving half circles (scikit-learn's `make_moons`).

    Args:
        examples: the number of training examples, and of test examples.
        noise: standard deviation of the noise in each coordinate; a half circle has radius 1.
        imbalance: the size of the first class divided by that of the last.
        draw: the data's own seed.
    """
    from sklearn.datasets import make_moons

    sizes = class_sizes(examples, 2, imbalance)
    return source(sizes, draw, lambda seed: make_moons((sizes[0], sizes[1]), noise=noise, random_state=seed))


def circles(
    examples: Count = 1000,
    noise: Noise = 0.1,
    imbalance: Imbalance = 1.0,
    draw: Seed = 0,
    factor: Annotated[float, Gt(0), Lt(1)] = 0.5,
) -> Source:
    """A large circle around a small one (scikit-learn's `make_circles`).

    Args:
        examples, imbalance, draw: see `moons`.
        noise: standard deviation of the noise in each coordinate; the outer circle has radius 1.
        factor: the radius of the inner circle.
    """
    from sklearn.datasets import make_circles

    sizes = class_sizes(examples, 2, imbalance)
    return source(
        sizes, draw, lambda seed: make_circles((sizes[0], sizes[1]), noise=noise, factor=factor, random_state=seed)
    )


def blobs(
    examples: Count = 1000, noise: Noise = 1.0, imbalance: Imbalance = 1.0, draw: Seed = 0, classes: ClassCount = 3
) -> Source:
    """A Gaussian cloud for each class (scikit-learn's `make_blobs`); the centres are on a circle of radius 3.

    Args:
        examples, imbalance, draw: see `moons`.
        noise: standard deviation of a cloud.
        classes: the number of classes.
    """
    from sklearn.datasets import make_blobs

    angles = 2 * math.pi * np.arange(classes) / classes
    centres = 3 * np.stack([np.cos(angles), np.sin(angles)], 1)
    sizes = class_sizes(examples, classes, imbalance)
    return source(sizes, draw, lambda seed: make_blobs(sizes, centers=centres, cluster_std=noise, random_state=seed))


def spiral(
    examples: Count = 1000, noise: Noise = 0.2, imbalance: Imbalance = 1.0, draw: Seed = 0, classes: ClassCount = 3
) -> Source:
    """Intertwined spiral arms (CS231n, 'Putting it together'): radius 0 to 1 over 4 radians.

    Args:
        examples, imbalance, draw: see `moons`.
        noise: standard deviation of the angle, in radians.
        classes: the number of arms, at equal angles.
    """
    sizes = class_sizes(examples, classes, imbalance)

    def drawn(seed: int) -> PlanePoints:
        generator = np.random.default_rng(seed)
        points, labels = [], []
        for number, size in enumerate(sizes):
            radius = np.linspace(0, 1, size)
            angle = 2 * math.pi * number / classes + 4 * radius + generator.normal(0, noise, size)
            points.append(radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1))
            labels.append(np.full(size, number))
        return np.concatenate(points), np.concatenate(labels)

    return source(sizes, draw, drawn)


def two_gaussians(
    examples: Count = 1000,
    imbalance: Imbalance = 1.0,
    draw: Seed = 0,
    distance: Annotated[float, Gt(0)] = 2.0,
    dimensions: Annotated[int, Ge(1), Le(1000)] = 2,
) -> Source:
    """Two overlapping Gaussian clouds of variance 1, whose best possible accuracy is known.

    With equal sizes the share Phi(distance / 2) of right answers is the best possible: 84.1 % for a distance of 2.

    Args:
        examples, imbalance, draw: see `moons`.
        distance: between the two centres, along the diagonal.
        dimensions: the number of features.
    """
    sizes = class_sizes(examples, 2, imbalance)
    centre = distance / 2 / math.sqrt(dimensions)

    def drawn(seed: int) -> PlanePoints:
        generator = np.random.default_rng(seed)
        points = [
            generator.normal(side * centre, 1, (size, dimensions)) for side, size in zip((-1, 1), sizes, strict=True)
        ]
        return np.concatenate(points), np.repeat([0, 1], sizes)

    return source(sizes, draw, drawn, values=dimensions)


def sine(examples: Count = 1000, noise: Noise = 0.1, draw: Seed = 0, periods: Annotated[float, Gt(0)] = 1.0) -> Source:
    """A sine wave of one feature, `y = sin(2 pi periods x) + noise` for x from -1 to 1: a regression.

    The best possible error has the size of the noise, so R^2 is at most 1 - noise^2 / (noise^2 + 1/2).

    Args:
        examples, draw: see `moons`.
        noise: standard deviation of the noise.
        periods: from 0 to 1.
    """
    memory.require(DRAWN * examples, f"examples={examples}", memory.at_most(DRAWN, "examples"))
    parts = []
    for seed in (2 * draw, 2 * draw + 1):
        generator = np.random.default_rng(seed)
        x = generator.uniform(-1, 1, (examples, 1))
        y = np.sin(2 * math.pi * periods * x) + generator.normal(0, noise, x.shape)
        parts += [torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)]
    x_train, y_train, x_test, y_test = parts
    return Source(x_train, y_train, x_test, y_test, targets=["y"])


def topics(
    examples: Count = 1000,
    words: Annotated[int, Ge(2), Le(1000)] = 20,
    labels: Annotated[int, Ge(2), Le(100)] = 5,
    draw: Seed = 0,
) -> Source:
    """Counts of words in documents, each about several topics (scikit-learn's `make_multilabel_classification`).

    Args:
        examples, draw: see `moons`; training and test examples have the same topics.
        words: the number of features.
        labels: the number of topics.
    """
    from sklearn.datasets import make_multilabel_classification

    each = 8 * DRAWN * max(1, (words + labels) // 8)
    memory.require(each * examples, f"examples={examples}", memory.at_most(each, "examples"))
    drawn = {"n_samples": 2 * examples, "n_features": words, "n_classes": labels}
    x, y = make_multilabel_classification(**drawn, random_state=draw)
    x, y = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float64))
    names = [f"topic {number}" for number in range(labels)]
    return Source(x[:examples], y[:examples], x[examples:], y[examples:], targets=names, kind="labels")


def class_sizes(examples: int, classes: int, imbalance: float) -> list[int]:
    """Divide examples among classes whose sizes fall geometrically; the first is `imbalance` times the last.

    Raises:
        ValueError: a class would have fewer than two examples.
    """
    shares = np.array([imbalance ** -(number / (classes - 1)) for number in range(classes)])
    ends = np.round(examples * shares.cumsum() / shares.sum()).astype(int)
    sizes = [int(size) for size in np.diff(ends, prepend=0)]
    if min(sizes) < 2:
        raise ValueError(f"examples={examples} leaves a class with {min(sizes)}; every class needs at least 2")
    return sizes


def source(sizes: list[int], draw: int, drawn: Callable[[int], PlanePoints], values: int = 2) -> Source:
    """Draw the training and the test examples from two different seeds.

    Args:
        sizes: of the classes.
        draw: the data's own seed.
        drawn: draws the points and labels of a seed.
        values: of a point.

    Raises:
        ValueError: they need more memory than they may take.
    """
    each = DRAWN * max(1, values // 2)
    memory.require(each * sum(sizes), f"examples={sum(sizes)}", memory.at_most(each, "examples"))
    parts = []
    for seed in (2 * draw, 2 * draw + 1):
        points, labels = drawn(seed)
        parts += [torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))]
    x_train, y_train, x_test, y_test = parts
    return Source(x_train, y_train, x_test, y_test, [str(number) for number in range(len(sizes))])
