"""From the command line to a verb's task: composing, and errors in one sentence."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError, nearest
from experiments.common.text import visible

from ._completion import completion
from ._help import help_text
from .composing import known_keys, own_folder
from .overrides import clipped

FULL_ERROR = "HYDRA_FULL_ERROR"
FROM_TASK = "from_task"
"""The mark of an error that was raised by the task, not while its configuration was composed."""


def answered(verb: str, examples: Sequence[tuple[str, str]]) -> bool:
    """Whether the command line asks for help or for tab completion, which is then printed, and nothing is to be run.

    Args:
        verb: the command, whose configuration has its name.
        examples: arguments of the verb, and what they do.
    """
    asked, _ = get_args_parser().parse_known_args()
    try:
        if asked.help:
            print(help_text(verb, [conf_folder(), *own_folder(asked.config_dir)], examples, asked.config_name))
        elif asked.shell_completion:
            print(completion(asked.overrides, verb, conf_folder()))
    except UserError as error:
        say(str(error))
        sys.exit(2)
    return asked.help or asked.shell_completion


def launch(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose the configuration from the command line and run the task, once or for each job of a sweep.

    A user's error is printed as one sentence and ends the program with code 2; `HYDRA_FULL_ERROR=1` shows
    where it came from instead.
    """
    OmegaConf.register_new_resolver("clipped", clipped, replace=True)
    before = os.environ.get(FULL_ERROR)
    guarded = task if before else saying_errors(task, config_name)
    os.environ[FULL_ERROR] = "1"  # Hydra raises its errors, instead of printing them and exiting with code 1
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(guarded)()
    except Exception as error:
        if before or getattr(error, FROM_TASK, None) == "a defect":
            raise
        if not hasattr(error, FROM_TASK):
            say(explained(error, config_name, sys.argv[1:]))
        sys.exit(error.code if isinstance(error, UserError) else 2)
    finally:
        if before is None:
            del os.environ[FULL_ERROR]


def say(sentence: str) -> None:
    """Print an error's sentence."""
    print(f"Error: {sentence}", file=sys.stderr, flush=True)


def ended(command_line: Callable[[Sequence[str]], int]) -> None:
    """Run a verb that reads its own command line, and exit with its code; a user's error is one sentence, and code 2.

    Args:
        command_line: is given what was typed, and returns the code.
    """
    try:
        code = command_line(sys.argv[1:])
    except UserError as error:
        say(visible(str(error)))
        code = error.code
    except OSError as error:
        say(visible(f"cannot write {error.filename or 'a file'}: {error.strerror or error}"))
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def saying_errors(task: Callable[[DictConfig], Any], config_name: str) -> Callable[[DictConfig], Any]:
    """Let a lone run end at once with its sentence; in a sweep the other jobs go on, and the end says so.

    An error that is not the user's is marked as a defect, to be shown with its traceback.
    """

    @wraps(task)
    def guarded(cfg: DictConfig) -> Any:
        try:
            return task(cfg)
        except (UserError, OmegaConfBaseException) as error:
            say(explained(error, config_name, sys.argv[1:]))
            if HydraConfig.get().mode != RunMode.MULTIRUN:
                sys.exit(error.code if isinstance(error, UserError) else 2)
            setattr(error, FROM_TASK, "said")
            raise
        except Exception as error:
            setattr(error, FROM_TASK, "a defect")
            raise

    return guarded


def explained(error: Exception, config_name: str, typed: Sequence[str]) -> str:
    """Say in one sentence what is wrong with what was typed and could not be composed."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        allowed = ", ".join(error.options)
        return f"{group}={choice} is no choice; allowed: {allowed}" + nearest(choice, error.options)
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"cannot write {error.filename or 'a file'}: {error.strerror or error}"
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read: {' '.join(error.message.split()).partition(' See https')[0]}"
    message = str(error) or str(error.__cause__ or type(error).__name__)
    several = re.match(r"(Ambiguous value for argument|Sweep parameters) '(?P<words>[^']+)'", message)
    if several:
        return f"{several['words']} has several values; -m sweeps over them, and [a,b] is a list"
    unknown = re.match(r"Could not override '(?P<key>[^']+)'", message)
    if unknown:
        key = unknown["key"]
        known = known_keys(config_name, typed)
        if key in known or any(k.startswith(f"{key}.") for k in known):
            reason = str(error.__cause__ or message).splitlines()[0]
            return f"{key} cannot be set so: {reason}"
        siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == key.rpartition(".")[0]]
        allowed = f"; allowed there: {', '.join(siblings)}" if siblings and "." in key else ""
        return f"{key} is no key of the configuration{allowed}" + nearest(key, known)
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        message = f"{message}: {error.__cause__}"
    return " ".join(message.split())
