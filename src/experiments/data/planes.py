"""Classes of points in the plane, to see what a network makes of it.

The data's own seed is `draw`: the run's seed changes none of the points. The test examples are an independent draw.
"""

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt

from .sources import Source

ExampleCount = Annotated[int, Ge(4)]
Noise = Annotated[float, Ge(0)]
Imbalance = Annotated[float, Ge(1)]
ClassCount = Annotated[int, Ge(2), Le(20)]
Seed = Annotated[int, Ge(0), Lt(2**31)]
"""Each draw takes two of scikit-learn's 2^32 seeds."""

PlanePoints = tuple[np.ndarray, np.ndarray]


def moons(examples: ExampleCount = 1000, noise: Noise = 0.2, imbalance: Imbalance = 1.0, draw: Seed = 0) -> Source:
    """Two half circles that reach into each other (scikit-learn's `make_moons`).

    Args:
        examples: to train, and as many to test.
        noise: standard deviation added to each coordinate; a half circle has the radius 1.
        imbalance: how many times as many examples the first class has as the last.
        draw: the data's own seed.
    """
    from sklearn.datasets import make_moons

    sizes = class_sizes(examples, 2, imbalance)
    return source(sizes, draw, lambda seed: make_moons((sizes[0], sizes[1]), noise=noise, random_state=seed))


def circles(
    examples: ExampleCount = 1000,
    noise: Noise = 0.1,
    imbalance: Imbalance = 1.0,
    draw: Seed = 0,
    factor: Annotated[float, Gt(0), Lt(1)] = 0.5,
) -> Source:
    """A circle around a smaller one (scikit-learn's `make_circles`).

    Args:
        examples, imbalance, draw: see `moons`.
        noise: standard deviation added to each coordinate; the outer circle has the radius 1.
        factor: the inner circle's radius.
    """
    from sklearn.datasets import make_circles

    sizes = class_sizes(examples, 2, imbalance)
    return source(
        sizes, draw, lambda seed: make_circles((sizes[0], sizes[1]), noise=noise, factor=factor, random_state=seed)
    )


def blobs(
    examples: ExampleCount = 1000,
    noise: Noise = 1.0,
    imbalance: Imbalance = 1.0,
    draw: Seed = 0,
    classes: ClassCount = 3,
) -> Source:
    """A normal cloud for each class (scikit-learn's `make_blobs`), around centres on a circle of radius 3.

    Args:
        examples, imbalance, draw: see `moons`.
        noise: standard deviation of a cloud.
        classes: how many.
    """
    from sklearn.datasets import make_blobs

    angles = 2 * math.pi * np.arange(classes) / classes
    centres = 3 * np.stack([np.cos(angles), np.sin(angles)], 1)
    sizes = class_sizes(examples, classes, imbalance)
    return source(sizes, draw, lambda seed: make_blobs(sizes, centers=centres, cluster_std=noise, random_state=seed))


def spiral(
    examples: ExampleCount = 1000,
    noise: Noise = 0.2,
    imbalance: Imbalance = 1.0,
    draw: Seed = 0,
    classes: ClassCount = 3,
) -> Source:
    """Arms that wind around each other (CS231n, 'Putting it together'): radius 0 to 1 over 4 radians.

    Args:
        examples, imbalance, draw: see `moons`.
        noise: standard deviation of the angle, in radians.
        classes: how many arms, evenly turned.
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


def class_sizes(examples: int, classes: int, imbalance: float) -> list[int]:
    """Divide examples among classes whose sizes fall geometrically, from `imbalance` times the last one's.

    Raises:
        ValueError: a class would have fewer than two examples.
    """
    shares = np.array([imbalance ** -(number / (classes - 1)) for number in range(classes)])
    ends = np.round(examples * shares.cumsum() / shares.sum()).astype(int)
    sizes = [int(size) for size in np.diff(ends, prepend=0)]
    if min(sizes) < 2:
        raise ValueError(f"examples={examples} leaves a class with {min(sizes)}; every class needs at least 2")
    return sizes


def source(sizes: list[int], draw: int, drawn: Callable[[int], PlanePoints]) -> Source:
    """Draw the training and the test examples, each from a seed of its own."""
    parts = []
    for seed in (2 * draw, 2 * draw + 1):
        points, labels = drawn(seed)
        parts += [torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))]
    x_train, y_train, x_test, y_test = parts
    return Source(x_train, y_train, x_test, y_test, [str(number) for number in range(len(sizes))])
