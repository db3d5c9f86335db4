"""The remedies of the compared runs that have been tried, as tables of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from experiments.common.files import regular_text
from experiments.common.foreign import parsed_json
from experiments.common.metrics import Metric
from experiments.figures.page import Cell, PageColumn, PageTable
from experiments.folders.reading import REMEDIES

from .grouping import Group
from .statistics import chance

MOST_TABLES, MOST_ROWS = 5, 60
LARGEST = 1_000_000
"""Bytes of `remedy.json`."""
COLUMNS = (
    PageColumn("remedy"),
    PageColumn("effect"),
    PageColumn("difference", "number"),
    PageColumn("95 % interval", "number"),
    PageColumn("p", "number", "Holm"),
    PageColumn("settings"),
)


def remedy_tables(groups: Sequence[Group]) -> list[PageTable]:
    """Return a table for each run whose remedies were tried, at most five; a file that cannot be read has none."""
    folders = [record.folder for group in groups for record in group.records.values()]
    tables = [table for folder in folders if (table := remedy_table(folder)) is not None]
    return tables[:MOST_TABLES]


def remedy_table(folder: Path) -> PageTable | None:
    """Return the table of a run's remedies; None if none were tried, or if the file is damaged.

    Args:
        folder: of the run; the file may come from somebody else.
    """
    try:
        content = parsed_json(regular_text(folder / REMEDIES, LARGEST), REMEDIES.name)
        return table_of(folder.name, content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def table_of(run: str, content: Mapping[str, Any]) -> PageTable:
    """Return the table of what `remedy.json` holds."""
    metric, seeds = Metric(str(content["metric"])), len(content["seeds"])
    tried = [*content["remedies"], *([content["together"]] if content["together"] else [])]
    rows = [row_of(one, metric) for one in tried[:MOST_ROWS]]
    better = "larger" if metric.larger_is_better else "smaller"
    note = (
        f"Verdicts: {', '.join(map(str, content['verdicts']))}. Differences in {metric.name} from the run, paired over "
        f"{seeds} seeds on the validation split; {better} is better. p is corrected for the number of remedies."
    )
    return PageTable(f"Remedies of {run}", COLUMNS, rows, note)


def row_of(one: Mapping[str, Any], metric: Metric) -> list[Cell]:
    """Return the row of a remedy."""
    difference, low, high, p = (number(one[key]) for key in ("difference", "low", "high", "corrected_p"))
    bounds = "" if low is None or high is None else metric.bounds(low, high)
    return [
        Cell(str(one["name"])),
        Cell(str(one["effect"])),
        Cell("" if difference is None else f"{difference * metric.scale:+.3g}", sort=difference),
        Cell(bounds, sort=low),
        Cell("" if p is None else chance(p), sort=p),
        Cell(" ".join(map(str, one["overrides"]))),
    ]


def number(value: Any) -> float | None:
    """Return a number; None for anything else."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else None
