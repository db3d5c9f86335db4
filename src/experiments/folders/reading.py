"""Read run folders: their configuration, metrics and summaries, of single runs and of sweeps.

A folder may come from anyone and any file may be broken: folders are read as data, and unreadable ones are named.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from experiments.common.errors import UserError
from experiments.common.files import opened, regular_text
from experiments.common.foreign import read_csv, read_yaml
from experiments.common.keys import flattened, key_of
from experiments.common.metrics import declare, objective_of

from .summary import read_summary
from .sweep import FILE

LARGEST_LAYERS = 500_000_000
LONGEST_REASON = 120
UNFINISHED = "unfinished"
"""The status of a run that has no summary: it is still running, or was killed."""
REMEDIES = Path("remedy", "remedy.json")
"""What was tried for a run, in its folder."""
KEPT_OUT = {"checkpoints", "pictures", REMEDIES.parts[0]}
"""Folders of a run that contain no runs."""
CONFIGURATION = Path(".hydra", "config.yaml")
LAYER_COLUMNS = ("epoch", "layer", "quantity", "value")

LayerCurves = dict[str, dict[int, float]]
"""A quantity by layer and epoch; layers in the model's order."""


@dataclass(frozen=True)
class Record:
    """One run, as read from its folder.

    Args:
        folder: of the run.
        config: its configuration, with dotted keys.
        choices: the option of each config group: optimizer -> adam.
        typed: the keys that were given on the command line.
        history: the metrics of each epoch, by column; columns without numbers are left out.
        summary: the content of `summary.json`; empty until the run has ended.
    """

    folder: Path
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    typed: Sequence[str]
    history: Mapping[str, Sequence[float]]
    summary: Mapping[str, Any]

    @property
    def status(self) -> str:
        """The status of the run."""
        return str(self.summary.get("status") or UNFINISHED)

    @property
    def objective(self) -> str:
        """The metric that decided which epoch is the best."""
        return objective_of(self.config)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The metrics of its best epoch, and of the test split."""
        found = self.summary.get("metrics")
        return {k: float(v) for k, v in found.items() if number(v)} if isinstance(found, Mapping) else {}

    @property
    def written(self) -> float:
        """The time of its last write, in seconds since 1970; 0 if it is unknown."""
        names = ("metrics.csv", "train.log", "checkpoints/last.pt", ".hydra/config.yaml")
        times = [changed(self.folder / name) for name in names]
        return max((time[0] for time in times if time), default=0) / 1e9

    @property
    def epochs(self) -> int:
        """The number of epochs that it has trained."""
        return len(self.history.get("epoch", ()))

    @property
    def validated_every(self) -> str | None:
        """How often it validates, such as 'every:200steps'; None if after each epoch."""
        every = self.config.get("training.validate")
        return None if every in (None, "every:1", "every:1epochs") else str(every)

    @property
    def refused(self) -> bool:
        """Whether its command was refused, or failed, before the first update."""
        return self.status == "failed" and not (self.epochs or self.metrics or self.summary.get("steps"))

    def layers(self, quantities: Collection[str], *, by_step: bool = False) -> dict[str, LayerCurves]:
        """Return some quantities of `layers.csv` at the end of each epoch; empty if it cannot be read.

        Args:
            quantities: their names.
            by_step: whether the numbers of epochs are replaced by those of their last steps.
        """
        curves: dict[str, LayerCurves] = {}
        steps: dict[int, int] = {}
        try:
            with opened(self.folder / "layers.csv", LARGEST_LAYERS) as file:
                rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
                columns = next(rows, [])
                epoch, layer, quantity, value = (columns.index(name) for name in LAYER_COLUMNS)
                for row in rows:
                    if len(row) == len(columns) and row[quantity] in quantities and isfinite(read := float(row[value])):
                        curves.setdefault(row[quantity], {}).setdefault(row[layer], {})[int(row[epoch])] = read
                        if by_step:
                            steps[int(row[epoch])] = int(row[columns.index("step")])
        except (OSError, ValueError, csv.Error):
            return {}
        if not by_step:
            return curves
        return {
            name: {layer: {steps[epoch]: value for epoch, value in values.items()} for layer, values in layers.items()}
            for name, layers in curves.items()
        }


@dataclass
class FoundRuns:
    """The runs in some folders.

    Args:
        records: the runs.
        skipped: folders that look like runs but cannot be read, with the reasons.
        waiting: the number of runs of their sweeps that have not started.
        sweeps: the folders of sweeps.
        refused: the folders of commands for one run that were refused before its first update; they are not runs.
    """

    records: list[Record] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    waiting: int = 0
    sweeps: list[Path] = field(default_factory=list)
    refused: list[Path] = field(default_factory=list)


class NoRunsError(UserError):
    """There is no run, or not yet."""


class Reader:
    """Reads run folders, and later only those that have changed.

    Args:
        folders: of runs and sweeps, or any folder above them.

    Raises:
        UserError: one of the folders does not exist.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise UserError(
                    f"{str(folder)!r} is not a folder; give folders of runs or sweeps, or a folder above them"
                )
        self.folders = folders
        self._known: dict[Path, tuple[Any, Record]] = {}

    def read(self) -> FoundRuns:
        """Read the runs that exist now.

        Raises:
            NoRunsError: there is no run in the folders.
        """
        found = FoundRuns()
        seen: set[Path] = set()
        for top in self.folders:
            runs, sweeps = found_below(top)
            for folder in (*runs, *sweeps):
                if folder.resolve() in seen:
                    continue
                seen.add(folder.resolve())
                try:
                    if folder in sweeps:
                        found.sweeps.append(folder)
                        found.waiting += waiting(folder)
                        continue
                    run = self._record(folder)
                    if run.refused and not (folder.parent / FILE).exists():
                        found.refused.append(folder)
                        continue
                    found.records.append(run)
                except (OSError, ValueError) as error:
                    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                    found.skipped[folder] = reason[:LONGEST_REASON]
        if not found.records:
            where = ", ".join(repr(str(folder)) for folder in self.folders)
            skipped = list(found.skipped.items())[:3]
            broken = "".join(f"; {path} cannot be read ({reason})" for path, reason in skipped)
            broken += "".join(f"; {path} was refused before its first update" for path in found.refused[:3])
            raise NoRunsError(f"no runs in {where} or in folders below; a run folder contains {CONFIGURATION}{broken}")
        return found

    def _record(self, folder: Path) -> Record:
        """Return a run, read again if one of its files has changed."""
        stamp = tuple(changed(folder / name) for name in (CONFIGURATION, "metrics.csv", "summary.json"))
        known = self._known.get(folder)
        if known is None or known[0] != stamp:
            known = self._known[folder] = stamp, record(folder)
        return known[1]


def record(folder: Path) -> Record:
    """Read one run.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file has other content than expected.
    """
    config = read_yaml(folder / CONFIGURATION)
    if not isinstance(config, dict) or "seed" not in config:
        raise ValueError(f"{CONFIGURATION} is not the configuration of a run")
    declare(config.get("metrics"))
    return Record(
        folder,
        {key: value for key, value in flattened(config).items() if not isinstance(value, Mapping)},
        choices(folder),
        typed(folder),
        history(folder),
        read_summary(folder),
    )


def choices(folder: Path) -> dict[str, str]:
    """Return the option of each config group, which Hydra has written among 150 other lines."""
    try:
        noted = regular_text(folder / ".hydra" / "hydra.yaml")
    except FileNotFoundError:
        return {}
    block = re.search(r"^    choices:\n((?:      .*\n)*)", noted, re.MULTILINE)
    pairs = re.findall(r"^      ([a-z_]+): (\S+)$", block[1] if block else "", re.MULTILINE)
    return dict(pairs)


def typed(folder: Path) -> list[str]:
    """Return the keys that were given on the command line."""
    try:
        lines = read_yaml(folder / ".hydra" / "overrides.yaml")
    except FileNotFoundError:
        return []
    lines = lines if isinstance(lines, list) else []
    return [key_of(line) for line in lines if isinstance(line, str)]


def history(folder: Path) -> dict[str, list[float]]:
    """Return `metrics.csv` by column; empty if no epoch has ended.

    Raises:
        ValueError: `metrics.csv` has no column 'epoch', rows of different lengths, or a cell that is not a number.
    """
    try:
        rows = read_csv(folder / "metrics.csv")
    except FileNotFoundError:
        return {}
    if not rows or rows[0][:1] != ["epoch"]:
        raise ValueError("metrics.csv has no column 'epoch'")
    if any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("metrics.csv has rows of different lengths")
    columns = zip(*rows[1:], strict=True)
    return {
        name: [float(value or "nan") for value in values]
        for name, values in zip(rows[0], columns, strict=len(rows) > 1)
        if any(values)
    }


def found_below(top: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders of runs, and those of sweeps, at or below a folder, in the order of their names."""
    runs, sweeps = [], []
    for path, names, files in os.walk(top):
        if ".hydra" in names and Path(path, CONFIGURATION).exists():
            runs.append(Path(path))
        if FILE in files:
            sweeps.append(Path(path))
        own = KEPT_OUT if ".hydra" in names else ()
        names[:] = sorted((n for n in names if n not in own and not n.startswith(".")), key=natural)
    return runs, sweeps


def waiting(sweep: Path) -> int:
    """Return the number of runs of a sweep that have not started."""
    asked = read_yaml(sweep / FILE)
    runs = asked.get("runs") if isinstance(asked, dict) else None
    if not isinstance(runs, dict):
        return 0
    folders = [run.get("folder") for run in runs.values() if isinstance(run, dict)]
    return sum(not (sweep / str(folder) / CONFIGURATION).exists() for folder in folders)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Return a sort key that orders numbers by value: 2_adam before 10_adam."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def changed(path: Path) -> Any:
    """Return a stamp that changes when a file is rewritten; None if the file is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
