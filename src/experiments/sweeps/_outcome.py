"""The outcome of a sweep: a table of its runs, the best first, and the next commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from rich.table import Table

from experiments.assembly.trust import untrusted
from experiments.common.foreign import read_yaml, readable_yaml
from experiments.common.metrics import Metric, kind_and_source, objective_of
from experiments.common.ranking import Ranking, ranking_of
from experiments.common.screen import Screen, fits, narrowed, table
from experiments.common.statuses import COMPLETED
from experiments.common.text import capital, command_name, counted, visible
from experiments.folders.dashboard import crowded
from experiments.folders.events import FILES
from experiments.folders.reading import CONFIGURATION
from experiments.folders.sweep import ENDED, Entry, Sweep

MOST_BEST, MOST_FAILED = 10, 5
"""The rows of a long sweep: the best runs, and runs without a result."""
LONGEST_VALUE = 30
FAIR = "fair"
"""The entry of `sweep.yaml` that a fair search writes."""
WITHOUT_RESULT = ("failed", "diverged")
LOSS_SETTINGS = {"loss", "task", "experiment"}
"""Config groups that may give the losses of runs different meanings; see `ranking_of`."""


@dataclass(frozen=True)
class Row:
    """A run of the table.

    Args:
        entry: the run.
        settings: the values that distinguish it, by key.
        metrics: its finite metrics.
        status: of the run.
        epochs: how many it has trained; None if that is unknown.
        objective: the name of the metric that decided which epoch is its best; None if that is unknown.
    """

    entry: Entry
    settings: Mapping[str, str]
    metrics: Mapping[str, float]
    status: str
    epochs: int | None
    objective: str | None


@dataclass(frozen=True)
class Outcome:
    """The runs of a sweep that are shown, and their order.

    Args:
        folder: of the sweep.
        rows: its runs; of a fair search those on fresh seeds.
        fresh: whether they are runs on fresh seeds, of which none is the best: they are repetitions.
        found: how they are ranked; None if they have different objectives.
        ranked: those that have the metric, the best first.
    """

    folder: Path
    rows: Sequence[Row]
    fresh: bool
    found: Ranking | None
    ranked: Sequence[Row]


def outcome_of(sweep: Sweep) -> Outcome:
    """Return the outcome of a sweep whose runs have been found."""
    rows = [row_of(sweep.entries[number]) for number in sorted(sweep.entries)]
    fresh = on_fresh_seeds(sweep, rows)
    rows = fresh or rows
    found = objective(sweep, rows)
    return Outcome(sweep.folder, rows, bool(fresh), found, ranking(rows, None if found is None else found.metric))


def print_outcome(screen: Screen, outcome: Outcome) -> None:
    """Print the table of a sweep's runs and the best run, if a run has ended."""
    ranked, found, fresh = outcome.ranked, outcome.found, outcome.fresh
    metric = None if found is None else found.metric
    left = [row for row in outcome.rows if row not in ranked and row.status in ENDED]
    if not ranked and not left:
        return
    shown, more = selected(ranked, left)
    screen.print("\nthe best settings on fresh seeds:" if fresh else "")
    screen.print(fitting(shown, metric, screen))
    if more:
        screen.print(more)
    if found is not None and found.is_replaced:
        instead = f"; the runs are ranked by {metric.name}" if metric is not None else "; the runs are not ranked"
        screen.print(f"\n{visible(capital(found.reason))}{instead}")
    unranked = [row for row in left if row.status in COMPLETED and row.metrics]
    if unranked and metric is not None:
        screen.print(f"\nwarning: {visible(metric.name)} was never a finite number in {counted(len(unranked), 'run')}")
    if ranked and metric is not None and not fresh:
        best = ranked[0]
        value = shown_value(metric, best.metrics[metric.name])
        screen.print("")
        screen.print_command("best run", visible(f"{best.entry.folder.name}  {metric.name} {value}"))


def next_commands(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Yield labels and commands that show more of a sweep: each works when it is typed."""
    rows, ranked = outcome.rows, outcome.ranked
    measured = ranked or [row for row in rows if row.metrics]
    folder = shlex.quote(str(outcome.folder))
    python = command_name("python")
    if measured:
        mixed = " mixed=true" if len({row.settings.get("data") for row in rows}) > 1 else ""
        yield "compare", f"{python} -m experiments.compare {folder}{mixed}"
    if any(outcome.folder.glob(FILES)) or any(any(row.entry.folder.glob(FILES)) for row in rows[:1]):
        yield "view", f"{command_name('tensorboard')} --logdir {folder}"
    with_weights = [row for row in measured if (row.entry.folder / "checkpoints").is_dir()]
    if with_weights:
        best = with_weights[0]
        is_best = [*ranked[:1]] == [best] and not outcome.fresh
        words = [f"run={outcome.folder}", "best=1"] if is_best else [f"run={best.entry.folder}"]
        split = next((s for s in ("test", "val", "train") if f"{s}/loss" in best.metrics), "test")
        words += [f"split={split}"] if split != "test" else []
        packages = foreign_packages(best.entry.folder)
        words += [f"trust={','.join(packages)}"] if packages else []
        yield "evaluate", f"{python} -m experiments.evaluate {shlex.join(words)}"


def note_on_lines(sweep: Sweep) -> str | None:
    """Return a sentence if TensorBoard opens a sweep with empty charts, because it has many runs; otherwise None."""
    return crowded(len({path.parent for path in sweep.folder.rglob(FILES)}))


def foreign_packages(folder: Path) -> list[str]:
    """Return the packages that a run has taken code from, without torch and this one; none if it cannot be read."""
    with suppress(OSError, ValueError):
        config = read_yaml(folder / CONFIGURATION)
        if isinstance(config, dict):
            return sorted({str(value).partition(".")[0] for _, value in untrusted(config, ())})
    return []


def row_of(entry: Entry) -> Row:
    """Return the row of a run, whose folder may be from somebody else."""
    summary = entry.summary
    metrics, epochs = summary.get("metrics"), summary.get("epochs")
    numbers = metrics.items() if isinstance(metrics, Mapping) else ()
    return Row(
        entry,
        {key.lstrip("+"): value for key, _, value in (line.partition("=") for line in entry.overrides)},
        {name: float(v) for name, v in numbers if isinstance(v, int | float) and isfinite(v)},
        str(summary.get("status") or entry.status),
        epochs if isinstance(epochs, int) else None,
        str(summary["objective"]) if metrics and summary.get("objective") else None,
    )


def on_fresh_seeds(sweep: Sweep, rows: Sequence[Row]) -> list[Row]:
    """Return the runs of a fair search that judge its best settings; none before they are planned, or in other sweeps.

    The runs of the tuning come before them.
    """
    noted = sweep.asked().get(FAIR)
    fresh = noted.get("fresh") if isinstance(noted, Mapping) else None
    arms = fresh.values() if isinstance(fresh, Mapping) else ()
    numbers = [arm["job"] for arm in arms if isinstance(arm, Mapping) and isinstance(arm.get("job"), int)]
    return [row for row in rows if numbers and row.entry.number >= min(numbers)]


def objective(sweep: Sweep, rows: Sequence[Row]) -> Ranking | None:
    """Return how the runs of a sweep are ranked; None if they have different objectives."""
    if any("objective" in row.settings for row in rows):
        return None
    names = {row.objective for row in rows if row.metrics}
    if len(names) > 1:
        return None
    configuration = sweep.asked().get("configuration")
    configuration = configuration if isinstance(configuration, Mapping) else {}
    name = next(iter(names), None) or objective_of(configuration)
    measured = [row for row in rows if row.metrics]
    swept = {key.partition(".")[0] for row in rows for key in row.settings}
    if kind_and_source(configuration)[0] != "Reconstruction" and not swept & LOSS_SETTINGS:
        # hundreds of configurations need not be read
        return Ranking(Metric(name), "", name)
    configs = [
        content for row in measured if isinstance(content := readable_yaml(row.entry.folder / CONFIGURATION), dict)
    ]
    return ranking_of(name, configs, [list(row.metrics) for row in measured])


def ranking(rows: Sequence[Row], metric: Metric | None) -> list[Row]:
    """Return the runs that have the metric, the best first, as `evaluate best=` chooses them."""
    if metric is None:
        return []
    measured = [row for row in rows if metric.name in row.metrics]
    return sorted(measured, key=lambda row: metric.merit(row.metrics), reverse=True)


def selected(ranked: Sequence[Row], left: Sequence[Row]) -> tuple[list[Row], str]:
    """Return the rows to show, and a line about those that are left out.

    Args:
        ranked: runs with a result, the best first.
        left: other runs that have ended.
    """
    if len(ranked) + len(left) <= MOST_BEST + MOST_FAILED:
        return [*ranked, *left], ""
    rest = [row for row in (*ranked[MOST_BEST:], *left) if row.status in WITHOUT_RESULT]
    shown = [*ranked[:MOST_BEST], *rest[:MOST_FAILED]]
    hidden = len(ranked) + len(left) - len(shown)
    failed = len(rest) - min(len(rest), MOST_FAILED)
    among = f", {failed} of which failed or diverged" if failed else ""
    return shown, f"and {counted(hidden, 'more run')}{among}: sweep.csv has all"


def fitting(rows: Sequence[Row], metric: Metric | None, screen: Screen) -> Table:
    """Return the table of some runs in the widest form that fits the terminal."""
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    forms = (full_names(keys), last_names(keys))
    spare = ("epochs", "status", *reversed(metrics_shown(rows, metric)[1:]), "run")
    for names in forms:
        whole = outcome_table(rows, metric, names)
        if fits(whole, screen.terminal):
            return whole
    shown = narrowed(outcome_table(rows, metric, forms[-1]), screen.terminal, spare)
    return shown if fits(shown, screen.terminal) else list_of(rows, metric)


def outcome_table(rows: Sequence[Row], metric: Metric | None, names: Mapping[str, str]) -> Table:
    """Return a table with a column for each setting.

    Args:
        rows: the runs.
        metric: the objective.
        names: headings of the settings, by key.
    """
    metrics = metrics_shown(rows, metric)
    statuses = len({row.status for row in rows}) > 1 or rows[0].status != "finished"
    headings = ["run", *names.values(), *metrics, "epochs", *(["status"] if statuses else [])]
    right = ("run", *metrics, "epochs", *(names[key] for key in names if all(is_number(row, key) for row in rows)))
    shown = table(*headings, right=right)
    for row in rows:
        cells = [str(row.entry.number), *(cut_value(row.settings.get(key, "-")) for key in names)]
        cells += [shown_value(Metric(name), row.metrics[name]) if name in row.metrics else "-" for name in metrics]
        cells += ["-" if row.epochs is None else str(row.epochs)]
        shown.add_row(*map(visible, cells), *([visible(row.status)] if statuses else []))
    return shown


def list_of(rows: Sequence[Row], metric: Metric | None) -> Table:
    """Return a table for a terminal that is too narrow for columns: the settings in one, which is wrapped."""
    shown = table("run", metric.name if metric else "status", "settings", right=("run",), wrapped=("settings",))
    for row in rows:
        has_value = metric is not None and metric.name in row.metrics
        result = shown_value(metric, row.metrics[metric.name]) if has_value and metric else row.status
        settings = "  ".join(f"{key}={cut_value(value)}" for key, value in row.settings.items())
        shown.add_row(str(row.entry.number), visible(result), visible(settings))
    return shown


def metrics_shown(rows: Sequence[Row], metric: Metric | None) -> list[str]:
    """Return the metrics of the table: the objective, and the same quantity on the test split."""
    name = metric.name if metric else "val/accuracy"
    names = dict.fromkeys([name, f"test/{name.partition('/')[2]}"])
    return [one for one in names if any(one in row.metrics for row in rows)]


def full_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the headings of settings: their keys."""
    return {key: key for key in keys}


def last_names(keys: Sequence[str]) -> dict[str, str]:
    """Return short headings of settings: their last words, if these differ."""
    last = {key: key.rpartition(".")[2] for key in keys}
    names = list(last.values())
    return {key: name if names.count(name) == 1 else key for key, name in last.items()}


def is_number(row: Row, key: str) -> bool:
    """Whether a setting of a run is a number, or the run does not have it."""
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|-", row.settings.get(key, "-"), re.IGNORECASE) is not None


def cut_value(value: str) -> str:
    """Return a value for the table: a number with four digits that count, a long text shortened."""
    if len(value) > len("-1.234e-05"):
        with suppress(ValueError):
            return f"{float(value):.4g}"
    return value if len(value) <= LONGEST_VALUE else f"{value[: LONGEST_VALUE - 3]}..."


def shown_value(metric: Metric, value: float) -> str:
    """Return the value of a metric as runs print it."""
    return f"{value:.4f}" if metric.is_share or 0.001 <= abs(value) < 1000 else f"{value:.4g}"
