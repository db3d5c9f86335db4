"""TensorBoard's event files: the names of what is in them, writing without a thread, and reading."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.common.confined import NO_LINK

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorboard.compat.proto.event_pb2 import Event

FILES = "events.out.tfevents.*"
CURVES, EPOCHS, LAYERS, STEPS, HISTOGRAMS = "curves", "epochs", "layers", "steps", "histograms"
"""The groups of tags. TensorBoard sorts groups by name and opens the first two: the curves, the rates and the speed."""
TRAINING = "train"
"""The folder of the training curves in the folder of a run that is validated. TensorBoard draws one line per folder, so
that training and validation share a chart; the run's own line is the one that runs are compared by."""
VERDICTS, OVERRIDES, CONFIGURATION = "1_verdicts", "2_overrides", "3_configuration"
"""The texts, in the order in which TensorBoard shows them."""
MOST_BYTES = 200_000_000
"""The largest event file that is read; one of a hundred epochs has a few million bytes."""
LENGTH = struct.Struct("<Q")
CHECKSUM = 4
"""Bytes of the checksum that follows a record's length, and of the one that follows the record."""
NUMBERS = itertools.count()


def series(column: str, *, validated: bool) -> tuple[str, str]:
    """Return where TensorBoard shows a column of `metrics.csv`: the folder below the run's, and the tag.

    Args:
        column: such as `val/loss`, which has the tag of `train/loss`.
        validated: whether the run has a validation split.
    """
    split, _, metric = column.partition("/")
    if metric and split in ("train", "val"):
        return TRAINING if validated and split == "train" else "", f"{CURVES}/{metric}"
    return "", column if metric else f"{EPOCHS}/{column}"


def earlier(folder: Path) -> list[Path]:
    """Return the event files in a run's folder and in that of its training curves."""
    return [*folder.glob(FILES), *(folder / TRAINING).glob(FILES)]


class EventFile:
    """An event file that is open only while it is flushed: a stack of runs has no more threads and open files.

    Args:
        folder: where the file is created, with the first event.
        purge_step: the first step whose events in earlier files do not count; None for a new run.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self.folder = folder
        self.path: Path | None = None
        self.records: list[bytes] = []
        if purge_step is not None and folder.is_dir():
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog

            self.write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def write(self, event: Event) -> None:
        """Append an event at once; see `add` and `flush`."""
        self.add(event)
        self.flush()

    def add(self, event: Event) -> None:
        """Keep an event, with the current time, until the file is flushed.

        Raises:
            OSError: the folder cannot be created, or the run's folder has been removed.
        """
        from tensorboard.compat.proto.event_pb2 import Event

        now = time.time()
        event.wall_time = now
        if self.path is None:
            self.folder.mkdir(exist_ok=True)
            name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(NUMBERS)}"
            self.path = self.folder / name
            self.records.append(packed([Event(wall_time=now, step=event.step, file_version="brain.Event:2")]))
        self.records.append(packed([event]))

    def flush(self) -> None:
        """Append the events that were kept, by one write; if that fails, they are dropped.

        Raises:
            OSError: the file cannot be written, or the run's folder has been removed.
        """
        records, self.records = self.records, []
        if records and self.path is not None:
            append_records(self.path, b"".join(records))


def append(path: Path, events: Sequence[Event]) -> None:
    """Append events to a file, by one write.

    Raises:
        OSError: it cannot be written.
    """
    append_records(path, packed(events))


def packed(events: Iterable[Event]) -> bytes:
    """Return the records of events."""
    from ._checksum import record

    return b"".join(record(event.SerializeToString()) for event in events)


def append_records(path: Path, records: bytes) -> None:
    """Append records to a file, by one write.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK, 0o666)
    with os.fdopen(descriptor, "ab") as file:
        file.write(records)


def scalars(values: Mapping[str, float], step: int, about: Mapping[str, str] | None = None) -> Event:
    """Return one event with all scalars of a step.

    Args:
        values: by tag.
        step: TensorBoard's horizontal axis.
        about: what TensorBoard shows with charts, in Markdown, by tag.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    from ._summaries import scalar_summary

    event = Event(step=step)
    event.summary.MergeFromString(scalar_summary(values))
    if about:
        for value in event.summary.value:
            if value.tag in about:
                value.metadata.summary_description = about[value.tag]
    return event


def histograms(tags: Sequence[str], numbers: NDArray[np.float64], bins: NDArray[np.float64], step: int) -> Event:
    """Return one event with all histograms of a step; see `histogram_summary`."""
    from tensorboard.compat.proto.event_pb2 import Event

    from ._summaries import histogram_summary

    event = Event(step=step)
    event.summary.MergeFromString(histogram_summary(tags, numbers, bins))
    return event


def records(path: Path, most: int | None = None) -> Iterator[bytes]:
    """Read a file's records up to an incomplete one: the run is in progress, or was killed.

    Args:
        path: of the file; one that cannot be read, or is too large, has no records.
        most: how many bytes are read; None for all.
    """
    try:
        if not path.is_file() or (most is None and path.stat().st_size > MOST_BYTES):
            return
        with path.open("rb") as file:
            content = file.read(-1 if most is None else most)
    except OSError:
        return
    offset = 0
    while offset + LENGTH.size <= len(content):
        begin = offset + LENGTH.size + CHECKSUM
        offset = begin + LENGTH.unpack_from(content, offset)[0] + CHECKSUM
        if offset > len(content):
            return
        yield content[begin : offset - CHECKSUM]
