"""How long a folder of 60,000 small pictures takes to decode and keep, and then to start with."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from .measure import Settings, SkipError, interleaved, process
from .report import Line, Target, tabulated

ROUNDS = 2
STARTS = 8
PICTURES = 60_000
CLASSES = 10
SIZE = 32
ARCHIVE = "cifar10-jpeg-12k.zip"


@contextmanager
def unpacked(settings: Settings) -> Iterator[Path]:
    """Yield a temporary folder whose `pictures` has the photographs, one folder per class.

    Raises:
        SkipError: the archive is not there.
    """
    if settings.data is None or not (settings.data / ARCHIVE).exists():
        raise SkipError(f"no {ARCHIVE} beside MNIST")
    with tempfile.TemporaryDirectory() as temporary:
        with zipfile.ZipFile(settings.data / ARCHIVE) as opened:
            opened.extractall(Path(temporary, "pictures"))
        yield Path(temporary)


PACK = f"decoding and keeping {PICTURES:,} JPEGs of {SIZE} x {SIZE}"
OURS = "python -m experiments.train data=image_folder training.epochs=0, pictures kept"
THEIRS = "python -m experiments.train training.epochs=0"
CALL = "import sys; from experiments.data.pictures import image_folder; image_folder(sys.argv[1], 32, sys.argv[2])"
PACK_TARGET = Target(60, unit=" s")
START_TARGET = Target(2, unit=" s")


def run(settings: Settings, console: Console) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, cache = Path(temporary, "pictures"), Path(temporary, "cache")
        write(folder, settings.data)
        packing = [
            process(["-c", CALL, str(folder), str(cache / str(number))]).seconds
            for number in range(settings.repeats(ROUNDS))
        ]
        chosen = ["data=image_folder", f"data.path={folder}", f"data.size={SIZE}", f"data.cache={cache / '0'}"]
        actions = {
            OURS: lambda: process(["-m", "experiments.train", "training.epochs=0", *chosen]).seconds,
            THEIRS: lambda: process(["-m", "experiments.train", "training.epochs=0"]).seconds,
        }
        for action in actions.values():
            action()  # the first one reads from the disk
        samples = interleaved(actions, dict.fromkeys(actions, settings.repeats(STARTS)))
    more = [ours - theirs for ours, theirs in zip(samples[OURS], samples[THEIRS], strict=True)]
    console.print("Pictures: a folder for each class, decoded once; seconds to the end of the process")
    lines = [
        Line(PACK, packing, "this, in all", packing, " s", PACK_TARGET),
        Line(OURS, samples[OURS], "this - digits", more, " s", START_TARGET),
        Line(THEIRS, samples[THEIRS]),
    ]
    console.print(tabulated("s", lines))


def write(folder: Path, data: Path | None) -> None:
    """Write the pictures: those of CIFAR-10 as often as needed where they are there, and made-up ones elsewhere."""
    contents = list(real(data / ARCHIVE) if data and (data / ARCHIVE).exists() else made_up())
    for name in sorted({name for name, _ in contents}):
        (folder / name).mkdir(parents=True)
    for number in range(PICTURES):
        name, content = contents[number % len(contents)]
        (folder / name / f"{number:05}.jpg").write_bytes(content)


def real(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the training pictures' classes and files."""
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.startswith("train/") and name.endswith(".jpg"):
                yield name.split("/")[1], opened.read(name)


def made_up() -> Iterator[tuple[str, bytes]]:
    """Yield 100 pictures of each class, as large in bytes as photographs of that size are."""
    noise = np.random.default_rng(0)
    for number in range(100 * CLASSES):
        coarse = Image.fromarray(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = BytesIO()
        coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(file, "JPEG")
        yield str(number % CLASSES), file.getvalue()
