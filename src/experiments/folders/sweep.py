"""The sweep folder: what was asked for, and a table of what came of each run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.common.errors import UserError
from experiments.common.files import write_whole
from experiments.common.keys import flattened, meaning

from .summary import NAME, readable_summary

FILE, TABLE = "sweep.yaml", "sweep.csv"
ENDED = ("finished", "stopped", "pruned", "diverged", "failed")
"""The statuses of runs that a resumed sweep leaves alone; a failed one is tried again where that is asked for."""
SWEPT = re.compile(r"=.*(,|\()")
"""What an override looks like that may name several values."""
METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy")
COLUMNS = ("run", "status", "overrides", *METRICS, "best_epoch", "epochs", "folder", "error")


@dataclass
class Entry:
    """One run of a sweep.

    Args:
        number: of the job.
        folder: of the run.
        overrides: what makes it differ, as typed.
    """

    number: int
    folder: Path
    overrides: Sequence[str] = ()

    @property
    def summary(self) -> Mapping[str, Any]:
        """What `summary.json` says; nothing while the run has not come to an end."""
        return readable_summary(self.folder)

    @property
    def status(self) -> str:
        """How it ended; `waiting` before it has begun, `interrupted` where it had to leave off."""
        begun = (self.folder / "checkpoints" / "last.pt").exists()
        return str(self.summary.get("status") or ("interrupted" if begun else "waiting"))

    def is_over(self, *, retry: bool) -> bool:
        """Whether a resumed sweep leaves the run alone."""
        return self.status in ENDED and not (retry and self.status == "failed")


@dataclass
class Sweep:
    """A folder of run folders.

    Args:
        folder: where they lie.
        entries: the runs, by their numbers.
    """

    folder: Path
    entries: dict[int, Entry] = field(default_factory=dict)
    known: dict[int, tuple[int, dict[str, Any]]] = field(default_factory=dict)

    def add(self, number: int, folder: Path, overrides: Sequence[str]) -> Entry:
        """Note a run that is going to be made."""
        self.entries[number] = Entry(number, folder, list(overrides))
        return self.entries[number]

    def find(self) -> None:
        """Note the runs whose folders are there already."""
        typed = self.typed()
        for path in self.folder.glob("**/.hydra/overrides.yaml"):
            folder, number = path.parents[1], job_number(path.parent)
            if number is not None and number not in self.entries:
                overrides = yaml.safe_load(path.read_text(encoding="utf-8")) or []
                self.add(number, folder, own_overrides(overrides, typed))

    def typed(self) -> list[str]:
        """The overrides that all runs have, as the sweep was asked for."""
        return [o for o in self.asked().get("overrides", []) if isinstance(o, str)]

    def asked(self) -> dict[str, Any]:
        """Return `sweep.yaml`; nothing where there is none that can be read."""
        try:
            found = yaml.safe_load((self.folder / FILE).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_asked(
        self, command: str, overrides: Sequence[str], configuration: Mapping[str, Any], **more: Any
    ) -> None:
        """Write `sweep.yaml`."""
        content = {
            "command": command,
            "overrides": list(overrides),
            "digest": digest(overrides, configuration),
            **more,
            "configuration": dict(configuration),
        }
        write_whole(self.folder / FILE, yaml.safe_dump(content, sort_keys=False, width=110).encode())

    def expect(self, jobs: Mapping[int, Sequence[str]]) -> dict[int, Path]:
        """Hold jobs against those that the sweep has had under these numbers, and note them; returns their folders.

        Args:
            jobs: the overrides of each, that its name tells.

        Raises:
            UserError: one would be another run.
        """
        had = {int(number): run for number, run in (self.asked().get("runs") or {}).items()}
        for number, overrides in jobs.items():
            before = had.get(number, {}).get("overrides")
            if before is not None and set(before) != set(overrides):
                raise UserError(
                    f"resume cannot make run {number} ({' '.join(before)}) another one ({' '.join(overrides)}); "
                    "give the command of the sweep, or start a new one"
                )
        return {number: self.folder / had[number]["folder"] for number in jobs if number in had}

    def note_runs(self, entries: Sequence[Entry]) -> None:
        """Write down which run has which number."""
        runs = {
            entry.number: {
                "folder": str(entry.folder.relative_to(self.folder))
                if entry.folder.is_relative_to(self.folder)
                else str(entry.folder),
                "overrides": list(entry.overrides),
            }
            for entry in entries
        }
        self.note(runs={**(self.asked().get("runs") or {}), **runs})

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out of the sweep inside the block.

        Raises:
            UserError: one is in it.
        """
        with (self.folder / ".lock").open("w") as file:
            try:
                lock(file.fileno())
            except OSError:
                raise UserError(f"another process is making the sweep {str(self.folder)!r}; wait for its end") from None
            yield

    def is_held(self) -> bool:
        """Whether a process is making the sweep."""
        path = self.folder / ".lock"
        try:
            if not path.is_file():
                return False
            with path.open() as file:
                lock(file.fileno())
        except PermissionError:
            return False
        except OSError:
            return True
        return False

    def note(self, **more: Any) -> None:
        """Write something more into `sweep.yaml`."""
        asked = self.asked()
        if any(asked.get(name) != value for name, value in more.items()):
            write_whole(self.folder / FILE, yaml.safe_dump({**asked, **more}, sort_keys=False, width=110).encode())

    def check(self, overrides: Sequence[str], configuration: Mapping[str, Any]) -> None:
        """Refuse to go on with a sweep that would be another one.

        Raises:
            UserError: this is no sweep, or names the keys that differ.
        """
        asked = self.asked()
        if not isinstance(asked.get("overrides"), list) or not isinstance(asked.get("configuration"), dict):
            raise UserError(f"resume={str(self.folder)!r} is no sweep folder: it has no {FILE} that can be read")
        before, now = keyed(asked["overrides"]), keyed(overrides)
        old, new = flattened(asked["configuration"]), flattened(configuration)
        differing = {
            key: (one.get(key, "absent"), other.get(key, "absent"))
            for one, other in ((before, now), (old, new))
            for key in dict.fromkeys([*one, *other])
            if not meaning(key).sweep
            and not isinstance(one.get(key, other.get(key)), Mapping)
            and one.get(key) != other.get(key)
        }
        whole = set(differing)
        differing = {k: v for k, v in differing.items() if not any(k.startswith(f"{other}.") for other in whole)}
        if not differing and order(asked["overrides"]) != order(overrides):
            old_order, new_order = (" ".join(order(lines)) for lines in (asked["overrides"], overrides))
            raise UserError(
                f"resume cannot change what is swept or its order ({old_order} -> {new_order}); it numbers the runs"
            )
        if differing:
            said = ", ".join(f"{key} ({one} -> {other})" for key, (one, other) in differing.items())
            raise UserError(f"resume cannot change {said}; give the command of the sweep, or start a new one")

    def rows(self) -> list[dict[str, Any]]:
        """Return the table, a row a run."""
        return [self.row(self.entries[number]) for number in sorted(self.entries)]

    def row(self, entry: Entry) -> dict[str, Any]:
        """Return a run's row; read again only when its summary has changed."""
        try:
            changed = (entry.folder / NAME).stat().st_mtime_ns
        except OSError:
            changed = 0
        kept = self.known.get(entry.number)
        if changed and kept is not None and kept[0] == changed:
            return kept[1]
        summary = entry.summary
        metrics = summary.get("metrics") or {}
        row = {
            "run": entry.number,
            "status": entry.status,
            "overrides": " ".join(entry.overrides),
            **{name: metrics.get(name, "") for name in METRICS},
            "best_epoch": summary.get("best_epoch") or "",
            "epochs": summary.get("epochs", ""),
            "folder": entry.folder.name,
            "error": summary.get("error", ""),
        }
        self.known[entry.number] = changed, row
        return row

    def write_table(self) -> None:
        """Write `sweep.csv` whole."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write_whole(self.folder / TABLE, text.getvalue().encode())

    def counts(self) -> Counter[str]:
        """How many runs have which status."""
        return Counter(row["status"] for row in self.rows())


def exit_code(counts: Mapping[str, int]) -> int:
    """Return 0 where every run came to a good end, 1 where one failed or diverged, 130 where one was interrupted."""
    if counts.get("interrupted") or counts.get("waiting"):
        return 130
    return int(bool(counts.get("failed") or counts.get("diverged")))


def said(counts: Mapping[str, int]) -> str:
    """Return the counts for people: '62 finished, 1 diverged, 1 failed'."""
    order = (*ENDED, "interrupted", "waiting")
    return ", ".join(f"{counts[status]} {status}" for status in order if counts.get(status))


def order(overrides: Sequence[str]) -> list[str]:
    """Return the overrides whose order numbers the runs, or which a resumed sweep may not change."""
    return [line for line in overrides if SWEPT.search(line) or not meaning(line.partition("=")[0].lstrip("+~")).sweep]


def job_number(hydra: Path) -> int | None:
    """Return which job's folder this is: as Hydra has noted it, or as its name begins."""
    try:
        noted = re.search(r"^    num: (\d+)$", (hydra / "hydra.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        noted = None
    found = noted or re.match(r"(\d+)", hydra.parent.name)
    return int(found[1]) if found else None


def lock(file: int) -> None:
    """Lock an open file, where the system can, until it is closed.

    Raises:
        OSError: another process has it.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # not on Windows
        return
    flock(file, LOCK_EX | LOCK_NB)


def keyed(overrides: Sequence[str]) -> dict[str, str]:
    """Return overrides by their keys."""
    return {line.partition("=")[0].lstrip("+~"): line for line in overrides}


def own_overrides(overrides: Sequence[str], common: Sequence[str]) -> list[str]:
    """Return the overrides that are a run's own, and not of the whole sweep."""
    shared = {line.casefold() for line in common}
    return [o for o in overrides if o.casefold() not in shared and not o.startswith(("trial=", "resume=", "retry_"))]


def digest(overrides: Sequence[str], configuration: Mapping[str, Any]) -> str:
    """Return what tells one sweep from another in a line."""
    content = json.dumps([sorted(overrides), configuration], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()
