"""Every command that the program prints works when it is pasted: they are collected from real runs and sweeps."""

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.forked import start
from tests.helpers import CONF, NO_PICTURES, Commands, Outcome, run, run_folders, sampled, summary
from tests.interrupted import at_step

QUIET = ("observers.tensorboard.enabled=false", NO_PICTURES, "observers.regions.enabled=false")
SHORT = ("training.epochs=2", "data.limit=40", "training.batch_size=10", "model.hidden=[6]", *QUIET)
ALONE, TOGETHER = at_step(3, "SIGINT"), at_step(3, "SIGINT", stacked=True)
COMMAND = re.compile(r"^.*?(?:\S*python|experiments) (?:-m experiments\.)?(?P<verb>\w+)(?: (?P<words>.*))?$")
OWN = """
import torch
class Own(torch.optim.SGD):
    pass
"""


def printed(text: str, label: str) -> list[str]:
    """The commands after a label, as a shell reads them: the verb, and its words."""
    (line,) = re.findall(rf"^{label} +(.*)$", text, re.MULTILINE)
    return words_of(line)


def paste(commands: Commands, text: str, label: str) -> Outcome:
    """Type the command after a label."""
    verb, *words = printed(text, label)
    return commands.type(verb, *words)


INTERRUPTED: dict[str, tuple[str, ...]] = {
    "a plain run": (),
    "a name made of the seed": ("name=r_${seed}",),
    "a rate made of another number": ("scheduler=inverse_time", "optimizer.lr=${scheduler.decay}"),
    "a variable of the environment": ("optimizer.lr=${oc.env:LR}",),
    "a list with an interpolation": ("model.hidden=[${training.batch_size},6]",),
    "nothing to resume": ("resume=null", "retry_failed=false"),
    "trust without need": ("trust=[own]",),
    "choices of one's own": ("--config-dir", "own", "optimizer=mine"),
    "code of one's own": ("--config-dir", "own", "optimizer=mine", "trust=[own_code]"),
    "a folder with spaces": ("name='a b'",),
    "a folder for pictures": ("data=image_folder", "data.path=pictures", "data.size=8", "data.cache=cache"),
}
OFTEN = {"a plain run", "a name made of the seed", "a variable of the environment", "choices of one's own"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=() if c in OFTEN else pytest.mark.exhaustive) for c in INTERRUPTED]
)
def test_an_interrupted_run_is_resumed_by_the_command_that_it_prints(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    words = INTERRUPTED[case]
    (commands.folder / "own_code.py").write_text(OWN)
    (commands.folder / "own" / "optimizer").mkdir(parents=True)
    (commands.folder / "own" / "optimizer" / "mine.yaml").write_text("_target_: own_code.Own\nlr: 0.1\n")
    monkeypatch.syspath_prepend(str(commands.folder))
    for name in ("a", "b"):
        picture_in(commands.folder / "pictures" / name, 60 if "data=image_folder" in words else 0)
    process = start(commands.folder, *SHORT, *words, prelude=ALONE, env={"LR": "0.03"})
    assert process.wait() == 130, process.printed()
    out, _ = process.printed()
    (folder,) = run_folders(commands.folder)
    assert summary(folder)["status"] == "interrupted"
    monkeypatch.setenv("LR", "0.5")  # the run keeps the value that it had
    resumed = paste(commands, out, "resume")
    assert resumed.code == 0, resumed.err
    assert run_folders(commands.folder) == [folder]
    assert (summary(folder)["status"], summary(folder)["epochs"]) == ("finished", 2)
    config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    assert "${" not in str(config)
    if case == "a variable of the environment":
        assert config["optimizer"]["lr"] == 0.03
    view = printed_view(resumed.out)
    assert shutil.which(view[0])
    assert Path(view[-1]).resolve() == folder.resolve()
    assert commands.type("evaluate", f"run={folder}", *trust_of(words)).code == 0


def printed_view(text: str) -> list[str]:
    """The words of the command that shows a run."""
    (line,) = re.findall(r"^view +(.*)$", text, re.MULTILINE)
    return shlex.split(line)


def trust_of(words: tuple[str, ...]) -> list[str]:
    """What evaluating a run of own code needs."""
    return ["trust=own_code"] if "optimizer=mine" in words else []


SWEEPS = {
    "seeds": ("seed=1,2,3",),
    "a shuffled list": ("seed=shuffle(range(1,5))",),
    "two shuffled lists": ("optimizer.lr=shuffle(0.1,0.01)", "seed=shuffle(1,2)"),
    "names made of the seed": ("name=s_${seed}", "seed=1,2"),
    "a folder with spaces": ("hydra.sweep.dir='outputs/a b'", "seed=1,2"),
    "one run after another": ("seed=shuffle(1,2,3)", "hydra/launcher=basic"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c in ("a shuffled list",) else pytest.mark.exhaustive) for c in SWEEPS],
)
def test_an_interrupted_sweep_is_resumed_by_the_command_that_it_prints(commands: Commands, case: str) -> None:
    basic = "hydra/launcher=basic" in SWEEPS[case]
    stopped = run(commands.folder, "-m", *SHORT, *SWEEPS[case], prelude=ALONE if basic else TOGETHER)
    assert stopped.code == 130, stopped.err
    before = {folder.name for folder in run_folders(commands.folder)}
    resumed = paste(commands, "\n".join(reversed(stopped.out.splitlines()[-3:])), "resume")
    assert resumed.code == 0, resumed.err
    folders = run_folders(commands.folder)
    assert before <= {folder.name for folder in folders}
    assert {summary(folder)["status"] for folder in folders} == {"finished"}
    assert len({tuple(summary(folder)["overrides"]) for folder in folders}) == len(folders)


def test_the_noted_jobs_of_a_sweep_cannot_be_others_than_the_commands(commands: Commands) -> None:
    words = ("-m", *SHORT, "seed=shuffle(1,2)")
    assert commands.train(*words).code == 0
    (path,) = commands.folder.glob("outputs/*/*/sweep.yaml")
    asked: dict[str, Any] = yaml.safe_load(path.read_text())
    assert sorted(line for job in asked["jobs"] for line in job if line.startswith("seed")) == ["seed=1", "seed=2"]
    asked["jobs"][0].append("optimizer._target_=os.system")
    path.write_text(yaml.safe_dump(asked, sort_keys=False))
    refused = commands.train(*words, f"resume={path.parent}")
    assert refused.code == 2
    assert "has other runs than this command; repeat the command of the sweep" in refused.err


@pytest.mark.slow
def test_the_advice_of_verdicts_can_be_pasted(commands: Commands) -> None:
    words = (*SHORT, "training.epochs=4", "optimizer=sgd", "optimizer.lr=1000")
    outcome = commands.train(*words)
    advice = re.findall(r"^ +try +.+?: (.+)$", outcome.out, re.MULTILINE)
    whole = [line for line in advice if "experiments." in line]
    settings = [line for line in advice if line not in whole]
    assert len(whole) == 1
    assert f"To try settings such as {settings[0]}, add them to the command of the run.\n" in outcome.out
    for line in whole:
        verb, *pasted = words_of(line)
        outcome = commands.type(verb, *pasted)
        assert outcome.code in (0, 1)  # 1: a check fails
        assert not outcome.err
    for line in settings:
        assert commands.train(*words, *shlex.split(line)).code == 0


@pytest.mark.slow
def test_a_run_that_was_still_improving_is_continued_by_the_command_of_the_advice(commands: Commands) -> None:
    slow = ("training.epochs=8", "data.limit=400", "optimizer=sgd", "optimizer.lr=0.01", "name='a b'", *QUIET)
    outcome = commands.train(*slow)
    (line,) = re.findall(r"^ +try +twice as long, as a continuation of this run: (.+)$", outcome.out, re.MULTILINE)
    (folder,) = run_folders(commands.folder)
    assert "\n    try  twice as long: training.epochs=16\n" in (folder / "train.log").read_text()
    assert re.match(r"\S+ -m experiments\.train 'resume=.*' training\.epochs=16$", line)
    verb, *pasted = words_of(line)
    assert commands.type(verb, *pasted).code == 0
    assert run_folders(commands.folder) == [folder]
    assert (summary(folder)["status"], summary(folder)["epochs"]) == ("finished", 16)


@pytest.mark.slow
def test_a_pasted_comment_is_left_out_with_a_note(commands: Commands) -> None:
    """An interactive zsh passes a comment to the command."""
    outcome = commands.train(*SHORT, "init=xavier", "#", "Xavier", "weights")
    assert outcome.code == 0
    assert outcome.err == "note: '#' and the words after it are left out: your shell does not take them as a comment\n"
    assert summary(run_folders(commands.folder)[0])["overrides"] == [*SHORT, "init=xavier"]


EPILOGUE = re.compile(r"^ +((?:python -m experiments\.|experiments )\w+(?: \S+)*)(?:  .*)?$", re.MULTILINE)
LONG = ("data=mnist", "watch=true", "...", "GROUP", "DIR", "-sc")
"""Commands of the help that need a download, do not end, or stand for others."""
QUICK = {"train": SHORT, "surface": ("surface.steps=3",)}


@pytest.mark.slow
@pytest.mark.parametrize("verb", sampled(["train", "compare", "evaluate", "export", "surface"], {"train", "evaluate"}))
def test_the_examples_of_the_help_can_be_pasted(commands: Commands, verb: str) -> None:
    lines = [line for line in EPILOGUE.findall(commands.type(verb, "--help").out) if not any(w in line for w in LONG)]
    assert lines
    folders = {}
    if verb not in ("train", "surface"):
        folders["12-00-00"] = commands.trained(*SHORT, "training.keep_checkpoints=every:1")
        assert commands.train("-m", *SHORT, "hydra.sweep.dir=outputs/s", "optimizer=adam,sgd", "seed=1,2").code == 0
        folders["12-30-00"] = commands.folder / "outputs" / "s"
    for line in lines:
        _, *words = words_of(line)
        for time, folder in folders.items():
            words = [word.replace(f"outputs/train/2026-11-21_{time}", os.path.relpath(folder)) for word in words]
        if any(word.startswith("data.test_path=") for word in words):
            words[0] = f"run={os.path.relpath(commands.trained(*SHORT, 'data=csv', *csv_of(commands.folder)))}"
        if any(word.startswith("input=") for word in words):
            picture_in(commands.folder / "own" / "pictures", 1)
        flags = [word for word in words if word.startswith("-")]
        quick = () if "--hydra-help" in flags else QUICK.get(verb, ())
        outcome = commands.type(verb, *flags, *quick, *[word for word in words if word not in flags])
        assert outcome.code == 0, (line, outcome.err)


def test_the_recipes_in_the_help_exist(commands: Commands) -> None:
    lines = EPILOGUE.findall(commands.type("reproduce", "--help").out)
    named = [word for line in lines for word in words_of(line)[1:] if "=" not in word and word[0] != "-"]
    assert named
    assert set(named) <= {path.stem for path in (CONF / "experiment").glob("*.yaml")}


def words_of(line: str) -> list[str]:
    """The verb of a printed command, and its words."""
    found = COMMAND.match(line)
    assert found, line
    return [found["verb"], *shlex.split(found["words"] or "")]


def picture_in(folder: Path, count: int) -> None:
    """Write grey pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("L", (9, 9), 4 * number).save(folder / f"{number}.png")


def csv_of(folder: Path) -> list[str]:
    """Write two tables of one's own, and return the words that name the first."""
    lines = "size,kind\n" + "".join(f"{number % 7},{'ab'[number % 2]}\n" for number in range(80))
    (folder / "own").mkdir(exist_ok=True)
    for name in ("own.csv", "own/newer.csv"):
        (folder / name).write_text(lines)
    return ["data.path=own.csv", "data.target=kind"]


def test_a_run_that_was_not_started_can_be_looked_at(commands: Commands) -> None:
    """Interpolations in the folder of a run that was killed during its first imports, as Hydra has written them."""
    folder = commands.trained(*SHORT, "name=r_1", "seed=1")
    path = folder / ".hydra" / "overrides.yaml"
    path.write_text(path.read_text().replace("name=r_1", "name=r_${seed}") + "- resume=null\n- retry_failed=false\n")
    config = folder / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("name: r_1", "name: r_${seed}"))
    resumed = commands.train(f"resume={os.path.relpath(folder)}", "training.epochs=3")
    assert resumed.code == 0, resumed.err
    assert "name: r_1\n" in config.read_text()
