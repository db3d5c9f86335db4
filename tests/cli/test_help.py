"""`--help` and tab completion say what the configuration holds, in real shells too."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.cli._completion import replies
from experiments.cli._help import WIDTH, help_text, settings
from experiments.common.keys import flattened
from experiments.train import EXAMPLES
from tests.helpers import CONF, REPOSITORY, Commands

TRAIN = "python -m experiments.train"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "surface"))
"""Of `train`; those of another verb alone are none of its."""
SHELL = shutil.which("bash")
needs_bash = pytest.mark.skipif(SHELL is None, reason="no bash on this machine")
needs_fish = pytest.mark.skipif(shutil.which("fish") is None, reason="no fish on this machine")
needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on this machine")


@pytest.fixture(scope="module")
def default_run() -> Any:
    """The default run as Hydra composes it, with Hydra's own part."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("train", return_hydra_config=True), resolve=False)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of a user's own choices."""
    for name, text in {
        "optimizer/lion": "# The sign of the momentum\n_target_: own.Lion\nspeed: 0.5\n",
        "optimizer/adam": "# Not the one that is taken\n_target_: own.Adam\n",
        "flavour/sweet": "sugar: 1\n",
        "mine": "defaults:\n  - train\n  - override optimizer: lion\n  - _self_\nseed: 7\n",
    }.items():
        path = tmp_path / "own" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


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


def test_help_fits_its_width_and_can_be_asked_for_anyhow(commands: Commands) -> None:
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
            "--config-dir=nowhere is no folder; give one that holds <group>/<choice>.yaml",
        ),
        (
            ["-cn", "other", "-h"],
            "--config-name=other is no configuration; it must be a file other.yaml in --config-dir",
        ),
        (["-sc"], "-sc completes no shell; allowed: install=bash, install=fish, install=zsh"),
        (
            ["-sc", "install=tcsh"],
            "-sc install=tcsh completes no shell; allowed: install=bash, install=fish, install=zsh",
        ),
    ],
)
def test_what_cannot_be_answered(commands: Commands, words: list[str], sentence: str) -> None:
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


def test_an_installed_package_answers_at_once_from_any_folder(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src" / "experiments", tmp_path / "site" / "experiments")
    shutil.copytree(CONF, tmp_path / "site" / "experiments" / "conf")
    code = (
        "import sys, experiments; from experiments.train import main; main(); print(experiments.__file__)\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    for words, line, expected in (
        (["--help"], "", "  * adam "),
        (["-sc", "query=bash"], f"{TRAIN} optimizer=adam optimizer.b", "optimizer.betas="),
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


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{TRAIN} optimi", ["optimizer.", "optimizer="]),
        (f"{TRAIN} optimizer=adam", ["optimizer=adam", "optimizer=adamax", "optimizer=adamw"]),
        (f"{TRAIN} scheduler=step seed=3 optimizer=sg", ["optimizer=sgd"]),
        (f"{TRAIN} -m optimizer=sgd,adam init=he,xavier init=zer", ["init=zeros"]),
        (f"{TRAIN} -m init=he,xav", ["init=he,xavier", "init=he,xavier_uniform"]),
        (f"{TRAIN} optimizer=momentum optimizer.mo", ["optimizer.momentum="]),
        (f"{TRAIN} -m optimizer=momentum,adam 'seed=range(3)' optimizer.mo", ["optimizer.momentum="]),
        (f"{TRAIN} -m +new.depth=1 'seed=range(3)' new.", ["new.depth="]),
        (f"{TRAIN} optimizer=nothing training.early", ["training.early_stopping."]),
        (f"{TRAIN} training.epo=(( optimizer=momentum optimizer.mo", ["optimizer.momentum="]),
        (
            f"{TRAIN} training.early_stopping.m",
            ["training.early_stopping.metric=", "training.early_stopping.min_delta="],
        ),
        (f"{TRAIN} training.deterministic=", ["training.deterministic=false"]),
        (f"{TRAIN} training.epochs=x", []),
        (f"{TRAIN} 'name=a b' 'optimizer=sg", ["optimizer=sgd"]),
        (f"{TRAIN} ~init.b", ["~init.bias"]),
        (f"{TRAIN} ++training.ep", ["++training.epochs="]),
        (f"{TRAIN} hydra.job.na", ["hydra.job.name="]),
        (f"{TRAIN} --config-d", ["--config-dir"]),
        (f"{TRAIN} --cfg ", ["all", "hydra", "job"]),
        (f"{TRAIN} --config-dir ow", ["own/"]),
        (f"{TRAIN} --config-dir own optimizer=li", ["optimizer=lion"]),
        (
            f"{TRAIN} --config-dir own optimizer=lion optimizer.",
            ["optimizer.decay_exempt=", "optimizer.lr_scale=", "optimizer.speed="],
        ),
        (f"{TRAIN} --config-dir own optimizer=adam optimizer.l", ["optimizer.lr=", "optimizer.lr_scale="]),
        (f"{TRAIN} -cd own +fl", ["+flavour="]),
        (f"{TRAIN} -cd own fl", []),
        (
            f"{TRAIN} -cd own -cn mine optimizer.",
            ["optimizer.decay_exempt=", "optimizer.lr_scale=", "optimizer.speed="],
        ),
        (f"{TRAIN} resume=o", ["resume=own/"]),
        (f"{TRAIN} resume=own/m", ["resume=own/mine.yaml"]),
        ("bin/python3.11 -X dev -m experiments.train sched", ["scheduler.", "scheduler="]),
        ("train sched", ["scheduler.", "scheduler="]),
    ],
)
def test_queries(
    commands: Commands, own: Path, monkeypatch: pytest.MonkeyPatch, line: str, expected: list[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", f"{line}behind the cursor")
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    outcome = commands.train("-sc", "query=bash")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.split() == expected
    assert list(commands.folder.iterdir()) == [own]


def test_completion_leads_to_every_choice_and_key(default_run: Any) -> None:
    def leaves(word: str) -> Iterator[str]:
        for reply in replies(f"{TRAIN} {word}", "train", CONF):
            if reply.endswith("."):
                yield from leaves(reply)
            else:
                yield reply

    keys = {
        key
        for key, value in flattened({k: v for k, v in default_run.items() if k != "hydra"}).items()
        if not (isinstance(value, dict) and value) and not key.endswith("_target_")
    }
    chosen = {name for name in default_run["hydra"]["runtime"]["choices"] if name in GROUPS}
    assert set(leaves("")) == {f"{name}=" for name in keys | chosen}
    for name in chosen:
        found = replies(f"{TRAIN} {name}=", "train", CONF)
        assert found == sorted(f"{name}={path.stem}" for path in (CONF / name).glob("*.yaml"))


def test_an_empty_environment_is_an_empty_line(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMP_LINE", raising=False)
    monkeypatch.setenv("COMP_POINT", "here")
    assert "optimizer=" in commands.train("-sc", "query=bash").out.split()


BEFORE = '_before() { COMPREPLY=("before"); }; complete -F _before python; '
INSTALL = f'eval "$("{sys.executable}" -m experiments.train -sc install=bash)"'


def bash(line: str, cursor: int | None = None, *, before: str = "", install: str = INSTALL) -> list[str]:
    """Install the completion in a bash, and ask it as bash does when the tab key is pressed."""
    # Bash splits at = and : too.
    words = re.findall(r"[=:]+|[^\s=:]+", line) + ([""] if line.endswith(" ") else [])
    script = (
        f"{before}{install}\n"
        f"COMP_LINE=$LINE COMP_POINT=$POINT COMP_WORDS=($WORDS) COMP_CWORD={len(words) - 1}\n"
        '"$(complete -p python | sed "s/.*-F \\([^ ]*\\).*/\\1/")" python last previous\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    given = {"LINE": line, "POINT": str(len(line) if cursor is None else cursor), "WORDS": " ".join(words)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env={**os.environ, **given}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@needs_bash
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Bash puts the reply in place of what follows the last = alone.
        (f"{sys.executable} -m experiments.train optimizer=adam", ["adam", "adamax", "adamw"]),
        (f"{sys.executable} -m experiments.train -m seed=0,1 optimi", ["optimizer.", "optimizer="]),
        (f"{sys.executable} other.py optimi", []),
        (f"{sys.executable} -m experiments.runs.job optimi", []),
    ],
)
def test_bash_completes(line: str, expected: list[str]) -> None:
    assert bash(line) == expected
    assert bash(line + "behind", len(line)) == expected


@needs_bash
def test_bash_keeps_the_completion_of_other_commands() -> None:
    train = f"{sys.executable} -m experiments.train optimizer=sg"
    for install in (INSTALL, f"{INSTALL}; {INSTALL}"):
        assert bash("python other.py ", before=BEFORE, install=install) == ["before"]
        assert bash(train, before=BEFORE, install=install) == ["sgd"]


@needs_bash
def test_the_tab_key_in_bash(tmp_path: Path) -> None:
    """What a user sees: an interactive shell at a terminal."""
    import pty
    import termios

    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 300))  # the line is not to be scrolled
    environment = {**os.environ, "PS1": "$ ", "TERM": "dumb", "HOME": str(tmp_path), "INPUTRC": "/dev/null"}
    shell = subprocess.Popen(
        ["bash", "--norc", "-i"], stdin=end, stdout=end, stderr=end, env=environment, start_new_session=True
    )
    os.close(end)
    seen = ""

    def wait_for(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 4096).decode()

    try:
        os.write(terminal, f"{INSTALL}; echo rea''dy\n".encode())
        wait_for("ready")
        os.write(terminal, f"{sys.executable} -m experiments.train -m init=he,xavier_u\t".encode())
        wait_for("init=he,xavier_uniform ")
        os.write(terminal, b"training.ep\t")
        wait_for("training.epochs=")
        os.write(terminal, b"3")
        wait_for("training.epochs=3")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


@needs_fish
def test_fish_completes() -> None:
    for line, expected in (
        (f"{sys.executable} -m experiments.train -m optimizer=adamw sched", ["scheduler.", "scheduler="]),
        (f"{sys.executable} -m experiments.train init=he,xavier_", ["init=he,xavier_uniform"]),
    ):
        script = f"{sys.executable} -m experiments.train -sc install=fish | source; complete -C '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == expected


@needs_zsh
def test_zsh_reads_its_script(commands: Commands) -> None:
    script = commands.train("-sc", "install=zsh").out
    subprocess.run(["zsh", "-f", "-n"], input=script, text=True, check=True, capture_output=True)
