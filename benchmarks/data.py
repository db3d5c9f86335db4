"""Data that workers read: photographs with random augmentation beside torch's DataLoader, and a mapped set of 4 GiB."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset

from experiments.assembly._items import Fields, streamed
from experiments.data.streamed import Streamed

from .measure import MIB, Settings, interleaved, process, ratios
from .packing import unpacked
from .report import Line, Target, tabulated

BATCH = 128
WORKERS = 2
ROUNDS = 8
OURS, THEIRS = "our workers", "torch's DataLoader alone"
SLOWER = Target(1.05)
WAITING = Target(0.20)
BEYOND = Target(1024, unit=" MiB")
ROWS, FEATURES = 2**20, 1024
TRAINING = (
    "data.workers=2",
    "data.preprocess=standardize",
    "model=cnn",
    "model.stages=[[8],[16]]",
    "training.batch_size=128",
    "training.epochs=3",
)
QUIET = ("observers.tensorboard.enabled=false", "observers.pictures.enabled=false")
OWN_MEMORY = """
import json, re, runpy, threading, time
from pathlib import Path
peak = 0
def watch():
    global peak
    while True:
        text = Path("/proc/self/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+)", text)[1]) * 1024)
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
try:
    runpy.run_module("experiments.train", run_name="__main__", alter_sys=True)
finally:
    Path("peak.json").write_text(json.dumps(peak))
"""
"""Trains, and writes the peak of the memory of its own: pages of files, which can be taken back, are not counted."""


class Photographs(Dataset[Any]):
    """JPEG files in a folder for each class, each cropped and flipped at random whenever it is read.

    Args:
        folder: with a folder for each class.
        train: whether pictures are changed at random.
    """

    def __init__(self, folder: str, train: bool = True) -> None:
        from torchvision.transforms import v2

        self.files = sorted(Path(folder, "train" if train else "test").glob("*/*.jpg"))
        self.classes = sorted({file.parent.name for file in self.files})
        self.targets = [self.classes.index(file.parent.name) for file in self.files]
        changes = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()] if train else []
        self.transform = v2.Compose([v2.PILToTensor(), *changes])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        with Image.open(self.files[index]) as picture:
            return self.transform(picture.convert("RGB")), self.targets[index]


def run(settings: Settings, console: Console) -> None:
    """Print the tables."""
    with unpacked(settings) as folder:
        reading(settings, console, folder / "pictures")
        waiting(console, folder)
        if not settings.quick:
            mapped(console, folder)


def reading(settings: Settings, console: Console, pictures: Path) -> None:
    """Print how long an epoch of batches takes to read, without a training."""
    dataset = Photographs(str(pictures))
    samples = read_in_turns(dataset, settings.repeats(ROUNDS))
    compared = ratios(samples, OURS, THEIRS)
    console.print(f"Photographs: {len(dataset):,} JPEGs, v2 crop and flip, {WORKERS} workers; s per epoch of batches")
    lines = [Line(OURS, samples[OURS], "this / torch's", compared, target=SLOWER), Line(THEIRS, samples[THEIRS])]
    console.print(tabulated("s", lines))


def read_in_turns(dataset: Dataset[Any], rounds: int, workers: int = WORKERS) -> dict[str, list[float]]:
    """Return the seconds of epochs of batches, read by our workers and by torch's, which have started before.

    Args:
        dataset: of pairs of an input and a class.
        rounds: the epochs of each.
        workers: of each.
    """
    found = streamed(dataset, Fields(), None, workers)
    targets = torch.from_numpy(found.y)
    split = Streamed(found.x, targets, lambda x: x, torch.device("cpu"))  # type: ignore[arg-type]
    context = "fork" if workers else None
    loader = DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=context,
    )
    orders = torch.Generator().manual_seed(0)

    def ours() -> Iterator[object]:
        batches = torch.randperm(len(targets), generator=orders)[None].split(BATCH, 1)
        split.announce(batches, 0)
        return (split.batch(index[0]) for index in batches)

    def seconds(batches: Any) -> float:
        began = time.perf_counter()
        for _ in batches():
            pass
        return time.perf_counter() - began

    actions = {OURS: lambda: seconds(ours), THEIRS: lambda: seconds(lambda: iter(loader))}
    for action in actions.values():
        action()  # the first one starts the workers
    try:
        return interleaved(actions, dict.fromkeys(actions, rounds))
    finally:
        split.close()


def waiting(console: Console, folder: Path) -> None:
    """Print the share of the time of updates in which a run waits for data."""
    data = f"data={{_target_: benchmarks.data.Photographs, folder: {folder / 'pictures'}}}"
    seconds = process(
        ["-m", "experiments.train", data, "data.test={train: false}", "name=waiting", *TRAINING, *QUIET], folder
    ).seconds
    (found,) = folder.glob("outputs/waiting/*/summary.json")
    summary = json.loads(found.read_text(encoding="utf-8"))
    console.print(
        f"python -m experiments.train 'data={{_target_: benchmarks.data.Photographs, ...}}' {' '.join(TRAINING)}"
    )
    share = summary["waiting"]
    speed = summary["examples_per_second"]
    lines = [
        Line("share of the time of updates that waits for data", [share], "this", [share], target=WAITING),
        Line("examples per second", [speed]),
        Line("s, from typing to the end", [seconds]),
    ]
    console.print(tabulated("", lines))


def mapped(console: Console, folder: Path) -> None:
    """Print the memory of a run on a set of 4 GiB that stays in its file, beyond that of the digits."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, ROWS)
    centres = rng.normal(size=(10, FEATURES)).astype(np.float32)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (ROWS, FEATURES))
    for start in range(0, ROWS, 2**16):
        labels = y[start : start + 2**16]
        x[start : start + 2**16] = centres[labels] + 4 * rng.standard_normal((len(labels), FEATURES), dtype=np.float32)
    x.flush()
    del x
    np.save(folder / "y.npy", y)
    own = ["data=npy", f"data.x={folder / 'x.npy'}", f"data.y={folder / 'y.npy'}"]
    steps = ["training.steps=200", "training.batch_size=128", *QUIET]
    peaks = []
    for words in ([*own, *steps], steps):
        process(["-c", OWN_MEMORY, *words], folder)
        peaks.append(json.loads((folder / "peak.json").read_text()) / MIB)
    console.print("Memory of one's own (RssAnon), 200 updates; MiB")
    beyond = [peaks[0] - peaks[1]]
    lines = [
        Line(
            f"data=npy, {ROWS:,} x {FEATURES:,} in float32: 4 GiB", peaks[:1], "this - digits", beyond, " MiB", BEYOND
        ),
        Line("data=digits", peaks[1:]),
    ]
    console.print(tabulated("MiB", lines))
