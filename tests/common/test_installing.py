"""The command that installs an extra is the one that works for this installation."""

import json
import sys
from pathlib import Path

import pytest

from experiments.common import installing
from experiments.common.installing import install_command


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as it would be in a folder of its own: nothing around it tells where it comes from."""
    monkeypatch.setattr(installing, "__file__", str(tmp_path / "site" / "experiments" / "common" / "installing.py"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clone(path: Path) -> Path:
    """Create what is looked for in a clone."""
    (path / "src" / "experiments").mkdir(parents=True)
    (path / "pyproject.toml").touch()
    return path


def origin(folder: Path, content: str) -> None:
    """Let pip have recorded where the package was installed from."""
    metadata = folder / "site" / "torch_experiments-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: torch-experiments\nVersion: 0.1.0\n")
    (metadata / "direct_url.json").write_text(content)


def test_from_an_index(elsewhere: Path) -> None:
    origin(elsewhere, "{}")
    assert install_command("search") == "pip install 'torch-experiments[search]'"


@pytest.mark.parametrize("name", ["clone", "a clone"])
def test_in_a_clone(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = clone(elsewhere / name)
    monkeypatch.setattr(installing, "__file__", str(folder / "src" / "experiments" / "common" / "installing.py"))
    monkeypatch.chdir(folder)
    assert install_command("onnx") == "pip install -e '.[onnx]'"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "pip").touch()
    monkeypatch.setattr(sys, "prefix", str(folder / ".venv"))
    assert install_command("onnx") == ".venv/bin/pip install -e '.[onnx]'"
    monkeypatch.chdir("/")
    pip = f"{folder}/.venv/bin/pip"
    assert install_command("onnx") == f"{repr(pip) if ' ' in pip else pip} install -e '{folder}[onnx]'"


def test_installed_from_a_clone_as_a_copy(elsewhere: Path) -> None:
    folder = clone(elsewhere / "a clone")
    origin(elsewhere, json.dumps({"url": folder.as_uri(), "dir_info": {}}))
    assert install_command("ray") == f"pip install '{folder}[ray]'"


@pytest.mark.parametrize(
    "content",
    ["no JSON", '{"url": "file:///nowhere/torch_experiments-0.1.0.whl"}', '{"url": "https://example.org/x.whl"}'],
)
def test_an_origin_that_is_not_a_clone_is_an_index(elsewhere: Path, content: str) -> None:
    origin(elsewhere, content)
    assert install_command("search") == "pip install 'torch-experiments[search]'"
