"""Reading histograms of activations back from a run's event files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PREFIX = "activations/"
MOST_BYTES = 200_000_000
"""Of an event file that is read; one of a hundred epochs has a few million."""


@dataclass(frozen=True)
class Histogram:
    """Counts of equally wide bins.

    Args:
        edges: (bins + 1,).
        counts: (bins,).
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]


def activations(folder: Path) -> dict[int, dict[str, Histogram]]:
    """Return the histograms of activations in a run folder, by epoch and layer; what cannot be read is left out."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.util.tb_logging import get_logger

    get_logger().setLevel("ERROR")
    found: dict[int, dict[str, Histogram]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            continue
        try:
            for event in LegacyEventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.tag.startswith(PREFIX) and value.HasField("histo"):
                        found.setdefault(event.step, {})[value.tag.removeprefix(PREFIX)] = histogram(value.histo)
        except (OSError, ValueError, RuntimeError):
            continue
    return found


def histogram(message: Any) -> Histogram:
    """Return a histogram from TensorBoard's message, whose limits are the bins' right edges."""
    edges = np.array([message.min, *message.bucket_limit], np.float64)
    return Histogram(edges, np.array(message.bucket, np.float64))


def first_and_last(
    found: Mapping[int, Mapping[str, Histogram]],
) -> tuple[Mapping[str, Histogram], Mapping[str, Histogram]]:
    """Return the histograms before training and at its end; empty where there are none."""
    if not found:
        return {}, {}
    return found.get(0, {}), found[max(found)]
