"""The sweep in TensorBoard's HParams tab: the hyperparameters that its runs differ in, and the metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METRICS = ("val/accuracy", "val/loss", "train/accuracy", "train/loss")

Domain = tuple[float, float] | Sequence[Any]


def hparams_config(folder: Path, domains: Mapping[str, Domain], metrics: Sequence[str] = METRICS) -> None:
    """Write an events file that names the hyperparameters and metrics of a sweep, unless the folder has one.

    Args:
        folder: the sweep's.
        domains: by hyperparameter: a tuple (low, high) for a range, a list for a choice.
        metrics: tags that the runs write.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.summary_v2 import HParam, Metric, hparams_config_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    if any(folder.glob("events.out.tfevents.*")):
        return
    summary = hparams_config_pb(
        hparams=[HParam(name, domain_of(domain)) for name, domain in domains.items()],
        metrics=[Metric(tag, display_name=tag) for tag in metrics],
        time_created_secs=time.time(),
    )
    writer = EventFileWriter(str(folder))
    try:
        writer.add_event(Event(summary=summary, wall_time=time.time()))
    finally:
        writer.close()


def domain_of(domain: Domain) -> Any:
    """Return a domain in TensorBoard's terms."""
    from tensorboard.plugins.hparams.summary_v2 import Discrete, IntInterval, RealInterval

    if isinstance(domain, tuple):
        low, high = domain
        if isinstance(low, int) and isinstance(high, int):
            return IntInterval(low, high)
        return RealInterval(float(low), float(high))
    values = [value if isinstance(value, str | bool | int | float) else str(value) for value in domain]
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return Discrete([float(value) for value in values])
    return Discrete(values if len(kinds) == 1 else [str(value) for value in values])
