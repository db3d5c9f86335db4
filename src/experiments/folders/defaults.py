"""Which settings of a run differ from those of the default run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from experiments.common.conf import conf_folder
from experiments.common.keys import AUTOMATIC, SEED, flattened, key_of, meaning

VERB = "train"


def choices_of(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the choices of the config groups without Hydra's own."""
    return {str(group): str(choice) for group, choice in choices.items() if not str(group).startswith("hydra/")}


def with_targets(choices: Mapping[str, str], config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """Return the choices of a run; a group whose function or class the command line names is called by its path.

    Args:
        choices: the file chosen in each config group.
        config: plain.
        overrides: as typed, such as `data._target_=mine.Letters` or `++data={_target_: mine.Letters}`.
    """
    found = dict(choices)
    for line in overrides:
        key, _, value = line.lstrip("+~").partition("=")
        group = key.removesuffix("._target_")
        replaced = group == key and key in config and value.startswith("{") and "_target_" in value
        if replaced or (group in choices and group != key):
            found[group] = str(config[group].get("_target_", choices.get(group)))
    return found


def differing(config: Mapping[str, Any], choices: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings that differ from the default run's, those that were typed first.

    A chosen file counts as one setting: `optimizer=sgd` does not list what distinguishes SGD from the default.

    Args:
        config: plain.
        choices: the file chosen in each config group.
        overrides: as typed.
    """
    typed = [key_of(line) for line in overrides]
    usual = default_choices()
    unknown = {group for group in choices if group in config and chosen_file(group, str(choices[group])) is None}
    before = default_settings(tuple(sorted((group, str(choice)) for group, choice in choices.items())))
    found: dict[str, Any] = {}
    for section in config:
        if section in choices and str(choices[section]) != usual.get(section) and tells(section):
            found[section] = choices[section]
        for key, value in flattened({section: config[section]}).items():
            if isinstance(value, Mapping) or "_target_" in key or not tells(key):
                continue
            if section in unknown and key not in before and key not in typed:
                continue
            default = before.get(key, "absent")
            if default in AUTOMATIC and "." not in key and key not in typed:  # a run writes what it stood for
                continue
            if not same(value, default):
                found[key] = value
    first = {key: found[key] for key in typed if key in found}
    return first | found


def same(value: Any, default: Any) -> bool:
    """Whether a value is the default: a file may give it as a text, such as 1e-3 or an interpolation."""
    if isinstance(default, str) and not isinstance(value, str):
        try:
            return bool(float(default) == value)
        except ValueError:
            return "${" in default
    return bool(value == default) or "${" in str(default)


def tells(key: str) -> bool:
    """Whether a setting says how a run learns, unlike its name or its number of threads."""
    return meaning(key).group or meaning(key) == SEED


@cache
def default_choices() -> dict[str, str]:
    """Return the choices of the default run."""
    entries = written(VERB).get("defaults") or []
    return {
        group: str(choice)
        for entry in entries
        if isinstance(entry, dict)
        for group, choice in entry.items()
        if not group.startswith("override ")
    }


@cache
def default_settings(choices: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return the settings of a run with these choices and no other override."""
    settings = flattened({key: value for key, value in written(VERB).items() if key not in ("defaults", "hydra")})
    for group, choice in choices:
        settings |= flattened(chosen_file(group, choice) or {}, f"{group}.")
    return settings


def chosen_file(group: str, choice: str) -> dict[str, Any] | None:
    """Return the content of a choice's file; None if the choice is the user's own."""
    path = conf_folder() / group / f"{choice}.yaml"
    return written(f"{group}/{choice}") if choice == "None" or path.is_file() else None


@cache
def written(name: str) -> dict[str, Any]:
    """Return a file of the configuration, as it is written; empty if there is none."""
    path = conf_folder() / f"{name}.yaml"
    content = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if path.is_file() else {}
    return content if isinstance(content, dict) else {}
