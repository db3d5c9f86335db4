"""The help of a verb: the groups, choices and settings of its configuration, with the comments of the YAML files."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from experiments.common.text import on_terminal

from .verbs import INSTALL_COMPLETION

WIDTH, WIDEST, NARROWEST = 100, 64, 40
"""The columns of the help, the most of them that the first of two columns takes, and the least on a terminal."""
LEAST_ROOM = 32
"""The columns that the second of two columns has at least, with the margins of both."""
CHOICES = "Groups and their choices (* is the default):"
ALL = "all"
"""The topic with every choice and setting."""
FEW = 15
"""Settings that the short help shows all."""
OFTEN = (
    *("only", "seed", "training.epochs", "training.batch_size", "optimizer.lr", "model.hidden", "model.dropout"),
    *("data.val_fraction", "data.limit", "data.augment", "training.early_stopping.patience", "training.device"),
    "resume",
)
"""The settings that the short help shows of a verb with many."""
LESSONS = "experiment"
"""The group whose choices are listed by another verb."""


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


def short_help(
    verb: str, folders: Sequence[Path], examples: Sequence[tuple[str, str]], config: str | None = None
) -> str:
    """Return the text that `python -m experiments.<verb> --help` prints: the groups, and the settings that people use.

    Args:
        folders: with configurations; the first has priority.
        examples: arguments of the verb, and what they do.
        config: the name of the configuration, if it is not the verb's.

    Raises:
        UserError: there is no such configuration.
    """
    config = config or verb
    command = f"python -m experiments.{verb}"
    known = groups(folders, config)
    found = often_set(folders, config, known)
    sections = [
        *beginning(command, folders, config, examples),
        [*paragraph(CHOICES), *table([row_of(group) for group in known])],
        [
            "Settings that are often changed:",
            *table([(assigned(one), one.comment) for one in found]),
        ],
        ["More:", *table(further(command, known))],
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def full_help(
    verb: str, folders: Sequence[Path], examples: Sequence[tuple[str, str]], config: str | None = None
) -> str:
    """Return the text that `python -m experiments.<verb> --help all` prints: every choice and setting.

    Args, Raises: see `short_help`.
    """
    config = config or verb
    command = f"python -m experiments.{verb}"
    known = groups(folders, config)
    sections = [
        *beginning(command, folders, config, examples),
        *choices_shown(known),
        *settings_shown(settings(folders, config)),
        ["More:", *table(further(command, known))],
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def beginning(
    command: str, folders: Sequence[Path], config: str, examples: Sequence[tuple[str, str]]
) -> Iterator[list[str]]:
    """Yield how to call a verb, what it does and examples."""
    yield [f"usage: {command} [-m] [group=choice ...] [key=value ...]"]
    yield paragraph(header(primary(folders, config)))
    yield ["Examples:", *table([(f"{command} {words}".rstrip(), does) for words, does in examples])]


def row_of(group: ConfigGroup) -> tuple[str, str]:
    """Return a group and the names of its choices."""
    name = f"{'+' if group.added else ''}{group.name}="
    if group.name == LESSONS:
        own = [choice for choice in group.choices if not (conf_folder() / LESSONS / f"{choice}.yaml").is_file()]
        count = len(group.choices) - len(own)
        listed = f"one of {count} lessons; python -m experiments.reproduce --help lists them"
        return name, f"{', '.join(own)}; or {listed}" if own else listed
    return name, ", ".join(f"*{one}" if one in group.default else one for one in group.choices)


def often_set(folders: Sequence[Path], config: str, known: Sequence[ConfigGroup]) -> list[Setting]:
    """Return the settings that people change, also those of the default choices."""
    found = {setting.key: setting for setting in settings(folders, config) if setting.value is not None}
    for group in known:
        for folder in reversed(folders):
            for choice in group.default:
                path = folder / group.name / f"{choice}.yaml"
                if path.is_file() and group.name != LESSONS:
                    of_choice = {setting.key: setting for setting in mapping(path, f"{group.name}.")}
                    found = {**of_choice, **found}
    if len(found) <= FEW:
        return list(found.values())
    return [found[key] for key in OFTEN if key in found]


def further(command: str, known: Sequence[ConfigGroup]) -> list[tuple[str, str]]:
    """Return commands that show more, and what each shows."""
    group = next((group.name for group in known if group.name != LESSONS), "GROUP")
    return [
        (f"{command} --help all", "every choice and every setting"),
        (f"{command} --help {group}", "a group: its choices and settings"),
        (f"{command} --help optimizer.lr", "a setting: meaning, type, default, example"),
        (f"{command} -m key=1,2 ...", "one run for every combination of the values"),
        (f"{command} ... --cfg job", "the whole configuration; with -p GROUP, a part"),
        (f"{command} --config-dir DIR", "your own choices, in DIR/<group>/<choice>.yaml"),
        (f"{command} --hydra-help", "the flags that all verbs have"),
        (INSTALL_COMPLETION, "completion with the Tab key; fish and zsh too"),
    ]


def choices_shown(found: Sequence[ConfigGroup]) -> Iterator[list[str]]:
    """Yield a heading, and the choices of each group with the default marked."""
    yield paragraph(CHOICES)
    width = max((len(choice) for group in found for choice in group.choices if group.name != LESSONS), default=0)
    for group in found:
        if group.name == LESSONS:
            yield [f"  {row_of(group)[0]}", f"    {row_of(group)[1]}"]
            continue
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
            sections.setdefault(setting.key.partition(".")[0], []).append((assigned(setting), setting.comment))
    nested = {setting.key.partition(".")[0] for setting in found if "." in setting.key}
    yield table([row for name, rows in sections.items() if name not in nested for row in rows])
    for name in sections:
        if name in nested:
            yield table(sections[name])


def table(rows: Sequence[tuple[str, str]], width: int = 0) -> list[str]:
    """Return lines of two columns, the second one wrapped; none is longer than `WIDTH`, unless a word is.

    Args:
        rows: the texts of the two columns.
        width: the least one of the first column.
    """
    columns = width_shown()
    widest = min(columns * WIDEST // WIDTH, columns - LEAST_ROOM)
    width = max([min(width, widest), *(len(left) for left, right in rows if right and len(left) <= widest)])
    lines = []
    for left, right in rows:
        texts = wrap(right, columns - width - 4, break_long_words=columns < WIDTH, break_on_hyphens=False) or [""]
        if len(left) > width and right:
            lines.append(f"  {left}")
            left = ""
        lines.append(f"  {left:{width}}  {texts[0]}".rstrip())
        lines += [" " * (width + 4) + text for text in texts[1:]]
    return lines


def width_shown() -> int:
    """Return the columns of the help: those of a narrow terminal, otherwise `WIDTH`."""
    return min(WIDTH, max(shutil.get_terminal_size().columns, NARROWEST)) if on_terminal() else WIDTH


def assigned(setting: Setting) -> str:
    """Return a setting with its value, shortened to the first of two columns; a section is its key."""
    if setting.value is None:
        return setting.key
    text = f"{setting.key}={setting.value}"
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def paragraph(text: str) -> list[str]:
    """Return a text as lines."""
    columns = width_shown()
    return wrap(text, columns, break_long_words=columns < WIDTH, break_on_hyphens=False)


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
                group.choices.setdefault(path.stem, description(path) or undescribed(path))
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
    for setting in mapping(path):
        if setting.key.partition(".")[0] not in ("defaults", "hydra"):
            found[setting.key] = setting
    return list(found.values())


def mapping(path: Path, prefix: str = "") -> Iterator[Setting]:
    """Yield the keys in a YAML file.

    Args:
        path: of the file.
        prefix: of the keys.
    """
    loaded(path)  # an error in one sentence
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        yield from mapping_settings(root, text, prefix)


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
    """Return the comment at the head of a choice's file, up to the first line that ends with a full stop."""
    lines: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("#") and (line.strip() or lines):
                break
            if line.startswith("#") and not re.match(r"#\s*@package", line):
                lines.append(line)
                if line.rstrip().endswith("."):
                    break
    return uncommented(lines)


def undescribed(path: Path) -> str:
    """Return what is shown of a choice whose file has no comment at its head: the function or class, and the remedy."""
    with suppress(OSError, UserError, yaml.YAMLError, ValueError):
        target = (loaded(path) or {}).get("_target_")
        if isinstance(target, str):
            return f"{target} (a comment in the first line of {path.name} is shown here)"
    return ""


def uncommented(lines: Sequence[str]) -> str:
    """Return the lines of a comment as one text."""
    return " ".join(line.strip().lstrip("#").strip() for line in lines)


def loaded(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        UserError: it is not YAML.
    """
    return deepcopy(loaded_as_of(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=512)
def loaded_as_of(path: Path, _: int) -> dict[str, Any]:
    """Return the mapping in a YAML file, read once per time of its last change: a suggestion asks for every choice."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return content if isinstance(content, dict) else {}
