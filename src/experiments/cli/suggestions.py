"""What a command line that is refused was probably meant to be: other words, each checked by composing them.

Nothing here knows single settings: keys and choices are those of the composed configuration and of the folders of
choices, and the names of other libraries are those of `common.meant`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from experiments.common.habits import CHOICES, SAID, SWITCHED, TYPED
from experiments.common.keys import flattened, key_of
from experiments.common.meant import DECIMAL_COMMA, RANGE, SYNONYMS, as_range, name_meant, pasted, spelled

from ._help import ConfigGroup, groups, loaded
from .composing import composed_whole, isolated_hydra
from .overrides import MULTIRUN, split_arguments, unknown_flag

YES = ("true", "yes", "on")
NO = ("false", "no", "off")
SURE = 0.75
"""How much like a key a word at the top level has to be: a wrong answer is worse than none."""
USUAL = 5
"""A value for a number that somebody wants to be on."""
KINDS = ("name", "type", "kind", "class")
"""Names under which other programs have the choice of a group."""
DEVICES = ("cuda", "gpu", "gpus", "use_cuda", "use_gpu")
"""Names under which other programs take a GPU."""
NOTHING = ("none", "null", "off", "no", "false", "")
"""Words for leaving something out, which a group of choices has under another name or by default."""
OF_THE_RESUME = re.compile(r"resume=|hydra\.(run\.dir|output_subdir|mode)=")
"""The words of a resumed run that nobody has typed like this; see `resuming`."""
OF_A_SPLIT = re.compile(r"(train|val|test)_\w+")
"""A metric with its split, as other programs write it."""
CLOSING = {"[": "]", "{": "}", "(": ")"}


def suggestion(verb: str, typed: Sequence[str], own: Sequence[Path] | None = None) -> str:
    """Return the question whether another command line was meant, to follow the sentence about an error; or nothing.

    Args:
        verb: whose configuration has its name.
        typed: the arguments.
        own: folders with choices of the user; None for that of `--config-dir` among the arguments.
    """
    written = [word for word in typed if not OF_THE_RESUME.match(word)]
    try:
        words = Meaning(verb, written, own).changed()
        return pasted(words if len(written) == len(typed) or len(words) == 1 else [])
    except (HydraException, OmegaConfBaseException, UserError, OSError, ValueError, SystemExit):
        return ""


class Meaning:
    """What a command line was probably meant to be.

    Args:
        verb: whose configuration has its name.
        typed: the arguments.
        own: folders with choices of the user; None for that of `--config-dir` among the arguments.
    """

    def __init__(self, verb: str, typed: Sequence[str], own: Sequence[Path] | None = None) -> None:
        given, _ = get_args_parser().parse_known_args([word for word in typed if not unknown_flag(word)])
        self.typed = list(typed)
        self.config = given.config_name or verb
        self.own = list(own) if own is not None else [Path(given.config_dir)] if given.config_dir else []
        self.folders = [conf_folder(), *self.own]
        self.groups: dict[str, ConfigGroup] = {group.name: group for group in groups(self.folders, self.config)}

    def changed(self) -> list[str]:
        """Return the words to type instead: the only one that changes, or all of them; none if nothing is likely."""
        flags, words = split_arguments(self.undashed(self.typed))
        known_flags = [flag for flag in flags if not unknown_flag(flag)]
        words = self.joined(words)
        replaced = [self.repaired(word) for word in words]
        multirun = bool(MULTIRUN & set(known_flags)) or any("-m" in new for new in replaced)
        all_words = [word for new in replaced for word in new if word != "-m"]
        all_words = self.once(all_words)
        if not multirun and any(is_sweep(word) for word in all_words):
            multirun = True
        whole = [*known_flags, *all_words]
        if multirun and not MULTIRUN & set(known_flags):
            whole = ["-m", *whole]
        if whole == self.typed or sorted(whole) == sorted(self.typed) or not self.composes(all_words):
            return []
        new = [word for word in whole if word not in self.typed]
        old = [word for word in self.typed if word not in whole]
        alone = len(new) == len(old) == 1 and len(whole) == len(self.typed) and max(map(len, replaced)) == 1
        return new if alone else whole

    @cached_property
    def flat(self) -> dict[str, Any]:
        """The configuration with the typed choices, by dotted keys; without them if they do not fit together."""
        chosen = [choice for word in self.typed for choice in self.choice(word) if self.is_choice(choice)]
        for overrides in (chosen, []):
            with isolated_hydra(), suppress(HydraException, OmegaConfBaseException):
                whole = OmegaConf.to_container(composed_whole(self.config, overrides, self.own))
                assert isinstance(whole, Mapping)
                return flattened({key: value for key, value in whole.items() if key != "hydra"})
        return {}

    def is_choice(self, word: str) -> bool:
        """Whether a word is one choice of a group."""
        name, _, value = word.partition("=")
        return name in self.groups and value in self.groups[name].choices

    def undashed(self, words: Sequence[str]) -> list[str]:
        """Return words with flags that nobody knows as settings: `--batch-size` as `batch_size`."""
        return [
            name.lstrip("-").replace("-", "_") + equals + value if unknown_flag(word) else word
            for word in words
            for name, equals, value in [word.partition("=")]
        ]

    def joined(self, words: Sequence[str]) -> list[str]:
        """Return words without quotes that a shell has kept, and joined where spaces have cut one into several."""
        found: list[str] = []
        for word in words:
            if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
                word = word[1:-1]
            last = found[-1] if found else ""
            bare = "=" not in word.lstrip("=")
            cut = last.endswith(("=", ",")) or (word[:1] in "=," and bool(last)) or bool(unclosed(last))
            named = "=" not in last and last.isidentifier() and bare and bool(self.full_keys(last)) and word[:1] != "~"
            if bare and (cut or named):
                found[-1] = last + ("=" if named and not cut else "") + word
            else:
                found.append(word)
        return found

    def repaired(self, word: str) -> list[str]:
        """Return the words that one word was probably meant to be: itself, if it seems to be in order."""
        key, equals, value = word.partition("=")
        if word.startswith("~"):
            if any(other.startswith(f"+{key[1:]}={{") for other in self.typed):
                return [word]  # a group whose function or class is typed, see `overrides.spelled_out`
            group = self.groups.get(key.lstrip("~"))
            return [f"{group.name}={choice}" for choice in group.default] if group and group.default else [word]
        if key.lstrip("+").startswith("hydra"):
            return [word]
        if word.startswith("+"):
            return self.unsigned(word)
        if not equals:
            return self.bare(word)
        if key.casefold() in DEVICES and key not in self.flat and self.full_keys("device"):
            number = value.isdigit() and int(value) > 0
            return [
                f"{self.full_keys('device')[0]}={'auto' if number or value.casefold() not in (*NO, '0') else 'cpu'}"
            ]
        if key in self.groups:
            return self.choice(word)
        if key in self.flat:
            return self.setting(key, value)
        if key.startswith("observers.") and key.count(".") > 1:
            return self.of_observer(word)
        full = self.full_keys(key)
        if len(full) == 1 and full[0] in self.groups:
            return self.choice(f"{full[0]}={value}")
        if len(full) == 1:
            of_file = self.by_file(self.groups["data"], value) if key == "path" and "data" in self.groups else []
            if of_file:
                return of_file
            if full[0].startswith("observers.") and isinstance(self.flat[full[0]], Mapping) and not is_truth(value):
                return [word]
            text = isinstance(self.flat[full[0]], str)
            return self.setting(full[0], SYNONYMS.get(value.casefold(), value) if text else value)
        parent, _, name = key.rpartition(".")
        typed = self.habit(spelled(name), value)
        if full or typed or spelled(name) in SAID:
            return typed or [word]
        if name in KINDS and parent in self.groups and name_meant_exactly(value, self.groups[parent].choices):
            return self.choice(f"{parent}={value}")
        elsewhere = self.elsewhere(key, value) or self.elsewhere(key.replace("_", ".", 1), value)
        if elsewhere:
            group_name, choice, name = elsewhere
            return [f"{group_name}={choice}", f"{group_name}.{name}={readable(value)}"]
        homes = self.full_keys(name) if parent in self.flat else []
        if len(homes) == 1 and homes[0] not in self.groups and not homes[0].startswith("observers."):
            return self.setting(homes[0], value)
        near = self.near(key)
        if near is None or (near.startswith("observers") and isinstance(self.flat.get(near), Mapping)):
            return [word]
        return self.choice(f"{near}={value}") if near in self.groups else self.setting(near, value)

    def of_observer(self, word: str) -> list[str]:
        """Return the words that a setting of an observer was probably meant to be: of a known one, or of a new one."""
        _, name, rest = word.split(".", 2)
        key = rest.partition("=")[0]
        names = [one.split(".")[1] for one in self.flat if one.startswith("observers.") and one.count(".") == 1]
        if name in names:
            near = name_meant(key, [one.split(".", 2)[2] for one in self.flat if one.startswith(f"observers.{name}.")])
            return [word if near is None else f"observers.{name}.{near}={rest.partition('=')[2]}"]
        meant = name_meant(name, names, inside=False)
        if meant is not None and f"observers.{meant}.{key}" in self.flat and key != "_target_":
            return [f"observers.{meant}.{rest}"]
        return [f"+{word}"] if key == "_target_" else [word]

    def habit(self, name: str, value: str) -> list[str]:
        """Return the words to type instead of a key that other programs have; empty if there are none.

        Args:
            name: of the key, without case and marks.
            value: as typed.
        """
        if name in SWITCHED and value.casefold() not in (*NOTHING, "0"):
            return SWITCHED[name].split()
        found: list[str] = []
        for word in TYPED.get(name, "").split():
            key, _, given = word.partition("=")
            if given != "{}":
                found.append(word)
            elif key in self.groups:
                found += self.choice(f"{key}={value}")
            else:
                text = isinstance(self.flat.get(key), str)
                found += self.setting(key, SYNONYMS.get(value.casefold(), value) if text else value)
        return found

    def unsigned(self, word: str) -> list[str]:
        """Return the words that a word with + was probably meant to be: no setting at the top level can be added."""
        plain = word.lstrip("+")
        key = plain.partition("=")[0]
        known = key in self.flat and not word.startswith("++")
        if key in self.groups or not (known or ("." not in key and key not in self.flat)):
            return [word]
        meant = self.repaired(plain)
        return [word] if meant == [plain] and not known else meant

    def bare(self, word: str) -> list[str]:
        """Return the words that a word without `=` was probably meant to be: a choice, or the value of a setting."""
        key, colon, value = word.partition(":")
        devices = self.full_keys("device")
        if key.casefold() in (*DEVICES, "cpu") and devices and (not colon or value.isdigit()):
            return [f"{devices[0]}={'cpu' if key.casefold() == 'cpu' else 'auto'}"]
        if colon and value and len(self.full_keys(key)) == 1:
            return self.repaired(f"{key}={value}")
        name = word.rstrip(",")
        for group in self.groups.values():
            of_file = self.by_file(group, name)
            if of_file:
                return of_file
        holders = [group for group in self.groups if name_meant_exactly(name, self.groups[group].choices)]
        holders = [group for group in holders if not self.groups[group].added] or holders
        if len(holders) == 1:
            return self.choice(f"{holders[0]}={name}")
        for group in self.groups.values():
            named = self.by_name(group, name)
            if named:
                return named
        keys = self.full_keys("activation")
        known = activation_named(name)
        return [f"{keys[0]}={known}"] if known is not None and len(keys) == 1 else [word]

    def choice(self, word: str) -> list[str]:
        """Return the words that the choice of a group was probably meant to be; another word is returned unchanged."""
        name, equals, value = word.partition("=")
        group = self.groups.get(name)
        if group is None or not equals:
            return [word]
        if value not in group.choices and word.casefold() in CHOICES:
            return CHOICES[word.casefold()].split()
        texts = [text.strip() for text in value.strip().rstrip(",").split(",")]
        if any(mark in value for mark in "([{$"):
            return [word]
        found: list[str] = []
        for text in texts:
            if text in group.choices:
                found.append(text)
                continue
            if text.casefold() in NOTHING and group.default:
                found += group.default
                continue
            with suppress(ValueError):
                float(text)
                below = next(self.first_numbers(name, group.default), None)
                return [f"{below}={value}"] if below else [word]
            of_file = self.by_file(group, text) if len(texts) == 1 else []
            if of_file:
                return of_file
            named = self.by_name(group, text) if len(texts) == 1 else []
            if named and not name_meant_exactly(text, group.choices):
                return named
            meant = name_meant(text, group.choices)
            if meant is None:
                return [word]
            found.append(meant)
        return [f"{name}={','.join(found)}"]

    def by_file(self, group: ConfigGroup, text: str) -> list[str]:
        """Return the words for a choice of a group that reads files with this ending, such as `own.csv`."""
        choice = Path(text).suffix[1:].casefold()
        if choice in group.choices and "path" in self.of_choice(group.name, choice):
            return [f"{group.name}={choice}", f"{group.name}.path={readable(text)}"]
        return []

    def by_name(self, group: ConfigGroup, word: str) -> list[str]:
        """Return the words for a choice of a group whose setting `name` may have this value, such as a known model."""
        if not re.fullmatch(r"[a-zA-Z]\w+", word):
            return []
        for choice in group.choices:
            settings = self.of_choice(group.name, choice)
            present = settings.get("name")
            if isinstance(present, str) and word.casefold() in allowed_names(str(settings.get("_target_")), present):
                return [f"{group.name}={choice}", f"{group.name}.name={word.casefold()}"]
        return []

    def setting(self, key: str, value: str) -> list[str]:
        """Return the words that a setting's value was probably meant to be."""
        now = self.flat.get(key)
        text = value.strip()
        if f"{key}={text}".casefold() in CHOICES:
            return CHOICES[f"{key}={text}".casefold()].split()
        if isinstance(now, bool) and is_truth(text):
            return [f"{key}={'true' if text.casefold() in YES else 'false'}"]
        if OF_A_SPLIT.fullmatch(text) and key.endswith(("objective", "metric")):
            text = text.replace("_", "/", 1)
        if isinstance(now, Mapping):
            if is_truth(text):
                number = self.first_number(key)
                switch = f"{key}.enabled"
                usual = USUAL if text.casefold() in YES else "null"
                return [
                    f"{switch}={text}" if switch in self.flat else f"{number}={usual}" if number else f"{key}={text}"
                ]
            below = self.first_number(key) or next((k for k in self.flat if k.startswith(f"{key}.")), None)
            return [f"{below}={value}"] if below and text[:1] not in "{$" and text != "null" else [f"{key}={value}"]
        if text.startswith("(") and text.endswith(")"):
            text = f"[{text[1:-1]}]"
        text += unclosed(text)
        if text[:1] not in "[{'\"$" and "(" not in text:
            text = text.rstrip(",")
            interval = RANGE.fullmatch(text)
            if interval and isinstance(now, int) and not isinstance(now, bool):
                return ["-m", f"{key}={as_range(interval)}"]
            if DECIMAL_COMMA.fullmatch(text) and isinstance(now, float | None) and text.lstrip("+-").startswith("0,"):
                text = text.replace(",", ".")
            listed = isinstance(now, list) or key == "metrics"
            if listed and ("," in text or text.isdigit()):
                text = f"[{text}]"
        return [f"{key}={readable(text)}"]

    def full_keys(self, word: str) -> list[str]:
        """Return the keys of the configuration that a word is short for: a group, or the only key with this name."""
        name = word.replace("-", "_")
        if name in self.groups:
            return [name]
        for one in (name, name.casefold(), SYNONYMS.get(name.casefold(), name), f"{name}s", name.removesuffix("s")):
            if one in self.groups:
                return [one]
            found = [key for key in self.flat if key == one or key.endswith(f".{one}")]
            visible = [key for key in found if not key.startswith("observers.")] or found
            if visible:
                return visible
        return []

    def near(self, key: str) -> str | None:
        """Return the group or key that a key with a typing error means: one of its section, if it names a section."""
        parent, dot, name = key.rpartition(".")
        if parent in self.flat:
            siblings = [one.rpartition(".")[2] for one in self.flat if one.rpartition(".")[0] == parent]
            meant = name_meant(name, siblings, inside=False)
            return meant and f"{parent}{dot}{meant}"
        return name_meant(key, [*self.groups, *self.flat], inside=False, likeness=SURE)

    def elsewhere(self, key: str, value: str) -> tuple[str, str, str] | None:
        """Return the group, the choice and the setting that a key is of, if another choice has it."""
        parent, _, name = key.rpartition(".")
        found: list[tuple[int, str, str]] = []
        for group in self.groups.values():
            if group.added or (parent and parent != group.name):
                continue
            present = self.target_of(group.name)
            named_already = any(key_of(word) == group.name for word in self.typed)
            for choice in group.choices:
                settings = self.of_choice(group.name, choice)
                if named_already and settings.get("_target_") != present:
                    continue
                if name in settings and not name.startswith("_"):
                    named = choice == name or Path(value).suffix == f".{choice}"
                    order = 0 if named else 1 if settings.get("_target_") == present else 2
                    order = order if choice not in group.default else min(order, 1)
                    found.append((order, group.name, choice))
        homes = {group for _, group, _ in found}
        if len(homes) != 1:
            return None
        _, group_name, choice = min(found, key=lambda one: one[0])
        return group_name, choice, name

    def target_of(self, section: str) -> Any:
        """Return the path of the function or class of a section: the one that is typed, or that of the choice."""
        for word in reversed(self.typed):
            key, _, value = word.lstrip("+").partition("=")
            if key == f"{section}._target_":
                return value
            override = parsed(word) if key == section and value.startswith("{") else None
            typed = override.value() if override is not None else None
            if isinstance(typed, Mapping) and "_target_" in typed:
                return typed["_target_"]
        return self.flat.get(f"{section}._target_")

    def of_choice(self, group: str, choice: str) -> dict[str, Any]:
        """Return the settings in the file of a choice."""
        paths = (folder / group / f"{choice}.yaml" for folder in self.folders)
        return next((loaded(path) for path in paths if path.is_file()), {})

    def first_number(self, section: str) -> str | None:
        """Return the first setting of a section that is a number, or may be one."""
        below = [key for key in self.flat if key.startswith(f"{section}.") and key.count(".") == section.count(".") + 1]
        return next((key for key in below if may_be_number(self.flat[key])), None)

    def first_numbers(self, group: str, choices: Sequence[str]) -> Iterator[str]:
        """Yield the settings of some choices that are numbers, or may be."""
        for choice in choices:
            for name, value in self.of_choice(group, choice).items():
                if may_be_number(value):
                    yield f"{group}.{name}"

    def once(self, words: Sequence[str]) -> list[str]:
        """Return words of which each key has the last one: a repaired word may choose what another one chose."""
        last = {word.partition("=")[0]: word for word in words}
        return list(dict.fromkeys(last[word.partition("=")[0]] for word in words))

    def composes(self, words: Sequence[str]) -> bool:
        """Whether a command line fits the configuration; of several values the first one is tried."""
        with isolated_hydra():
            try:
                composed_whole(self.config, [first_of(word) for word in words], self.own)
            except (HydraException, OmegaConfBaseException, ValueError):
                return False
        return True


def parameter_typed(verb: str, typed: Sequence[str], key: str, own: Sequence[Path] | None = None) -> str:
    """Return a sentence about the parameter of a function or class that a refused setting is meant for; or nothing.

    Args:
        verb: whose configuration has its name.
        typed: the arguments.
        key: of the setting.
        own: folders with choices of the user; None for that of `--config-dir` among the arguments.
    """
    from experiments.common.parameters import parameter_meant  # pydantic

    section, _, _ = key.rpartition(".")
    if not section or any(word.startswith("resume=") for word in typed):  # the code of a run folder is a stranger's
        return ""
    value = next((word.partition("=")[2] for word in typed if word.partition("=")[0] == key), None)
    if value is None:
        return ""
    try:
        target = Meaning(verb, typed, own).target_of(section)
    except (HydraException, OmegaConfBaseException, UserError, OSError, ValueError, SystemExit):
        return ""
    return parameter_meant(target, key, value)


def is_sweep(word: str) -> bool:
    """Whether a word has several values, which need `-m`."""
    override = parsed(word)
    return override is not None and override.is_sweep_override()


def is_truth(value: str) -> bool:
    """Whether a word is a yes or a no."""
    return value.casefold() in (*YES, *NO)


def may_be_number(value: Any) -> bool:
    """Whether a setting with this value is a number, or may be one."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def name_meant_exactly(word: str, names: Iterable[str]) -> bool:
    """Whether a word is one of some names, in any spelling."""
    return spelled(word) in map(spelled, names)


def allowed_names(target: str, present: str) -> Iterator[str]:
    """Yield the names that a setting `name` may have besides the present one: models that torchvision can build."""
    yield present
    if target.startswith("experiments.models.vision."):
        from torchvision import models

        yield from models.list_models(module=models)


def activation_named(word: str) -> str | None:
    """Return the name of an activation that a word is, also as other libraries call it; None if it is none."""
    from experiments.models.blocks import ACTIVATIONS, OTHER_NAMES

    name = spelled(word)
    return OTHER_NAMES.get(name, name if name in ACTIVATIONS else None)


def parsed(word: str) -> Override | None:
    """Return a word as Hydra reads it; None if it cannot."""
    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, ValueError):
        return None


def first_of(word: str) -> str:
    """Return a word with the first of its values."""
    override = parsed(word)
    if override is None or not override.is_sweep_override():
        return word
    if not override.is_discrete_sweep():
        return f"{override.get_key_element()}={getattr(override.value(), 'start', 0)}"
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


def readable(value: str) -> str:
    """Return a value that Hydra can read: in double quotes, if it cannot otherwise."""
    if parsed(f"key={value}") is not None:
        return value
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return quoted if parsed(f"key={quoted}") is not None else value


def unclosed(text: str) -> str:
    """Return the brackets that close those of a text that are open; empty if a bracket does not match."""
    waiting: list[str] = []
    for character in text:
        if character in CLOSING:
            waiting.append(CLOSING[character])
        elif character in CLOSING.values() and (not waiting or waiting.pop() != character):
            return ""
    return "".join(reversed(waiting))
