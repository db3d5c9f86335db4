"""Reading run folders: their configuration, metrics and summaries, from runs and sweeps alike.

A folder may come from anyone and be broken anywhere: it is read as data, and what cannot be read is named.
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

import yaml

from experiments.common.errors import UserError
from experiments.common.files import regular_file, regular_text
from experiments.common.keys import flattened

from .summary import read_summary
from .sweep import FILE

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LARGEST_LAYERS = 500_000_000
DEEPEST, MOST_ALIASES = 100, 16
"""Of YAML that is read: a configuration has five levels, and no alias."""
NESTING = re.compile(r"[\[{]|[-?]\s")
LONGEST_REASON = 120
UNFINISHED = "unfinished"
"""The status of a run that has no summary: it is still running, or was killed."""
KEPT_OUT = {"checkpoints", "pictures"}
"""Folders of a run that hold no runs."""
CONFIGURATION = Path(".hydra", "config.yaml")
LAYER_COLUMNS = ("epoch", "layer", "quantity", "value")

LayerCurves = dict[str, dict[int, float]]
"""A quantity by layer and epoch; layers in the model's order."""


@dataclass(frozen=True)
class Record:
    """One run, as its folder tells it.

    Args:
        folder: of the run.
        config: its configuration, with dotted keys.
        choices: the option of each config group: optimizer -> adam.
        typed: the keys that were given on the command line.
        history: the epochs' metrics by column; columns without numbers are left out.
        summary: what came of it; empty while it has not ended.
    """

    folder: Path
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    typed: Sequence[str]
    history: Mapping[str, Sequence[float]]
    summary: Mapping[str, Any]

    @property
    def status(self) -> str:
        """How it ended."""
        return str(self.summary.get("status") or UNFINISHED)

    @property
    def objective(self) -> str:
        """The metric that said which epoch was best."""
        return str(self.config.get("objective", "val/accuracy"))

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The metrics of its best epoch, and of the test split."""
        found = self.summary.get("metrics")
        return {k: float(v) for k, v in found.items() if number(v)} if isinstance(found, Mapping) else {}

    @property
    def written(self) -> float:
        """When it last wrote something, in seconds since the epoch; 0 where that cannot be told."""
        names = ("metrics.csv", "train.log", "checkpoints/last.pt", ".hydra/config.yaml")
        times = [changed(self.folder / name) for name in names]
        return max((time[0] for time in times if time), default=0) / 1e9

    @property
    def epochs(self) -> int:
        """How many epochs it has trained."""
        return len(self.history.get("epoch", ()))

    def layers(self, quantities: Collection[str]) -> dict[str, LayerCurves]:
        """Return some quantities of `layers.csv` at the end of each epoch; nothing where it cannot be read."""
        found: dict[str, LayerCurves] = {}
        try:
            with regular_file(self.folder / "layers.csv", LARGEST_LAYERS).open(encoding="utf-8", newline="") as file:
                rows = csv.reader(file)
                columns = next(rows, [])
                epoch, layer, quantity, value = (columns.index(name) for name in LAYER_COLUMNS)
                for row in rows:
                    if len(row) == len(columns) and row[quantity] in quantities and isfinite(read := float(row[value])):
                        found.setdefault(row[quantity], {}).setdefault(row[layer], {})[int(row[epoch])] = read
        except (OSError, ValueError, csv.Error):
            return {}
        return found


@dataclass
class FoundRuns:
    """What lies in some folders.

    Args:
        records: the runs.
        skipped: folders that look like runs and cannot be read, and why.
        waiting: how many runs of their sweeps have not begun.
        sweeps: the folders of sweeps.
    """

    records: list[Record] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    waiting: int = 0
    sweeps: list[Path] = field(default_factory=list)


class NoRunsError(UserError):
    """There is no run yet."""


class Reader:
    """Reads run folders, and again only those that have changed since.

    Args:
        folders: of runs and sweeps, or any folder above them.

    Raises:
        UserError: one of the folders is not there.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"{str(folder)!r} is no folder; give the folders of runs or sweeps, or one above them")
        self.folders = folders
        self._known: dict[Path, tuple[Any, Record]] = {}

    def read(self) -> FoundRuns:
        """Read what is there now.

        Raises:
            NoRunsError: no folder holds a run.
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
                    found.records.append(self._record(folder))
                except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
                    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                    found.skipped[folder] = reason[:LONGEST_REASON]
        if not found.records:
            where = ", ".join(repr(str(folder)) for folder in self.folders)
            broken = "".join(f"; {path} cannot be read ({why})" for path, why in list(found.skipped.items())[:3])
            raise NoRunsError(
                f"no runs in {where}: looked there and below for folders that hold {CONFIGURATION}{broken}"
            )
        return found

    def _record(self, folder: Path) -> Record:
        """Return a run, read anew if one of its files has changed."""
        stamp = tuple(changed(folder / name) for name in (CONFIGURATION, "metrics.csv", "summary.json"))
        known = self._known.get(folder)
        if known is None or known[0] != stamp:
            known = self._known[folder] = stamp, record(folder)
        return known[1]


def record(folder: Path) -> Record:
    """Read one run.

    Raises:
        OSError: a file cannot be read.
        ValueError: or holds something else; yaml's errors too.
    """
    config = loaded(folder / CONFIGURATION)
    if not isinstance(config, dict) or "seed" not in config:
        raise ValueError(f"{CONFIGURATION} is no configuration of a run")
    return Record(
        folder,
        {key: value for key, value in flattened(config).items() if not isinstance(value, Mapping)},
        choices(folder),
        typed(folder),
        history(folder),
        read_summary(folder),
    )


def choices(folder: Path) -> dict[str, str]:
    """Return the option of each config group, which Hydra has noted among 150 other lines."""
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
        lines = loaded(folder / ".hydra" / "overrides.yaml")
    except FileNotFoundError:
        return []
    return [line.partition("=")[0].lstrip("+~") for line in lines or [] if isinstance(line, str)]


def history(folder: Path) -> dict[str, list[float]]:
    """Return `metrics.csv` by column; nothing where no epoch has ended."""
    try:
        content = regular_text(folder / "metrics.csv")
    except FileNotFoundError:
        return {}
    try:
        rows = list(csv.reader(io.StringIO(content)))
    except csv.Error as error:
        raise ValueError(f"metrics.csv is no table: {error}") from None
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


def loaded(path: Path) -> Any:
    """Return what a file of YAML holds.

    Brackets in brackets by the thousand would bring the parser down, and aliases of aliases fill the memory.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file; yaml's errors too.
    """
    content = regular_text(path)
    if len(NESTING.findall(content)) > DEEPEST or content.count("*") > MOST_ALIASES:
        depth = aliases = 0
        for event in yaml.parse(content, Loader=LOADER):
            aliases += isinstance(event, yaml.AliasEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST or aliases > MOST_ALIASES:
                raise ValueError(f"{path.name} is nested too deeply")
    return yaml.load(content, Loader=LOADER)


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
    """Return how many runs of a sweep have not begun."""
    asked = loaded(sweep / FILE)
    runs = asked.get("runs") if isinstance(asked, dict) else None
    if not isinstance(runs, dict):
        return 0
    folders = [run.get("folder") for run in runs.values() if isinstance(run, dict)]
    return sum(not (sweep / str(folder) / CONFIGURATION).exists() for folder in folders)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Return what sorts names as people do: 2_adam before 10_adam."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def changed(path: Path) -> Any:
    """Return what differs when a file has been written again."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def number(value: Any) -> bool:
    """Whether a value is a number, and a finite one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
