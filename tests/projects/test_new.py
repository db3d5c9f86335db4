"""A project of one's own: `experiments.new` writes it, its commands work, and its file is read in its folder only."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import compose, load, train
from experiments.cli.completion import replies
from experiments.cli.project import FILE, own_project, with_options, with_project
from experiments.common.errors import UserError
from experiments.recipes.recipe import recipes
from tests.helpers import NO_PICTURES, REPOSITORY, Commands, run_folders, summary, table

QUICK = ("training.epochs=2", "observers.tensorboard.enabled=false", "observers.layers.enabled=false", NO_PICTURES)
NAME = "ring_study"


@pytest.fixture
def project(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line in a new project."""
    assert commands.type("new", NAME).code == 0
    commands.folder = commands.folder / NAME
    commands.folder.chmod(0o755)
    monkeypatch.chdir(commands.folder)
    for module in [module for module in sys.modules if module.partition(".")[0] == NAME]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return commands


def forget() -> None:
    """Let the next test import its own project."""
    for module in [module for module in sys.modules if module.partition(".")[0] == NAME]:
        del sys.modules[module]


@pytest.fixture(autouse=True)
def _forgotten() -> object:
    yield
    forget()


@pytest.mark.slow
def test_its_commands_need_no_flags(project: Commands) -> None:
    folder = project.trained("experiment=rings", *QUICK)
    assert {"val/worst_class", "weight_norm"} <= set(table(folder / "metrics.csv")[0])
    resumed = project.train(f"resume={folder}", "training.epochs=3")
    assert (resumed.code, summary(folder)["epochs"]) == (0, 3), resumed.err
    outcome = project.type("evaluate", f"run={folder}")
    assert outcome.code == 0, outcome.err
    assert load(folder).predict([[0.0, 1.0]]).labels[0] in ("inner", "outer")
    assert compose("model=wide", "data=rings")["model"]["width"] == 32
    assert train(compose(f"resume={folder}", "training.epochs=4")).summary["epochs"] == 4
    assert "wide" in project.train("--help", "model").out
    assert replies("experiments train data=ri") == ["data=rings"]
    refused = project.train("experiment=rings", "model.width=0", *QUICK)
    assert refused.refusal().startswith("Error: model.width=0")


@pytest.mark.slow
def test_it_sweeps_as_one_stack(project: Commands) -> None:
    outcome = project.train("-m", "experiment=rings", "model.width=8", "seed=0,1", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "2 runs in 1 stack" in outcome.out
    assert len(run_folders(project.folder)) == 2


@pytest.mark.slow
@pytest.mark.exhaustive
def test_its_own_test_passes_and_its_code_is_in_the_house_style(project: Commands) -> None:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=project.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    pyproject = str(REPOSITORY / "pyproject.toml")
    for words in (["check", "--ignore", "I001"], ["format", "--check"]):
        done = subprocess.run(["ruff", *words, "--config", pyproject, "."], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_commands_of_its_readme_are_its_own(project: Commands) -> None:
    text = Path("README.md").read_text()
    page = (REPOSITORY / "docs" / "howto" / "own_project.md").read_text()
    for line in re.findall(r"^python -m experiments\.train (.*)$", text + page, re.MULTILINE):
        outcome = project.train(*shlex.split(line), "training.epochs=1", *QUICK[1:])
        assert outcome.code == 0, outcome.err


def test_its_composition_is_no_lesson_and_does_not_disturb_the_others(project: Commands) -> None:
    assert "rings" not in recipes([Path("conf")])
    refused = project.type("reproduce", "rings").refusal()
    assert refused.startswith("Error: experiment=rings: recipe is missing")


def test_a_folder_that_is_not_empty_is_left_alone(commands: Commands) -> None:
    Path("full").mkdir()
    Path("full", "mine.txt").write_text("mine")
    assert commands.type("new", "full").refusal() == (
        "Error: 'full' exists already, and is not empty; give a folder that does not exist\n"
    )
    assert [path.name for path in Path("full").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1st"], "'1st' cannot name a package; begin the name with a letter, such as 'my_project'"),
        (["torch"], "'torch' is the name of another package; choose another name, such as 'my_torch'"),
        (["json"], "'json' is the name of another package"),
        (["one", "two"], "new takes one folder, but 2 are given; give the folder of the new project"),
        (["--force", "one"], "unknown option '--force' of new"),
    ],
    ids=" ".join,
)
def test_other_names_are_refused_and_nothing_is_written(commands: Commands, words: list[str], said: str) -> None:
    assert said in commands.type("new", *words).refusal()
    assert list(commands.folder.iterdir()) == []


def written(folder: Path, content: str = 'config_dir = "conf"\ntrust = ["mine"]\n') -> Path:
    """Write a project's file into a folder."""
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / FILE).write_text(content)
    (folder / FILE).chmod(0o644)
    return folder


def run_naming(folder: Path, target: str) -> Path:
    """Write the configuration of a run that names code."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(f"model:\n  _target_: {target}\n")
    return folder


def test_its_file_is_read_once_and_again_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written(tmp_path / "here"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    first = own_project()
    assert own_project() is first
    written(tmp_path / "here", 'config_dir = "conf"\ntrust = ["mine", "others"]\n')
    assert own_project().trust == ("mine", "others")
    (tmp_path / "here" / FILE).chmod(0o666)
    with pytest.raises(UserError, match="can be written by everybody"):
        own_project()
    monkeypatch.chdir(tmp_path)
    assert own_project().trust == ()


def test_the_words_that_it_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written(tmp_path / "here"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = run_naming(Path("outputs", "own"), "mine.model.Net")
    theirs = run_naming(Path("outputs", "theirs"), "their.model.Net")
    assert with_project(["seed=1"]) == ["--config-dir", "conf", "seed=1"]
    assert with_project(["--config-dir", "other"]) == ["--config-dir", "other"]
    assert with_project([f"resume={own}"]) == ["--config-dir", "conf", f"resume={own}", "trust=[mine]"]
    assert with_project([f"resume={own}", "trust=[x]"]) == ["--config-dir", "conf", f"resume={own}", "trust=[x]"]
    assert with_project([f"resume={theirs}"]) == ["--config-dir", "conf", f"resume={theirs}"]
    assert with_options([f"run={own}"], {"trust"}) == [f"run={own}", "trust=mine"]
    assert with_options(["outputs"], {"trust", "config_dir"}) == ["outputs", "config_dir=conf", "trust=mine"]
    assert with_options([f"run={theirs}"], {"trust"}) == [f"run={theirs}"]
    assert with_options([f"run={own}", "trust=x"], {"trust"}) == [f"run={own}", "trust=x"]
    assert with_options([f"run={own}"], {"best"}) == [f"run={own}"]
    assert str(Path.cwd()) in sys.path


def test_without_the_file_nothing_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert with_project(["seed=1"]) == ["seed=1"]
    assert sys.path == before


@pytest.mark.parametrize("where", ["run", "run/checkpoints", "sweep", "sweep/0_seed=1/evaluation"])
def test_it_is_not_read_in_the_folder_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    run_naming(tmp_path / "run", "mine.model.Net")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.yaml").write_text("jobs: []\n")
    monkeypatch.chdir(written(tmp_path / where))
    before = list(sys.path)
    with pytest.raises(UserError, match="is in the folder of a run or a sweep"):
        with_project(["seed=1"])
    with pytest.raises(UserError, match="is in the folder of a run or a sweep"):
        with_options(["run=."], {"trust"})
    assert sys.path == before


def test_that_of_a_run_a_folder_above_or_below_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    own = run_naming(tmp_path / "here" / "outputs" / "own", "mine.model.Net")
    written(own)
    written(tmp_path / "here" / "below")
    monkeypatch.chdir(tmp_path / "here")
    assert with_options([f"run={own}"], {"trust"}) == [f"run={own}"]
    assert with_project([f"resume={own}"]) == [f"resume={own}"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("trust = [", "experiments.toml cannot be read: "),
        ('trsut = ["mine"]', "unknown key 'trsut' in experiments.toml; choose from config_dir, trust"),
        ("trust = 1", "should be a list of packages, such as"),
        ('trust = ["os.path; x"]', "should be a list of packages, such as"),
        ('config_dir = "nowhere"', "config_dir='nowhere' in experiments.toml should be a folder of this project"),
        ('config_dir = ".."', "config_dir='..' in experiments.toml should be a folder of this project"),
        ('config_dir = "/tmp"', "config_dir='/tmp' in experiments.toml should be a folder of this project"),
    ],
)
def test_a_wrong_file_is_one_sentence(commands: Commands, content: str, said: str) -> None:
    written(commands.folder, content)
    assert said in commands.train("seed=1").refusal()
    assert not run_folders(commands.folder)


@pytest.mark.parametrize("case", ["folder", "file", "link"])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    folder = written(tmp_path / "here")
    if case == "folder":
        folder.chmod(0o777)
    elif case == "file":
        (folder / FILE).chmod(0o666)
    else:
        (folder / FILE).rename(tmp_path / "elsewhere.toml")
        (folder / FILE).symlink_to(tmp_path / "elsewhere.toml")
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"written by everybody|is a link"):
        with_project([])
