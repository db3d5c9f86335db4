"""The replies to a shell that completes an argument: overrides, flags and paths."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.conf import conf_folder

from ._help import ALL, groups
from .project import own_project

UNQUOTED = re.compile(r"[\w./:@%+,\[\]-]*")
"""A word that needs no quotes on a command line."""


def verb_replies(words: Sequence[str], word: str, verb: str) -> list[str]:
    """Return the whole words that an argument of a verb with a configuration may become.

    Args:
        words: the arguments before it.
        word: its first characters, as typed.
        verb: whose configuration has its name.
    """
    known = flags()
    if words and words[-1] in known and known[words[-1]] is not None:
        candidates = known[words[-1]] or list(paths(word))
    elif word.startswith("-"):
        candidates = list(known)
    elif {"-h", "--help"} & set(words):
        candidates = [ALL, *(reply.removesuffix("=") for reply in override_replies(words, word, verb))]
    else:
        candidates = override_replies(words, word, verb)
    return sorted({candidate for candidate in candidates if candidate.startswith(word)})


def path_replies(word: str) -> list[str]:
    """Return the whole words that a path may become, also that of `run=<path>`."""
    key, equals, value = word.rpartition("=")
    return sorted(f"{key}{equals}{path}" for path in paths(value))


def flags() -> dict[str, list[str] | None]:
    """Return Hydra's flags with their allowed values: an empty list for any value, None for a flag without one."""
    return {
        option: None if action.nargs == 0 else [str(choice) for choice in action.choices or ()]
        for action in get_args_parser()._actions
        for option in action.option_strings
    }


def override_replies(words: Sequence[str], word: str, verb: str) -> list[str]:
    """Return the candidates for an override: config groups and their choices, keys and their present values."""
    given, further = get_args_parser().parse_known_args(words)
    overrides = [*given.overrides, *further]
    own = given.config_dir or own_project().config_dir
    folders = [conf_folder(), *([Path(own).expanduser().absolute()] if own else [])]
    config = given.config_name or verb
    key, equals, value = word.partition("=")
    sign = key[: len(key) - len(key.lstrip("+~"))]
    key = key[len(sign) :]
    config_groups = groups(folders, config)
    if not equals:
        names = [f"{group.name}=" for group in config_groups if group.added == (sign == "+")]
        if sign != "+":
            names += keys(composed(overrides, folders, config), key)
        return [sign + (name.rstrip("=.") if sign == "~" else name) for name in names]
    choices = next((group.choices for group in config_groups if group.name == key), None)
    if choices is not None:
        before = value[: value.rfind(",") + 1]  # the choices of a sweep so far
        return [f"{sign}{key}={before}{choice}" for choice in choices if choice not in before.split(",")]
    present = written(value_at(composed(overrides, folders, config), key))
    values = [present] if present is not None and present.startswith(value) else paths(value)
    return [f"{sign}{key}={one}" for one in values]


def keys(config: Any, word: str) -> Iterator[str]:
    """Yield the keys of the section that a dotted key has reached; a section ends in `.`, a value in `=`."""
    parent, dot, _ = word.rpartition(".")
    section = value_at(config, parent) if dot else config
    if isinstance(section, Mapping):
        for name, value in section.items():
            hidden = str(name).startswith("_") or (name == "hydra" and not dot and not word.startswith("h"))
            if not hidden:
                yield f"{parent}{dot}{name}{'.' if isinstance(value, Mapping) and value else '='}"


def value_at(config: Any, key: str) -> Any:
    """Return the value at a dotted key, or None."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def written(value: Any) -> str | None:
    """Return a value as a user types it, or None if it needs quotes."""
    if isinstance(value, list):
        parts = [written(one) for one in value]
        return None if None in parts else f"[{','.join(str(part) for part in parts)}]"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if value is not None and not isinstance(value, Mapping) and UNQUOTED.fullmatch(text) else None


def paths(word: str) -> Iterator[str]:
    """Yield the files and folders whose path begins with a word and needs no quotes."""
    start = word.rpartition("/")[2]
    parent = word[: len(word) - len(start)]
    with suppress(OSError):
        for path in Path(parent or ".").expanduser().iterdir():
            hidden = path.name.startswith(".") and not start
            if path.name.startswith(start) and not hidden and UNQUOTED.fullmatch(path.name):
                yield f"{parent}{path.name}{'/' if path.is_dir() else ''}"


def composed(overrides: Sequence[str], folders: Sequence[Path], config: str) -> Any:
    """Return the configuration of a command line, without the overrides if they cannot be read."""
    search_path = create_config_search_path(str(folders[0]))
    for folder in folders[1:]:
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    loader = ConfigLoaderImpl(search_path)
    # The first of several choices decides which keys there are.
    single = [re.sub(r"^([\w/]+=\w+),.*", r"\1", override) for override in overrides]
    for tried in (single, [override for override in single if re.fullmatch(r"[\w/]+=\w+", override)], []):
        with suppress(HydraException, OmegaConfBaseException):
            return OmegaConf.to_container(loader.load_configuration(config, tried, RunMode.MULTIRUN))
    return {}
