"""What a run says when it begins and when it ends."""

import io
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from experiments import assembly
from experiments.common.screen import Screen, plain, table
from experiments.common.text import duration, shown_path
from experiments.data.forms import sides
from experiments.models.layers import Layer
from experiments.training import device
from experiments.training.member import Member
from experiments.verdicts.judges import Verdict


def introduce(
    screen: Screen,
    data: assembly.Data,
    layers: Sequence[Layer],
    place: torch.device,
    threads: int,
    settings: assembly.Training,
    choices: Mapping[str, str],
) -> None:
    """Print the model, the data and the machine."""
    if screen.terminal.quiet:
        screen.log(layers_as_text(tuple(layers)))
    else:
        screen.print(layer_table(layers))
    sizes = ", ".join(f"{len(data.splits[s]):,} {s}" for s in ("train", "val", "test") if s in data.splits)
    name = choices.get("data", "own")
    screen.print(f"\ndata     {name}: {sizes}; {sides(data.input_shape)}, {len(data.classes)} classes")
    why = " (chosen from the model's size)" if settings.threads == "auto" and place.type == "cpu" else ""
    screen.print(f"device   {device.describe(place)}, {threads} thread{'s' * (threads > 1)}{why}\n")


def begun_with(origin: Mapping[str, Any]) -> str:
    """Say which weights a run begins with; see `build.model`."""
    anew = f", but by init {', '.join(origin['replaced'])}" if origin["replaced"] else ""
    return f"weights  {shown_path(Path(origin['file']))}{anew}\n"


def layer_table(layers: Sequence[Layer]) -> Table:
    """Return the model's layers, one a line."""
    shown = table("layer", "kind", "output", "parameters", right=("output", "parameters"))
    for layer in layers:
        shown.add_row(layer.name, layer.kind, sides(layer.output_shape), f"{layer.parameters:,}")
    shown.add_row("total", "", "", f"{sum(layer.parameters for layer in layers):,}")
    return shown


@lru_cache(maxsize=16)
def layers_as_text(layers: tuple[Layer, ...]) -> str:
    """Return the same as text: laying it out takes longer than building the model, and a sweep mostly has one."""
    text = io.StringIO()
    plain(text).print(layer_table(layers))
    return text.getvalue().rstrip("\n")


def conclude(screen: Screen, member: Member, summary: Mapping[str, Any], verdicts: Sequence[Verdict]) -> None:
    """Print how it ended, what it means, and what to type next."""
    path = shown_path(member.folder.path)
    metrics = summary["metrics"]
    screen.print("")
    if summary["status"] == "diverged":
        screen.print(f"diverged: the loss was not finite at step {member.diverged_at}")
    if summary["status"] == "stopped":
        screen.print(f"stopped early: no better for {member.early_stopping.patience} epochs")  # type: ignore[union-attr]
    shown = table("", "loss", "accuracy", right=("loss", "accuracy"))
    for split in ("train", "val", "test"):
        if f"{split}/loss" in metrics:
            shown.add_row(split, f"{metrics[f'{split}/loss']:.4f}", f"{metrics[f'{split}/accuracy']:.4f}")
    if shown.row_count:
        screen.print(shown)
    best = f", best epoch {summary['best_epoch']} by {member.objective}" if summary["best_epoch"] else ""
    screen.print(
        f"\n{summary['status']} after {summary['epochs']} epochs ({summary['steps']:,} steps){best}, "
        f"{duration(summary['seconds'])}, {summary['examples_per_second']:,.0f} examples/s"
    )
    judged(screen, verdicts)
    screen.print(f"run      {path}")
    if summary["status"] == "interrupted":
        screen.print(f"go on    {installed('python')} -m experiments.train {shlex.quote(f'resume={path}')}")
    else:
        screen.print(f"look     {installed('tensorboard')} --logdir {shlex.quote(path)}")


def judged(screen: Screen, verdicts: Sequence[Verdict]) -> None:
    """Print the verdicts, each with its evidence and what to try."""
    screen.print("")
    for verdict in verdicts:
        screen.print(f"{verdict.name} ({verdict.where}): {verdict.finding}")
        screen.print(f"    {verdict.evidence}")
        for advice in verdict.advice:
            screen.print(f"    try  {advice}")
    if verdicts:
        screen.print("")


def installed(name: str) -> str:
    """Return how a program of this environment is typed: its name where the shell finds it, its path elsewhere."""
    here = Path(sys.executable).parent / name
    return name if shutil.which(name) == str(here) else shown_path(here)
