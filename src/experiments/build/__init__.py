"""Configuration -> objects."""

from .datasets import Data, Known, Sources, data, split_of
from .parts import criterion, enabled, layers, model, network, observers, optimizer, schedule, updating
from .surfaces import descender, surface
from .targets import Config, first_line
from .training import General, Training, early_stopping, general, sections, training

__all__ = [
    "Config",
    "Data",
    "General",
    "Known",
    "Sources",
    "Training",
    "criterion",
    "data",
    "descender",
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
    "sections",
    "split_of",
    "surface",
    "training",
    "updating",
]
