"""Composing a configuration as Hydra does, without running Hydra's command."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.version import VersionBase, setbase
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from experiments.common.conf import conf_folder
from experiments.common.errors import UserError
from experiments.common.keys import flattened

from .overrides import clipped, padded


def own_folder(given: str | None) -> list[Path]:
    """Return the folder of `--config-dir`, if one is given.

    Raises:
        UserError: there is no such folder.
    """
    if given and not Path(given).is_dir():
        raise UserError(f"--config-dir={given} is not a folder; give a folder with <group>/<choice>.yaml in it")
    return [Path(given)] if given else []


def register_resolvers() -> None:
    """Give configurations `clipped`, and an `oc.env` with which a number in the environment is a number."""
    OmegaConf.register_new_resolver("clipped", clipped, replace=True)
    OmegaConf.register_new_resolver("padded", padded, replace=True)
    OmegaConf.register_new_resolver("oc.env", from_environment, replace=True)


def from_environment(name: str, default: Any = Ellipsis) -> Any:
    """Return a variable of the environment: as a number if it is one, otherwise as text.

    Raises:
        KeyError: there is no such variable, and no default.
    """
    text = os.environ.get(name)
    if text is None:
        if default is Ellipsis:
            raise KeyError(f"the environment variable {name!r} is not set")
        return default
    for read in (int, float):
        with suppress(ValueError):
            value = read(text)
            return value if math.isfinite(value) else text
    return text


def known_keys(config_name: str, typed: Sequence[str], own: Sequence[Path] = ()) -> list[str]:
    """Return every key and config group of a verb's configuration, with the typed choices if they compose.

    Args:
        config_name: of the verb.
        typed: the words of the command line.
        own: folders with choices of the user, as in `--config-dir`.
    """
    groups = [word for word in typed if re.fullmatch(r"[a-z_]+=[\w-]+", word)]
    for overrides in (groups, []):
        with isolated_hydra(), suppress(HydraException, OmegaConfBaseException):
            return list(flattened(OmegaConf.to_container(composed_whole(config_name, overrides, own))))
    return []


@contextmanager
def isolated_hydra() -> Iterator[None]:
    """Give the block a Hydra without global state, and restore the state afterwards: it may be another program's."""
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
    """Compose a configuration with Hydra's part, as the command line does; call it in `isolated_hydra`.

    Args:
        config_name: of the verb.
        overrides: as the user types them.
        own: folders with choices of the user, as in `--config-dir`.

    Raises:
        HydraException: an override does not fit.
    """
    setbase("1.3")
    register_resolvers()
    search_path = create_config_search_path(str(conf_folder()))
    for folder in own:
        search_path.prepend("command-line", f"file://{folder.absolute()}", SearchPathQuery(provider="schema"))
    loader = Hydra.create_main_hydra2(config_name, search_path)
    return loader.compose_config(config_name, list(overrides), RunMode.RUN, with_log_configuration=False)
