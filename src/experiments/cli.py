"""From the command line to a verb's task: composing, and errors in one sentence."""

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.version import VersionBase, setbase
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from .common.conf import conf_folder
from .common.errors import UserError, nearest
from .common.keys import flattened
from .common.text import visible
from .completion import completion
from .help import help_text

FULL_ERROR = "HYDRA_FULL_ERROR"
FROM_TASK = "from_task"
"""The mark of an error that was raised by the task, not while its configuration was composed."""
LONGEST_FOLDER_NAME = 120
SHORT = {"init_from": "init_from.path"}
"""Words of the command line, and the keys that they stand for."""


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


def own_folder(given: str | None) -> list[Path]:
    """Return the folder of `--config-dir`, if one is given.

    Raises:
        UserError: it is not there.
    """
    if given and not Path(given).is_dir():
        raise UserError(f"--config-dir={given} is no folder; give one that holds <group>/<choice>.yaml")
    return [Path(given)] if given else []


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Return a command line with `init_from=<path>` as `init_from.path='<path>'`; several, with commas, to sweep over.

    A name of a file may hold what Hydra's grammar reserves, as the folders of a sweep's runs do. So what exists is
    quoted, and the longest name that exists is taken for one.
    """
    return [
        f"{SHORT[key]}={quoted_paths(value)}" if equals and key in SHORT else argument
        for argument in arguments
        for key, equals, value in [argument.partition("=")]
    ]


def quoted_paths(value: str) -> str:
    """Return paths with commas between, each quoted that exists or could not be read by Hydra otherwise."""
    done, rest = [], value.split(",")
    while rest:
        there = (n for n in range(len(rest), 0, -1) if rest[0] and Path(",".join(rest[:n])).exists())
        count = next(there, 0)
        piece = ",".join(rest[: count or 1])
        done.append(quoted(Path(piece)) if count or ("=" in piece and not set("'\"()[]{}") & set(value)) else piece)
        rest = rest[count or 1 :]
    return ",".join(done)


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


def known_keys(config_name: str, typed: Sequence[str]) -> list[str]:
    """Return every key and config group of the command's configuration, with its groups as far as they compose."""
    groups = [word for word in typed if re.fullmatch(r"[a-z_]+=[\w]+", word)]
    for overrides in (groups, []):
        with hydra_apart(), suppress(HydraException, OmegaConfBaseException):
            return list(flattened(OmegaConf.to_container(composed_whole(config_name, overrides))))
    return []


@contextmanager
def hydra_apart() -> Iterator[None]:
    """Let Hydra begin anew inside the block, and be afterwards as it was: its globals may be someone else's."""
    kinds = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
    before: dict[type, Any] = {k: Singleton._instances.pop(k) for k in kinds if k in Singleton._instances}
    resolvers = dict(BaseContainer._resolvers)
    try:
        yield
    finally:
        for kind in kinds:
            Singleton._instances.pop(kind, None)
        Singleton._instances.update(before)
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(resolvers)


def composed_whole(config_name: str, overrides: Sequence[str], own: Sequence[Path] = ()) -> DictConfig:
    """Compose a configuration, Hydra's own part too, as the command line does; to be called in `hydra_apart`.

    Args:
        config_name: of the verb.
        overrides: as typed.
        own: folders of a user's own choices, as `--config-dir` names them.

    Raises:
        HydraException: an override does not fit.
    """
    setbase("1.3")
    places = create_config_search_path(str(conf_folder()))
    for folder in own:
        places.prepend("command-line", f"file://{folder.absolute()}", SearchPathQuery(provider="schema"))
    loader = Hydra.create_main_hydra2(config_name, places)
    return loader.compose_config(config_name, list(overrides), RunMode.RUN, with_log_configuration=False)


def clipped(name: str) -> str:
    """Return a job's overrides as a folder name that every file system takes and no shell misreads."""
    return re.sub(r"[^\w.=,+-]+", "_", name)[:LONGEST_FOLDER_NAME]


class FreshFolder(Callback):
    """A Hydra callback: two commands started in the same second get two folders."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Claim the run's folder, or the next free name after it."""
        if config.get("resume") is None:
            config.hydra.run.dir = claimed(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Claim the sweep's folder, or the next free name after it; a resumed sweep has its own already."""
        if config.get("resume") is None:
            config.hydra.sweep.dir = claimed(config.hydra.sweep.dir)
        else:
            with suppress(UserError):  # whoever begins the sweep says it
                config.hydra.sweep.dir = str(resumed(config))
            config.hydra.overrides.hydra.append("hydra.output_subdir=null")
        # Each job is composed anew, from the overrides.
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(Path(config.hydra.sweep.dir))}")


def resumed(config: DictConfig) -> Path:
    """Return the folder of the sweep that is gone on with.

    Raises:
        UserError: there is none.
    """
    if config.resume != "latest":
        return Path(config.resume)
    below = Path(config.hydra.sweep.dir).parent
    found = sorted(below.glob("*/sweep.yaml"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"resume=latest finds no sweep in {below}; give its folder")
    return found[-1].parent


def claimed(path: str) -> str:
    """Make a folder that was not there, with a number behind its name where it was; return its path.

    A folder that cannot be made is left for Hydra to fail at, which says why.
    """
    with suppress(OSError):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        for attempt in itertools.count(1):
            candidate = path if attempt == 1 else f"{path}_{attempt}"
            with suppress(FileExistsError):
                Path(candidate).mkdir()
                return candidate
    return path


def quoted(path: Path) -> str:
    """Return a path as a quoted value in Hydra's grammar, where a backslash matters only before a quote."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", str(path))
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
