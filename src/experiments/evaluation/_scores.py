"""Metrics of predictions: accuracy with its interval, each class, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.metrics import precision_recall_fscore_support

from experiments.common.arrays import Array

ClassNumbers = NDArray[np.int64]
BINS = 10
"""Bins of confidence, of equal width (Guo et al. 2017 use 15 for 10,000 examples and more)."""
TOP = (1, 3, 5)


@dataclass(frozen=True)
class ClassScore:
    """How well one class is distinguished from the others.

    Args:
        name: of the class.
        precision: the share of right answers among the examples predicted as this class; 0 if there are none.
        recall: the share of right answers among the examples of this class; 0 if there are none.
        f1: the harmonic mean of both.
        examples: of the class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    examples: int


@dataclass(frozen=True)
class Bin:
    """Examples with similar confidence.

    Args:
        low, high: the range of the confidence: above `low`, at most `high`.
        confidence: the mean of the largest probabilities.
        accuracy: the share of right answers.
        examples: how many.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    examples: int


def wilson(right: int, examples: int, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of a share (Wilson 1927): it stays within [0, 1] and is valid near 0 and 1 too.

    Args:
        right: the examples that count.
        examples: all examples, at least 1.
        level: of confidence.

    Raises:
        ValueError: if there are no examples, or more right ones than examples.
    """
    if examples < 1 or not 0 <= right <= examples:
        raise ValueError(f"right={right} should be from 0 to examples={examples}, and examples at least 1")
    z, share = float(ndtri((1 + level) / 2)), right / examples
    middle = (share + z**2 / (2 * examples)) / (1 + z**2 / examples)
    reach = z / (1 + z**2 / examples) * sqrt(share * (1 - share) / examples + z**2 / (4 * examples**2))
    return max(0.0, middle - reach) if right else 0.0, min(1.0, middle + reach) if right < examples else 1.0


def class_scores(predicted: ClassNumbers, y: ClassNumbers, names: Sequence[str]) -> list[ClassScore]:
    """Return precision, recall and F1 of each class.

    Args:
        predicted, y: (examples,), class numbers.
        names: of the classes.
    """
    columns = precision_recall_fscore_support(y, predicted, labels=range(len(names)), zero_division=0.0)
    return [
        ClassScore(name, float(p), float(r), float(f), int(n)) for name, p, r, f, n in zip(names, *columns, strict=True)
    ]


def top(probabilities: Array, y: ClassNumbers, k: int) -> float:
    """Return the share of examples whose class is among the k most probable ones; ties go to the first class.

    Args:
        probabilities: (examples, classes).
        y: (examples,), class numbers.
        k: how many.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((order == y[:, None]).any(1).mean())


def reliability(probabilities: Array, y: ClassNumbers, bins: int = BINS) -> list[Bin]:
    """Return accuracy and confidence in bins of equal width, without empty bins (Guo et al. 2017, section 2).

    Args:
        probabilities: (examples, classes).
        y: (examples,), class numbers.
        bins: how many.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == y
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    filled = []
    for index in range(bins):
        inside = number == index
        if inside.any():
            mean = float(confidence[inside].mean()), float(right[inside].mean())
            filled.append(Bin(index / bins, (index + 1) / bins, *mean, int(inside.sum())))
    return filled


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: the gap of each bin, weighted by its examples (Guo et al. 2017, eq. 3)."""
    examples = sum(each.examples for each in bins)
    return sum(each.examples * abs(each.accuracy - each.confidence) for each in bins) / examples
