"""Composing the configurations of a sweep's jobs as Hydra does, but every choice of groups only once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString, ValueType
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.cli.overrides import clipped, padded
from experiments.folders.hydra import plain_value, task_part

OF_THE_TASK = re.compile(r"\$\{(?!hydra[.:]|clipped:|padded:|now:)")
"""An interpolation in a folder's name that needs the task's part."""
JOB = r"hydra\.job\.(?P<key>num|id|override_dirname)"
OF_THE_JOB = re.compile(
    rf"\$\{{(?:{JOB}|(?P<function>padded|clipped):\$\{{{JOB.replace('key', 'inner')}\}}(?:,(?P<digits>\d+))?)\}}"
)
"""An interpolation in a folder's name that needs nothing but the job's number and overrides."""
NUMBER = re.compile(r"(?P<key>[a-z_]+(\.[a-z_]+)*)=(?P<number>-?(0|[1-9][0-9]*)(\.[0-9]+(e-?[0-9]+)?)?)")
"""An override whose value is a decimal number."""
FUNCTIONS: Mapping[str, Callable[..., str]] = {"padded": padded, "clipped": clipped}


@dataclass(frozen=True)
class Composed:
    """A job's configuration.

    Args:
        task: the task's part, plain and resolved.
        hydra: Hydra's part, plain.
        folder: where the job writes.
        choices: the file chosen in each config group.
        overrides: of the task, as typed.
    """

    task: dict[str, Any]
    hydra: dict[str, Any]
    folder: Path
    choices: Mapping[str, str]
    overrides: Sequence[str]


@dataclass(frozen=True)
class Naming:
    """Hydra's settings of a job's name.

    Args:
        kv_sep, item_sep: between a key and its value, and between two overrides.
        exclude_keys: the overrides that are left out.
    """

    kv_sep: str
    item_sep: str
    exclude_keys: list[str]


@dataclass(frozen=True)
class Base:
    """What the jobs with the same choices of groups have in common.

    Args:
        whole: as Hydra composes it.
        task: the task's part, plain; None if a job needs Hydra, because the part has interpolations.
        hydra: Hydra's part, plain.
        directory: the sweep's folder.
        choices: the file chosen in each config group.
        naming: how Hydra builds a job's name from its overrides.
        subdir: the folder of a job in the sweep's, with interpolations.
    """

    whole: DictConfig
    task: dict[str, Any] | None
    hydra: dict[str, Any]
    directory: str
    choices: Mapping[str, str]
    naming: Naming
    subdir: str


class Composer:
    """Composes jobs.

    A sweep over a hundred seeds has the same defaults list a hundred times, and Hydra takes a tenth of a second for it.
    So each choice of groups is composed once, and the values are set in plain copies. If the result might differ (an
    added or deleted key, an interpolation), Hydra composes the whole job.

    Args:
        loader: Hydra's.
        master: the sweep's own configuration.
    """

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self.parser = OverridesParser.create(config_loader=loader)
        self.common = {str(line).casefold() for line in master.hydra.overrides.task}
        self.bases: dict[tuple[str, ...], Base] = {}
        self.lines: dict[str, Override] = {}
        self.groups: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str], number: int) -> Composed:
        """Compose a job.

        Raises:
            HydraException: an override does not fit.
        """
        parsed = [self._parsed(line) for line in overrides]
        groups = tuple(str(override.input_line) for override in parsed if self._is_group(override))
        values = [override for override in parsed if override.input_line not in groups]
        base = self._base(groups)
        task = with_values(base.task, values) if base.task is not None else None
        by_hydra = task is None
        if by_hydra:
            base = based_on(self._composed(overrides), None)
        lines, dirname = names(base.naming, parsed, self.common)
        own = {"override_dirname": dirname, "id": str(number), "num": number}
        subdir = None if by_hydra else named(base.subdir, own)
        if subdir is None:
            with open_dict(base.whole):
                base.whole.hydra.job.override_dirname = dirname
                base.whole.hydra.job.id, base.whole.hydra.job.num = str(number), number
                if by_hydra or "overrides" in str(base.hydra["sweep"]):
                    base.whole.hydra.overrides.task = lines
            HydraConfig.instance().cfg = base.whole  # type: ignore[assignment]
            subdir = str(base.whole.hydra.sweep.subdir)
        folder = Path(base.directory, subdir).absolute()
        hydra = {
            **base.hydra,
            "overrides": {**base.hydra["overrides"], "task": lines},
            "job": {**base.hydra["job"], **own},
            "runtime": {**base.hydra["runtime"], "output_dir": str(folder)},
        }
        if by_hydra:
            with open_dict(base.whole):
                base.whole.hydra.runtime.output_dir = str(folder)
            task = OmegaConf.to_container(task_part(base.whole), resolve=True)  # type: ignore[assignment]
        assert task is not None
        return Composed(task, hydra, folder, base.choices, lines)

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        """Return a configuration as Hydra composes it, with a part of Hydra's that can be changed."""
        whole: DictConfig = self.loader.load_sweep_config(self.master, list(overrides))
        OmegaConf.set_readonly(whole.hydra, False)
        return whole

    def _base(self, groups: tuple[str, ...]) -> Base:
        """Return the configuration of a choice of groups."""
        if groups not in self.bases:
            whole = self._composed(groups)
            raw: Any = OmegaConf.to_container(task_part(whole), resolve=False)
            typed: Any = OmegaConf.to_container(self.master.hydra.overrides.hydra, resolve=False)
            folders: Any = OmegaConf.to_container(whole.hydra.sweep, resolve=False)
            usual = not any(str(line).startswith("hydra.searchpath") for line in typed)
            usual = usual and not OF_THE_TASK.search(f"{folders['dir']} {folders['subdir']}")
            plain = raw if usual and "${" not in json.dumps(raw, default=str) else None
            self.bases[groups] = based_on(whole, plain)
        return self.bases[groups]

    def _parsed(self, line: str) -> Override:
        """Return an override, parsed once: most of a job's are those of all others."""
        if line not in self.lines:
            self.lines[line] = number_of(line) or self.parser.parse_override(line)
        return self.lines[line]

    def _is_group(self, override: Override) -> bool:
        key = override.key_or_group
        if key not in self.groups:
            self.groups[key] = self.loader.repository.group_exists(key)
        return self.groups[key]


def number_of(line: str) -> Override | None:
    """Return an override that gives a key a number, without Hydra's parser, which takes a millisecond; else None."""
    match = NUMBER.fullmatch(line)
    if match is None:
        return None
    number = float(match["number"]) if "." in match["number"] else int(match["number"])
    return Override(OverrideType.CHANGE, match["key"], ValueType.ELEMENT, number, input_line=line)


def with_values(plain: dict[str, Any], values: Sequence[Override]) -> dict[str, Any] | None:
    """Return a copy of a plain configuration with other values; None if one of them needs Hydra."""
    changed = copied(plain)
    for override in values:
        *path, last = override.key_or_group.split(".")
        section: Any = changed
        for step in path:
            section = section.get(step) if isinstance(section, dict) else None
        value = override.value()
        simple = override.package is None and not override.is_add() and not override.is_delete()
        simple = simple and not override.is_force_add() and isinstance(section, dict) and last in section
        if (
            not simple
            or isinstance(section[last], dict)
            or not isinstance(value, int | float | str | list | dict | QuotedString | None)
        ):
            return None
        if "${" in str(value):
            return None
        section[last] = (
            OmegaConf.to_container(OmegaConf.create(value)) if isinstance(value, list) else plain_value(value)
        )
    return changed


def copied(plain: Any) -> Any:
    """Return a copy of a plain configuration, in a fraction of the time of `deepcopy`."""
    if isinstance(plain, dict):
        return {key: copied(value) if isinstance(value, dict | list) else value for key, value in plain.items()}
    return [copied(value) if isinstance(value, dict | list) else value for value in plain]


def named(subdir: str, job: Mapping[str, Any]) -> str | None:
    """Return the folder of a job; None if its name has an interpolation or an escape that Hydra has to resolve.

    Args:
        subdir: with interpolations.
        job: its number and the text of its overrides, by Hydra's names.
    """

    def value(match: re.Match[str]) -> str:
        if match["function"] is None:
            return str(job[match["key"]])
        given = [] if match["digits"] is None else [int(match["digits"])]
        return FUNCTIONS[match["function"]](job[match["inner"]], *given)

    if "\\" in subdir or "${" in OF_THE_JOB.sub("", subdir):
        return None
    return OF_THE_JOB.sub(value, subdir)


def based_on(whole: DictConfig, task: dict[str, Any] | None) -> Base:
    """Return what jobs have in common whose configuration Hydra has composed."""
    HydraConfig.instance().cfg = whole  # type: ignore[assignment]
    hydra: Any = OmegaConf.to_container(whole.hydra, resolve=False)
    choices = {str(k): v for k, v in whole.hydra.runtime.choices.items() if not str(k).startswith("hydra/")}
    own = whole.hydra.job.config.override_dirname
    naming = Naming(str(own.kv_sep), str(own.item_sep), [str(key) for key in own.exclude_keys])
    return Base(whole, task, hydra, str(whole.hydra.sweep.dir), choices, naming, str(hydra["sweep"]["subdir"]))


def names(naming: Naming, parsed: Sequence[Override], common: Set[str]) -> tuple[list[str], str]:
    """Return a job's overrides as typed, and its name, as Hydra's: it leaves out the overrides that all jobs have."""
    own = [override for override in parsed if not override.is_hydra_override()]
    telling = [override for override in own if str(override.input_line).casefold() not in common]
    dirname = get_overrides_dirname(
        overrides=telling, kv_sep=naming.kv_sep, item_sep=naming.item_sep, exclude_keys=naming.exclude_keys
    )
    return [str(override.input_line) for override in own], dirname
