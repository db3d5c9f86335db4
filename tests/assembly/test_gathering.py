"""A torch `Dataset` of a user is read once, and is then data like any other; what is wrong with it is one sentence."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import assembly
from experiments.common.errors import UserError
from experiments.data import memory
from experiments.training.streams import Streams
from tests.helpers import SMALL, Commands, composed, metrics, summary
from tests.wild.outcomes import assert_refused

from .loading import HERE, loaded, sizes
from .own_datasets import vector


@pytest.mark.parametrize("kind", ["pair", "array", "list", "tensor target", "dict", "two keys"])
def test_items_of_many_forms_are_the_same_examples(kind: str) -> None:
    data = loaded("Numbers", kind=kind, preprocess="none", test={"train": False, "count": 8})
    assert sizes(data) == {"train": 32, "val": 8, "test": 8}
    assert torch.equal(data.splits["test"].raw(), torch.stack([vector(k, train=False) for k in range(8)]))
    assert data.splits["test"].y.tolist() == [int(vector(k, train=False).sum() > 0) for k in range(8)]
    assert data.classes == ["0", "1"]


def test_texts_are_classes() -> None:
    assert loaded("Numbers", kind="names").classes == ["no", "yes"]


def test_columns_are_chosen_and_numbers_with_fractions_are_a_regression() -> None:
    data = loaded("Numbers", kind="columns", input=["a", "b"], target="sum", preprocess="none")
    assert data.task.name == "regression"
    assert data.input_shape == (2,)
    assert loaded("Numbers", kind="triple", input=0, target=1).input_shape == (5,)


def test_a_test_part_is_drawn_and_this_is_said() -> None:
    data = loaded("Numbers")
    assert sizes(data) == {"train": 26, "val": 6, "test": 8}
    assert data.notes == [
        "Numbers has no test part; 8 of its 40 examples are drawn for testing, the same for every seed; if it has a "
        "test part, add 'data.test={train:false}'"
    ]
    assert sizes(loaded("Numbers", test_fraction=0.5))["test"] == 20


def test_parts_of_its_own_are_used() -> None:
    own = loaded("Numbers", val={"count": 9}, test={"_target_": f"{HERE}.Numbers", "count": 7})
    assert sizes(own) == {"train": 40, "val": 9, "test": 7}
    assert sizes(loaded("divided")) == {"train": 40, "val": 10, "test": 12}


@pytest.mark.parametrize(("mode", "shape"), [("RGB", (3, 6, 8)), ("L", (1, 6, 8)), ("P", (3, 6, 8))])
def test_pictures_are_bytes_with_the_channels_first(mode: str, shape: tuple[int, ...]) -> None:
    data = loaded("Pictures", mode=mode)
    assert data.input_shape == shape
    assert data.splits["train"].raw().dtype == torch.uint8
    assert data.classes == ["dark", "bright"]
    assert loaded("part").classes == ["dark", "bright"]


def test_a_stream_is_read_once() -> None:
    data = loaded("Stream", preprocess="none")
    assert sizes(data) == {"train": 26, "val": 6, "test": 8}
    assert data.notes[0] == "Stream is a stream, which is read once: 40 examples"
    endless = loaded("Stream", count=None, length=40, preprocess="none")
    for name, split in data.splits.items():
        assert torch.equal(endless.splits[name].raw(), split.raw())
    assert sizes(loaded("Stream", kind="random", gather=True)) == sizes(data)


def test_an_endless_stream_is_refused_when_memory_is_full() -> None:
    with (
        memory.limited(2_500_000),
        pytest.raises(
            UserError, match=r"data: Stream with 3,000 examples needs about 3.4 MB of memory, but lim.* endless"
        ),
    ):
        loaded("Stream", count=None)


def test_the_data_set_of_a_loader_is_used() -> None:
    assert torch.equal(loaded("loader").splits["train"].raw(), loaded("Numbers").splits["train"].raw())


def test_random_examples_are_read_once_if_this_is_wanted_and_nothing_else_is_drawn() -> None:
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    first = torch.rand(()), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    for kind in ("torch", "numpy", "python"):
        one, two = (loaded("Numbers", kind=kind, gather=True).splits["train"].raw() for _ in range(2))
        assert torch.equal(one, two)
    assert (torch.rand(()), np.random.rand(), random.random()) == first


def test_parameters_that_are_called_like_settings_are_never_mistaken_for_them() -> None:
    data = loaded("Limited", length=40, preprocess="none")  # of the class, as are form and wanted
    assert (sum(sizes(data).values()), data.splits["train"].raw().max()) == (40, 0.5)
    for name, value in (("limit", 30), ("augment", True)):
        assert_refused(
            partial(loaded, "Limited", **{name: value}),
            rf"data.{name}={str(value).lower()} is ambiguous: {name} is a setting of every data set, and a parameter "
            r"of Limited, which does not get it; call the parameter something else, or name a function that calls "
            rf"Limited: def mine\(own_{name}\): return Limited\({name}=own_{name}\)$",
        )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("17", "example 37 of Named has the target 17, .* 2 names; expected numbers from 0 to 1"),
        ("-1", "example 37 of Named has the target -1, .* 2 names; expected numbers from 0 to 1"),
        (
            "float",
            "example 37 of Named has the target 17, .* 2 names; expected numbers from 0",
        ),
        (
            "texts",
            "example 37 of Named has the target 'od', .* 2 names; expected one of even, odd",
        ),
        (
            "from 1",
            "example 1 of Named has the target 2, .* 2 names; expected .*: subtract 1$",
        ),
    ],
)
def test_a_target_without_a_class_is_refused_and_not_a_class_of_its_own(kind: str, said: str) -> None:
    assert_refused(partial(loaded, "Named", kind=kind), f"^data: {said}")


def test_targets_that_the_names_of_the_classes_are_not_about_are_left_as_they_are() -> None:
    assert loaded("Named", kind="0").classes == ["even", "odd"]
    assert loaded("Named", kind="folders").classes == ["n00", "n01"]
    assert loaded("Named", kind="fractions").task.name == "regression"
    assert_refused(
        partial(loaded, "Named", kind="0", test={"kind": "5"}),
        r"^data: example 37 of Named \(data.test\) has the target 5, but its attribute classes has 2 names",
    )


REFUSED = {
    "own generator": r"data: Numbers is random in a way that cannot be repeated: example 0 differs when it is read "
    r"again after the same seed; draw from the global generator of torch, numpy or Python$",
    "ragged": r"data: example 7 of Numbers has the shape 4, but example 0 has 5; all examples should have one shape, "
    r"or data.context=<steps> if they are sequences of unequal lengths$",
    "ragged targets": r"data: the target of example 7 of Numbers has the shape \(3,\), but that of example 0 has \(2",
    "bytes and numbers": r"data: example 7 of Numbers has the type float32, but the examples before it have uint8; all",
    "some texts": r"data: the target of example 7 of Numbers is a text, but that of example 0 is a number$",
    "broken": r"data: Numbers cannot read example 7: it raised KeyError: 7 \(\w+ in own_datasets.py, line \d+\)$",
    "shrinking": r"data: the length of Numbers changed from 40 to 39 while it was read$",
    "columns": r"data: example 0 of Numbers has the keys a, b, name, sum; choose its input with data.input=a$",
    "triple": r"data: example 0 of Numbers has 3 values; choose its input with data.input=0$",
    "single": r"data: example 0 of Numbers is a Tensor; expected a pair of input and target, or a dict of them$",
    "text": r"data: the input of example 0 of Numbers is a text; expected numbers or a picture$",
    "nothing": r"data: the input of example 0 of Numbers is None; expected a tensor, an array, a picture of PIL or num",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_dataset_that_cannot_be_used_is_refused_in_one_sentence(kind: str) -> None:
    assert_refused(partial(loaded, "Numbers", kind=kind), REFUSED[kind])


SETTINGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "empty": ("Numbers", {"count": 0}, r"data: Numbers has no examples: its length is 0$"),
    "negative": ("Numbers", {"count": -1}, r"data: Numbers has no usable length: len\(\) raised ValueError: __len__"),
    "unknown": ("Numbers", {"cuont": 3}, r"unknown setting 'data.cuont' of Numbers; choose .* did you mean '.*count"),
    "unknown of the test": ("Numbers", {"test": {"tran": 3}}, r"unknown setting 'data.test.tran' of Numbers; choose"),
    "no such key": (
        "Numbers",
        {"kind": "dict", "input": "z"},
        r"data.input='z' is not in example 0 of Numbers; choose",
    ),
    "gather": ("Numbers", {"gather": "yes"}, r"data.gather='yes' should be 'auto' or a valid boolean"),
    "broken stream": (
        "Stream",
        {"kind": "broken"},
        r"data: Stream cannot read example 7: it raised KeyError: 'no such",
    ),
    "random stream": (
        "Stream",
        {"kind": "random"},
        r"data: Stream draws random numbers when it is read; data.gather=true",
    ),
    "length of a Dataset": (
        "Numbers",
        {"length": 3},
        r"data.length=3 is for streams, but Numbers has a length; use data.l",
    ),
    "collate": (
        "collating",
        {},
        r"data: DataLoader puts batches together by its own collate_fn; return its dataset, with",
    ),
    "other test": ("Numbers", {"test": {"kind": "broken"}}, r"data: Numbers cannot read example 7: it raised KeyError"),
    "workers": ("Numbers", {"workers": -1}, r"data.workers=-1 should be greater than or equal to 0"),
    "function": ("vector", {"index": 3, "gather": True}, r"data._target_=.* returned a Tensor, expected a Source or a"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_do_not_fit_are_refused_in_one_sentence(case: str) -> None:
    name, settings, sentence = SETTINGS[case]
    with pytest.raises(UserError, match=sentence):
        loaded(name, **settings)


def test_a_source_has_no_settings_of_datasets() -> None:
    config = composed()
    given = {**config, "data": {**config["data"], "gather": True}}
    with pytest.raises(UserError, match=r"unknown setting 'data.gather' of digits; it has no settings$"):
        assembly.data(given, Streams(0), torch.device("cpu"))


@pytest.mark.slow
def test_a_hugging_face_data_set_is_read_from_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "id": datasets.Value("int64"),
            "label": datasets.ClassLabel(names=["dark", "bright"]),
        }
    )
    pixels = [np.full((6, 8), 40 + 150 * (k % 2) + k, np.uint8) for k in range(24)]
    rows = {"image": pixels, "id": list(range(24)), "label": [k % 2 for k in range(24)]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(train=whole, test=whole.select(range(6))).save_to_disk(tmp_path / "saved")
    config = composed()
    section = {"_target_": "datasets.load_from_disk", "dataset_path": str(tmp_path / "saved"), "preprocess": "none"}
    given = {**config, "data": {**assembly.splitting(config["data"]), **section}}
    data = assembly.data(given, Streams(0), torch.device("cpu"))
    assert data.classes == ["dark", "bright"]
    assert data.input_shape == (1, 6, 8)
    assert data.splits["test"].raw()[:, 0, 0, 0].tolist() == [40 + 150 * (k % 2) + k for k in range(6)]


@pytest.mark.slow
def test_the_digits_as_a_dataset_give_the_same_bits(commands: Commands) -> None:
    plain = commands.trained(*SMALL, "name=plain")
    own = commands.trained(*SMALL, f"data={{_target_: {HERE}.digits_dataset}}", "data.test={train:false}")
    assert metrics(own) == metrics(plain)
    assert summary(own)["metrics"] == summary(plain)["metrics"]
    outcome = commands.train(f"resume={own}", "training.epochs=3", "trust=[tests]")
    assert outcome.code == 0, outcome.err
