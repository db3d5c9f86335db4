"""Configuration -> objects."""

from .datasets import Data, Sources, data
from .parts import criterion, enabled, model, observers, optimizer, schedule, updating
from .targets import Config, first_line
from .training import General, Training, early_stopping, general, keep_every, training

__all__ = [
    "Config",
    "Data",
    "General",
    "Sources",
    "Training",
    "criterion",
    "data",
    "early_stopping",
    "enabled",
    "first_line",
    "general",
    "keep_every",
    "model",
    "observers",
    "optimizer",
    "schedule",
    "training",
    "updating",
]
