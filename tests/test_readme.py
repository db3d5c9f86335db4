"""README.md is true: its tables repeat the configuration, and its commands run."""

import ast
import dataclasses
import itertools
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from experiments.assembly import General, Training, parts
from experiments.assembly._datasets import Splitting
from experiments.cli._help import settings
from experiments.cli.verbs import VERBS
from experiments.comparison.options import MEANINGS
from experiments.training.member import EarlyStopping
from tests.helpers import CONF, NO_PICTURES, REPOSITORY, SHARED_DATA, Commands, run_folders, summary

README = (REPOSITORY / "README.md").read_text()
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
CHECK = re.findall(r"^python -m experiments\.check ?(.*)$", SHELL, re.MULTILINE)
EVALUATE = re.findall(r"^python -m experiments\.evaluate (.*)$", SHELL, re.MULTILINE)
EXPORT = re.findall(r"^python -m experiments\.export (.*)$", SHELL, re.MULTILINE)
COMPARE = re.findall(r"^python -m experiments\.compare (.*)$", SHELL, re.MULTILINE)
SURFACE = re.findall(r"^python -m experiments\.surface (.*)$", SHELL, re.MULTILINE)
TRAIN = re.findall(r"^python -m experiments\.train (.*)$", SHELL, re.MULTILINE)


def test_the_table_of_choices_is_complete() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*`) \|$", README, re.MULTILINE))
    groups = {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in CONF.iterdir()
        if folder.is_dir() and folder.name != "experiment"
    }
    assert {name: re.findall(r"`(\w+)`", choices) for name, choices in rows.items()} == groups


def test_every_choice_has_a_description() -> None:
    for path in CONF.glob("*/*.yaml"):
        assert path.read_text().startswith("# "), path


def attribute_docstrings(path: Path, name: str) -> dict[str, str]:
    """The texts below the fields of a class in a Python file."""
    (cls,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(cls.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


PLUGINS = REPOSITORY / "src" / "hydra_plugins"
DESCRIPTIONS = {
    **{setting.key: setting.comment for setting in settings([CONF], "train") if setting.comment},
    **MEANINGS,
    **{
        f"{section}.{name}": text
        for section, file, cls in (
            ("hydra.sweeper", "experiments_search.py", "SearchConfig"),
            ("hydra.launcher", "experiments_sweeps.py", "StackedConfig"),
            ("hydra.launcher.ray", "experiments_sweeps.py", "Ray"),
        )
        for name, text in attribute_docstrings(PLUGINS / file, cls).items()
    },
}
"""Each setting and option is described in one place: its YAML comment, its docstring, or `MEANINGS`."""

TABLE = re.compile(r"^\| (?:key|setting|option) \| what it does \|\n\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "docs/comparison.md", "docs/sweeps.md"])
def test_tables_of_settings_repeat_their_descriptions(page: str) -> None:
    tables = TABLE.findall((REPOSITORY / page).read_text())
    assert tables
    for table in tables:
        for row in table.splitlines():
            key = row.split("`")[1]
            assert row == f"| `{key}` | {DESCRIPTIONS[key]} |"


def test_every_setting_is_described() -> None:
    listed = [setting for setting in settings([CONF], "train") if setting.value is not None]
    assert [s.key for s in listed if not s.comment and not s.key.endswith(".enabled")] == []


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("", General),
        ("training.", Training),
        ("training.early_stopping.", EarlyStopping),
        ("data.", Splitting),
        ("init.", parts.Initialization),
        ("init_from.", parts.InitFrom),
        ("optimizer.", parts.ParameterGrouping),
        ("scheduler.", parts.Scheduling),
    ],
)
def test_the_configuration_has_every_setting(section: str, kind: type) -> None:
    keys = {setting.key for setting in settings([CONF], "train")}
    assert {section + field.name for field in dataclasses.fields(kind)} <= keys


QUICK = ("training.epochs=1", "data.limit=200")


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in TRAIN if "resume=" not in command])
def test_the_commands_run(commands: Commands, command: str) -> None:
    words = shlex.split(command)
    if "data=mnist" in words:
        if not (SHARED_DATA / "MNIST").is_dir():
            pytest.skip("MNIST is not on this machine")
        words = [f"data.root={SHARED_DATA}" if word == "data.download=true" else word for word in words]
    if any(word.startswith("init_from=") for word in words):
        begun = commands.trained(*(word for word in words if not word.startswith(("init_from", "-m", "seed"))), *QUICK)
        words = [re.sub(r"outputs/\S*<date>_<time>", str(begun), word) for word in words]
        words = [re.sub(r"seed=range.*", "seed=1,2", word) for word in words]
    if not any(word.startswith("observers.pictures") for word in words):
        words.append(NO_PICTURES)
    words = [
        re.sub(r"(n_trials|fresh_seeds)=.*", r"\g<1>=3", word)
        for word in words
        if not word.startswith("training.epochs=")
    ]
    outcome = commands.train(*words, *QUICK)
    assert outcome.code == 0, outcome.err
    assert {summary(folder)["status"] for folder in run_folders(commands.folder)} == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("command", CHECK)
def test_the_checks_run_and_print_what_is_shown(commands: Commands, command: str) -> None:
    outcome = commands.type("check", *shlex.split(command))
    assert outcome.code == 0, outcome.err
    if not command:
        (shown,) = re.findall(r"^check +measured.*?```", README, re.DOTALL | re.MULTILINE)
        rows = re.findall(r"^(\w+)  .* (pass|warn|fail) *$", shown, re.MULTILINE)
        assert rows == re.findall(r"^(\w+)  .* (pass|warn|fail) *$", outcome.out, re.MULTILINE)
        assert len(rows) == 11


@pytest.mark.slow
@pytest.mark.parametrize("command", SURFACE)
def test_the_surfaces_run_and_print_what_is_shown(commands: Commands, command: str) -> None:
    outcome = commands.type("surface", *shlex.split(command))
    assert outcome.code == 0, outcome.err
    if command == SURFACE[0]:
        (shown,) = re.findall(r"```text\n(ravine: .*?)```", README, re.DOTALL)
        printed = [line.rstrip() for line in outcome.out.splitlines()]
        assert printed[: len(shown.splitlines())] == shown.splitlines()


@pytest.mark.slow
def test_the_shown_end_of_a_sweep_is_the_real_one(commands: Commands) -> None:
    (command,) = [command for command in TRAIN if "sweep.zip" in command]
    (shown,) = re.findall(r"```text\n(run  optimizer .*?)```", README, re.DOTALL)
    outcome = commands.train(*shlex.split(command), NO_PICTURES)
    assert outcome.code == 0, outcome.err
    printed = outcome.out[outcome.out.index("run  optimizer ") :]
    printed = re.sub(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", "<date>_<time>", printed)
    printed = re.sub(r"(\s)\S*/bin/(python|tensorboard) ", r"\1\2 ", printed)
    assert [line.rstrip() for line in printed.splitlines()] == shown.splitlines()


@pytest.mark.slow
def test_the_shown_verdict_is_the_real_one(commands: Commands) -> None:
    (command,) = [
        command for command in TRAIN if "init=small_normal model.activation" in command and "name=" not in command
    ]
    shown = re.findall(r"^vanishing gradients.*?(?=```)", README, re.DOTALL | re.MULTILINE)[0]
    outcome = commands.train(*shlex.split(command))
    assert outcome.out.count(shown.splitlines()[0]) == 1
    assert all(line in outcome.out for line in shown.splitlines())


@pytest.mark.slow
def test_the_resume_command_runs(commands: Commands) -> None:
    (command,) = [command for command in TRAIN if "resume=" in command and "-m" not in command]
    folder = commands.trained("training.epochs=1", "data.limit=64")
    (word,) = shlex.split(command)
    assert commands.train(word.replace("<date>_<time>", folder.name), "training.epochs=2").code == 0
    assert summary(folder)["epochs"] == 2


@pytest.mark.slow
def test_the_comparisons_and_evaluations_run(commands: Commands) -> None:
    sweep = ("observers.pictures.enabled=false", "training.epochs=2", "data.limit=200", "init=he,xavier", "seed=1,2,3")
    assert commands.train("-m", *sweep).code == 0
    assert commands.train("-m", "name=lesson", *sweep).code == 0
    (folder,) = (commands.folder / "outputs" / "train").iterdir()
    assert len(COMPARE) == 3
    for command in COMPARE:
        words = shlex.split(command.replace("<date>_<time>", folder.name).replace("outputs/few", "outputs/lesson"))
        outcome = commands.type("compare", *words)
        assert outcome.code == 0, outcome.err
        assert "95 % interval" in outcome.out
        assert (commands.folder / words[0] / "comparison" / "report.html").exists()
    command = EVALUATE[0]
    outcome = commands.type("evaluate", *shlex.split(command.replace("<date>_<time>", folder.name)))
    assert outcome.code == 0, outcome.err
    assert (folder / "evaluation" / "ensemble_test" / "predictions.csv").exists()


@pytest.mark.slow
def test_the_export_prints_what_is_shown(commands: Commands) -> None:
    folder = commands.trained("training.epochs=1", "observers.pictures.enabled=false")
    (command,) = EXPORT
    outcome = commands.type("export", *shlex.split(command.replace("<date>_<time>", folder.name)))
    assert outcome.code == 0, outcome.err
    (shown,) = re.findall(r"^in  .*?(?=```)", README, re.DOTALL | re.MULTILINE)
    numbers = r"by \S+ at most"
    assert re.sub(numbers, "", shown) in re.sub(numbers, "", outcome.out)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_python_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPOSITORY / page).read_text()
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    names: dict[str, Any] = {}
    for block, shown in re.findall(r"```python\n(.*?)```\s*(?:```text\n(.*?)```)?", text, re.DOTALL):
        *before, last = ast.parse(block).body
        exec(compile(ast.Module(before, []), page, "exec"), names)
        assert isinstance(last, ast.Expr)
        value = eval(compile(ast.Expression(last.value), page, "eval"), names)
        assert not shown or repr(value) == shown.rstrip("\n")
    plt.close("all")
    assert {summary(folder)["status"] for folder in run_folders(tmp_path)} == {"finished"}


@pytest.mark.slow
def test_the_trained_run_is_used_on_new_files(commands: Commands) -> None:
    for name in ("own.csv", "own/newer.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("size,kind\n" + "".join(f"{number % 7},{'ab'[number % 2]}\n" for number in range(60)))
    Path("own/pictures").mkdir()
    Image.new("L", (20, 30)).save("own/pictures/black.png")
    quick = ("observers.pictures.enabled=false", "training.epochs=1")
    digits = commands.trained(*quick, "data.limit=100")
    table = commands.trained(*quick, "data=csv", "data.path=own.csv", "data.target=kind")
    assert len(EVALUATE) == 3
    for command, folder in zip(EVALUATE[1:], (digits, table), strict=True):
        outcome = commands.type("evaluate", *shlex.split(command.replace("<date>_<time>", folder.name)))
        assert outcome.code == 0, outcome.err
        (written,) = (folder / "evaluation").iterdir()
        assert (written / "predictions.csv").exists()


def test_the_shown_error_is_the_real_one(commands: Commands) -> None:
    (shown,) = re.findall(r"^Error: .*$", README, re.MULTILINE)
    assert commands.train("optimizer=adm").err == shown + "\n"


def test_the_make_targets_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", README + (REPOSITORY / "CONTRIBUTING.md").read_text()))
    listed = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert named <= set(re.findall(r"^  make ([a-z]+)", listed, re.MULTILINE))
    assert set(re.findall(r"^  experiments (\w+)", listed, re.MULTILINE)) == set(VERBS)
    for target, words in {"check": "the quick one", "test": "minutes"}.items():
        assert re.search(rf"^  make {target} +.*{words}", listed, re.MULTILINE)
    said = subprocess.run(["make", "-n", "test"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert "about 10 minutes on 2 cores" in said


def test_the_pictures_and_links_exist() -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (REPOSITORY / link).exists(), link
