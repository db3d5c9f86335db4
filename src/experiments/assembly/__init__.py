"""From a configuration to the objects of a run."""

from ._datasets import Data, Known, Sources, data, data_choice, split_of, splitting
from ._needs import check_batches, check_model, outline
from ._training import General, Training, early_stopping, general, keep_every, memory_limit, sections, training
from .parts import (
    apart,
    criterion,
    enabled,
    freezing,
    horizon,
    layers,
    model,
    network,
    observers,
    optimizer,
    schedule,
    updating,
)
from .targets import Config

__all__ = [
    "Config",
    "Data",
    "General",
    "Known",
    "Sources",
    "Training",
    "apart",
    "check_batches",
    "check_model",
    "criterion",
    "data",
    "data_choice",
    "early_stopping",
    "enabled",
    "freezing",
    "general",
    "horizon",
    "keep_every",
    "layers",
    "memory_limit",
    "model",
    "network",
    "observers",
    "optimizer",
    "outline",
    "schedule",
    "sections",
    "split_of",
    "splitting",
    "training",
    "updating",
]
