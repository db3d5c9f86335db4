"""Comparing: read, group, answer, print and write, once or as long as runs go on."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from experiments.cli.arguments import above, unlinked
from experiments.common.errors import UserError
from experiments.common.screen import Screen, table
from experiments.common.text import shown_path, visible
from experiments.folders.reading import UNFINISHED, FoundRuns, Reader
from experiments.folders.sweep import Sweep

from ._answers import Question, answered, chosen, metric_of, notes, split_conditions, unmixed
from .drawing import of_many
from .grouping import grouped, known
from .options import CompareOptions
from .report import FOLDER, Report

UNPRINTED = ("std", "best", "seconds to target", "examples/s", "verdicts")
"""Columns that are in the report alone: a terminal has room for the others."""
LATELY = 600.0
"""Seconds in which a run that goes on writes something: an epoch takes less, as a rule."""
MOST_PRINTED = 20
MOST_SAID = 12
MOST_SKIPPED = 5


def compare(folders: Sequence[Path], options: CompareOptions) -> int:
    """Compare what lies in some folders, and write what it shows.

    Args:
        folders: of runs and sweeps.
        options: what is asked for.

    Returns:
        The exit code.

    Raises:
        UserError: there are no runs, or they cannot be compared so.
        OSError: the report cannot be written.
    """
    reader, screen = Reader(folders), Screen()
    screen.widen()
    out = Path(options.out) if options.out is not None else unlinked(above(folders) / FOLDER, "figures")
    while True:
        going_on = options.watch
        try:
            found = reader.read()
            going_on = options.watch and goes_on(found)
            report = made(found, options, going_on=going_on)
        except UserError as error:
            if not going_on:
                raise
            screen.print(f"not yet: {error}")  # the run that is asked for may not have begun
        else:
            report.write(out)
            show(screen, report, out)
            if not going_on:
                return 0
        screen.print(f"\nruns go on; again in {options.every:g} s, Ctrl-C ends it\n")
        time.sleep(options.every)


def goes_on(found: FoundRuns) -> bool:
    """Whether a process is making a sweep, or a run that has not ended has written something lately."""
    if any(Sweep(folder).is_held() for folder in found.sweeps):
        return True
    unfinished = [record for record in found.records if record.status == UNFINISHED]
    return any(time.time() - record.written < LATELY for record in unfinished)


def made(found: FoundRuns, options: CompareOptions, *, going_on: bool = False) -> Report:
    """Return what runs show.

    Raises:
        UserError: they cannot be compared so.
    """
    wanted = split_conditions(options.where, "where")
    records = chosen(found.records, wanted, partial(known, records=found.records))
    different = unmixed(records, mixed=options.mixed)
    metric = metric_of(records, options.metric)
    grouping = grouped(records, metric.name, options.keys)
    baseline = split_conditions(options.baseline, "baseline")
    for key, _ in baseline:
        known(key, records)
    answer = answered(grouping, Question(metric, baseline, options.target))
    report = Report(answer, [], signed(), max(1, round(options.every)) if going_on else None)
    drawn = of_many([line.group for line in report.drawn], grouping.groups, metric)
    said = [different, *notes(answer, records), *missing(found), drawn]
    return Report(answer, [note for note in said if note], report.made, report.refresh)


def missing(found: FoundRuns) -> list[str]:
    """Say which folders could not be read, and how many runs have not begun."""
    said = []
    if found.waiting:
        what = "run of the sweep has" if found.waiting == 1 else "runs of the sweep have"
        said.append(f"{found.waiting} {what} not begun")
    if found.skipped:
        first = "; ".join(f"{shown_path(path)}: {why}" for path, why in list(found.skipped.items())[:MOST_SKIPPED])
        more = len(found.skipped) - MOST_SKIPPED
        rest = f"; and {more} more" if more > 0 else ""
        what = "folder" if len(found.skipped) == 1 else "folders"
        said.append(f"{len(found.skipped)} {what} cannot be read, and left out ({first}{rest})")
    return said


def signed() -> str:
    """Return when this is made, and by which command."""
    return f"{datetime.now():%Y-%m-%d %H:%M}: python -m experiments.compare {shlex.join(sys.argv[1:])}"


def show(screen: Screen, report: Report, out: Path) -> None:
    """Print the table, what it means, and where the rest is."""
    columns, numbers = report.columns()
    answer = report.answer
    titles = [title for title, _ in columns if title not in UNPRINTED]
    printed = table("group", *titles, right=tuple(numbers), wrapped=("runs",))
    for line in answer.lines[:MOST_PRINTED]:
        cells = {title: text for title, text, _ in report.cells(line)}
        printed.add_row(*map(visible, (line.group.name, *(cells[title] for title in titles))))
    screen.print(f"{visible(metric_line(report))}\n")
    screen.print(printed)
    if len(answer.lines) > MOST_PRINTED:
        screen.print(f"... and {len(answer.lines) - MOST_PRINTED} more groups, in table.csv")
    screen.print("")
    for sentence in answer.said[:MOST_SAID]:
        screen.print(f"- {visible(sentence)}")
    if len(answer.said) > MOST_SAID:
        screen.print(f"- ... and {len(answer.said) - MOST_SAID} more, in the report")
    for note in report.notes:
        screen.print(f"note: {visible(note)}")
    screen.print(f"\nreport   {visible(shown_path(out / 'report.html'))}")


def metric_line(report: Report) -> str:
    """Return what is compared."""
    grouping = report.answer.grouping
    runs = sum(len(group.records) for group in grouping.groups)
    count, several = len(grouping.groups), "" if len(grouping.groups) == 1 else "s"
    return f"{report.metric.name} of {runs} run{'' if runs == 1 else 's'} in {count} group{several}"
