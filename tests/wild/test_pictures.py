"""Folders of pictures as people have them are read as they are meant, or refused with the setting that helps."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from experiments import assembly
from experiments.common.screen import Screen, printing_log
from experiments.evaluation.loading import load
from experiments.training.streams import Streams
from tests.helpers import SMALL, Commands, composed, summary

from .outcomes import assert_printed, assert_refused
from .pictures import CASES, SIZE, WHOLE, Folder, drawing, named, twelve_bits

CPU = torch.device("cpu")
UNLIMITED = [word for word in SMALL if not word.startswith("data.limit")]
QUICK = (*UNLIMITED, "observers.layers.enabled=false", "training.epochs=1", "training.batch_size=8")


def loaded(root: Path, case: Folder, log: Path) -> tuple[assembly.Data, str]:
    """Load a folder as a run does; also return what is said."""
    config = composed("data=image_folder", "data.path=x", f"data.size={SIZE}")
    section = {**config["data"], "path": str(root), "cache": str(root.parent / "cache"), **case.settings}
    screen = Screen(log, quiet=True)
    try:
        with printing_log(screen):
            data = assembly.data({**config, "data": section}, Streams(0), CPU)
    finally:
        screen.close()
    said = " ".join(log.read_text().split())  # the log wraps long lines
    return data, "\n".join([said, *data.notes, *data.doubts])


@pytest.mark.parametrize("name", CASES)
def test_a_folder_has_its_right_outcome(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    root, log = tmp_path / "photos", tmp_path / "log"
    case.save(root)
    if case.refused is not None:
        assert_refused(partial(loaded, root, case, log), case.refused)
        said = " ".join(log.read_text().split())
        assert_printed([said], case.said)
        return
    data, said = loaded(root, case, log)
    assert data.classes == list(case.classes)
    assert {name: len(data.splits[name]) for name in case.sizes} == case.sizes
    if case.channels is not None:
        assert data.description.shape == (case.channels, SIZE, SIZE)
    if case.values is not None:
        x = data.splits["train"].raw().float() / 255
        assert (float(x.min()), float(x.max()), len(x.unique())) == pytest.approx(case.values)
    assert_printed([said], case.said)
    again, said_again = loaded(root, case, tmp_path / "again")  # from the cache
    assert said_again == said
    assert all(torch.equal(again.splits[name].raw(), data.splits[name].raw()) for name in data.splits)


def test_plain_folders_are_read_without_notes(tmp_path: Path) -> None:
    case = Folder(named("train", "test"))
    case.save(tmp_path / "photos")
    assert loaded(tmp_path / "photos", case, tmp_path / "log")[1] == ""


@pytest.mark.slow
def test_the_named_settings_work_as_they_are_printed(commands: Commands) -> None:
    CASES["train and another name"].save(Path("own"))
    words = [*QUICK, "data=image_folder", "data.path=own", f"data.size={SIZE}", "data.cache=cache"]
    error = commands.train(*words).err
    (parts,) = re.findall("'(data.parts=.*?)'", error)
    assert commands.train(*words, parts).code == 0
    assert commands.train(*words, "data.parts=none").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("saved", [drawing, twelve_bits])
def test_a_prediction_converts_as_the_training_did(commands: Commands, saved: Any) -> None:
    Folder(WHOLE, saved).save(Path("own"))
    words = [*QUICK, "data=image_folder", "data.path=own", f"data.size={SIZE}", "data.cache=cache"]
    folder = commands.trained(*words)
    form = json.loads((folder / "data.json").read_text())["form"]
    assert form["background"] == "white"
    assert form["limits"] == ([0, 4095] if saved is twelve_bits else None)
    run = load(folder, device="cpu")
    with Image.open("own/cat/0.png") as picture:
        if saved is twelve_bits:
            pixels = np.round(np.asarray(picture) / 4095 * 255).astype(np.uint8)[None]
        else:
            ink = np.asarray(picture)[..., 3] > 0
            pixels = np.where(ink, 0, 255).astype(np.uint8)[None].repeat(3, 0)
    expected = run.predict(pixels).probabilities
    assert np.array_equal(run.predict("own/cat/0.png").probabilities, expected)
    Path("own/cat/a.heic").write_text("no picture")
    outcome = commands.type("evaluate", f"run={folder}", "input=own", "device=cpu")
    assert outcome.code == 0, outcome.err
    assert "1 file in 'own' is not read as pictures (1 .heic), such as 'cat/a.heic'" in " ".join(outcome.out.split())


@pytest.mark.slow
def test_other_folders_are_converted_as_that_of_the_training(commands: Commands) -> None:
    """The range of 16 bits is that of the training, not that of the new folder."""

    def darker(path: Path, seed: int) -> None:
        values = np.random.default_rng(seed).integers(0, 1000, (SIZE, SIZE), dtype=np.uint16)
        Image.fromarray(values).save(path)

    Folder(WHOLE, twelve_bits).save(Path("own"))
    Folder(named("train", "test"), darker).save(Path("new"))
    words = [*QUICK, "data=image_folder", "data.path=own", f"data.size={SIZE}", "data.cache=cache"]
    folder = commands.trained(*words)
    packed = sorted(Path("cache").iterdir())
    assert commands.type("evaluate", f"run={folder}", "device=cpu").code == 0
    assert sorted(Path("cache").iterdir()) == packed  # nothing is decoded again
    outcome = commands.type("evaluate", f"run={folder}", "data.path=new", "device=cpu")
    assert outcome.code == 0, outcome.err
    (table,) = (folder / "evaluation").glob("*new*/predictions.csv")
    evaluated = pd.read_csv(table).filter(like="p(").to_numpy()
    expected = load(folder, device="cpu").predict("new/test").probabilities
    np.testing.assert_allclose(evaluated, expected, atol=1e-6)


@pytest.mark.slow
def test_a_run_of_an_earlier_version_converts_as_it_did(commands: Commands) -> None:
    """Its description has no background: transparency is left out."""
    Folder(WHOLE).save(Path("own"))
    folder = commands.trained(*QUICK, "data=image_folder", "data.path=own", f"data.size={SIZE}", "data.cache=cache")
    path = folder / "data.json"
    content = json.loads(path.read_text())
    for key in ("background", "limits"):
        del content["form"][key]
    path.write_text(json.dumps(content))
    drawing(Path("new.png"), 3)
    run = load(folder, device="cpu")
    expected = run.predict(np.zeros((3, SIZE, SIZE), np.uint8)).probabilities
    assert np.array_equal(run.predict("new.png").probabilities, expected)


@pytest.mark.slow
def test_a_validation_part_of_the_data_set_is_used_by_the_run(commands: Commands) -> None:
    CASES["train, val and test"].save(Path("own"))
    words = [*QUICK, "data=image_folder", "data.path=own", f"data.size={SIZE}", "data.cache=cache"]
    folder = commands.trained(*words)
    log = (folder / "train.log").read_text()
    assert "10 train, 10 val, 10 test" in log
    assert "data.val_fraction=0.2 is not used" in log
    assert commands.type("evaluate", f"run={folder}", "split=val", "device=cpu").code == 0
    predictions = (folder / "evaluation" / "val" / "predictions.csv").read_text().splitlines()
    assert len(predictions) == 11
    assert commands.train("-m", *words, "seed=0,1").code == 0
    both = [summary(path.parent)["metrics"] for path in Path().rglob("summary.json")]
    assert len(both) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "offset", "preprocess", "said"),
    [
        (0.0, 0.0, "standardize", "all inputs are 0 in every training example"),
        (0.0, 3.0, "none", "all inputs are the same in every training example"),
        (
            1e-4,
            0.0,
            "none",
            "the inputs have a standard deviation of 0.0001, as the model gets them, which is too small",
        ),
        (1e-4, 0.0, "pixel_mean", "data.preprocess=standardize gives 1"),
        (1e-4, 0.0, "standardize", None),
        (1e-4, 5.0, "standardize", None),
        (1.0, 0.0, "none", None),
    ],
)
def test_inputs_without_information_are_the_datas_fault(
    commands: Commands, scale: float, offset: float, preprocess: str, said: str | None
) -> None:
    x = np.random.default_rng(0).normal(size=(72, 6)) * scale + offset
    y = np.arange(72) % 3
    np.savez("own.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    words = [word for word in UNLIMITED if "epochs" not in word]
    folder = commands.trained(
        *words, "data=npz", "data.path=own.npz", f"data.preprocess={preprocess}", "training.epochs=6"
    )
    log = " ".join((folder / "train.log").read_text().split())
    verdicts = summary(folder)["verdicts"]
    if said is None:
        assert "questionable data" not in {verdict["name"] for verdict in verdicts}
        return
    assert f"warning: {said}" in log or said in log
    (verdict,) = verdicts
    assert verdict["name"] == "questionable data"
    assert "Nothing can be learnt from these inputs" in verdict["finding"]
    assert said in verdict["evidence"]
