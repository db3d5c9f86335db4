"""A checkpoint that asks for more memory than it has bytes is refused before torch reads it."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.folders.archive import check_archive
from experiments.folders.run import CHECKPOINT_KEYS, FORMAT, RunFolder, packed

HUGE = 10**11


class Called:
    """Unpickles as a call of a function of a module."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, self.arguments


def zipped(path: Path, content: object, protocol: int = 2) -> None:
    """Write a file like torch's whose pickle holds something."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps(content, protocol))
        archive.writestr("bomb/version", "3\n")


def compressed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}))
        archive.writestr("bomb/data/0", bytes(2**22))


def overlapping(path: Path) -> None:
    """Write an archive whose many entries are the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}))
        archive.writestr("bomb/data/0", bytes(2**16))
        for number in range(1, 100):
            entry = zipfile.ZipInfo(f"bomb/data/{number}")
            first = archive.getinfo("bomb/data/0")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(entry, name, getattr(first, name))
            archive.filelist.append(entry)


def twice(path: Path) -> None:
    """Write an archive with a harmless pickle, and another that a reader may find in its place."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}))
        archive.writestr("bomb/DATA.PKL", pickle.dumps(Called(bytearray, HUGE), 2))


def legacy(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)


BOMBS = {
    "compressed": (compressed, "compressed entries"),
    "overlapping": (overlapping, "its entries would take"),
    "two of a name": (twice, "two entries with the same name"),
    "the format before zip": (legacy, "not a readable zip file"),
    "torch.Tensor": (lambda path: zipped(path, Called(torch.Tensor, HUGE)), "names torch.Tensor"),
    "bytearray": (lambda path: zipped(path, Called(bytearray, HUGE)), "names __builtin__.bytearray"),
    "a storage": (lambda path: zipped(path, Called(torch.UntypedStorage, HUGE)), "UntypedStorage"),
    "code": (lambda path: zipped(path, Called(eval, "1 + 1")), "eval"),
    "a newer pickle": (lambda path: zipped(path, Called(bytearray, HUGE), protocol=4), "which no checkpoint needs"),
    "text": (lambda path: path.write_text("no checkpoint"), "not a readable zip file"),
}


@pytest.mark.parametrize(("made", "said"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(tmp_path: Path, made: Any, said: str) -> None:
    path = tmp_path / "checkpoints" / "best.pt"
    path.parent.mkdir()
    made(path)
    with pytest.raises(ValueError, match="is broken") as error:
        RunFolder(tmp_path).load(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_storage_declared_larger_than_its_entry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    whole = io.BytesIO(packed({"a": torch.zeros(10)}))
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("data.pkl"):
                assert content.count(b"K\n") == 2
                content = content.replace(b"K\n", b"J" + (10**9).to_bytes(4, "little"))
            changed.writestr(name, content)
    with pytest.raises(ValueError, match="is broken"):
        RunFolder(tmp_path).load(path)


def test_the_content_of_checkpoints_is_accepted(tmp_path: Path) -> None:
    held: Any = [
        torch.arange(3, dtype=kind) for kind in (torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8)
    ]
    held += [torch.nn.Parameter(torch.ones(2)), torch.Size([2]), torch.float32, torch.device("cpu"), {1, 2}, 1j, b"x"]
    held.append(OrderedDict(a=torch.tensor(True)))
    path = tmp_path / "best.pt"
    path.write_bytes(packed(dict.fromkeys(CHECKPOINT_KEYS - {"format"}, held)))
    check_archive(path)
    state = RunFolder(tmp_path).load(path)
    assert state["format"] == FORMAT
    for one, other in zip(state["program"][:5], held[:5], strict=True):
        assert torch.equal(one, other)


def test_a_tensor_that_repeats_one_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    state = dict.fromkeys(CHECKPOINT_KEYS, 0) | {"format": FORMAT}
    torch.save({**state, "program": {"model": {"weight": torch.zeros(1).expand(40_000, 40_000)}}}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"a tensor of shape \(40000, 40000\) with 6,400,000,000 bytes"):
        RunFolder(tmp_path).load(path)
