"""The classes whose fields are the settings of the configuration's own sections, for their types and ranges."""

from experiments.training.member import EarlyStopping

from . import parts
from ._datasets import Splitting
from ._training import General, Limits, Training

SIGNATURES: dict[str, type] = {
    "": General,
    "limits": Limits,
    "training": Training,
    "training.early_stopping": EarlyStopping,
    "data": Splitting,
    "init": parts.Initialization,
    "init_from": parts.InitFrom,
    "optimizer": parts.ParameterGrouping,
    "scheduler": parts.Scheduling,
}
"""By section; the settings of a choice are the parameters of its `_target_`."""
