"""Arrays as people have them are read as they are meant, or refused with the setting that helps."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments import assembly
from experiments.data.preprocess import PREPROCESSES
from experiments.data.sources import Source
from experiments.evaluation.loading import load
from experiments.training.streams import Streams
from tests.helpers import SMALL, Commands, composed

from .arrays import CASES, SECONDS, TEST, Arrays, drawn, inputs, sound
from .outcomes import assert_printed, assert_refused

CPU = torch.device("cpu")
UNLIMITED = [word for word in SMALL if not word.startswith("data.limit")]
QUICK = (*UNLIMITED, "observers.layers.enabled=false", "training.epochs=1")


def saved(folder: Path, case: Arrays) -> Path:
    """Write the arrays of a case."""
    path = folder / "own.npz"
    np.savez(path, **{name: array for name, array in {**sound(), **case.arrays}.items() if array is not None})
    return path


def loaded(path: Path, case: Arrays) -> assembly.Data:
    """Load arrays as a run does."""
    config = composed("data=npz", "data.path=x")
    return assembly.data({**config, "data": {**config["data"], "path": str(path), **case.settings}}, Streams(0), CPU)


@pytest.mark.parametrize("name", CASES)
def test_arrays_have_their_right_outcome(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = saved(tmp_path, case)
    if case.refused is not None:
        assert_refused(partial(loaded, path, case), case.refused)
        return
    data = loaded(path, case)
    assert case.shape is None or data.description.shape == case.shape
    assert case.classes is None or data.classes == case.classes
    assert {name: len(data.splits[name]) for name in case.sizes} == case.sizes
    if case.labels is not None:
        config = composed("data=npz", "data.path=x")
        source = assembly._datasets.loaded({"_target_": config["data"]["_target_"], "path": str(path), **case.settings})
        assert source.y_train[: len(case.labels)].tolist() == list(case.labels)
    assert_printed([*data.notes, *data.doubts], case.said)


@pytest.mark.parametrize("order", ["nchw", "nhwc"])
def test_pixels_keep_their_positions(tmp_path: Path, order: str) -> None:
    x = drawn(24, 3, 12, 10).astype(np.float32)
    given = x if order == "nchw" else x.transpose(0, 2, 3, 1)
    data = loaded(saved(tmp_path, Arrays({"x_train": given, "x_test": given[:TEST]})), Arrays({}))
    assert torch.equal(data.splits["test"].x, torch.from_numpy(x[:TEST]))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_new_pictures_have_the_axes_of_the_training(commands: Commands, layout: str) -> None:
    """Three sides of 3 do not show which one is the channels; the run keeps it."""
    saved(commands.folder, Arrays(inputs(3, 3, 3)))
    assert "add data.layout=nchw" in commands.train(*QUICK, "data=npz", "data.path=own.npz").err
    folder = commands.trained(*QUICK, "data=npz", "data.path=own.npz", f"data.layout={layout}")
    x = np.load("own.npz")["x_test"]
    np.savez("new.npz", x=x, y=np.zeros(TEST))
    outcome = commands.type("evaluate", f"run={folder}", "input=new.npz", "device=cpu")
    assert outcome.code == 0, outcome.err
    assert "new.npz has 1 further array that is not used: y" in outcome.out
    run = load(folder, device="cpu")
    kept = torch.from_numpy(x if layout == "nchw" else x.transpose(0, 3, 1, 2).copy()).float()
    scores = torch.cat([scores for scores, _ in run.batches(run.split(kept))]).double().softmax(1).numpy()
    assert np.array_equal(run.predict("new.npz").probabilities, scores)


@pytest.mark.slow
def test_keys_work_as_they_are_printed(commands: Commands) -> None:
    saved(commands.folder, CASES["names of a medical set"])
    error = commands.train(*QUICK, "data=npz", "data.path=own.npz").err
    (setting,) = re.findall("'(data.keys=.*?)'", error)
    assert commands.train(*QUICK, "data=npz", "data.path=own.npz", setting).code == 0


@pytest.mark.slow
def test_an_npy_file_is_distinguished_from_an_npz_file(commands: Commands) -> None:
    saved(commands.folder, Arrays({}))
    np.save("one.npy", sound()["x_train"])
    Path("one.npy").rename("one.npz")
    outcome = commands.train(*QUICK, "data=npz", "data.path=one.npz")
    assert outcome.code == 2
    assert (
        "'one.npz' cannot be read as an .npz file: it is a single array, as in an .npy file; save x_train"
        in outcome.err
    )
    folder = commands.trained(*QUICK, "data=npz", "data.path=own.npz")
    run = load(folder, device="cpu")
    expected = run.predict(sound()["x_train"]).probabilities
    Path("own.npz").rename("all.npz")
    Path("one.npz").rename("one.npy")
    assert np.array_equal(run.predict("one.npy").probabilities, expected)
    Path("one.npy").rename("named.npz")
    assert np.array_equal(run.predict("named.npz").probabilities, expected)


def source_of(x: Tensor) -> Source:
    """A source of one's own."""
    y = torch.arange(len(x)) % 2
    return Source(x, y, x[:TEST], y[:TEST], ["a", "b"])


@pytest.mark.parametrize("kind", [torch.float64, torch.int64, torch.int32])
@pytest.mark.parametrize("name", ["standardize", "scale", "pixel_mean", "channel_mean", "pca_whiten", "zca"])
def test_a_users_source_is_centred_before_it_is_rounded(kind: torch.dtype, name: str) -> None:
    source = source_of(torch.from_numpy(SECONDS).to(kind))
    assert source.x_train.dtype == torch.float64
    fit: Callable[..., Any] = PREPROCESSES[name]
    prepare = fit(source.x_train)
    prepared = prepare(source.x_train)
    assert prepared.dtype == torch.float32
    assert len(prepared.unique()) == 7
    state = prepare.state_dict()
    again = assembly_restored(state)
    assert torch.equal(again(source.x_train), prepared)


def assembly_restored(state: dict[str, Tensor]) -> Any:
    """Return a preparation from a checkpoint's numbers."""
    from experiments.data.preprocess import restored

    return restored(state, (1,))


@pytest.mark.parametrize("kind", [torch.float64, torch.int64, torch.float32, torch.uint8])
def test_values_that_float32_represents_stay_in_float32(kind: torch.dtype) -> None:
    x = torch.arange(24)[:, None].to(kind)
    source = source_of(x)
    assert source.x_train.dtype == (torch.uint8 if kind == torch.uint8 else torch.float32)
    prepare: Any = PREPROCESSES["standardize"](source.x_train)
    assert torch.equal(prepare(source.x_train), PREPROCESSES["standardize"](x.float())(x.float()))


@pytest.mark.parametrize("factor", [255, 0.001])
def test_a_part_in_other_units_is_named(commands: Commands, factor: float) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.random((2, 60, 6, 6, 1), dtype=np.float32), np.arange(60) % 3
    np.savez("units.npz", x_train=x[0], y_train=y, x_test=factor * x[1], y_test=y)
    said = commands.train("data=npz", "data.path=units.npz", *SMALL[:1], *SMALL[2:]).out
    assert "warning: the test inputs are not in the units of the training inputs: values about" in said
    assert "questionable data" in said
    np.savez("units.npz", x_train=x[0], y_train=y, x_test=2 * x[1] + 1, y_test=y)
    assert "not in the units" not in commands.train("data=npz", "data.path=units.npz", *SMALL[:1], *SMALL[2:]).out
