"""The comparison's folder: a page, its tables and figures as files, and the page as Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.common.files import write_whole
from experiments.common.metrics import AXES, Metric
from experiments.common.text import markdown, spreadsheet
from experiments.figures import palette
from experiments.figures.page import Cell, Curves, Figure, GroupStyle, MeanCurve, Page, PageColumn, PageTable, render
from experiments.figures.svg import inlined, saved

from . import drawing
from ._answers import UNDECIDED, Answer, GroupRow, timing_note
from ._critical import critical_figure
from ._fair import budget_figure
from ._remedies import remedy_tables
from ._shared import DOT, common_line, shared_line
from ._spread import median, median_interval
from ._words import ALL_EQUAL, LEVEL, named, share
from .curves import Curve, curves, metrics
from .grouping import Group, exactly
from .histograms import Histogram, first_and_last
from .statistics import chance

if TYPE_CHECKING:
    from .drawing import DrawnFigure

MOST_DRAWN = 16
"""The most groups whose curves and layers are drawn: more cannot be told apart."""
MOST_VALUES = 40
MOST_FIRST, LONGEST_FIRST = 3, 600
"""The most sentences and characters above the curves: a reader sees these without scrolling."""
FOLDER = "comparison"
DASH = "-"


@dataclass(frozen=True)
class Report:
    """The content of the comparison's folder.

    Args:
        answer: to the question.
        notes: what else the reader must know.
        signature: the time and the command of the comparison.
        refresh: seconds after which the page reloads itself; None if no run is in progress.
    """

    answer: Answer
    notes: Sequence[str]
    signature: str
    refresh: int | None = None

    @property
    def metric(self) -> Metric:
        """The metric to compare."""
        return self.answer.question.metric

    @property
    def drawn(self) -> list[GroupRow]:
        """The groups that are drawn, the best first."""
        return list(self.answer.rows[:MOST_DRAWN])

    def write(self, folder: Path) -> None:
        """Write the folder; each file whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        ordered = [row.group for row in self.answer.rows]
        names = [group.name for group in self.answer.grouping.groups]
        styles = self.styles()
        drawn_curves = curves([row.group for row in self.drawn])
        all_curves = drawn_curves if len(self.drawn) == len(ordered) else curves(ordered)
        tables = self.tables()
        write_csv(folder / "table.csv", *self.table_rows())
        write_csv(folder / "differences.csv", *difference_rows(self.answer))
        write_csv(folder / "runs.csv", *run_rows(self.answer))
        write_csv(folder / "curves.csv", *curve_rows(all_curves))
        figures: list[Figure] = []
        first = 0
        names_drawn: list[str] = []
        with palette.drawing():
            for drawn in self.figures(drawn_curves, styles):
                svg = saved(drawn.figure, "svg")
                write_whole(folder / "figures" / f"{drawn.name}.svg", svg)
                write_whole(folder / "figures" / f"{drawn.name}.png", saved(drawn.figure, "png"))
                names_drawn.append(drawn.name)
                first += drawn.first
                if drawn.inline:
                    narrow = "" if drawn.narrow is None else inlined(saved(drawn.narrow(), "svg"))
                    figures.append(Figure(drawn.title, drawn.caption, inlined(svg), narrow=narrow))
        clear(folder, names_drawn)
        write_whole(folder / "report.md", self.markdown(tables, names_drawn).encode())
        start, further = self.sentences()
        page = Page(
            title=f"{len(ordered)} groups by {self.metric.name}" if len(ordered) > 1 else ordered[0].name,
            statements=[unbroken(sentence) for sentence in start],
            further=[unbroken(sentence) for sentence in further],
            notes=self.all_notes,
            groups=[GroupStyle(g.name, styles[g.name], g.outcome or "") for g in self.answer.grouping.groups],
            tables=tables,
            curves=page_curves(drawn_curves, names, self.metric, self.answer.question.axis),
            figures=figures,
            first=first,
            refresh=self.refresh,
            footer=self.signature,
            about=self.shared,
        )
        write_whole(folder / "report.html", render(page).encode())

    @property
    def all_notes(self) -> list[str]:
        """The notes with that on times, which the figures and tables of the page show."""
        timing = timing_note(self.answer)
        return [*self.notes, *([timing] if timing else [])]

    @property
    def shared(self) -> str:
        """What all runs have in common, and what most of them have, in one line."""
        grouping = self.answer.grouping
        return DOT.join(filter(None, [shared_line(grouping), common_line(grouping)]))

    def sentences(self) -> tuple[list[str], list[str]]:
        """Return the sentences above the page's curves, at most three and not too long, and those below them."""
        title, colon, rest = self.answer.folded[0].partition(": ")
        short = [title, rest] if title == UNDECIDED and colon else [self.answer.folded[0]]
        folded = [*short, *self.answer.folded[1:]]
        number = 1
        while number < min(MOST_FIRST, len(folded)) and sum(map(len, folded[: number + 1])) <= LONGEST_FIRST:
            number += 1
        return folded[:number], folded[number:]

    def styles(self) -> dict[str, palette.Style]:
        """Return the style of each group.

        Styles follow the order of the runs, so that a group keeps its style when another one overtakes it. If there
        are more groups than styles, the drawn groups come first, so that no two of them look alike.
        """
        names = [group.name for group in self.answer.grouping.groups]
        if len(names) > palette.DISTINCT:
            drawn = {row.group.name for row in self.drawn}
            names.sort(key=lambda name: name not in drawn)
        return dict(zip(names, palette.styles(len(names)), strict=True))

    def figures(self, drawn_curves: Sequence[Curve], styles: Mapping[str, palette.Style]) -> Iterator[DrawnFigure]:
        """Draw all figures for which the runs have data."""
        grouping = self.answer.grouping
        start, end = self.histogram_figures(styles)
        is_first = any(key == "init" or key.startswith("init.") for key in grouping.differing)
        if start is not None and is_first:
            yield replace(start, first=True)
        if self.answer.rows[0].estimate is not None:
            yield drawing.values_figure(self.answer, styles, self.answer.rows[:MOST_VALUES])
        if self.answer.ranks is not None:
            ordered = [row.group.name for row in self.answer.rows]
            yield critical_figure(ordered, self.answer.ranks, styles, tuned=grouping.fresh)
        if (tuned := budget_figure(grouping, styles)) is not None:
            yield tuned
        names = [name for name in metrics([row.group for row in self.drawn]) if name != "lr"]
        wanted = self.answer.question.axis
        usual = AXES if several_paces(drawn_curves) else ("epoch", "seconds")
        if any("epoch" not in curve.x for curve in drawn_curves):
            usual = ("step", "seconds")
        for axis in sorted({*usual, wanted}, key=lambda axis: (axis != wanted, list(AXES).index(axis))):
            if names and any(axis in curve.x for curve in drawn_curves):
                yield drawing.curves_figure(drawn_curves, [row.group for row in self.drawn], styles, axis, names)
        if self.answer.analysis is not None and len(grouping.keys) > 1:
            largest = sorted(grouping.keys, key=self.share_of, reverse=True)
            yield drawing.interaction_figure(self.answer, *largest[:2])
        yield from drawing.sensitivity_figures(grouping.untuned(), self.metric)
        by_step = any("epoch" not in curve.x for curve in drawn_curves)
        layers = {row.group.name: drawing.layers_of(row.group, by_step=by_step) for row in self.drawn}
        layers = {name: quantities for name, quantities in layers.items() if quantities}
        note = drawing.left_out([row.group for row in self.drawn], layers)
        if (last := drawing.last_layers_figure(layers, styles, note)) is not None:
            yield last
        yield from drawing.layer_figures(layers, by_step=by_step, note=note)
        if start is not None and not is_first:
            yield start
        if end is not None:
            yield end

    def histogram_figures(self, styles: Mapping[str, palette.Style]) -> list[DrawnFigure | None]:
        """Draw the histograms before training and at its end; None for those without data.

        A group without a completed run is among those before training, with what happened to its runs.
        """
        groups = [row.group for row in self.drawn]
        pairs = {group.name: first_histograms(group) for group in groups}
        outcomes = {group.name: drawing.labelled(group) for group in groups}
        figures = []
        for number, name, when in ((0, "histograms_start", "before training"), (1, "histograms_end", "at the end")):
            rows = {group: pair[number] for group, pair in pairs.items() if pair[number]}
            note = drawing.left_out(groups, rows)
            named = {outcomes[group]: histograms for group, histograms in rows.items()}
            looks = {outcomes[group]: styles[group] for group in rows}
            figures.append(drawing.histograms_figure(named, looks, name, when, note=note))
        return figures

    def share_of(self, key: str) -> float:
        """Return the share of a factor in the variance, including its interactions."""
        analysis = self.answer.analysis
        return sum(effect.share for effect in analysis.effects if key in effect.factors) if analysis else 0.0

    def tables(self) -> list[PageTable]:
        """Return the tables of the page."""
        tables = [self.groups_table()]
        if self.answer.differences:
            tables.append(self.differences_table())
        if self.answer.analysis is not None and self.answer.analysis.effects:
            tables.append(factors_table(self.answer))
        return [*tables, *remedy_tables(self.answer.grouping.groups)]

    def groups_table(self) -> PageTable:
        """Return the table of groups."""
        columns, numbers = self.columns()
        positions = {group.name: index for index, group in enumerate(self.answer.grouping.groups)}
        rows = []
        for row in self.answer.rows:
            cells = [Cell(row.group.name, group=positions[row.group.name])]
            texts = {title: Cell(text, sort=value) for title, text, value in self.cells(row)}
            rows.append([*cells, *(texts[title] for title, _ in columns)])
        titles = [
            PageColumn("group"),
            *(PageColumn(t, "number" if t in numbers else "text", note) for t, note in columns),
        ]
        return PageTable(f"Groups by {self.metric.name}", titles, rows, self.about())

    def about(self) -> str:
        """Return a note on the numbers of the table."""
        metric, notes = self.metric, ["Means are over completed runs; intervals are 95 % (Student's t)"]
        objectives = {r.objective for g in self.answer.grouping.groups for r in g.records.values()}
        if metric.name.startswith("test/"):
            notes.append(
                f"{metric.name} is measured once, with the weights of the best epoch by {', '.join(objectives)}"
            )
        elif metric.name in objectives and metric.name.startswith("val/"):
            notes.append(
                f"{metric.name} is that of each run's best epoch, so it is a little too good; "
                f"metric=test/{metric.name[4:]} is not"
            )
        else:
            notes.append(f"{metric.name} is that of each run's best epoch by {', '.join(sorted(objectives))}")
        if not self.answer.question.baseline:
            notes.append("groups that share a letter cannot be told apart (p >= 0.05 after Holm's correction)")
        return "; ".join(notes) + "."

    def columns(self) -> tuple[list[tuple[str, str]], set[str]]:
        """Return the columns after the group's name with their notes, and the titles of those that hold numbers."""
        target = self.answer.question.target
        columns = [("letters", "")] if not self.answer.question.baseline else []
        columns += [("n", "runs"), ("mean", ""), ("95 % interval", "")]
        if any(row.verdicts for row in self.answer.rows):
            columns.append(("verdicts", ""))
        columns.append(("std", ""))
        columns += [("median", "")] if self.has_odd_spread else []
        columns += [("best", "")]
        if target is not None:
            units = dict.fromkeys([self.answer.question.unit, "seconds"])
            notes = [f"{self.metric.value(target)}, median", "median"]
            columns += [(f"{unit} to target", note) for unit, note in zip(units, notes, strict=False)]
            columns.append(("reached", "runs"))
        if self.answer.grouping.nuisance:
            columns.append(("setting", "the best"))
        columns += [] if self.answer.is_stacked else [("examples/s", "")]
        columns.append(("runs", ""))
        return columns, {title for title, _ in columns} - {"letters", "setting", "runs", "verdicts"}

    @property
    def has_odd_spread(self) -> bool:
        """Whether the spread of a group is not normal."""
        return any(row.spread is not None for row in self.answer.rows)

    def cells(self, row: GroupRow) -> list[tuple[str, str, float | None]]:
        """Return a group's cells: column, text and sort key."""
        value, mean = self.metric.value, row.estimate
        interval, low = DASH, None
        if mean is not None and mean.low is not None and mean.high is not None:
            interval, low = self.metric.bounds(mean.low, mean.high), mean.low
        elif mean is not None and mean.n > 1:
            interval, low = ALL_EQUAL, mean.mean
        std = mean.std if mean is not None else None
        middle = median(list(row.group.values.values())) if row.group.values else None
        cells: list[tuple[str, str, float | None]] = [
            ("letters", row.letters or DASH, None),
            ("n", str(mean.n if mean else 0), mean.n if mean else 0),
            ("mean", value(mean.mean) if mean else DASH, mean.mean if mean else None),
            ("std", DASH if std is None else self.metric.size(std).removesuffix(" points"), std),
            ("95 % interval", interval, low),
            ("median", value(middle) if middle is not None else DASH, middle),
            ("best", DASH if row.best is None else value(row.best), row.best),
        ]
        if row.epochs is not None and row.seconds is not None:
            epochs, seconds = row.epochs.median, row.seconds.median
            unit = self.answer.question.unit
            first = (f"{unit} to target", "not reached" if epochs is None else f"{epochs:g}", as_last(epochs))
            cells += [
                *([] if unit == "seconds" else [first]),
                ("seconds to target", "not reached" if seconds is None else f"{seconds:.3g}", as_last(seconds)),
                ("reached", f"{row.epochs.reached} of {row.epochs.n}", row.epochs.reached),
            ]
        if self.answer.grouping.nuisance:
            cells.append(("setting", row.group.settings[0].name if row.group.settings else DASH, None))
        cells.append(("examples/s", DASH if row.speed is None else f"{row.speed:,.0f}", row.speed))
        cells.append(("runs", counted(row.group.statuses), None))
        if any(other.verdicts for other in self.answer.rows):
            cells.append(("verdicts", counted(row.verdicts, before=False) or DASH, None))
        return cells

    def differences_table(self) -> PageTable:
        """Return the table of differences."""
        metric, unit = self.metric, "points" if self.metric.is_share else ""
        ranked = any(pair.wilcoxon is not None for pair in self.answer.differences)
        positions = {group.name: index for index, group in enumerate(self.answer.grouping.groups)}
        rows = []
        for pair in self.answer.differences:
            test = pair.difference
            bounds = metric.bounds(test.low, test.high) if test.low is not None and test.high is not None else ALL_EQUAL
            verdict = "undecided"
            if pair.corrected < LEVEL:
                verdict = "better" if (test.mean > 0) == metric.larger_is_better else "worse"
            needed = f"{pair.needed:,}" if pair.needed else "> 1,000"
            needed = DASH if pair.corrected < LEVEL or not pair.sized else needed
            rows.append(
                [
                    Cell(pair.group.name, group=positions[pair.group.name]),
                    Cell(pair.other.name, group=positions[pair.other.name]),
                    Cell(f"{test.mean * metric.scale:+.3g}", sort=test.mean),
                    Cell(bounds, sort=test.low),
                    Cell(verdict),
                    Cell(f"{test.n}{'' if test.paired else ', not paired'}", sort=float(test.n)),
                    Cell(chance(pair.corrected), sort=pair.corrected),
                    *([Cell(chance(pair.wilcoxon), sort=pair.wilcoxon)] if ranked else []),
                    Cell(needed, sort=float(pair.needed) if pair.needed else None),
                ]
            )
        columns = [
            PageColumn("group"),
            PageColumn("against"),
            PageColumn("difference", "number", unit),
            PageColumn("95 % interval", "number", unit),
            PageColumn("verdict"),
            PageColumn("pairs", "number"),
            PageColumn("p", "number", "t-test"),
            *([PageColumn("p", "number", "Wilcoxon")] if ranked else []),
            PageColumn("seeds needed", "number", "at least, 80 % power"),
        ]
        note = (
            "Groups are paired by seed, as runs of one seed share the split, the initial draw and the order of "
            "batches. The p values are corrected by Holm's method over all comparisons; the intervals are not."
        )
        if self.answer.grouping.fresh:
            note += (
                " The intervals and p values allow for the luck in the choice of the settings. Wilcoxon's test is left "
                "out, because it cannot."
            )
        elif not all(pair.wilcoxon is not None for pair in self.answer.differences):
            left_out = "is left out" if not ranked else "is left out for groups with fewer seeds"
            note += (
                f" Wilcoxon's test {left_out}: after the correction it cannot show any difference with fewer than "
                f"{self.answer.fewest_ranked()} seeds."
            )
        return PageTable("Differences", columns, rows, note)

    def table_rows(self) -> tuple[list[str], list[list[Any]]]:
        """Return `table.csv`, with all digits of the numbers."""
        keys = list(self.answer.grouping.keys)
        header = ["group", *keys, "place", "n", "mean", "std", "low", "high", "best", "examples_per_second"]
        unit = self.answer.question.unit
        own = [] if unit == "seconds" else [f"{unit}_to_target"]
        header += ["reached", *own, "seconds_to_target", "statuses", "verdicts"]
        nuisance = bool(self.answer.grouping.nuisance)
        header += ["letters"]
        header += ["median", "median_low", "median_high"] if self.has_odd_spread else []
        header += ["setting", "settings_tried"] if nuisance else []
        rows = []
        for row in self.answer.rows:
            mean, levels = row.estimate, [row.group.levels[key] for key in keys]
            numbers = [mean.n, mean.mean, mean.std, mean.low, mean.high] if mean else [0, *[None] * 4]
            target = [
                row.epochs.reached if row.epochs else None,
                *([None if row.epochs is None else as_last(row.epochs.median)] * len(own)),
                None if row.seconds is None else as_last(row.seconds.median),
            ]
            more: list[Any] = [counted(row.group.statuses), counted(row.verdicts, before=False)]
            more.append(row.letters)
            if self.has_odd_spread:
                values = sorted(row.group.values.values())
                more += [median(values) if values else None, *median_interval(values)[:2]]
            if nuisance:
                tried = row.group.settings
                more += [tried[0].name if tried else None, len(tried)]
            rows.append([row.group.name, *levels, row.place, *numbers, row.best, row.speed, *target, *more])
        return header, rows

    def markdown(self, tables: Sequence[PageTable], figures: Sequence[str]) -> str:
        """Return the report as Markdown."""
        parts = [f"# Comparison by {markdown(self.metric.name)}", markdown(self.shared), markdown(self.signature)]
        parts.append("\n".join(f"- {markdown(sentence)}" for sentence in self.answer.sentences))
        if self.all_notes:
            parts.append("Notes:\n\n" + "\n".join(f"- {markdown(note)}" for note in self.all_notes))
        for table in tables:
            parts += [f"## {markdown(table.title)}", as_markdown(table), markdown(table.note)]
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
    for name, value in (("seed", analysis.block), ("residual", analysis.residual)):
        if value > 0:
            rows.append([Cell(name), Cell(share(value), sort=value), Cell(DASH), Cell(DASH)])
    columns = [
        PageColumn("factor"),
        PageColumn("share of the variance", "number"),
        PageColumn("p", "number", "F-test"),
        PageColumn("p", "number", "Holm"),
    ]
    note = "Analysis of variance with the seed as a block."
    if not analysis.complete:
        note += (
            " Some runs are missing: each share is the part that the factor adds to the others (type II), so the "
            "shares need not sum to 100 %."
        )
    if analysis.left_out:
        note += f" These effects cannot be estimated: {', '.join(named(factors) for factors in analysis.left_out)}."
    return PageTable("Effect of each factor", columns, rows, note)


def page_curves(drawn_curves: Sequence[Curve], names: Sequence[str], metric: Metric, wanted: str) -> Curves | None:
    """Return the interactive plot, over the wanted axis first; None if no epoch has ended.

    Args:
        drawn_curves: of all groups and metrics.
        names: of the groups, in the order of the page.
        metric: to show first.
        wanted: the axis to show first: epoch, step or seconds.
    """
    if not drawn_curves:
        return None
    shown = list(dict.fromkeys(curve.metric for curve in drawn_curves))
    shown.sort(key=lambda name: name != metric.name)
    lines = [
        MeanCurve(
            names.index(curve.group.name),
            curve.metric,
            {axis: values.tolist() for axis, values in curve.x.items()},
            (curve.mean * (scale := Metric(curve.metric).scale)).tolist(),
            (curve.low * scale).tolist(),
            (curve.high * scale).tolist(),
            curve.n.tolist(),
        )
        for curve in drawn_curves
    ]
    axes = [axis for axis in AXES if all(axis in curve.x for curve in drawn_curves)] or list(AXES)
    axes.sort(key=lambda axis: axis != wanted)
    labels = {**AXES, **{name: Metric(name).label for name in shown}}
    note = (
        "Means over the runs of a group at each epoch, with 95 % intervals; a line ends when fewer than half of them "
        "are left."
    )
    ends = {name: Metric(name).scale for name in shown if Metric(name).is_share}
    return Curves(shown, lines, axes, labels=labels, ends=ends, note=note)


def first_histograms(group: Group) -> tuple[Mapping[str, Histogram], Mapping[str, Histogram]]:
    """Return the histograms of a group's first completed run, before training and at its end.

    Without a completed run they are those of its first run before training.
    """
    for block in group.values:
        return first_and_last(group.records[block].folder)
    for record in group.records.values():
        return first_and_last(record.folder)[0], {}
    return {}, {}


def difference_rows(answer: Answer) -> tuple[list[str], list[list[Any]]]:
    """Return `differences.csv`."""
    header = ["group", "against", "n", "paired", "difference", "std", "low", "high", "p", "p_holm", "p_wilcoxon"]
    header += ["p_wilcoxon_holm", "seeds_needed"]
    rows = []
    for pair in answer.differences:
        test = pair.difference
        start = [pair.group.name, pair.other.name, test.n, test.paired, test.mean, test.std, test.low, test.high]
        rows.append([*start, test.t_p, pair.corrected, test.wilcoxon_p, pair.wilcoxon, pair.needed])
    return header, rows


def clear(folder: Path, names: Sequence[str]) -> None:
    """Remove the figures of the previous report, which its Markdown names, except those that are drawn again."""
    try:
        previous = re.findall(r"^!\[.*\]\(figures/(\w+)\.svg\)$", (folder / "report.md").read_text(), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return
    for name in set(previous) - set(names):
        for suffix in ("png", "svg"):
            (folder / "figures" / f"{name}.{suffix}").unlink(missing_ok=True)


def run_rows(answer: Answer) -> tuple[list[str], list[list[Any]]]:
    """Return `runs.csv`: a row for each run, for other tools."""
    grouping = answer.grouping
    keys = list(dict.fromkeys([*grouping.keys, *grouping.repeated, *grouping.nuisance]))
    runs = [(group, record) for group in grouping.groups for record in group.records.values()]
    compared = {record.folder for _, record in runs}
    runs += [
        (group, record)
        for group in grouping.groups
        for setting in group.settings
        for record in setting.records.values()
        if record.folder not in compared
    ]
    metrics = list(dict.fromkeys(name for _, record in runs for name in record.metrics))
    header = ["folder", "group", *keys, *(["compared"] if grouping.nuisance else [])]
    header += ["status", "epochs", "best_epoch", "seconds", "examples_per_second", *metrics]
    rows = [
        [
            str(record.folder),
            group.name,
            *(exactly(record, key) for key in keys),
            *([str(record.folder in compared).lower()] if grouping.nuisance else []),
            record.status,
            record.epochs,
            record.summary.get("best_epoch"),
            record.summary.get("seconds"),
            record.summary.get("examples_per_second"),
            *(record.metrics.get(name) for name in metrics),
        ]
        for group, record in runs
    ]
    return header, rows


def curve_rows(all_curves: Sequence[Curve]) -> tuple[list[str], Iterator[list[Any]]]:
    """Return `curves.csv`."""
    header = ["group", "metric", "epoch", "step", "seconds", "n", "mean", "low", "high"]
    rows = (
        [curve.group.name, curve.metric]
        + [curve.x[axis][index] if axis in curve.x else None for axis in AXES]
        + [curve.n[index], curve.mean[index], curve.low[index], curve.high[index]]
        for curve in all_curves
        for index in range(len(curve.mean))
    )
    return header, rows


def write_csv(path: Path, header: Sequence[str], rows: Any) -> None:
    """Write a table whole; missing values are empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([spreadsheet(name) for name in header])
    for row in rows:
        writer.writerow(["" if value is None or value != value else spreadsheet(value) for value in row])
    write_whole(path, text.getvalue().encode())


def several_paces(drawn_curves: Sequence[Curve]) -> bool:
    """Whether epochs have different numbers of steps: otherwise curves over epochs and over steps look alike."""
    return (
        len(
            {
                float(curve.x["step"][0] / curve.x["epoch"][0])
                for curve in drawn_curves
                if {"step", "epoch"} <= {*curve.x}
            }
        )
        > 1
    )


def as_markdown(table: PageTable) -> str:
    """Return a table as Markdown."""
    titles = [f"{column.title} ({column.note})" if column.note else column.title for column in table.columns]
    marks = ["---:" if column.kind == "number" else "---" for column in table.columns]
    lines = [list(map(markdown, titles)), marks, *([markdown(cell.text) for cell in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def unbroken(text: str) -> str:
    """Return a sentence in which no line break separates a number from its unit."""
    return text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0").replace(" points", "\u00a0points")


def counted(counts: Mapping[str, int], *, before: bool = True) -> str:
    """Return counts for people: '7 finished, 1 diverged', or 'overfitting (3)'."""
    return ", ".join(f"{n} {name}" if before else f"{name} ({n})" for name, n in counts.items())


def as_last(time: float | None) -> float:
    """Return the sort key of a time: a target that is not reached comes last."""
    return float("inf") if time is None else time
