"""Arrays as people have them, each with its right outcome; all of them are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TRAIN, TEST = 24, 12


@dataclass(frozen=True)
class Arrays:
    """The arrays of a file, how it is read, and what becomes of it.

    Args:
        arrays: by name, in place of those of a sound file; None leaves one out.
        settings: of `data`, in addition to the path.
        refused: a pattern of the sentence that refuses the file; None if it is read.
        shape: of an example.
        classes: their names.
        labels: the class numbers of the first training examples.
        sizes: of the splits.
        said: patterns of what is said about the file.
    """

    arrays: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    refused: str | None = None
    shape: tuple[int, ...] | None = None
    classes: Sequence[str] | None = None
    labels: Sequence[int] | None = None
    said: Sequence[str] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)


def drawn(*shape: int) -> np.ndarray:
    """Return noise, which is different for each shape: no part has examples of another one."""
    return np.random.default_rng(shape).normal(size=shape)


def sound() -> dict[str, Any]:
    """Return the arrays of a file without any peculiarity."""
    labels = np.arange(TRAIN) % 3
    return {"x_train": drawn(TRAIN, 4), "y_train": labels, "x_test": drawn(TEST, 4), "y_test": labels[:TEST]}


def inputs(*shape: int, **more: Any) -> dict[str, Any]:
    """Return inputs of a shape."""
    return {"x_train": drawn(TRAIN, *shape), "x_test": drawn(TEST, *shape), **more}


def without_test(**names: str) -> dict[str, Any]:
    """Return the arrays of a file that has only training examples, called otherwise."""
    train = {name: array for name, array in sound().items() if "train" in name}
    return {**dict.fromkeys(sound()), **{names.get(name, name): array for name, array in train.items()}}


def labels(train: Any) -> dict[str, Any]:
    """Return labels, of which the first are the test labels too."""
    return {"y_train": np.asarray(train), "y_test": np.asarray(train)[:TEST]}


def renamed(names: Mapping[str, str]) -> dict[str, Any]:
    """Return the arrays of a sound file with other names."""
    return {**dict.fromkeys(sound()), **{names[name]: array for name, array in sound().items()}}


THREE = np.arange(TRAIN) % 3
MEDICAL = {"x_train": "train_images", "y_train": "train_labels", "x_test": "test_images", "y_test": "test_labels"}
TURNED = {"x_train": "X_train", "y_train": "Y_train", "x_test": "X_test", "y_test": "Y_test"}
SECONDS = np.arange(TRAIN)[:, None] % 7 + 1_700_000_010

CASES: dict[str, Arrays] = {
    "channels last": Arrays(inputs(12, 10, 3), shape=(3, 12, 10)),
    "channels first": Arrays(
        inputs(3, 12, 10), shape=(3, 12, 10), said=["read as 3 x 12 x 10: channels, height, width"]
    ),
    "one channel first": Arrays(inputs(1, 8, 8), shape=(1, 8, 8)),
    "one channel last": Arrays(inputs(8, 8, 1), shape=(1, 8, 8)),
    "four channels last": Arrays(inputs(8, 8, 4), shape=(4, 8, 8)),
    "two channels first": Arrays(inputs(2, 8, 8), shape=(2, 8, 8)),
    "many channels last": Arrays(inputs(6, 6, 16), shape=(16, 6, 6)),
    "many channels first": Arrays(inputs(16, 6, 6), shape=(16, 6, 6)),
    "three by three": Arrays(
        inputs(3, 12, 3), refused="x_train .* 12 x 3 with 3 channels or of 3 x 12 with 3 channels; add data.layout=nchw"
    ),
    "three different sides": Arrays(inputs(5, 6, 7), refused="data.layout=nchw for the first, data.layout=nhwc"),
    "three different sides, first": Arrays(inputs(5, 6, 7), {"layout": "nchw"}, shape=(5, 6, 7)),
    "three different sides, last": Arrays(inputs(5, 6, 7), {"layout": "nhwc"}, shape=(7, 5, 6)),
    "against the shape": Arrays(inputs(3, 12, 10), {"layout": "nhwc"}, shape=(10, 3, 12)),
    "an unknown layout": Arrays(inputs(3, 12, 10), {"layout": "chw"}, refused="data.layout='chw' should be 'nchw'"),
    "Unix times": Arrays({"x_train": SECONDS, "x_test": SECONDS[:TEST]}),
    "Unix times as floats": Arrays({"x_train": SECONDS + 0.5, "x_test": SECONDS[:TEST] + 0.5}),
    "Unix times as they are": Arrays(
        {"x_train": SECONDS, "x_test": SECONDS[:TEST]},
        {"preprocess": "none"},
        said=["feature 0 has 7 different values in the file and 1 in float32"],
    ),
    "labels as floats": Arrays(labels(THREE.astype(np.float32)), classes=["0", "1", "2"], labels=[0, 1, 2]),
    "labels from 1": Arrays(labels(THREE + 1), classes=["1", "2", "3"], labels=[0, 1, 2]),
    "labels in a column": Arrays(labels(THREE[:, None].astype(float)), classes=["0", "1", "2"]),
    "labels as texts": Arrays(
        labels(np.array(["cat", "ant", "dog"])[THREE]), classes=["ant", "cat", "dog"], labels=[1, 0, 2]
    ),
    "labels as bytes": Arrays(labels(np.array([b"cat", b"ant", b"dog"])[THREE]), classes=["ant", "cat", "dog"]),
    "numbers as texts": Arrays(labels(np.array(["8", "9", "10"])[THREE]), classes=["8", "9", "10"], labels=[0, 1, 2]),
    "codes as texts": Arrays(labels(np.array(["01", "02", "10"])[THREE]), classes=["01", "02", "10"]),
    "one-hot rows": Arrays(labels(np.eye(3)[THREE]), classes=["0", "1", "2"], labels=[0, 1, 2]),
    "one-hot bytes": Arrays(labels(np.eye(3, dtype=np.uint8)[THREE]), classes=["0", "1", "2"]),
    "several classes at once": Arrays(
        labels(np.full((TRAIN, 3), "a")), refused="y_train has the shape .* a row with a single 1"
    ),
    "few numbers": Arrays(labels(THREE + 0.25), classes=[]),
    "labels with gaps": Arrays(
        labels(np.where(THREE == 1, np.nan, 0.0)), refused="y_train contains nan in example 1; leave out examples"
    ),
    "one-hot rows and numbers": Arrays(
        {"y_train": np.eye(3)[THREE], "y_test": THREE[:TEST]}, classes=["0", "1", "2"], labels=[0, 1, 2]
    ),
    "probabilities of classes": Arrays(
        labels(0.9 * np.eye(3)[THREE] + 0.1 / 3),
        classes=[],
        said=["the rows of y_train sum to 1, like probabilities of 3 classes, .* save y_train.argmax"],
    ),
    "bytes and fractions": Arrays(
        {"x_train": np.arange(TRAIN * 64, dtype=np.uint8).reshape(TRAIN, 8, 8), "x_test": np.full((TEST, 8, 8), 0.5)},
        refused="x_train up to 255 and x_test up to 0.5 are scaled differently",
    ),
    "bytes and whole numbers": Arrays(
        {"x_train": np.arange(TRAIN * 64, dtype=np.uint8).reshape(TRAIN, 8, 8), "x_test": np.full((TEST, 8, 8), 200)},
        shape=(1, 8, 8),
    ),
    "many numbers": Arrays(labels(np.arange(TRAIN)), said=["y_train has 24 different numbers.*looks like a quantity"]),
    "texts and numbers": Arrays(
        {"y_train": np.array(["a", "b", "c"])[THREE]}, refused="training labels are texts, the test labels are numbers"
    ),
    "objects": Arrays({"y_train": np.array(["a", "b", "c"], object)[THREE]}, refused="save texts with dtype=str"),
    "names of a medical set": Arrays(
        renamed(MEDICAL), refused="try 'data.keys={x_train:train_images,y_train:train_labels,x_test:test_images"
    ),
    "names of a medical set, given": Arrays(renamed(MEDICAL), {"keys": MEDICAL}, shape=(4,), classes=["0", "1", "2"]),
    "names in capitals": Arrays(renamed(TURNED), refused="try 'data.keys={x_train:X_train,y_train:Y_train"),
    "other names": Arrays(
        renamed({name: f"a{number}" for number, name in enumerate(sound())}), refused="it contains a0, a1, a2, a3; name"
    ),
    "an unknown key": Arrays(
        {}, {"keys": {"x_trian": "a"}}, refused="'x_trian', which no data set has; choose from x_train"
    ),
    "only X and y": Arrays(
        without_test(x_train="X", y_train="y"),
        refused="has no test part; it contains X, y; to test on a fifth of the examples, add "
        "'data.keys={x_train:X,y_train:y}' data.test_fraction=0.2$",
    ),
    "only data and labels": Arrays(
        without_test(x_train="data", y_train="labels"),
        refused="add 'data.keys={x_train:data,y_train:labels}' data.test_fraction=0.2$",
    ),
    "only a training part": Arrays(
        without_test(), refused="contains x_train, y_train; to test on a fifth .*, add data.test_fraction=0.2$"
    ),
    "only a named training part": Arrays(
        without_test(x_train="X", y_train="y"),
        {"keys": {"x_train": "X", "y_train": "y"}},
        refused="contains X, y; to test on a fifth of the examples, add data.test_fraction=0.2$",
    ),
    "a test part that is drawn": Arrays(
        without_test(x_train="X", y_train="y"),
        {"keys": {"x_train": "X", "y_train": "y"}, "test_fraction": 0.25},
        classes=["0", "1", "2"],
        sizes={"train": 14, "val": 4, "test": 6},
        said=["own.npz has no test part; 6 of its 24 examples are drawn for testing, the same for every seed"],
    ),
    "a test part of pictures that is drawn": Arrays(
        {**without_test(), "x_train": drawn(TRAIN, 3, 12, 10)}, {"test_fraction": 0.5}, shape=(3, 12, 10)
    ),
    "a test part of numbers that is drawn": Arrays(
        {**without_test(), "y_train": THREE + 0.25}, {"test_fraction": 0.5}, classes=[], sizes={"test": 12}
    ),
    "a test part of texts that is drawn": Arrays(
        {**without_test(), "y_train": np.array(["b", "a"])[THREE % 2]}, {"test_fraction": 0.5}, classes=["a", "b"]
    ),
    "a test part of one-hot rows that is drawn": Arrays(
        {**without_test(), "y_train": np.eye(3)[THREE]}, {"test_fraction": 0.5}, classes=["0", "1", "2"]
    ),
    "a test part that is drawn next to a validation part": Arrays(
        {**without_test(), "x_val": drawn(5, 4), "y_val": THREE[:5]},
        {"test_fraction": 0.5},
        sizes={"train": 12, "val": 5, "test": 12},
    ),
    "a test part that is there": Arrays(
        {}, {"test_fraction": 0.5}, sizes={"test": TEST}, said=["has a test part; data.test_fraction=0.5 is not used"]
    ),
    "a test part that is too small": Arrays(
        without_test(), {"test_fraction": 0.01}, refused="data.test_fraction=0.01 leaves no example to test on"
    ),
    "a test part without a class to train on": Arrays(
        without_test(), {"test_fraction": 0.99}, refused="leaves no example of a class to train on; use a smaller"
    ),
    "a test part of a class with one example": Arrays(
        {**without_test(), "y_train": np.minimum(np.arange(TRAIN), 1)},
        {"test_fraction": 0.5},
        refused="y_train has only one example of class '0'; every class needs two",
    ),
    "a test part of unequal parts": Arrays(
        {**without_test(), "y_train": THREE[:20]},
        {"test_fraction": 0.5},
        refused="x_train has 24 examples but y_train has 20; the numbers must agree",
    ),
    "a validation part": Arrays(
        {"x_val": drawn(5, 4), "y_val": THREE[:5]},
        sizes={"train": TRAIN, "val": 5, "test": TEST},
        said=["the 5 validation examples are the data set's own; data.val_fraction=0.2 is not used"],
    ),
    "a validation part, left out": Arrays(
        {"x_val": drawn(5, 4), "y_val": THREE[:5]},
        {"keys": {"x_val": None}},
        sizes={"train": 19, "val": 5, "test": TEST},
        said=["own.npz has 2 further arrays that are not used: x_val, y_val$"],
    ),
    "a validation part with another name": Arrays(
        {"val_images": drawn(5, 4), "val_labels": THREE[:5]},
        sizes={"train": 19, "val": 5, "test": TEST},
        said=[
            "not used: val_images, val_labels; to validate on them, add 'data.keys={x_val:val_images,y_val:val_labels}'"
        ],
    ),
    "a validation part with another name, given": Arrays(
        {"x_valid": drawn(5, 4), "y_valid": THREE[:5]},
        {"keys": {"x_val": "x_valid", "y_val": "y_valid"}},
        sizes={"train": TRAIN, "val": 5, "test": TEST},
    ),
    "pictures of a validation part": Arrays(
        inputs(3, 12, 10, x_val=drawn(5, 3, 12, 10), y_val=THREE[:5]),
        shape=(3, 12, 10),
        sizes={"train": TRAIN, "val": 5, "test": TEST},
    ),
    "a medical set with a validation part": Arrays(
        {**renamed(MEDICAL), "val_images": drawn(5, 4), "val_labels": THREE[:5]},
        refused="try 'data.keys={x_train:.*,y_test:test_labels,x_val:val_images,y_val:val_labels}'",
    ),
    "validation labels without inputs": Arrays(
        {"y_val": THREE[:5]}, {"keys": {"y_val": "y_val"}}, refused="has no x_val; it contains"
    ),
    "an unknown class in validation": Arrays(
        {"x_val": drawn(5, 4), "y_val": THREE[:5] + 1}, refused="y_val contains the class 3, which is not in y_train"
    ),
    "validation examples of another shape": Arrays(
        {"x_val": drawn(5, 3), "y_val": THREE[:5]}, refused="the training and validation examples have different shapes"
    ),
    "a training part that is left out": Arrays(
        {}, {"keys": {"x_train": None}}, refused="only x_val and y_val can be left"
    ),
    "further arrays": Arrays(
        {"x_val": drawn(3, 4), "names": np.array(["a"])},
        said=["own.npz has 2 further arrays that are not used: x_val, names"],
    ),
}
