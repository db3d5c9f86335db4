"""Hydra's plugins for sweeps: `hydra/launcher=stacked` and `hydra/sweeper=grid`. Nothing heavy is imported here.

No postponed annotations: dataclasses cannot resolve them in the way that Hydra reads this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class Ray:
    """Settings of the executor ray."""

    address: str | None = None
    """a cluster: auto for the one on this machine, or host:port; null starts one here"""
    num_cpus: float = 1
    """cores of each stack"""
    num_gpus: Any = "auto"
    """GPUs of each stack: auto for one if the runs may use any; with a fraction, several stacks share one"""
    max_retries: int = 3
    """how often a stack is restarted after its process was killed"""


@dataclass
class Local:
    """Settings of the executor local."""

    workers: Any = "auto"
    """how many processes train at a time: auto for one per GPU or, if the runs use none, one per core"""
    max_retries: int = 3
    """how often a stack is restarted after its process was killed"""


@dataclass
class StackedConfig:
    """Trains runs of one architecture together, as stacks."""

    _target_: str = "hydra_plugins.experiments_sweeps.StackedLauncher"
    max_stack: Any = "auto"
    """the largest number of runs in a stack; auto chooses it by the free memory, up to 64 on a CPU and 256 on a GPU, \
and trains few runs of a CNN (fewer than 3) on a CPU one after another, which is faster"""
    executor: str = "inline"
    """inline trains in this process, local in processes of this machine, ray in workers of Ray"""
    local: Local = field(default_factory=Local)
    ray: Ray = field(default_factory=Ray)
    without: list[str] = field(default_factory=lambda: ["pictures", "regions"])
    """observers that are turned off in a sweep's runs, unless an override names them"""


@dataclass
class GridConfig:
    """Runs every combination of the listed values; `sweep.zip` combines its values row by row."""

    _target_: str = "hydra_plugins.experiments_sweeps.GridSweeper"
    params: dict[str, Any] = field(default_factory=dict)
    """overrides by key, as if they were typed"""


store = ConfigStore.instance()
store.store(group="hydra/launcher", name="stacked", node=StackedConfig, provider="experiments")
store.store(group="hydra/sweeper", name="grid", node=GridConfig, provider="experiments")


def trains_runs(task_function: TaskFunction) -> bool:
    """Whether a task is that of `experiments train`; other programs of the environment see these plugins too."""
    return getattr(task_function, "verb", None) == "train"


class StackedLauncher(Launcher):
    """See `experiments.sweeps.launch`; for the task of another program, Hydra's basic launcher."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.signal: int | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Launcher.setup`."""
        self.task_function = task_function
        self.config, self.loader = config, hydra_context.config_loader
        self.basic: Launcher | None = None
        if not trains_runs(task_function):
            self.basic = BasicLauncher()
            self.basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See `Launcher.launch`."""
        if self.basic is not None:
            jobs: Sequence[JobReturn] = self.basic.launch(job_overrides, initial_job_idx)
            return jobs
        from experiments.sweeps.launch import Launch

        settings = OmegaConf.to_container(OmegaConf.create(self.settings), resolve=True)
        launch = Launch(self.loader, self.config, settings)
        returned = launch(job_overrides, initial_job_idx)
        self.signal = launch.signal
        return returned

    def check(self, job_overrides: Sequence[Sequence[str]]) -> tuple[str | None, list[Exception]]:
        """See `experiments.sweeps.launch.Launch.check`; nothing is trained or written."""
        from experiments.sweeps.launch import Launch

        return Launch(self.loader, self.config, OmegaConf.to_container(OmegaConf.create(self.settings))).check(
            job_overrides
        )


class GridSweeper(Sweeper):
    """See `experiments.sweeps.jobs`; for the task of another program, Hydra's basic sweeper."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Sweeper.setup`."""
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.basic: Sweeper | None = None
        if not trains_runs(task_function):
            self.basic = BasicSweeper(max_batch_size=None, params=dict(self.params))
            self.basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)
            return
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """See `Sweeper.sweep`."""
        if self.basic is not None:
            return self.basic.sweep(arguments)
        from experiments.common.importing import heavy_imports

        with heavy_imports():
            from experiments.sweeps.jobs import sweep
        assert self.hydra_context is not None
        assert self.config is not None
        given = [f"{key}={value}" for key, value in self.params.items()]
        return sweep(self.launcher, self.hydra_context.config_loader, self.config, [*given, *arguments])
