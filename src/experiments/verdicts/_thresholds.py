"""The numbers from which verdicts are given, with their sources."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A number that decides, and where it comes from."""

    value: float
    source: str


OURS = "our choice; on the runs of tests/test_verdicts.py it separates those that have the fault from those that do not"

THRESHOLDS = {
    "initial_loss": Threshold(3.0, "times the loss of equal scores, ln C for softmax (CS231n, sanity checks); " + OURS),
    "wide_scores": Threshold(3.0, "standard deviation of the scores before training; He's gives about 1.4; " + OURS),
    "rise": Threshold(1.2, "times the initial loss, or the lowest so far; " + OURS),
    "swing": Threshold(0.05, "of the loss, up from one epoch to the next; " + OURS),
    "swinging_epochs": Threshold(0.3, "share of the epochs; " + OURS),
    "settled_loss": Threshold(0.1, "of the loss of equal scores: below it a loss may swing; " + OURS),
    "slow_ratio": Threshold(1e-4, "update : weight; a tenth of the healthy 1e-3 (CS231n, ratio of updates to weights)"),
    "slow_fall": Threshold(0.5, "of the initial loss is left; " + OURS),
    "stuck": Threshold(0.02, "of the loss of equal scores; " + OURS),
    "gap": Threshold(0.05, "of accuracy, training above validation (CS231n shows such gaps as overfitting); " + OURS),
    "low_skill": Threshold(0.7, "of the way from the commonest class to no error; " + OURS),
    "capacity": Threshold(10, "parameters an example: such networks fit even random labels (Zhang et al. 2017)"),
    "imbalance": Threshold(10, "largest class : smallest class; " + OURS),
    "one_class": Threshold(0.95, "share of one answer on the probe; " + OURS),
    "dead": Threshold(0.4, "of a layer's units (CS231n: 'as much as 40 % of your network can be dead')"),
    "saturated": Threshold(0.5, "of a layer's outputs (Glorot and Bengio 2010, section 3, show it stops learning)"),
    "signal": Threshold(100, "first layer : last, or its inverse; " + OURS),
    "twins": Threshold(0.9, "of a hidden layer's units; " + OURS),
    "low_ratio": Threshold(3e-5, "update : weight at its largest; a thirtieth of 1e-3 (CS231n)"),
    "high_ratio": Threshold(1e-1, "update : weight, median; a hundred times 1e-3 (CS231n)"),
    "past": Threshold(0.5, "of the epochs (Prechelt 1998 stops where validation loss is past its minimum)"),
    "worse": Threshold(1.25, "times the lowest validation loss; " + OURS),
    "batch": Threshold(0.8, "of the training split: an epoch is one update, or two; " + OURS),
    "improving": Threshold(0.1, "fall of the loss over the last quarter; " + OURS),
    "solved": Threshold(0.02, "of the loss of equal scores: there is nothing left to gain; " + OURS),
}
FEWEST_EPOCHS, FEWEST_UPDATES = 4, 100
"""Curves of fewer epochs or updates say nothing."""


def at(name: str) -> float:
    """Return a threshold's value."""
    return THRESHOLDS[name].value
