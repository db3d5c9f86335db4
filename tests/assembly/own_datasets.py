"""Data sets of a user, for the tests: a torch `Dataset` with everything that can be right or wrong about it."""

import os
import random
import signal
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, get_worker_info

from experiments.data.sources import digits


def vector(index: int, train: bool = True) -> Tensor:
    """The five numbers of an example."""
    return torch.randn(5, generator=torch.Generator().manual_seed(2 * index + train))


class Numbers(Dataset[Any]):
    """Five numbers and whether their sum is positive."""

    def __init__(self, count: int = 40, train: bool = True, kind: str = "pair") -> None:
        self.count, self.train, self.kind, self.reads = count, train, kind, 0

    def __len__(self) -> int:
        return self.count - (self.kind == "shrinking" and self.reads > self.count)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        x = vector(index, self.train)
        y: Any = int(x.sum() > 0)
        match self.kind:
            case "array":
                return x.numpy(), np.int64(y)
            case "list":
                return x.tolist(), y
            case "tensor target":
                return x, torch.tensor(y)
            case "names":
                return x, ["no", "yes"][y]
            case "dict":
                return {"pixel_values": x, "label": y, "id": index}
            case "two keys":
                return {"answer": y, "features": x}
            case "columns":
                return {"a": float(x[0]), "b": float(x[1]), "name": "n", "sum": float(x.sum())}
            case "triple":
                return x, y, index
            case "single":
                return x
            case "text":
                return "a text", y
            case "nothing":
                return None, y
            case "ragged":
                return x[: 5 - (index == 7)], y
            case "ragged targets":
                return x, torch.zeros(2 + (index == 7))
            case "bytes and numbers":
                return (x if index == 7 else x.to(torch.uint8)), y
            case "some texts":
                return x, "yes" if index == 7 else y
            case "broken":
                return x, dict.fromkeys(range(7), y)[index] if index == 7 else y
            case "torch":
                return x + torch.rand(()), y
            case "numpy":
                return x + float(np.random.rand()), y
            case "python":
                return x + random.random(), y
            case "own generator":
                return x + self.reads, y
            case "rarely":
                return x * (2.0 if torch.rand(()) < 1e-9 else 1.0), y
        return x, y


class Alternating(Dataset[Any]):
    """Noise, whose classes take turns: the targets are the same for every draw."""

    def __init__(self, draw: int = 0) -> None:
        self.x = torch.randn(60, 4, generator=torch.Generator().manual_seed(draw))

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Any:
        return self.x[index], index % 2


class Limited(Alternating):
    """Noise below a limit, whose parameters are called like settings and arguments of the framework."""

    def __init__(
        self, limit: float = 0.5, augment: bool = False, length: int = 60, form: str = "x", wanted: int = 3
    ) -> None:
        super().__init__()
        assert (form, wanted) == ("x", 3)
        self.x = self.x[:length].clip(-limit, limit)
        self.length = length

    def __len__(self) -> int:
        return self.length


class Named(Alternating):
    """Noise with names of its classes, of which one target is something else."""

    classes = ("even", "odd")

    def __init__(self, kind: str = "17", at: int = 37) -> None:
        super().__init__()
        self.kind, self.at = kind, at

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        match self.kind:
            case "from 1":
                return x, y + 1
            case "texts":
                return x, "od" if index == self.at else self.classes[y]
            case "float":
                return x, 17.0 if index == self.at else float(y)
            case "folders":
                return x, f"n0{y}"
            case "fractions":
                return x, 17.5 if index == self.at else float(y)
        return x, int(self.kind) if index == self.at else y


class Noisy(Dataset[Any]):
    """Many random examples, whose targets are known beforehand."""

    def __init__(self, count: int = 400, kind: str = "right", train: bool = True) -> None:
        self.kind, self.train, self.read = kind, train, 0
        self.targets = [int(vector(index, train).sum() > 0) for index in range(count)]

    def __len__(self) -> int:
        return len(self.targets) - 5 * (self.kind == "shrinking" and self.read > 900)

    def __getitem__(self, index: int) -> Any:
        y = self.targets[index]
        self.read += 1
        if index == 7 and self.kind == "broken":
            raise KeyError("no such picture")
        if index == 7 and self.kind == "other target":
            y = 1 - y
        if index == 7 and self.kind == "ragged":
            return vector(index)[:3], y
        if index == 7 and self.kind == "killed" and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return vector(index, self.train) + torch.rand(()) + float(np.random.rand()) + random.random(), y


class Slow(Noisy):
    """Examples that take a few milliseconds each to read."""

    def __getitem__(self, index: int) -> Any:
        time.sleep(0.005)
        return super().__getitem__(index)


class Pictures(Dataset[Any]):
    """Pictures of PIL, with names of their classes."""

    classes = ("dark", "bright")

    def __init__(self, mode: str = "RGB", count: int = 24) -> None:
        self.mode, self.count = mode, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        pixels = np.full((6, 8, 3), 40 + 150 * (index % 2) + index, np.uint8)
        return Image.fromarray(pixels).convert(self.mode), index % 2


class Stream(IterableDataset[Any]):
    """Examples without numbers."""

    def __init__(self, count: int | None = 40, kind: str = "right") -> None:
        self.count, self.kind = count, kind

    def __iter__(self) -> Iterator[Any]:
        for index in range(self.count) if self.count is not None else count():
            if index == 7 and self.kind == "broken":
                raise KeyError("no such line")
            yield vector(index) + (torch.rand(()) if self.kind == "random" else 0), int(vector(index).sum() > 0)


def digits_dataset(train: bool = True) -> TensorDataset:
    """The digits, as a data set of torch."""
    source = digits()
    return TensorDataset(*((source.x_train, source.y_train) if train else (source.x_test, source.y_test)))


def divided() -> dict[str, Numbers]:
    """All parts at once, as Hugging Face calls them."""
    return {"train": Numbers(), "validation": Numbers(10, kind="array"), "test": Numbers(12, train=False)}


def loader() -> DataLoader[Any]:
    """A loader of batches."""
    return DataLoader(Numbers())


def collating() -> DataLoader[Any]:
    """A loader with batches of its own."""
    return DataLoader(Numbers(), collate_fn=list)


def part() -> Subset[Any]:
    """A part of the pictures."""
    return Subset(Pictures(), range(4, 20))
