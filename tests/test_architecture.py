"""Imports point downward only, and the heavy ones wait."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY

SOURCE = REPOSITORY / "src" / "experiments"
LEVELS = (
    {
        "archive",
        "errors",
        "files",
        "streams",
        "device",
        "schedules",
        "initializers",
        "optimizers",
        "losses",
        "rules",
        "measures",
        "penalties",
        "averaging",
        "freezing",
        "colors",
        "surfaces",
        "data",
        "models",
    },
    {"run", "screen", "settings", "graph", "criterion", "help", "arguments", "pretrained"},
    {"descent", "program", "single", "stack", "engine", "observers", "sanity", "verdicts", "completion"},
    {"build", "cli"},
    {
        "resume",
        "stop",
        "messages",
        "checking",
        "assembly",
        "results",
        "composing",
        "planning",
        "sweep",
        "distributed",
        "search",
        "comparison",
        "evaluation",
        "exporting",
        "contours",
    },
    {"job", "sweeping", "descending"},
    {"workers", "launching"},
    {"recipes", "lessons"},
    {"train", "check", "compare", "evaluate", "export", "surface", "reproduce", "library"},
)
"""From the bottom: a part may import what is on its own level or below."""
LEAVES = LEVELS[0]
EAGER = {
    "train",
    "check",
    "compare",
    "evaluate",
    "export",
    "surface",
    "reproduce",
    "cli",
    "completion",
    "help",
    "resume",
    "errors",
}
"""What is imported before Hydra has found the command line in order."""


def part(path: Path) -> str:
    """The module or sub-package of a file."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Our own parts that a file imports when it runs (not those for the type checker alone)."""
    tree = ast.parse(path.read_text())
    checking = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in checking:
            inside = path.parent == SOURCE
            if node.level == 1 and inside and node.module:
                found.add(node.module.split(".")[0])
            elif node.level == 1 and inside:
                found |= {alias.name for alias in node.names}
            elif node.level == 0 and node.module and node.module.startswith("experiments"):
                found |= {(node.module.split(".") + [alias.name for alias in node.names])[1]}
    return found - {"__version__"}


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")


def level(name: str) -> int:
    """How high a part stands; every part has a place."""
    return next(number for number, names in enumerate(LEVELS) if name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    own = part(path)
    for name in imports(path) - {own}:
        assert level(name) <= level(own), f"{own} imports {name}"
        assert own not in LEAVES, f"{own} is a leaf, and imports {name}"


def test_hydra_instantiate_is_called_in_build_alone() -> None:
    users = {part(path) for path in FILES if "instantiate" in path.read_text()}
    assert users == {"build"}


def test_heavy_imports_wait_until_the_command_line_is_in_order() -> None:
    code = "import sys, experiments.train, experiments.surface; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "hydra" in loaded
    assert not loaded & {"torch", "numpy", "torchvision", "sklearn", "tensorboard", "pydantic", "matplotlib"}
