"""A folder of pictures, one sub-folder for each class."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from . import packed
from .forms import ImageForm
from .packed import PARTS, Facts, Packed, Picture, UnreadableError, UnusableError
from .sources import Source
from .split import stratified

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision.datasets.folder.IMG_EXTENSIONS."""

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
) -> Source:
    """Pictures in the layout of torchvision's ImageFolder, with a sub-folder for each class.

    The pictures are decoded once, scaled and cropped to one size (see `packed.decoded`) and stored as bytes, which
    later runs map into memory as long as the folder's files do not change.

    Args:
        path: the folder, with `train/<class>/...` and `test/<class>/...`, or with `<class>/...`. Names that begin with
            a dot are skipped.
        size: the side, in pixels, to which pictures are scaled and cropped.
        cache: the folder for the decoded pictures; None for `experiments` in the user's cache folder.
        test_fraction: for a folder without `test`, the share of the pictures to test on, the same pictures for every
            seed.
        skip_unreadable: whether to leave out pictures that cannot be read, instead of stopping.

    Raises:
        ValueError: the folder is absent or unsuitable, or a picture cannot be read.
        OSError: the decoded pictures cannot be written.
    """
    root = Path(path).expanduser()
    listing = listed(root, path)
    classes = class_names(listing, path)
    settings = {"size": size, "test_fraction": test_fraction if WHOLE in listing else None}
    key = fingerprint(listing, settings)
    folder = cache_folder(cache, root) / f"{root.resolve().name[:40]}-{size}-{key[:16]}"
    cached = opened(folder, key, skip_unreadable=skip_unreadable)
    if cached is None:
        parts = pictures(listing, classes, test_fraction)
        facts = Facts(packed.VERSION, key, str(root.resolve()), settings)

        def check(labels: Mapping[str, Tensor], facts: Facts) -> None:
            check_counts(labels, facts, classes, path, test_fraction if WHOLE in listing else None)

        check({part: numbers(some) for part, some in parts.items()}, facts)
        try:
            cached = packed.pack(root, parts, size, folder, facts, skip_unreadable=skip_unreadable, check=check)
        except UnreadableError as error:
            raise ValueError(
                f"path={path!r} contains a picture that cannot be read, {error.name!r} ({error.reason}); "
                "repair or remove it, or leave out all such pictures with data.skip_unreadable=true"
            ) from None
        except OSError as error:
            raise ValueError(
                f"cache={cache!r}: the packed pictures cannot be written to {str(folder.parent)!r} "
                f"({error.strerror or error}); free some space there, or choose another folder with data.cache=<folder>"
            ) from None
    log_facts(cached.facts, path)
    (x_train, y_train), (x_test, y_test) = ((cached.x[part], cached.y[part]) for part in PARTS)
    return Source(x_train, y_train, x_test, y_test, classes, mapped=True, form=ImageForm(size=size))


def listed(root: Path, path: str) -> Listing:
    """Return the pictures' files, sorted by name within each class.

    Args:
        root: the data's folder.
        path: the folder as the user wrote it.

    Raises:
        ValueError: the folder is absent, or its layout is neither of the two.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(f"path={path!r} {problem}; give a folder with a sub-folder of pictures for each class")
    parts = [part for part in PARTS if divided_into_classes(root / part)]
    if len(parts) == 1:
        (other,) = set(PARTS) - set(parts)
        raise ValueError(
            f"path={path!r} has classes in its folder {parts[0]!r} but not in {other!r}; "
            f"sort both into classes, or give path={str(Path(path, parts[0]))!r}"
        )
    if not parts:
        return {WHOLE: by_class(root, "", root)}
    unused = sorted(name for name in folders(root) if name not in parts)
    if unused:
        names = quoted(unused)
        LOG.info(f"The following folders in {path!r} are not used, only train and test are: {names}.")
    return {part: by_class(root / part, f"{part}/", root) for part in parts}


def divided_into_classes(folder: Path) -> bool:
    """Whether a folder has sub-folders, and no picture next to them."""
    if not folder.is_dir() or not folders(folder):
        return False
    with os.scandir(folder) as entries:
        return not any(is_picture(entry) for entry in entries)


def folders(folder: Path) -> list[str]:
    """Return the sorted names of a folder's sub-folders, without those that begin with a dot."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def by_class(folder: Path, prefix: str, root: Path) -> dict[str, list[File]]:
    """Return the files of the pictures in each of a folder's sub-folders."""
    above = frozenset({identity(root), identity(folder)})
    return {name: sorted(files(folder / name, f"{prefix}{name}/", above)) for name in folders(folder)}


def files(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[File]:
    """Yield the files of the pictures in a folder and its sub-folders.

    Args:
        folder: the folder.
        prefix: the beginning of its files' names.
        above: the identities of the folders around it; a link to one of these is not followed.
    """
    own = identity(folder)
    if own in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_picture(entry):
                yield file(entry, prefix)
            elif entry.is_dir() and not entry.name.startswith("."):
                yield from files(Path(entry.path), f"{prefix}{entry.name}/", above | {own})


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


def class_names(listing: Listing, path: str) -> list[str]:
    """Return the sorted names of the classes.

    Raises:
        ValueError: there are fewer than two classes, or the parts have different classes.
    """
    held = {part: {name for name, some in classes.items() if some} for part, classes in listing.items()}
    if not any(held.values()):
        raise ValueError(
            f"path={path!r} has no sub-folder with pictures; it needs one for each class, "
            f"with files that end in {', '.join(EXTENSIONS)}"
        )
    for one, other in (PARTS, PARTS[::-1]):
        missing = sorted(held.get(one, set()) - held.get(other, set()))
        if WHOLE not in held and missing:
            raise ValueError(
                f"path={path!r} has pictures of the class {missing[0]!r} in {one!r} but not in {other!r}; "
                "both must have the same classes"
            )
    names = sorted(set().union(*listing.values()))
    if len(names) < 2:
        raise ValueError(f"path={path!r} has only one class, {names[0]!r}; at least two are needed")
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
    if WHOLE not in parts:
        return parts
    whole = parts[WHOLE]
    test, train = stratified(numbers(whole), round(test_fraction * len(whole)), torch.Generator().manual_seed(0))
    return {part: [whole[row] for row in rows.sort()[0].tolist()] for part, rows in (("train", train), ("test", test))}


def numbers(some: list[Picture]) -> Tensor:
    """Return the pictures' class numbers."""
    return torch.tensor([picture.label for picture in some], dtype=torch.int64)


def check_counts(
    labels: Mapping[str, Tensor], facts: Facts, classes: list[str], path: str, test_fraction: float | None
) -> None:
    """Refuse data in which a class or a part has too few pictures.

    Args:
        labels: class numbers by part.
        facts: the facts about the pictures.
        classes: the names of the classes.
        path: the folder as the user wrote it.
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
    train, test = (torch.bincount(labels[part], minlength=len(classes)) for part in PARTS)
    counted = train if test_fraction is None else train + test
    few = [label for label, count in enumerate(counted.tolist()) if count < 2]
    if few:
        count = ("no picture", "only one picture")[int(counted[few[0]])]
        where = " in 'train'" if test_fraction is None else ""
        raise ValueError(
            f"path={path!r} has {count} of the class {classes[few[0]]!r}{where}{without}; a class needs at least two"
        )
    if test_fraction is None and len(labels["test"]) == 0:
        raise ValueError(f"path={path!r} has no picture in 'test'{without}")
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


def log_facts(facts: Facts, path: str) -> None:
    """Log which pictures were left out, and to which colour mode the others were converted."""
    if facts.left_out:
        count = len(facts.left_out)
        noun, verb = ("picture", "is") if count == 1 else ("pictures", "are")
        LOG.info(f"{count:,} {noun} in {path!r} cannot be read and {verb} left out: {quoted(list(facts.left_out))}.")
    if len(facts.modes) > 1 or not facts.modes.keys() <= {"RGB", "L"}:
        modes = ", ".join(f"{count:,} {mode}" for mode, count in facts.modes.items())
        common = "grey" if facts.modes.keys() <= packed.GREY | packed.WIDE else "RGB"
        LOG.info(f"The pictures in {path!r} are converted to {common}; their colour modes are {modes}.")


def quoted(names: list[str]) -> str:
    """Return the first names in quotes, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
