"""Configuration -> objects."""

from .datasets import Data, Known, Sources, data, split_of
from .parts import criterion, enabled, layers, model, network, observers, optimizer, schedule, updating
from .targets import Config, first_line
from .training import General, Training, early_stopping, general, keep_every, training

__all__ = [
    "Config",
    "Data",
    "General",
    "Known",
    "Sources",
    "Training",
    "criterion",
    "data",
    "early_stopping",
    "enabled",
    "first_line",
    "general",
    "keep_every",
    "layers",
    "model",
    "network",
    "observers",
    "optimizer",
    "schedule",
    "split_of",
    "training",
    "updating",
]
