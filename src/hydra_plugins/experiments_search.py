"""The sweeper `hydra/sweeper=optuna`: read when Hydra starts; the search itself is imported when it is used."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from experiments.search import SAMPLER_OPTIONS

MOST_VALUES = 10
"""The number of values of a fair comparison for which the folders' names have enough digits."""


class SearchSweeper(Sweeper):
    """Chooses runs by the results of earlier ones.

    Args:
        settings: the fields of `SearchConfig`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in settings.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Create the launcher.

        Raises:
            CompactHydraException: the task is that of another program, which sees this plugin too.
        """
        from hydra.core.plugins import Plugins

        if getattr(task_function, "verb", None) != "train":
            raise CompactHydraException(
                "hydra/sweeper=optuna of the package torch-experiments searches only the runs of 'experiments train'; "
                "for this program, install hydra-optuna-sweeper or choose hydra/sweeper=basic"
            )

        self.config = config
        self.hydra_context = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search."""
        from experiments.common.errors import UserError
        from experiments.common.installing import install_command

        try:
            from experiments.search.fair import run_search
            from experiments.search.loop import SearchCommand, Settings
        except ModuleNotFoundError as error:
            raise UserError(
                f"hydra/sweeper=optuna needs {error.name}; install the extra with: {install_command('search')}"
            ) from None
        from experiments.sweeps._numbering import number_folders
        from experiments.sweeps.jobs import begun, conclude, has_runs

        assert self.config is not None
        assert self.hydra_context is not None
        if OmegaConf.select(self.config, "sweep.zip") is not None:
            raise UserError(
                "sweep.zip lists the values of every run, but hydra/sweeper=optuna chooses them; leave out one of them"
            )
        over = False
        settings = Settings(**self.settings)
        fair = settings.compare is not None
        with begun(self.config) as folder:
            settings.check()
            number_folders(self.config, settings.n_trials * settings.seeds_per_trial * (MOST_VALUES if fair else 1))
            try:
                run_search(SearchCommand(settings, arguments, self.config, self.hydra_context, self.launcher))
                over = True
            finally:
                if has_runs(folder):
                    conclude(folder, over=over)
        if fair:
            from experiments.comparison.options import CompareOptions
            from experiments.comparison.running import compare

            print()
            compare([folder], CompareOptions(), [str(folder)])


@dataclass
class SearchConfig:
    """The settings of `hydra.sweeper`."""

    _target_: str = "hydra_plugins.experiments_search.SearchSweeper"
    # Hydra does not build a `_target_` below; the search reads it
    _recursive_: bool = False
    defaults: list[Any] = field(default_factory=lambda: ["_self_", {"sampler": "tpe"}])
    sampler: Any = None
    """chooses the next trial: grid, random, qmc, tpe, gp, cmaes; or {name: tpe, seed: 1, n_startup_trials: 5}"""
    pruner: Any = None
    """stops trials that are worse than others: null, median, successive_halving, hyperband; or {name: median, ...}"""
    direction: Any = None
    """minimize or maximize; null minimizes a loss and maximizes an accuracy"""
    storage: Any = None
    """a file for the study, or sqlite:///file.db for several processes; null for study.journal in the sweep's folder"""
    study_name: str | None = None
    """processes with the same name and storage share one study; null for the name of the sweep's folder"""
    n_trials: int = 20
    """trials in the study, including those from before a resume"""
    n_jobs: int = 32
    """trials per batch, which are chosen together and trained as stacks"""
    seeds_per_trial: int = 1
    """runs of each trial, with consecutive seeds; the objective is their mean"""
    rounds: int = 1
    """with more than 1, each round narrows the ranges around the best fifth of its trials"""
    max_failure_rate: float = 1.0
    """the search ends with an error if a larger share of a batch has no result"""
    params: Any = None
    """key -> range or choice, as on the command line, which takes precedence"""
    custom_search_space: str | None = None
    """dotted path of a function (cfg, trial) that adds parameters with trial.suggest_..."""
    compare: str | None = None
    """with search=fair, the choice to compare; for=optimizer is short for it"""
    fresh_seeds: Any = None
    """with search=fair, how many fresh seeds each best setting is run on, or a list of them: [100,101]"""
    spaces: Any = None
    """with search=fair, value -> key -> range for only one value: {sgd: {optimizer.momentum: interval(0,0.99)}}"""


PROVIDER = "experiments"
NODES = {
    ("hydra/sweeper", "optuna"): SearchConfig,
    **{("hydra/sweeper/sampler", name): {"name": name, **options} for name, options in SAMPLER_OPTIONS.items()},
}
"""The choices of this plugin, by group and name."""


def register(*, replace: bool) -> None:
    """Offer the choices of this plugin.

    Args:
        replace: whether to replace those of another plugin with the same name, such as hydra-optuna-sweeper.
    """
    store = ConfigStore.instance()
    for (group, name), node in NODES.items():
        if replace or provider(store, group, name) in (None, PROVIDER):
            store.store(group=group, name=name, node=node, provider=PROVIDER)


def provider(store: ConfigStore, group: str, name: str) -> str | None:
    """Return the provider of a choice; None if there is no such choice."""
    found: Any = store.repo
    for step in [*group.split("/"), f"{name}.yaml"]:
        found = found.get(step, {})
    return getattr(found, "provider", None) or ("unknown" if found else None)


register(replace=False)
