"""docs/tasks.md is true: its tables repeat the code, and its own code and commands run."""

import re
import shlex
import sys

import pytest

from experiments.tasks import FITTING
from tests.helpers import NO_PICTURES, REPOSITORY, Commands, metrics, summary

PAGE = (REPOSITORY / "docs" / "tasks.md").read_text()
FILES = {"my_metrics.py": "def cost", "own_task.py": "class LogRegression"}
QUICK = ("training.epochs=1", "observers.tensorboard.enabled=false", NO_PICTURES)


def test_the_tables_repeat_the_tasks() -> None:
    for task in FITTING.values():
        (row,) = re.findall(rf"^\| [^|]+ \| `{task.name}` \| (.*) \|$", PAGE, re.MULTILINE)
        loss, _, default, best = row.split(" | ")
        assert loss == f"`{task.loss.rpartition('.')[2]}`"
        assert default == ", ".join(task.metrics)
        assert best == f"`val/{task.objective}`"
        (listed,) = re.findall(rf"^\| {task.name} \| (.*) \|$", PAGE, re.MULTILINE)
        assert sorted(listed.split(", ")) == sorted(task.measures)


def commands_of_the_page() -> list[str]:
    """The commands whose data sets are in the package."""
    lines = re.findall(
        r"^python -m experiments\.train (.*)$", "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)), re.M
    )
    return [line for line in lines if "films.csv" not in line]


@pytest.mark.slow
@pytest.mark.parametrize("line", commands_of_the_page())
def test_the_commands_run(commands: Commands, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if FILES["my_metrics.py"] in block
    )
    (commands.folder / "my_metrics.py").write_text(code)
    monkeypatch.syspath_prepend(str(commands.folder))
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)
    folder = commands.trained(*shlex.split(line), *QUICK)
    assert summary(folder)["objective"] in metrics(folder)[0]


@pytest.mark.slow
def test_the_task_of_the_page_runs(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if FILES["own_task.py"] in block)
    (commands.folder / "own_task.py").write_text(code)
    monkeypatch.syspath_prepend(str(commands.folder))
    (commands.folder / "own" / "task").mkdir(parents=True)
    (commands.folder / "own" / "task" / "log.yaml").write_text("_target_: own_task.LogRegression\n")
    (line,) = re.findall(r"`python -m experiments\.train (--config-dir own task=log .*)`", PAGE)
    assert "val/r2" in summary(commands.trained(*shlex.split(line), *QUICK))["metrics"]
