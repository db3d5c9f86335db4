"""Inputs in .npy files stay in their files; what is wrong with a file is one sentence."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import assembly
from experiments.data.mapped import npy
from experiments.training.streams import Streams
from tests.helpers import SMALL, Commands, composed, metrics
from tests.wild.outcomes import assert_refused

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (60, 3, 6, 8), dtype=np.uint8)
NUMBERS = RNG.standard_normal((60, 5), dtype=np.float32)
CLASSES = np.arange(60) % 3


def saved(folder: Path, **arrays: Any) -> dict[str, str]:
    """Save arrays, and return the settings that name their files."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: str(folder / f"{name}.npy") for name in arrays}


def loaded(**settings: Any) -> assembly.Data:
    """Load .npy files as a run does."""
    config = composed("data=npy", "data.x=x", "data.y=y")
    section = {**config["data"], "preprocess": "none", **settings}
    return assembly.data({**config, "data": section}, Streams(0), torch.device("cpu"))


def is_mapped(x: torch.Tensor, path: str) -> bool:
    """Whether a tensor is a file that is mapped into memory."""
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            if first <= x.data_ptr() < last:
                return line.rstrip().endswith(path)
    return False


@pytest.mark.parametrize("x", [PICTURES, NUMBERS, PICTURES.transpose(0, 2, 3, 1).copy()])
def test_inputs_stay_in_their_file(tmp_path: Path, x: np.ndarray) -> None:
    files = saved(tmp_path, x=x, y=CLASSES)
    data = loaded(**files)
    assert data.mapped
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 38, "val": 10, "test": 12}
    first = torch.from_numpy(PICTURES if x.ndim == 4 else NUMBERS)
    rows = []
    for split in data.splits.values():
        assert is_mapped(split.x, files["x"])
        assert split.rows is not None
        assert torch.equal(split.first(99)[0], first[split.rows].float())
        assert torch.equal(split.y, torch.from_numpy(CLASSES)[split.rows])
        rows.append(split.rows)
    assert torch.equal(torch.cat(rows).sort().values, torch.arange(60))


def test_other_numbers_are_read(tmp_path: Path) -> None:
    data = loaded(**saved(tmp_path, x=NUMBERS.astype(np.float64), y=CLASSES))
    assert not data.mapped
    assert data.splits["train"].x.dtype == torch.float32


def test_own_parts_are_used(tmp_path: Path) -> None:
    more = {"x_test": NUMBERS[:6], "y_test": CLASSES[:6], "x_val": NUMBERS[:9], "y_val": CLASSES[:9]}
    data = loaded(**saved(tmp_path, x=NUMBERS, y=CLASSES, **more))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60, "val": 9, "test": 6}


def test_fractions_are_a_regression_and_some_classes_may_be_kept(tmp_path: Path) -> None:
    data = loaded(**saved(tmp_path, x=NUMBERS, y=NUMBERS[:, 0]))
    assert data.task.name == "regression"
    assert len(data.splits["test"]) == 12
    kept = loaded(**saved(tmp_path, x=NUMBERS, y=CLASSES), keep_classes=["2", "0"])
    assert {name: len(split) for name, split in kept.splits.items()} == {"train": 26, "val": 6, "test": 8}
    for split in kept.splits.values():
        assert split.rows is not None
        assert torch.equal(split.y, torch.tensor([1, -1, 0])[torch.from_numpy(CLASSES)[split.rows]])


@pytest.mark.slow
def test_a_run_has_the_bits_of_the_same_arrays_in_memory(commands: Commands) -> None:
    parts: dict[str, np.ndarray] = {"x_test": PICTURES[:12], "y_test": CLASSES[:12]}
    files = saved(commands.folder, x=PICTURES, y=CLASSES, **parts)
    np.savez("own.npz", allow_pickle=False, x_train=PICTURES, y_train=CLASSES, **parts)
    words = [f"data.{name}={Path(path).name}" for name, path in files.items()]
    mapped = commands.trained(*SMALL[:1], *SMALL[2:], "data=npy", *words, "name=mapped")
    read = commands.trained(*SMALL[:1], *SMALL[2:], "data=npz", "data.path=own.npz", "name=read")
    assert metrics(mapped) == metrics(read)


def with_file(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def refused(folder: Path, kind: str) -> dict[str, str]:
    """The settings of files of which one is wrong."""
    files = saved(folder, x=NUMBERS, y=CLASSES)
    whole = (folder / "x.npy").read_bytes()
    match kind:
        case "absent":
            return {**files, "x": "nowhere.npy"}
        case "folder":
            return {**files, "x": str(folder)}
        case "text":
            return {**files, "x": with_file(folder, "t.npy", b"a,b\n1,2\n")}
        case "cut off":
            return {**files, "x": with_file(folder, "c.npy", whole[:-7])}
        case "head only":
            return {**files, "x": with_file(folder, "h.npy", whole[:9])}
        case "objects":
            np.save(folder / "o.npy", np.array([{}] * 60, dtype=object), allow_pickle=True)
            return {**files, "y": str(folder / "o.npy")}
        case "other length":
            return files | saved(folder, y=CLASSES[:50])
        case "empty":
            return files | saved(folder, x=NUMBERS[:0])
        case "fortran":
            return files | saved(folder, x=np.asfortranarray(NUMBERS))
        case "not finite":
            broken = NUMBERS.copy()
            broken[41, 2] = np.inf
            return files | saved(folder, x=broken)
        case "one of a class":
            return files | saved(folder, y=np.array([9, *CLASSES[1:]]))
        case "half a test":
            return {**files, "x_test": files["x"]}
        case "other shape":
            return files | saved(folder, x_test=NUMBERS[:, :4], y_test=CLASSES)
    raise AssertionError(kind)


REFUSED = {
    "absent": r"data.x='nowhere.npy' does not exist; give an .npy file$",
    "folder": r"data.x='.*' does not exist; give an .npy file$",
    "text": r"data.x='.*t.npy' is not an .npy file; save it with numpy.save$",
    "cut off": r"data.x='.*c.npy' is cut off: it is shorter than the array that it declares$",
    "head only": r"data.x='.*h.npy' cannot be read: ",
    "objects": r"data.y='.*o.npy' cannot be read: .*; save texts with dtype=str instead of object$",
    "other length": r"data.x has 60 examples but y has 50; the numbers must agree$",
    "empty": r"data.x='.*x.npy' is empty: its shape is \(0, 5\)$",
    "fortran": r"data.x='.*x.npy' has its values in Fortran's order; save numpy.ascontiguousarray\(x\)$",
    "not finite": r"data: x_train has a value that is not finite in float32, first in example 41$",
    "one of a class": r"data.y has only one example of class '9'; every class needs two$",
    "half a test": r"data.x_test='.*x.npy' is given without y_test; give both, or neither$",
    "other shape": r"data: the training and test examples have different shapes: \(5,\) and \(4,\)$",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, kind: str) -> None:
    assert_refused(partial(loaded, **refused(tmp_path, kind)), REFUSED[kind])


def test_a_fraction_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    files = saved(tmp_path, x=NUMBERS, y=CLASSES)
    with pytest.raises(ValueError, match=r"^test_fraction=0.001 leaves no example to test on; use a larger fraction$"):
        npy(files["x"], files["y"], test_fraction=0.001)
