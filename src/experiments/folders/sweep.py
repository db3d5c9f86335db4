"""The sweep folder: the sweep's command and configuration, and a table of its runs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.common.errors import UserError
from experiments.common.files import regular_text, write_whole
from experiments.common.foreign import read_yaml, readable_yaml
from experiments.common.keys import AUTOMATIC, EARLIER_CHOICES, flattened, is_found_again, key_of, meaning
from experiments.common.metrics import SPLITS
from experiments.common.statuses import WITH_RESULT
from experiments.common.text import cut, spreadsheet

from .lock import is_locked, locked
from .summary import NAME, readable_summary

FILE, TABLE = "sweep.yaml", "sweep.csv"
ENDED = (*WITH_RESULT, "diverged", "failed")
"""The statuses of runs that a resumed sweep does not train again; with `retry_failed` it trains failed ones."""
SWEPT = re.compile(r"=.*(,|\()")
"""The form of an override that may have several values."""
METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy")
FOUND_BY_DATA = ("task._target_", "objective")
"""The keys whose automatic values the data of the runs decide."""
COLUMNS = ("run", "status", "overrides", *METRICS, "best_epoch", "epochs", "folder", "error")


@dataclass
class Entry:
    """One run of a sweep.

    Args:
        number: of the job.
        folder: of the run.
        overrides: the ones that the other runs do not have, as typed.
    """

    number: int
    folder: Path
    overrides: Sequence[str] = ()

    @property
    def summary(self) -> Mapping[str, Any]:
        """The content of `summary.json`; empty until the run has ended."""
        return readable_summary(self.folder)

    @property
    def status(self) -> str:
        """Its status in the summary; without one, `waiting` before its start and `interrupted` after it."""
        begun = (self.folder / "checkpoints" / "last.pt").exists()
        return str(self.summary.get("status") or ("interrupted" if begun else "waiting"))

    def is_over(self, *, retry: bool) -> bool:
        """Whether a resumed sweep does not train the run again."""
        return self.status in ENDED and not (retry and self.status == "failed")


@dataclass
class Sweep:
    """A folder of run folders.

    Args:
        folder: of the sweep.
        entries: the runs, by their numbers.
        known: the rows read so far, with the times of their summaries.
    """

    folder: Path
    entries: dict[int, Entry] = field(default_factory=dict)
    known: dict[int, tuple[int, dict[str, Any]]] = field(default_factory=dict)

    def add(self, number: int, folder: Path, overrides: Sequence[str]) -> Entry:
        """Add a run that is going to be trained."""
        self.entries[number] = Entry(number, folder, list(overrides))
        return self.entries[number]

    def find(self) -> None:
        """Add the runs whose folders already exist."""
        typed = self.typed()
        for path in self.folder.glob("**/.hydra/overrides.yaml"):
            folder, number = path.parents[1], job_number(path.parent)
            if number is not None and number not in self.entries:
                self.add(number, folder, own_overrides(readable_overrides(path), typed))

    def was_begun(self) -> bool:
        """Whether the folder has the record of a command; not if somebody has removed it during the sweep."""
        return (self.folder / FILE).exists()

    def typed(self) -> list[str]:
        """Return the overrides of the sweep's command."""
        asked = self.asked()
        return [o for name in ("overrides", "stated") for o in asked.get(name) or [] if isinstance(o, str)]

    def asked(self) -> dict[str, Any]:
        """Return `sweep.yaml`; empty if it is missing or unreadable."""
        try:
            content = read_yaml(self.folder / FILE)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def jobs(self) -> list[list[str]] | None:
        """Return the overrides of every job, if the sweep has noted them.

        Raises:
            UserError: the note is damaged.
        """
        noted = self.asked().get("jobs")
        if noted is None:
            return None
        if not isinstance(noted, list) or not all(isinstance(j, list) and all_texts(j) for j in noted):
            raise UserError(f"jobs in {str(self.folder / FILE)!r} is not a list of overrides; restore it from a copy")
        return noted

    def own_overrides(self) -> dict[int, list[str]]:
        """Return the overrides of each run in `sweep.yaml` that are not those of the whole sweep."""
        runs = self.asked().get("runs")
        found = {number: run.get("overrides") for number, run in runs.items()} if isinstance(runs, dict) else {}
        return {int(number): own for number, own in found.items() if isinstance(own, list) and all_texts(own)}

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
        write_whole(self.folder / FILE, yaml.safe_dump(content, sort_keys=False, width=110).encode(), flushed=True)

    def expect(self, jobs: Mapping[int, Sequence[str]], folders: Mapping[int, Path]) -> dict[int, Path]:
        """Compare jobs with the earlier ones of the same numbers, and return the folders of those.

        Args:
            jobs: the overrides of each job, by number.
            folders: those that the command gives the jobs, by number.

        Raises:
            UserError: a job has other overrides than before, or its earlier folder is outside the sweep's.
        """
        earlier = {int(number): run for number, run in (self.asked().get("runs") or {}).items()}
        for number, overrides in jobs.items():
            before = earlier.get(number, {}).get("overrides")
            if before is not None and set(before) != set(overrides):
                raise UserError(
                    f"resume cannot change run {number} ({' '.join(before)} -> {' '.join(overrides)}); "
                    "repeat the command of the sweep, or start a new sweep"
                )
        found = {number: self.folder / str(earlier[number]["folder"]) for number in jobs if number in earlier}
        for number, folder in found.items():
            inside = folder.resolve().is_relative_to(self.folder.resolve())
            if not inside and folder != folders[number]:  # only the command itself can name a folder elsewhere
                raise UserError(
                    f"runs.{number}.folder={earlier[number]['folder']!r} in {str(self.folder / FILE)!r} is outside the "
                    "folder of the sweep, where its runs are; correct it, or start a new sweep"
                )
        return found

    def note_runs(self, entries: Sequence[Entry]) -> None:
        """Write the number, folder and overrides of each run into `sweep.yaml`."""
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

    def held(self) -> AbstractContextManager[None]:
        """Lock the sweep against other processes inside a block; see `lock.locked`."""
        return locked(self.folder, "sweep")

    def is_held(self) -> bool:
        """Whether a process is running the sweep."""
        return is_locked(self.folder)

    def note(self, **more: Any) -> None:
        """Add entries to `sweep.yaml`."""
        asked = self.asked()
        if any(asked.get(name) != value for name, value in more.items()):
            text = yaml.safe_dump({**asked, **more}, sort_keys=False, width=110)
            write_whole(self.folder / FILE, text.encode(), flushed=True)

    def note_choices(self, overrides: Sequence[str]) -> None:
        """Add the choices that were the defaults when the sweep was started to its overrides, if a command has them."""
        before = self.typed()
        more = [line for line in overrides if line in EARLIER_CHOICES and line not in before]
        if more:
            self.note(overrides=[*before, *more])

    def check(self, overrides: Sequence[str], configuration: Mapping[str, Any]) -> None:
        """Refuse to resume a sweep with another command; choices that were the defaults need not be in both.

        Raises:
            UserError: this is not a sweep, or keys differ.
        """
        asked = self.asked()
        if not isinstance(asked.get("overrides"), list) or not isinstance(asked.get("configuration"), dict):
            raise UserError(f"resume={str(self.folder)!r} is not a sweep folder: it has no readable {FILE}")
        old, new = flattened(asked["configuration"]), flattened(configuration)
        stated = self.stated(old, new)
        earlier = [line for line in asked["overrides"] if key_of(line) not in stated]
        choices = [line for line in EARLIER_CHOICES if line not in earlier]
        typed = [line for line in overrides if key_of(line) not in stated and line not in choices]
        before, now = keyed(earlier), keyed(typed)
        swept = [key for key, line in now.items() if SWEPT.search(line)]  # the defaults of such a group are of no run
        old, new = ({k: v for k, v in one.items() if k.partition(".")[0] not in swept} for one in (old, new))
        differing = {
            key: (one.get(key, "absent"), other.get(key, "absent"))
            for one, other in ((before, now), (old, new))
            for key in dict.fromkeys([*one, *other])
            if not meaning(key).sweep
            and key not in stated
            and not is_found_again(key, one, other)
            and not isinstance(one.get(key, other.get(key)), Mapping)
            and one.get(key) != other.get(key)
        }
        whole = set(differing)
        differing = {k: v for k, v in differing.items() if not any(k.startswith(f"{other}.") for other in whole)}
        if not differing and order(earlier) != order(typed):
            old_order, new_order = (" ".join(order(lines)) for lines in (earlier, typed))
            raise UserError(
                f"resume cannot change the swept values or their order ({old_order} -> {new_order}); "
                "they number the runs"
            )
        if differing:
            shown = [f"{key} ({cut(str(one))} -> {cut(str(other))})" for key, (one, other) in differing.items()]
            changes = ", ".join(shown)
            raise UserError(f"resume cannot change {changes}; repeat the command of the sweep, or start a new sweep")
        if stated:
            self.note(stated=[line for line in overrides if key_of(line) in stated])

    def stated(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
        """Return the keys of a command that only state what the data of its runs have shown, such as the task.

        Args:
            old: the settings of the sweep's command, by dotted keys.
            new: those of the present command.
        """
        open_keys = [key for key in FOUND_BY_DATA if old.get(key) in AUTOMATIC and old.get(key) != new.get(key)]
        paths = self.folder.glob("*/.hydra/config.yaml") if open_keys else ()
        run = next((flattened(content) for path in paths if isinstance(content := readable_yaml(path), dict)), {})
        stated = {key for key in open_keys if run.get(key) == new.get(key)}
        return stated | {key.partition(".")[0] for key in stated}

    def rows(self) -> list[dict[str, Any]]:
        """Return the table, one row per run."""
        return [self.row(self.entries[number]) for number in sorted(self.entries)]

    def row(self, entry: Entry) -> dict[str, Any]:
        """Return a run's row; it is read again only if its summary has changed."""
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
            **{name: metrics.get(name, "") for name in dict.fromkeys((*METRICS, *metrics))},
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
        rows = self.rows()
        writer = csv.DictWriter(text, columns_of(rows), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: spreadsheet(value) for name, value in row.items()} for row in rows)
        write_whole(self.folder / TABLE, text.getvalue().encode())

    def counts(self) -> Counter[str]:
        """Return the number of runs with each status."""
        return Counter(row["status"] for row in self.rows())


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of the table: without accuracies if the runs have none, and with all other metrics."""
    named = dict.fromkeys(name for row in rows for name in row if "/" in name and name.partition("/")[0] in SPLITS)
    measured = [name for name in named if any(row.get(name) not in (None, "") for row in rows)]
    usual = [name for name in METRICS if not measured or name in measured or "train/accuracy" in measured]
    start, end = COLUMNS.index(METRICS[0]), COLUMNS.index(METRICS[-1]) + 1
    others = [name for name in measured if name not in METRICS]
    return [*COLUMNS[:start], *usual, *others, *COLUMNS[end:]]


def all_texts(values: Sequence[Any]) -> bool:
    """Whether all values are texts."""
    return all(isinstance(value, str) for value in values)


def removed(folder: Path) -> str:
    """Return the sentence about a sweep's folder that somebody has removed."""
    return f"the sweep's folder {folder} was removed during the sweep; start the sweep again"


def exit_code(counts: Mapping[str, int]) -> int:
    """Return 130 if a run was interrupted or has not started, else 1 if one failed or diverged, else 0."""
    if counts.get("interrupted") or counts.get("waiting"):
        return 130
    return int(bool(counts.get("failed") or counts.get("diverged")))


def counts_as_text(counts: Mapping[str, int]) -> str:
    """Return the counts for people: '62 finished, 1 diverged, 1 failed'."""
    order = (*ENDED, "interrupted", "waiting")
    return ", ".join(f"{counts[status]} {status}" for status in order if counts.get(status))


def order(overrides: Sequence[str]) -> list[str]:
    """Return the overrides whose order numbers the runs, and those that a resumed sweep may not change."""
    return [line for line in overrides if SWEPT.search(line) or not meaning(key_of(line)).sweep]


def readable_overrides(path: Path) -> list[str]:
    """Return the texts in an `overrides.yaml`; none if it cannot be read."""
    overrides = readable_yaml(path)
    return [line for line in overrides if isinstance(line, str)] if isinstance(overrides, list) else []


def job_number(hydra: Path) -> int | None:
    """Return the number of a folder's job, from Hydra's file or from the start of the folder's name."""
    try:
        noted = re.search(r"^    num: (\d{1,9})$", regular_text(hydra / "hydra.yaml"), re.MULTILINE)
    except (OSError, ValueError):
        noted = None
    found = noted or re.match(r"(\d{1,9})", hydra.parent.name)
    return int(found[1]) if found else None


def keyed(overrides: Sequence[str]) -> dict[str, str]:
    """Return overrides by their keys."""
    return {key_of(line): line for line in overrides}


def own_overrides(overrides: Sequence[str], common: Sequence[str]) -> list[str]:
    """Return the overrides of a run that are not overrides of the whole sweep."""
    shared = {line.casefold() for line in common}
    return [o for o in overrides if o.casefold() not in shared and not o.startswith(("trial=", "resume=", "retry_"))]


def digest(overrides: Sequence[str], configuration: Mapping[str, Any]) -> str:
    """Return a digest of a sweep's command and configuration."""
    content = json.dumps([sorted(overrides), configuration], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()
