"""Going on with a run: its own command line again, in its own folder, with nothing changed that matters."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .assembly.trust import untrusted
from .cli import quoted, spelled_out
from .common.errors import UserError
from .common.keys import flattened

CHANGEABLE = re.compile(
    r"resume|retry_failed|sweep(\..*)?|trial(\..*)?|trust.*|name|check|data\.cache|observers(\..*)?"
    r"|training\.(epochs|eval_batch_size|device|threads|keep_checkpoints|early_stopping(\..*)?)"
)
"""What may differ from the run's own configuration: how long, where, what is watched and what is kept."""

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


def check_unchanged(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on with a run whose configuration would be another one.

    Raises:
        UserError: names the keys that differ and both values, or the code that is not trusted.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        saved = flattened(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError):
        raise UserError(f"resume={str(folder)!r} is no run folder: {path.relative_to(folder)} cannot be read") from None
    now = flattened(config)
    differing = [
        f"{key} ({saved.get(key, 'absent')} -> {now.get(key, 'absent')})"
        for key in dict.fromkeys([*saved, *now])
        if not CHANGEABLE.fullmatch(key)
        and not isinstance(saved.get(key, now.get(key)), Mapping)
        and saved.get(key) != now.get(key)
    ]
    if differing:
        raise UserError(f"resume cannot change {', '.join(differing)}; start a new run, or leave these as they were")
    for key, value in untrusted(config, config.get("trust") or ()):
        raise UserError(
            f"{key}={value!r} in resume={str(folder)!r} names code that is not ours; "
            f"if you trust it, add 'trust=[{str(value).partition('.')[0]}]'"
        )
