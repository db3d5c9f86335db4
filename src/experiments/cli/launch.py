"""From the command line to a verb's task: composing the configuration, and errors in one sentence."""

import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError, location, nearest, raised
from experiments.common.habits import SAID
from experiments.common.meant import name_meant, pasted, spelled
from experiments.common.text import standing_in

from ._help import ALL, full_help, short_help
from .completion import completion
from .composing import known_keys, own_folder, register_resolvers
from .entry import FULL_ERROR, cannot_write, memory_reported, print_error
from .overrides import (
    flags_first,
    refuse_deep_models,
    refuse_flag_values,
    refuse_long_lists,
    refuse_merged_choices,
    split_arguments,
    unknown_flag,
)
from .suggestions import SURE, parameter_typed, suggestion, unclosed

VERB = "verb"
"""The attribute of a task with the name of its verb; the plugins are for the runs of `train`."""
MODE = re.compile(r"hydra(\.mode)?=|experiment=|search=")
"""Words that may set Hydra's mode: by its name, or by a choice that holds Hydra's settings too."""
FROM_TASK = "from_task"
"""The mark of an error that the task raised; an error of composing has none."""


def help_printed(
    verb: str, examples: Sequence[tuple[str, str]], signatures: Callable[[], Mapping[str, Any]] = dict
) -> bool:
    """Print help or tab completion if the command line asks for it; return whether it does.

    Args:
        verb: the command, whose configuration has its name.
        examples: arguments of the verb, and what they do.
        signatures: returns the classes with the types of the settings, by section.

    Raises:
        UserError: the configuration for the help, its topic or the shell is unknown; or a flag has a value that it does
            not take, or a setting has too many.
    """
    refuse_flag_values(sys.argv[1:])
    refuse_long_lists(sys.argv[1:])
    refuse_merged_choices(sys.argv[1:])
    given = flags_of(sys.argv[1:])
    refuse_deep_models(sys.argv[1:], given.config_dir)
    if given.help:
        folders, config = [conf_folder(), *own_folder(given.config_dir)], given.config_name or verb
        topics = help_topics(sys.argv[1:])
        if not topics:
            print(short_help(verb, folders, examples, config))
        elif ALL in topics:
            print(full_help(verb, folders, examples, config))
        else:
            from ._topics import Book, topics_text  # pydantic, for the types of settings

            book = Book(f"python -m experiments.{verb}", folders, config, signatures)
            print(topics_text(book, topics))
    elif given.shell_completion:
        print(completion(given.overrides))
    return given.help or given.shell_completion


def help_topics(words: Sequence[str]) -> list[str]:
    """Return the words after the flag of the help, without flags."""
    start = next((index for index, word in enumerate(words) if word in ("-h", "--help")), len(words))
    return split_arguments(words[start + 1 :])[1]


def launch(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose the configuration from the command line and run the task, once or for each job of a sweep.

    A user's error is printed as one sentence and ends the program with its code; `HYDRA_FULL_ERROR=1` shows the
    traceback instead.
    """
    register_resolvers()
    prefer_own_plugins()
    refuse_unknown_flags(config_name, sys.argv[1:])
    sys.argv[1:] = flags_first(sys.argv[1:])
    before = os.environ.get(FULL_ERROR)
    reported = task if before else with_errors_reported(task, config_name)
    setattr(reported, VERB, config_name)
    os.environ[FULL_ERROR] = "1"  # Hydra raises its errors, instead of printing them and exiting with code 1
    try:
        with standing_in(Path.cwd()), composed_once(config_name):
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(reported)()
    except Exception as error:
        if before or getattr(error, FROM_TASK, None) == "a defect":
            raise
        if not hasattr(error, FROM_TASK):
            print_error(explained(error, config_name, sys.argv[1:]))
        sys.exit(error.code if isinstance(error, UserError) else 2)
    finally:
        if before is None:
            del os.environ[FULL_ERROR]


@contextmanager
def composed_once(config_name: str) -> Iterator[None]:
    """Spare Hydra the first of its two compositions, which only reads `hydra.mode`, if nothing can have set that."""
    real = Hydra.get_mode
    if not mode_may_be_set(config_name, sys.argv[1:]):
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = real  # type: ignore[method-assign]


def mode_may_be_set(config_name: str, words: Sequence[str]) -> bool:
    """Whether the words, or the files of Hydra's own settings, may set `hydra.mode`."""
    given = flags_of(words)
    if given.config_dir or given.config_name or given.config_path or any(MODE.search(word) for word in words):
        return True
    files = [conf_folder() / f"{config_name}.yaml", *(conf_folder() / "hydra").rglob("*.yaml")]
    return any(re.search(r"(?m)^\s*mode:", path.read_text(encoding="utf-8")) for path in files)


def refuse_unknown_flags(verb: str, typed: Sequence[str]) -> None:
    """Refuse a setting that is typed with dashes, as for other programs.

    Raises:
        UserError: with the setting that was probably meant.
    """
    unknown = [word for word in split_arguments(typed)[0] if unknown_flag(word)]
    if unknown:
        raise UserError(
            f"{unknown[0]} is not a flag; settings are typed without dashes, as key=value" + suggestion(verb, typed)
        )


def prefer_own_plugins() -> None:
    """Let `hydra/sweeper=optuna` mean the sweeper of this package, even if Hydra's own Optuna plugin is installed."""
    Plugins.instance()  # imports all plugins, the last of which has a name
    from hydra_plugins.experiments_search import register

    register(replace=True)


def with_errors_reported(task: Callable[[DictConfig], Any], config_name: str) -> Callable[[DictConfig], Any]:
    """Return a task that prints a user's error: a single run then exits, the other jobs of a sweep continue.

    Another error is marked as a defect, whose traceback is shown.
    """

    @wraps(task)
    def reported(cfg: DictConfig) -> Any:
        try:
            with memory_reported():
                return task(cfg)
        except (UserError, OmegaConfBaseException) as error:
            print_error(explained(error, config_name, sys.argv[1:]))
            if HydraConfig.get().mode != RunMode.MULTIRUN:
                sys.exit(error.code if isinstance(error, UserError) else 2)
            setattr(error, FROM_TASK, "printed")
            raise
        except Exception as error:
            if location(error) is not None:  # of code of the user, whose log has the traceback
                print_error(f"code from outside this package {raised(error)}; train.log has the traceback")
                if HydraConfig.get().mode != RunMode.MULTIRUN:
                    sys.exit(UserError.code)
                setattr(error, FROM_TASK, "printed")
                raise
            setattr(error, FROM_TASK, "a defect")
            raise

    return reported


def explained(error: Exception, config_name: str, typed: Sequence[str], own: Sequence[Path] | None = None) -> str:
    """Return one sentence about what is wrong with a command line, or about an error of the task.

    Args:
        error: of Hydra, OmegaConf, the file system or the user.
        config_name: of the verb.
        typed: the arguments.
        own: folders with choices of the user; None for that of `--config-dir` among the arguments.
    """
    if isinstance(error, UserError):
        return str(error) + meant_by(error, config_name, typed)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file == flags_of(typed).config_name:
        return f"--config-name={error.missing_cfg_file} is not a configuration of this package; leave it out"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        pairs = [(key, value) for key, _, value in (word.partition("=") for word in typed)]
        group, choice = next((p for p in pairs if "/".join(p) == error.missing_cfg_file), (group, choice))
        meant = suggestion(config_name, typed, own) or nearest(choice, error.options, group)
        if any(word.startswith("resume=") for word in typed) and not any(w.startswith("--config-dir") for w in typed):
            meant = "; add the --config-dir that the run was started with"
        return f"unknown {group} {choice!r}; choose from {', '.join(error.options)}{meant}"
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return cannot_write(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read: {unreadable(error.override)}{suggestion(config_name, typed)}"
    message = str(error) or str(error.__cause__ or type(error).__name__)
    if isinstance(error, ValueError) and "integer string conversion" in message:
        key, _, value = max(typed, key=len, default="").partition("=")
        return f"{key} has a number of {len(value)} digits; an integer has at most 19 digits, up to 2^63 - 1"
    nameless = next((word for word in typed if word.lstrip("+~").startswith("=")), None)
    if nameless is not None:
        return f"{nameless} has no key before '='; settings are typed as key=value"
    several = re.match(r"(Ambiguous value for argument|Sweep parameters) '(?P<words>[^']+)'", message)
    if several:
        meant = suggestion(config_name, typed)
        return f"{several['words']} has several values; add -m to sweep over them, or write [a,b] for a list{meant}"
    unknown = re.match(r"Could not override '(?P<key>[^']+)'", message)
    if unknown:
        key = unknown["key"]
        given = flags_of(typed).config_dir
        known = known_keys(config_name, typed, own if own is not None else [Path(given)] if given else [])
        if key in known or any(k.startswith(f"{key}.") for k in known):
            reason = str(error.__cause__ or message).splitlines()[0]
            if "is not in struct" in reason:
                meant = parameter_typed(config_name, typed, key, own)
                return f"{key} is not among the settings that are typed in braces{meant}"
            return f"{key} cannot be set like this: {reason}"
        siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == key.rpartition(".")[0]]
        choices = f"; choose from {', '.join(siblings)}" if siblings and "." in key else ""
        alike = [] if "." in key else [one for one in known if not one.startswith("observers")]
        near = name_meant(key, alike, inside=False, likeness=SURE)
        value = next((word.partition("=")[2] for word in typed if word.partition("=")[0].lstrip("+") == key), "")
        meant = suggestion(config_name, typed, own) or pasted([] if near is None else [f"{near}={value}"])
        if not meant:
            meant = parameter_typed(config_name, typed, key, own)
            choices = "" if meant else choices
        said = SAID.get(spelled(key.rpartition(".")[2]))
        if not meant and said:
            meant = f"; {said}"
        elif not meant and not choices:
            meant = f"; python -m experiments.{config_name} --help all lists the settings"
        return f"unknown key {key!r}{choices}{meant}"
    unresolved = re.match(r"\w+ raised while resolving interpolation: (?P<reason>.*)\s+full_key: (?P<key>\S+)", message)
    if unresolved:
        return f"{unresolved['key']} cannot be resolved: {unresolved['reason'].strip(chr(34))}"
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        message = f"{message}: {error.__cause__}"
    return " ".join(message.split()) + suggestion(config_name, typed)


def flags_of(typed: Sequence[str]) -> Namespace:
    """Return Hydra's flags in a command line, such as `config_dir`; None for those that it lacks."""
    return get_args_parser().parse_known_args(list(typed))[0]


def unreadable(word: str) -> str:
    """Return why Hydra cannot read an override."""
    _, equals, value = word.partition("=")
    if not equals:
        return "it has no '='; settings are typed as key=value"
    if unclosed(value):
        return "a bracket is not closed"
    if value.endswith(","):
        return "a value is missing after the last comma"
    return 'write lists as [a,b], and texts with special characters in double quotes, as key="value"'


def meant_by(error: UserError, verb: str, typed: Sequence[str]) -> str:
    """Return the question whether something else was meant, if an error about a typed word does not ask it already."""
    sentence = str(error)
    unknown = re.match(r"unknown setting '([^']+)'", sentence)
    key = unknown[1] if unknown else sentence.partition("=")[0]
    about = [
        word
        for word in typed
        if word.partition("=")[0].lstrip("+") == key or (word[:1] == "~" and key.startswith(word[1:]))
    ]
    if not about or "did you mean" in sentence:
        return ""
    others = [word for word in typed if word not in about]
    return suggestion(verb, about if suggestion(verb, others) else typed)  # a mistake in another word is not this error
