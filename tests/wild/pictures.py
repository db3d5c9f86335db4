"""Folders of pictures as people have them, each with its right outcome; all pictures are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 8


def noise(seed: int = 0) -> np.ndarray:
    """Return bytes of random colours, (SIZE, SIZE, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def rgb(path: Path, seed: int) -> None:
    """Save a picture of random colours."""
    Image.fromarray(noise(seed)).save(path)


def as_jpeg(path: Path, seed: int) -> None:
    """Save a JPEG, whatever the file is called."""
    Image.fromarray(noise(seed)).save(path, format="JPEG")


def drawing(path: Path, seed: int) -> None:
    """Save black strokes on a transparent ground, as programs for drawing do: all colours are black."""
    alpha = noise(seed)[..., 0] > 128
    Image.fromarray(np.dstack([np.zeros_like(noise()), 255 * alpha.astype(np.uint8)]), "RGBA").save(path)


def grey_drawing(path: Path, seed: int) -> None:
    """Save the same in grey with transparency."""
    alpha = noise(seed)[..., 0] > 128
    grey = np.dstack([np.zeros((SIZE, SIZE), np.uint8), 255 * alpha.astype(np.uint8)])
    Image.fromarray(grey, "LA").save(path)


def palette_drawing(path: Path, seed: int) -> None:
    """Save the same with a palette, one colour of which is transparent."""
    picture = Image.fromarray((noise(seed)[..., 0] <= 128).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 0, 0, 0])
    picture.save(path, transparency=1)


def opaque(path: Path, seed: int) -> None:
    """Save colours with an alpha channel that hides nothing, as a screenshot has it."""
    Image.fromarray(np.dstack([noise(seed), np.full((SIZE, SIZE), 255, np.uint8)]), "RGBA").save(path)


def twelve_bits(path: Path, seed: int) -> None:
    """Save values from 0 to 4,095 in 16 bits, as a camera of a microscope does."""
    values = np.random.default_rng(seed).integers(0, 4096, (SIZE, SIZE), dtype=np.uint16)
    values[0, :2] = 0, 4095
    Image.fromarray(values).save(path)


def eight_bits_in_sixteen(path: Path, seed: int) -> None:
    """Save values from 0 to 255 in 16 bits."""
    values = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE), dtype=np.uint16)
    values[0, :2] = 0, 255
    Image.fromarray(values).save(path)


def two_colours(path: Path, seed: int) -> None:
    """Save black and white in one bit."""
    Image.fromarray(noise(seed)[..., 0] > 128).save(path)


def for_print(path: Path, seed: int) -> None:
    """Save a picture in the colours of a printer."""
    Image.fromarray(noise(seed)).convert("CMYK").save(path, quality=100)


def black(path: Path, _seed: int) -> None:
    """Save a black picture."""
    Image.new("L", (SIZE, SIZE)).save(path)


def text(path: Path, _seed: int) -> None:
    """Save a file that is no picture."""
    path.write_text("no picture")


Saved = Callable[[Path, int], None]


@dataclass(frozen=True)
class Folder:
    """A folder, how it is read, and what becomes of it.

    Args:
        names: of its files; each is numbered by its position.
        saved: saves a file; by ending, if it is a mapping.
        settings: of `data`.
        refused: a pattern of the sentence that refuses the folder; None if it is read.
        sizes: of the splits; a number for each that is checked.
        classes: their names.
        channels: of an example.
        values: the different values of the training pictures, as fractions of white; None if they are not checked.
        said: patterns of what is said about the folder.
    """

    names: Sequence[str]
    saved: Saved | Mapping[str, Saved] = rgb
    settings: Mapping[str, Any] = field(default_factory=dict)
    refused: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    classes: Sequence[str] = ("cat", "dog")
    channels: int | None = None
    values: tuple[float, float, int] | None = None
    said: Sequence[str] = ()

    def save(self, root: Path) -> None:
        """Write the files."""
        for number, name in enumerate(self.names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            saved = self.saved if callable(self.saved) else self.saved.get(path.suffix, rgb)
            saved(path, number)


def named(*parts: str, count: int = 5, ending: str = ".png") -> list[str]:
    """Return the names of pictures of two classes in the folders of parts."""
    prefixes = [f"{part}/" if part else "" for part in parts]
    return [f"{p}{c}/{n}{ending}" for p in prefixes for c in ("cat", "dog") for n in range(count)]


WHOLE = named("", count=10)
OWN = ["the 10 validation examples are the data set's own; data.val_fraction=0.2 is not used"]
HALF = {"train": 8, "val": 2, "test": 10}
THREE = {"train": 10, "val": 10, "test": 10}

CASES: dict[str, Folder] = {
    # layouts
    "train and test": Folder(named("train", "test"), sizes=HALF),
    "Train and Test": Folder(named("Train", "Test"), sizes=HALF),
    "TRAIN and TEST": Folder(named("TRAIN", "TEST"), sizes=HALF),
    "training and testing": Folder(named("training", "testing"), sizes=HALF),
    "Training and Test": Folder(named("Training", "Test"), sizes=HALF),
    "train, val and test": Folder(named("train", "val", "test"), sizes=THREE, said=OWN),
    "Train, Validation and Test": Folder(named("Train", "Validation", "Test"), sizes=THREE, said=OWN),
    "train, valid and test": Folder(named("train", "valid", "test"), sizes=THREE, said=OWN),
    "train, dev and test": Folder(named("train", "dev", "test"), sizes=THREE, said=OWN),
    "train and valid": Folder(
        named("train", "valid"),
        sizes={"train": 8, "val": 10, "test": 2},
        said=[*OWN, r"has no labelled folder of test pictures, so a share of 'train' is used for testing"],
    ),
    "train and valid as test": Folder(
        named("train", "valid"), settings={"parts": {"train": "train", "test": "valid"}}, sizes=HALF
    ),
    "train, val and test without classes": Folder(
        [*named("train", "val"), "test/1.png"],
        sizes={"train": 8, "val": 10, "test": 2},
        said=["folders in '.*' are not used, only train and val are: 'test'"],
    ),
    "what macOS adds to archives": Folder(
        [*WHOLE, "__MACOSX/cat/0.png", "__MACOSX/1.png", "cat/__MACOSX/1.png"], sizes={"train": 13, "val": 3, "test": 4}
    ),
    "a stray picture": Folder(
        [*WHOLE, "cover.png"], said=["1 picture in no folder of a class is not used: 'cover.png'"]
    ),
    "stray pictures next to the classes of parts": Folder(
        [*named("train", "test"), "train/cover.png", "test/cover.png"],
        sizes=HALF,
        said=["2 pictures in no folder of a class are not used: 'test/cover.png', 'train/cover.png'"],
    ),
    "sub-folders of classes": Folder(
        [*named("", count=5), *(f"cat/{c}/{n}.png" for c in ("big", "small") for n in range(3))],
        sizes={"train": 10, "val": 3, "test": 3},
        said=["Pictures in sub-folders of a class in '.*' count for it: 'cat' has 'big', 'small'"],
    ),
    "other names": Folder(
        named("seen", "unseen"),
        refused=r"has the folders 'seen', 'unseen', which all have the sub-folders 'cat', 'dog'; if the latter are the "
        r"classes, add 'data.parts={train:seen,test:unseen}'; if 'seen', 'unseen' are the classes, add data.parts=none",
    ),
    "names with other words": Folder(
        named("seg_test", "seg_train", "seg_val"), refused="data.parts={train:seg_train,test:seg_test,val:seg_val}"
    ),
    "other names, parts": Folder(
        named("seen", "un seen"), settings={"parts": {"train": "seen", "test": "un seen"}}, sizes=HALF
    ),
    "other names, classes": Folder(
        named("seen", "unseen", count=10), settings={"parts": "none"}, classes=("seen", "unseen")
    ),
    "train and another name": Folder(
        named("train", "hold out"),
        refused=r"""add 'data.parts={train:train,test:"hold out"}'; if 'hold out', 'train'""",
    ),
    "two for training": Folder(
        named("Train", "training", "test"),
        refused=r"has the folders 'Train', 'training', which can each be the train part; choose one with 'data.parts=",
    ),
    "a part that does not exist": Folder(
        named("a", "b"),
        settings={"parts": {"train": "a", "test": "c"}},
        refused=r"data.parts={train:a,test:c}: '.*' has no folder 'c'; choose from a, b",
    ),
    "a part without a name": Folder(
        named("a", "b"),
        settings={"parts": {"train": "a", "exam": "b"}},
        refused=r"has 'exam'; choose from train, test, val",
    ),
    "only one part": Folder(
        named("a", "b"), settings={"parts": {"train": "a"}}, refused="needs one folder for train and another one for"
    ),
    "a class less in val": Folder(
        [*named("train", "test"), "val/cat/1.png"], sizes={"train": 10, "val": 1, "test": 10}
    ),
    "a class more in val": Folder(
        [*named("train", "val", "test"), "val/bird/1.png"], refused="of the class 'bird' in 'val' but not in 'train'"
    ),
    "classes with the same inner folder": Folder([f"{c}/images/{n}.png" for c in ("cat", "dog") for n in range(10)]),
    "one folder around": Folder(
        [f"all/{name}" for name in named("train", "test")], refused="only one class, 'all'.*given as path='.*all'"
    ),
    # files
    "further endings": Folder(
        [f"{c}/{n}.{e}" for c in ("cat", "dog") for n in range(5) for e in ("jfif", "gif", "avif", "png")],
        {".jfif": as_jpeg},
        sizes={"train": 26, "val": 6, "test": 8},
    ),
    "capital endings": Folder(named("", count=10, ending=".PNG"), sizes={"train": 13, "val": 3, "test": 4}),
    "files that are not read": Folder(
        [*WHOLE, "cat/a.heic", "cat/b.heic", "dog/c.HEIC", "dog/notes.txt", "cat/Thumbs.db", "cat/noending"],
        dict.fromkeys((".heic", ".HEIC", ".txt", ".db", ""), text),
        sizes={"train": 13, "val": 3, "test": 4},
        said=[
            r"5 files in '.*' are not read as pictures \(3 .heic, 1 .txt, 1 without an ending\), such as 'cat/a.heic'"
        ],
    ),
    "only files that are not read": Folder(
        [f"{c}/{n}.heic" for c in ("cat", "dog") for n in range(3)],
        text,
        refused="has no sub-folder with pictures",
        said=[r"6 files in '.*' are not read as pictures \(6 .heic\)"],
    ),
    # transparency
    "drawings": Folder(
        WHOLE, drawing, channels=3, values=(0, 1, 2), said=["20 pictures in '.*' are transparent and drawn on white; "]
    ),
    "drawings on black": Folder(
        WHOLE,
        drawing,
        {"background": "black"},
        channels=3,
        values=(0, 0, 1),
        said=["drawn on black; data.background=white draws on white", "all inputs are 0 in every training example"],
    ),
    "grey drawings": Folder(WHOLE, grey_drawing, channels=1, values=(0, 1, 2), said=["drawn on white"]),
    "drawings with a palette": Folder(WHOLE, palette_drawing, channels=3, values=(0, 1, 2), said=["drawn on white"]),
    "screenshots": Folder(WHOLE, opaque, channels=3, values=(0, 1, 256)),
    "an unknown background": Folder(WHOLE, drawing, {"background": "red"}, refused="data.background='red' should be"),
    # ranges
    "12 bits in 16": Folder(
        WHOLE,
        twelve_bits,
        channels=1,
        values=(0, 1, 250),
        said=[r"16-bit grey pictures in '.*' are scaled from 0 to 4,095 to bytes; 'data.grey_range=\[0,65535\]' sets"],
    ),
    "12 bits in 16, as if they were 16": Folder(
        WHOLE, twelve_bits, {"grey_range": [0, 65535]}, channels=1, values=(0, 16 / 255, 17)
    ),
    "8 bits in 16": Folder(
        WHOLE, eight_bits_in_sixteen, channels=1, values=(0, 1, 242), said=["from 0 to 255 to bytes"]
    ),
    "a range upside down": Folder(
        WHOLE, twelve_bits, {"grey_range": [4095, 0]}, refused="data.grey_range=.4095.*should be"
    ),
    "12 bits, measured in training": Folder(
        named("train", "test", count=10),
        twelve_bits,
        channels=1,
        values=(0, 1, 252),
        said=["from 0 to 4,095 to bytes"],
    ),
    # colours
    "black and white": Folder(WHOLE, two_colours, channels=1, values=(0, 1, 2), said=["converted to grey.* 20 1"]),
    "for print": Folder(
        named("", count=10, ending=".jpg"), {".jpg": for_print}, channels=3, said=["converted to RGB.* 20 CMYK"]
    ),
    # no information
    "all black": Folder(
        WHOLE, black, channels=1, said=["all inputs are 0 in every training example, so nothing can be"]
    ),
}
