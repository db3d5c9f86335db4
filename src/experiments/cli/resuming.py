"""The command line of a run that is resumed: its own again, in its own folder."""

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
    """Return a command line with `resume=<folder>` replaced by that run's own overrides and folder.

    The run is composed anew from what its user typed, and from what is typed now; other command lines are
    returned as they are, those of sweeps too.

    Raises:
        UserError: the folder holds no run that can be trusted.
    """
    arguments = spelled_out(arguments)
    flags, overrides = divided(arguments)
    folder = folder_to_resume(arguments)
    if folder is None or {"-m", "--multirun"} & set(flags):
        return list(arguments)
    if any(RECIPE.match(override) for override in overrides) and not (folder / ".hydra").exists():
        return list(arguments)  # of a recipe, whose configuration may be that of a sweep
    if (folder / "sweep.yaml").exists():
        raise UserError(f"resume={str(folder)!r} is a sweep folder; give the command of the sweep again, with -m")
    own = saved_overrides(folder)
    rest = [override for override in overrides if not RESUME.match(override)]
    place = [
        f"resume={quoted(folder)}",
        f"hydra.run.dir={quoted(folder)}",
        "hydra.output_subdir=null",
        "hydra.mode=RUN",
    ]
    return [*flags, *own, *rest, *place]


def folder_to_resume(arguments: Sequence[str]) -> Path | None:
    """Return the folder that a command line asks to go on with, if it does."""
    _, overrides = divided(arguments)
    folders = [RESUME.sub("", override).strip("'\"") for override in overrides if RESUME.match(override)]
    return Path(folders[-1]) if folders and folders[-1] != "null" else None


def divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
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
        UserError: the folder holds no run, or an override that reaches beyond the run's configuration.
    """
    path = folder / ".hydra" / "overrides.yaml"
    try:
        overrides = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        overrides = None
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise UserError(
            f"resume={str(folder)!r} is no run folder: it has no {path.relative_to(folder)} that can be read"
        )
    for override in overrides:
        # Hydra's own settings can name code and folders, an interpolation can read the environment.
        if re.match(r"[-+~]*\s*(hydra|resume|trust)\b|-", override) or "${" in override:
            raise UserError(f"resume={str(folder)!r} holds the override {override!r}, which no run of ours writes")
    return overrides
