"""Parts of a data set that share examples: a `Dataset` that is described again, and files that are given twice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.assembly._overlaps import shared
from tests.helpers import SMALL, Commands

from .loading import HERE, loaded, sizes


def rows_of(split: Any) -> set[bytes]:
    return {row.numpy().tobytes() for row in split.raw()}


def test_the_training_set_described_again_gives_the_examples_that_are_set_aside() -> None:
    data = loaded("Numbers", preprocess="none", val={"train": True}, test={"kind": "array"})
    assert sizes(data) == {"train": 26, "val": 6, "test": 8}
    parts = [rows_of(split) for split in data.splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert data.notes == [
        "data.test describes the training examples again; 8 of the 40 are drawn for testing, the same for every seed, "
        "and read with its settings; if it has a test part, add 'data.test={train:false}'",
        "data.val describes the training examples again; the examples that are set aside for validation (6 of 32) are "
        "read with its settings",
    ]
    assert not data.doubts


def test_the_settings_of_the_validation_set_are_used_for_the_examples_that_are_set_aside() -> None:
    plain = loaded("Numbers", preprocess="none")
    data = loaded("Numbers", kind="torch", preprocess="none", val={"kind": "pair"}, workers=0)
    assert sizes(data) == {"train": 26, "val": 6, "test": 8}
    known: set[bytes] = set().union(*[rows_of(split) for split in plain.splits.values()])
    assert rows_of(data.splits["val"]) < known
    assert not rows_of(data.splits["train"]) & known  # they are read at random
    assert torch.equal(data.splits["val"].y, (data.splits["val"].raw().sum(1) > 0).long())


def test_other_examples_with_the_same_targets_are_all_used() -> None:
    data = loaded("Alternating", val={"draw": 1}, test={"draw": 2})
    assert sizes(data) == {"train": 60, "val": 60, "test": 60}
    assert data.notes[:2] == [
        f"data.{part} has the targets of the training examples in the same order, but other inputs; all of its 60 "
        "examples are used"
        for part in ("test", "val")
    ]
    assert not data.doubts


def test_parts_with_examples_of_another_part_are_doubtful() -> None:
    data = loaded("Numbers", val={"train": False, "count": 20}, test={"train": False, "count": 20})
    assert data.doubts == [
        "all 20 test examples are validation examples too, so the best epoch is chosen by examples that should be "
        "looked at once, at the end"
    ]
    own = loaded("Numbers", val={"_target_": f"{HERE}.Numbers"}, test={"train": False})
    assert own.doubts == [
        "all 40 validation examples are training examples too, so the validation numbers do not show how the model "
        "does on new examples"
    ]
    turned = loaded("Numbers", kind="torch", val={"_target_": f"{HERE}.Numbers"}, workers=0)
    assert turned.doubts == own.doubts


@pytest.mark.parametrize("kind", ["csv", "npz", "npy"])
def test_a_file_that_is_given_twice_is_named_in_a_warning(kind: str, commands: Commands) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(60, 3)).astype("float32"), np.arange(60) % 2
    if kind == "csv":
        lines = [",".join(map(str, [*row, label])) for row, label in zip(x, y, strict=True)]
        Path("a.csv").write_text("\n".join(["a,b,c,y", *lines]) + "\n")
        words = ["data.path=a.csv", "data.target=y", "data.test_path=a.csv"]
    elif kind == "npz":
        mixed = draw.permutation(60)
        np.savez("a.npz", x_train=x, y_train=y, x_test=x[mixed], y_test=y[mixed])
        words = ["data.path=a.npz"]
    else:
        np.save("x.npy", x)
        np.save("y.npy", y)
        words = ["data.x=x.npy", "data.y=y.npy", "data.x_test=x.npy", "data.y_test=y.npy"]
    outcome = commands.train(f"data={kind}", *words, *SMALL[2:], "training.epochs=1")
    assert outcome.code == 0, outcome.err
    assert (
        "warning: all 60 test examples are training examples too, so the test numbers do not show how the model does "
        "on new examples\n"
    ) in outcome.out
    assert "questionable data" in outcome.out


def test_rows_that_repeat_anyway_are_no_leak() -> None:
    binary = torch.randint(0, 2, (400, 4), generator=torch.Generator().manual_seed(0)).float()
    assert shared(binary[300:], binary[:300]) == 0
    x = torch.randn(400, 80, generator=torch.Generator().manual_seed(0))
    assert shared(x[300:], x[:300]) == 0
    assert shared(torch.cat([x[100:150], x[300:350]]), x[:300]) == 0.5
    x[:, 3] = torch.nan
    assert shared(x[100:200].flip(0), x[:300]) == 1
