"""Read histograms of activations from a run's event files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.folders.events import FILES, HISTOGRAMS, records

PREFIX = "activations/"
"""The tags begin with this, those of newer runs after `histograms/`."""


@dataclass(frozen=True)
class Histogram:
    """Counts of equally wide bins.

    Args:
        edges: (bins + 1,).
        counts: (bins,).
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]


def first_and_last(folder: Path) -> tuple[Mapping[str, Histogram], Mapping[str, Histogram]]:
    """Return the histograms of activations by layer, before training and at its end; empty if there are none."""
    by_epoch: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob(FILES)):
        for step, layer, message in activations(path):
            by_epoch.setdefault(step, {})[layer] = message
    if not by_epoch:
        return {}, {}
    first, last = (
        {layer: usable for layer, message in messages.items() if (usable := histogram(message)) is not None}
        for messages in (by_epoch.get(0, {}), by_epoch[max(by_epoch)])
    )
    return first, last


def activations(path: Path) -> Iterator[tuple[int, str, Any]]:
    """Read a file's histograms of activations: epoch, layer, TensorBoard's message."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    for record in records(path):
        if PREFIX.encode() not in record:
            continue
        try:
            event = Event.FromString(record)
        except DecodeError:
            return
        for value in event.summary.value:
            tag = value.tag.removeprefix(f"{HISTOGRAMS}/")
            if tag.startswith(PREFIX) and value.HasField("histo"):
                yield event.step, tag.removeprefix(PREFIX), value.histo


def histogram(message: Any) -> Histogram | None:
    """Return a histogram from TensorBoard's message, whose limits are the bins' right edges; None for a broken one."""
    edges = np.array([message.min, *message.bucket_limit], np.float64)
    counts = np.array(message.bucket, np.float64)
    usable = len(edges) == len(counts) + 1 > 1 and np.isfinite(edges).all() and np.isfinite(counts).all()
    return Histogram(edges, counts) if usable else None
