"""The container and the development container name what exists, and run `make train`; an image is not built here."""

import json
import re
import shutil
import subprocess
import tomllib

import pytest

from tests.helpers import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def test_what_is_copied_exists_and_is_all_that_an_installation_needs() -> None:
    copied = [name for line in re.findall(r"^COPY \S+ (.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert [name for name in copied if not (REPOSITORY / name).exists()] == []
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    named = {project["project"]["readme"], *project["project"]["license-files"], "Makefile", "constraints.txt"}
    sources = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {*named, *(path.strip("/") for path in sources)} <= set(copied)
    assert set(re.findall(r"EXTRAS=(\S+)", DOCKERFILE)[0].split(",")) <= set(
        project["project"]["optional-dependencies"]
    )


def test_both_run_make_train() -> None:
    assert DOCKERFILE.splitlines()[-1] == 'CMD ["make", "train"]'
    content = json.loads((REPOSITORY / ".devcontainer" / "devcontainer.json").read_text())
    assert content["postCreateCommand"] == "make train"


def test_the_environment_chooses_what_make_installs() -> None:
    shown = subprocess.run(
        ["make", "-n", "-W", "pyproject.toml", "EXTRAS=onnx,search", ".venv/.installed"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert '-e ".[onnx,search]"' in shown


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_the_linter_has_no_complaint() -> None:
    done = subprocess.run(["hadolint", "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
