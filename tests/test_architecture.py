"""Imports point strictly downward, files and packages form no circle, and the heavy imports wait."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY

SOURCE = REPOSITORY / "src" / "experiments"
LEVELS = (
    {"common", "data", "models", "initializers", "losses", "optimizers", "penalties", "schedules"},
    {"cli", "figures", "folders", "projects"},
    {"new", "tasks"},
    {"comparison", "search", "training", "verdicts"},
    {"assembly", "compare", "observers"},
    {"checks", "evaluation", "surfaces"},
    {"check", "evaluate", "exporting", "runs", "surface"},
    {"export", "recipes", "remedies", "sweeps"},
    {"__init__", "lessons", "remedy", "reproduce", "train"},
    {"__main__"},
)
"""From the bottom: a part may import what is below its own level, never what stands beside it."""
LEAVES = {"data", "models", "initializers", "losses", "optimizers", "penalties", "schedules"}
"""What a YAML file names: torch and numpy, and nothing of ours outside the part."""
MOST_FILES = 15
"""How many files a listing of the package shows: the verbs, and what a YAML file names."""


def module_of(path: Path, source: Path = SOURCE) -> str:
    """The dotted name of a file."""
    return ".".join([source.name, *path.relative_to(source).with_suffix("").parts]).removesuffix(".__init__")


def part_of(module: str) -> str:
    """The sub-package, or the file at the top, that a module belongs to."""
    return [*module.split("."), "__init__"][1]


def level(part: str) -> int:
    """How high a part stands; every part has a place."""
    found = [number for number, parts in enumerate(LEVELS) if part in parts]
    assert found, f"{part} has no level; give it one in {Path(__file__).name}"
    return found[0]


def files(source: Path) -> dict[str, Path]:
    """Every file by its module's name."""
    return {module_of(path, source): path for path in sorted(source.rglob("*.py"))}


def imported(module: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Our own modules that a file imports anywhere, `TYPE_CHECKING` and functions included."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{base}.{alias.name}" in known and f"{base}.{alias.name}" != module:
                    yield f"{base}.{alias.name}"
                elif base in known and base != module:
                    yield base


def arrows(source: Path) -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    known = files(source)
    return {module: set(imported(module, path, known)) for module, path in known.items()}


@cache
def ours() -> dict[str, set[str]]:
    """The arrows of this package."""
    return arrows(SOURCE)


def upward(found: Mapping[str, set[str]]) -> list[str]:
    """The imports that do not point strictly downward."""
    return [
        f"{module} -> {target}"
        for module, targets in found.items()
        for target in sorted(targets)
        if part_of(module) != part_of(target) and level(part_of(target)) >= level(part_of(module))
    ]


def circle(found: Mapping[str, set[str]]) -> list[str]:
    """A circle of modules; empty if there is none."""
    done: set[str] = set()

    def walked(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(found.get(module, ())):
            if hit := walked(target, [*path, module]):
                return hit
        done.add(module)
        return []

    return next((hit for module in found if (hit := walked(module, []))), [])


def between_packages(found: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same arrows from package to package, one within another too."""
    packages = {module.rpartition(".")[0] for module in found} - {""}

    def home(module: str) -> str:
        return module if module in packages else module.rpartition(".")[0]

    joined: dict[str, set[str]] = {}
    for module, targets in found.items():
        for target in targets:
            one, other = home(module), home(target)
            # The top package's own files have levels of their own.
            if one != other and one.count(".") and other.count("."):
                joined.setdefault(one, set()).add(other)
    return joined


@pytest.mark.slow
def test_imports_point_strictly_downward() -> None:
    assert upward(ours()) == []


def test_files_form_no_circle() -> None:
    assert circle(ours()) == []


def test_packages_form_no_circle() -> None:
    assert circle(between_packages(ours())) == []


def test_leaves_import_nothing_of_ours() -> None:
    outside = {
        f"{module} -> {target}"
        for module, targets in ours().items()
        for target in targets
        if part_of(module) in LEAVES and part_of(target) != part_of(module)
    }
    assert outside == set()


def planted(folder: Path, module: str, line: str) -> dict[str, set[str]]:
    """The arrows of a copy of the package in which one file has one more line."""
    for path in files(SOURCE).values():
        copy = folder / "experiments" / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    with (folder / "experiments" / f"{module}.py").open("a") as file:
        file.write(f"\n{line}\n")
    return arrows(folder / "experiments")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("comparison/answers", "from experiments.evaluation._scores import classes"),
        ("comparison/answers", "from experiments.search import loop"),
        ("training/engine", "if TYPE_CHECKING:\n    from experiments.runs.run import Run"),
        ("common/text", "def late() -> None:\n    import experiments.cli._help"),
        ("verdicts/story", "from ..runs import job"),
    ],
)
def test_an_import_that_points_upward_or_sideways_is_found(tmp_path: Path, module: str, line: str) -> None:
    assert len(upward(planted(tmp_path, module, line))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("verdicts/_thresholds", "from .story import Story"),
        ("training/observer", "if TYPE_CHECKING:\n    from .member import Member"),
    ],
)
def test_a_circle_of_files_is_found(tmp_path: Path, module: str, line: str) -> None:
    assert circle(planted(tmp_path, module, line))


@pytest.mark.slow
def test_a_circle_of_packages_is_found(tmp_path: Path) -> None:
    found = planted(tmp_path, "training/engine", "from .stack import Stack")
    assert circle(between_packages(found))


def between_tests(tests: Path) -> list[str]:
    """The imports of a test file by another file: what several need stands in a module that is no test."""
    return [
        f"{module} -> {target}"
        for module, targets in arrows(tests).items()
        for target in sorted(targets)
        if target.rpartition(".")[2].startswith("test_")
    ]


@pytest.mark.slow
def test_no_test_file_imports_another() -> None:
    assert between_tests(REPOSITORY / "tests") == []


@pytest.mark.parametrize("line", ["from tests.test_one import x", "import tests.test_one", "from .test_one import x"])
def test_an_import_of_a_test_file_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("x = 1\n")
    (tmp_path / "tests" / "test_two.py").write_text(f"def test_it() -> None:\n    {line}\n")
    assert between_tests(tmp_path / "tests") == ["tests.test_two -> tests.test_one"]


def test_every_part_has_a_level_and_every_level_its_parts() -> None:
    assert {part_of(module) for module in ours()} == set().union(*LEVELS)


def test_the_package_shows_few_files_at_the_top() -> None:
    assert len(list(SOURCE.glob("*.py"))) <= MOST_FILES


def test_hydra_instantiate_is_called_only_in_assembly() -> None:
    users = {part_of(module) for module, path in files(SOURCE).items() if "instantiate" in path.read_text()}
    assert users == {"assembly"}


@pytest.mark.slow
def test_heavy_imports_wait_until_the_command_line_is_valid() -> None:
    code = "import sys, experiments.train, experiments.surface; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "hydra" in loaded
    assert not loaded & {"torch", "numpy", "torchvision", "sklearn", "tensorboard", "pydantic", "matplotlib"}
