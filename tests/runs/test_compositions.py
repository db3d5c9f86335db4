"""Everything composes with everything: two updates of random compositions, or one sentence with the reason."""

import contextlib
import io
import re
import tempfile
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from experiments.common.errors import UserError
from experiments.folders.run import RunFolder
from experiments.runs.alone import train
from tests.helpers import CONF, composed

GROUPS = ("data", "model", "init", "loss", "penalty", "optimizer", "scheduler")
NOT_HERE = {
    *("mnist", "fashion_mnist", "cifar10", "cifar100", "torchvision"),
    *(() if find_spec("pyarrow") else ("parquet",)),
}
"""Data that a clone does not have or cannot read, and models that take too long: see `test_vision`."""

FLAT = {
    "csv", "parquet", "moons", "circles", "spiral", "blobs", "breast_cancer", "diabetes", "iris", "linnerud", "sine",
    "text", "topics", "two_gaussians", "wine",
}  # fmt: skip
"""Data without pictures."""

EXPECTED = (
    r"cannot be combined with LBFGS, which .*; leave one of them out",
    r"optimizer: LBFGS doesn't support per-parameter options",
    r"data\.augment(\[\d\])?=.* needs pictures, but an example has the shape",
    r"model: a CNN needs pictures, but an example has the shape .*; use model=mlp",
    r"training\.ema=.* and training\.swa=.* both average the weights; leave one null",
    r"scheduler=plateau needs the validation loss, but data\.val_fraction=0 leaves no validation split",
    r"training\.early_stopping\.metric=.* is not measured",
    r"optimizer\.lr_scale='features.*' matches no parameter",
    r"freeze='features.*' matches no parameter",
    r"training\.batch_size=1 gives BatchNorm a variance of 0",
    r"loss=\w+ does not fit task=\w+; choose from auto",
    r"(data\.label_noise|data\.balance|loss\.label_smoothing)=.* is for task=classification, not for \w+",
    r"data\.(preprocess|augment)=.* is for numbers, but the inputs of this data set are tokens",
    r"tokens need a model that embeds them, such as model=rnn or model=transformer",
    r"a transformer needs tokens, but an example holds numbers",
    r"task=reconstruction needs numbers as inputs, but the targets of this data set are tokens",
    r"loss=binary_cross_entropy needs inputs from 0 to 1",
    r"model\.residual=true adds nothing: no layer",
    r"model\.norm=\w+ cannot be combined with batch_norm=true",
    r"data\.limit=\d+ is more than the \d+ training examples",
)
"""Why some compositions are refused: no other reason is good enough."""


@cache
def own_data() -> Path:
    """A small table, arrays and pictures."""
    folder = Path(tempfile.mkdtemp())
    draw = np.random.default_rng(0)
    rows = [
        f"{draw.normal():.3f},{'abc'[i % 3]},{'' if i % 9 == 0 else i % 7},{['no', 'yes'][i % 2]}" for i in range(90)
    ]
    (folder / "own.txt").write_text("".join(f"{n} and {n % 7};\n" for n in range(80)))
    (folder / "own.csv").write_text("\n".join(["size,kind,count,answer", *rows]) + "\n")
    x, y = draw.integers(0, 256, (96, 8, 8, 3), dtype=np.uint8), np.arange(96) % 3
    np.savez(folder / "own.npz", x_train=x, y_train=y, x_test=x[:12], y_test=y[:12])
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    if find_spec("pyarrow"):
        pd.read_csv(folder / "own.csv").to_parquet(folder / "own.parquet")
    for i in range(80):
        (folder / "own" / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(
            folder / "own" / f"c{i % 2}" / f"{i}.png"
        )
    return folder


@cache
def choices(group: str) -> dict[str, dict[str, Any]]:
    """The choices of a group, with the content of their files."""
    files = sorted(path for path in (CONF / group).glob("*.yaml") if path.stem not in NOT_HERE)
    return {path.stem: cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path))) for path in files}


def places(data: str) -> dict[str, Any]:
    """The overrides that a choice of data needs."""
    own = own_data()
    told: dict[str, dict[str, Any]] = {
        "csv": {"path": str(own / "own.csv"), "target": "answer", "missing": "mean"},
        "npz": {"path": str(own / "own.npz")},
        "npy": {"x": str(own / "x.npy"), "y": str(own / "y.npy")},
        "parquet": {"path": str(own / "own.parquet"), "target": "answer", "missing": "mean"},
        "text": {"path": str(own / "own.txt"), "length": 8},
        "topics": {"examples": 100},
        "image_folder": {"path": str(own / "own"), "size": 8, "cache": str(own / "cache")},
    }
    return told.get(data, {})


def some(*values: Any) -> st.SearchStrategy[Any]:
    """One of these values; the first is the default, and drawn as often as all others together."""
    return st.one_of(st.just(values[0]), st.sampled_from(values[1:]))


COMMON = {
    "data": {
        "val_fraction": some(0.2, 0.0, 0.5),
        "limit": some(None, 12),
        "label_noise": some(0.0, 0.3),
        "balance": some("none", "class_weights"),
        "preprocess": some("standardize", "none", "scale", "pixel_mean", "channel_mean", "pca_whiten", "zca"),
        "augment": some("none", "crop_flip", "cutout", "mixup", ["mixup", "cutout"], ["crop_flip", "mixup"]),
    },
    "init": {"bias": some(0.0, 0.1, "torch")},
    "optimizer": {
        "decay_exempt": some("auto", [], ["*.bias"], ["head", "*.weight"]),
        "lr_scale": some(None, {"head": 0.5}, {"features": 0}, {"*.weight": 2.0, "head.bias": 0}),
    },
    "scheduler": {"warmup": some(0.0, 0.5)},
    "training": {
        "batch_size": some(16, 2, 7, 1000),
        "accumulate": some(1, 2, 3),
        "eval_batch_size": some(1000, 5),
        "precision": some("fp32", "bf16", "fp16"),
        "channels_last": some(False, True),
        "deterministic": some(False, True),
        "clip_norm": some(None, 1.0),
        "clip_value": some(None, 0.1),
        "ema": some(None, 0.9),
        "swa": some(None, 1),
    },
}
MODEL = {
    "activation": some("relu", "tanh", "sigmoid", "gelu", "leaky_relu", "softplus"),
    "batch_norm": some(False, True),
    "dropout": some(0.0, 0.4),
    "input_dropout": some(0.0, 0.2),
    "hidden": some([8], [], [8, 6], [8, 8]),
    "norm": some("none", "layer", "group", "rms", "batch"),
    "residual": some(False, True),
}
SMALLER: dict[str, dict[str, Any]] = {
    "rnn": {"hidden": 8, "embedding": 4},
    "transformer": {"width": 8, "heads": 2, "layers": 1},
    "autoencoder": {"code": 2},
    "cnn": {"groups": 1},
    "mlp": {"groups": 2},
}
"""Settings of models that take less time, or fit all sizes."""


@st.composite
def compositions(draw: st.DrawFn, epochs: int = 1) -> dict[str, Any]:
    """Draw a configuration of the small kind."""
    default = composed()
    config = {**default, "training": {**default["training"], "epochs": epochs}, "seed": draw(some(0, 1, 7))}
    sensible = draw(st.integers(0, 9)) > 0  # most of them, so that most are trained
    flat = False
    for group in GROUPS:
        name = draw(st.sampled_from(sorted(choices(group))))
        flat = flat or name in FLAT
        name = "mlp" if sensible and flat and name == "cnn" else name
        config[group] = {**{k: default[group][k] for k in COMMON.get(group, {})}, **choices(group)[name]}
        config[group] |= places(name) | (SMALLER.get(name, {}) if group == "model" else {})
    for section, values in COMMON.items():
        config[section] = {**config[section], **{key: draw(value) for key, value in values.items()}}
    own = {key: draw(value) for key, value in MODEL.items()}
    given = {key: value for key, value in own.items() if type(value) is type(config["model"].get(key))}
    if sensible and given.get("hidden") != [8, 8]:
        given.pop("residual", None)
    if sensible and given.get("norm", "none") != "none":
        given["batch_norm"] = False
    config["model"] |= given
    if config["model"]["_target_"].endswith(("Autoencoder", "MLP")) and draw(st.booleans()):
        config["task"] = choices("task")["reconstruction"]
        config["loss"] = choices("loss")["auto"] if sensible else config["loss"]
    if sensible and (flat or config["data"]["preprocess"] == "pca_whiten"):
        config["data"]["augment"] = draw(some("none", "mixup"))
    if sensible and config["training"]["swa"]:
        config["training"]["ema"] = None
    if config["model"]["_target_"].endswith("CNN"):
        if sensible and config["data"]["preprocess"] == "pca_whiten":
            config["data"]["preprocess"] = "zca"
        config["model"]["stages"] = draw(some([[3]], [[3], [4]]))
    if "weight_decay" in config["optimizer"]:
        config["optimizer"]["weight_decay"] = draw(some(0.0, 0.1))
    if draw(st.booleans()):
        config["data"] |= {"folds": 3, "fold": draw(st.integers(0, 2))}
    if config["optimizer"]["lr"] > 0.01 and not config["optimizer"]["_target_"].endswith("LBFGS"):
        config["optimizer"]["lr"] = 0.01
    config["freeze"] = draw(some(None, ["features"], {"features": 1}, {"*.weight": 1, "head": 0}))
    config["observers"] = {name: config["observers"][name] for name in ("metrics", "histograms", "layers")}
    if config["data"]["limit"] is None:
        config["data"]["limit"] = draw(st.integers(17, 20))
    return config


def train_quietly(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train as the command does, without its terminal."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("error")
        return train(config, RunFolder(folder))


def assert_expected(error: UserError) -> None:
    """Fail unless a refusal is one of those that are meant."""
    assert "\n" not in str(error)
    assert any(re.search(pattern, str(error)) for pattern in EXPECTED), error


def program_of(folder: Path) -> dict[str, Any]:
    """The last checkpoint's state."""
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["program"]


SOBER = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def assert_composes_or_says_why_not(config: dict[str, Any]) -> None:
    """Train a composition."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            summary = train_quietly(config, folder)
        except UserError as error:
            assert_expected(error)
            return
        assert summary["status"] == "finished"
        assert all(np.isfinite(value) for value in summary["metrics"].values())
        assert all(value.isfinite().all() for value in program_of(folder)["model"].values())


@pytest.mark.slow
@settings(SOBER, max_examples=50)
@given(compositions())
def test_everything_composes_or_is_refused_with_a_reason(config: dict[str, Any]) -> None:
    assert_composes_or_says_why_not(config)


@pytest.mark.exhaustive
@settings(SOBER, max_examples=1000)
@given(compositions())
def test_many_more_compose_or_are_refused_with_a_reason(config: dict[str, Any]) -> None:
    assert_composes_or_says_why_not(config)


def assert_resumes_to_the_bit(config: dict[str, Any]) -> None:
    """Train a composition at once and in two parts."""
    with tempfile.TemporaryDirectory() as temporary:
        whole, parts = Path(temporary, "whole"), Path(temporary, "parts")
        for folder in (whole, parts):
            (folder / ".hydra").mkdir(parents=True)
            OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
        half = {**config, "training": {**config["training"], "epochs": 1}}
        half["scheduler"] = config["scheduler"] = {"_target_": "experiments.schedules.constant", "warmup": 0.0}
        for folder in (whole, parts):
            OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
        try:
            train_quietly(config, whole)
        except UserError as error:
            assert_expected(error)
            return
        train_quietly(half, parts)
        train_quietly({**config, "resume": str(parts)}, parts)
        one, other = program_of(whole), program_of(parts)
        for key in ("model", "trained"):
            assert (key in one) == (key in other)
            for name, value in one.get(key, {}).items():
                assert torch.equal(value, other[key][name]), (key, name)


@pytest.mark.slow
@settings(SOBER, max_examples=15)
@given(compositions(epochs=2))
def test_every_composition_resumes_to_the_same_bits(config: dict[str, Any]) -> None:
    assert_resumes_to_the_bit(config)


@pytest.mark.exhaustive
@settings(SOBER, max_examples=150)
@given(compositions(epochs=2))
def test_many_more_compositions_resume_to_the_same_bits(config: dict[str, Any]) -> None:
    assert_resumes_to_the_bit(config)


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_is_drawn(group: str) -> None:
    listed = {path.stem for path in (CONF / group).glob("*.yaml")} - NOT_HERE
    assert set(choices(group)) == listed
    assert len(listed) > 1
