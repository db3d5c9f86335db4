"""The thresholds of the verdicts, with their sources."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A number that decides on a verdict, and its source."""

    value: float
    source: str


OURS = "our choice; it separates the runs with the fault from those without in tests/verdicts/test_verdicts.py"

OURS_TOO = "our choice; it separates the runs with the fault from those without in tests/verdicts/test_regression.py"

THRESHOLDS = {
    "initial_loss": Threshold(3.0, "times the loss of equal scores, ln C for softmax (CS231n, sanity checks); " + OURS),
    "wide_scores": Threshold(
        3.0, "standard deviation of the scores before training; He's initialization gives about 1.4; " + OURS
    ),
    "rise": Threshold(1.2, "times the initial loss or the lowest loss so far; " + OURS),
    "last_epochs": Threshold(0.2, "share of the epochs whose mean is the loss at the end; " + OURS),
    "swing": Threshold(0.05, "share of the loss by which it rises from one epoch to the next; " + OURS),
    "swinging_epochs": Threshold(0.3, "share of the epochs; " + OURS),
    "settled_loss": Threshold(0.1, "times the loss of equal scores: a loss below it may swing; " + OURS),
    "slow_ratio": Threshold(1e-4, "update : weight; a tenth of the healthy 1e-3 (CS231n, ratio of updates to weights)"),
    "slow_fall": Threshold(0.5, "share of the initial loss that is left; " + OURS),
    "stuck": Threshold(0.02, "share of the loss of equal scores; " + OURS),
    "gap": Threshold(
        0.05, "training accuracy minus validation accuracy (CS231n shows such gaps as overfitting); " + OURS
    ),
    "low_skill": Threshold(0.7, "share of the way from the accuracy of the most common class to 1; " + OURS),
    "capacity": Threshold(10, "parameters per example: such networks fit even random labels (Zhang et al. 2017)"),
    "imbalance": Threshold(10, "largest class : smallest class; " + OURS),
    "one_class": Threshold(0.95, "share of the probe's examples that get the same answer; " + OURS),
    "dead": Threshold(0.4, "share of a layer's units (CS231n: 'as much as 40 % of your network can be dead')"),
    "saturated": Threshold(
        0.5, "share of a layer's outputs (Glorot and Bengio 2010, section 3, show that learning stops)"
    ),
    "signal": Threshold(100, "first layer : last layer, or its inverse; " + OURS),
    "twins": Threshold(0.9, "share of a hidden layer's units; " + OURS),
    "low_ratio": Threshold(3e-5, "update : weight, largest; a thirtieth of 1e-3 (CS231n)"),
    "high_ratio": Threshold(1e-1, "update : weight, median; a hundred times 1e-3 (CS231n)"),
    "outliers": Threshold(0.005, "share of the validation errors; " + OURS_TOO),
    "far": Threshold(6, "times the median error: a Gaussian has 0.005 % beyond it"),
    "outlier_size": Threshold(10, "times the median error, the largest one; " + OURS_TOO),
    "trend": Threshold(0.3, "rank correlation of the prediction with the size of the error; " + OURS_TOO),
    "past": Threshold(0.5, "share of the epochs (Prechelt 1998 stops when the validation loss is past its minimum)"),
    "worse": Threshold(1.25, "times the lowest validation loss; " + OURS),
    "too_sure": Threshold(
        3.0, "times the lowest validation loss if the score is not worse (Guo et al. 2017 show such losses); " + OURS
    ),
    "batch": Threshold(0.8, "share of the training split: an epoch has one update or two; " + OURS),
    "waiting": Threshold(0.2, "share of the time of updates; our choice: the examples cost a quarter more time"),
    "waited": Threshold(1.0, "seconds; our choice: a change that saves less is not worth its trouble"),
    "improving": Threshold(0.1, "share by which the loss falls over half as many epochs again; " + OURS),
    "slowly": Threshold(0.03, "the same for a run whose score is low; " + OURS),
    "falling": Threshold(0.02, "the least such share within the interval of the trend; " + OURS),
    "ends": Threshold(0.1, "share of the loss of equal scores; a loss that falls to it teaches nothing; " + OURS),
    "strong_dropout": Threshold(0.5, "share of the units; Srivastava et al. 2014 use at most 0.5 in hidden layers"),
    "dropped": Threshold(0.1, "validation score minus training score, which Dropout lowers; " + OURS),
    "errors": Threshold(2.0, "standard errors of a score: 95 % of a normal distribution"),
    "clear": Threshold(3.0, "standard errors by which a score must exceed chance, as the best of several is chosen"),
    "weak": Threshold(0.4, "skill of a simple reference; below it the inputs explain little; " + OURS),
    "solved": Threshold(0.02, "times the loss of equal scores: below it there is nothing left to gain; " + OURS),
}
FEWEST_EPOCHS, FEWEST_UPDATES = 4, 100
"""Curves with fewer epochs or updates are not judged."""


def at(name: str) -> float:
    """Return the value of a threshold."""
    return THRESHOLDS[name].value
