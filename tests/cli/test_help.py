"""`--help` shows what the configuration offers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.cli._help import WIDTH, help_text, settings
from experiments.common.keys import flattened
from experiments.train import EXAMPLES
from tests.helpers import CONF, REPOSITORY, Commands

TRAIN = "python -m experiments.train"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "surface"))
"""Of `train`, without the groups of other verbs."""


def section(text: str, heading: str) -> list[str]:
    """The lines of a help text below a line, up to the next blank one."""
    lines = text.splitlines()
    start = lines.index(heading) + 1
    return lines[start : lines.index("", start)]


def test_help_lists_every_choice_with_its_description(commands: Commands) -> None:
    shown = commands.train("--help").out
    for name in GROUPS:
        for path in (CONF / name).glob("*.yaml"):
            described = next(line for line in path.read_text().splitlines() if "@package" not in line)
            expected = f"{path.stem} {described.removeprefix('# ')}"
            lines = [" ".join(line.split()).removeprefix("* ") for line in help_lines(shown, name)]
            assert expected[:80] in {line[:80] for line in lines}


def help_lines(shown: str, group: str) -> list[str]:
    """The choices of a group in a help text, whether or not the configuration has a place for it."""
    return section(shown, f"  {group}=" if f"  {group}=" in shown.splitlines() else f"  +{group}=")


def test_help_marks_the_defaults_that_hydra_takes(commands: Commands, default_run: Any) -> None:
    shown = commands.train("--help").out
    taken = {name: choice for name, choice in default_run["hydra"]["runtime"]["choices"].items() if name in GROUPS}
    assert taken
    for name in GROUPS:
        marked = [line.split()[1] for line in help_lines(shown, name) if line.startswith("  * ")]
        assert marked == [taken[name]] if taken.get(name) else not marked


def test_help_lists_every_setting_with_its_default(commands: Commands) -> None:
    shown = commands.train("--help").out
    listed = {
        key: yaml.safe_load(value)
        for key, value in re.findall(r"^  ([\w.]+)=(\S+)(?:  .*)?$", shown.partition("Settings")[2], re.MULTILINE)
    }
    own = {k: v for k, v in yaml.safe_load((CONF / "train.yaml").read_text()).items() if k not in ("defaults", "hydra")}
    assert listed == {
        key: value
        for key, value in flattened(own).items()
        if not isinstance(value, dict) and not key.endswith("_target_")
    }


def test_comments_of_settings(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "# About the file\n"
        "first: 1\n"
        'quoted: "a # b"   # real\n'
        "bare: a#b\n"
        "# above\n"
        "# and on\n"
        "below: [1,  2]\n"
        "\n"
        "part:   # of a part\n"
        "  _target_: some.where  # hidden\n"
        "  list: [1,\n"
        "    2]  # the end\n"
        "  # in the part\n"
        "  empty:\n"
        "  map: {a: 1}  # flow\n"
        "hydra:\n"
        "  verbose: true  # hidden\n"
    )
    assert [(found.key, found.value, found.comment) for found in settings([tmp_path], "x")] == [
        ("first", "1", ""),
        ("quoted", '"a # b"', "real"),
        ("bare", "a#b", ""),
        ("below", "[1, 2]", "above and on"),
        ("part", None, "of a part"),
        ("part.list", "[1, 2]", "the end"),
        ("part.empty", "", "in the part"),
        ("part.map", "{a: 1}", "flow"),
    ]


def test_help_fits_its_width_with_any_flag(commands: Commands) -> None:
    shown = commands.train("--help")
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= WIDTH
    assert shown.out.startswith(f"usage: {TRAIN} ")
    for words in (["-h"], ["optimizer=sgd", "--help"], ["seed=1", "-m", "seed=2", "-h"], ["resume=nowhere", "-h"]):
        assert commands.train(*words) == shown
    assert not list(commands.folder.iterdir())


@pytest.mark.parametrize("words", [words for words, _ in EXAMPLES])
def test_the_examples_compose(commands: Commands, words: str) -> None:
    assert f"{TRAIN} {words}".rstrip() in commands.train("--help").out
    one = [re.sub(r",.*", "", word) for word in words.split() if word != "-m"]
    outcome = commands.train(*one, "--cfg", "job")
    assert outcome.code == 0, outcome.err
    assert outcome.out


@pytest.mark.parametrize("flag", [["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"], ["-cd=own"]])
def test_help_lists_a_users_own_choices(commands: Commands, own: Path, flag: list[str]) -> None:
    assert own.parent == commands.folder
    shown = commands.train(*flag, "--help").out
    optimizers = {line[4:].split()[0]: line for line in section(shown, "  optimizer=")}
    assert optimizers["lion"].endswith("  The sign of the momentum")
    assert "  * adam " in optimizers["adam"]
    assert [line.strip() for line in section(shown, "  +flavour=")] == ["sweet"]
    # What the folder repeats is taken from ours.
    assert "Not the one" not in shown
    assert "torch.optim.Adam" in commands.train(*flag, "--cfg", "job").out


def test_help_of_a_users_own_configuration(commands: Commands, own: Path) -> None:
    shown = commands.train("-cd", str(own), "-cn", "mine", "--help").out
    assert "  * lion " in shown
    assert "  * mlp " in shown
    assert "  * adam " not in shown
    assert "  seed=7" in shown
    assert "  training.epochs=" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--config-dir=nowhere", "-h"],
            "--config-dir=nowhere is not a folder; give a folder with <group>/<choice>.yaml in it",
        ),
        (
            ["-cn", "other", "-h"],
            "--config-name=other is not a configuration; it must be a file other.yaml in --config-dir",
        ),
        (["-sc"], "'-sc' is not supported; choose from install=bash, install=fish, install=zsh"),
        (
            ["-sc", "install=tcsh"],
            "'-sc install=tcsh' is not supported; choose from install=bash, install=fish, install=zsh",
        ),
    ],
)
def test_questions_that_cannot_be_answered(commands: Commands, words: list[str], sentence: str) -> None:
    outcome = commands.train(*words)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"Error: {sentence}\n")


def test_help_of_another_verb(tmp_path: Path) -> None:
    (tmp_path / "compare.yaml").write_text(
        "# Compare runs.\ndefaults:\n  - optional style: null\nruns: []  # folders\n"
    )
    (tmp_path / "style").mkdir()
    (tmp_path / "style" / "plain.yaml").write_text("# @package _global_\n# No ornament\na: 1\n")
    shown = help_text("compare", [tmp_path], [("runs=[a,b]", "two of them")])
    assert "  python -m experiments.compare runs=[a,b]  two of them" in shown
    assert section(shown, "  style=") == ["    plain  No ornament"]
    assert "  runs=[]  folders" in shown


@pytest.mark.slow
def test_an_installed_package_answers_at_once_from_any_folder(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src" / "experiments", tmp_path / "site" / "experiments")
    shutil.copytree(CONF, tmp_path / "site" / "experiments" / "conf")
    code = (
        "import sys, experiments; from experiments.train import main; main(); print(experiments.__file__)\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    for words, line, expected in (
        (["--help"], "", "  * adam "),
        (["-sc", "query=bash"], "experiments train optimizer=adam optimizer.b", "optimizer.betas="),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "COMP_LINE": line},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        assert str(tmp_path) in done.stdout
