"""The run folder: the one record of what happened, and the only thing that later verbs read."""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments.common.files import write_json, write_whole
from experiments.data.forms import Description

from .archive import check_archive

FORMAT = 2
"""The checkpoint's layout; a checkpoint of another layout is refused."""

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
OPTIONAL = {"train/penalty"}
"""Columns that are there only where something was measured."""
KEPT = re.compile(r"epoch_\d+\.pt")
CHECKPOINT_KEYS = {"format", "program", "streams", "generator", "position", "history"}

Row = dict[str, float]
"""One epoch's metrics, by column; those of an absent validation split are left out."""


class LayerRow(NamedTuple):
    """One number about one layer: `layers.csv` holds a row for each.

    Args:
        epoch: in which it was measured; 0 before training.
        step: updates made so far; the last ones of an epoch are its end.
        layer: the name of a layer or parameter, or `model`.
        quantity: what was measured; see `observers.layers`.
        value: finite.
    """

    epoch: int
    step: int
    layer: str
    quantity: str
    value: float

    def __str__(self) -> str:
        return row_text(*self)


def row_text(epoch: int, step: int, layer: str, quantity: str, value: float) -> str:
    """Return a row of `layers.csv`."""
    return f"{epoch},{step},{layer},{quantity},{value:.6g}\n"


class RunFolder:
    """One run's files.

    Args:
        path: the folder; made when something is written into it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "checkpoints" / "last.pt"
        self.best = path / "checkpoints" / "best.pt"
        self.next = path / "checkpoints" / "next.pt"
        self.description = path / "data.json"

    def write_description(self, description: Description) -> None:
        """Write `data.json`: what whoever uses the run has to know of its data."""
        write_json(self.description, asdict(description))

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Write `metrics.csv`: one row an epoch, every number to its last digit."""
        text = io.StringIO()
        columns = [name for name in COLUMNS if name not in OPTIONAL or any(name in row for row in rows)]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path / "metrics.csv", text.getvalue().encode())

    def write_layers(self, rows: Iterable[str]) -> None:
        """Write `layers.csv` from the text of its rows."""
        header = ",".join(LayerRow._fields) + "\n"
        write_whole(self.path / "layers.csv", "".join([header, *rows]).encode())

    def read_layers(self) -> list[LayerRow]:
        """Read `layers.csv`; no rows where there is none."""
        try:
            text = (self.path / "layers.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines()[1:]:
            epoch, step, rest = line.split(",", 2)
            layer, quantity, value = rest.rsplit(",", 2)
            found.append(LayerRow(int(epoch), int(step), layer, quantity, float(value)))
        return found

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        write_json(self.path / "summary.json", summary)

    def write_next(self, state: Mapping[str, Any]) -> None:
        """Write the next checkpoint beside `last.pt`; it counts from `take_next` on, and may be broken before."""
        content = packed(state)
        self.next.parent.mkdir(parents=True, exist_ok=True)
        self.next.write_bytes(content)

    def write_best(self, state: Mapping[str, Any]) -> None:
        """Write `best.pt` of an epoch that has passed."""
        write_whole(self.best, packed(state))

    def take_next(self, *names: Path) -> None:
        """Put the next checkpoint in place of `last.pt`, and give it these names too."""
        self.next.replace(self.last)
        for name in names:
            self.name_last(name)

    def name_last(self, name: Path) -> None:
        """Make a name, such as `best`, another one of the file that `last.pt` is now."""
        if name.exists() and name.samefile(self.last):
            return  # and to rename one name of a file to another would do nothing
        beside = name.with_name(f".{name.name}.{os.getpid()}.tmp")
        beside.unlink(missing_ok=True)
        try:
            os.link(self.last, beside)
        except OSError:  # a file system without hard links
            write_whole(name, self.last.read_bytes())
            return
        beside.replace(name)

    def of_epoch(self, epoch: int) -> Path:
        """Return where the checkpoint of an epoch is kept, however many there are to be."""
        return self.last.with_name(f"epoch_{epoch:03d}.pt")

    def kept(self) -> list[Path]:
        """Return the checkpoints of epochs that were kept, the first epoch first."""
        found = {path: KEPT.fullmatch(path.name) for path in self.last.parent.glob("epoch_*.pt")}
        return sorted((path for path, match in found.items() if match), key=lambda path: int(path.stem[6:]))

    def clear_unfinished(self) -> None:
        """Remove what a killed process was writing beside the real files."""
        self.next.unlink(missing_ok=True)
        for folder in (self.path, self.path / "checkpoints"):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)

    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint's tensors and numbers, never code, onto the CPU.

        Raises:
            ValueError: the file is broken, or is no checkpoint of a run.
            FileNotFoundError: there is none.
        """
        if not path.exists():
            raise FileNotFoundError(path)
        try:
            check_archive(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a broken file can fail in any way inside the reader
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path} is broken ({reason[:120]})") from None
        if not isinstance(state, dict) or not state.keys() >= CHECKPOINT_KEYS:
            raise ValueError(f"{path} is no checkpoint of a run")
        if state["format"] != FORMAT:
            raise ValueError(f"{path} has the layout {state['format']}, this program reads {FORMAT}")
        return state


def packed(state: Mapping[str, Any]) -> bytes:
    """Return a checkpoint as the bytes of its file."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    return buffer.getvalue()


def settle(folders: Sequence[RunFolder]) -> None:
    """Bring runs that were trained together, and killed, to the same epoch.

    A loop writes the next checkpoint of all before it puts the first in place. So where one is in place the others
    are complete and follow; otherwise they are left, and their epoch is trained again.
    """
    waiting = [folder for folder in folders if folder.next.exists()]

    def place(folder: RunFolder, path: Path) -> tuple[int, int] | None:
        try:
            position = folder.load(path)["position"]
        except (ValueError, FileNotFoundError):
            return None
        return position["epoch"], position["batch"]

    targets = {place(folder, folder.next) for folder in waiting}
    begun = len(targets) == 1 and any(place(f, f.last) in targets - {None} for f in folders if f not in waiting)
    for folder in waiting:
        if begun:
            folder.take_next()  # `restored` gives it its other names
        else:
            folder.next.unlink()
