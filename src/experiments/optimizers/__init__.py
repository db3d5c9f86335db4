"""Additions to torch's optimizers: ranges of their settings, parameter groups, skipped updates, and Muon with AdamW."""

from .building import RANGES as RANGES
from .building import begin_momentum as begin_momentum
from .building import build as build
from .building import matches as matches
from .building import needs_closure as needs_closure
from .building import parameter_groups as parameter_groups
from .light import update as update
from .muon import Muon as Muon
from .skipping import COUNTING as COUNTING
from .skipping import count_on_device as count_on_device
from .skipping import count_on_host as count_on_host
from .skipping import keeps_no_count as keeps_no_count
from .skipping import step_unless as step_unless
