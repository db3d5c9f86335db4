"""The help about one topic: a config group, a section, a choice or a setting."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

from experiments.common.errors import UserError, nearest
from experiments.common.habits import EXPLAINED, SAID, SWITCHED, TYPED
from experiments.common.meant import SYNONYMS, spelled
from experiments.common.signatures import type_hints

from ._help import (
    ALL,
    LESSONS,
    ConfigGroup,
    Setting,
    assigned,
    groups,
    loaded,
    mapping,
    paragraph,
    row_of,
    settings,
    table,
    width_shown,
)
from ._hints import described, example_of

WHOLE_VALUE = 60
"""The characters of a setting's value in the list of a choice's settings."""
RUN = "outputs/train/2026-11-21_12-00-00"
EXAMPLES = {
    "name": "first_try",
    "resume": RUN,
    "init_from.path": RUN,
    "init_from.replace": "[head]",
    "freeze": "[features]",
    "trust": "[my_package]",
    "limits.memory": "8GB",
    "sweep.zip": "[[optimizer,optimizer.lr],[sgd,0.1],[adam,0.001]]",
    "optimizer.lr_scale": "{features:0.1,head:1}",
    "optimizer.decay_exempt": "['*.bias',head]",
    "optimizer.betas": "[0.9,0.99]",
    "optimizer.momentum": "0.95",
    "optimizer.rho": "0.95",
    "optimizer.alpha": "0.95",
    "data.path": "own.csv",
    "data.target": "species",
    "data.test_path": "newer.csv",
    "data.val_path": "newer.csv",
    "data.drop": "[id]",
    "data.separator": "semicolon",
    "data.encoding": "latin-1",
    "data.missing_marks": "['?',-999]",
    "data.kinds": "{zip:texts}",
    "data.root": "elsewhere",
    "data.size": "64",
    "data.cache": "cache",
    "data.parts": "{train:a,test:b}",
    "data.grey_range": "[0,4095]",
    "data.keys": "{x_train:images,y_train:labels}",
    "data.x": "x.npy",
    "data.y": "y.npy",
    "data.x_test": "x_test.npy",
    "data.y_test": "y_test.npy",
    "data.x_val": "x_val.npy",
    "data.y_val": "y_val.npy",
    "data.keep_classes": "[0,1,2,3,4]",
    "data.augment": "[crop_flip,mixup]",
    "data.preprocess": "zca",
    "data.fold": "0",
    "data.limit": "500",
    "model.hidden": "[200,100]",
    "model.stages": "[[16,16],[32,32]]",
    "model.kernel": "5",
    "model.activation": "tanh",
    "model.name": "resnet34",
    "scheduler.milestones": "[0.3,0.6,0.9]",
    "training.device": "cpu",
    "training.threads": "4",
    "training.steps": "1000",
    "training.max_time": "1h30m",
    "training.ema": "0.999",
    "training.swa": "15",
    "training.validate": "every:20steps",
    "training.keep_checkpoints": "every:5",
    "training.clip_norm": "1",
    "training.early_stopping.patience": "5",
    "surface.start": "[-5,1]",
}
"""Values for settings whose type alone does not give a useful one."""
OF_A_CHOICE = {("image_folder", "data.path"): "own/pictures", ("npz", "data.path"): "own.npz"}
"""Such values of a certain choice."""
NEEDED = {
    "data.x_test": ["data.y_test=y_test.npy"],
    "data.y_test": ["data.x_test=x_test.npy"],
    "data.x_val": ["data.y_val=y_val.npy"],
    "data.y_val": ["data.x_val=x_val.npy"],
    "data.fold": ["data.folds=5"],
    "sweep.zip": ["-m"],
}
"""What else the example of a setting needs."""


@dataclass(frozen=True)
class Book:
    """What the help of a verb can tell.

    Args:
        command: of the verb, as typed.
        folders: with configurations; the first has priority.
        config: the name of the configuration.
        signatures: returns the classes with the types of the settings by section; it is slow, and called when needed.
        read: the `_target_` and the settings of the choices that were read, by group and name.
    """

    command: str
    folders: Sequence[Path]
    config: str
    signatures: Callable[[], Mapping[str, Any]]
    read: dict[tuple[str, str], tuple[str, list[Setting]]] = field(default_factory=dict, init=False)

    @cached_property
    def groups(self) -> dict[str, ConfigGroup]:
        """The config groups by name."""
        return {group.name: group for group in groups(self.folders, self.config)}

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """The settings of the configuration itself, by key."""
        return {setting.key: setting for setting in settings(self.folders, self.config)}

    def choice(self, group: str, name: str) -> tuple[str, list[Setting]]:
        """Return the `_target_` of a choice, and its settings with their full keys."""
        if (group, name) not in self.read:
            self.read[group, name] = self.read_choice(group, name)
        return self.read[group, name]

    def read_choice(self, group: str, name: str) -> tuple[str, list[Setting]]:
        """Read the file of a choice."""
        for folder in self.folders:
            path = folder / group / f"{name}.yaml"
            if path.is_file():
                whole = "@package _global_" in path.read_text(encoding="utf-8", errors="replace")
                found = [] if whole else list(mapping(path, f"{group}."))
                return str(loaded(path).get("_target_") or ""), found
        return "", []

    def choices_with(self, key: str) -> dict[str, tuple[str, Setting]]:
        """Return the choices of a group that have a setting, with their `_target_`."""
        group = self.groups.get(key.partition(".")[0])
        found = {}
        for name in group.choices if group else ():
            target, own = self.choice(key.partition(".")[0], name)
            setting = next((setting for setting in own if setting.key == key), None)
            if setting is not None:
                found[name] = target, setting
        return found

    @cached_property
    def keys(self) -> list[str]:
        """Return the keys of all settings, those of choices too."""
        own = [key for key, setting in self.settings.items() if setting.value is not None]
        of_choices = [
            setting.key
            for group in self.groups.values()
            if group.name != LESSONS
            for name in group.choices
            for setting in self.choice(group.name, name)[1]
            if setting.value is not None
        ]
        return list(dict.fromkeys([*own, *of_choices]))


def topic_text(book: Book, topic: str) -> str:
    """Return the help about a topic.

    Args:
        book: of the verb.
        topic: as typed: a group, `group=choice`, a section, a setting or its last word, or a choice.

    Raises:
        UserError: there is no such topic.
    """
    name, equals, value = topic.lstrip("+~").partition("=")
    known = book.groups
    if equals and name in known and value in known[name].choices:
        return joined(about_choice(book, known[name], value))
    if name in known:
        return joined(about_group(book, known[name]))
    keys = book.keys
    if name in keys:
        return joined(about_setting(book, name))
    if any(key.startswith(f"{name}.") for key in keys):
        return joined(about_section(book, name))
    if name.startswith("hydra.") and (found := about_plugin(book, name)):
        return joined(iter(found))
    return about_short(book, name, topic, keys)


def about_short(book: Book, name: str, topic: str, keys: Sequence[str]) -> str:
    """Return the help about the last word of a key, or about a choice.

    Raises:
        UserError: there is no such topic, or there are several.
    """
    ending = [key for key in keys if key.endswith(f".{name}")]
    ending = [key for key in ending if not key.startswith("observers.")] or ending
    holders = [group for group in book.groups.values() if name in group.choices]
    if len(ending) == 1 and not holders:
        return joined(about_setting(book, ending[0]))
    if len(holders) == 1 and not ending:
        return joined(about_choice(book, holders[0], name))
    several = [*ending, *(f"{group.name}={name}" for group in holders)]
    if not several:
        own, said = called_here(name), SAID.get(spelled(name))
        if own is not None and own != name:
            return topic_text(book, own)
        if said is not None:
            return said
        if known_word := explained(name):
            return known_word
    if several:
        raise UserError(f"--help {topic} may mean {' or '.join(several)}; name one of them")
    sections = [key.partition(".")[0] for key in keys]
    names = [key for key in keys if "." in key] if "." in name else [ALL, *book.groups, *sections, *keys]
    meant = nearest(name, list(dict.fromkeys(names))).replace("did you mean '", "did you mean '--help ")
    raise UserError(f"unknown topic {topic!r} of --help; choose a group, a setting or all{meant}")


def topics_text(book: Book, topics: Sequence[str]) -> str:
    """Return the help about topics, which may be the words of one term, such as `dead units`.

    Raises:
        UserError: a topic is unknown.
    """
    term = explained(" ".join(topics)) if len(topics) > 1 else None
    return term or "\n\n".join(topic_text(book, topic) for topic in topics)


def explained(term: str) -> str | None:
    """Return where a word of the output is explained; None if it is not known."""
    known = {spelled(word): (word, page) for word, page in EXPLAINED.items()}.get(spelled(term))
    return None if known is None else f"'{known[0]}' is not a setting, but {known[1]}"


def called_here(name: str) -> str | None:
    """Return the key or the choice that a name of other programs stands for, as a topic; None if it is not known.

    Args:
        name: such as `learning_rate`.
    """
    words = TYPED.get(spelled(name)) or SWITCHED.get(spelled(name))
    if words is not None:
        return words.split()[-1].removesuffix("={}")
    found = SYNONYMS.get(name.casefold().replace("-", "_"))
    return found if found is None or not found.isdigit() else None


def about_plugin(book: Book, name: str) -> list[list[str]]:
    """Return the settings of the sweeper or the launcher with this key or below it; empty if there are none.

    Args:
        book: of the verb.
        name: such as `hydra.sweeper` or `hydra.sweeper.n_trials`.
    """
    listed = plugin_settings()
    own = {key: found for key, found in listed.items() if key == name or key.startswith(f"{name}.")}
    if not own:
        meant = nearest(name, listed).replace("did you mean '", "did you mean '--help ")
        siblings = [key for key in listed if key.startswith(f"{name.rpartition('.')[0]}.")]
        choices = siblings if name.count(".") > 1 and siblings else ["hydra.sweeper", "hydra.launcher"]
        raise UserError(f"unknown topic {name!r} of --help; choose from {', '.join(choices)}{meant}")
    word = " hydra/sweeper=optuna" if name.startswith("hydra.sweeper") else ""
    rows = [(f"{key}={'null' if default is None else default}", text) for key, (default, text) in own.items()]
    return [[f"usage: {book.command} -m{word} [{name}{'' if name in listed else '.<key>'}=<value> ...]"], table(rows)]


def plugin_settings() -> dict[str, tuple[Any, str]]:
    """Return the settings of the search and of the launcher by their keys, each with its default and its meaning."""
    from hydra_plugins import experiments_search, experiments_sweeps

    sections = {
        "hydra.sweeper": experiments_search.SearchConfig,
        "hydra.launcher": experiments_sweeps.StackedConfig,
        "hydra.launcher.local": experiments_sweeps.Local,
        "hydra.launcher.ray": experiments_sweeps.Ray,
    }
    found: dict[str, tuple[Any, str]] = {}
    for section, cls in sections.items():
        defaults = {each.name: each.default for each in fields(cls)}
        factories: dict[str, Any] = {each.name: each.default_factory for each in fields(cls)}
        (tree,) = ast.parse(inspect.getsource(cls)).body
        assert isinstance(tree, ast.ClassDef)
        for node, text in pairwise(tree.body):
            if not isinstance(text, ast.Expr) or not isinstance(text.value, ast.Constant):
                continue
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                key = node.target.id
                default = factories[key]() if defaults[key] is MISSING else defaults[key]
                found[f"{section}.{key}"] = default, " ".join(str(text.value.value).split())
    return found


def joined(sections: Iterator[list[str]]) -> str:
    """Return sections of lines as one text."""
    return "\n\n".join("\n".join(section) for section in sections if section)


def about_group(book: Book, group: ConfigGroup) -> Iterator[list[str]]:
    """Yield the choices of a group with their settings, and the settings that all of them have."""
    sign = "+" if group.added else ""
    if group.name == LESSONS:
        yield [f"usage: {book.command} {sign}{group.name}=<lesson> [key=value ...]"]
        yield [row_of(group)[1]]
        return
    yield [f"usage: {book.command} {sign}{group.name}=<choice> [{group.name}.<key>=<value> ...]"]
    rows = []
    for name, text in group.choices.items():
        own = [s for s in book.choice(group.name, name)[1] if s.value is not None]
        shown = [f"{s.key.partition('.')[2]}={cut(s.value)}" for s in own]
        rows.append((f"{'*' if name in group.default else ' '} {name}", text))
        rows += [("", "settings: " + "  ".join(shown))] if shown else []
    yield ["Choices (* is the default):", *table(rows)]
    yield from shared_settings(book, group.name)
    having = [name for name in (*group.default, *group.choices) if book.choice(group.name, name)[1]]
    shared = [key for key in book.settings if key.startswith(f"{group.name}.")]
    if not having and not shared:
        return
    asked = [(f"{book.command} --help {group.name}={name}", "one choice") for name in having[:1]]
    keys = [s.key for name in having[:1] for s in book.choice(group.name, name)[1]] + shared
    asked.append((f"{book.command} --help {keys[0]}", "one setting"))
    yield ["More:", *table(asked)]


def shared_settings(book: Book, section: str) -> Iterator[list[str]]:
    """Yield the settings of a section that do not depend on a choice."""
    own = [s for s in book.settings.values() if s.key.startswith(f"{section}.") and s.value is not None]
    if own:
        yield ["Settings with every choice:", *table([(assigned(s), s.comment) for s in own])]


def about_choice(book: Book, group: ConfigGroup, name: str) -> Iterator[list[str]]:
    """Yield the description of a choice and its settings."""
    sign = "+" if group.added else ""
    yield [f"usage: {book.command} {sign}{group.name}={name} [{group.name}.<key>=<value> ...]"]
    yield paragraph(group.choices[name])
    target, own = book.choice(group.name, name)
    if group.name == LESSONS or not own:
        return
    rows = [(assigned(s), s.comment or documentation(target, s.key)) for s in own if s.value is not None]
    yield ["Settings:", *table(rows)]
    yield from shared_settings(book, group.name)


def about_section(book: Book, name: str) -> Iterator[list[str]]:
    """Yield the settings of a section that is not a group."""
    yield [f"usage: {book.command} [{name}.<key>=<value> ...]"]
    own = [setting for key, setting in book.settings.items() if key == name or key.startswith(f"{name}.")]
    rows = [(assigned(s), s.comment) for s in own if s.value or s.comment]
    yield ["Settings and their defaults:", *table(rows)]


@dataclass(frozen=True)
class Place:
    """Where a setting is written.

    Args:
        key: of the setting.
        own: the setting in the configuration itself; None if only choices have it.
        choices: the choices that have it, with their `_target_`.
        chosen: the choice for the example: the default one if it has the setting; None if no choice has it.
        target: the `_target_` of the setting's section.
    """

    key: str
    own: Setting | None
    choices: Mapping[str, tuple[str, Setting]]
    chosen: str | None
    target: str

    @property
    def default(self) -> str | None:
        """The value, as written in YAML."""
        if self.own and self.own.value is not None:
            return self.own.value
        return self.choices[self.chosen][1].value if self.chosen else None


def place_of(book: Book, key: str) -> Place:
    """Return where a setting is written."""
    choices = book.choices_with(key)
    group = book.groups.get(key.partition(".")[0])
    chosen = next((name for name in (group.default if group else ()) if name in choices), next(iter(choices), None))
    target = choices[chosen][0] if chosen else target_above(book, key)
    return Place(key, book.settings.get(key), choices, chosen, target)


def about_setting(book: Book, key: str) -> Iterator[list[str]]:
    """Yield the meaning, the type, the default and an example of a setting."""
    place = place_of(book, key)
    group = key.partition(".")[0]
    hint = hint_of(book, place)
    rows = [("meaning", meaning_of(book, place)), ("type", described(hint, place.default))]
    if place.own and place.own.value is not None:
        rows.append(("default", place.own.value))
    if place.choices:
        rows.append(("" if len(rows) > 2 else "default", by_choice(place.choices, group)))
    value = OF_A_CHOICE.get((str(place.chosen), key)) or EXAMPLES.get(key) or example_of(hint, place.default)
    example: list[str] = []
    if value is not None:
        words = list(NEEDED.get(key, ()))
        if not place.own and place.chosen and place.chosen not in book.groups[group].default:
            words += [f"{group}={place.chosen}", *required(book, group, place.chosen, key)]
        example = continued([book.command, *map(quoted, [*words, f"{key}={value}"])])
    yield [key, *table(rows), *example]


def continued(words: Sequence[str]) -> list[str]:
    """Return the lines of an example; a long command continues on the next line, as a shell reads it."""
    room = width_shown() - len("  example    \\")
    first, *rest = wrap(" ".join(words), room, break_long_words=False, break_on_hyphens=False)
    lines = [f"  example  {first}", *(f"             {text}" for text in rest)]
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def meaning_of(book: Book, place: Place) -> str:
    """Return what a setting means: a comment in a YAML file, or else from the documentation of a `_target_`."""
    chosen = place.choices[place.chosen][1].comment if place.chosen else ""
    text = (place.own.comment if place.own else "") or chosen
    section, _, name = place.key.rpartition(".")
    above = book.settings.get(section)
    if not text and name == "enabled" and above:
        return f"false turns off: {above.comment}"
    text = text or documentation(place.target, place.key)
    if text and not text.startswith("see "):
        return text
    for name, (target, setting) in place.choices.items():
        found = setting.comment or documentation(target, place.key)
        if found and not found.startswith("see "):
            of_another = target.rpartition(".")[0] != place.target.rpartition(".")[0]
            return f"with {place.key.partition('.')[0]}={name}: {found}" if of_another else found
    return place.target


def required(book: Book, group: str, choice: str, key: str) -> list[str]:
    """Return the overrides that a choice needs besides one of its settings."""
    missing = [s.key for s in book.choice(group, choice)[1] if s.value == "???" and s.key != key]
    return [f"{name}={OF_A_CHOICE.get((choice, name)) or EXAMPLES.get(name, '...')}" for name in missing]


def by_choice(found: Mapping[str, tuple[str, Setting]], group: str) -> str:
    """Return the defaults of a setting, with the choices that have each of them."""
    values: dict[str, list[str]] = {}
    for name, (_, setting) in found.items():
        values.setdefault(str(setting.value), []).append(name)
    return "; ".join(f"{value} with {group}={', '.join(names)}" for value, names in values.items())


def hint_of(book: Book, place: Place) -> Any:
    """Return the type of a setting; Any if it is not known."""
    section, _, name = place.key.rpartition(".")
    owner = book.signatures().get(section)
    hints = type_hints(owner) if owner is not None else {}
    if name in hints:
        return hints[name]
    function = imported(place.target)
    found = type_hints(function) if function is not None else {}
    if section == "optimizer":
        from experiments.optimizers import RANGES

        found = {**found, **RANGES}
    return found.get(name, Any)


def target_above(book: Book, key: str) -> str:
    """Return the `_target_` of a setting's section in the configuration itself."""
    section: Any = {}
    for folder in reversed(book.folders):
        path = folder / f"{book.config.removesuffix('.yaml')}.yaml"
        section = loaded(path) if path.is_file() else section
    for step in key.split(".")[:-1]:
        section = section.get(step) if isinstance(section, Mapping) else None
    return str(section.get("_target_") or "") if isinstance(section, Mapping) else ""


def imported(target: str) -> Any:
    """Return the function or class of a dotted path; None if it cannot be imported."""
    module, _, name = target.rpartition(".")
    with suppress(Exception):  # code of the user may raise anything; the help then knows less
        return getattr(importlib.import_module(module), name)
    return None


def documentation(target: str, key: str) -> str:
    """Return the first sentence about a parameter in the docstring of a function or class; empty if there is none."""
    function, name = imported(target), key.rpartition(".")[2]
    documented = inspect.getdoc(function) or "" if function is not None else ""
    pattern = rf"^( *)(?:\w+, )*{re.escape(name)}(?:, \w+)*(?: \([^\n]*\))?: (.*(?:\n\1 +.*)*)"
    entry = re.search(pattern, documented, re.MULTILINE)
    text = " ".join(entry[2].split()) if entry else ""
    text = re.sub(r"\s*\(default: [^)]*\)+", "", text)
    return re.split(r"(?<=[^.\d])\. ", text)[0].rstrip(".")


def cut(value: str | None) -> str:
    """Return a value, shortened."""
    text = value or ""
    return text if len(text) <= WHOLE_VALUE else f"{text[: WHOLE_VALUE - 3]}..."


def quoted(word: str) -> str:
    """Return a word as a shell takes it."""
    return word if re.fullmatch(r"[\w.,:=/+-]+", word) else "'" + word.replace("'", '"') + "'"
