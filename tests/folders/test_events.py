"""Event files that are written without TensorBoard's own writer."""

import random
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from torch.utils.tensorboard import SummaryWriter

from experiments.folders import events
from experiments.folders._checksum import checksum, masked
from experiments.runs._event_writer import BatchedWriter


@pytest.mark.parametrize("size", [*range(0, 70, 7), 255, 256, 257, 511, 512, 513, 9000])
def test_checksums_are_those_of_tensorboard(size: int) -> None:
    content = random.Random(size).randbytes(size)
    assert masked(content) == masked_crc32c(content)


def test_checksums_are_those_of_the_standard() -> None:
    # RFC 3720, appendix B.4.
    assert checksum(b"123456789") == 0xE3069283
    assert checksum(bytes(32)) == 0x8A9136AA
    assert checksum(bytes(range(32)) * 8)  # a whole block


def test_a_file_has_the_events_that_tensorboards_writer_would_write(tmp_path: Path) -> None:
    written = []
    for name, kind in (("ours", BatchedWriter), ("theirs", SummaryWriter)):
        with kind(str(tmp_path / name), purge_step=3) as writer:
            writer.add_scalar("loss", 0.5, 1, walltime=1.0)
            writer.add_text("about", "a run" * 100, 2, walltime=2.0)
        (path,) = (tmp_path / name).glob(events.FILES)
        read = [Event.FromString(content) for content in events.records(path)]
        written.append([(event.step, event.summary, event.session_log, event.file_version) for event in read])
    assert written[0] == written[1]


def test_events_are_written_when_they_are_flushed_and_dropped_if_that_fails(tmp_path: Path) -> None:
    writer = BatchedWriter(str(tmp_path / "run"))
    (path,) = (tmp_path / "run").glob(events.FILES)
    writer.add_scalar("loss", 0.5, 1)
    assert len(list(events.records(path))) == 1  # the version
    writer.flush()
    assert len(list(events.records(path))) == 2
    writer.add_scalar("loss", 0.25, 2)
    aside = path.rename(tmp_path / "aside")
    (tmp_path / "run").rmdir()
    with pytest.raises(FileNotFoundError):
        writer.flush()
    writer.close()
    assert len(list(events.records(aside))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["aside"]
