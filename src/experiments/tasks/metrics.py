"""Metrics of answers and targets, by name, for each form of targets; each returns one number.

Names follow scikit-learn, and the numbers agree with it. A metric that these examples do not define, such as the AUROC
of a split with one class, is nan. What torchmetrics has is taken from it; it is imported when it is first used.

`p` holds probabilities in float64: of classes, (examples, classes); of labels, (examples, labels); or of tokens,
(examples, positions, tokens). `predicted` holds numbers, (examples, targets). `y` holds the targets of the same
examples: class numbers, (examples,); labels, 0 or 1, (examples, labels); tokens, (examples, positions), with -1 for
padding; or numbers, (examples, targets). Errors of numbers are in the user's units, the `mse` in their squares; log
losses are in nats.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Measure = Callable[[Tensor, Tensor], float]
"""Answers, (examples, ...) in float64, and targets of the same examples -> a number."""
BINS = 10
"""Bins of confidence of the calibration error, as in `evaluate`."""
TOP = 5


def accuracy(p: Tensor, y: Tensor) -> float:
    """The share of right answers."""
    return (p.argmax(1) == y).double().mean().item()


def balanced_accuracy(p: Tensor, y: Tensor) -> float:
    """The mean over the classes of the share of right answers among the examples of a class (Brodersen et al. 2010)."""
    right = (p.argmax(1) == y).double()
    counts = torch.bincount(y, minlength=p.shape[1])
    return (torch.bincount(y, right, minlength=p.shape[1])[counts > 0] / counts[counts > 0]).mean().item()


def top_k(p: Tensor, y: Tensor, k: int = TOP) -> float:
    """The share of examples whose class is among the `k` most probable ones.

    Args:
        p: (examples, classes).
        y: (examples,), class numbers.
        k: how many; all classes if there are fewer.
    """
    return (p.topk(min(k, p.shape[1]), 1).indices == y[:, None]).any(1).double().mean().item()


def log_loss(p: Tensor, y: Tensor) -> float:
    """The mean negative logarithm of the probability of the right class."""
    least = torch.finfo(torch.float64).eps
    return -p.gather(1, y[:, None]).clamp(least, 1 - least).log().mean().item()


def brier(p: Tensor, y: Tensor) -> float:
    """The squared distance between the probabilities and the one-hot class; of two classes, half of it (Brier 1950)."""
    distance = (p - F.one_hot(y, p.shape[1])).square().sum(1).mean().item()
    return distance / 2 if p.shape[1] == 2 else distance


def ece(p: Tensor, y: Tensor) -> float:
    """The expected calibration error in ten bins of confidence (Guo et al. 2017, equation 3)."""
    confidence, answer = p.max(1)
    number = ((confidence * BINS).ceil().long() - 1).clamp(0, BINS - 1)
    excess = torch.bincount(number, (answer == y).double() - confidence, minlength=BINS)
    return excess.abs().sum().item() / len(y)


def f1(p: Tensor, y: Tensor) -> float:
    """The harmonic mean of precision and recall: of the second of two classes, or the mean over more classes.

    (van Rijsbergen 1979, chapter 7.)
    """
    return _of_classes("f1_score", p.argmax(1), y, p.shape[1])


def precision(p: Tensor, y: Tensor) -> float:
    """The share of right answers among the predictions of a class: of the second of two, or the mean over more."""
    return _of_classes("precision", p.argmax(1), y, p.shape[1])


def recall(p: Tensor, y: Tensor) -> float:
    """The share of right answers among the examples of a class: of the second of two, or the mean over more."""
    return _of_classes("recall", p.argmax(1), y, p.shape[1])


def auroc(p: Tensor, y: Tensor) -> float:
    """The area under the ROC curve: of the second of two classes, or the mean over the classes against the rest.

    It is the chance that an example of the class has a higher score than one of the rest (Hanley and McNeil 1982).
    """
    return _of_scores("auroc", p, y)


def average_precision(p: Tensor, y: Tensor) -> float:
    """The area under the precision-recall curve as a step function, of the classes as in `auroc`."""
    return _of_scores("average_precision", p, y)


def mcc(p: Tensor, y: Tensor) -> float:
    """Matthews' correlation coefficient of classes and answers: 0 for chance.

    (Matthews 1975; for more than two classes Gorodkin 2004.)
    """
    return _called("multiclass_matthews_corrcoef", p.argmax(1), y, num_classes=p.shape[1])


def mse(predicted: Tensor, y: Tensor) -> float:
    """The mean squared error, averaged over the targets."""
    return (predicted - y).square().mean().item()


def rmse(predicted: Tensor, y: Tensor) -> float:
    """The root of the mean squared error of each target, averaged over the targets."""
    return (predicted - y).square().mean(0).sqrt().mean().item()


def mae(predicted: Tensor, y: Tensor) -> float:
    """The mean absolute error, averaged over the targets."""
    return (predicted - y).abs().mean().item()


def r2(predicted: Tensor, y: Tensor) -> float:
    """The explained share of each target's variance, averaged: 0 for the mean of these targets, 1 at best."""
    spread = (y - y.mean(0)).square().sum(0)
    if len(y) < 2 or not bool((spread > 0).all()):
        return float("nan")
    return (1 - (predicted - y).square().sum(0) / spread).mean().item()


def explained(predicted: Tensor, y: Tensor) -> float:
    """The explained share of the variance of all inputs together, as of principal components; constant ones count."""
    spread = (y - y.mean(0)).square().sum()
    return float("nan") if not bool(spread > 0) else (1 - (predicted - y).square().sum() / spread).item()


def spearman(predicted: Tensor, y: Tensor) -> float:
    """The correlation of the ranks of predictions and targets, averaged over the targets (Spearman 1904)."""
    if len(y) < 2:
        return float("nan")
    each = [_called("spearman_corrcoef", one, wanted) for one, wanted in zip(predicted.T, y.T, strict=True)]
    return sum(each) / len(each)


def label_accuracy(p: Tensor, y: Tensor) -> float:
    """The share of right labels, of all labels of all examples."""
    return ((p > 0.5) == (y > 0.5)).double().mean().item()


def label_log_loss(p: Tensor, y: Tensor) -> float:
    """The mean negative logarithm of the probability of each label's right value."""
    least = torch.finfo(torch.float64).eps
    return -torch.where(y > 0.5, p, 1 - p).clamp(least, 1 - least).log().mean().item()


def label_brier(p: Tensor, y: Tensor) -> float:
    """The squared difference between the probability and the value of each label."""
    return (p - y).square().mean().item()


def label_f1(p: Tensor, y: Tensor) -> float:
    """The harmonic mean of precision and recall over all labels of all examples (micro)."""
    return _called("binary_f1_score", p.flatten(), y.flatten().long())


def label_precision(p: Tensor, y: Tensor) -> float:
    """The share of right ones among all predicted labels (micro)."""
    return _called("binary_precision", p.flatten(), y.flatten().long())


def label_recall(p: Tensor, y: Tensor) -> float:
    """The share of predicted ones among all labels that are present (micro)."""
    return _called("binary_recall", p.flatten(), y.flatten().long())


def label_auroc(p: Tensor, y: Tensor) -> float:
    """The area under the ROC curve of each label, averaged over the labels that have both values."""
    return _mean_over_labels("binary_auroc", p, y)


def label_average_precision(p: Tensor, y: Tensor) -> float:
    """The area under the precision-recall curve of each label, averaged as in `label_auroc`."""
    return _mean_over_labels("binary_average_precision", p, y)


def token_accuracy(p: Tensor, y: Tensor) -> float:
    """The share of right tokens, of all positions of all examples but padding, whose target is -1."""
    return (p.argmax(2) == y)[y >= 0].double().mean().item()


def token_log_loss(p: Tensor, y: Tensor) -> float:
    """The mean negative logarithm of the probability of the right token, in nats."""
    least = torch.finfo(torch.float64).eps
    right = p.gather(2, y.clamp_min(0).unsqueeze(2)).squeeze(2)
    return -right[y >= 0].clamp(least, 1 - least).log().mean().item()


def token_perplexity(p: Tensor, y: Tensor) -> float:
    """The number of equally likely tokens with the same log loss: its exponential (Jelinek et al. 1977)."""
    return math.exp(token_log_loss(p, y))


def token_bits_per_character(p: Tensor, y: Tensor) -> float:
    """The log loss in bits."""
    return token_log_loss(p, y) / math.log(2)


OF_CLASSES: Mapping[str, Measure] = {
    measure.__name__: measure
    for measure in (
        accuracy, balanced_accuracy, top_k, f1, precision, recall, auroc, average_precision, log_loss, brier, ece, mcc,
    )
}  # fmt: skip
OF_NUMBERS: Mapping[str, Measure] = {measure.__name__: measure for measure in (r2, rmse, mse, mae, spearman)}
OF_INPUTS: Mapping[str, Measure] = {"r2": explained, "mse": mse, "rmse": rmse, "mae": mae}
OF_TOKENS: Mapping[str, Measure] = {
    measure.__name__.removeprefix("token_"): measure
    for measure in (token_accuracy, token_bits_per_character, token_perplexity, token_log_loss)
}
OF_LABELS: Mapping[str, Measure] = {
    measure.__name__.removeprefix("label_"): measure
    for measure in (
        label_accuracy, label_f1, label_precision, label_recall, label_auroc, label_average_precision, label_log_loss,
        label_brier,
    )
}  # fmt: skip


def _of_classes(name: str, answer: Tensor, y: Tensor, classes: int) -> float:
    """Return a metric of predicted classes: of the second of two classes, or the mean over all classes."""
    if classes == 2:
        return _called(f"binary_{name}", answer, y)
    return _called(f"multiclass_{name}", answer, y, num_classes=classes, average="macro")


def _of_scores(name: str, p: Tensor, y: Tensor) -> float:
    """Return a metric of one class's probabilities: of the second of two, or the mean over the classes in `y`."""
    if p.shape[1] == 2:
        return _mean_over_labels(f"binary_{name}", p[:, 1:], y[:, None])
    return _mean_over_labels(f"binary_{name}", p, F.one_hot(y, p.shape[1]))


def _mean_over_labels(name: str, p: Tensor, y: Tensor) -> float:
    """Return the mean of a binary metric over the columns whose targets have both values; nan without any."""
    both = (y > 0.5).any(0) & (y <= 0.5).any(0)
    each = [_called(name, p[:, k], y[:, k].long()) for k in both.nonzero().flatten().tolist()]
    return sum(each) / len(each) if each else float("nan")


def _called(name: str, answers: Tensor, targets: Tensor, **settings: Any) -> float:
    """Return a metric of torchmetrics."""
    with warnings.catch_warnings(action="ignore"):
        import torchmetrics.functional as functions
        from torchmetrics.functional import classification

        measure = getattr(classification, name, None) or getattr(functions, name)
        return float(measure(answers, targets, **settings))
