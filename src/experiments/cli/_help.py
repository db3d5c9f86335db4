"""The help of a verb: the groups, choices and settings of its configuration, with the comments of the YAML files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from experiments.common.errors import UserError

from .verbs import INSTALL_COMPLETION

WIDTH = 110
LESSONS = "experiment"
"""The group with the longest names of choices, which do not widen the column of the other groups."""


@dataclass
class ConfigGroup:
    """A config group.

    Args:
        name: the text before the `=`.
        choices: descriptions by name.
        default: the choices that are taken if the command line names none.
        added: whether the configuration does not list the group, so that a choice needs `+name=choice`.
    """

    name: str
    choices: dict[str, str] = field(default_factory=dict)
    default: list[str] = field(default_factory=list)
    added: bool = False


@dataclass
class Setting:
    """A key of the configuration; a section, which contains other keys, has no value.

    Args:
        value: as written in the YAML file.
        comment: the comment behind it, or else the lines above it.
    """

    key: str
    value: str | None
    comment: str


def help_text(
    verb: str, folders: Sequence[Path], examples: Sequence[tuple[str, str]], config: str | None = None
) -> str:
    """Return the text that `python -m experiments.<verb> --help` prints.

    Args:
        folders: with configurations; the first has priority.
        examples: arguments of the verb, and what they do.
        config: the name of the configuration, if it is not the verb's.

    Raises:
        UserError: there is no such configuration.
    """
    config = config or verb
    command = f"python -m experiments.{verb}"
    sections = [
        [f"usage: {command} [-m] [group=choice ...] [key=value ...]"],
        list(wrap(header(primary(folders, config)), WIDTH)),
        ["Examples:", *table([(f"{command} {words}".rstrip(), does) for words, does in examples])],
        *choices_shown(groups(folders, config)),
        *settings_shown(settings(folders, config)),
        ["More:", *table(further(command))],
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def further(command: str) -> list[tuple[str, str]]:
    """Return commands that show more, and what each shows."""
    return [
        (f"{command} ... --cfg job", "the whole configuration, without a run"),
        (f"{command} ... --cfg job -p GROUP", "the settings of one group"),
        (f"{command} -m key=1,2 ...", "one run for every combination of the values"),
        (f"{command} --config-dir DIR", "your own choices, in DIR/<group>/<choice>.yaml"),
        (f"{command} --hydra-help", "the flags that all verbs have"),
        (INSTALL_COMPLETION, "completion of `experiments ...` with the Tab key; fish and zsh too"),
    ]


def choices_shown(found: Sequence[ConfigGroup]) -> Iterator[list[str]]:
    """Yield a heading, and the choices of each group with the default marked."""
    yield ["Groups and their choices (* is the default):"]
    width = max((len(choice) for group in found for choice in group.choices if group.name != LESSONS), default=0)
    for group in found:
        marked = [
            (f"{'*' if choice in group.default else ' '} {choice}", text) for choice, text in group.choices.items()
        ]
        yield [f"  {'+' if group.added else ''}{group.name}=", *table(marked, width + 2)]


def settings_shown(found: Sequence[Setting]) -> Iterator[list[str]]:
    """Yield a heading, and the settings of each section with their defaults."""
    yield ["Settings and their defaults:"]
    sections: dict[str, list[tuple[str, str]]] = {}
    for setting in found:
        if setting.value is not None or setting.comment:
            shown = setting.key if setting.value is None else f"{setting.key}={setting.value}"
            sections.setdefault(setting.key.partition(".")[0], []).append((shown, setting.comment))
    nested = {setting.key.partition(".")[0] for setting in found if "." in setting.key}
    yield table([row for name, rows in sections.items() if name not in nested for row in rows])
    for name in sections:
        if name in nested:
            yield table(sections[name])


def table(rows: Sequence[tuple[str, str]], width: int = 0) -> list[str]:
    """Return lines of two columns, the second one wrapped."""
    width = max([width, *(len(left) for left, right in rows if right)])
    lines = []
    for left, right in rows:
        first, *rest = wrap(right, max(WIDTH - width - 4, 30), break_long_words=False, break_on_hyphens=False) or [""]
        lines.append(f"  {left:{width}}  {first}".rstrip())
        lines += [" " * (width + 4) + line for line in rest]
    return lines


def primary(folders: Sequence[Path], config: str) -> Path:
    """Return the file of a configuration."""
    for folder in folders:
        path = folder / f"{config.removesuffix('.yaml')}.yaml"
        if path.is_file():
            return path
    raise UserError(f"--config-name={config} is not a configuration; it must be a file {config}.yaml in --config-dir")


def groups(folders: Sequence[Path], config: str) -> list[ConfigGroup]:
    """Return the config groups in the order of the configuration's defaults, then the others.

    Hydra's own groups are left out, and those that only the configuration of another verb lists.
    """
    chosen = defaults(folders, config)
    others = {path.stem for folder in folders for path in folder.glob("*.yaml")} - {config.removesuffix(".yaml")}
    elsewhere = {name for other in others for name in defaults(folders, other)} - chosen.keys()
    found = {name: ConfigGroup(name, {}, default) for name, default in chosen.items()}
    for folder in folders:
        for path in sorted([*folder.glob("*/*.yaml"), *folder.glob("*/*/*.yaml")]):
            name = path.parent.relative_to(folder).as_posix()
            if not name.startswith((".", "hydra")) and name not in elsewhere:
                group = found.setdefault(name, ConfigGroup(name, added=True))
                group.choices.setdefault(path.stem, description(path))
    for group in found.values():
        group.choices = dict(sorted(group.choices.items()))
    return [group for group in found.values() if group.choices]


def defaults(folders: Sequence[Path], config: str) -> dict[str, list[str]]:
    """Return the default choices of each group in a defaults list, including the configurations that it builds on."""
    chosen: dict[str, list[str]] = {}
    for entry in loaded(primary(folders, config)).get("defaults") or []:
        if isinstance(entry, str):
            if entry != "_self_" and "/" not in entry:
                chosen |= defaults(folders, entry)
            continue
        for key, choice in entry.items():
            # The key may be `override /group@package`.
            group = str(key).split()[-1].partition("@")[0].strip("/")
            chosen[group] = [str(one) for one in (choice if isinstance(choice, list) else [choice]) if one is not None]
    return chosen


def settings(folders: Sequence[Path], config: str) -> list[Setting]:
    """Return the keys that a configuration sets itself, including the configurations that it builds on."""
    path = primary(folders, config)
    found: dict[str, Setting] = {}
    for entry in loaded(path).get("defaults") or []:
        if isinstance(entry, str) and entry != "_self_" and "/" not in entry:
            found |= {setting.key: setting for setting in settings(folders, entry)}
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        for setting in mapping_settings(root, text):
            if setting.key.partition(".")[0] not in ("defaults", "hydra"):
                found[setting.key] = setting
    return list(found.values())


def mapping_settings(node: yaml.MappingNode, text: str, prefix: str = "") -> Iterator[Setting]:
    """Yield the keys of a YAML mapping and of the mappings in it, without `_target_` and the like."""
    for key_node, value in node.value:
        key = f"{prefix}{key_node.value}"
        if key_node.value.startswith("_"):
            continue
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield Setting(key, None, comment(text, key_node, key_node))
            yield from mapping_settings(value, text, f"{key}.")
        else:
            written = text[value.start_mark.index : value.end_mark.index]
            yield Setting(key, " ".join(written.split()), comment(text, key_node, value))


def comment(text: str, key: yaml.Node, last: yaml.Node) -> str:
    """Return the comment behind a key or its value, or else the comment right above the key."""
    lines = text.splitlines()
    behind = lines[last.end_mark.line][last.end_mark.column :] if last.end_mark.line < len(lines) else ""
    match = re.fullmatch(r"\s*:?\s*#\s*(.*)", behind)
    if match:
        return match[1].rstrip()
    first = key.start_mark.line
    while first > 0 and re.match(rf" {{{key.start_mark.column}}}#", lines[first - 1]):
        first -= 1
    if first == 0:  # the comment at the head of the file is about all of it
        return ""
    return uncommented(lines[first : key.start_mark.line])


def header(path: Path) -> str:
    """Return the comment at the head of a file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return uncommented([line for line in lines[:count] if "@package" not in line])


def description(path: Path) -> str:
    """Return the first line of the comment at the head of a choice's file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.strip() and not re.match(r"#\s*@package", line):
                return uncommented([line]) if line.startswith("#") else ""
    return ""


def uncommented(lines: Sequence[str]) -> str:
    """Return the lines of a comment as one text."""
    return " ".join(line.strip().lstrip("#").strip() for line in lines)


def loaded(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return content if isinstance(content, dict) else {}
