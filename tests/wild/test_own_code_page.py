"""The examples of docs/own_code.md run, one for each interface, and its page names every interface."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.helpers import NO_PICTURES, REPOSITORY, Commands, metrics, run_folders, summary

PAGE = (REPOSITORY / "docs" / "own_code.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CHOICES = re.findall(r"```yaml\n# own/(\S+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^python -m experiments\.train (.*)$", PAGE, re.MULTILINE)
INLINE = dict(re.findall(r"`'?(data\.\w+|\+observers\.\w+\._target_)=(.*?)'?`", PAGE))
FAST = ("training.epochs=2", "observers.tensorboard.enabled=false", "observers.layers.enabled=false", NO_PICTURES)
INTERFACES = (
    "Data",
    "Preparation",
    "Augmentation",
    "Model",
    "Initial weights",
    "Loss",
    "Penalty",
    "Optimizer",
    "Schedule",
    "Observer",
)


@pytest.fixture
def examples(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line in a folder with the files of the page."""
    Path("mine.py").write_text("\n\n".join(PYTHON))
    for name, content in CHOICES:
        path = Path("own", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(commands.folder)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return commands


def test_every_interface_has_an_example() -> None:
    sections = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)[1:]
    coded = [title for title, text in zip(sections[::2], sections[1::2], strict=True) if "```python" in text]
    assert coded == list(INTERFACES)


@pytest.mark.slow
def test_the_whole_of_it_trains(examples: Commands) -> None:
    command = next(command for command in COMMANDS if "optimizer=sign" in command)
    folder = examples.trained(*shlex.split(command), *FAST, "training.epochs=15")
    assert summary(folder)["metrics"]["test/accuracy"] > 0.8
    rows = metrics(folder)
    assert all(float(row["weight_norm"]) > 0 and float(row["train/penalty"]) > 0 for row in rows)
    refused = examples.train(f"resume={folder}", "--config-dir", "own", "training.epochs=16")
    assert "if you trust it, add 'trust=[mine]'" in refused.err
    resumed = examples.train(f"resume={folder}", "--config-dir", "own", "training.epochs=16", "trust=[mine]")
    assert resumed.code == 0, resumed.err
    assert examples.type("evaluate", f"run={folder}", "trust=mine", "device=cpu").code == 0


@pytest.mark.slow
def test_the_first_command_trains_and_wrong_values_are_refused(examples: Commands) -> None:
    words = shlex.split(COMMANDS[0])
    assert examples.train(*words, *FAST).code == 0
    for value, said in (("two", "should be a valid integer"), ("1", "should be greater than or equal to 20")):
        outcome = examples.train(*words, *FAST, f"data.examples={value}")
        assert (outcome.code, said in outcome.err) == (2, True), outcome.err


def test_the_tracker_watches_the_runs_of_a_sweep_in_turn(examples: Commands) -> None:
    command = next(command for command in COMMANDS if "mine.Tracker" in command)
    outcome = examples.train(*shlex.split(command), *FAST)
    assert outcome.code == 0, outcome.err
    told = re.findall(r"^(begin|report|end) ", outcome.out, re.MULTILINE)
    assert told == ["begin", "report", "report", "end"] * 2
    assert len(run_folders(examples.folder)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("key", INLINE)
def test_the_settings_in_the_text_train(examples: Commands, key: str) -> None:
    given = ("--config-dir", "own", "data=rings") if "mine." in INLINE[key] else ("data.limit=64",)
    if key == "data.examples":
        return
    outcome = examples.train(*given, f"{key}={INLINE[key]}", *FAST)
    assert outcome.code == 0, outcome.err
