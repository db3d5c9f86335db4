"""Tab completion of `experiments`, in real shells too."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.completion import replies
from experiments.cli.verbs import VERBS
from experiments.common.keys import flattened
from tests.helpers import CONF, Commands

TRAIN = "experiments train"
XAVIER = [f"init=he,xavier_{end}" for end in ("biases", "or_torch", "uniform")]
PROGRAM = Path(sys.executable).with_name("experiments")
"""The console script of this environment."""


def needs(shell: str) -> pytest.MarkDecorator:
    """Skip a test on a machine without a shell."""
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"no {shell} on this machine")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{TRAIN} optimi", ["optimizer.", "optimizer="]),
        (f"{TRAIN} optimizer=adam", ["optimizer=adam", "optimizer=adam_short", "optimizer=adamax", "optimizer=adamw"]),
        (f"{TRAIN} scheduler=step seed=3 optimizer=sg", ["optimizer=sgd"]),
        (f"{TRAIN} -m optimizer=sgd,adam init=he,xavier init=zer", ["init=zeros"]),
        (
            f"{TRAIN} -m init=he,xav",
            ["init=he,xavier", *XAVIER],
        ),
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
        ("~/bin/experiments train sched", ["scheduler.", "scheduler="]),
        ("experiments check onl", ["only="]),
        ("experiments train --help al", ["all"]),
        ("experiments train --help optimizer.l", ["optimizer.lr", "optimizer.lr_scale"]),
        ("experiments train -h sched", ["scheduler", "scheduler."]),
        ("experiments surface surface=r", ["surface=ravine", "surface=rosenbrock"]),
        ("experiments ", list(VERBS)),
        ("experiments e", ["evaluate", "export"]),
        ("experiments --", ["--help", "--version"]),
        ("experiments evaluate ow", ["own/"]),
        ("experiments evaluate run=ow", ["run=own/"]),
        ("experiments evaluate run=own/m", ["run=own/mine.yaml"]),
        ("experiments compare --", []),
        ("experiments tarin opt", []),
    ],
)
def test_queries(
    commands: Commands, own: Path, monkeypatch: pytest.MonkeyPatch, line: str, expected: list[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", f"{line}behind the cursor")
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    for verb in ("__main__", "train"):
        outcome = commands.type(verb, "-sc", "query=bash")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.split() == expected
    assert list(commands.folder.iterdir()) == [own]


@pytest.mark.slow
def test_completion_leads_to_every_choice_and_key(default_run: Any) -> None:
    def leaves(word: str) -> Iterator[str]:
        for reply in replies(f"{TRAIN} {word}"):
            if reply.endswith("."):
                yield from leaves(reply)
            else:
                yield reply

    keys = {
        key
        for key, value in flattened({k: v for k, v in default_run.items() if k != "hydra"}).items()
        if not (isinstance(value, dict) and value) and not key.endswith("_target_")
    }
    chosen = {name for name in default_run["hydra"]["runtime"]["choices"] if (CONF / name).is_dir()}
    assert set(leaves("")) == {f"{name}=" for name in keys | chosen}
    for name in chosen:
        found = replies(f"{TRAIN} {name}=")
        assert found == sorted(f"{name}={path.stem}" for path in (CONF / name).glob("*.yaml"))


def test_an_empty_environment_is_an_empty_line(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMP_LINE", raising=False)
    monkeypatch.setenv("COMP_POINT", "here")
    assert commands.type("__main__", "-sc", "query=bash").out.split() == list(VERBS)


INSTALL = f'eval "$("{PROGRAM}" -sc install=bash)"'


def bash(line: str, cursor: int | None = None, install: str = INSTALL) -> list[str]:
    """Install the completion in a bash, and ask it as bash does when the Tab key is pressed."""
    # Bash splits at = and : too.
    words = re.findall(r"[=:]+|[^\s=:]+", line) + ([""] if line.endswith(" ") else [])
    script = (
        f"{install}\n"
        f"COMP_LINE=$LINE COMP_POINT=$POINT COMP_WORDS=($WORDS) COMP_CWORD={len(words) - 1}\n"
        '"$(complete -p experiments | sed "s/.*-F \\([^ ]*\\).*/\\1/")" experiments last previous\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    given = {"LINE": line, "POINT": str(len(line) if cursor is None else cursor), "WORDS": " ".join(words)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env={**os.environ, **given}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
@needs("bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Bash replaces only the part after the last =.
        (f"{PROGRAM} train optimizer=adam", ["adam", "adam_short", "adamax", "adamw"]),
        (f"{PROGRAM} train -m seed=0,1 optimi", ["optimizer.", "optimizer="]),
        (f"{PROGRAM} e", ["evaluate", "export"]),
        (f"{PROGRAM} other optimi", []),
    ],
)
def test_bash_completes(line: str, expected: list[str]) -> None:
    assert bash(line) == expected
    assert bash(line + "behind", len(line), install=f"{INSTALL}; {INSTALL}") == expected


@needs("bash")
def test_the_completion_of_python_does_not_change(commands: Commands) -> None:
    script = (
        f"complete -F _theirs python; complete -p > before; {INSTALL}; complete -p > after\n"
        "diff before after | grep '^[<>]'"
    )
    done = subprocess.run(["bash", "--norc", "-c", script], cwd=commands.folder, capture_output=True, text=True)
    assert done.stdout == "> complete -o bashdefault -o default -F _experiments_complete experiments\n"
    for shell in ("bash", "fish", "zsh"):
        printed = commands.train("-sc", f"install={shell}").out
        assert "python" not in printed
        assert commands.type("__main__", "-sc", f"install={shell}").out == printed


@contextmanager
def terminal(*command: str, **environment: str) -> Iterator[Any]:
    """Run a command at a terminal; yield a function that types a text and waits for another one."""
    import pty
    import termios

    user, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 300))  # the line is not to be scrolled
    process = subprocess.Popen(
        command, stdin=end, stdout=end, stderr=end, env={**os.environ, **environment}, start_new_session=True
    )
    os.close(end)
    seen = ""

    def type_and_wait(text: str, expected: str) -> None:
        nonlocal seen
        os.write(user, text.encode())
        deadline = time.monotonic() + 60
        while expected not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([user], [], [], 0.1)[0]:
                seen += os.read(user, 4096).decode()
        seen = seen.partition(expected)[2]

    try:
        yield type_and_wait
    finally:
        process.kill()
        process.wait()
        os.close(user)


KEYS = (
    ("experiments tr\t", "ain "),
    ("-m init=he,xavier_u\t", "niform "),
    ("training.ep\t", "ochs="),
    ("3 resume=own/mi\t", "ne.yaml "),
    ("\x01echo \n", "\r\nexperiments train -m init=he,xavier_uniform training.epochs=3 resume=own/mine.yaml\r\n"),
)
"""What a user types, and what the shell adds; Ctrl-A goes to the beginning of the line."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "flags"),
    [
        pytest.param("bash", ["--norc", "-i"], marks=needs("bash")),
        pytest.param("zsh", ["-f", "-i"], marks=needs("zsh")),
    ],
)
def test_the_tab_key(own: Path, shell: str, flags: list[str]) -> None:
    """An interactive shell at a terminal shows what a user sees."""
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    environment = {"PS1": "$ ", "TERM": "dumb", "HOME": str(own.parent), "INPUTRC": "/dev/null", "PATH": path}
    with terminal(shell, *flags, **environment) as type_and_wait:
        type_and_wait(f"cd {own.parent}; eval \"$(experiments -sc install={shell})\"; echo rea''dy\n", "\r\nready\r\n")
        for keys, expected in KEYS:
            type_and_wait(keys, expected)


@pytest.mark.slow
@needs("fish")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("experiments train -m optimizer=adamw sched", ["scheduler.", "scheduler="]),
        (
            "experiments train init=he,xavier_",
            XAVIER,
        ),
        ("experiments e", ["evaluate", "export"]),
        ("experiments evaluate run=ow", ["run=own/"]),
    ],
)
def test_fish_completes(own: Path, line: str, expected: list[str]) -> None:
    script = f"experiments -sc install=fish | source; complete -C '{line}'"
    environment = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=own.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == expected
