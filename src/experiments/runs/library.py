"""The command line in a notebook or script: compose, train, and look at the results."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from experiments.assembly.trust import untrusted
from experiments.cli.composing import composed_whole, isolated_hydra, own_folder
from experiments.cli.entry import FULL_ERROR
from experiments.cli.folders import claimed
from experiments.cli.launch import explained
from experiments.cli.overrides import refuse_deep_models
from experiments.cli.project import own_project, with_trust
from experiments.cli.resuming import resumed_command_line
from experiments.cli.suggestions import is_sweep
from experiments.common.errors import UserError
from experiments.common.text import shown_path
from experiments.folders.hydra import as_yaml, task_part, write_composed
from experiments.folders.run import LayerRow, RunFolder
from experiments.training.stop import SignalStop

from . import alone, job

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from experiments.evaluation.loading import Restored


@dataclass(frozen=True, repr=False, eq=False)
class Configuration(Mapping[str, Any]):
    """The configuration of a run, to be read: `config["optimizer"]["lr"]`. For another one, compose again.

    Args:
        task: the part of the run, resolved.
        whole: the composed configuration, with Hydra's part.
    """

    task: DictConfig
    whole: DictConfig

    @property
    def overrides(self) -> list[str]:
        """The overrides that it was composed from."""
        return list(self.whole.hydra.overrides.task)

    @property
    def choices(self) -> dict[str, str]:
        """The file chosen in each config group."""
        choices = {str(group): choice for group, choice in self.whole.hydra.runtime.choices.items()}
        return {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}

    def plain(self) -> dict[str, Any]:
        """Return the part of the run as dictionaries and lists."""
        plain: Any = OmegaConf.to_container(self.task)
        return plain

    def __getitem__(self, key: str) -> Any:
        return self.task[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.plain())

    def __len__(self) -> int:
        return len(self.task)

    def __repr__(self) -> str:
        return as_yaml(self.plain())


@dataclass(frozen=True)
class Trained:
    """The results of a run; the tables and the model are read from its folder when they are first used.

    Args:
        folder: of the run.
        config: of the run.
        summary: the content of `summary.json`: status, scores, verdicts, versions.
    """

    folder: Path
    config: Configuration = field(repr=False)
    summary: dict[str, Any] = field(repr=False)

    @property
    def status(self) -> str:
        """How it ended: finished, stopped, pruned, diverged or interrupted."""
        return self.summary["status"]

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """What the numbers of the run mean, and what to try."""
        return self.summary["verdicts"]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """`metrics.csv`: a row per epoch.

        Raises:
            UserError: the run did not write it.
        """
        import pandas as pd

        try:
            texts = pd.read_csv(self.folder / "metrics.csv", dtype=str)
        except FileNotFoundError:
            raise UserError(
                f"{str(self.folder)!r} has no metrics.csv; train with observers.metrics.enabled=true"
            ) from None
        return texts.astype(float).astype({"epoch": int, "step": int})  # pandas may read the last bit wrong

    @cached_property
    def layers(self) -> pd.DataFrame:
        """`layers.csv`: a row for each number about a layer; empty if the run did not observe its layers."""
        import pandas as pd

        return pd.DataFrame(RunFolder(self.folder).read_layers(), columns=list(LayerRow._fields))

    @cached_property
    def restored(self) -> Restored:
        """The run as `load` returns it; the code that it was trained with is trusted.

        Raises:
            UserError: the run has no checkpoint.
        """
        from experiments.evaluation.loading import load

        own = {str(value).partition(".")[0] for _, value in untrusted(self.config.plain(), ())}
        return load(self.folder, trust=sorted(own), device=self.config["training"]["device"])

    @property
    def model(self) -> nn.Module:
        """The model with the weights of its best epoch, in evaluation mode; see `restored`."""
        return self.restored.model


def compose(*overrides: str, config_dir: str | Path | None = None) -> Configuration:
    """Compose the configuration of a run, from overrides as on the command line: `compose("optimizer=adam", "seed=5")`.

    Args:
        overrides: `group=choice` and `group.key=value`; `resume=<folder>` resumes the run in that folder.
        config_dir: a folder with your own choices, as in `--config-dir`; None for that of `experiments.toml`.

    Raises:
        UserError: one of them does not fit; `HYDRA_FULL_ERROR=1` shows the traceback of the cause.
    """
    for word in overrides:
        if not isinstance(word, str) or word.startswith("-"):
            raise UserError(f"{word!r} is not an override; give texts such as 'optimizer=adam', 'optimizer.lr=0.1'")
    given = own_project().config_dir if config_dir is None else str(config_dir)
    own = own_folder(given)
    refuse_deep_models(overrides, given)
    with isolated_hydra():
        try:
            whole = composed_whole("train", resumed_command_line(with_trust(overrides)), own)
            HydraConfig.instance().set_config(whole)
            task = OmegaConf.create(OmegaConf.to_container(task_part(whole), resolve=True))
        except Exception as error:
            if os.environ.get(FULL_ERROR):
                raise
            several = next((word for word in overrides if is_sweep(word)), None)
            if several is not None:
                raise UserError(
                    f"{several} has several values, but compose(...) is one run: compose one for each value, or run "
                    "the sweep on the command line with -m"
                ) from None
            raise UserError(explained(error, "train", overrides, own)) from None
    if whole.hydra.sweeper.get("params"):
        raise UserError(
            f"compose({', '.join(map(repr, overrides))}) is a sweep over {', '.join(whole.hydra.sweeper.params)}; "
            "compose its runs one by one, or run the sweep on the command line"
        )
    OmegaConf.set_readonly(task, True)
    return Configuration(task, whole)  # type: ignore[arg-type]


def train(config: Configuration) -> Trained:
    """Train a run in a new folder below `outputs/`, as the command line does, or resume one.

    If the cell is interrupted, the run ends after the current step, saves what it needs to continue to the same bits,
    and raises KeyboardInterrupt; `train(compose("resume=<folder>"))` resumes it.

    Args:
        config: the result of `compose`.

    Raises:
        UserError: something in the configuration or the folder cannot be used.
        KeyboardInterrupt: see above.
    """
    if not isinstance(config, Configuration):
        raise UserError(f"train({config!r}) needs a configuration; give it the result of compose(...)")
    run, stop = job_of(config), SignalStop()
    with stop.listening():
        summary = alone.train_job(run, stop)
    if summary["status"] == "interrupted":
        words = [repr(word) for word in run.resuming_words]
        folder = [] if run.config_dir is None else [f"config_dir={shown_path(run.config_dir)!r}"]
        print(f"here     train(compose({', '.join([*words, *folder])}))")
    if stop.signal is not None:
        signal.raise_signal(stop.signal)  # to the handler that was replaced
    return Trained(run.folder.path, config, summary)


def job_of(config: Configuration) -> job.Job:
    """Return the run of a configuration, in a new folder unless it resumes one.

    Raises:
        UserError: the folder cannot be created.
    """
    task = config.plain()
    try:
        folder = Path(task["resume"]).absolute() if task["resume"] is not None else fresh_folder(task, config.whole)
    except (OSError, OmegaConfBaseException) as error:
        raise UserError(explained(error, "train", config.overrides)) from None
    given = job.given_folder(config.whole.hydra.runtime.config_sources)
    return job.Job(task, RunFolder(folder), config.choices, config.overrides, task["resume"] is None, given)


def fresh_folder(task: Mapping[str, Any], composed: DictConfig) -> Path:
    """Create the folder of a run, with the files that Hydra writes into it.

    Args:
        task: the part of the run, as dictionaries and lists.
        composed: the whole configuration.

    Raises:
        OSError: the folder cannot be created or written.
    """
    whole = copy.deepcopy(composed)  # a copy keeps the time of the first use
    with isolated_hydra():
        setup_globals()
        HydraConfig.instance().set_config(whole)
        folder = Path(claimed(str(whole.hydra.run.dir))).absolute()
    with read_write(whole.hydra), open_dict(whole.hydra):
        whole.hydra.mode = RunMode.RUN
        whole.hydra.run.dir = whole.hydra.runtime.output_dir = str(folder)
    own: Any = OmegaConf.to_container(whole.hydra, resolve=False)
    folder.mkdir(parents=True, exist_ok=True)  # the error names the folder
    write_composed(task, own, folder)
    return folder
