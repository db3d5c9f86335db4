"""A writer of TensorBoard's events without a thread: a stack of runs has no more threads and open files."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.event_file_writer import _global_uid
from torch.utils.tensorboard import FileWriter, SummaryWriter

from experiments.folders import events

MOST_BYTES, MOST_SECONDS = 1_000_000, 120.0
"""The bytes that are kept before they are written without a flush, and the seconds, which are those of TensorBoard."""


class EventBatch:
    """Keeps events until they are flushed, and then appends them to the file by one write.

    Args:
        folder: of the file, which is created at once.

    Raises:
        OSError: it cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{_global_uid.get()}"
        self.path = folder / name
        self.records: list[bytes] = []
        self.size = 0
        self.flushed_at = time.monotonic()
        self.add_event(Event(wall_time=now, file_version="brain.Event:2"))
        self.flush()

    def add_event(self, event: Event) -> None:
        """Keep an event; many of them are written.

        Raises:
            OSError: the file cannot be written.
        """
        record = events.packed([event])
        self.records.append(record)
        self.size += len(record)
        if self.size > MOST_BYTES or time.monotonic() - self.flushed_at > MOST_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the events that were kept; if that fails, they are dropped, as a part of them may be in the file.

        Raises:
            OSError: the file cannot be written, or the run's folder has been removed.
        """
        records, self.records, self.size = self.records, [], 0
        self.flushed_at = time.monotonic()
        if records:
            events.append_records(self.path, b"".join(records))

    def close(self) -> None:
        """Write the events that were kept."""
        self.flush()

    def reopen(self) -> None:
        """Nothing is closed."""

    def get_logdir(self) -> str:
        """Return the folder of the file."""
        return str(self.folder)


class BatchedFileWriter(FileWriter):
    """The part of a `SummaryWriter` that has the file.

    Args:
        folder: of the file.
    """

    def __init__(self, folder: str) -> None:
        self.event_writer = EventBatch(Path(folder))


class BatchedWriter(SummaryWriter):
    """A `SummaryWriter` that writes when it is flushed, in the thread that calls it."""

    def _get_file_writer(self) -> Any:
        """Return the file; it is created anew if it was closed."""
        if self.file_writer is None:  # also after `close`
            file: Any = BatchedFileWriter(self.log_dir)
            self.__dict__.update(file_writer=file, all_writers={file.get_logdir(): file})
            if self.purge_step is not None:
                step, self.purge_step = self.purge_step, None
                file.add_event(Event(step=step, file_version="brain.Event:2"))
                file.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        return self.file_writer
