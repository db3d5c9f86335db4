"""The base class of observers, under the name that users' own observers import."""

from experiments.training.observer import Charts, Observed, Observer, When, every

__all__ = ["Charts", "Observed", "Observer", "When", "every"]
