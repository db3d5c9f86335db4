"""What a user installs: the wheel and its metadata, which train from any folder, and the name of the distribution."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

from experiments import __version__
from tests.helpers import CONF, REPOSITORY

pytestmark = pytest.mark.slow

NAME = "torch-experiments"
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from the source distribution as an index would."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_every_configuration_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in CONF.rglob("*.yaml"):
        assert f"experiments/conf/{path.relative_to(CONF)}" in names
    assert "experiments/py.typed" in names
    for path in (REPOSITORY / "src" / "experiments" / "projects" / "template").iterdir():
        assert f"experiments/projects/template/{path.name}" in names
    assert not [name for name in names if name.startswith(("tests/", "outputs/", "benchmarks/"))]


def metadata(text: bytes) -> Message:
    """Return the metadata of a distribution."""
    return message_from_string(text.decode())


def test_the_wheel_and_the_source_have_the_licence_and_its_metadata(wheel: Path) -> None:
    licence = (REPOSITORY / "LICENSE").read_bytes()
    assert licence.startswith(b"MIT License\n")
    assert b"the experiments authors" in licence
    archive = zipfile.ZipFile(wheel)
    information = f"torch_experiments-{__version__}.dist-info"
    assert archive.read(f"{information}/licenses/LICENSE") == licence
    (source,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(source) as sources:
        root = f"torch_experiments-{__version__}"
        files = {name: sources.extractfile(f"{root}/{name}") for name in ("LICENSE", "PKG-INFO")}
        contents = {name: file.read() for name, file in files.items() if file}
    assert contents["LICENSE"] == licence
    for found in (metadata(archive.read(f"{information}/METADATA")), metadata(contents["PKG-INFO"])):
        assert (found["Name"], found["Version"]) == (NAME, __version__)
        assert (found["License-Expression"], found.get_all("License-File")) == ("MIT", ["LICENSE"])
        classifiers = found.get_all("Classifier")
        assert classifiers
        assert not [classifier for classifier in classifiers if classifier.startswith("License")]
        assert found["Description-Content-Type"] == "text/markdown"
        assert found.get_payload() == (REPOSITORY / "README.md").read_text()
        assert {*(found.get_all("Provides-Extra") or [])} == {*EXTRAS}


def test_the_wheel_has_the_console_script(wheel: Path) -> None:
    entry_points = zipfile.ZipFile(wheel).read(f"torch_experiments-{__version__}.dist-info/entry_points.txt").decode()
    assert entry_points.split() == ["[console_scripts]", "experiments", "=", "experiments.__main__:main"]


ANOTHER_PROJECT = (
    re.compile(r"""install\s+(-\S+\s+)*['"]?experiments\b(?!/)"""),
    re.compile(r"""['"`]experiments\[\w"""),
    re.compile(r"""(distribution|version|metadata|requires|files)\(['"]experiments['"]\)"""),
)
"""The forms of a name on the package index that belongs to somebody else."""


def test_nobody_is_told_to_install_another_project() -> None:
    """Texts, code, tests and metadata call the distribution by its name."""
    assert [
        bool(form.search(text))
        for form, text in zip(
            ANOTHER_PROJECT,
            ("pip install -U experiments", "'experiments" + "[onnx]'", "version('experiments')"),
            strict=True,
        )
    ] == [True] * 3
    folders = [REPOSITORY / name for name in ("src", "tests", "docs", "conf", "benchmarks", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in ("", ".md", ".py", ".yaml")]
    files += [REPOSITORY / name for name in ("Makefile", "pyproject.toml", *(p.name for p in REPOSITORY.glob("*.md")))]
    wrong = {
        str(path.relative_to(REPOSITORY)): match[0]
        for path in files
        if path.is_file() and path != Path(__file__)
        for form in ANOTHER_PROJECT
        if (match := form.search(path.read_text()))
    }
    assert wrong == {}
    for extra in re.findall(rf"{NAME}\[(\w+)", "".join(path.read_text() for path in files if path.suffix == ".md")):
        assert extra in EXTRAS


@pytest.mark.slow
def test_the_wheel_trains_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True)
    # The dependencies are borrowed; -S leaves out the editable install next to them.
    paths = os.pathsep.join([str(site), sysconfig.get_paths()["purelib"]])

    def python(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-S", *words],
            cwd=work,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python("-c", "import experiments; print(experiments.__file__)").startswith(str(site))
    python(str(site / "bin" / "experiments"), "train", "training.epochs=1", "data.limit=64", "optimizer=sgd")
    assert list(work.glob("outputs/train/*/summary.json"))
    installing = "from experiments.common.installing import install_command; print(install_command('search'))"
    assert python("-c", installing) == f"pip install '{NAME}[search]'\n"
