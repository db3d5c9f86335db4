"""Fixtures of the command line's tests."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.helpers import CONF


@pytest.fixture(scope="module")
def default_run() -> Any:
    """The default run as Hydra composes it, with Hydra's own part."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("train", return_hydra_config=True), resolve=False)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of a user's own choices."""
    for name, text in {
        "optimizer/lion": "# The sign of the momentum\n_target_: own.Lion\nspeed: 0.5\n",
        "optimizer/adam": "# Not the one that is taken\n_target_: own.Adam\n",
        "flavour/sweet": "sugar: 1\n",
        "mine": "defaults:\n  - train\n  - override optimizer: lion\n  - _self_\nseed: 7\n",
    }.items():
        path = tmp_path / "own" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"
