"""Composing a configuration as Hydra does, beside Hydra's own command."""

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


def own_folder(given: str | None) -> list[Path]:
    """Return the folder of `--config-dir`, if one is given.

    Raises:
        UserError: it is not there.
    """
    if given and not Path(given).is_dir():
        raise UserError(f"--config-dir={given} is no folder; give one that holds <group>/<choice>.yaml")
    return [Path(given)] if given else []


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
