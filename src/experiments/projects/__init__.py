"""Writing a small project of a user's own, from the files in `template/`."""

import importlib.util
import keyword
import re
import sys
from pathlib import Path

from experiments.common.errors import UserError
from experiments.common.files import write_whole

TEMPLATE = Path(__file__).with_name("template")
FILES = {
    "README.md": "readme.txt",
    "experiments.toml": "experiments.txt",
    "pyproject.toml": "pyproject.txt",
    ".gitignore": "gitignore.txt",
    "@package@/__init__.py": "init.txt",
    "@package@/data.py": "data.txt",
    "@package@/model.py": "model.txt",
    "@package@/metric.py": "metric.txt",
    "@package@/observer.py": "observer.txt",
    "conf/data/rings.yaml": "conf_data.txt",
    "conf/model/wide.yaml": "conf_model.txt",
    "conf/experiment/rings.yaml": "conf_experiment.txt",
    "tests/test_project.py": "test.txt",
}
"""Each file of a project, and the file in `template/` that it is written from; `@package@` is the package's name."""


def write_project(folder: Path) -> list[Path]:
    """Write a project into a new or empty folder, and return its files.

    Args:
        folder: its name is that of the package, with underscores for other characters.

    Raises:
        UserError: the folder is not empty, or its name cannot be that of a package.
        OSError: a file cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} exists already, and is not empty; give a folder that does not exist")
    package = package_of(folder)
    contents = {name.replace("@package@", package): text(file, package) for name, file in FILES.items()}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, content.encode())
    return [Path(name) for name in contents]


def text(file: str, package: str) -> str:
    """Return the content of a file of the template, for a package."""
    return (TEMPLATE / file).read_text(encoding="utf-8").replace("@package@", package)


def package_of(folder: Path) -> str:
    """Return the name of the package in a folder.

    Raises:
        UserError: it cannot be imported, or is that of another package.
    """
    name = re.sub(r"\W+", "_", folder.absolute().name.lower(), flags=re.ASCII).strip("_")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(f"{folder.name!r} cannot name a package; begin the name with a letter, such as 'my_project'")
    taken = name in sys.stdlib_module_names or name in ("tests", "conf")
    if taken or (importlib.util.find_spec(name) is not None and not Path(name).is_dir()):
        raise UserError(f"{name!r} is the name of another package; choose another name, such as 'my_{name}'")
    return name
