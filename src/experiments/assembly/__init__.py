"""From a configuration to the objects of a run."""

from ._datasets import Data, Known, Sources, data, data_choice, split_of, splitting
from ._metrics import check_measured, measured_names
from ._needs import check_batches, check_model, outline
from ._scales import not_like_training, seems_inverted
from ._tasks import resolved
from ._tasks import restored as restored_task
from ._training import (
    General,
    Training,
    early_stopping,
    general,
    interval,
    kept,
    max_seconds,
    memory_limit,
    sections,
    training,
)
from .parts import (
    apart,
    check_observers,
    check_spelling,
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
    "check_measured",
    "check_model",
    "check_observers",
    "check_spelling",
    "criterion",
    "data",
    "data_choice",
    "early_stopping",
    "enabled",
    "freezing",
    "general",
    "horizon",
    "interval",
    "kept",
    "layers",
    "max_seconds",
    "measured_names",
    "memory_limit",
    "model",
    "network",
    "not_like_training",
    "observers",
    "optimizer",
    "outline",
    "resolved",
    "restored_task",
    "schedule",
    "sections",
    "seems_inverted",
    "split_of",
    "splitting",
    "training",
    "updating",
]
