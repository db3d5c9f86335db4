"""Comparing: read, group, answer, print and write, once or as long as runs are in progress."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from rich.table import Table

from experiments.cli.arguments import above, unlinked
from experiments.common.errors import UserError
from experiments.common.metrics import Metric
from experiments.common.screen import Screen, table
from experiments.common.text import capital, counted, shown_path, visible
from experiments.folders.reading import UNFINISHED, FoundRuns, Reader, Record
from experiments.folders.sweep import Sweep

from ._answers import Question, answered, chooser_of, chosen, listed, notes, split_conditions, unmixed, wanted_ranking
from ._fair import fair_runs, with_tuning
from ._shared import common_line
from .drawing import undrawn_note
from .grouping import (
    FEWEST_KEYS,
    Grouping,
    determined,
    grouped,
    keys_of,
    known,
    not_numbers,
    refuse_unlisted,
    settled,
    shortest,
)
from .options import CompareOptions
from .report import FOLDER, Report

UNPRINTED = ("std", "best", "seconds to target", "examples/s", "verdicts")
"""Columns that are only in the report: a terminal has room for the others."""
LATELY = 600.0
"""Seconds in which a run in progress writes something: an epoch usually takes less."""
SPARE = (
    "runs",
    "setting",
    "median",
    "reached",
    "epochs to target",
    "steps to target",
    "seconds to target",
    "n",
    "letters",
)
"""Columns that a narrow terminal leaves out, the least important ones first."""
LEAST_NAME = 24
"""Characters that a long name has in a line."""
MOST_PRINTED = 20
MOST_SENTENCES = 12
MOST_SKIPPED = 5


def compare(folders: Sequence[Path], options: CompareOptions, words: Sequence[str] | None = None) -> int:
    """Compare the runs in some folders, and write the report.

    Args:
        folders: of runs and sweeps.
        options: the options of the command line.
        words: the arguments of the command; None for those of this process.

    Returns:
        The exit code.

    Raises:
        UserError: there are no runs, or they cannot be compared with these options.
        OSError: the report cannot be written.
    """
    reader, screen = Reader(folders), Screen()
    screen.widen()
    out = Path(options.out) if options.out is not None else unlinked(above(folders) / FOLDER, "figures")
    while True:
        watching = options.watch
        try:
            found = reader.read()
            watching = options.watch and in_progress(found)
            report = create_report(found, options, watching=watching, words=words)
        except UserError as error:
            if not watching:
                raise
            screen.print(f"not yet: {error}")  # the wanted run may not have started
        else:
            report.write(out)
            show(screen, report, out)
            if not watching:
                return 0
        screen.print(f"\nruns are in progress; next refresh in {options.every:g} s, Ctrl-C stops it\n")
        time.sleep(options.every)


def in_progress(found: FoundRuns) -> bool:
    """Whether a process is running a sweep, or an unfinished run has written something recently."""
    if any(Sweep(folder).is_held() for folder in found.sweeps):
        return True
    unfinished = [record for record in found.records if record.status == UNFINISHED]
    return any(time.time() - record.written < LATELY for record in unfinished)


def create_report(
    found: FoundRuns, options: CompareOptions, *, watching: bool = False, words: Sequence[str] | None = None
) -> Report:
    """Return the report on some runs.

    Args:
        found: the runs and sweeps in some folders.
        options: of the command line.
        watching: whether the page reloads itself.
        words: the arguments of the command; None for those of this process.

    Raises:
        UserError: they cannot be compared with these options.
    """
    wanted = split_conditions(options.where, "where")
    runs = settled(found.records)
    records = chosen(runs, wanted, partial(known, records=runs))
    different = unmixed(records, mixed=options.mixed)
    fair = fair_runs(records, runs)
    ranking = wanted_ranking(records, options.metric)
    metric = ranking.metric or Metric(ranking.asked)
    chooser = chooser_of(records, metric)
    keys, is_fair = options.keys, False
    if fair.key is not None and keys is options.tuned_keys is options.pooled_keys is None:
        keys, is_fair = [fair.key], True
    grouping = grouped(fair.compared, metric.name, keys, options.tuned_keys, options.pooled_keys, chooser)
    if options.tuned_keys is None and not is_fair:
        refuse_unlisted(grouping.nuisance, fair.compared)
    grouping = with_tuning(grouping, fair, chooser)
    baseline = split_conditions(options.baseline, "baseline")
    for key, _ in baseline:
        known(key, records)
    answer = answered(grouping, Question(metric, baseline, options.target, axis_of(records, options.axis)))
    report = Report(answer, [], signature(words), max(1, round(options.every)) if watching else None)
    undrawn = undrawn_note([row.group for row in report.drawn], grouping.groups, metric)
    instead = None
    if ranking.is_replaced:
        instead = f"{capital(ranking.reason)}, neither here nor in the curves; the groups are compared by {metric.name}"
    fewer = None
    if keys is options.tuned_keys is options.pooled_keys is None and chooser is not None:
        fewer = fewer_keys(grouping, fair.compared)
    sentences = [different, instead, *fair.notes(), *notes(answer, records), *missing(found), undrawn, fewer]
    return Report(answer, [note for note in sentences if note], report.signature, report.refresh)


def fewer_keys(grouping: Grouping, records: Sequence[Record]) -> str | None:
    """Return a note on how to compare the values of one key, if the groups differ in many.

    Args:
        grouping: of the runs, by all keys that differ.
        records: the runs.
    """
    if len(grouping.keys) < FEWEST_KEYS or len(grouping.groups) < FEWEST_KEYS:
        return None
    first = grouping.keys[0]
    nuisance = keys_of(records, [first]).nuisance
    if not nuisance:
        return None
    listed_keys = [key for key in shortest([first, *nuisance], records) if key != first]
    if any(not determined(key, [first, *listed_keys], records) for key in nuisance):
        listed_keys = list(nuisance)
    tuned = f" best={','.join(listed_keys)}" if not_numbers(nuisance, records) else ""
    return (
        f"The groups differ in {len(grouping.keys)} keys; by={first}{tuned} compares the values of {first}, each at "
        "its best setting of the others"
    )


def axis_of(records: Sequence[Record], wanted: str | None) -> str:
    """Return the axis of the curves, which is also the unit of a target.

    Raises:
        UserError: epochs are wanted, but a run has none.
    """
    by_steps = next((record for record in records if record.validated_every is not None), None)
    if wanted == "epoch" and by_steps is not None:
        raise UserError(
            f"axis=epoch cannot be used: {shown_path(by_steps.folder)} has training.validate="
            f"{by_steps.validated_every}, so its rows are not epochs; use axis=step or axis=seconds"
        )
    return wanted or ("epoch" if by_steps is None else "step")


def missing(found: FoundRuns) -> list[str]:
    """Return notes on runs that have not started and on folders that cannot be read."""
    sentences = []
    if found.waiting:
        subject = "run of the sweep has" if found.waiting == 1 else "runs of the sweep have"
        sentences.append(f"{found.waiting} {subject} not started")
    if found.refused:
        subject = "command was" if len(found.refused) == 1 else "commands were"
        sentences.append(
            f"{len(found.refused)} {subject} refused before the first update and left no run to compare "
            f"({listed([shown_path(path) for path in found.refused], MOST_SKIPPED)})"
        )
    if found.skipped:
        first = "; ".join(
            f"{shown_path(path)}: {reason}" for path, reason in list(found.skipped.items())[:MOST_SKIPPED]
        )
        more = len(found.skipped) - MOST_SKIPPED
        rest = f"; and {more} more" if more > 0 else ""
        folders, are = ("folder", "is") if len(found.skipped) == 1 else ("folders", "are")
        sentences.append(f"{len(found.skipped)} {folders} cannot be read and {are} left out ({first}{rest})")
    return sentences


def signature(words: Sequence[str] | None) -> str:
    """Return the time and the command of this comparison."""
    arguments = shlex.join(sys.argv[1:] if words is None else words)
    return f"{datetime.now():%Y-%m-%d %H:%M}: python -m experiments.compare {arguments}"


def show(screen: Screen, report: Report, out: Path) -> None:
    """Print the table, its meaning, and the path of the report.

    Args:
        screen: to print on.
        report: that was written.
        out: its folder.
    """
    answer = report.answer
    screen.print(f"{visible(metric_line(report))}")
    if answer.grouping.common:
        screen.print(visible(common_line(answer.grouping)))
    screen.print("")
    shown = printed(report, screen.terminal.width)
    screen.print(shown)
    if len(answer.rows) > MOST_PRINTED:
        screen.print(f"... and {len(answer.rows) - MOST_PRINTED} more groups in table.csv")
    lettered = any(column.header == "letters" for column in shown.columns)
    if lettered and any(row.letters for row in answer.rows[:MOST_PRINTED]):
        screen.print("letters: groups that share a letter cannot be told apart")
    screen.print("")
    for sentence in answer.sentences[:MOST_SENTENCES]:
        screen.print(f"- {visible(sentence)}")
    if len(answer.sentences) > MOST_SENTENCES:
        screen.print(f"- ... and {len(answer.sentences) - MOST_SENTENCES} more in the report")
    timed = answer.question.target is not None or answer.question.axis == "seconds"
    for note in report.all_notes if timed else report.notes:
        screen.print(f"note: {visible(note)}")
    screen.print(f"\nreport   {visible(shown_path(out / 'report.html'))}")


def printed(report: Report, width: int) -> Table:
    """Return the table of groups for a terminal: the mean and its interval are whole at any width.

    A long name is wrapped. If it had too little room, columns are left out, the least important ones first; in a very
    narrow terminal the numbers are below the name.

    Args:
        report: with the groups.
        width: of the terminal.
    """
    columns, numbers = report.columns()
    unprinted = {*UNPRINTED} - {f"{report.answer.question.unit} to target"}
    titles = [title for title, _ in columns if title not in unprinted]
    rows = [
        {"group": row.group.name, **{title: text for title, text, _ in report.cells(row)}}
        for row in report.answer.rows[:MOST_PRINTED]
    ]
    words = max(len(word) for row in rows for word in row["group"].split())
    least = min(max(len(row["group"]) for row in rows), max(words, LEAST_NAME))

    def room() -> int:
        """Return the characters that are left for the names."""
        return width - sum(2 + max(len(title), *(len(row[title]) for row in rows)) for title in titles)

    for title in SPARE:
        if room() >= least:
            break
        titles = [other for other in titles if other != title]
    if room() >= least:
        shown = table("group", *titles, right=tuple(numbers), wrapped=("group", "runs"))
        for row in rows:
            shown.add_row(*map(visible, (row["group"], *(row[title] for title in titles))))
        return shown
    shown = table(f"group\n  {'  '.join(titles)}", wrapped=(f"group\n  {'  '.join(titles)}",))
    for row in rows:
        shown.add_row(f"{visible(row['group'])}\n  {'  '.join(visible(row[title]) for title in titles)}")
    return shown


def metric_line(report: Report) -> str:
    """Return a line with the metric and the numbers of runs and groups."""
    grouping = report.answer.grouping
    runs = sum(len(group.records) for group in grouping.untuned().groups)
    compared_runs = sum(len(group.records) for group in grouping.groups)
    if grouping.fresh:
        runs = compared_runs
    count, several = len(grouping.groups), "" if len(grouping.groups) == 1 else "s"
    best = f", compared at their best settings: {counted(compared_runs, 'run')}" if runs != compared_runs else ""
    return f"{report.metric.name} of {counted(runs, 'run')} in {count} group{several}{best}"
