"""Trying remedies: train the run and each remedy over the seeds, compare them, then those that help together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from experiments.assembly.trust import untrusted
from experiments.cli.arguments import unlinked
from experiments.common.confined import refuse_links
from experiments.common.errors import UserError
from experiments.common.files import write_json
from experiments.common.metrics import Metric, declare
from experiments.common.screen import Screen, table
from experiments.common.statuses import COMPLETED
from experiments.common.text import command_name, counted, shown_path
from experiments.comparison.statistics import chance
from experiments.evaluation.loading import read_description
from experiments.folders.lock import locked
from experiments.folders.reading import REMEDIES
from experiments.folders.run import RunFolder
from experiments.folders.summary import readable_summary
from experiments.runs.job import Job, composed
from experiments.runs.run import Run
from experiments.runs.together import train_together
from experiments.training.stop import SignalStop
from experiments.verdicts.remedies import RANGE_TEST, TABLE, Remedy, remedies

from ._drawing import draw
from ._effects import Tried, combination, effects, filled, joined
from ._treatments import ORIGINAL, Patient, Treatment, comparable, facts, jobs, patient, suggested_rate
from .options import RemedyOptions

FOLDER, FILE, PICTURE = *REMEDIES.parts, "remedy.png"
INTERRUPTED = 130
TOGETHER = "together"
SPARE = ("p", "95 %")
"""Columns of the table that a narrow terminal does without."""


@dataclass(frozen=True)
class Results:
    """What the trials show.

    Args:
        run: whose remedies they are.
        original: the metric of the run by seed.
        tried: the remedies, those that help most first.
        together: the combination of those that help; None if there are fewer than two.
        best: the treatment with the best mean.
        left_out: sentences about remedies that were not tried or not combined.
        order: the names of the remedies, the most likely one first.
        bad: the number of seeds with which the run has no result.
    """

    run: Patient
    original: Mapping[int, float]
    tried: Sequence[Tried]
    together: Tried | None
    best: Treatment | None
    left_out: Sequence[str]
    order: Sequence[str] = ()
    bad: int = 0

    @property
    def command(self) -> str | None:
        """The command of the best configuration; None if nothing helps."""
        if self.best is None:
            return None
        own = self.run.own_folder
        flags = [] if own is None else ["--config-dir", shown_path(own)]
        words = [*flags, *self.best.words, f"seed={self.run.seeds[0]}"]
        return f"{command_name('python')} -m experiments.train {shlex.join(words)}"


def remedy(folder: Path, options: RemedyOptions) -> int:
    """Try the remedies of a run, print and write what they do, and return the exit code.

    Args:
        folder: of the run.
        options: of the command line.

    Raises:
        UserError: the folder cannot be used.
        OSError: the results cannot be written.
    """
    run = patient(folder, options)
    declare(run.record.config.get("metrics"))
    out = unlinked(Path(options.out) if options.out is not None else folder / FOLDER)
    refuse_links(out, f"remedy of {str(folder)!r}")
    screen, stop = Screen(), SignalStop()
    screen.widen()
    with locked(out, "remedy"), stop.listening():
        results = tried_out(run, out, screen, stop)
    if results is None:
        screen.print("\ninterrupted; the same command continues")
        return INTERRUPTED
    report(screen, results)
    content = written(results)
    write_json(out / FILE, content)
    if any(one.found is not None for one in results.tried):
        shown = [*results.tried, *([results.together] if results.together is not None else [])]
        draw(out / PICTURE, shown, Metric(run.metric), run.folder.resolve().name)
    screen.print(f"\nwritten  {shown_path(out / FILE)}, {PICTURE}")
    return 0


def after_training(cfg: DictConfig) -> None:
    """Try the remedies of the run that Hydra composed, and that has just ended; code of the user is trusted.

    Raises:
        UserError: the folder cannot be used.
    """
    job = composed(cfg)
    packages = sorted({str(value).partition(".")[0] for _, value in untrusted(job.config, ())})
    config_dir = None if job.config_dir is None else str(job.config_dir)
    remedy(job.folder.path, RemedyOptions(config_dir=config_dir, trust=",".join(packages) or None))


def tried_out(run: Patient, out: Path, screen: Screen, stop: SignalStop) -> Results | None:
    """Train and compare everything; return None if a signal came.

    Args:
        run: whose remedies are tried.
        out: the folder of all trials.
        screen: to print on.
        stop: set by a signal.

    Raises:
        UserError: the run cannot be composed or built, or no run has a result.
    """
    introduce(screen, run)
    run, chosen, left_out = choose(run)
    plan, unfit = planned(run, chosen, out)
    left_out += unfit
    count = len(plan) - 1
    screen.print(
        f"training the run and {count} {'remedy' if count == 1 else 'remedies'} with {len(run.seeds)} seeds each, "
        f"in {shown_path(out)}"
    )
    if not train(plan, screen, stop):
        return None
    original, *treatments = plan
    measured = {one.name: measure(run, one, out) for one in plan}
    if not any(value is not None for values in measured.values() for value in values.values()):
        raise UserError(f"no run of {str(run.folder)!r} has a result: {problem(run, original, out)}")
    metric = Metric(run.metric)
    values = filled(measured, metric, guess_of(run))
    tried = effects(values[ORIGINAL], treatments, values, missing(measured), metric)
    together, unfit = combined(run, tried, measured, out, screen, stop)
    if is_stopped(stop):
        return None
    best = best_of([*tried, *([together] if together is not None else [])], metric)
    names = [one.name for one in treatments]
    bad = missing(measured)[ORIGINAL]
    return Results(run, values[ORIGINAL], tried, together, best, [*left_out, *unfit], names, bad)


def choose(run: Patient) -> tuple[Patient, list[Remedy], list[str]]:
    """Return the run with the metric that is compared, the remedies to try, and sentences about those left out.

    Raises:
        UserError: the run cannot be composed or built.
    """
    named = {name for verdict in run.verdicts for name in TABLE.get(verdict, ())}
    rate = suggested_rate(run) if RANGE_TEST in named else None
    every = remedies(run.verdicts, facts(run, rate), run.options.most)
    own, chosen = comparable(run, every)
    left_out = [
        f"{one.name} changes the loss, so {run.metric} cannot compare it; choose another objective when you train"
        for one in every
        if one not in chosen
    ]
    return own, chosen, left_out


def planned(run: Patient, chosen: Sequence[Remedy], out: Path) -> tuple[dict[Treatment, list[Job]], list[str]]:
    """Return the runs to train for the run itself and for each remedy, and sentences about remedies that do not fit.

    Args:
        run: whose remedies are tried.
        chosen: the remedies.
        out: the folder of all trials.

    Raises:
        UserError: the run itself cannot be composed or built.
    """
    original = run.treatment()
    plan, left_out = {original: jobs(run, original, out)}, []
    for one in chosen:
        treatment = run.treatment(one.name, one.overrides, one.verdicts)
        try:
            plan[treatment] = jobs(run, treatment, out)
        except UserError as error:
            left_out.append(f"{one.name} cannot be tried: {error}")
    return plan, left_out


def combined(
    run: Patient,
    tried: Sequence[Tried],
    measured: Mapping[str, Mapping[int, float | None]],
    out: Path,
    screen: Screen,
    stop: SignalStop,
) -> tuple[Tried | None, list[str]]:
    """Train the remedies that help together; return their effect, and sentences about those that do not fit.

    The effect is None if there are fewer than two.

    Args:
        run: whose remedies were tried.
        tried: the remedies, those that help most first.
        measured: the metric by treatment and seed; None for a run without a result.
        out, screen, stop: see `tried_out`.
    """
    overrides, names, unfit = combination(tried)
    if len(names) < 2:
        return None, unfit
    for_verdicts = dict.fromkeys(name for one in tried if one.effect == "helps" for name in one.treatment.verdicts)
    treatment = run.treatment(TOGETHER, overrides, list(for_verdicts))
    try:
        plan = {treatment: jobs(run, treatment, out)}
    except UserError as error:
        return None, [*unfit, f"{joined(names)} cannot be combined: {error}"]
    screen.print(f"training {joined(names)} together")
    if not train(plan, screen, stop):
        return None, unfit
    every = {**measured, TOGETHER: measure(run, treatment, out)}
    metric = Metric(run.metric)
    values = filled(every, metric, guess_of(run))
    (together,) = effects(values[ORIGINAL], [treatment], values, missing(every), metric)
    return together, unfit


def guess_of(run: Patient) -> float | None:
    """Return the accuracy of a guess among the run's classes; None for another metric, or if they are unknown.

    Raises:
        UserError: the description of the data is damaged.
    """
    described = read_description(RunFolder(run.folder)) if run.metric == "val/accuracy" else None
    return 1 / len(described.classes) if described is not None and described.classes else None


def missing(measured: Mapping[str, Mapping[int, float | None]]) -> dict[str, int]:
    """Return the number of runs without a result, by treatment."""
    return {name: sum(value is None for value in values.values()) for name, values in measured.items()}


def best_of(tried: Sequence[Tried], metric: Metric) -> Treatment | None:
    """Return the treatment with the best mean of those that help; None if none helps."""
    sign = 1 if metric.larger_is_better else -1
    helping = [(sign * one.found.mean, one) for one in tried if one.effect == "helps" and one.found is not None]
    return max(helping, key=lambda pair: pair[0])[1].treatment if helping else None


def introduce(screen: Screen, run: Patient) -> None:
    """Print the verdicts on the run."""
    screen.print(f"run      {shown_path(run.folder)}")
    screen.print(f"verdicts {', '.join(run.verdicts)}")
    if run.verdicts == ["healthy"]:
        screen.print("The run is healthy; these are three settings that often have something to gain.")


def is_stopped(stop: SignalStop) -> bool:
    """Whether a signal has come, which may happen at any time."""
    return stop.requested


def train(plan: Mapping[Treatment, Sequence[Job]], screen: Screen, stop: SignalStop) -> bool:
    """Train the runs of some treatments, those of one as a stack; return whether no signal came.

    Args:
        plan: the runs to train, by treatment; none for a treatment that was trained before.
        screen, stop: see `tried_out`.
    """
    for number, (treatment, todo) in enumerate(plan.items(), 1):
        if stop.requested:
            break
        words = " ".join(treatment.overrides)
        state = "" if todo else "  (done before)"
        screen.print(f"  {number}/{len(plan)}  {treatment.name}{f': {words}' if words else ''}{state}")
        if todo:
            train_together(todo, stop, on_finish, on_message)
    return not is_stopped(stop)


def on_finish(_run: Run) -> None:
    """Do nothing when a run has ended: its summary is read from its folder."""


def on_message(_message: str) -> None:
    """Leave out messages about stacks."""


def measure(run: Patient, treatment: Treatment, out: Path) -> dict[int, float | None]:
    """Return the metric of a treatment by seed; None for a run without a result.

    Args:
        run: whose remedies are tried.
        treatment: a trained one.
        out: the folder of all trials.
    """
    values: dict[int, float | None] = {}
    for seed in run.seeds:
        summary = readable_summary(treatment.folder(out, seed))
        value = (summary.get("metrics") or {}).get(run.metric)
        usable = summary.get("status") in COMPLETED
        values[seed] = float(value) if usable and isinstance(value, int | float) else None
    return values


def problem(run: Patient, treatment: Treatment, out: Path) -> str:
    """Return why the runs of a treatment have no result.

    Args:
        run: whose remedies are tried.
        treatment: one without a result.
        out: the folder of all trials.
    """
    summary = readable_summary(treatment.folder(out, run.seeds[0]))
    return str(summary.get("error") or summary.get("status") or "it has not ended")


def report(screen: Screen, results: Results) -> None:
    """Print what each remedy does."""
    metric, run = Metric(results.run.metric), results.run
    mean = sum(results.original.values()) / len(results.original)
    shown = effect_table([*results.tried, *([results.together] if results.together is not None else [])])
    seeds = len(run.seeds)
    counting = "which count as the worst of the seed, or as a guess"
    without = f"the run has no result with {results.bad} of {seeds} seeds, {counting}"
    if results.bad == seeds:
        screen.print(f"\n{metric.name}: {without}\n")
    else:
        screen.print(f"\n{metric.name} of the run {mean:.4g}, mean of {seeds} seeds\n")
        if run.compared is not None:
            screen.print(f"Some remedies change the loss, so {metric.name} is compared instead of the loss.\n")
        if results.bad:
            screen.print(f"{without}\n")
    screen.print_table(shown, SPARE)
    screen.print(
        "\nDifferences are paired by the seed, on the validation split, with intervals of the t-test. p is twice the "
        "smaller one of the t-test and Wilcoxon's test, corrected for the number of remedies (Holm)."
    )
    for one in results.tried:
        if one.bad:
            verb = "counts" if one.bad == 1 else "count"
            screen.print(f"{one.treatment.name}: {counted(one.bad, 'run')} without a result {verb} as the worst one.")
    for sentence in results.left_out:
        screen.print(sentence)
    if results.command is None:
        screen.print("No remedy clearly helps.")
    else:
        screen.print_command("best", results.command)


def effect_table(tried: Sequence[Tried]) -> Table:
    """Return the table of what each remedy does; the names of the remedies are not wrapped."""
    shown = table("remedy", "effect", "difference", "95 %", "p", right=("difference", "p"), wrapped=("effect",))
    for one in tried:
        found = one.found
        bounds = "" if found is None or found.low is None else f"{found.low:+.2g} to {found.high:+.2g}"
        difference = "" if found is None else f"{found.mean:+.3g}"
        p = "" if found is None else chance(one.corrected)
        shown.add_row(one.treatment.name, one.effect, difference, bounds, p)
    for column in shown.columns:
        if column.header != "effect":
            column.min_width = max([len(str(column.header)), *(len(str(cell)) for cell in column.cells)])
    return shown


def written(results: Results) -> dict[str, Any]:
    """Return the content of `remedy.json`."""
    return {
        "run": str(results.run.folder),
        "verdicts": results.run.verdicts,
        "metric": results.run.metric,
        "seeds": results.run.seeds,
        "original": {str(seed): value for seed, value in results.original.items()},
        "runs_without_result": results.bad,
        "order": list(results.order),
        "remedies": [one.as_dict() for one in results.tried],
        "together": None if results.together is None else results.together.as_dict(),
        "left_out": list(results.left_out),
        "command": results.command,
    }
