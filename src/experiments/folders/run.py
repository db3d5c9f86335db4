"""The run folder: the record of a run, and the only input of later verbs."""

import csv
import io
import math
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments.common.confined import new_file
from experiments.common.files import flush, flush_folder, put_aside, regular_text, write_json, write_whole
from experiments.data import memory
from experiments.data.forms import Description
from experiments.data.memory import exhausts

from .archive import check_archive, check_tensors

FORMAT = 2
"""The format of checkpoints; a checkpoint of another format is refused."""

COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train/loss",
    "train/accuracy",
    "train/penalty",
    "val/loss",
    "val/accuracy",
    "seconds",
)
LAYERS, METRICS = "layers.csv", "metrics.csv"
LARGEST_TABLE = 500_000_000
"""Bytes of a run's own table."""
LARGEST_COPY = 4_000_000
"""Bytes of the compressed copy of a table in a checkpoint."""
MOST_REPEATED = 60
"""How many times longer the rows may be than their compressed copy."""
OPTIONAL = {"train/penalty"}
"""Columns that are written only if they have a value."""
KEPT = re.compile(r"(epoch|step)_(\d+)\.pt")
CHECKPOINT_KEYS = {"format", "program", "streams", "generator", "position", "history"}

Row = dict[str, float]
"""One epoch's metrics, by column; those of an absent validation split are left out."""


class LayerRow(NamedTuple):
    """One number about one layer, a row of `layers.csv`.

    Args:
        epoch: of the measurement; 0 before training.
        step: the number of updates so far; the last rows of an epoch are from its end.
        layer: the name of a layer or parameter, or `model`.
        quantity: the name of the measurement; see `observers.layers`.
        value: finite.
    """

    epoch: int
    step: int
    layer: str
    quantity: str
    value: float

    def __str__(self) -> str:
        return row_text(*self)


LAYER_HEADER = ",".join(LayerRow._fields) + "\n"
TableDigest = Sequence[int]
"""The number of rows of a table, and the CRC-32 of their text."""


def divided(text: str) -> tuple[str, list[str], str]:
    """Return the header of a table, its rows, each with the end of its line, and what follows the last end."""
    header, *lines = text.split("\n")
    rest = lines.pop() if lines else ""
    return f"{header}\n", [f"{line}\n" for line in lines], rest


def table_digest(rows: Iterable[str], before: TableDigest = (0, 0)) -> tuple[int, int]:
    """Return the digest of rows that follow the rows of another digest."""
    number, digest = before
    for row in rows:
        number, digest = number + 1, zlib.crc32(row.encode(), digest)
    return number, digest


class TableCopy:
    """A compressed copy of a table's rows for the checkpoint, from which a damaged file is written again.

    Each call of `add` compresses only the new rows. A copy that becomes too large for a checkpoint is given up.
    """

    def __init__(self) -> None:
        self.count = 0
        self._packed: bytearray | None = bytearray()
        self._packer = zlib.compressobj(level=1, wbits=-13, memLevel=6)

    def add(self, rows: Sequence[str]) -> None:
        """Add the rows that follow the first `count` ones.

        Args:
            rows: all rows of the table.
        """
        if self._packed is None or len(rows) == self.count:
            return
        new, self.count = rows[self.count :], len(rows)
        self._packed += self._packer.compress("".join(new).encode()) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        if len(self._packed) > LARGEST_COPY:
            self._packed = None

    def tensor(self) -> torch.Tensor | None:
        """Return the copy as bytes; None if it is empty or has been given up."""
        return torch.frombuffer(bytearray(self._packed), dtype=torch.uint8) if self._packed else None


def copied_rows(copy: object, known: TableDigest | None) -> list[str] | None:
    """Return the rows of `layers.csv` in the copy of a checkpoint; None if it has none, or is damaged.

    Args:
        copy: see `TableCopy.tensor`; the checkpoint may be from somebody else.
        known: the digest of the rows.
    """
    if not isinstance(copy, torch.Tensor) or copy.dtype != torch.uint8 or copy.ndim != 1 or known is None:
        return None
    if len(copy) > LARGEST_COPY:
        return None
    content = copy.numpy().tobytes()
    unpacker = zlib.decompressobj(wbits=-13)
    try:
        text = unpacker.decompress(content, MOST_REPEATED * len(content) + 1).decode()
    except (zlib.error, UnicodeDecodeError):
        return None
    rows = [f"{line}\n" for line in text.split("\n")[:-1]]
    if unpacker.unconsumed_tail or list(table_digest(rows)) != list(known) or None in map(layer_row, rows):
        return None
    return rows


def layer_row(line: str) -> LayerRow | None:
    """Return a row of `layers.csv`; None if it is damaged."""
    try:
        epoch, step, rest = line.removesuffix("\n").split(",", 2)
        layer, quantity, value = rest.rsplit(",", 2)
        row = LayerRow(int(epoch), int(step), layer, quantity, float(value))
    except ValueError:
        return None
    return row if row.layer and row.quantity and math.isfinite(row.value) else None


def metrics_text(rows: Sequence[Row], measured: Sequence[str] = ()) -> str:
    """Return the content of `metrics.csv`: our own columns, then further metrics and what observers have added.

    Args:
        rows: of the epochs.
        measured: metrics that have a column even if no epoch has a value of them.
    """
    text = io.StringIO()
    named = dict.fromkeys([*(name for row in rows for name in row), *(measured if rows else ())])
    usual = [name for name in COLUMNS if name not in OPTIONAL or name in named]
    if named and "train/accuracy" not in named:  # of another task: in the order of the rows
        usual = [name for name in named if name.startswith(("train/", "val/")) or name in COLUMNS]
    columns = [*usual, *(name for name in named if name not in usual)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row_text(epoch: int, step: int, layer: str, quantity: str, value: float) -> str:
    """Return a row of `layers.csv`."""
    return f"{epoch},{step},{layer},{quantity},{value:.6g}\n"


class RunFolder:
    """One run's files.

    Args:
        path: of the folder; it is created by the first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "checkpoints" / "last.pt"
        self.best = path / "checkpoints" / "best.pt"
        self.next = path / "checkpoints" / "next.pt"
        self.description = path / "data.json"
        self.measured: Sequence[str] = ()
        """The metrics of each epoch; one that an epoch does not define has no value in its row."""

    def write_description(self, description: Description) -> None:
        """Write `data.json`: the facts about the data that users of the run need."""
        write_json(self.description, asdict(description))

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Write `metrics.csv`: one row per epoch, with all digits of the numbers."""
        write_whole(self.path / METRICS, metrics_text(rows, self.measured).encode(), flushed=True)

    def write_layers(self, rows: Iterable[str]) -> None:
        """Write `layers.csv` from the text of its rows."""
        write_whole(self.path / LAYERS, "".join([LAYER_HEADER, *rows]).encode(), flushed=True)

    def read_layers(self) -> list[LayerRow]:
        """Read `layers.csv`; no rows if it is missing.

        Raises:
            OSError: it cannot be read.
            ValueError: it is damaged.
        """
        try:
            text = regular_text(self.path / LAYERS, LARGEST_TABLE)
        except FileNotFoundError:
            return []
        header, lines, rest = divided(text)
        rows = [layer_row(line) for line in lines]
        if header != LAYER_HEADER or rest or None in rows:
            raise ValueError(f"{self.path / LAYERS} is damaged")
        return [row for row in rows if row is not None]

    def repair_layers(self, step: int, known: TableDigest | None, copy: object = None) -> str | None:
        """Put a damaged `layers.csv` aside, and write a new one: from the checkpoint, or else with its readable rows.

        Args:
            step: of the checkpoint; later rows do not count.
            known: the rows at the checkpoint; None if the run did not write the file, or by an earlier version.
            copy: of the rows in the checkpoint, see `TableCopy.tensor`; None if it has none.

        Returns:
            A sentence about the damage; None if there is none.

        Raises:
            OSError: the file cannot be read or renamed.
        """
        path = self.path / LAYERS
        written = f"{known[0]:,} " if known else ""
        try:
            header, lines, rest = divided(regular_text(path, LARGEST_TABLE))
        except FileNotFoundError:
            rows_again = copied_rows(copy, known)
            if rows_again is not None:
                self.write_layers(rows_again)
                return f"{LAYERS} was missing; it is written again from the checkpoint"
            return f"{LAYERS} is missing; its {written}rows are lost, and the new file begins here" if written else None
        except (ValueError, IsADirectoryError):
            header, lines, rest = "", [], "unreadable"
        rows = [layer_row(line) for line in lines]
        good = [line for line, row in zip(lines, rows, strict=True) if row is not None and row.step <= step]
        whole = header == LAYER_HEADER and not rest and None not in rows
        if whole and (known is None or table_digest(lines[: known[0]]) == tuple(known)):
            return None
        aside = put_aside(path)
        rows_again = copied_rows(copy, known)
        if rows_again is not None:
            self.write_layers(rows_again)
            return (
                f"{LAYERS} was damaged; it is written again from the checkpoint, and the damaged file is now "
                f"{aside.name}"
            )
        self.write_layers(good)
        of = f" of {written}" if known else " "
        return (
            f"{LAYERS} is damaged: {len(good):,}{of}rows can be read and are kept; the damaged file is now {aside.name}"
        )

    def repair_metrics(self, history: Sequence[Row], known: TableDigest | None) -> str | None:
        """Write a damaged `metrics.csv` again, from the history in a checkpoint.

        Args:
            history: the epochs so far.
            known: what the checkpoint knows of the file; None if the run did not write it, or by an earlier version.

        Returns:
            A sentence about the damage; None if there is none.

        Raises:
            OSError: the file cannot be read, renamed or written.
        """
        path, expected = self.path / METRICS, metrics_text(history, self.measured)
        if not history:
            return None
        try:
            if regular_text(path, LARGEST_TABLE).startswith((expected, metrics_text(history))):
                return None
            problem = "damaged"
        except FileNotFoundError:
            if known is None:
                return None
            problem = "missing"
        except (ValueError, IsADirectoryError):
            put_aside(path)
            problem = "damaged"
        self.write_metrics(history)
        return f"{METRICS} was {problem}; it is written again from the checkpoint"

    def clear_unreplaceable(self) -> list[str]:
        """Put aside what is not a file although a file of the run has its name; return a sentence for each."""
        names = ("summary.json", "data.json", "checkpoints/last.pt", "checkpoints/best.pt", "checkpoints/next.pt")
        wrong = [path for path in map(self.path.joinpath, names) if os.path.lexists(path) and not path.is_file()]
        return [f"{path.name} is not a file; it is now {put_aside(path).name}" for path in wrong]

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        write_json(self.path / "summary.json", summary, flushed=True)
        flush_folder(self.path)

    def write_next(self, state: Mapping[str, Any]) -> None:
        """Write the next checkpoint next to `last.pt`; until `take_next` it does not count, and may be incomplete."""
        content = packed(state)
        self.next.parent.mkdir(parents=True, exist_ok=True)
        try:
            with new_file(self.next) as file:
                file.write(content)
                flush(file)
        except OSError as error:
            error.filename = str(self.next)  # a full disk has no name
            raise

    def write_best(self, state: Mapping[str, Any]) -> None:
        """Write `best.pt` for an earlier epoch."""
        write_whole(self.best, packed(state), flushed=True)

    def take_next(self, *names: Path) -> None:
        """Replace `last.pt` with the next checkpoint, and give it these names too."""
        self.next.replace(self.last)
        for name in names:
            self.name_last(name)
        flush_folder(self.last.parent)

    def name_last(self, name: Path) -> None:
        """Give a name to the current `last.pt` too: `best.pt` is a copy, so that the loss of one file leaves the other;
        the names of epochs are links."""
        if name == self.best:
            write_whole(name, self.last.read_bytes(), flushed=True)
            return
        if name.exists() and name.samefile(self.last):
            return  # a rename between two links of one file would do nothing
        link = name.with_name(f".{name.name}.{os.getpid()}.tmp")
        link.unlink(missing_ok=True)
        try:
            os.link(self.last, link)
        except OSError:  # a file system without hard links
            write_whole(name, self.last.read_bytes())
            return
        link.replace(name)

    def name_best(self) -> None:
        """Replace a `last.pt` that cannot be used with a copy of `best.pt`."""
        write_whole(self.last, self.best.read_bytes(), flushed=True)

    def named(self, name: str) -> Path:
        """Return the path of a kept checkpoint, such as 'epoch_005' or 'step_000500'."""
        return self.last.with_name(f"{name}.pt")

    def kept(self) -> list[Path]:
        """Return the kept checkpoints: those of epochs, the first epoch first, then those of steps."""
        matches = {path: KEPT.fullmatch(path.name) for path in self.last.parent.glob("*_*.pt")}
        order = {path: (match[1], int(match[2])) for path, match in matches.items() if match}
        return sorted(order, key=lambda path: order[path])

    def clear_unfinished(self) -> None:
        """Remove the temporary files of a killed process."""
        self.next.unlink(missing_ok=True)
        for folder in (self.path, self.path / "checkpoints"):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)

    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint's tensors and numbers, never code, to the CPU.

        Raises:
            ValueError: the file is broken, too large for the free memory, or not a checkpoint of a run.
            FileNotFoundError: it does not exist.
            Exception: memory or file handles are exhausted, so that a good file cannot be read either.
        """
        if not path.exists():
            raise FileNotFoundError(path)
        memory.require(path.stat().st_size, str(path))
        try:
            check_archive(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
            check_tensors(state)
        except Exception as error:  # a broken file can fail in any way inside the reader
            if exhausts(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path} is broken ({reason[:120]})") from None
        if not isinstance(state, dict) or not state.keys() >= CHECKPOINT_KEYS:
            raise ValueError(f"{path} is not a checkpoint of a run")
        if state["format"] != FORMAT:
            raise ValueError(f"{path} has checkpoint format {state['format']}, but this version reads format {FORMAT}")
        return state


def packed(state: Mapping[str, Any]) -> bytes:
    """Return a checkpoint as the bytes of its file."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    return buffer.getvalue()


def settle(folders: Sequence[RunFolder]) -> None:
    """Bring runs that were trained together and killed to the same epoch.

    A loop writes the next checkpoints of all runs before it takes the first one. So if one is taken, the others are
    complete and are taken too; otherwise they are deleted, and their epoch is trained again.
    """
    waiting = [folder for folder in folders if folder.next.exists()]

    def position_of(folder: RunFolder, path: Path) -> tuple[int, int] | None:
        try:
            position = folder.load(path)["position"]
        except (ValueError, FileNotFoundError):
            return None
        return position["epoch"], position["batch"]

    targets = {position_of(folder, folder.next) for folder in waiting}
    taken = len(targets) == 1 and any(position_of(f, f.last) in targets - {None} for f in folders if f not in waiting)
    for folder in waiting:
        if taken:
            folder.take_next()  # `restored` links its other names
        else:
            folder.next.unlink()
