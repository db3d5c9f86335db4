"""The comparison's folder: a page, its tables and figures as files, and the same in Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.common.files import write_whole
from experiments.common.metrics import AXES, Metric
from experiments.figures import palette
from experiments.figures.page import Cell, Curves, Figure, GroupStyle, MeanCurve, Page, PageColumn, PageTable, render
from experiments.figures.svg import inlined, saved

from . import drawing
from ._answers import Answer, GroupRow
from ._words import LEVEL, chance, named, share
from .curves import Curve, curves, metrics
from .grouping import exactly
from .histograms import Histogram, first_and_last

if TYPE_CHECKING:
    from .drawing import DrawnFigure

MOST_DRAWN = 16
"""Groups whose curves and layers are drawn: more cannot be told apart."""
MOST_VALUES = 40
FOLDER = "comparison"
DASH = "-"


@dataclass(frozen=True)
class Report:
    """All that is written.

    Args:
        answer: to the question.
        notes: what the reader must know besides.
        made: when, and by which command.
        refresh: seconds after which the page loads itself again; None where no run goes on.
    """

    answer: Answer
    notes: Sequence[str]
    made: str
    refresh: int | None = None

    @property
    def metric(self) -> Metric:
        """What is compared."""
        return self.answer.question.metric

    @property
    def drawn(self) -> list[GroupRow]:
        """The groups that are drawn, the best first."""
        return list(self.answer.lines[:MOST_DRAWN])

    def write(self, folder: Path) -> None:
        """Write the folder; each file whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        ordered = [line.group for line in self.answer.lines]
        names = [group.name for group in self.answer.grouping.groups]
        styles = self.styles()
        lines = curves([line.group for line in self.drawn])
        everything = lines if len(self.drawn) == len(ordered) else curves(ordered)
        tables = self.tables()
        write_csv(folder / "table.csv", *self.table_rows())
        write_csv(folder / "differences.csv", *difference_rows(self.answer))
        write_csv(folder / "runs.csv", *run_rows(self.answer))
        write_csv(folder / "curves.csv", *curve_rows(everything))
        figures: list[Figure] = []
        names_drawn: list[str] = []
        with palette.drawing():
            for drawn in self.figures(lines, styles):
                svg = saved(drawn.figure, "svg")
                write_whole(folder / "figures" / f"{drawn.name}.svg", svg)
                write_whole(folder / "figures" / f"{drawn.name}.png", saved(drawn.figure, "png"))
                names_drawn.append(drawn.name)
                if drawn.inline:
                    figures.append(Figure(drawn.title, drawn.caption, inlined(svg)))
        clear(folder, names_drawn)
        write_whole(folder / "report.md", self.markdown(tables, names_drawn).encode())
        page = Page(
            title=f"{len(ordered)} groups by {self.metric.name}" if len(ordered) > 1 else ordered[0].name,
            said=[unbroken(sentence) for sentence in self.answer.said],
            notes=self.notes,
            groups=[GroupStyle(name, styles[name]) for name in names],
            tables=tables,
            curves=page_curves(lines, names, self.metric),
            figures=figures,
            refresh=self.refresh,
            made=self.made,
        )
        write_whole(folder / "report.html", render(page).encode())

    def styles(self) -> dict[str, palette.Style]:
        """Return how each group is drawn.

        In the order of the runs, so that a group keeps its style when another one overtakes it; where there are more
        groups than styles, those that are drawn come first: no two of them look alike.
        """
        names = [group.name for group in self.answer.grouping.groups]
        if len(names) > palette.DISTINCT:
            drawn = {line.group.name for line in self.drawn}
            names.sort(key=lambda name: name not in drawn)
        return dict(zip(names, palette.styles(len(names)), strict=True))

    def figures(self, lines: Sequence[Curve], styles: Mapping[str, palette.Style]) -> Iterator[DrawnFigure]:
        """Draw what the runs allow."""
        grouping = self.answer.grouping
        if self.answer.lines[0].estimate is not None:
            yield drawing.values_figure(self.answer, styles, self.answer.lines[:MOST_VALUES])
        names = [name for name in metrics([line.group for line in self.drawn]) if name != "lr"]
        for axis in AXES if several_paces(lines) else ("epoch", "seconds"):
            if names and any(axis in curve.x for curve in lines):
                yield drawing.curves_figure(lines, styles, axis, names)
        if self.answer.analysis is not None and len(grouping.keys) > 1:
            largest = sorted(grouping.keys, key=self.share_of, reverse=True)
            yield drawing.interaction_figure(self.answer, *largest[:2])
        yield from drawing.sensitivity_figures(grouping, self.metric)
        layers = {line.group.name: drawing.layers_of(line.group) for line in self.drawn}
        layers = {name: quantities for name, quantities in layers.items() if quantities}
        if (last := drawing.last_layers_figure(layers, styles)) is not None:
            yield last
        yield from drawing.layer_figures(layers)
        seen = {line.group.name: first_histograms(line) for line in self.drawn}
        for number, name, when in ((0, "histograms_start", "before training"), (1, "histograms_end", "at the end")):
            rows = {group: pair[number] for group, pair in seen.items() if pair[number]}
            if (found := drawing.histograms_figure(rows, styles, name, when)) is not None:
                yield found

    def share_of(self, key: str) -> float:
        """Return how much of the variance goes with a factor, alone or with others."""
        analysis = self.answer.analysis
        return sum(effect.share for effect in analysis.effects if key in effect.factors) if analysis else 0.0

    def tables(self) -> list[PageTable]:
        """Return the tables of the page."""
        made = [self.groups_table()]
        if self.answer.against:
            made.append(self.differences_table())
        if self.answer.analysis is not None and self.answer.analysis.effects:
            made.append(factors_table(self.answer))
        return made

    def groups_table(self) -> PageTable:
        """Return the table of groups."""
        columns, numbers = self.columns()
        positions = {group.name: place for place, group in enumerate(self.answer.grouping.groups)}
        rows = []
        for line in self.answer.lines:
            cells = [Cell(line.group.name, group=positions[line.group.name])]
            for title, text, value in self.cells(line):
                del title
                cells.append(Cell(text, sort=value))
            rows.append(cells)
        titles = [
            PageColumn("group"),
            *(PageColumn(t, "number" if t in numbers else "text", note) for t, note in columns),
        ]
        return PageTable(f"Groups by {self.metric.name}", titles, rows, self.about())

    def about(self) -> str:
        """Return what the table's numbers are."""
        metric, said = self.metric, ["Means are over the runs that ended well, intervals are 95 % (Student's t)"]
        objectives = {r.objective for g in self.answer.grouping.groups for r in g.records.values()}
        if metric.name.startswith("test/"):
            said.append(f"{metric.name} is scored once, with the weights of the best epoch by {', '.join(objectives)}")
        elif metric.name in objectives and metric.name.startswith("val/"):
            said.append(
                f"{metric.name} is that of each run's best epoch, and so a little too good; "
                f"metric=test/{metric.name[4:]} is not"
            )
        else:
            said.append(f"{metric.name} is that of each run's best epoch by {', '.join(sorted(objectives))}")
        said.append("groups that cannot be told apart share a place (p >= 0.05 after Holm's correction)")
        return "; ".join(said) + "."

    def columns(self) -> tuple[list[tuple[str, str]], set[str]]:
        """Return the columns behind the group's name with their notes, and those that hold numbers."""
        target = self.answer.question.target
        columns = [("place", ""), ("n", "runs"), ("mean", ""), ("std", ""), ("95 % interval", ""), ("best", "")]
        if target is not None:
            columns += [
                ("epochs to target", f"{self.metric.value(target)}, median"),
                ("seconds to target", "median"),
                ("reached", "runs"),
            ]
        columns += [("examples/s", ""), ("runs", "")]
        if any(line.verdicts for line in self.answer.lines):
            columns.append(("verdicts", ""))
        return columns, {title for title, _ in columns} - {"runs", "verdicts"}

    def cells(self, line: GroupRow) -> list[tuple[str, str, float | None]]:
        """Return a group's cells: column, text and what it is sorted by."""
        value, found = self.metric.value, line.estimate
        interval, low = DASH, None
        if found is not None and found.low is not None and found.high is not None:
            interval, low = self.metric.bounds(found.low, found.high), found.low
        std = found.std if found is not None else None
        cells: list[tuple[str, str, float | None]] = [
            ("place", str(line.place or DASH), line.place),
            ("n", str(found.n if found else 0), found.n if found else 0),
            ("mean", value(found.mean) if found else DASH, found.mean if found else None),
            ("std", DASH if std is None else self.metric.size(std).removesuffix(" points"), std),
            ("95 % interval", interval, low),
            ("best", DASH if line.best is None else value(line.best), line.best),
        ]
        if line.epochs is not None and line.seconds is not None:
            epochs, seconds = line.epochs.median, line.seconds.median
            cells += [
                ("epochs to target", "unreached" if epochs is None else f"{epochs:g}", as_last(epochs)),
                ("seconds to target", "unreached" if seconds is None else f"{seconds:.3g}", as_last(seconds)),
                ("reached", f"{line.epochs.reached} of {line.epochs.n}", line.epochs.reached),
            ]
        cells.append(("examples/s", DASH if line.speed is None else f"{line.speed:,.0f}", line.speed))
        cells.append(("runs", counted(line.group.statuses), None))
        if any(other.verdicts for other in self.answer.lines):
            cells.append(("verdicts", counted(line.verdicts, before=False) or DASH, None))
        return cells

    def differences_table(self) -> PageTable:
        """Return the table of differences."""
        metric, unit = self.metric, "points" if self.metric.is_share else ""
        positions = {group.name: place for place, group in enumerate(self.answer.grouping.groups)}
        rows = []
        for against in self.answer.against:
            found = against.difference
            bounds = metric.bounds(found.low, found.high) if found.low is not None and found.high is not None else DASH
            verdict = "undecided"
            if against.corrected < LEVEL:
                verdict = "better" if (found.mean > 0) == metric.larger_is_better else "worse"
            needed = DASH if against.corrected < LEVEL else f"{against.needed:,}" if against.needed else "> 1,000"
            rows.append(
                [
                    Cell(against.group.name, group=positions[against.group.name]),
                    Cell(against.other.name, group=positions[against.other.name]),
                    Cell(f"{found.mean * metric.scale:+.3g}", sort=found.mean),
                    Cell(bounds, sort=found.low),
                    Cell(f"{found.n}{'' if found.paired else ', not paired'}", sort=float(found.n)),
                    Cell(chance(against.corrected), sort=against.corrected),
                    Cell(chance(against.wilcoxon), sort=against.wilcoxon),
                    Cell(verdict),
                    Cell(needed, sort=float(against.needed) if against.needed else None),
                ]
            )
        columns = [
            PageColumn("group"),
            PageColumn("against"),
            PageColumn("difference", "number", unit),
            PageColumn("95 % interval", "number", unit),
            PageColumn("pairs", "number"),
            PageColumn("p", "number", "t-test"),
            PageColumn("p", "number", "Wilcoxon"),
            PageColumn("verdict"),
            PageColumn("seeds to show it", "number", "80 % power"),
        ]
        note = (
            "Paired by seed, as runs of one seed share split, initial draw and order of batches. p values are "
            "corrected by Holm's method over all that was compared; the intervals are not."
        )
        return PageTable("Differences", columns, rows, note)

    def table_rows(self) -> tuple[list[str], list[list[Any]]]:
        """Return `table.csv`: numbers to their last digit."""
        keys = list(self.answer.grouping.keys)
        header = ["group", *keys, "place", "n", "mean", "std", "low", "high", "best", "examples_per_second"]
        header += ["reached", "epochs_to_target", "seconds_to_target", "statuses", "verdicts"]
        rows = []
        for line in self.answer.lines:
            found, levels = line.estimate, [line.group.levels[key] for key in keys]
            numbers = [found.n, found.mean, found.std, found.low, found.high] if found else [0, *[None] * 4]
            target = [
                line.epochs.reached if line.epochs else None,
                None if line.epochs is None else as_last(line.epochs.median),
                None if line.seconds is None else as_last(line.seconds.median),
            ]
            more = [counted(line.group.statuses), counted(line.verdicts, before=False)]
            rows.append([line.group.name, *levels, line.place, *numbers, line.best, line.speed, *target, *more])
        return header, rows

    def markdown(self, tables: Sequence[PageTable], figures: Sequence[str]) -> str:
        """Return the report as Markdown."""
        parts = [f"# Comparison by {self.metric.name}", self.made]
        parts.append("\n".join(f"- {marked(sentence)}" for sentence in self.answer.said))
        if self.notes:
            parts.append("Note:\n\n" + "\n".join(f"- {marked(note)}" for note in self.notes))
        for table in tables:
            parts += [f"## {table.title}", as_markdown(table), marked(table.note)]
        parts.append("## Figures")
        parts += [f"![{name}](figures/{name}.svg)" for name in figures]
        return "\n\n".join(part for part in parts if part) + "\n"


def factors_table(answer: Answer) -> PageTable:
    """Return the analysis of variance as a table."""
    analysis = answer.analysis
    assert analysis is not None
    rows = [
        [
            Cell(named(effect.factors)),
            Cell(share(effect.share), sort=effect.share),
            Cell(chance(effect.p), sort=effect.p),
            Cell(chance(effect.corrected), sort=effect.corrected),
        ]
        for effect in sorted(analysis.effects, key=lambda effect: -effect.share)
    ]
    for name, value in (("seed", analysis.block), ("what is left", analysis.residual)):
        if value > 0:
            rows.append([Cell(name), Cell(share(value), sort=value), Cell(DASH), Cell(DASH)])
    columns = [
        PageColumn("factor"),
        PageColumn("share of the variance", "number"),
        PageColumn("p", "number", "F-test"),
        PageColumn("p", "number", "Holm"),
    ]
    note = "Analysis of variance; the seed is a block."
    if not analysis.complete:
        note += " Runs are missing from the crossing: each share is what the factor adds to the others (type II)."
    if analysis.left_out:
        note += f" Cannot be told: {', '.join(named(factors) for factors in analysis.left_out)}."
    return PageTable("What each factor does", columns, rows, note)


def page_curves(lines: Sequence[Curve], names: Sequence[str], metric: Metric) -> Curves | None:
    """Return the interactive plot; None where no epoch has ended."""
    if not lines:
        return None
    found = list(dict.fromkeys(curve.metric for curve in lines))
    found.sort(key=lambda name: name != metric.name)
    made = [
        MeanCurve(
            names.index(curve.group.name),
            curve.metric,
            {axis: values.tolist() for axis, values in curve.x.items()},
            (curve.mean * (scale := Metric(curve.metric).scale)).tolist(),
            (curve.low * scale).tolist(),
            (curve.high * scale).tolist(),
            curve.n.tolist(),
        )
        for curve in lines
    ]
    labels = {**AXES, **{name: Metric(name).label for name in found}}
    note = (
        "Means over the runs of a group at each epoch, with 95 % intervals; a line ends where fewer than half are left."
    )
    return Curves(found, made, labels=labels, note=note)


def first_histograms(line: GroupRow) -> tuple[Mapping[str, Histogram], Mapping[str, Histogram]]:
    """Return those of a group's first run that ended well, before training and at its end; of none where none is."""
    for block in line.group.values:
        return first_and_last(line.group.records[block].folder)
    return {}, {}


def difference_rows(answer: Answer) -> tuple[list[str], list[list[Any]]]:
    """Return `differences.csv`."""
    header = ["group", "against", "n", "paired", "difference", "std", "low", "high", "p", "p_holm", "p_wilcoxon"]
    header += ["p_wilcoxon_holm", "seeds_needed"]
    rows = []
    for against in answer.against:
        d = against.difference
        start = [against.group.name, against.other.name, d.n, d.paired, d.mean, d.std, d.low, d.high]
        rows.append([*start, d.t_p, against.corrected, d.wilcoxon_p, against.wilcoxon, against.needed])
    return header, rows


def clear(folder: Path, names: Sequence[str]) -> None:
    """Remove the figures of the report before, which its Markdown names, but for those that are drawn again."""
    try:
        before = re.findall(r"^!\[.*\]\(figures/(\w+)\.svg\)$", (folder / "report.md").read_text(), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return
    for name in set(before) - set(names):
        for suffix in ("png", "svg"):
            (folder / "figures" / f"{name}.{suffix}").unlink(missing_ok=True)


def run_rows(answer: Answer) -> tuple[list[str], list[list[Any]]]:
    """Return `runs.csv`: a row for each run, to be analysed elsewhere."""
    keys = list(dict.fromkeys([*answer.grouping.keys, *answer.grouping.repeated]))
    runs = [(group, record) for group in answer.grouping.groups for record in group.records.values()]
    metrics = list(dict.fromkeys(name for _, record in runs for name in record.metrics))
    header = ["folder", "group", *keys, "status", "epochs", "best_epoch", "seconds", *metrics]
    rows = [
        [
            str(record.folder),
            group.name,
            *(exactly(record, key) for key in keys),
            record.status,
            record.epochs,
            record.summary.get("best_epoch"),
            record.summary.get("seconds"),
            *(record.metrics.get(name) for name in metrics),
        ]
        for group, record in runs
    ]
    return header, rows


def curve_rows(lines: Sequence[Curve]) -> tuple[list[str], Iterator[list[Any]]]:
    """Return `curves.csv`."""
    header = ["group", "metric", "epoch", "step", "seconds", "n", "mean", "low", "high"]
    rows = (
        [curve.group.name, curve.metric]
        + [curve.x[axis][at] if axis in curve.x else None for axis in AXES]
        + [curve.n[at], curve.mean[at], curve.low[at], curve.high[at]]
        for curve in lines
        for at in range(len(curve.mean))
    )
    return header, rows


def write_csv(path: Path, header: Sequence[str], rows: Any) -> None:
    """Write a table whole; what is not there is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if value is None or value != value else value for value in row])
    write_whole(path, text.getvalue().encode())


def several_paces(lines: Sequence[Curve]) -> bool:
    """Whether epochs have different numbers of steps: otherwise curves over either look alike."""
    return (
        len({float(curve.x["step"][0] / curve.x["epoch"][0]) for curve in lines if {"step", "epoch"} <= {*curve.x}}) > 1
    )


def as_markdown(table: PageTable) -> str:
    """Return a table as Markdown."""
    titles = [f"{column.title} ({column.note})" if column.note else column.title for column in table.columns]
    marks = ["---:" if column.kind == "number" else "---" for column in table.columns]
    lines = [titles, marks, *([marked(cell.text) for cell in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def marked(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def unbroken(text: str) -> str:
    """Return a sentence whose numbers stay with their units at the end of a line."""
    return text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0").replace(" points", "\u00a0points")


def counted(counts: Mapping[str, int], *, before: bool = True) -> str:
    """Return counts for people: '7 finished, 1 diverged', or 'overfitting (3)'."""
    return ", ".join(f"{n} {name}" if before else f"{name} ({n})" for name, n in counts.items())


def as_last(time: float | None) -> float:
    """Return what a time is sorted by: one that was not reached comes last."""
    return float("inf") if time is None else time
