"""The command line of a run that is resumed: its saved overrides, in its folder."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from experiments.common.errors import UserError

from .overrides import quoted, spelled_out

RESUME = re.compile(r"\+{0,2}resume=")
RECIPE = re.compile(r"experiment=")
VALUED = {"--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p"}
"""Hydra's flags that take the next word as their value."""


def resumed_command_line(arguments: Sequence[str]) -> list[str]:
    """Return a command line with `resume=<folder>` replaced by the overrides and the folder of that run.

    The run is composed anew from the saved overrides and those of this command line. A command line without
    `resume=`, or of a sweep, is returned unchanged.

    Raises:
        UserError: the folder does not contain a run that can be trusted.
    """
    arguments = spelled_out(arguments)
    flags, overrides = split_arguments(arguments)
    folder = folder_to_resume(arguments)
    if folder is None or {"-m", "--multirun"} & set(flags):
        return list(arguments)
    if any(RECIPE.match(override) for override in overrides) and not (folder / ".hydra").exists():
        return list(arguments)  # of a recipe, whose configuration may be that of a sweep
    if (folder / "sweep.yaml").exists():
        raise UserError(
            f"resume={str(folder)!r} is a sweep folder; run the command of the sweep again, with -m and this resume"
        )
    own = saved_overrides(folder)
    rest = [override for override in overrides if not RESUME.match(override)]
    destination = [
        f"resume={quoted(folder)}",
        f"hydra.run.dir={quoted(folder)}",
        "hydra.output_subdir=null",
        "hydra.mode=RUN",
    ]
    return [*flags, *own, *rest, *destination]


def folder_to_resume(arguments: Sequence[str]) -> Path | None:
    """Return the folder that a command line asks to resume, or None."""
    _, overrides = split_arguments(arguments)
    folders = [RESUME.sub("", override).strip("'\"") for override in overrides if RESUME.match(override)]
    return Path(folders[-1]) if folders and folders[-1] != "null" else None


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into Hydra's flags, with the values that follow them, and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    waiting = False
    for argument in arguments:
        (flags if waiting or argument.startswith("-") else overrides).append(argument)
        waiting = argument in VALUED
    return flags, overrides


def saved_overrides(folder: Path) -> list[str]:
    """Return the overrides that a run was started with.

    Raises:
        UserError: the folder is not that of a run, or an override reaches beyond the run's configuration.
    """
    path = folder / ".hydra" / "overrides.yaml"
    try:
        overrides = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        overrides = None
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise UserError(f"resume={str(folder)!r} is not a run folder: it has no readable {path.relative_to(folder)}")
    for override in overrides:
        # Hydra's own settings can name code and folders, an interpolation can read the environment.
        if re.match(r"[-+~]*\s*(hydra|resume|trust)\b|-", override) or "${" in override:
            raise UserError(f"resume={str(folder)!r} contains the override {override!r}, which no run of ours writes")
    return overrides
