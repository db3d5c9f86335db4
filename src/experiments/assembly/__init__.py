"""Configuration -> objects."""

from experiments.common.text import first_line
from experiments.surfaces.building import descender, surface

from .datasets import Data, Known, Sources, data, data_choice, split_of, splitting
from .parts import criterion, enabled, freezing, layers, model, network, observers, optimizer, schedule, updating
from .targets import Config
from .training import General, Training, early_stopping, general, keep_every, sections, training

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
    "descender",
    "early_stopping",
    "enabled",
    "first_line",
    "freezing",
    "general",
    "keep_every",
    "layers",
    "model",
    "network",
    "observers",
    "optimizer",
    "schedule",
    "sections",
    "split_of",
    "splitting",
    "surface",
    "training",
    "updating",
]
