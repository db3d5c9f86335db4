"""One run as it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.assembly.trust import untrusted
from experiments.cli.composing import composed_whole, isolated_hydra, own_folder
from experiments.cli.overrides import spelled_out, split_arguments
from experiments.common.errors import UserError
from experiments.common.recorded import recorded
from experiments.common.text import shown_path
from experiments.folders.defaults import with_targets
from experiments.folders.hydra import task_part
from experiments.folders.run import RunFolder
from experiments.training import processes


@dataclass
class Job:
    """One run as it was asked for.

    Args:
        config: the composed configuration; its `resume` is the folder of the run to continue.
        folder: where the run writes.
        choices: the file chosen in each config group.
        overrides: as typed.
        own: whether the running command has composed the configuration, and not the overrides in the folder of a run,
            which may be from somebody else: the command may name any code.
        config_dir: the folder of `--config-dir`, if one is given.
        borrowed: whether the overrides are those in the folder of another run, which may be from somebody else.
    """

    config: dict[str, Any]
    folder: RunFolder
    choices: Mapping[str, str] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    own: bool = False
    config_dir: Path | None = None
    borrowed: bool = False

    @property
    def resuming(self) -> bool:
        """Whether the run continues from its folder."""
        return self.config.get("resume") is not None

    @property
    def flags(self) -> list[str]:
        """The flags of the command line that composed the configuration."""
        return [] if self.config_dir is None else ["--config-dir", shown_path(self.config_dir)]

    @property
    def words(self) -> list[str]:
        """The words of a command line that gives the same configuration."""
        return [*self.flags, *recorded(self.overrides, self.config)]

    @property
    def resuming_words(self) -> list[str]:
        """The overrides of the command that resumes the run, with what it does not take from the run's folder."""
        cache = [line for line in self.overrides if line.lstrip("+").startswith("data.cache=")]  # see `cli.resuming`
        packages = sorted({str(value).partition(".")[0] for _, value in untrusted(self.config, ())})
        trust = [f"trust=[{','.join(packages)}]"] if packages else []
        return [f"resume={shown_path(self.folder.path)}", *cache, *trust]


def composed(cfg: DictConfig) -> Job:
    """Return the run that Hydra has composed."""
    hydra = HydraConfig.get()
    choices = {group: choice for group, choice in hydra.runtime.choices.items() if not group.startswith("hydra/")}
    config = processes.own_config(cast(Any, OmegaConf.to_container(cfg, resolve=True)))
    own = hydra.mode == RunMode.MULTIRUN or config.get("resume") is None
    folder, given = RunFolder(Path(hydra.runtime.output_dir)), given_folder(hydra.runtime.config_sources)
    overrides = list(hydra.overrides.task)
    return Job(config, folder, with_targets(choices, config, overrides), overrides, own, given)


def named_code(typed: Sequence[str]) -> list[str]:
    """Return the functions and classes from outside this package that a command line names itself.

    A resumed run is composed from the overrides in its folder too, which may be from somebody else.

    Args:
        typed: the arguments.
    """
    given, _ = get_args_parser().parse_known_args(list(typed))
    words = [word for word in spelled_out(split_arguments(typed)[1]) if not word.lstrip("+").startswith("resume=")]
    if not given.config_dir and not any("_target_" in word for word in words):
        return []
    with isolated_hydra(), suppress(HydraException, OmegaConfBaseException, UserError):
        whole = composed_whole(given.config_name or "train", words, own_folder(given.config_dir))
        config: Any = OmegaConf.to_container(task_part(whole))
        return [str(value) for _, value in untrusted(config, ())]
    return []


def given_folder(sources: Iterable[Any]) -> Path | None:
    """Return the folder of `--config-dir` among the sources that Hydra has composed from; None if there is none."""
    return next((Path(source.path) for source in sources if source.provider == "command-line"), None)
