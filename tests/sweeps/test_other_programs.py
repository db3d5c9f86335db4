"""Hydra programs that are not ours see our plugins, as plugins belong to the whole environment."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from hydra_plugins.experiments_search import NODES, register
from tests.helpers import SMALL, Commands, summary


@dataclass
class OtherSearch:
    """What another Optuna plugin offers under the name of ours."""

    _target_: str = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"


@pytest.fixture
def other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that types a command of a Hydra program with one setting, and returns the values that it saw."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "other.yaml").write_text("x: 0\n")
    monkeypatch.chdir(tmp_path)
    seen: list[int] = []

    def task(cfg: DictConfig) -> int:
        seen.append(cfg.x)
        return int(cfg.x)

    def typed(*words: str) -> list[int]:
        monkeypatch.setattr(sys, "argv", ["other", *words])
        GlobalHydra.instance().clear()
        hydra.main(version_base="1.3", config_path=str(tmp_path / "conf"), config_name="other")(task)()
        return seen

    yield typed
    GlobalHydra.instance().clear()


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["launcher=stacked", "sweeper=grid"])
def test_in_another_program_the_plugins_act_like_hydras_basic_ones(other_program: Any, plugin: str) -> None:
    assert other_program("-m", f"hydra/{plugin}", "x=1,2,3") == [1, 2, 3]
    assert not list(Path().glob("**/sweep.yaml"))


def test_a_search_of_another_program_is_refused_in_one_sentence(
    other_program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        other_program("-m", "hydra/sweeper=optuna", "x=interval(1,3)")
    shown = capsys.readouterr().err
    assert "hydra/sweeper=optuna of the package torch-experiments searches only the runs of" in shown
    assert "install hydra-optuna-sweeper or choose hydra/sweeper=basic" in shown
    assert "Traceback" not in shown


@pytest.fixture
def two_plugins() -> Iterator[ConfigStore]:
    """Another Optuna plugin, which was found before ours or after it."""
    Plugins.instance()
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="optuna", node=OtherSearch, provider="optuna_sweeper")
    yield store
    register(replace=True)


def test_the_other_optuna_plugin_keeps_its_name_in_other_programs(two_plugins: ConfigStore) -> None:
    register(replace=False)
    assert two_plugins.load("hydra/sweeper/optuna.yaml").provider == "optuna_sweeper"
    assert two_plugins.load("hydra/sweeper/sampler/tpe.yaml").provider == "experiments"
    assert ("hydra/sweeper", "optuna") in NODES


@pytest.mark.slow
@pytest.mark.usefixtures("two_plugins")
def test_our_own_commands_search_with_our_plugin(commands: Commands) -> None:
    pytest.importorskip("optuna")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler=random")
    outcome = commands.train("-m", *SMALL, "training.epochs=1", *search, "optimizer.lr=interval(0.001,0.01)")
    assert outcome.code == 0, outcome.err
    assert [summary(path.parent)["status"] for path in Path().glob("outputs/*/*/*/summary.json")] == ["finished"] * 2
