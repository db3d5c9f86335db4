"""A folder of pictures, one sub-folder for each class."""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from . import packed
from .forms import Background, Form, ImageForm
from .packed import PARTS, Facts, Packed, Picture, UnreadableError, UnusableError
from .sources import Source
from .split import stratified

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"),
    *(".jpe", ".jfif", ".gif", ".avif", ".jp2", ".tga", ".dib", ".pbm"),
)
"""Those of torchvision.datasets.folder.IMG_EXTENSIONS, and others that PIL can read."""

NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev"),
}
"""What people call the folders of the parts, in any case."""

CLASSES = "none"
"""The setting of `parts` for a folder whose sub-folders are classes, whatever they are called."""

SYSTEM = {"thumbs.db", "desktop.ini"}
"""Files that an operating system puts into folders, in addition to hidden ones."""

SYSTEM_FOLDERS = {"__macosx", "@eadir", "lost+found"}
"""Folders that an operating system or its archives put next to one's own, in addition to hidden ones."""

ALL_OF_16_BITS = (0, 65535)

WHOLE = "whole"
"""Used as the part's name if a folder is not divided into parts."""

SHOWN = 3
"""Names listed in a message."""

LOG = logging.getLogger("experiments")


class File(NamedTuple):
    """A picture's file: its path below the data's folder, its size in bytes, and its time of change in nanoseconds."""

    name: str
    size: int
    changed: int


Listing = dict[str, dict[str, list[File]]]
"""Files by part and class."""


def image_folder(
    path: str,
    size: Annotated[int, Ge(1)],
    cache: str | None = None,
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2,
    skip_unreadable: bool = False,
    parts: dict[str, str] | Literal["none"] | None = None,
    background: Background = "white",
    grey_range: tuple[float, float] | None = None,
    form: Form = None,
) -> Source:
    """Pictures in the layout of torchvision's ImageFolder, with a sub-folder for each class.

    The pictures are decoded once, scaled and cropped to one size (see `packed.decoded`) and stored as bytes, which
    later runs map into memory as long as the folder's files do not change.

    Args:
        path: the folder, with `train/<class>/...`, `test/<class>/...` and perhaps `val/<class>/...`, under one of the
            names in `NAMES`, or with `<class>/...`. Names that begin with a dot are skipped.
        size: the side, in pixels, to which pictures are scaled and cropped.
        cache: the folder for the decoded pictures; None for `experiments` in the user's cache folder.
        test_fraction: for a folder without `test`, the share of the pictures to test on, the same pictures for every
            seed.
        skip_unreadable: whether to leave out pictures that cannot be read, instead of stopping.
        parts: train, test and val -> the folder of the part; `none` if the sub-folders are classes; None to recognise
            them by their names.
        background: the colour on which transparent pictures are drawn.
        grey_range: the values of black and white in grey pictures of 16 bits; None for the smallest and the largest
            value of the training pictures.
        form: that of the pictures that a run was trained on, whose background and range count; None for a new run.

    Raises:
        ValueError: the folder is absent or unsuitable, or a picture cannot be read.
        OSError: the decoded pictures cannot be written.
    """
    root = Path(path).expanduser()
    if grey_range is not None and grey_range[0] >= grey_range[1]:
        raise ValueError(f"grey_range={list(grey_range)} should be the value of black, then a larger one of white")
    trained = form if isinstance(form, ImageForm) else None
    found = listed(root, path, parts)
    for sentence in (*found.notes, *deeper(found.files, path), *left_aside(found.others, path), *strays(root, found)):
        LOG.info(f"{sentence}.")
    packing = Packing(
        root,
        path,
        found,
        class_names(found, path),
        size,
        cache,
        None if "test" in found.files else test_fraction,
        skip_unreadable,
        background if trained is None else trained.background,
    )
    cached = packing.packed(grey_range)
    if trained is not None and cached.facts.limits is not None and limits_of(cached.facts) != trained.limits:
        cached = packing.packed(trained.limits or ALL_OF_16_BITS)
    log_facts(cached.facts, path, packing.background)
    return Source(
        cached.x["train"],
        cached.y["train"],
        cached.x["test"],
        cached.y["test"],
        packing.classes,
        mapped=True,
        form=ImageForm(size=size, background=packing.background, limits=limits_of(cached.facts)),
        x_val=cached.x.get("val"),
        y_val=cached.y.get("val"),
    )


def limits_of(facts: Facts) -> tuple[float, float] | None:
    """Return the values of black and white in grey pictures of 16 bits; None if there are none."""
    return None if facts.limits is None else (facts.limits[0], facts.limits[1])


@dataclass
class Found:
    """The files in a folder.

    Args:
        files: the pictures by part and class, sorted by name within each class.
        called: part -> the name of its folder.
        others: the names of files that do not end like those of pictures.
        notes: sentences about the folders, without their full stops.
    """

    files: Listing
    called: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Packing:
    """How the pictures of a folder become arrays.

    Args:
        root: the folder.
        path: the folder as the user wrote it.
        found: its files.
        classes: the names of the classes.
        size, cache, skip_unreadable: see `image_folder`.
        test_fraction: the share that is drawn for testing; None if the folder has a test part.
        background: the colour on which transparent pictures are drawn; None to leave their transparency out.
    """

    root: Path
    path: str
    found: Found
    classes: list[str]
    size: int
    cache: str | None
    test_fraction: float | None
    skip_unreadable: bool
    background: Background | None

    def packed(self, grey_range: Sequence[float] | None) -> Packed:
        """Return the decoded pictures: those of an earlier run, or new ones.

        Args:
            grey_range: see `image_folder`.

        Raises:
            ValueError: a picture cannot be read, there are too few, or the decoded ones cannot be written.
        """
        settings = {
            "size": self.size,
            "test_fraction": self.test_fraction,
            "background": self.background,
            "grey_range": grey_range and list(grey_range),
        }
        listing = self.found.files
        key = fingerprint(listing, settings)
        folder = cache_folder(self.cache, self.root) / f"{self.root.resolve().name[:40]}-{self.size}-{key[:16]}"
        cached = opened(folder, key, skip_unreadable=self.skip_unreadable)
        if cached is not None:
            return cached
        divided = pictures(listing, self.classes, self.test_fraction or 0.0)
        facts = Facts(packed.VERSION, key, str(self.root.resolve()), settings)
        self.check({part: numbers(some) for part, some in divided.items()}, facts)
        conversion = packed.Conversion(self.background, grey_range, measured=grey_range is None)
        try:
            return packed.pack(
                self.root,
                divided,
                self.size,
                folder,
                facts,
                conversion=conversion,
                skip_unreadable=self.skip_unreadable,
                check=self.check,
            )
        except UnreadableError as error:
            raise ValueError(
                f"path={self.path!r} contains a picture that cannot be read, {error.name!r} ({error.reason}); "
                "repair or remove it, or leave out all such pictures with data.skip_unreadable=true"
            ) from None
        except OSError as error:
            raise ValueError(
                f"cache={self.cache!r}: the packed pictures cannot be written to {str(folder.parent)!r} "
                f"({error.strerror or error}); free some space there, or choose another folder with data.cache=<folder>"
            ) from None

    def check(self, labels: Mapping[str, Tensor], facts: Facts) -> None:
        """See `check_counts`."""
        check_counts(labels, facts, self.found, self.path, self.classes, self.test_fraction)


def listed(root: Path, path: str, parts: dict[str, str] | str | None) -> Found:
    """Return the files in a folder.

    Args:
        root: the data's folder.
        path: the folder as the user wrote it.
        parts: the folders of the parts, see `image_folder`.

    Raises:
        ValueError: the folder is absent, its layout is none of those that are understood, or can be read in two ways.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(f"path={path!r} {problem}; give a folder with a sub-folder of pictures for each class")
    if parts == CLASSES:
        called: dict[str, str] = {}
    elif isinstance(parts, dict):
        called = given_parts(root, path, parts)
    else:
        called = recognised_parts(root, path)
    others: list[str] = []
    if not called:
        return Found({WHOLE: by_class(root, "", root, others)}, {}, others)
    found = Found(
        {part: by_class(root / called[part], f"{called[part]}/", root, others) for part in PARTS if part in called},
        called,
        others,
    )
    names = [called[part] for part in PARTS if part in called]
    used = f"{', '.join(names[:-1])} and {names[-1]}"
    unused = sorted(name for name in folders(root) if name not in names)
    if unused:
        found.notes.append(f"The following folders in {path!r} are not used, only {used} are: {quoted(unused)}")
    if "test" not in called:
        found.notes.append(
            f"{path!r} has no labelled folder of test pictures, so a share of {called['train']!r} is used for testing"
        )
    return found


def given_parts(root: Path, path: str, parts: Mapping[str, str]) -> dict[str, str]:
    """Return the folders of the parts that the user has named.

    Raises:
        ValueError: a part or a folder does not exist, or there is none for training, or only one.
    """
    for part, name in parts.items():
        if part not in PARTS:
            raise ValueError(f"parts={shown(parts)} has {part!r}; choose from {', '.join(NAMES)}")
        if name not in folders(root):
            raise ValueError(
                f"parts={shown(parts)}: {path!r} has no folder {name!r}; choose from {', '.join(folders(root))}"
            )
    if "train" not in parts or len({*parts.values()}) < max(2, len(parts)):
        raise ValueError(f"parts={shown(parts)} needs one folder for train and another one for test or val")
    return dict(parts)


def recognised_parts(root: Path, path: str) -> dict[str, str]:
    """Return the folders of the parts by their names; nothing if the folders are classes.

    Raises:
        ValueError: the folders can be read as parts and as classes, or a part lacks its classes.
    """
    above = folders(root)
    words_of_parts = {word for words in NAMES.values() for word in words}
    divided = [
        name
        for name in above
        if divided_into_classes(root / name)
        or (name.casefold() in words_of_parts and len(folders(root / name)) > 1)  # with a stray picture
    ]
    called: dict[str, str] = {}
    for part, words in NAMES.items():
        names = [name for name in divided if name.casefold() in words]
        if len(names) > 1:
            raise ValueError(
                f"path={path!r} has the folders {quoted(names)}, which can each be the {part} part; choose one with "
                f"{suggested({**called, part: names[0]}, divided)}"
            )
        if names:
            called[part] = names[0]
    if "train" in called and len(called) > 1:
        return called
    inside = {tuple(folders(root / name)) for name in divided}
    if len(divided) > 1 and len(divided) == len(above) and len(inside) == 1 and len(min(inside)) > 1:
        both, classes = quoted(above), quoted(list(min(inside)))
        raise ValueError(
            f"path={path!r} has the folders {both}, which all have the sub-folders {classes}; if the latter are the "
            f"classes, add {suggested(called, divided)}; if {both} are the classes, add data.parts={CLASSES}"
        )
    if called.keys() & {"train", "test"}:
        ((part, name),) = called.items()
        other = "test" if part == "train" else "train"
        other = next((name for name in above if name.casefold() in NAMES[other]), other)
        raise ValueError(
            f"path={path!r} has classes in its folder {name!r} but not in {other!r}; "
            f"sort both into classes, or give path={str(Path(path, name))!r}"
        )
    return {}


def likeness(name: str, part: str) -> int:
    """Return 0 if a folder's name has a word for a part in it, as `seg_train`, 2 if for another part, otherwise 1."""
    inside = [one for one, words in NAMES.items() if any(word in name.casefold() for word in words)]
    return 0 if part in inside else 2 if inside else 1


def suggested(called: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the setting that makes parts of folders.

    Args:
        called: those that are known.
        names: of all folders.
    """
    chosen = dict(called)
    for part in ("train", "test"):
        free = [name for name in names if name not in chosen.values()]
        if part not in chosen and free:
            chosen[part] = min(free, key=partial(likeness, part=part))
    for name in names:
        if name not in chosen.values() and likeness(name, "val") == 0:
            chosen.setdefault("val", name)
    return f"'data.parts={shown({part: chosen[part] for part in NAMES if part in chosen})}'"


def shown(parts: Mapping[str, str]) -> str:
    """Return parts as they are typed."""
    texts = {part: name if re.fullmatch(r"\w+", name) else f'"{name}"' for part, name in parts.items()}
    return f"{{{','.join(f'{part}:{text}' for part, text in texts.items())}}}"


def divided_into_classes(folder: Path) -> bool:
    """Whether a folder has sub-folders, and no picture next to them."""
    if not folder.is_dir() or not folders(folder):
        return False
    with os.scandir(folder) as entries:
        return not any(is_picture(entry) for entry in entries)


def folders(folder: Path) -> list[str]:
    """Return the sorted names of a folder's sub-folders, without hidden ones and those of the operating system."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".") and entry.name.lower() not in SYSTEM_FOLDERS
        )


def by_class(folder: Path, prefix: str, root: Path, others: list[str]) -> dict[str, list[File]]:
    """Return the files of the pictures in each of a folder's sub-folders; the names of other files are appended."""
    above = frozenset({identity(root), identity(folder)})
    return {name: sorted(files(folder / name, f"{prefix}{name}/", above, others)) for name in folders(folder)}


def files(folder: Path, prefix: str, above: frozenset[tuple[int, int]], others: list[str]) -> Iterator[File]:
    """Yield the files of the pictures in a folder and its sub-folders.

    Args:
        folder: the folder.
        prefix: the beginning of its files' names.
        above: the identities of the folders around it; a link to one of these is not followed.
        others: the names of files that do not end like those of pictures are appended.
    """
    own = identity(folder)
    if own in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_picture(entry):
                yield file(entry, prefix)
            elif entry.name.startswith(".") or entry.name.lower() in (*SYSTEM, *SYSTEM_FOLDERS):
                continue
            elif entry.is_dir():
                yield from files(Path(entry.path), f"{prefix}{entry.name}/", above | {own}, others)
            else:
                others.append(prefix + entry.name)


def left_aside(others: Sequence[str], path: str) -> list[str]:
    """Return a sentence about files that are not read as pictures, without its full stop; none if there are none."""
    if not others:
        return []
    endings = Counter(Path(name).suffix.lower() or "without an ending" for name in others)
    counts = ", ".join(f"{count:,} {ending}" for ending, count in sorted(endings.items(), key=lambda i: (-i[1], i[0])))
    noun, verb = ("file", "is") if len(others) == 1 else ("files", "are")
    return [f"{len(others):,} {noun} in {path!r} {verb} not read as pictures ({counts}), such as {min(others)!r}"]


def deeper(listing: Listing, path: str) -> list[str]:
    """Return a sentence about classes whose pictures are in sub-folders; none if there are none.

    Args:
        listing: the files by part and class.
        path: the folder as the user wrote it.
    """
    inside: dict[str, set[str]] = {}
    for part, classes in listing.items():
        for name, some in classes.items():
            for each in some:
                steps = each.name.split("/")[(0 if part == WHOLE else 1) + 1 : -1]
                if steps:
                    inside.setdefault(name, set()).add(steps[0])
    if not inside:
        return []
    name = min(inside)
    return [f"Pictures in sub-folders of a class in {path!r} count for it: {name!r} has {quoted(sorted(inside[name]))}"]


def strays(root: Path, found: Found) -> list[str]:
    """Return a sentence about pictures that are in no folder of a class; none if there are none."""
    names = []
    for folder in (root, *(root / name for name in found.called.values())):
        with os.scandir(folder) as entries:
            names += [str(Path(entry.path).relative_to(root)) for entry in entries if is_picture(entry)]
    if not names:
        return []
    noun, verb = ("picture", "is") if len(names) == 1 else ("pictures", "are")
    return [f"{len(names):,} {noun} in no folder of a class {verb} not used: {quoted(sorted(names))}"]


def identity(folder: Path) -> tuple[int, int]:
    """Return numbers that identify a folder, whatever link leads to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def is_picture(entry: "os.DirEntry[str]") -> bool:
    """Whether the entry has the name of a picture and is not a folder."""
    return entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith(".") and not entry.is_dir()


def file(entry: "os.DirEntry[str]", prefix: str) -> File:
    """Return a file's size and time of change; a broken link has the size -1."""
    try:
        status = entry.stat()
    except OSError:
        return File(prefix + entry.name, -1, 0)
    return File(prefix + entry.name, status.st_size, status.st_mtime_ns)


def class_names(found: Found, path: str) -> list[str]:
    """Return the sorted names of the classes.

    Raises:
        ValueError: there are fewer than two classes, or the parts have different classes.
    """
    held = {part: {name for name, some in classes.items() if some} for part, classes in found.files.items()}
    if not any(held.values()):
        raise ValueError(
            f"path={path!r} has no sub-folder with pictures; it needs one for each class, "
            f"with files that end in {', '.join(EXTENSIONS)}"
        )
    for one, other in (("train", "test"), ("test", "train"), ("val", "train")):
        missing = sorted(held[one] - held[other]) if one in held and other in held else []
        if missing:
            raise ValueError(
                f"path={path!r} has pictures of the class {missing[0]!r} in {found.called[one]!r} but not in "
                f"{found.called[other]!r}; both must have the same classes"
            )
    names = sorted(set().union(*found.files.values()))
    if len(names) < 2:
        inner = folders(Path(path).expanduser() / names[0])
        hint = f"; its sub-folders are given as path={str(Path(path, names[0]))!r}" if len(inner) > 1 else ""
        raise ValueError(f"path={path!r} has only one class, {names[0]!r}; at least two are needed{hint}")
    return names


def fingerprint(listing: Listing, settings: Mapping[str, object]) -> str:
    """Return a hash that changes with any file's name, size or time of change, and with the settings."""
    lines = [
        f"{name}\0{size}\0{changed}"
        for classes in listing.values()
        for f in classes.values()
        for name, size, changed in f
    ]
    return hashlib.sha256(os.fsencode("\n".join([repr(settings), *lines]))).hexdigest()


def cache_folder(cache: str | None, root: Path) -> Path:
    """Return the folder for decoded pictures.

    Raises:
        ValueError: the folder is inside the folder of the pictures.
    """
    if cache is None:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "experiments"
    folder = Path(cache).expanduser()
    if folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"cache={cache!r} is inside the folder of the pictures; give a folder outside it")
    return folder


def opened(folder: Path, key: str, *, skip_unreadable: bool) -> Packed | None:
    """Open the decoded pictures of an earlier run; None if there are none that can be used."""
    try:
        cached = packed.read(folder, key)
    except UnusableError as reason:
        LOG.info(f"The decoded pictures in {str(folder)!r} are {reason}, so the pictures are decoded again.")
        return None
    return None if cached and cached.facts.left_out and not skip_unreadable else cached


def pictures(listing: Listing, classes: list[str], test_fraction: float) -> dict[str, list[Picture]]:
    """Return the pictures of each part; the test part is drawn if the folder has none."""
    parts = {
        part: [Picture(f.name, label, f.size) for label, name in enumerate(classes) for f in by_name.get(name, [])]
        for part, by_name in listing.items()
    }
    if "test" in parts:
        return parts
    whole = parts.pop(WHOLE) if WHOLE in parts else parts["train"]
    test, train = stratified(numbers(whole), round(test_fraction * len(whole)), torch.Generator().manual_seed(0))
    drawn = {part: [whole[row] for row in rows.sort()[0].tolist()] for part, rows in (("train", train), ("test", test))}
    return parts | drawn


def numbers(some: list[Picture]) -> Tensor:
    """Return the pictures' class numbers."""
    return torch.tensor([picture.label for picture in some], dtype=torch.int64)


def check_counts(
    labels: Mapping[str, Tensor],
    facts: Facts,
    found: Found,
    path: str,
    classes: list[str],
    test_fraction: float | None,
) -> None:
    """Refuse data in which a class or a part has too few pictures.

    Args:
        labels: class numbers by part.
        facts: the facts about the pictures.
        found: the folders of the parts.
        path: the folder as the user wrote it.
        classes: the names of the classes.
        test_fraction: the share that was drawn for testing; None if the folder has a test part.

    Raises:
        ValueError: no picture can be read, a class has fewer than two pictures, or a part has none of a class.
    """
    left_out = facts.left_out
    without = f", not counting {len(left_out)} that cannot be read" if left_out else ""
    if left_out and not any(len(y) for y in labels.values()):
        name, reason = next(iter(left_out.items()))
        raise ValueError(
            f"path={path!r} has {len(left_out)} pictures but none can be read; the first is {name!r} ({reason})"
        )
    train, test = (torch.bincount(labels[part], minlength=len(classes)) for part in ("train", "test"))
    counted = train if test_fraction is None else train + test
    few = [label for label, count in enumerate(counted.tolist()) if count < 2]
    if few:
        count = ("no picture", "only one picture")[int(counted[few[0]])]
        where = f" in {found.called['train']!r}" if found.called else ""
        raise ValueError(
            f"path={path!r} has {count} of the class {classes[few[0]]!r}{where}{without}; a class needs at least two"
        )
    for part, name in found.called.items():
        if len(labels[part]) == 0:
            raise ValueError(f"path={path!r} has no picture in {name!r}{without}")
    if len(labels["test"]) == 0:
        raise ValueError(
            f"test_fraction={test_fraction} leaves none of {len(labels['train'])} pictures to test on{without}; "
            "use a larger fraction"
        )
    none = [name for name, count in zip(classes, train.tolist(), strict=True) if count == 0]
    if none:
        raise ValueError(
            f"test_fraction={test_fraction} leaves no picture of the class {none[0]!r} to train on{without}; "
            "use a smaller fraction"
        )


def log_facts(facts: Facts, path: str, background: str | None) -> None:
    """Log which pictures were left out, and how the others were converted."""
    if facts.left_out:
        count = len(facts.left_out)
        noun, verb = ("picture", "is") if count == 1 else ("pictures", "are")
        LOG.info(f"{count:,} {noun} in {path!r} cannot be read and {verb} left out: {quoted(list(facts.left_out))}.")
    if len(facts.modes) > 1 or not facts.modes.keys() <= {"RGB", "L"}:
        modes = ", ".join(f"{count:,} {mode}" for mode, count in facts.modes.items())
        common = "grey" if facts.modes.keys() <= packed.GREY | packed.WIDE else "RGB"
        LOG.info(f"The pictures in {path!r} are converted to {common}; their colour modes are {modes}.")
    if facts.transparent:
        noun, verb = ("picture", "is") if facts.transparent == 1 else ("pictures", "are")
        other = "black" if background == "white" else "white"
        LOG.info(
            f"{facts.transparent:,} {noun} in {path!r} {verb} transparent and drawn on {background}; "
            f"data.background={other} draws on {other}."
        )
    if facts.limits is not None:
        black, white = facts.limits
        LOG.info(
            f"The 16-bit grey pictures in {path!r} are scaled from {black:,g} to {white:,g} to bytes; "
            "'data.grey_range=[0,65535]' sets other values of black and white."
        )


def quoted(names: list[str]) -> str:
    """Return the first names in quotes, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
