"""What a user installs: the built wheel holds the configuration and runs from any folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.helpers import CONF, REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from the source distribution as an index would."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_configuration_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in CONF.rglob("*.yaml"):
        assert f"experiments/conf/{path.relative_to(CONF)}" in names
    assert "experiments/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "outputs/", "benchmarks/"))]


def test_the_wheel_trains_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True)
    # The dependencies are borrowed; -S leaves out the editable install that stands beside them.
    paths = os.pathsep.join([str(site), sysconfig.get_paths()["purelib"]])
    code = (
        "import experiments, sys; sys.argv[0] = 'train'; print(experiments.__file__)\n"
        "from experiments.train import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, "training.epochs=1", "data.limit=64", "optimizer=sgd"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert list(work.glob("outputs/train/*/summary.json"))
