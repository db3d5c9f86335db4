"""Without a standard output, error or input, as in a daemon or with pythonw, every command ends well."""

import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import compose, train
from experiments.cli.verbs import VERBS
from tests.forked import Forked, start
from tests.helpers import SMALL, Commands, run_folders, sampled, summary

QUICK = (*SMALL, "observers.layers.enabled=false")
NONE = """
import os, sys
sys.stdin = sys.stdout = sys.stderr = sys.__stdin__ = sys.__stdout__ = sys.__stderr__ = None
for descriptor in range(3):
    os.close(descriptor)
"""
"""A process as Python starts it when all descriptors are closed."""
CLOSED = "import os\nfor descriptor in range(3): os.close(descriptor)"
"""A process that closes its descriptors later, as a daemon does."""
ONLY = {
    "no input": "import os, sys\nsys.stdin = sys.__stdin__ = None\nos.close(0)",
    "no output": "import os, sys\nsys.stdout = sys.__stdout__ = None\nos.close(1)",
    "no error": "import os, sys\nsys.stderr = sys.__stderr__ = None\nos.close(2)",
    "none": NONE,
    "closed": CLOSED,
}


def ended(process: Forked, code: int) -> None:
    """Wait for the end; what could be printed, to the descriptors that are left, is no traceback."""
    out, err = process.communicate()
    assert process.returncode == code, (out, err)
    assert "Traceback" not in out + err


@pytest.mark.slow
@pytest.mark.parametrize("kind", sampled(ONLY, ["none"]))
def test_a_run_ends_well(tmp_path: Path, kind: str) -> None:
    ended(start(tmp_path, *QUICK, prelude=ONLY[kind]), 0)
    (folder,) = run_folders(tmp_path)
    assert summary(folder)["status"] == "finished"
    assert "\nrun      " in (folder / "train.log").read_text()
    assert (folder / "metrics.csv").read_text().startswith("epoch,")


@pytest.mark.slow
@pytest.mark.parametrize("kind", sampled(ONLY, ["none"]))
def test_a_sweep_and_a_search_end_well(tmp_path: Path, kind: str) -> None:
    ended(start(tmp_path, "-m", *QUICK, "seed=0,1", "name=swept", prelude=ONLY[kind]), 0)
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=interval(0.001,0.1)", "name=searched")
    ended(start(tmp_path, "-m", *QUICK, *search, prelude=ONLY[kind]), 0)
    statuses = [summary(folder)["status"] for folder in run_folders(tmp_path)]
    assert statuses == ["finished"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", sampled(ONLY, ["none"]))
def test_a_folder_of_pictures_is_packed(tmp_path: Path, kind: str) -> None:
    from .pictures import WHOLE, Folder

    Folder(WHOLE).save(tmp_path / "own")
    words = ("data=image_folder", "data.path=own", "data.size=8", "data.cache=cache", "training.batch_size=8")
    ended(start(tmp_path, *[w for w in QUICK if "limit" not in w], *words, prelude=ONLY[kind]), 0)


WORK = {
    "evaluate run=outputs/small": "outputs/small/*/evaluation/test/predictions.csv",
    "compare outputs/small": "outputs/small/comparison/report.html",
    "export run=outputs/small format=torch": "outputs/small/*/export/model.pt2",
    "check only=symmetry name=checked": "outputs/checked/*/checks.json",
    "reproduce zero_weights": "outputs/gallery/index.html",
    "remedy {run} seeds=2 most=1": "outputs/small/*/remedy/remedy.json",
    "new small_study": "small_study/README.md",
    "surface optimizer=sgd name=followed": "outputs/followed/*/surface.png",
}
"""A command of each other verb, and a file that it writes last."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, `outputs/small`."""
    folder = tmp_path_factory.mktemp("streams")
    assert start(folder, *QUICK, "name=small").wait() == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("words", sampled(WORK, ["evaluate run=outputs/small"]))
def test_every_verb_ends_well(small: Path, words: str) -> None:
    (folder,) = small.glob("outputs/small/*")
    verb, *rest = words.replace("{run}", str(folder)).split()
    ended(start(small, *rest, verb=verb, prelude=NONE), 0)
    assert list(small.glob(WORK[words]))


def test_every_verb_is_in_the_table() -> None:
    assert {words.split()[0] for words in WORK} | {"train"} == set(VERBS)


@pytest.mark.slow
def test_an_error_keeps_its_code(tmp_path: Path) -> None:
    for words, code in ((["optimizer=adm"], 2), (["optimizer.lr=-1"], 2), (["--help"], 0)):
        ended(start(tmp_path, *words, prelude=NONE), code)


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_script_without_streams_trains(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, stream: str | None
) -> None:
    config = compose(*QUICK)
    closed = (commands.folder / "closed").open("w")
    closed.close()
    with monkeypatch.context() as patch:
        for name in ("stdin", "stdout", "stderr"):
            patch.setattr(sys, name, closed if stream else None)
        run = train(config)
        predicted = run.restored.predict(np.zeros((2, 8, 8), np.float32))
    assert run.status == "finished"
    assert len(predicted.labels) == 2
    assert "\nrun      " in (run.folder / "train.log").read_text()
