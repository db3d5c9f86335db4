"""`experiments <verb>` is the same as `python -m experiments.<verb>`; without a verb it lists them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import __version__
from experiments.cli.verbs import PACKAGE, VERBS, described, path_of
from tests.helpers import NO_PICTURES, SMALL, Commands, assert_equal_weights, run_folders, sampled, summary, weights

pytestmark = pytest.mark.slow

PROGRAM = str(Path(sys.executable).with_name("experiments"))


def real(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


def test_every_file_with_a_main_is_a_verb() -> None:
    files = {path.stem for path in PACKAGE.glob("[a-z]*.py") if "\ndef main()" in path.read_text()}
    assert files == set(VERBS)


def test_the_list_has_a_line_and_an_example_for_each_verb(commands: Commands) -> None:
    shown = commands.type("__main__", "--help")
    lines = shown.out.splitlines()
    for verb in VERBS:
        assert path_of(verb).read_text().startswith(f'"""{described(verb).purpose}: `python -m experiments.{verb} ')
        line = lines.index(f"  {verb:<10} {described(verb).purpose}")
        assert lines[line + 1].strip() == f"experiments {verb} {described(verb).example}"
    assert max(map(len, lines)) <= 100
    assert (shown.code, shown.err) == (0, "")
    assert commands.type("__main__") == commands.type("__main__", "-h") == shown


@pytest.mark.parametrize("command", [[PROGRAM], [PROGRAM, "--help"], [sys.executable, "-m", "experiments"]], ids=len)
def test_the_list_in_a_process(commands: Commands, command: list[str]) -> None:
    done = real(commands.folder, *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == commands.type("__main__", "-h").out


def test_the_list_and_the_verbs_that_take_folders_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, experiments.__main__ as door\n"
        "sys.argv[1:] = sys.argv[1:]; door.main()\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    heavy = {"hydra", "omegaconf", "torch", "numpy", "pandas", "matplotlib", "rich"}
    for words in ([], ["--version"], ["compare", "--help"], ["evaluate", "--help"], ["export", "--help"]):
        done = real(tmp_path, sys.executable, "-c", code, *words)
        assert done.returncode == 0, done.stderr
        assert not heavy & set(done.stderr.split()), words


@pytest.mark.parametrize("verb", ["__main__", *VERBS])
def test_every_command_prints_the_version_of_this_package(commands: Commands, verb: str) -> None:
    outcome = commands.type(verb, "--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"torch-experiments {__version__}\n", "")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "; did you mean 'train'?"), ("optimizer=adam", ""), ("--halp", ""), ("", ""), ("library", "")],
)
def test_an_unknown_verb_is_one_sentence(commands: Commands, word: str, hint: str) -> None:
    outcome = commands.type("__main__", word, "optimizer=adam")
    allowed = "train, check, compare, evaluate, export, reproduce, remedy, surface, new"
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"Error: unknown verb {word!r}; choose from {allowed}{hint}\n"


@pytest.mark.parametrize(
    "words",
    [
        *((verb, "--help") for verb in VERBS),
        ("train", "optimizer=adm"),
        ("train", "optimizer.lr=-1"),
        ("train", "--cfg", "job", "-p", "optimizer"),
        ("check", "only=nothing"),
        ("compare",),
        ("compare", "nowhere"),
        ("evaluate", "best=2"),
        ("surface", "surface=ravin"),
    ],
    ids=" ".join,
)
def test_a_verb_answers_as_its_module_does(commands: Commands, words: tuple[str, ...]) -> None:
    verb, *rest = words
    assert commands.type("__main__", *words) == commands.type(verb, *rest)


@pytest.mark.parametrize("words", sampled([("--unknown",), ("--config-dir",), ("optimizer=adm",)], []))
def test_the_names_of_programs_in_messages_are_the_same(tmp_path: Path, words: tuple[str, ...]) -> None:
    outcomes = [
        real(tmp_path, *command, *words)
        for command in ([sys.executable, "-m", "experiments.train"], [PROGRAM, "train"])
    ]
    assert outcomes[0].returncode == outcomes[1].returncode == 2
    assert outcomes[0].stderr == outcomes[1].stderr != ""


@pytest.mark.exhaustive
def test_a_run_is_the_same_and_its_folder_too(tmp_path: Path) -> None:
    for name, command in (("module", ["-m", "experiments.train"]), ("program", [PROGRAM, "train"])):
        done = real(tmp_path, sys.executable, *command, *SMALL, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stderr
    one, other = tmp_path / "module", tmp_path / "program"
    assert_equal_weights(weights(one), weights(other))
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        theirs = (one / ".hydra" / name).read_text()
        assert (other / ".hydra" / name).read_text() == theirs.replace("run.dir=module", "run.dir=program").replace(
            "dir: module", "dir: program"
        ).replace(str(one), str(other))


@pytest.mark.exhaustive
def test_workers_of_a_sweep_find_the_task(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = real(tmp_path, PROGRAM, "train", "-m", *SMALL, "seed=1,2", *joblib)
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 finished" in done.stdout
    assert [summary(folder)["status"] for folder in run_folders(tmp_path)] == ["finished"] * 2


@pytest.mark.exhaustive
def test_torchrun_starts_it(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    done = real(tmp_path, *torchrun, "-m", "experiments", "train", *SMALL)
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    assert summary(folder)["status"] == "finished"


@pytest.mark.parametrize("own", [False, True], ids=["typed", "in a file of the user"])
def test_a_sweep_may_be_asked_for_by_hydras_mode(own: bool, commands: Commands) -> None:
    words = ["hydra.mode=MULTIRUN"]
    if own:
        path = commands.folder / "own" / "experiment" / "several.yaml"
        path.parent.mkdir(parents=True)
        path.write_text("# @package _global_\nhydra:\n  mode: MULTIRUN\n")
        words = ["--config-dir", "own", "experiment=several"]
    assert commands.train(*SMALL, *words, "seed=1,2").code == 0
    assert len(run_folders(commands.folder)) == 2


def test_latest_is_the_newest_finished_run_outside_of_sweeps(commands: Commands) -> None:
    refused = commands.type("evaluate", "run=latest")
    assert refused.code == 2
    assert refused.err == (
        "Error: run=latest found no finished run in outputs/<name>/; train one, or give the folder of a run\n"
    )
    small = ("training.epochs=1", "data.limit=40", "model.hidden=[4]", NO_PICTURES)
    old = commands.trained(*small, "name=b").relative_to(commands.folder)
    new = commands.trained(*small, "name=a").relative_to(commands.folder)
    for folder, end in ((old, 1), (new, 2)):
        os.utime(folder / "summary.json", (end, end))
    assert commands.train("-m", *small, "seed=1").code == 0
    for status, folder in (("finished", new), ("interrupted", old)):
        summary = json.loads((new / "summary.json").read_text())
        (new / "summary.json").write_text(json.dumps({**summary, "status": status}))
        os.utime(new / "summary.json", (2, 2))
        outcome = commands.type("evaluate", "run=latest")
        assert outcome.code == 0, outcome.err
        assert outcome.out.startswith(f"run      {folder} (run=latest)\n")
        assert (folder / "evaluation" / "test" / "predictions.csv").is_file()
