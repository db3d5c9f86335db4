"""Dividing the members of a stack by how they are updated."""

from collections.abc import Sequence
from itertools import groupby

from experiments.optimizers.fused import KERNELS
from experiments.training.single import Single

from ._muon import MuonPart
from ._sharing import rule_for
from ._updates import FusedPart, Part
from ._weights import Weights
from .rules import MUON


def kind_of(programs: Sequence[Single]) -> type[Part]:
    """Return how these members are updated."""
    first = programs[0]
    if rule_for(first) is MUON:
        return MuonPart
    fused = type(first.optimizer) in KERNELS and first.device.type == "cpu" and first.scaler is None
    return FusedPart if fused else Part


def parts(programs: Sequence[Single], weights: Weights) -> list[Part]:
    """Divide the members by their rules, in their order."""
    found, start = [], 0
    for rule, group in groupby(programs, rule_for):
        assert rule is not None
        own = list(group)
        found.append(kind_of(own)(rule, own, slice(start, start + len(own)), weights))
        start += len(own)
    return found
