"""What a run prints when it starts and when it ends."""

import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from experiments import assembly
from experiments.common.metrics import SPLITS, TRAIN_EVAL
from experiments.common.screen import Screen, fits, plain, table
from experiments.common.text import command_name, counted, duration, shown_path
from experiments.data.forms import ColumnUse, sides
from experiments.models.layers import Layer
from experiments.training.device import describe
from experiments.training.member import Member
from experiments.verdicts.judges import Verdict, to_add
from experiments.verdicts.story import COMMAND


def introduce(
    screen: Screen,
    data: assembly.Data,
    layers: Sequence[Layer],
    device: torch.device,
    threads: int,
    settings: assembly.Training,
    choices: Mapping[str, str],
    chosen: str,
) -> None:
    """Print the model, the data, the device, and the choices of the training; see `training_choices`."""
    if screen.terminal.quiet:
        screen.log(layers_as_text(tuple(layers)))
    else:
        screen.print_table(layer_table(layers), spare=("kind", "output"))
    sizes = ", ".join(f"{len(data.splits[s]):,} {s}" for s in ("train", "val", "test") if s in data.splits)
    name = choices.get("data", "own")
    if data.description.columns:
        screen.print("")
        screen.print(column_table(data.description.columns))
    screen.print(f"\ndata     {name}: {sizes}; {sides(data.input_shape)}, {data.task.summary}")
    for note in data.notes:
        screen.print(f"         {note}")
    for doubt in data.doubts:
        screen.print(f"warning: {doubt}")
    why = " (chosen from the model's size)" if settings.threads == "auto" and device.type == "cpu" else ""
    screen.print(f"device   {describe(device)}, {threads} thread{'s' * (threads > 1)}{why}")
    screen.print(f"training {chosen}\n")


def training_choices(config: assembly.Config, choices: Mapping[str, str], rate: float, batch: int) -> str:
    """Return the choices that decide how a run learns, such as 'adam lr 0.001, init he, batch 32, seed 0'.

    Args:
        config: the configuration.
        choices: the file chosen in each config group; a group without one is called by its function or class.
        rate: the learning rate before the schedule.
        batch: the examples per update.
    """
    named = {
        group: (choices.get(group) or str(config[group].get("_target_", "own"))).rpartition(".")[2]
        for group in ("optimizer", "scheduler", "init")
    }
    schedule = [] if named["scheduler"] == "constant" else [f"scheduler {named['scheduler']}"]
    parts = [f"{named['optimizer']} lr {rate:g}", *schedule, f"init {named['init']}", f"batch {batch:,}"]
    return ", ".join([*parts, f"seed {config['seed']}"])


MOST_COLUMNS = 40
"""The columns that are shown; `data.json` has all of them."""


def column_table(columns: Sequence[ColumnUse]) -> Table:
    """Return a table with what each column of a table holds and what became of it, first those with a note."""
    shown = table("column", "holds", "features", "note", right=("features",), wrapped=("column", "note"))
    listed = sorted(columns, key=lambda use: not use.note)[:MOST_COLUMNS] if len(columns) > MOST_COLUMNS else columns
    for use in listed:
        shown.add_row(use.name, use.holds, str(use.features) if use.features else "-", use.note)
    if len(columns) > len(listed):
        shown.add_row(f"and {len(columns) - len(listed)} more", "", "", "all of them are in data.json")
    return shown


def initial_weights(origin: Mapping[str, Any]) -> str:
    """Return a line about the file that a run's first weights are from; see `assembly.model`."""
    replaced = f", except {', '.join(origin['replaced'])} (set by init)" if origin["replaced"] else ""
    return f"weights  {shown_path(Path(origin['file']))}{replaced}\n"


def layer_table(layers: Sequence[Layer]) -> Table:
    """Return a table with a row for each layer of the model."""
    shown = table("layer", "kind", "output", "parameters", right=("output", "parameters"))
    for layer in layers:
        shown.add_row(layer.name, layer.kind, sides(layer.output_shape), f"{layer.parameters:,}")
    shown.add_row("total", "", "", f"{sum(layer.parameters for layer in layers):,}")
    return shown


@lru_cache(maxsize=16)
def layers_as_text(layers: tuple[Layer, ...]) -> str:
    """Return the table as text, cached: it takes longer than building the model, and most sweeps have one model."""
    text = io.StringIO()
    plain(text).print(layer_table(layers))
    return text.getvalue().rstrip("\n")


def conclude(
    screen: Screen,
    member: Member,
    summary: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    resuming: Sequence[str],
    sample: tuple[int, int] | None,
    *,
    validates: bool,
) -> None:
    """Print the status, the metrics, the verdicts and the next command.

    Args:
        screen: of the run.
        member: the run inside the loop.
        summary: the content of `summary.json`.
        verdicts: on the run.
        resuming: the words of the command that resumes it.
        sample: the training examples that are measured in evaluation mode, and all of them; None if they are the same.
        validates: whether there is a validation split.
    """
    path = shown_path(member.folder.path)
    metrics, fitted = summary["metrics"], f"{TRAIN_EVAL}/loss" in summary["metrics"]
    screen.print("")
    if summary["status"] == "diverged":
        period = "validation" if "validated_every" in summary else "epoch"
        seen = f"; losses are read after each {period}, here after step {summary['steps']:,}"
        later = seen if (member.diverged_at or 0) < summary["steps"] else ""
        screen.print(f"diverged: the loss was not finite at step {member.diverged_at}{later}")
    if summary.get("out_of_time"):
        screen.print("the time of training.max_time is over")
    if summary["status"] == "stopped":
        assert member.early_stopping is not None
        unit = "validations" if "validated_every" in summary else "epochs"
        screen.print(f"stopped early: no improvement for {member.early_stopping.patience} {unit}{without(member)}")
    undefined = [name for name in member.folder.measured if member.history and name not in metrics]
    names = measured_columns([*metrics, *undefined])
    splits = {split: TRAIN_EVAL if split == "train" and fitted else split for split in SPLITS}
    splits = {split: own for split, own in splits.items() if f"{own}/loss" in metrics}
    shown = table("", *names, right=tuple(names))
    for split, own in splits.items():
        shown.add_row(split, *(number(metrics.get(f"{own}/{name}")) for name in names))
    if not fits(shown, screen.terminal):  # rather long than with numbers that are cut off
        shown = table("", *splits, right=tuple(splits))
        for name in names if splits else ():
            shown.add_row(name, *(number(metrics.get(f"{own}/{name}")) for own in splits.values()))
    if shown.row_count:
        screen.print(shown)
    if fitted and sample is not None:
        screen.print(f"\ntrain is measured on {sample[0]:,} of the {sample[1]:,} training examples, evenly spaced")
    elif shown.row_count and not fitted:
        screen.print("\ntrain is the mean over the batches of the epoch, each before its update")
    if not summary["steps"] and shown.row_count and validates:
        screen.print("\nval is measured after each epoch, and this run has none")
    best, trained = "", f"{summary['epochs']} epochs ({summary['steps']:,} steps)"
    if "validated_every" in summary:
        trained = f"{counted(summary['steps'], 'step')} ({counted(summary['epochs'], 'whole epoch')})"
    if summary["best_epoch"]:
        unit = "step" if "best_step" in summary else "epoch"
        best = f", best {unit} {summary[f'best_{unit}']:,} by {member.objective}"
    screen.print(
        f"\n{summary['status']} after {trained}{best}, "
        f"{duration(summary['seconds'])}, {summary['examples_per_second']:,.0f} examples/s"
    )
    print_verdicts(screen, verdicts)
    for warning in summary.get("warnings", ()):
        screen.print(f"warning: {warning}")
    if "problem" in summary:
        screen.print(f"warning: {summary['problem']}")
    screen.print_command("run", path)
    if summary["status"] == "interrupted":
        screen.print_command("resume", f"{command_name('python')} -m experiments.train {shlex.join(resuming)}")
    else:
        screen.print_command("view", f"{command_name('tensorboard')} --logdir {shlex.quote(path)}")


def without(member: Member) -> str:
    """Return the end of a sentence about the last epochs of a run that stopped early, if they lack its metric."""
    assert member.early_stopping is not None
    rule = member.early_stopping
    count = sum(rule.metric not in row for row in member.history[-rule.patience :])
    return f"; {rule.metric} was not a finite number in {count} of them" if count else ""


def measured_columns(metrics: Iterable[str]) -> list[str]:
    """Return the names of the metrics that are printed, the loss first, without their splits."""
    parts = [name.partition("/") for name in metrics]
    return list(dict.fromkeys(["loss", *(kind for split, _, kind in parts if split in SPLITS and kind != "penalty")]))


def number(value: float | None) -> str:
    """Return a metric with four decimals, or with four digits if it is large; empty if it was not measured."""
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.4g}"


def print_verdicts(screen: Screen, verdicts: Sequence[Verdict]) -> None:
    """Print the verdicts, each with its evidence and what to try."""
    python = command_name("python")
    screen.print("")
    for verdict in verdicts:
        screen.print(f"{verdict.name} ({verdict.where}): {verdict.finding}")
        screen.print(f"    {verdict.evidence}")
        for advice in verdict.advice:
            screen.print_line(f"    try  {advice.replace(f': {COMMAND}', f': {python} -m experiments.')}")
    for sentence in to_add(verdicts):
        screen.print_line(sentence)
    if verdicts:
        screen.print("")
