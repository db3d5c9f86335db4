"""Configuration -> objects."""

from .datasets import Data, Known, Sources, data, data_choice, split_of, splitting
from .parts import criterion, enabled, layers, model, network, observers, optimizer, schedule, updating
from .targets import Config, first_line
from .training import General, Training, early_stopping, general, training

__all__ = [
    "Config",
    "Data",
    "General",
    "Known",
    "Sources",
    "Training",
    "criterion",
    "data",
    "data_choice",
    "early_stopping",
    "enabled",
    "first_line",
    "general",
    "layers",
    "model",
    "network",
    "observers",
    "optimizer",
    "schedule",
    "split_of",
    "splitting",
    "training",
    "updating",
]
