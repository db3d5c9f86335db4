"""Configuration -> objects."""

from .datasets import Data, Sources, data
from .parts import criterion, enabled, model, observers, optimizer, schedule, updating
from .surfaces import descender, surface
from .targets import Config, first_line
from .training import General, Training, early_stopping, general, sections, training

__all__ = [
    "Config",
    "Data",
    "General",
    "Sources",
    "Training",
    "criterion",
    "data",
    "descender",
    "early_stopping",
    "enabled",
    "first_line",
    "general",
    "model",
    "observers",
    "optimizer",
    "schedule",
    "sections",
    "surface",
    "training",
    "updating",
]
